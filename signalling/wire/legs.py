# SPDX-License-Identifier: Apache-2.0
"""Media relays on the wire: what a relay and a node tell each other, and what a page is told of its leg.

A *leg* is one participant's transport at a relay. Relays mint legs ahead; the node hands each out with one message,
so that a far relay adds no round trip. Descriptions travel as fields (``LegOffer``, ``LegAnswer``): a few hundred bytes
where a browser's own description has eight thousand. Both sides build the SDP from one template
(``media/relay/sdp_template.json``).

A relay is a participant like any other: it says ``hello`` with a token of audience ``rly``, and its connection is pinged,
limited and closed like a page's. What it forwards does not depend on the connection: a relay goes on without it.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from signalling.wire.base import FromClient, FromServer, Id, Key, Milliseconds, Part
from signalling.wire.ids import ConsultId, LegId, ParticipantId

LEGS_MAX = 2_000
"""Legs that one relay process may have; a core carries some hundreds."""
POOL_MAX = 32
"""Minted legs that a node keeps of one relay."""

Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[ -~]*$")]
"""One printable line: no value may begin another line of a description."""
Ssrc: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=0xFFFFFFFF)]
PayloadType: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=127)]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Bps: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]
Extension: TypeAlias = Literal[
    "mid", "abs-send-time", "transport-cc", "audio-level", "playout-delay", "orientation"
]
VideoCodec: TypeAlias = Literal["VP8", "VP9"]
Red: TypeAlias = Literal["no", "yes", "first"]
RungName: TypeAlias = Literal[
    "text", "voice-min", "voice", "glimpse", "small", "medium", "standard", "open"
]
"""Rungs of the ladder (``media.core.rungs``), the lowest first."""
RungReason: TypeAlias = Literal[
    "start", "rate", "watcher", "queue", "loss", "silence", "brake", "proved", "back", "wish", "redundancy"
]  # fmt: skip
"""Why a direction is where it is (``media.core.ladder``)."""
Side: TypeAlias = Literal["sender", "receiver"]
"""Of a direction: whoever sends, or whoever is sent to."""
WishName: TypeAlias = Literal["motion", "detail", "voice"]
OutlookName: TypeAlias = Literal[
    "unknown", "messages", "voice-with-gaps", "voice", "slow-picture", "small-picture", "good-picture"
]  # fmt: skip
"""What a link will make possible (``media.core.link_probe``)."""


# -- Pieces ----------------------------------------------------------------------------------------------------------


class RelayCandidate(Part, frozen=True):
    """Where the relay listens, as it is reached from outside."""

    transport: Literal["udp", "tcp"]
    address: Line
    port: Port


class AudioOffer(Part, frozen=True, kw_only=True):
    """What the relay sends and wants of voice."""

    ssrc: Ssrc
    """What it sends with."""
    ptime_ms: Literal[10, 20, 40, 60, 120] = 20
    max_average_bps: Annotated[int, msgspec.Meta(ge=6_000, le=510_000)] | None = None
    """Chromium's own choice without it: about 32 kbit/s."""
    fec: bool = True
    dtx: bool = False
    red: Red = "yes"
    """``first``: the browser sends it (one frame back); ``yes``: it may be sent to the browser."""
    nack: bool = False


class VideoOffer(Part, frozen=True, kw_only=True):
    """What the relay sends and wants of pictures."""

    ssrc: Ssrc
    rtx_ssrc: Ssrc
    codecs: Annotated[list[VideoCodec], msgspec.Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: list[VideoCodec](["VP8"])
    )
    """The first is what the browser sends until ``Limits.codec`` says another."""
    start_kbps: Annotated[int, msgspec.Meta(ge=10, le=10_000)] | None = None
    """Chromium starts with 300 otherwise and fills a thin link's queue."""
    max_kbps: Annotated[int, msgspec.Meta(ge=10, le=10_000)] | None = None


class LegOffer(Part, frozen=True, kw_only=True):
    """What the relay offers one participant: a layout for two people, one voice and one picture each way."""

    ice: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=16)]
    """``ufrag:pwd``: the main pair, then the spares for restarts without signalling."""
    fingerprint: Line
    candidates: Annotated[list[RelayCandidate], msgspec.Meta(max_length=8)]
    audio: AudioOffer
    video: VideoOffer
    extensions: Annotated[list[Extension], msgspec.Meta(max_length=16)]
    transport_cc: bool = False
    """Only with feedback that the relay really sends: without it Chromium sinks to 80 kbit/s in 8 s."""
    remb: bool = False


class MediaAnswer(Part, frozen=True, kw_only=True):
    """What the browser answered for one kind."""

    payload_types: Annotated[list[PayloadType], msgspec.Meta(max_length=16)]
    """What it would rather send first; none: it refused the kind."""
    ssrcs: Annotated[list[Ssrc], msgspec.Meta(max_length=4)]
    """What it sends with: the stream's, then its retransmissions'. Empty where it does not say."""
    extensions: Annotated[
        list[Annotated[int, msgspec.Meta(ge=1, le=255)]], msgspec.Meta(max_length=16)
    ]
    direction: Literal["sendrecv", "sendonly", "recvonly", "inactive"]


