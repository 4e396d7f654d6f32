# SPDX-License-Identifier: Apache-2.0
"""Every message on the WebSocket, once.

JSON texts, one message each, told apart by ``type``. Field names are camelCase on the wire. A client's message carries
an increasing ``id``; the answer carries it as ``re``. The server refuses unknown fields and types; clients ignore them.
``signalling.wire.generate`` makes the JSON schema, the protocol reference and the JavaScript typedefs from this file.

Which role may send what is one table: ``auth.roles.PERMISSIONS``, by way of ``signalling.edge.commands``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from signalling.wire import content as pieces
from signalling.wire import legs
from signalling.wire.base import (
    FromClient,
    FromServer,
    Id,
    Key,
    KnownConsult,
    Language,
    LongText,
    Milliseconds,
    Part,
    Text,
)
from signalling.wire.direct import Way
from signalling.wire.ids import (
    AccountId,
    ConnectionId,
    ConsultId,
    InstanceId,
    ParticipantId,
    PostCode,
)
from signalling.wire.quality import LegLinks, Quality, Reception, Whose, WordName
from signalling.wire.terms import (
    Assistant,
    CallbackReason,
    CandidateType,
    ConsultState,
    DeclineReason,
    Outcome,
    RestartTrigger,
    Route,
    Sex,
    SpecialistState,
    Specialty,
    TransportProtocol,
    Urgency,
)

PROTOCOL_VERSIONS = (1,)
"""Versions that this server speaks, the preferred one first."""
MAX_MESSAGE_BYTES = 65_536
"""A full Chromium offer is 8 KB; the longest note is 20,000 characters of at most 3 bytes."""

EntryKind = Literal[
    "chat", "still", "voice", "joined", "accepted", "transferred", "held", "lost", "back", "device_changed", "answered",
    "ended",
]  # fmt: skip
"""What a line of a consult's timeline says."""

# -- Pieces ----------------------------------------------------------------------------------------------------------


class SessionDescription(Part, frozen=True):
    """RTCSessionDescriptionInit (W3C webrtc §4.6); ``pranswer`` and ``rollback`` stay inside a browser."""

    type: Literal["offer", "answer"]
    sdp: Annotated[str, msgspec.Meta(min_length=16, max_length=60_000, pattern=r"^v=0\r\n")]


class IceCandidate(Part, frozen=True):
    """RTCIceCandidateInit (W3C webrtc §4.8); an empty ``candidate`` ends a generation."""

    candidate: Annotated[str, msgspec.Meta(max_length=1_024)]
    """One line that begins with ``candidate:``, or nothing."""
    sdp_mid: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    sdp_m_line_index: Annotated[int, msgspec.Meta(ge=0, le=63)] | None = None
    username_fragment: Annotated[str, msgspec.Meta(max_length=256)] | None = None

    def __post_init__(self) -> None:
        """Refuse what could add a line to the recipient's SDP; as a pattern this costs 1.4 µs, seven times as much."""
        text = self.candidate
        if text and (not text.startswith("candidate:") or "\n" in text or "\r" in text):
            raise ValueError("a candidate is one line that begins with candidate:")


class IceServer(Part, frozen=True):
    """RTCIceServer (W3C webrtc §4.2.4)."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class IntakeForm(Part, frozen=True):
    """What the patient, or who helps, tells before the call. Personal: kept sealed, shown to the specialist only."""

    complaint: Text
    age_months: Annotated[int, msgspec.Meta(ge=0, le=1_560)]
    """Age in months, so that infants fit; the triage chart changes at 144 (12 years)."""
    sex: Sex
    assistant: Assistant
    language: Language
    """In which the patient wants to talk."""
    consent: bool
    """Agreement to the call; without it the intake is refused with ``consent_missing``."""
    signs: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=40)]], msgspec.Meta(max_length=64)
    ] = []
    """Codes of danger signs from ``signalling.core.triage``."""
    pregnant: bool = False
    name: Annotated[str, msgspec.Meta(max_length=80)] = ""
    """How the specialist may address the patient."""
    contact: Annotated[str, msgspec.Meta(max_length=40)] = ""
    """Where to reach the patient if a call-back is promised."""


class Person(Part, frozen=True):
    """Somebody on the other side, as far as this side may know."""

    participant: ParticipantId
    role: str
    """A role of ``auth.roles``."""
    name: str = ""
    specialties: list[Specialty] = []
    languages: list[str] = []
    instance: InstanceId | None = None
    """The page load that is connected now; None = not connected. A new one means a new peer connection."""


class PostView(Part, frozen=True):
    """A health post, as a page shows it."""

    code: PostCode
    name: str
    region: str = ""
    emergency_line: str = ""
    """Telephone number for emergencies at the post."""
    open_now: bool | None = None
    link_type: str = ""


class TakeoverView(Part, frozen=True):
    """Another device asks to take the patient's place."""

    request: str
    at: float


