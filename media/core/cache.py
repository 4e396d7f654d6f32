# SPDX-License-Identifier: Apache-2.0
"""What was sent lately on one stream, for retransmission (RFC 4585 §6.2.1, RFC 4588).

Bounded by count and by age. Packets are kept as they came from the sender, not as bytes sent: a
forwarded packet is shared by the caches of all who received it, and a retransmission is written from
its fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from media.core.extensions import Plan
    from media.core.rtp import RtpPacket

DEFAULT_CAPACITY: Final = 512
"""Packets: 2 s at 2.5 Mbit/s; the age rules below that."""
DEFAULT_AGE_S: Final = 2.5
"""The longest hold at a receiver, 2.5 round trips of 800 ms, and a half for the way."""


class Sent(NamedTuple):
    """One packet as it went out."""

    number: int
    timestamp: int
    packet: RtpPacket
    plan: Plan
    sent_at: float


class PacketCache:
    """The last packets of one outgoing stream by their outgoing sequence number."""

    __slots__ = ("_mask", "_oldest", "_resent_at", "_ring", "age_s", "repeats")

    age_s: float
    repeats: int
    """Requests ignored because the answer to an earlier one was still on its way."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY, age_s: float = DEFAULT_AGE_S) -> None:
        """Make an empty cache.

        Args:
            capacity: Packets, a power of two up to 32768.
            age_s: Older packets are neither answered nor kept.

        Raises:
            ValueError: The capacity is not a power of two in range.
        """
        if capacity & (capacity - 1) or not 0 < capacity <= 32768:
            raise ValueError("capacity must be a power of two up to 32768")
        self._mask = capacity - 1
        self._ring: list[tuple[int, int, RtpPacket, Plan, float] | None] = [None] * capacity
        self._resent_at: dict[int, float] = {}
        self._oldest = -1
        self.age_s = age_s
        self.repeats = 0

    def put(self, number: int, timestamp: int, packet: RtpPacket, plan: Plan, now: float) -> None:
        """Keep a packet just sent; numbers come in order without gaps (hot path)."""
        ring = self._ring
        mask = self._mask
        place = number & mask
        oldest = self._oldest
        if oldest < 0:
            oldest = place
        elif oldest == place and ring[place] is not None:
            oldest = place + 1 & mask
        ring[place] = (number, timestamp, packet, plan, now)
        # Each packet put lets at most two old ones go: enough to shrink, never a burst of work.
        limit = now - self.age_s
        for _ in (0, 1):
            if oldest == place:
                break
            sent = ring[oldest]
            if sent is not None and sent[4] >= limit:
                break
            ring[oldest] = None
            oldest = oldest + 1 & mask
        self._oldest = oldest

    def find(self, number: int, rtt_s: float, now: float) -> Sent | None:
        """Return the packet to send again, or None; `resent` must be told if it was.

        None if it is not here, or too old, or was sent again less than a round trip ago: then the
        answer is still on its way, and a browser on a fast hop repeats its request every few
        milliseconds (measured: 2,400 to 60,000 numbers in 40 s).
        """
        sent = self._ring[number & self._mask]
        if sent is None or sent[0] != number or sent[4] < now - self.age_s:
            return None
        if now - self._resent_at.get(number, -1e9) < rtt_s:
            self.repeats += 1
            return None
        return Sent(*sent)

    def resent(self, number: int, now: float) -> None:
        """Note that a packet was sent again."""
        if len(self._resent_at) > self._mask:
            self._forget(now - self.age_s)
        self._resent_at[number] = now

    def expire(self, now: float) -> None:
        """Let go of all that is too old; for streams that have gone quiet."""
        limit = now - self.age_s
        for place, sent in enumerate(self._ring):
            if sent is not None and sent[4] < limit:
                self._ring[place] = None
        self._forget(limit)

    def clear(self) -> None:
        """Let go of everything: a key frame comes, and nothing before it is worth repeating."""
        self._ring = [None] * len(self._ring)
        self._resent_at.clear()
        self._oldest = -1

    def _forget(self, limit: float) -> None:
        """Forget repetitions before `limit`, and the older half of what is left if that is all."""
        times = self._resent_at
        kept = [(number, at) for number, at in times.items() if at >= limit]
        self._resent_at = dict(kept[max(0, len(kept) - self._mask // 2) :])

    def __len__(self) -> int:
        return sum(sent is not None for sent in self._ring)
