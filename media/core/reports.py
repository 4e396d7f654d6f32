# SPDX-License-Identifier: Apache-2.0
"""What is known of one received stream, for receiver reports, and round trips from reports.

Loss per RFC 3550 §6.4.1 and appendix A.3, jitter per appendix A.8, round trip per §6.4.1 (LSR, DLSR).
Packets that share a timestamp are one frame sent at once; only the first of them counts for jitter
(RFC 3550 §6.4.4 warns of such packets), or a picture's would measure its own frame size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.rtcp import ReportBlock, compact_ntp, ntp_from_seconds
from media.core.serial import HALF_32, MASK_32, Unwrapper

if TYPE_CHECKING:
    from media.core.rtp import RtpPacket

MAX_ROUND_TRIP_S: Final = 30.0
"""A longer one is a report of another connection or nonsense. Queues of 8 s exist (measured)."""


class Reception:
    """Counts of one received stream."""

    __slots__ = (
        "_base", "_expected_prior", "_received_prior", "_sr_at", "_sr_middle", "_timestamp",
        "_transit", "_unwrapper", "clock_rate", "jitter", "mean_bytes", "octets",
        "received", "repaired", "ssrc",
    )  # fmt: skip

    received: int
    repaired: int
    """Packets that came first time, and those that came by retransmission or redundancy."""
    octets: int
    jitter: float
    """In ticks of `clock_rate`."""
    mean_bytes: float
    """Smoothed size of a packet."""

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        self._unwrapper = Unwrapper()
        self._base = -1
        self._expected_prior = self._received_prior = 0
        self._sr_middle = 0
        self._sr_at = 0.0
        self._timestamp = -1
        self._transit = 0
        self.received = self.repaired = self.octets = 0
        self.jitter = 0.0
        self.mean_bytes = 0.0

    def receive(self, packet: RtpPacket, now: float) -> int:
        """Count a packet of the stream itself and set its index (hot path).

        Returns:
            The index, -1 if the packet belongs to nothing (see `serial.Unwrapper`).
        """
        unwrapper = self._unwrapper
        index = unwrapper.highest + 1
        if packet.sequence_number == index & 0xFFFF and index:
            unwrapper.highest = index
        else:
            index = self._unwrap(packet.sequence_number)
            if index < 0:
                return -1
        packet.index = index
        self.received += 1
        size = len(packet.data)
        self.octets += size
        self.mean_bytes += (size - self.mean_bytes) * 0.0625
        timestamp = packet.timestamp
        if timestamp != self._timestamp:
            transit = int(now * self.clock_rate) - timestamp
            if self._timestamp >= 0:
                moved = (transit - self._transit + HALF_32 & MASK_32) - HALF_32
                self.jitter += ((moved if moved >= 0 else -moved) - self.jitter) * 0.0625
            self._transit = transit
            self._timestamp = timestamp
        return index

    def _unwrap(self, number: int) -> int:
        unwrapper = self._unwrapper
        before, restarts = unwrapper.highest, unwrapper.restarts
        index = unwrapper.unwrap(number)
        if before < 0:
            self._base = index
        elif unwrapper.restarts != restarts:
            self._base += index - before - 1  # numbers that the sender jumped over were never sent
        elif 0 <= index < self._base:
            self._base = index  # overtaken by the first packet that came
        return index

    def skip_to(self, number: int) -> None:
        """Don't count as lost what is missing before this number: it was sent while the link was down.

        That says nothing of the link that is back, and a sender that is told of it cuts its rate to the floor
        (Chromium: 30 kbit/s, measured after a blackout of 20 s).
        """
        highest = self._unwrapper.highest
        missing = ((number - highest - 1 + 0x8000) & 0xFFFF) - 0x8000
        if highest >= 0 and missing > 0:
            self._base += missing

    def index_of(self, number: int) -> int:
        """Return the index of a repaired packet's number, -1 if it belongs to nothing.

        Counts it as repaired: the sender must go on seeing what its link loses (RFC 4588 §6.3), so
        it is not a received packet.
        """
        highest = self._unwrapper.highest
        if highest < 0:
            return -1
        index = highest + ((number - highest + 0x8000) & 0xFFFF) - 0x8000
        if index > highest:
            return -1
        self.repaired += 1
        return index

    @property
    def expected(self) -> int:
        """Packets that the sender has sent, as far as we know (A.3)."""
        return self._unwrapper.highest - self._base + 1 if self._base >= 0 else 0

    @property
    def lost(self) -> int:
        """Packets lost on the way (A.3); duplicates can make it negative."""
        return self.expected - self.received

    @property
    def jitter_s(self) -> float:
        """Interarrival jitter in seconds."""
        return self.jitter / self.clock_rate

    def sender_reported(self, ntp: int, now: float) -> None:
        """Note the stream's sender report."""
        self._sr_middle = compact_ntp(ntp)
        self._sr_at = now

    def block(self, now: float) -> ReportBlock:
        """Return the report block for now and begin a new interval."""
        expected, received = self.expected, self.received
        interval = expected - self._expected_prior
        lost = interval - (received - self._received_prior)
        self._expected_prior, self._received_prior = expected, received
        fraction = min(255, (lost << 8) // interval) if interval > 0 and lost > 0 else 0
        delay = round((now - self._sr_at) * 65536) if self._sr_middle else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            cumulative_lost=max(-0x800000, min(0x7FFFFF, self.lost)),
            highest=self._unwrapper.highest & MASK_32 if expected else 0,
            jitter=int(self.jitter),
            last_sr=self._sr_middle,
            delay_since_last_sr=min(delay, MASK_32),
        )


def round_trip_s(block: ReportBlock, now: float) -> float | None:
    """Return the round trip that a report block on one of our sender reports measured.

    Args:
        block: As received.
        now: When, on the clock that our sender reports carry.

    Returns:
        Seconds, or None if the peer has no sender report yet or the numbers can't be true.
    """
    if not block.last_sr:
        return None
    ticks = compact_ntp(ntp_from_seconds(now)) - block.last_sr - block.delay_since_last_sr
    seconds = ((ticks + HALF_32 & MASK_32) - HALF_32) / 65536
    if not -0.001 <= seconds <= MAX_ROUND_TRIP_S:
        return None
    return max(0.0, seconds)


class RoundTrip:
    """The round trip of one leg, smoothed (RFC 6298 §2) and its minimum."""

    __slots__ = ("base_s", "latest_s", "smoothed_s")

    smoothed_s: float
    base_s: float
    """The smallest seen: the way without queues."""

    def __init__(self, assumed_s: float) -> None:
        """Start with an assumption, for instance what ICE or DTLS took."""
        self.smoothed_s = assumed_s
        self.base_s = float("inf")
        self.latest_s: float | None = None

    def measured(self, seconds: float) -> None:
        """Take one measurement."""
        if self.latest_s is None:
            self.smoothed_s = seconds
        else:
            self.smoothed_s += (seconds - self.smoothed_s) / 8
        self.latest_s = seconds
        self.base_s = min(self.base_s, seconds)
