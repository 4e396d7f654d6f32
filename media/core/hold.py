# SPDX-License-Identifier: Apache-2.0
"""In-order hold: a gap is waited for, then given up and hidden.

What comes out is in order and complete as far as it goes: the receiver behind the relay never sees
what the first hop lost, and never waits for it. A gap holds everything behind it for `wait_s` at
most; a packet that comes later is dropped. For video, nothing undecodable comes out: after a gap
that was given up, frames are withheld until a key frame (or, with temporal layers, all but the base
layer if that is whole). Where only upper layers can be missing, the next frame of the base waits for nothing.

Measured with Chromium on 64/48 kbit/s, 500 ms, bursts of 6 %: with two requests and a hold of 1.6 s
the picture stood still 6 % of the time, with one request and 0.9 s up to 30 %, without hold and
requests 44-94 %.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from media.core.descriptor import Frame, VideoCodec, describe, follows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from media.core.rtp import RtpPacket

ROUND_TRIPS: Final = 2.5
"""Room for two requests and the answer to the second, spaced by 1.25 round trips."""
MIN_WAIT_S: Final = 0.1
"""Below 40 ms of round trip: reordering and the queue of the sender rule, not the way."""
SHORT_WAIT_S: Final = 0.75
"""Where a gap is waited for no longer than this (300 ms of round trip), also upper layers are: their repair comes before the picture
has stood for a second, and without it fewer frames are shown (on 384/128 kbit/s, 250 ms, 2 % of loss 11.5 instead of 12.6 a second
upwards, measured)."""
MAX_WAIT_S: Final = 2.5
"""A picture later than this is no conversation; 2.5 round trips of 1 s."""
VOICE_SHORT_RTT_S: Final = 0.2
"""Above it a retransmission comes too late for voice; redundancy repairs it instead (DESIGN.md §4)."""
VOICE_WAIT_S: Final = 0.15
"""Two frames of 60 ms and the jitter of one: until the redundancy that follows a loss is there."""

MAX_HELD: Final = 512
"""Packets: 2.5 s at 2 Mbit/s. A sender's burst above it ends the waiting, never grows."""
MAX_JUMP: Final = 1_000
"""A gap longer than this is an outage; nobody waits for what was sent during it."""


def video_wait_s(rtt_s: float) -> float:
    """Return how long a gap in a picture is waited for, from the sender's round trip."""
    return min(MAX_WAIT_S, max(MIN_WAIT_S, ROUND_TRIPS * rtt_s))


def voice_wait_s(rtt_s: float, frame_s: float, distance: int) -> float:
    """Return how long a gap in the voice is waited for.

    Args:
        rtt_s: Round trip to the sender.
        frame_s: Packet interval.
        distance: Of the sender's redundancy, in packets; 0 for none.
    """
    if rtt_s <= VOICE_SHORT_RTT_S:
        return max(MIN_WAIT_S, 1.5 * rtt_s)
    return min(VOICE_WAIT_S, max(0.5, distance) * frame_s + 0.03)


class Mode(Enum):
    """What may pass."""

    FLOW = "flow"
    BASE = "base"
    """The base temporal layer, and higher ones from their next sync frame on."""
    WITHHOLD = "withhold"
    """Nothing until a key frame."""