class QueueItem(Part, frozen=True):
    """One waiting consult, for specialists and operators; nothing that names the patient."""

    consult: ConsultId
    state: ConsultState
    urgency: Urgency
    specialty: Specialty
    language: str
    since: float
    """When the patient began to wait; UTC epoch seconds."""
    post: PostView | None = None
    present: bool = True
    """Whether the patient's page is connected."""
    keeper: AccountId | None = None
    """Who put this call on hold, and is rung first when the patient is back."""
    quality: WordName | None = None
    """Of a call, on the operator's board: its worse direction."""
    weak: Whose | None = None
    """Whose link that comes from; ``server``: from neither."""
    callback_by: float | None = None
    contact: str = ""
    """For a promised call-back only, and for specialists only."""
    messages: int = 0
    """What the patient wrote, said or showed since somebody answered; specialists read it by ``messages``."""


class RingView(Part, frozen=True):
    """The ring on a specialist's desk."""

    consult: ConsultId
    until: float
    urgency: Urgency
    specialty: Specialty
    language: str
    since: float
    complaint: str = ""
    age_months: int | None = None
    signs: list[str] = []
    interpreter_needed: bool = False
    post: PostView | None = None
    outlook: legs.OutlookName | None = None
    """What the patient's link can carry, where it has been measured."""


class BoardSpecialist(Part, frozen=True):
    """A specialist on the operator's board."""

    account: AccountId
    name: str
    state: SpecialistState
    specialties: list[Specialty]
    languages: list[str]
    consult: ConsultId | None = None


class BoardPost(Part, frozen=True):
    """A post's row on the operator's board."""

    post: PostView
    waiting: int = 0
    in_call: int = 0
    today: int = 0
    """Consults that began to wait since midnight UTC."""


class PastConsult(Part, frozen=True):
    """One line of a specialist's history."""

    consult: ConsultId
    at: float
    """When the call was accepted, or the promised call-back answered by a message."""
    state: ConsultState
    urgency: Urgency
    specialty: Specialty
    outcome: Outcome | None = None
    duration_s: float | None = None
    note: str = ""
    complaint: str = ""
    answered: bool = False
    """By a message, without a call."""


# -- From clients ----------------------------------------------------------------------------------------------------


class Hello(FromClient, frozen=True, tag="hello"):
    """First message of a connection, within the deadline; answered by ``welcome``, then by everything missed."""

    protocols: Annotated[list[int], msgspec.Meta(min_length=1, max_length=8)]
    """Versions that the client speaks, the preferred one first."""
    token: Annotated[str, msgspec.Meta(min_length=16, max_length=2_048)]
    """A session token (audience ``session``)."""
    instance: Key
    """This page load; the same again after a lost socket."""
    consult: Id | None = None
    cursor: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] = 0
    """Of ``consult``: the newest ``entry`` that the page has; everything after it follows the welcome, once, in order."""


class Ping(FromClient, frozen=True, tag="ping"):
    """Are you there? A page can't see the server's pings, so it asks when it has heard nothing for a while."""


class Intake(FromClient, frozen=True, tag="intake"):
    """The patient's intake: the consult begins to wait."""

    form: IntakeForm


class Leave(FromClient, frozen=True, tag="leave"):
    """The patient goes: before the call the consult is abandoned, in the call it ends."""


class Chat(FromClient, frozen=True, tag="chat"):
    """A line of chat. ``key`` makes a repeat after a lost socket harmless: the same key is recorded once."""

    consult: Id
    key: Key
    text: Text


class Description(FromClient, frozen=True, tag="description"):
    """A local description for the other participant. Forwarded, never stored; answered only by an error."""

    consult: KnownConsult
    description: SessionDescription


class Candidate(FromClient, frozen=True, tag="candidate"):
    """A local candidate for the other participant (trickle ICE, RFC 8838). Forwarded, never stored."""

    consult: KnownConsult
    candidate: IceCandidate | None


class TurnRequest(FromClient, frozen=True, tag="turn"):
    """Fresh TURN credentials, please; answered by ``ice``."""


class OnCall(FromClient, frozen=True, tag="on_call"):
    """A specialist goes on or off call."""

    on: bool


class Accept(FromClient, frozen=True, tag="accept"):
    """Take the ring."""

    consult: Id


class Decline(FromClient, frozen=True, tag="decline"):
    """Don't take the ring; it rolls over to the next specialist at once."""

    consult: Id
    reason: DeclineReason


