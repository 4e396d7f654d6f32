# SPDX-License-Identifier: Apache-2.0
"""How much arrives: the rate of the last moments, over the time that the packets really took.

What is lost in the air took its time on the link like any other packet. So intervals that span a
loss are left out, with their packet: what remains has the link's pace whether packets were lost
after the bottleneck (the interval is long) or dropped before it (it is not).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Arrival: TypeAlias = tuple[float, float, int, bool]
"""Time of sending on the sender's clock, time of arrival, octets on the wire, whether packets before it are missing."""

MIN_SPAN_S: Final = 0.5
MIN_PACKETS: Final = 24
MAX_SPAN_S: Final = 1.5
"""The rate is of the last half second, and of more until 24 packets are in it: jitter of 80 ms and
packets of 400 octets on 30 kbit/s are noise of 10 % then. 1.5 s bounds how long a step is hidden."""
QUICK_PACKETS: Final = 8
LEAST_PACKETS: Final = 4
NOISE_SPANS: Final = 20.0
"""Times the noise of delays, so that jitter at both ends of the window is 5 % of it."""
MIN_CLEAN_RATIO: Final = 0.4
BURST_S: Final = 0.2
"""With less than this share of time free of losses, a full queue is dropping: then only one interval is
left out, if it is so long that it must be a fade."""
MAX_KEPT: Final = 1_024
"""Packets: 2 s at 5 Mbit/s."""
KEPT_S: Final = 1.2 * MAX_SPAN_S
"""Nobody looks back further."""
SILENCE_S: Final = 2.0
"""No packet for so long is an outage or a sender that has stopped: nothing is concluded from it."""


class Pace(NamedTuple):
    """Rates in bits per second."""

    arrived_bps: float
    """In the time of arrival: the link's own pace while it is busy, also when it carries in one
    second what was sent in two."""
    carried_bps: float
    """In the longer of the times of sending and arrival: what jitter has pushed together was not
    carried faster. Proof that the link carries as much, for as long as anybody sends."""
    sent_bps: float
    """In the time of sending. More than has arrived: a queue grows; less: it shrinks; as much:
    nothing says that the link is at its limit."""


class ArrivalMeter:
    """Arrivals of one direction."""

    __slots__ = ("_at", "_octets", "_sent_at")

    def __init__(self) -> None:
        # Columns: 24 octets a packet, where a tuple of its own would be 150.
        self._sent_at = array("d")
        self._at = array("d")
        self._octets = array("d")  # negative where packets before it are missing

    def add_all(self, arrivals: Sequence[Arrival]) -> None:
        """Note packets in the order of their arrival."""
        at = self._at
        if not arrivals:
            return
        newest_at = arrivals[-1][1]
        if at and newest_at - at[-1] > SILENCE_S:
            arrivals = self._after_silence(arrivals)
        self._sent_at.fromlist([arrival[0] for arrival in arrivals])
        at.fromlist([arrival[1] for arrival in arrivals])
        self._octets.fromlist([-size if lost else size for _, _, size, lost in arrivals])
        if newest_at - at[0] > KEPT_S or len(at) > MAX_KEPT:
            self._forget(max(bisect_left(at, newest_at - KEPT_S), len(at) - MAX_KEPT))

    def _after_silence(self, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        """Forget what came before an outage: it has no interval to what comes after. Return what did."""
        before = self._at[-1]
        first = 0
        for index, (_, at, _, _) in enumerate(arrivals):
            if at - before > SILENCE_S:
                self._forget(len(self._at))
                first = index
            before = at
        return arrivals[first:]

    def _forget(self, count: int) -> None:
        for column in (self._sent_at, self._at, self._octets):
            del column[:count]

    def silence_s(self, now: float) -> float:
        """Return how long nothing has arrived; infinity if nothing ever did."""
        return now - self._at[-1] if self._at else float("inf")

    def pace(self, now: float, noise_s: float = 0.0) -> Pace | None:
        """Return the rate of what arrived lately; None if that is too little to tell.

        Args:
            now: Seconds.
            noise_s: `media.core.bwe.delay.DelayTracker.noise_s`: jitter makes the look back longer.
        """
        if self.silence_s(now) > MAX_SPAN_S:
            return None
        return self._since(self._first(MIN_PACKETS, max(MIN_SPAN_S, noise_s * NOISE_SPANS)))

    def window_s(self, noise_s: float = 0.0) -> float:
        """Return how far `pace` looks back, as far as it may while there are fewer packets than it wants."""
        if len(self._at) < MIN_PACKETS:
            return MAX_SPAN_S
        at = self._at
        return at[-1] - at[self._first(MIN_PACKETS, max(MIN_SPAN_S, noise_s * NOISE_SPANS))]

    def paces(self, now: float, noise_s: float = 0.0) -> tuple[Pace, Pace] | None:
        """Return the same, and the rate over a third of the packets only: noisy, but soon true after a step."""
        if self.silence_s(now) > MAX_SPAN_S:
            return None
        first = self._first(MIN_PACKETS, max(MIN_SPAN_S, noise_s * NOISE_SPANS))
        pace = self._since(first)
        if pace is None:
            return None
        quick = self._first(QUICK_PACKETS, MIN_SPAN_S)
        return pace, pace if quick == first else self._since(quick) or pace

    def _first(self, packets: int, least_s: float) -> int:
        """Return the packet that a window of so many packets and so much time begins with."""
        at = self._at
        newest = len(at) - 1
        first = min(newest - packets, bisect_right(at, at[newest] - least_s) - 1)
        return max(0, first, bisect_right(at, at[newest] - MAX_SPAN_S) - 1)

    def _since(self, first: int) -> Pace | None:
        at, sent_at = self._at, self._sent_at
        # A packet belongs to the interval that ends with its arrival.
        sizes = self._octets[first + 1 :]
        span, sent_span = at[-1] - at[first], sent_at[-1] - sent_at[first]
        if len(sizes) < LEAST_PACKETS or span < MIN_SPAN_S / 2:
            return None
        octets = sum(sizes)
        if min(sizes) < 0:
            octets = sum(map(abs, sizes))
            broken_s, broken_sent_s, broken = self._broken(first, span)
            if span - broken_s >= MIN_SPAN_S / 4:
                span, sent_span, octets = (
                    span - broken_s,
                    sent_span - broken_sent_s,
                    octets - broken,
                )
        bits = octets * 8
        arrived_bps, sent_bps = bits / max(span, 0.05), bits / max(sent_span, 0.05)
        return Pace(arrived_bps, min(arrived_bps, sent_bps), sent_bps)

    def _broken(self, first: int, span: float) -> tuple[float, float, float]:
        """Return the time, the time of sending and the octets of the intervals that are to be left out."""
        at, sent_at, octets = self._at, self._sent_at, self._octets
        found = [
            (at[index] - at[index - 1], sent_at[index] - sent_at[index - 1], -octets[index])
            for index in range(len(at) - 1, first, -1)
            if octets[index] < 0
        ]
        broken_s = sum(each[0] for each in found)
        if span - broken_s < MIN_CLEAN_RATIO * span:
            longest = max(found, key=lambda each: each[0])
            return longest if longest[0] >= BURST_S else (0.0, 0.0, 0.0)
        return broken_s, sum(each[1] for each in found), sum(each[2] for each in found)
