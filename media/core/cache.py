# SPDX-License-Identifier: Apache-2.0
"""What was sent lately on one stream, for retransmission (RFC 4585 §6.2.1, RFC 4588).

Bounded by count and by age. Packets are kept as they came from the sender, not as bytes sent: a
forwarded packet is shared by the caches of all who received it, and a retransmission is written from
its fields.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from media.core.serial import MASK_16

if TYPE_CHECKING:
    from media.core.extensions import Plan
    from media.core.rtp import RtpPacket

DEFAULT_CAPACITY: Final = 512
"""Packets: 2 s at 2.5 Mbit/s; the age rules below that."""
MAX_AGE_S: Final = 2.5
"""The longest hold at a receiver, 2.5 round trips of 800 ms, and a half for the way."""
MIN_AGE_S: Final = 1.0
"""On a short way: a browser that hears nothing for half a second and then asks is still answered."""


class Sent(NamedTuple):
    """One packet as it went out."""

    number: int
    timestamp: int
    packet: RtpPacket
    plan: Plan
    sent_at: float


def useful_s(rtt_s: float) -> float:
    """Return how long packets to a receiver that is a round trip away may still be asked for.

    Four round trips: the hold's two and a half, and the queue that an outage leaves. With less a picture on 64/48 kbit/s
    at 500 ms came at 2 instead of 3 frames a second (in virtual time).
    """
    return max(MIN_AGE_S, min(MAX_AGE_S, 4 * rtt_s + 0.6))


class PacketCache:
    """The last packets of one outgoing stream by their outgoing sequence number."""

    __slots__ = ("_capacity", "_first", "_resent_at", "_sent", "age_s", "repeats")

    age_s: float
    """May be changed at any time."""
    repeats: int
    """Requests ignored: it has come, or the answer to an earlier one was still on its way."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY, age_s: float = MAX_AGE_S) -> None:
        """Make an empty cache of at most so many packets, none of them older than `age_s`."""
        self._capacity = capacity
        self._sent: deque[tuple[int, int, RtpPacket, Plan, float]] = deque()
        self._first = 0  # number of the oldest
        self._resent_at: dict[int, float] = {}
        self.age_s = age_s
        self.repeats = 0

    def put(self, number: int, timestamp: int, packet: RtpPacket, plan: Plan, now: float) -> None:
        """Keep a packet just sent; numbers come in order without gaps (hot path)."""
        sent = self._sent
        sent.append((number, timestamp, packet, plan, now))
        limit = now - self.age_s
        while sent[0][4] < limit or len(sent) > self._capacity:
            sent.popleft()
        self._first = sent[0][0]

    def find(self, number: int, rtt_s: float, now: float) -> Sent | None:
        """Return the packet to send again, or None; `resent` must be told if it was.

        None if it is not here, or too old, or was sent again less than a round trip ago: then the
        answer is still on its way, and a browser on a fast hop repeats its request every few
        milliseconds (measured: 2,400 to 60,000 numbers in 40 s).
        """
        place = (number - self._first) & MASK_16
        if place >= len(self._sent) or self._sent[place][4] < now - self.age_s:
            return None
        if now - self._resent_at.get(number, -1e9) < rtt_s:
            self.repeats += 1
            return None
        return Sent(*self._sent[place])

    def resent(self, number: int, now: float) -> None:
        """Note that a packet was sent again."""
        if len(self._resent_at) >= self._capacity:
            self._forget(now - self.age_s)
        self._resent_at[number] = now

    def expire(self, now: float) -> None:
        """Let go of all that is too old; for streams that have gone quiet."""
        limit = now - self.age_s
        sent = self._sent
        while sent and sent[0][4] < limit:
            sent.popleft()
        if sent:
            self._first = sent[0][0]
        self._forget(limit)

    def clear(self) -> None:
        """Let go of everything: a key frame comes, and nothing before it is worth repeating."""
        self._sent.clear()
        self._resent_at.clear()

    def _forget(self, limit: float) -> None:
        """Forget repetitions before `limit`, and the older half of what is left if that is all."""
        times = self._resent_at
        kept = [(number, at) for number, at in times.items() if at >= limit]
        self._resent_at = dict(kept[max(0, len(kept) - self._capacity // 2) :])

    def __len__(self) -> int:
        return len(self._sent)