class Hold:
    """One received stream in order. Made with codecs for video, without for voice."""

    __slots__ = (
        "_codecs", "_flowing", "_gap", "_gap_at", "_held", "_last", "_mode", "_next", "_top",
        "duplicates", "given_up", "late", "wait_s", "withheld",
    )  # fmt: skip

    wait_s: float
    """Bound for a gap; set it again when the round trip changes."""
    given_up: int
    late: int
    duplicates: int
    withheld: int
    """Packets: missing for good; dropped as too late; seen before; not forwarded as undecodable."""

    def __init__(self, wait_s: float, codecs: Mapping[int, VideoCodec] | None = None) -> None:
        """Start empty.

        Args:
            wait_s: Seconds a gap may hold what is behind it.
            codecs: Video codecs by payload type; other types pass unjudged.
        """
        self.wait_s = wait_s
        self._codecs = dict(codecs or {})
        self._mode = Mode.WITHHOLD if codecs else Mode.FLOW
        self._flowing = not codecs
        self._next = -1
        self._held: dict[int, RtpPacket] = {}
        self._gap = False
        self._gap_at = 0.0
        self._last: RtpPacket | None = None
        self._top = 0
        self.given_up = self.late = self.duplicates = self.withheld = 0

    @property
    def next_index(self) -> int:
        """The index that is waited for; all below is settled. -1 before the first packet."""
        return self._next

    @property
    def needs_key_frame(self) -> bool:
        """Whether nothing can pass before a key frame."""
        return self._mode is Mode.WITHHOLD and self._next >= 0

    @property
    def deadline(self) -> float | None:
        """When `expire` must be called, or None if nothing is held."""
        return self._gap_at + self.wait_s if self._held else None

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, index: int) -> bool:
        """Say whether this packet waits here."""
        return index in self._held

    def push(self, packet: RtpPacket, now: float) -> Sequence[RtpPacket]:
        """Take a packet; return those that go out now, in order (hot path).

        The packet's `index` must be set. A repeated index is dropped.
        """
        index = packet.index
        if index == self._next and not self._held:
            self._next = index + 1
            if self._flowing and packet.payload_at != packet.payload_end:
                self._last = packet
                return (packet,)
            out: list[RtpPacket] = []
            self._judge(packet, out)
            return out
        return self._out_of_order(packet, index, now)

    def expire(self, now: float) -> Sequence[RtpPacket]:
        """Give up the gaps whose time is over; return what goes out because of it."""
        out: list[RtpPacket] = []
        while self._held and now >= self._gap_at + self.wait_s:
            self._give_up(min(self._held), out)
            self._go_on(out)
        return out

    def _out_of_order(self, packet: RtpPacket, index: int, now: float) -> Sequence[RtpPacket]:
        if self._next < 0:
            self._next = index
        if index < self._next:
            self.late += 1
            return ()
        held = self._held
        if index in held:
            self.duplicates += 1
            return ()
        out: list[RtpPacket] = []
        if not held:
            self._gap_at = now
        held[index] = packet
        if index == self._next:
            self._drain(out)
            self._go_on(out)
        elif index - self._next > MAX_JUMP:
            self._settle(index, out)
        elif len(held) > MAX_HELD:
            self._give_up(min(held), out)
        elif self._needs_nothing_missing(packet):
            self._settle(index, out)
        else:
            out += self.expire(now)
        return out

    def skip(self) -> None:
        """Wait for nothing that was sent until now: after an outage the next packet is the next one.

        What is held is dropped. A picture goes on with a key frame, unless nothing of it is missing.
        """
        self.given_up += len(self._held)
        self._held.clear()
        self._next = -1
        self._gap = True

    def is_key_frame(self, packet: RtpPacket) -> bool:
        """Say whether the packet begins a key frame. Nothing before one is worth waiting for."""
        codec = self._codecs.get(packet.payload_type)
        frame = describe(codec, packet) if codec else None
        return frame is not None and frame.key

    def _needs_nothing_missing(self, packet: RtpPacket) -> bool:
        """Say whether the packet begins a frame that all before it is of no use to: a key frame, or the very next of the base."""
        codec = self._codecs.get(packet.payload_type)
        frame = describe(codec, packet) if codec else None
        if codec is None or frame is None or not frame.start:
            return False
        return frame.key or (
            frame.temporal == 0
            and self.wait_s > SHORT_WAIT_S
            and self._mode is not Mode.WITHHOLD
            and self._lacks_no_base(codec, packet, frame)
        )

    def _lacks_no_base(self, codec: VideoCodec, packet: RtpPacket, frame: Frame) -> bool:
        """Say whether all that is missing between the last packet and this one is of upper layers."""
        last = self._last
        if last is None or last.payload_type != packet.payload_type:
            return False  # another codec: it began in the gap
        before = describe(codec, last)
        if before is None or before.base_index < 0 or frame.base_index < 0:
            return False
        if not (last.marker or before.temporal):
            return False
        bases = (frame.base_index - before.base_index) & 0xFF
        return bases == (0 if frame.temporal else 1) and bool(frame.temporal or frame.start)

    def _go_on(self, out: list[RtpPacket]) -> None:
        """Look again at what is held: what it lacked may have come."""
        for index in sorted(self._held):
            if self._needs_nothing_missing(self._held[index]):
                self._settle(index, out)
                return

    def _settle(self, index: int, out: list[RtpPacket]) -> None:
        """Give up every gap before `index`."""
        while self._next < index:
            self._give_up(min(self._held), out)

    def _give_up(self, upto: int, out: list[RtpPacket]) -> None:
        self.given_up += upto - self._next
        self._gap = True
        self._next = upto
        self._drain(out)

    def _drain(self, out: list[RtpPacket]) -> None:
        held = self._held
        index = self._next
        while (packet := held.pop(index, None)) is not None:
            index += 1
            self._next = index
            self._judge(packet, out)
        if held:
            # The next gap was noticed when the first packet beyond it came.
            self._gap_at = min(packet.arrived_at for packet in held.values())

    def _judge(self, packet: RtpPacket, out: list[RtpPacket]) -> None:
        """Append the packet to `out` if it can be decoded."""
        if packet.payload_at == packet.payload_end:
            return
        codec = self._codecs.get(packet.payload_type)
        if codec is not None and (self._gap or not self._flowing):
            self._gap, gap = False, self._gap
            if not self._decodable(codec, packet, gap=gap):
                self.withheld += 1
                return
        self._last = packet
        out.append(packet)

    def _decodable(self, codec: VideoCodec, packet: RtpPacket, *, gap: bool) -> bool:
        frame = describe(codec, packet)
        if frame is None:
            self._enter(Mode.WITHHOLD)
            return False
        if frame.key:
            self._enter(Mode.FLOW)
            return True
        if gap and self._mode is not Mode.WITHHOLD:
            self._enter(self._after_gap(codec, packet, frame))
        if self._mode is Mode.BASE:
            # One layer up at a time: a frame two layers up may need the one in between.
            if frame.start and frame.sync and frame.temporal == self._top + 1:
                self._top += 1
            return frame.temporal <= self._top
        return self._mode is Mode.FLOW

    def _after_gap(self, codec: VideoCodec, packet: RtpPacket, frame: Frame) -> Mode:
        """Return what may pass after the gap between the last packet and this one."""
        last = self._last
        before = describe(codec, last) if last is not None else None
        if last is not None and before is not None and last.payload_type == packet.payload_type:
            if frame.start and last.marker and follows(frame, before):
                return self._mode  # only padding was lost
            if self._lacks_no_base(codec, packet, frame):
                self._top = 0
                return Mode.BASE
        return Mode.WITHHOLD

    def _enter(self, mode: Mode) -> None:
        self._mode = mode
        self._flowing = mode is Mode.FLOW
