# SPDX-License-Identifier: Apache-2.0
"""One stream as it comes from its sender: counted, repaired, in order.

Puts together what `reports`, `hold`, `nack`, `keyframes` and `red` know. What comes out may be
forwarded as it is; `media.core.outbound` is the other half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from media.core import red, rtx
from media.core.budget import OVERHEAD_BYTES
from media.core.hold import Hold, video_wait_s, voice_wait_s
from media.core.keyframes import KeyFrameRequests
from media.core.nack import NackScheduler
from media.core.reports import Reception

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from media.core.budget import Budget
    from media.core.descriptor import VideoCodec
    from media.core.rtp import RtpPacket

DEFAULT_FRAME_S: Final = 0.06
"""Packet interval of a voice until two packets have shown it: the longest that is used."""

IDLE: Final = -1
NO_KEY_FRAME_YET: Final = -2
"""Instead of the timestamp of the key frame that is coming: the first one is always measured."""


class Poll(NamedTuple):
    """What is to be done now."""

    packets: Sequence[RtpPacket]
    """To forward, in order."""
    numbers: list[int]
    """To ask for in a NACK, 16 bits."""
    key_frame: bool
    """Whether to send a PLI."""


class InboundStream:
    """A received stream with its repairs."""

    __slots__ = (
        "_frame_ticks", "_gone", "_index", "_key_bytes", "_key_timestamp", "_red_type", "_timestamp",
        "far_ticks", "hold", "is_video", "key_frames", "late", "nacks", "reception", "recovered",
    )  # fmt: skip

    recovered: int
    """Frames of voice that redundancy brought back."""
    far_ticks: int
    """Of a voice: how far back its sender's furthest copies are; 0: it sends none."""
    late: list[RtpPacket]
    """Frames of voice that came after what follows them was given out: not in order, but not yet of no use. Whoever takes
    them empties it."""

    def __init__(
        self,
        ssrc: int,
        clock_rate: int,
        *,
        rtt_s: float,
        codecs: Mapping[int, VideoCodec] | None = None,
        red_type: int = -1,
    ) -> None:
        """Start a stream.

        Args:
            ssrc: As the sender writes it.
            clock_rate: Hz.
            rtt_s: Round trip to the sender, as far as it is known.
            codecs: By payload type, for a picture; None for voice.
            red_type: Payload type of RED, if negotiated.
        """
        self.is_video = codecs is not None
        self.reception = Reception(ssrc, clock_rate)
        self.hold = Hold(video_wait_s(rtt_s), codecs)
        self.nacks = NackScheduler()
        self.key_frames = KeyFrameRequests()
        self.recovered = 0
        self.far_ticks = 0
        self.late = []
        self._gone: dict[int, None] = {}
        self._red_type = red_type
        self._frame_ticks = 0
        self._index = -1
        self._timestamp = 0
        self._key_timestamp = NO_KEY_FRAME_YET
        self._key_bytes = 0
        self.set_rtt(rtt_s)

    @property
    def restless(self) -> bool:
        """Whether `poll` may have something to do before the next packet comes."""
        return bool(
            self.hold.deadline is not None
            or len(self.nacks)
            or self.key_frames.wanted
            or self.hold.needs_key_frame
        )

    def set_rtt(self, rtt_s: float, *, waits: bool = True) -> None:
        """Bound the hold for this round trip; a voice whose listeners can take `late` frames needs none."""
        if self.is_video:
            self.hold.wait_s = video_wait_s(rtt_s)
        elif not waits:
            self.hold.wait_s = 0.0
        else:
            frame_s = self._frame_ticks / self.reception.clock_rate or DEFAULT_FRAME_S
            self.hold.wait_s = voice_wait_s(rtt_s, frame_s, 1 if self._red_type >= 0 else 0)

    def resume(self, number: int) -> None:
        """Go on after an outage with the packet of this number: nothing sent before it is worth waiting for."""
        self.reception.skip_to(number)
        self.hold.skip()
        self._gone.clear()
        self.nacks.restart()

    def receive(self, packet: RtpPacket, now: float) -> Sequence[RtpPacket]:
        """Take a packet of the stream; return what is to be forwarded now (hot path)."""
        index = self.reception.receive(packet, now)
        if index < 0:
            return ()
        nacks = self.nacks
        if index == nacks.next_index and not nacks.guessed:
            nacks.next_index = index + 1
        else:
            nacks.received(index, now)
        if packet.payload_type == self._red_type:
            return self._receive_red(packet, now)
        if not self.is_video:
            self.far_ticks = 0
            return self._push_voice(packet, now)
        out = self.hold.push(packet, now)
        if self.key_frames.wanted or self._key_timestamp != IDLE:
            self._watch_key_frame(out, now)
        return out

    def receive_rtx(self, packet: RtpPacket, payload_type: int, now: float) -> Sequence[RtpPacket]:
        """Take a packet of the stream's retransmission stream.

        Args:
            packet: As parsed.
            payload_type: The codec's type that the packet's own type is associated with.
            now: Seconds.
        """
        if not rtx.restore(packet, self.reception.ssrc, payload_type):
            return ()
        index = self.reception.index_of(packet.sequence_number)
        if index < 0:
            return ()
        packet.index = index
        self.nacks.received(index, now)
        out = self.hold.push(packet, now)
        if self.is_video and (self.key_frames.wanted or self._key_timestamp != IDLE):
            self._watch_key_frame(out, now)
        return out

    def poll(self, now: float, rtt_s: float, budget: Budget) -> Poll:
        """Give up what has waited too long and say what to ask the sender for.

        To be called every 10-20 ms while `restless`.

        Args:
            now: Seconds.
            rtt_s: Round trip to the sender.
            budget: Of the link from the sender.
        """
        packets = self.hold.expire(now)
        if packets and self.is_video:
            self._watch_key_frame(packets, now)
        self.nacks.settle(self.hold.next_index)
        numbers = self.nacks.due(
            now, rtt_s, self.hold.wait_s, budget, self.reception.mean_bytes + OVERHEAD_BYTES
        )
        if self.hold.needs_key_frame and not self.key_frames.wanted:
            self.key_frames.want(now)
        return Poll(packets, numbers, self.key_frames.due(now, rtt_s, budget))

    def _receive_red(self, packet: RtpPacket, now: float) -> Sequence[RtpPacket]:
        blocks = red.read(packet)
        if blocks is None:
            return ()
        if packet.index == self._index + 1:
            self._frame_ticks = (packet.timestamp - self._timestamp) & 0xFFFFFFFF
        self._index, self._timestamp = packet.index, packet.timestamp
        if blocks:
            self.far_ticks = max(each.offset for each in blocks)
        hold = self.hold
        if not blocks or (packet.index == hold.next_index and not self._gone):
            return self._push_voice(packet, now)
        out: list[RtpPacket] = []
        for earlier in red.recover(packet, blocks, self._frame_ticks):
            index = earlier.index
            if index in self._gone or (index >= hold.next_index >= 0 and not hold.holds(index)):
                self.recovered += 1
                self.reception.repaired += 1
                self.nacks.received(index, now)
                out += self._push_voice(earlier, now)
        out += self._push_voice(packet, now)
        return out

    def _push_voice(self, packet: RtpPacket, now: float) -> Sequence[RtpPacket]:
        """Return what goes out in order; what comes after its turn is kept in `late`."""
        hold, gone = self.hold, self._gone
        index, before = packet.index, hold.next_index
        if index == before and not gone:
            return hold.push(packet, now)
        if index in gone:
            del gone[index]
            self.late.append(packet)
            return ()
        out = hold.push(packet, now)
        if 0 <= before < hold.next_index - len(out):
            came = {each.index for each in out}
            missing = range(max(before, hold.next_index - red.MAX_DISTANCE), hold.next_index)
            gone.update(dict.fromkeys(each for each in missing if each not in came))
        while gone and (oldest := next(iter(gone))) < hold.next_index - red.MAX_DISTANCE:
            del gone[oldest]
        return out

    def _watch_key_frame(self, packets: Sequence[RtpPacket], now: float) -> None:
        """Note the arrival of a key frame and, when it is over, its size."""
        for packet in packets:
            if packet.timestamp == self._key_timestamp:
                self._key_bytes += len(packet.data) + OVERHEAD_BYTES
                continue
            if self._key_timestamp >= 0:
                self.key_frames.measured(self._key_bytes)
                self._key_timestamp = IDLE
            if self.hold.is_key_frame(packet):
                self.key_frames.arrived(now)
                self._key_timestamp = packet.timestamp
                self._key_bytes = len(packet.data) + OVERHEAD_BYTES