class LegAnswer(Part, frozen=True, kw_only=True):
    """What a browser answered."""

    ice: Line
    """``ufrag:pwd`` of the browser; a lite relay has no use for them but to tell restarts apart."""
    fingerprints: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=4)]
    setup: Literal["passive"]
    """The relay is the DTLS client, always."""
    audio: MediaAnswer
    video: MediaAnswer
    save_data: bool = False
    """The browser was asked to save data (``navigator.connection.saveData``): the link is asked for less."""

    @property
    def ssrcs(self) -> list[int]:
        """All that it sends with."""
        return [*self.audio.ssrcs, *self.video.ssrcs]


class MintedLeg(Part, frozen=True):
    """A leg that nobody has yet."""

    leg: Id
    offer: LegOffer


class Seat(Part, frozen=True):
    """Whose a leg is."""

    leg: Id
    consult: Id
    participant: Id
    instance: Key
    """The page load that it was made for: another one gets another leg."""
    role: Annotated[str, msgspec.Meta(max_length=32)]
    """A role of ``auth.roles``."""
    connected: bool = False
    """ICE and DTLS stand."""


class Brake(Part, frozen=True, kw_only=True):
    """When a page stops its picture by itself, whether or not anybody can be told."""

    no_report_ms: Milliseconds
    """Nothing new was heard of what it sends (``remote-inbound-rtp``) for so long."""
    round_trip_ms: Milliseconds
    """Or the round trip was longer than this in ``polls`` new reports in a row, looked for each ``poll_ms``."""
    polls: Annotated[int, msgspec.Meta(ge=1, le=10)]
    poll_ms: Milliseconds


class Limits(Part, frozen=True, kw_only=True):
    """The most that a page may send now: the minimum of its own up-link and what its slowest watcher can take."""

    video_max_bps: Bps
    """Of the picture, headers and retransmissions not counted; 0 = no picture."""
    video_max_height: Annotated[int, msgspec.Meta(ge=60, le=4_320)] | None = None
    """Lines; None = as the camera gives them."""
    video_max_fps: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = None
    audio_max_bps: Annotated[int, msgspec.Meta(ge=6_000, le=510_000)] | None = None
    """Opus ``maxaveragebitrate`` (RFC 7587 §6.1); None = the browser's choice."""
    ptime_ms: Literal[10, 20, 40, 60, 120] = 20
    fec: bool = True
    dtx: bool = False
    red: Red = "yes"
    codec: VideoCodec = "VP8"
    """Of the picture: what all who look can decode."""
    copy_ms: Annotated[int, msgspec.Meta(ge=0, le=340)] = 0
    """How far behind its frame each copy of the voice is to travel (``red`` is ``first``), so that it outlives a burst of losses;
    0 = one frame, as browsers do by themselves."""
    hear_ms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    """For how long the voice that is heard must be kept at least, or copies come too late; 0 = as the browser likes."""
    rung: RungName = "voice"
    reason: RungReason = "start"
    """Why it is this rung, or these settings of it."""
    whose: Side | None = None
    """Whose link made it so, or keeps the direction from more; None: nobody's, or not known."""
    detail: bool = False
    """Resolution matters more than frame rate: ``degradationPreference``."""
    stills_bps: Bps = 0
    """What stills and messages may use of the up-link beside the call; 0 = nothing."""
    brake: Brake | None = None
    """None: no picture is sent, there is nothing to stop."""


# -- A page ----------------------------------------------------------------------------------------------------------


class LegGiven(FromServer, frozen=True, tag="leg"):
    """A leg for this page load: make a connection from it now, before anybody is called; send nothing before the call.

    A newer one (not ``standby``) takes the older one's place: the old connection is closed at the first voice from the new.
    """

    consult: ConsultId
    leg: LegId
    offer: LegOffer
    standby: bool = False
    """Of another relay, for the case that the first one dies: only made when nothing arrives any more."""


class LegAnswered(FromClient, frozen=True, tag="leg_answer"):
    """What this page's browser answered to a leg's offer; answered only by an error."""

    consult: Id
    leg: Id
    answer: LegAnswer


class LegTrouble(FromClient, frozen=True, tag="leg_trouble"):
    """Nothing comes from the relay though restarts were tried; the node judges whether the relay is gone."""

    consult: Id
    leg: Id
    silent_ms: Milliseconds


class LegSwitch(FromServer, frozen=True, tag="leg_switch"):
    """The standby leg is the leg from now on: its relay forwards the call."""

    consult: ConsultId
    leg: LegId


class LegLimits(FromServer, frozen=True, tag="limits"):
    """What this page may send on a leg from now on; on route ``direct`` to the other browser."""

    consult: ConsultId
    leg: LegId
    """Empty on route ``direct``."""
    limits: Limits


