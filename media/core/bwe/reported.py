# SPDX-License-Identifier: Apache-2.0
"""The down-link of a leg whose browser gives receiver reports and nothing else.

A report a second (voice alone: one in five seconds) has a round trip and how many of the packets
have arrived; which ones they are, and so how many octets, we know. The queue is the round trip above
its minimum, less what is known to stand in the up-link's queue. Coarse, and slow by several reports.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from media.core.bwe.capacity import Capacity, Phase
from media.core.bwe.delay import DelayTracker
from media.core.bwe.estimate import Estimate
from media.core.bwe.losses import OVERFLOWS, LossMeter
from media.core.bwe.reading import of_reports
from media.core.reports import RoundTrip

RECENT: Final = 3
"""Round trips that the smallest is taken of."""
CERTAIN_S: Final = 0.35
"""Above the shortest, no jitter of 80 ms each way: believed after one report."""
STEEPEST: Final = 2
"""Of `media.core.bwe.capacity.STEPS`: with a response of seconds nobody should double."""
MAX_SIZES: Final = 8_192
"""Packets between two reports: 5 s at 5 Mbit/s are 2,600."""
TOGETHER_S: Final = 0.2
"""Reports of several streams that come so close are one."""
SILENCE_S: Final = 12.0
"""Two reports of a voice."""


class ReportedDownlinkEstimator:
    """One receiving leg without transport-wide feedback."""

    __slots__ = (
        "_at", "_base", "_capacity", "_losses", "_octets", "_queue_s", "_recent", "_round_trip",
        "_sizes",
    )  # fmt: skip

    def __init__(self, start_bps: float, rtt_s: float, now: float) -> None:
        """Start with what a probe or the last call on this link has told."""
        self._capacity = Capacity(start_bps, now, STEEPEST)
        self._losses = LossMeter(now)
        self._round_trip = RoundTrip(rtt_s)
        self._base = DelayTracker()
        self._recent: tuple[float, ...] = ()
        self._queue_s = 0.0
        self._octets = 0.0
        self._sizes: deque[int] = deque(maxlen=MAX_SIZES)
        self._at = now

    def sent(self, size: int) -> None:
        """Note a packet that goes out: octets on the wire (hot path)."""
        self._sizes.append(size)

    def reported(
        self, rtt_s: float, expected: int, received: int, now: float, uplink_queue_s: float = 0.0
    ) -> None:
        """Take a report block.

        Args:
            rtt_s: `media.core.reports.round_trip_s`.
            expected: Packets that the browser should have received since its last report.
            received: Those that it has.
            now: Seconds.
            uplink_queue_s: What the report itself waited, from the up-link's estimate.
        """
        passed = now - self._at
        sizes = self._sizes
        octets = sum(sizes.popleft() for _ in range(min(max(0, expected), len(sizes))))
        if expected > 0:
            self._octets += octets * max(0.0, min(1.0, received / expected))
        self._round_trip.measured(rtt_s)
        self._losses.counted(expected, received, now)
        way_s = rtt_s - uplink_queue_s
        self._base.add(way_s, now)
        self._recent = (*self._recent, way_s)[-RECENT:]
        if passed < TOGETHER_S:
            return
        arrived, self._octets = self._octets, 0.0
        self._at = now
        before_s = self._queue_s
        self._queue_s = self._base.above_base(min(self._recent))
        newest_s = self._base.above_base(way_s)
        if newest_s > CERTAIN_S:
            self._queue_s = newest_s
        reading = of_reports(
            arrived,
            passed,
            self._queue_s,
            before_s,
            rtt_s + RECENT * passed,
            overflow=self._losses.overflows >= OVERFLOWS,
        )
        if self._capacity.update(reading, now):
            self._base.clear()
        self._base.frozen = self._capacity.phase is Phase.DRAIN
        if self._base.frozen:
            self._losses.forgive(now)

    def estimate(self, now: float) -> Estimate:
        """Return what is known as of the last report."""
        return Estimate(
            rate_bps=self._capacity.rate_bps,
            usable_bps=self._capacity.usable_bps,
            loss_ratio=self._losses.ratio,
            queue_delay_s=self._queue_s,
            rtt_s=self._round_trip.smoothed_s,
            confident=self._capacity.confident(now) and now - self._at < SILENCE_S,
            calm_s=self._capacity.calm_s(now),
        )
