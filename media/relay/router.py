# SPDX-License-Identifier: Apache-2.0
"""From one leg of a consult to the other: SSRC and payload type exchanged in the raw packet, nothing else touched.

Every leg is offered the same payload types and extension identifiers, so what is inside a packet means the same on both
sides. Sequence numbers and timestamps pass unchanged. Requests for a key frame go through to the sender, merged.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from media.core import rtcp, rtcp_write
from media.relay.description import PAYLOAD_TYPES, Answer, Offer
from media.relay.drops import Drop, Drops
from media.relay.path import Weight

if TYPE_CHECKING:
    from media.relay.leg import Leg

KEY_FRAME_SPACING_S = 1.0
"""Between two key-frame requests to one sender. One key frame answers all who asked; on a thin link it takes most of a
second to get through, and asking again meanwhile only adds another."""

_RTX_TYPES = frozenset(number for name, number in PAYLOAD_TYPES.items() if name.endswith("/rtx"))
_AUDIO_TYPES = frozenset({PAYLOAD_TYPES["opus"], PAYLOAD_TYPES["red"]})
_WORD = struct.Struct("!I")


class Stream(enum.Enum):
    """What a packet belongs to, by its payload type."""

    VOICE = "voice"
    PICTURE = "picture"
    REPEAT = "repeat"
    """RTX of the picture."""


def stream_of(payload_type: int) -> Stream | None:
    """Return which stream a payload type is for; None for a type that was never offered."""
    if payload_type in _AUDIO_TYPES:
        return Stream.VOICE
    if payload_type in _RTX_TYPES:
        return Stream.REPEAT
    return Stream.PICTURE if payload_type in _PICTURE_TYPES else None


_PICTURE_TYPES = frozenset(PAYLOAD_TYPES.values()) - _AUDIO_TYPES - _RTX_TYPES
_WEIGHTS = {
    Stream.VOICE: Weight.VOICE,
    Stream.PICTURE: Weight.PICTURE,
    Stream.REPEAT: Weight.PICTURE,
}


@dataclass(slots=True)
class Seat:
    """One leg of a consult as the router sees it."""

    leg: Leg
    ours: Mapping[Stream, bytes]
    """SSRCs that it receives with, as its offer says."""
    takes: frozenset[int]
    """Payload types that it accepts."""
    theirs: dict[Stream, bytes] = field(default_factory=dict)
    """SSRCs that it sends with, from its packets."""
    key_frame_asked_at: float = float("-inf")

    @classmethod
    def of(cls, leg: Leg, offer: Offer, answer: Answer) -> Seat:
        """Make a seat from what was offered and answered."""
        pack = _WORD.pack
        seat = cls(
            leg,
            {
                Stream.VOICE: pack(offer.audio.ssrc),
                Stream.PICTURE: pack(offer.video.ssrc),
                Stream.REPEAT: pack(offer.video.rtx_ssrc),
            },
            frozenset({*answer.audio.payload_types, *answer.video.payload_types}),
        )
        kinds = [*zip((Stream.VOICE,), answer.audio.ssrcs, strict=False)]
        kinds += zip((Stream.PICTURE, Stream.REPEAT), answer.video.ssrcs, strict=False)
        seat.theirs.update({stream: pack(ssrc) for stream, ssrc in kinds})
        return seat


class Pair:
    """Two legs that see and hear each other while it is open."""

    def __init__(self, one: Seat, other: Seat, drops: Drops) -> None:
        self._seats = {one.leg: one, other.leg: other}
        self._opposite = {one.leg: other, other.leg: one}
        self._drops = drops

    def open(self) -> None:
        """Forward from now on."""
        for leg in self._seats:
            leg.on_rtp = self.forward
            leg.on_rtcp = self.report

    def close(self) -> None:
        """Forward nothing more."""
        for leg in self._seats:
            leg.on_rtp = leg.on_rtcp = _nobody

    def forward(self, leg: Leg, packet: bytes, now: float) -> None:
        """Send an RTP packet of one leg to the other."""
        payload_type = packet[1] & 0x7F
        stream = stream_of(payload_type)
        target = self._opposite[leg]
        if stream is None or payload_type not in target.takes:
            self._drops[Drop.NO_ROUTE] += 1
            return
        self._seats[leg].theirs[stream] = packet[8:12]
        target.leg.send_rtp(
            b"".join((packet[:8], target.ours[stream], packet[12:])), _WEIGHTS[stream]
        )

    def report(self, leg: Leg, packet: bytes, now: float) -> None:
        """Pass what one leg's browser reports to the other's, with SSRCs exchanged."""
        target = self._opposite[leg]
        passed = [
            data
            for part in rtcp.parse(packet)
            if (data := self._exchanged(part, leg, target, now)) is not None
        ]
        if passed:
            target.leg.send_rtcp(b"".join(passed))

    def _exchanged(self, part: rtcp.RtcpPart, leg: Leg, target: Seat, now: float) -> bytes | None:
        ours = int.from_bytes(target.ours[Stream.PICTURE], "big")
        if isinstance(part, rtcp.KeyFrameRequest):
            media = target.theirs.get(Stream.PICTURE)
            if media is None or now - target.key_frame_asked_at < KEY_FRAME_SPACING_S:
                return None
            target.key_frame_asked_at = now
            return rtcp_write.picture_loss(ours, int.from_bytes(media, "big"))
        if isinstance(part, rtcp.Nack):
            lost_by = self._received_as(leg, target, part.media_ssrc)
            return None if lost_by is None else rtcp_write.nack(ours, lost_by, part.numbers)
        if isinstance(part, rtcp.SenderReport):
            ssrc = self._sent_as(leg, target, part.ssrc)
            if ssrc is None:
                return None
            return rtcp_write.sender_report(
                dataclasses.replace(part, ssrc=ssrc, reports=()), self._blocks(part, leg, target)
            )
        if isinstance(part, rtcp.ReceiverReport):
            return rtcp_write.receiver_report(ours, self._blocks(part, leg, target))
        return None

    def _blocks(
        self, part: rtcp.SenderReport | rtcp.ReceiverReport, leg: Leg, target: Seat
    ) -> list[rtcp.ReportBlock]:
        return [
            dataclasses.replace(block, ssrc=ssrc)
            for block in part.reports
            if (ssrc := self._received_as(leg, target, block.ssrc)) is not None
        ]

    def _sent_as(self, leg: Leg, target: Seat, ssrc: int) -> int | None:
        """Return with which SSRC a stream of ``leg`` reaches the target."""
        packed = _WORD.pack(ssrc)
        for stream, theirs in self._seats[leg].theirs.items():
            if theirs == packed:
                return int.from_bytes(target.ours[stream], "big")
        return None

    def _received_as(self, leg: Leg, target: Seat, ssrc: int) -> int | None:
        """Return the target's own SSRC of a stream that ``leg`` receives as ``ssrc``."""
        packed = _WORD.pack(ssrc)
        for stream, ours in self._seats[leg].ours.items():
            if ours == packed and stream in target.theirs:
                return int.from_bytes(target.theirs[stream], "big")
        return None


def _nobody(leg: Leg, packet: bytes, now: float) -> None:
    pass