class PeerLink(FromServer, frozen=True, tag="peer_link"):
    """What the other side may send to this page now, and why; sent when that becomes another rung, or another's link."""

    consult: ConsultId
    rung: RungName
    reason: RungReason
    whose: Side | None = None
    """Whose link made it so, or keeps the direction from more: the receiver's is this page's own."""


class Outlook(FromServer, frozen=True, tag="outlook"):
    """What the patient's link will make possible, measured while the patient waits."""

    consult: ConsultId
    outlook: OutlookName
    up_bps: Bps
    """From the patient; 0 = not known."""
    down_bps: Bps
    rtt_ms: Milliseconds | None = None


class Braked(FromClient, frozen=True, tag="braked"):
    """This page has stopped its picture by itself (``limits.brake``); only the relay raises it again."""

    consult: Id
    leg: Id


class Wish(FromClient, frozen=True, tag="wish"):
    """What matters to the one who looks, of all that the others send: motion, detail, or the voice alone."""

    consult: Id
    wish: WishName


# -- A relay ---------------------------------------------------------------------------------------------------------


class RelayStatus(FromClient, frozen=True, tag="relay_status"):
    """What a relay can take and carries: right after the welcome, then every second. Silence means trouble."""

    legs: Annotated[int, msgspec.Meta(ge=0, le=LEGS_MAX)]
    """Seated now."""
    legs_max: Annotated[int, msgspec.Meta(ge=0, le=LEGS_MAX)]
    load_ratio: Annotated[float, msgspec.Meta(ge=0.0, le=64.0)]
    """CPU time per time of the last seconds; 1 = one core is full."""
    draining: bool = False
    """It goes down: nobody new; its calls are moved one by one."""


class LegsMinted(FromClient, frozen=True, tag="legs_minted"):
    """Legs that the node may hand out; sent after the welcome and whenever one was."""

    legs: Annotated[list[MintedLeg], msgspec.Meta(max_length=POOL_MAX)]


class LegsSeated(FromClient, frozen=True, tag="legs_seated"):
    """After a welcome: the legs that people have, from before this connection; the node takes them over."""

    legs: Annotated[list[Seat], msgspec.Meta(max_length=64)]
    forwarding: Annotated[list[Id], msgspec.Meta(max_length=64)] = []
    """Consults that are being forwarded."""
    more: bool = False
    """Another such message follows."""


class LegState(FromClient, frozen=True, tag="leg_state"):
    """A leg came up or ended."""

    leg: Id
    state: Literal["connected", "flowing", "closed"]
    """``flowing``: the first forwarded voice of its call went out to it."""
    ice_ms: Milliseconds | None = None
    dtls_ms: Milliseconds | None = None


class LimitLeg(FromClient, frozen=True, tag="limit_leg"):
    """What the participant of a leg may send; passed on to the page as ``limits``."""

    leg: Id
    limits: Limits


class LegProbed(FromClient, frozen=True, tag="leg_probed"):
    """What the link of a leg that waits was measured to carry; passed on to a patient's page as ``outlook``."""

    leg: Id
    outlook: OutlookName
    up_bps: Bps
    down_bps: Bps
    rtt_ms: Milliseconds | None = None


class LegSeated(FromServer, frozen=True, tag="seat"):
    """A minted leg was handed out."""

    seat: Seat


class RelayAnswer(FromServer, frozen=True, tag="leg_answer"):
    """What the leg's browser answered."""

    leg: LegId
    answer: LegAnswer


class LegKnown(FromServer, frozen=True, tag="leg_known"):
    """What another relay knew of the link of a leg in a call: this one takes the call over, and begins there.

    Said with the ``seat``, or of a standby leg before ``forwarding``; a leg whose call has begun here knows better.
    """

    leg: LegId
    rung: RungName
    """What its page sent on."""
    up_bps: Bps
    down_bps: Bps
    rtt_ms: Milliseconds


class Forwarding(FromServer, frozen=True, tag="forwarding"):
    """Forward between the legs of a consult from now on, those that come later too, or stop doing so."""

    consult: ConsultId
    between: Annotated[list[ParticipantId], msgspec.Meta(max_length=8)]
    """Who sees and hears each other; empty = stop."""


class LegBraked(FromServer, frozen=True, tag="braked"):
    """The page of a leg has stopped its picture by itself."""

    leg: LegId


class Wished(FromServer, frozen=True, tag="wish"):
    """What matters to one participant of a consult, of all that the others send."""

    consult: ConsultId
    participant: ParticipantId
    wish: WishName


class CarriedBeside(FromServer, frozen=True, tag="carried_beside"):
    """What a participant's link carries up beside the media: content. Said each second while it comes, and 0 when it is over.

    What was not said again for 2.5 s is over too.
    """

    consult: ConsultId
    participant: ParticipantId
    bps: Bps


class CloseLeg(FromServer, frozen=True, tag="close_leg"):
    """A leg is not needed any more."""

    leg: LegId