class CallBack(FromClient, frozen=True, tag="call_back"):
    """A specialist takes up a promised call-back by hand: the consult rings at this desk if the patient is there."""

    consult: Id


class Transfer(FromClient, frozen=True, tag="transfer"):
    """Hand the consult to another specialty; the patient waits again, ahead of newcomers of the same colour."""

    consult: Id
    specialty: Specialty
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Hold(FromClient, frozen=True, tag="hold"):
    """Put a call on hold whose patient's link is down, to take others meanwhile: it rings here first when they are back."""

    consult: Id


class Note(FromClient, frozen=True, tag="note"):
    """The specialist's note, whole; replaces the earlier one."""

    consult: Id
    text: LongText


class End(FromClient, frozen=True, tag="end"):
    """The specialist ends the consult."""

    consult: Id
    outcome: Outcome
    summary: Annotated[str, msgspec.Meta(max_length=4_000)] = ""
    """For the patient to keep."""


class Invite(FromClient, frozen=True, tag="invite"):
    """A new consult, with a link and a code to send; answered by ``invited``."""

    specialty: Specialty = Specialty.GENERAL
    language: Language | None = None
    post: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class DecideTakeover(FromClient, frozen=True, tag="decide_takeover"):
    """Whether another device may take the patient's place."""

    consult: Id
    request: Key
    allow: bool


class HistoryRequest(FromClient, frozen=True, tag="history"):
    """The specialist's past consults, newest first; answered by ``past``."""

    before: float | None = None
    """Only consults accepted before this instant: the next page."""


class SetupReport(FromClient, frozen=True, tag="setup_report"):
    """How long the phases of a call's set-up took in this browser, from ``in_call`` seen; for metrics only."""

    consult: Id
    connected_ms: Milliseconds
    """Until ``connectionState`` connected."""
    first_audio_ms: Milliseconds | None = None
    first_frame_ms: Milliseconds | None = None
    local_candidate: CandidateType = CandidateType.NONE
    remote_candidate: CandidateType = CandidateType.NONE
    protocol: TransportProtocol = TransportProtocol.NONE


class RestartReport(FromClient, frozen=True, tag="restart_report"):
    """ICE was restarted, why, and after how long media flowed again; for metrics only."""

    consult: Id
    trigger: RestartTrigger
    recovered_ms: Milliseconds | None = None
    """None = it did not come back before the next restart."""


ClientMessage = (
    Hello | Ping | Intake | Leave | Chat | Description | Candidate | TurnRequest | OnCall | Accept | Decline | CallBack
    | Transfer | Hold | Note | End | Invite | DecideTakeover | HistoryRequest | SetupReport | RestartReport
    | legs.LegAnswered | legs.LegTrouble | legs.RelayStatus | legs.LegsMinted | legs.LegsSeated | legs.LegState | legs.LimitLeg | legs.LegProbed | legs.Braked | legs.Wish
    | pieces.ContentBegin | pieces.ContentRead | pieces.StillRequest | pieces.MessagesRequest | pieces.CallbackAnswered
    | Reception | LegLinks | Way
)  # fmt: skip
TAGS: Mapping[type[FromClient], str] = {
    kind: str(kind.__struct_config__.tag) for kind in get_args(ClientMessage)
}
"""What each type is called on the wire."""


# -- From the server -------------------------------------------------------------------------------------------------


class Welcome(FromServer, frozen=True, tag="welcome"):
    """The hello was accepted. What this participant must know follows in ``consult``, ``entry``, ``desk``, ``board``."""

    re: int
    protocol: int
    now: float
    """The server's clock, UTC epoch seconds: pages show spans by this clock."""
    role: str
    participant: ParticipantId
    connection: ConnectionId
    heartbeat_s: float
    """A ping (RFC 6455 §5.5.2) comes about this often; a page that hears nothing for three is not connected."""
    ice_servers: list[IceServer] = []
    ice_transport_policy: Literal["all", "relay"] = "all"
    ice_expires_at: float | None = None
    """When the TURN credentials run out; ask again before that."""
    name: str = ""


class Ok(FromServer, frozen=True, tag="ok"):
    """Done, and durable."""

    re: int


class Error(FromServer, frozen=True, tag="error"):
    """Refused; nothing was changed. ``re`` is missing where the message could not be read."""

    code: str
    """A code of ``signalling.wire.codes``."""
    re: int | None = None
    retry_after_ms: int | None = None
    ref: str | None = None
    """With ``internal``: find this in the server's log."""


