# SPDX-License-Identifier: Apache-2.0
"""How a call is on the wire: what each page received, what a relay measured of each link, and the words made of it.

A ``reception`` goes every few seconds over links on which each byte counts, so its numbers are packed: octets in base 64
without padding, a head and then seven octets for each second. Below 130 octets of JSON for five seconds; as a list of
numbers it would be 200.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec

from signalling.wire.base import FromClient, FromServer, Id, Milliseconds, Part
from signalling.wire.ids import ConsultId

SECONDS_MAX = 12
"""Of one message: ten seconds on the thinnest rungs, and two for a timer that was late."""
LINKS_MAX = 256
"""Legs in one message, 100 octets each: a relay of 1,280 legs says one a second."""
UNIT_S = 0.02
"""Of spans: a frame of voice."""
BUFFER_UNIT_S = 0.01
OPUS_UNIT_BPS = 500
LINES_UNIT = 8

_HEAD = struct.Struct(">HBBBB")
_SECOND = struct.Struct("7B")
_CHARS_MAX = -(-(_HEAD.size + SECONDS_MAX * _SECOND.size) * 4 // 3)

_PICTURE, _MUTED, _TAKEN, _HIDDEN = 1, 2, 4, 8

WordName: TypeAlias = Literal["excellent", "good", "fair", "poor", "bad"]
CauseName: TypeAlias = Literal["none", "delay", "loss", "codec", "frozen", "frame-rate"]
Where: TypeAlias = Literal["own", "other", "both", "server", "unknown"]
"""Whose link it comes from, as the reader of the message sees it; ``server``: from neither."""
Whose: TypeAlias = Literal["patient", "specialist", "both", "server", "unknown"]
"""The same as somebody sees it who is in no call."""
Microphone: TypeAlias = Literal["on", "muted", "taken", "none"]
"""``taken``: the system gave it to something else, as to a phone call."""
Ratio: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
LinkBps: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Reception(FromClient, frozen=True, tag="reception"):
    """What this page received in the last seconds of a call; for words and metrics, never stored.

    ``data`` in base 64: round trip of the pair in ms (2 octets, big endian), Opus rate of what this page sends / 500
    (0 = nothing), frame length of it in ms, lines of the picture received / 8, flags (1 a picture is sent, 2 the
    microphone is muted, 4 taken by the system, 8 the page is hidden). Then for each second: its length, sound received,
    of that concealed (silence not counted), in so many bursts, jitter buffer in 10 ms, frames decoded, time in gaps over
    1 s between frames; spans in 20 ms. All are differences of webrtc-stats counters. At most one in 2 s counts.
    """

    consult: Id
    data: Annotated[str, msgspec.Meta(max_length=_CHARS_MAX, pattern=r"^[A-Za-z0-9+/]+$")]


class LegLink(Part, frozen=True):
    """What a relay measured of one leg's link."""

    leg: Id
    rtt_ms: Milliseconds | None
    up_loss: Ratio
    """From the page to the relay."""
    down_loss: Ratio
    up_bps: LinkBps
    """What it was seen to carry; 0 = not known, nobody has filled it."""
    down_bps: LinkBps
    up_known_bps: LinkBps = 0
    """What the relay reckons with, proved or not: what another one may begin with."""
    down_known_bps: LinkBps = 0


class LegLinks(FromClient, frozen=True, tag="leg_links"):
    """What a relay measured of its legs in calls, each every 5 s: which of a call's two links is the weak one."""

    links: Annotated[list[LegLink], msgspec.Meta(min_length=1, max_length=LINKS_MAX)]


class DirectionQuality(Part, frozen=True):
    """How one direction of a call is, in one word."""

    word: WordName
    reason: CauseName = "none"
    where: Where = "unknown"


class Quality(FromServer, frozen=True, tag="quality"):
    """How the call is, sent when a word changes."""

    consult: ConsultId
    mine: DirectionQuality | None = None
    """What this page hears and sees; missing = nothing to judge."""
    theirs: DirectionQuality | None = None
    """What the other side hears and sees of this one."""
    microphone: Microphone = "on"
    """The other side's."""
    hidden: bool = False
    """The other side's page is in the background."""


@dataclass(frozen=True, slots=True)
class Second:
    """What was received in about a second."""

    span_s: float
    heard_s: float
    concealed_s: float
    bursts: int
    buffer_s: float
    frames: int
    frozen_s: float


@dataclass(frozen=True, slots=True)
class Received:
    """A ``reception``, unpacked."""

    rtt_s: float
    opus_bps: int
    frame_s: float
    lines: int
    picture: bool
    microphone: Microphone
    hidden: bool
    seconds: tuple[Second, ...]


def unpack(data: str) -> Received:
    """Return what a ``reception`` says.

    Raises:
        ValueError: it is not laid out as it must be.
    """
    try:
        octets = base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("not base 64") from error
    count, rest = divmod(len(octets) - _HEAD.size, _SECOND.size)
    if rest or not 1 <= count <= SECONDS_MAX:
        raise ValueError("not a whole number of seconds")
    rtt_ms, opus, frame_ms, lines, flags = _HEAD.unpack_from(octets)
    return Received(
        rtt_s=rtt_ms / 1_000,
        opus_bps=opus * OPUS_UNIT_BPS,
        frame_s=frame_ms / 1_000,
        lines=lines * LINES_UNIT,
        picture=bool(flags & _PICTURE),
        microphone=_microphone(opus, flags),
        hidden=bool(flags & _HIDDEN),
        seconds=tuple(_second(each) for each in _SECOND.iter_unpack(octets[_HEAD.size :])),
    )


def _microphone(opus: int, flags: int) -> Microphone:
    if flags & _TAKEN:
        return "taken"
    if flags & _MUTED:
        return "muted"
    return "on" if opus else "none"


def _second(octets: tuple[int, ...]) -> Second:
    span, heard, concealed, bursts, buffer, frames, frozen = octets
    return Second(
        span * UNIT_S,
        heard * UNIT_S,
        min(heard, concealed) * UNIT_S,
        bursts,
        buffer * BUFFER_UNIT_S,
        frames,
        min(span, frozen) * UNIT_S,
    )
