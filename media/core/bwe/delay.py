# SPDX-License-Identifier: Apache-2.0
"""How long packets wait in the queue: one-way delay above the shortest seen lately.

The two clocks need not agree: only differences count. Jitter is told from a queue by taking minima:
a queue delays every packet, jitter leaves some alone. So the queue is the smallest delay of the last
few packets above the smallest of the last minute, and what counts as a queue rises with how much packets differ.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from media.core.bwe.arrivals import Arrival

BUCKET_S: Final = 10.0
BUCKETS: Final = 6
"""The base is the minimum of the last minute: clocks that drift apart by 100 ppm make 6 ms of it."""
MIN_SAMPLES: Final = 12
"""With jitter spread evenly over 160 ms the smallest of 12 is 12 ms above the true one, and over
`threshold_s` above it in 0.5 % of the windows."""
MIN_SPAN_S: Final = 0.25
"""Two frames of a picture at 8 fps and more: between them the queue of a link that keeps up is empty."""
NOISE_SPANS: Final = 15.0
"""Times the noise: where packets can't overtake, a late one makes all behind it late, and a window of
twice the jitter's spread may have no early one."""
CROWDED_RATIO: Final = 0.5
"""Packets closer than half the noise share their delays; others have their own, and 12 are enough."""
MAX_SPAN_S: Final = 1.0
"""12 packets of 60 ms voice are 0.7 s. Older delays say nothing of now."""
QUICK_SAMPLES: Final = 5
QUICK_NOISE: Final = 1.5
"""Five packets are enough for a queue that jitter can't feign: with the threshold, more than the whole
spread of an even jitter."""
MAX_RECENT: Final = 1_024
KEPT_S: Final = 1.2 * MAX_SPAN_S
"""Nobody looks back further."""
THRESHOLD_S: Final = 0.03
"""More than this is a queue on a link without jitter: a 1,200-octet packet at 320 kbit/s."""
NOISE_SHARE: Final = 0.9
"""Of the noise, which is half the spread of an even jitter."""
NOISE_WEIGHT: Final = 0.05
"""Of a new window, ten a second: 2 s."""
MAX_THRESHOLD_S: Final = 0.12
MAX_SPREAD_S: Final = 0.2
"""Of a window; more is a step or an outage."""


class DelayTracker:
    """Delays of one direction."""

    __slots__ = ("_base", "_buckets", "_recent", "_recent_at", "frozen", "noise_s")

    noise_s: float
    """Smoothed difference between the mean and the smallest delay of a window."""

    frozen: bool
    """While a queue stands the base must not grow old: it may stand for minutes."""

    def __init__(self) -> None:
        self.frozen = False
        self._recent_at = array("d")
        self._recent = array("d")
        self._buckets: list[tuple[float, float]] = []
        self._base = float("inf")
        self.noise_s = 0.0

    @property
    def threshold_s(self) -> float:
        """A delay above this is a queue, not jitter."""
        return min(MAX_THRESHOLD_S, THRESHOLD_S + NOISE_SHARE * self.noise_s)

    def add(self, delay_s: float, at: float) -> None:
        """Note a delay, from any origin, of what arrived `at`."""
        self._recent_at.append(at)
        self._recent.append(delay_s)
        self._note(delay_s, at)
        self._forget(at)

    def add_all(self, arrivals: Sequence[Arrival]) -> None:
        """Note the delays of packets in the order of their arrival."""
        if not arrivals:
            return
        delays = [at - sent_at for sent_at, at, _, _ in arrivals]
        newest_at = arrivals[-1][1]
        self._recent_at.fromlist([arrival[1] for arrival in arrivals])
        self._recent.fromlist(delays)
        self._forget(newest_at)
        buckets = self._buckets
        if buckets and newest_at - buckets[-1][0] < BUCKET_S:
            self._note(min(delays), newest_at)
        else:
            for delay_s, (_, at, _, _) in zip(delays, arrivals, strict=True):
                self._note(delay_s, at)

    def _note(self, delay_s: float, at: float) -> None:
        buckets = self._buckets
        if not buckets or at - buckets[-1][0] >= BUCKET_S:
            buckets.append((at, delay_s))
            del buckets[:-BUCKETS]
            lowest = min(value for _, value in buckets)
            self._base = min(self._base, lowest) if self.frozen else lowest
        elif delay_s < buckets[-1][1]:
            buckets[-1] = (buckets[-1][0], delay_s)
            if delay_s < self._base:
                self._base = delay_s

    def _forget(self, now: float) -> None:
        recent_at = self._recent_at
        if now - recent_at[0] > KEPT_S or len(recent_at) > MAX_RECENT:
            count = max(bisect_left(recent_at, now - KEPT_S), len(recent_at) - MAX_RECENT)
            del recent_at[:count]
            del self._recent[:count]

    def queue_s(self, now: float) -> float:
        """Return how long packets that arrived last had waited; 0 if none arrived lately.

        To be asked about ten times a second: it also learns the noise.

        A queue larger than any jitter is believed after few packets.
        """
        found = self._lowest(now)
        if found is None:
            return 0.0
        lowest, quick, mean = found
        self.noise_s += (min(MAX_SPREAD_S, mean - lowest) - self.noise_s) * NOISE_WEIGHT
        return max(0.0, lowest - self._base, quick - self._base - QUICK_NOISE * self.noise_s)

    def above_base(self, delay_s: float) -> float:
        """Return by how much a delay exceeds the shortest seen lately."""
        return max(0.0, delay_s - self._base) if self._buckets else 0.0

    def clear(self) -> None:
        """Forget the way without a queue: the next delay begins a new one."""
        self._buckets.clear()
        self._base = float("inf")

    def rebase(self, now: float) -> None:
        """Take what is measured now for the way without a queue: the way itself has changed."""
        found = self._lowest(now)
        if found is not None:
            self._buckets.clear()
            self._buckets.append((now, found[0]))
            self._base = found[0]

    def _lowest(self, now: float) -> tuple[float, float, float] | None:
        """Return the window's smallest delay, that of its last few packets, and the mean."""
        recent, recent_at = self._recent, self._recent_at
        if not recent or now - recent_at[-1] > MAX_SPAN_S:
            return None
        # With little noise: what the loop below would find, at a third of its cost.
        if self.noise_s * NOISE_SPANS <= MIN_SPAN_S:
            first = min(len(recent) - MIN_SAMPLES, bisect_left(recent_at, now - MIN_SPAN_S))
            window = recent[max(0, first, bisect_left(recent_at, now - MAX_SPAN_S)) :]
            return min(window), min(window[-QUICK_SAMPLES:]), sum(window) / len(window)
        lowest = quick = recent[-1]
        count = 0
        total = 0.0
        least_s = max(MIN_SPAN_S, NOISE_SPANS * self.noise_s)
        for at, delay_s in zip(reversed(recent_at), reversed(recent), strict=True):
            age = now - at
            if age > MAX_SPAN_S:
                break
            if count >= MIN_SAMPLES and age > MIN_SPAN_S:
                crowded = age < count * self.noise_s * CROWDED_RATIO
                if age > least_s or not crowded:
                    break
            count += 1
            total += delay_s
            if delay_s < lowest:
                lowest = delay_s
            if count == QUICK_SAMPLES:
                quick = lowest
        return lowest, quick if count >= QUICK_SAMPLES else lowest, total / count
