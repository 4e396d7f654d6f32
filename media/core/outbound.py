# SPDX-License-Identifier: Apache-2.0
"""One stream as it goes to a receiver: rewritten, paid for, remembered for retransmission.

Puts together what `rewrite`, `cache`, `rtx`, `red` and `budget` know. Packets come from an
`media.core.inbound.InboundStream`, in order; each is written into a scratch buffer that the caller
encrypts and sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from media.core.budget import OVERHEAD_BYTES
from media.core.descriptor import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from media.core.budget import Budget
    from media.core.cache import PacketCache
    from media.core.descriptor import VideoCodec
    from media.core.red import RedWriter
    from media.core.rewrite import Rewriter
    from media.core.rtp import RtpPacket
    from media.core.rtx import RtxWriter


class OutboundVideo:
    """A picture on its way to one receiver. Begins, and begins again, with a key frame."""

    __slots__ = (
        "_budget", "_cache", "_codecs", "_rtx", "_rtx_types", "_ssrc", "awaits_key_frame",
        "resent", "rewriter", "withheld",
    )  # fmt: skip

    awaits_key_frame: bool
    """Nothing goes out before the next key frame: somebody must ask for one."""
    withheld: int
    resent: int
    """Packets."""

    def __init__(
        self,
        rewriter: Rewriter,
        budget: Budget,
        codecs: Mapping[int, VideoCodec],
        cache: PacketCache,
        rtx: RtxWriter,
        rtx_types: Mapping[int, int],
    ) -> None:
        """Start a stream.

        Args:
            rewriter: Of this stream.
            budget: Of the receiver's direction, shared by all that goes there.
            codecs: By the source's payload type.
            cache: Empty.
            rtx: The retransmission stream.
            rtx_types: The source's payload type to the receiver's retransmission type; a codec that
                is absent gets no retransmissions.
        """
        self.rewriter = rewriter
        self._budget = budget
        self._codecs = codecs
        self._cache = cache
        self._rtx = rtx
        self._rtx_types = rtx_types
        self._ssrc = -1
        self.awaits_key_frame = True
        self.withheld = self.resent = 0

    def restart(self) -> None:
        """Let nothing pass before the next key frame: after a pause, or a change of source."""
        self.awaits_key_frame = True

    def admits(self, packet: RtpPacket, now: float) -> bool:
        """Pay for the next packet in order; False if it must not go out (hot path)."""
        if (packet.ssrc != self._ssrc or self.awaits_key_frame) and not self._may_begin(packet):
            self.withheld += 1
            return False
        if not self._budget.video(len(packet.data) + OVERHEAD_BYTES, now):
            self.awaits_key_frame = True
            self.withheld += 1
            return False
        return True

    def write(
        self, packet: RtpPacket, out: bytearray, now: float, transport_number: int = 0
    ) -> int:
        """Write a packet that was admitted into `out`; return its size, 0 if the receiver lacks the codec (hot path).

        Args:
            packet: In order; shared with other receivers, not changed.
            out: Scratch of `SCRATCH_BYTES`.
            now: Seconds.
            transport_number: The leg's next transport-wide number; used up if the size is not 0.
        """
        data = packet.data
        rewriter = self.rewriter
        at = rewriter.header(packet, out, now, transport_number)
        if not at:
            return 0
        start, stop = packet.payload_at, packet.payload_end
        end = at + stop - start
        out[at:end] = data[start:stop]
        self._cache.put(rewriter.number, rewriter.timestamp, packet, rewriter.plan, now)
        return end

    def _may_begin(self, packet: RtpPacket) -> bool:
        codec = self._codecs.get(packet.payload_type)
        if codec is not None:
            if packet.payload_type not in self.rewriter.payload_types:
                return False  # the receiver can't decode it; the sender will be told of another
            frame = describe(codec, packet)
            if frame is None or not frame.key:
                self.awaits_key_frame = True
                return False
        self.awaits_key_frame = False
        self._ssrc = packet.ssrc
        return True

    def resend(
        self, number: int, rtt_s: float, out: bytearray, now: float, transport_number: int = 0
    ) -> int:
        """Write the answer to a request for one packet into `out`; return its size or 0.

        Args:
            number: As the receiver knows it, 16 bits.
            rtt_s: Round trip to the receiver; repeats within it are ignored.
            out: Scratch.
            now: Seconds.
            transport_number: As for `write`.
        """
        sent = self._cache.find(number, rtt_s, now)
        if sent is None:
            return 0
        payload_type = self._rtx_types.get(sent.packet.payload_type, -1)
        if payload_type < 0:
            return 0
        if not self._budget.repair(len(sent.packet.data) + 2 + OVERHEAD_BYTES, now):
            return 0
        self._cache.resent(number, now)
        self.resent += 1
        return self._rtx.write(sent, payload_type, out, now, transport_number)


class OutboundVoice:
    """A voice on its way to one receiver, with redundancy as its link needs it."""

    __slots__ = ("_budget", "_red_type", "red", "rewriter")

    red: RedWriter
    """Set its `distances` from `media.core.redundancy`."""

    def __init__(
        self, rewriter: Rewriter, budget: Budget, red: RedWriter, red_type: int = -1
    ) -> None:
        """Start a stream.

        Args:
            rewriter: Of this stream.
            budget: Of the receiver's direction.
            red: New.
            red_type: The receiver's payload type of RED; -1 if it has none.
        """
        self.rewriter = rewriter
        self.red = red
        self._budget = budget
        self._red_type = red_type

    def write(
        self, packet: RtpPacket, out: bytearray, now: float, transport_number: int = 0
    ) -> int:
        """Write the next packet into `out`; return its size, 0 if the receiver lacks the codec.

        Args:
            packet: In order, plain (RED already taken apart), not changed.
            out: Scratch of `SCRATCH_BYTES`.
            now: Seconds.
            transport_number: The leg's next transport-wide number; used up if the size is not 0.
        """
        rewriter = self.rewriter
        payload_type = rewriter.payload_types.get(packet.payload_type, -1)
        if payload_type < 0:
            return 0
        if self._red_type >= 0 and self.red.wanted:
            at = rewriter.header(packet, out, now, transport_number, self._red_type)
            end = self.red.write(packet, payload_type, rewriter.timestamp, out, at)
            rewriter.octet_count += end - at - (packet.payload_end - packet.payload_at)
        else:
            at = rewriter.header(packet, out, now, transport_number, payload_type)
            start, stop = packet.payload_at, packet.payload_end
            end = at + stop - start
            out[at:end] = packet.data[start:stop]
            if self._red_type >= 0:
                self.red.remember(packet, payload_type, rewriter.timestamp)
        self._budget.voice(end + OVERHEAD_BYTES, now)
        return end

    def take_late(self, packet: RtpPacket) -> None:
        """Let a frame that came after its successors travel with the next packet, as far as the receiver knows RED.

        The numbers of what went out leave no room for it; its timestamp says where it belongs.
        """
        rewriter = self.rewriter
        timestamp = rewriter.timestamp_of(packet)
        payload_type = rewriter.payload_types.get(packet.payload_type, -1)
        if self._red_type >= 0 and timestamp is not None and payload_type >= 0:
            self.red.take_late(packet, payload_type, timestamp)
