# SPDX-License-Identifier: Apache-2.0
"""One forwarded stream, continuous whatever its source does (RFC 3550 §7.1, translators).

The receiver sees one SSRC with contiguous sequence numbers and timestamps that go on over a change
of source. Packets must be given in order, with gaps already waited for (`media.core.hold`): the
numbers written here never show a gap that was given up.

Sender reports are our own, on our own clock, so that round trips can be measured per hop; the
sender's mapping of NTP to RTP time is carried over through one `SenderClock` per sender, so that
voice and picture of one person stay together (RFC 3550 §6.4.1).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from media.core.rtcp import SenderReport, ntp_from_seconds, seconds_from_ntp
from media.core.serial import MASK_16, MASK_32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from media.core.extensions import ExtensionWriter, Plan
    from media.core.rtp import RtpPacket

_PLAIN = struct.Struct("!BBHII").pack_into
_EXTENDED = struct.Struct("!BBHIII").pack_into
_EXTENDED_8 = struct.Struct("!BBHIIIQ").pack_into

MAX_STEP_S: Final = 10.0
"""A sender's clock that is this far off its own earlier reports was set anew. Queues of 4 s exist
(measured on thin links), so anything shorter may be delay."""


def put_header(
    out: bytearray,
    second: int,
    number: int,
    timestamp: int,
    ssrc: int,
    extension: int,
    plan: Plan,
    now: float,
    transport_number: int,
) -> int:
    """Write an RTP header with its extensions at the start of `out`; return where the payload goes.

    Args:
        out: Scratch of `SCRATCH_BYTES`.
        second: Marker (128 or 0) and payload type.
        number: Sequence number, 16 bits.
        timestamp: 32 bits.
        ssrc: Of the outgoing stream.
        extension: The source's block of extensions, as `plan` expects it.
        plan: From an `ExtensionWriter`.
        now: Seconds, for abs-send-time.
        transport_number: The leg's transport-wide sequence number, 16 bits.
    """
    keep, put, grow, transport_cc, abs_send_time, size, word = plan
    if not size:
        _PLAIN(out, 0, 0x80, second, number, timestamp, ssrc)
        return 12
    block = (extension & keep) << grow | put
    if transport_cc >= 0:
        block |= transport_number << transport_cc
    if abs_send_time >= 0:
        block |= (int(now * 262144.0) & 0xFFFFFF) << abs_send_time
    if size == 8:  # MID, transport-wide number and audio level: nearly always
        _EXTENDED_8(out, 0, 0x90, second, number, timestamp, ssrc, word, block)
        return 24
    _EXTENDED(out, 0, 0x90, second, number, timestamp, ssrc, word)
    end = 16 + size
    out[16:end] = block.to_bytes(size, "big")
    return end


class SenderClock:
    """One sender's NTP clock against ours, shared by all its streams.

    The first report fixes the distance, one-way delay included. It stays: what matters is that voice
    and picture use the same one.
    """

    __slots__ = ("_distance_s",)

    def __init__(self) -> None:
        self._distance_s: float | None = None

    def local(self, ntp: int, now: float) -> float:
        """Return the instant on our clock for an NTP timestamp (64 bits) received now."""
        theirs = seconds_from_ntp(ntp)
        distance = self._distance_s
        if distance is None or abs(theirs + distance - now) > MAX_STEP_S:
            distance = self._distance_s = now - theirs
        return theirs + distance


class Rewriter:
    """Header fields and counts of one outgoing stream."""

    __slots__ = (
        "_anchor_at", "_anchor_timestamp", "_last_at", "_next", "_offset", "_source", "clock_rate",
        "extensions", "number", "octet_count", "packet_count", "payload_types", "plan", "ssrc", "timestamp",
    )  # fmt: skip

    ssrc: int
    clock_rate: int
    payload_types: Mapping[int, int]
    """The source's payload type to the receiver's; what is absent can't be forwarded."""
    extensions: ExtensionWriter
    number: int
    timestamp: int
    plan: Plan
    """Of the last packet written; there is a plan after the first one."""
    packet_count: int
    octet_count: int
    """For sender reports: packets and payload octets sent, retransmissions not among them."""

    def __init__(
        self,
        ssrc: int,
        clock_rate: int,
        payload_types: Mapping[int, int],
        extensions: ExtensionWriter,
        *,
        number: int,
        timestamp: int,
    ) -> None:
        """Start a stream; its first packet gets `number` and `timestamp` (random, RFC 3550 §5.1)."""
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        self.payload_types = payload_types
        self.extensions = extensions
        self._next = number & MASK_16
        self.number = (number - 1) & MASK_16
        self.timestamp = timestamp & MASK_32
        self.packet_count = 0
        self.octet_count = 0
        self._source = -1
        self._offset = 0
        self._last_at = 0.0
        self._anchor_at: float | None = None
        self._anchor_timestamp = 0

    def follow(self, extensions: ExtensionWriter) -> None:
        """Take the packets of another leg from now on, whose extensions are rewritten by this."""
        self.extensions = extensions
        self._source = -1

    def header(
        self,
        packet: RtpPacket,
        out: bytearray,
        now: float,
        transport_number: int = 0,
        payload_type: int = -1,
    ) -> int:
        """Write the header of the next packet into `out`; return where its payload goes.

        Args:
            packet: The next packet of the source, in order.
            out: Scratch of `SCRATCH_BYTES`.
            now: Seconds.
            transport_number: The leg's transport-wide sequence number, if negotiated.
            payload_type: What to write instead of the packet's own type mapped (RED).

        Returns:
            The offset of the payload, or 0 if the receiver has no such payload type.
        """
        if payload_type < 0:
            payload_type = self.payload_types.get(packet.payload_type, -1)
            if payload_type < 0:
                return 0
        if packet.ssrc != self._source:
            self._switch(packet, now)
        self.number = number = self._next
        self._next = (number + 1) & MASK_16
        self.timestamp = timestamp = (packet.timestamp + self._offset) & MASK_32
        self._last_at = now
        self.packet_count += 1
        self.octet_count += packet.payload_end - packet.payload_at
        self.plan = plan = self.extensions.plan(packet.layout)
        return put_header(
            out, packet.marker | payload_type, number, timestamp, self.ssrc, packet.extension, plan,
            now, transport_number,
        )  # fmt: skip

    def timestamp_of(self, packet: RtpPacket) -> int | None:
        """Return the timestamp that a packet would have had; None: it is of another source than the last one."""
        if packet.ssrc != self._source:
            return None
        return (packet.timestamp + self._offset) & MASK_32

    def _switch(self, packet: RtpPacket, now: float) -> None:
        """Let the timestamps go on from where the last source left them."""
        wanted = self.timestamp
        if self.packet_count:
            wanted += max(1, round((now - self._last_at) * self.clock_rate))
        self._offset = (wanted - packet.timestamp) & MASK_32
        self._source = packet.ssrc
        self._anchor_at = None

    def sender_reported(
        self, ssrc: int, ntp: int, timestamp: int, clock: SenderClock, now: float
    ) -> None:
        """Take over the source's mapping of time from its sender report.

        Args:
            ssrc: The report's; reports of other sources are ignored.
            ntp: 64 bits.
            timestamp: The source's RTP time at `ntp`.
            clock: The sender's, shared by its streams.
            now: When the report arrived.
        """
        local = clock.local(ntp, now)
        if ssrc == self._source:
            self._anchor_at = local
            self._anchor_timestamp = (timestamp + self._offset) & MASK_32

    def sender_report(self, now: float) -> SenderReport | None:
        """Return our report for this stream, or None until the source's first one has come.

        Without the source's mapping a report would tie voice and picture together wrongly, and
        browsers play unsynchronised until they have one, which is better.
        """
        if self._anchor_at is None:
            return None
        ticks = round((now - self._anchor_at) * self.clock_rate)
        return SenderReport(
            ssrc=self.ssrc,
            ntp=ntp_from_seconds(now),
            timestamp=(self._anchor_timestamp + ticks) & MASK_32,
            packet_count=self.packet_count & MASK_32,
            octet_count=self.octet_count & MASK_32,
        )