class ConsultView(FromServer, frozen=True, tag="consult"):
    """A consult as this participant may see it, whole; replaces what was shown before."""

    consult: ConsultId
    version: int
    """Events folded into this view: never show an older one over a newer one."""
    state: ConsultState
    specialty: Specialty
    language: str = ""
    urgency: Urgency | None = None
    since: float | None = None
    """When the patient began to wait."""
    deadline_at: float | None = None
    """When this state runs out."""
    place: int | None = None
    """Place in the queue, 1 = next."""
    wait_s: float | None = None
    """Median wait of recent consults of this urgency; missing = unknown."""
    on_call: int | None = None
    """How many specialists of this specialty are on call now."""
    peer: Person | None = None
    route: Route = Route.DIRECT
    """How media goes. ``relayed``: the relay's offer comes in ``leg``, before the call begins."""
    polite: bool = False
    """On route ``direct``: this side's part in perfect negotiation (W3C webrtc §10.7)."""
    away: list[str] = []
    """Roles whose connection is lost."""
    accepted_at: float | None = None
    interpreter_needed: bool = False
    post: PostView | None = None
    intake: IntakeForm | None = None
    callback_by: float | None = None
    callback_reason: CallbackReason | None = None
    answered_at: float | None = None
    """A specialist answered the promised call-back by a message; there is none any more, until the patient says something."""
    outcome: Outcome | None = None
    summary: str = ""
    note: str = ""
    """For the specialist only."""
    kept: bool = False
    """The call was put on hold: the specialist who was in it is rung first."""
    takeovers: list[TakeoverView] = []
    ended_at: float | None = None


class Entry(FromServer, frozen=True, tag="entry"):
    """One durable line of a consult's timeline, delivered exactly once, in order of ``cursor``."""

    consult: ConsultId
    cursor: int
    at: float
    kind: EntryKind
    author: str = ""
    """The role that did it; empty = time did."""
    by: AccountId | None = None
    """The specialist who did it: after a transfer there were two."""
    key: str = ""
    text: str = ""
    content: pieces.ContentView | None = None
    """Of a photograph or a voice message, which is fetched by ``key``."""


class PeerDescription(FromServer, frozen=True, tag="description"):
    """The other participant's description; ``sender`` is the server's knowledge, not the sender's claim."""

    consult: ConsultId
    sender: ParticipantId
    instance: InstanceId
    description: SessionDescription


class PeerCandidate(FromServer, frozen=True, tag="candidate"):
    """The other participant's candidate; null ends the candidates."""

    consult: ConsultId
    sender: ParticipantId
    instance: InstanceId
    candidate: IceCandidate | None


class Ice(FromServer, frozen=True, tag="ice"):
    """Fresh TURN credentials."""

    re: int
    ice_servers: list[IceServer]
    ice_expires_at: float | None = None


class Desk(FromServer, frozen=True, tag="desk"):
    """A specialist's desk, whole."""

    state: SpecialistState
    ring: RingView | None = None
    consult: ConsultId | None = None
    """The consult that this specialist is in."""
    queue: list[QueueItem] = []
    callbacks: list[QueueItem] = []


class Board(FromServer, frozen=True, tag="board"):
    """The operator's board, whole; at most one a second."""

    now: float
    waiting: list[QueueItem] = []
    calls: list[QueueItem] = []
    callbacks: list[QueueItem] = []
    specialists: list[BoardSpecialist] = []
    posts: list[BoardPost] = []
    wait_median_s: dict[str, float] = {}
    """Median wait by urgency; a colour without observations is missing."""
    takeovers: dict[str, list[TakeoverView]] = {}
    """Open requests by consult."""


class Invited(FromServer, frozen=True, tag="invited"):
    """A new consult's link and code. The token travels in the URL's fragment and nowhere else."""

    re: int
    consult: ConsultId
    url: str
    code: str
    qr: str
    """The link as a QR code, an SVG image's text."""
    expires_at: float


class Past(FromServer, frozen=True, tag="past"):
    """Past consults, newest first."""

    re: int
    consults: list[PastConsult] = []
    more: bool = False


ServerMessage = (
    Welcome | Ok | Error | ConsultView | Entry | PeerDescription | PeerCandidate | Ice | Desk | Board | Invited | Past
    | legs.LegGiven | legs.LegSwitch | legs.LegLimits | legs.LegSeated | legs.RelayAnswer | legs.Forwarding | legs.CloseLeg | legs.PeerLink | legs.Outlook | legs.LegBraked | legs.Wished | legs.CarriedBeside
    | legs.LegKnown
    | pieces.ContentOpen | pieces.ContentClosed | pieces.ContentProgress | pieces.Still
    | pieces.Messages
    | Quality
)  # fmt: skip
