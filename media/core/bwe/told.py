# SPDX-License-Identifier: Apache-2.0
"""One direction between two browsers, from what both count of it (webrtc-stats): no packet of it is seen here.

Whoever receives says how much arrived and what is missing, and how long sender reports took, on two clocks whose difference
nobody knows; whoever sends says round trips. One report in a second or two: coarser than what a relay sees, and its limits
follow from it, slower by about two reports.
"""

from __future__ import annotations

from typing import Final

from media.core.bwe.capacity import Capacity, Phase
from media.core.bwe.delay import DelayTracker
from media.core.bwe.estimate import Estimate
from media.core.bwe.losses import OVERFLOWS, LossMeter
from media.core.bwe.reading import of_reports
from media.core.reports import RoundTrip

RECENT: Final = 2
"""Delays that the smallest is taken of. One more would be another second or two of a queue unseen."""
CERTAIN_S: Final = 0.3
"""Above the shortest, no jitter of 80 ms: believed after one delay."""
FRESH_S: Final = 4.0
"""A delay is of now for so long; then the round trip must do. A picture's sender reports come each second, a voice's each five."""
REPORTS: Final = 2
"""Reports until a change of what may be sent is seen in what arrives: it falls into the first one."""
STEEPEST: Final = 2
"""Of ``media.core.bwe.capacity.STEPS``: with a response of seconds nobody should double."""
USED_RATIO: Final = 0.6
"""A sender that uses all of its limits has a mean of this of what is usable: they aim at 0.85 of it, and people pause. Means over
a second or two have no peaks that would show more, as a relay's windows of half a second do."""
LEAST_SPAN_S: Final = 0.25
"""Rates over less are noise."""
DARK_S: Final = 3.0
"""As ``media.relay.seat``: after such a silence what was lost says nothing of the link that is back."""


class ToldEstimator:
    """One direction."""

    __slots__ = (
        "_capacity", "_delay_at", "_delays", "_losses", "_queue_s", "_recent", "_round_trip", "_trips", "_way_s",
        "silence_s",
    )  # fmt: skip

    silence_s: float
    """For how long nothing had arrived when the receiver last said something."""

    def __init__(self, start_bps: float, rtt_s: float, now: float) -> None:
        """Start with what is known of the way, if anything is."""
        self._capacity = Capacity(start_bps, now, STEEPEST, USED_RATIO)
        self._losses = LossMeter(now)
        self._round_trip = RoundTrip(rtt_s)
        self._delays = DelayTracker()
        self._trips = DelayTracker()
        self._recent: tuple[float, ...] = ()
        self._way_s: tuple[float, ...] = ()
        self._delay_at = float("-inf")
        self._queue_s = 0.0
        self.silence_s = 0.0

    @property
    def base_rtt_s(self) -> float:
        """The shortest round trip seen."""
        return self._round_trip.base_s

    def anew(self, now: float) -> None:
        """Forget delays and losses: there is another connection, or the link was down. Its rate is known still."""
        rate_bps = self._capacity.rate_bps
        self._capacity = Capacity(rate_bps, now, STEEPEST, USED_RATIO)
        ratio, self._losses = self._losses.ratio, LossMeter(now)
        self._losses.ratio = ratio
        self._delays.clear()
        self._trips.clear()
        self._recent = self._way_s = ()
        self._delay_at = float("-inf")
        self._queue_s = 0.0

    def measured_rtt(self, rtt_s: float, other_queue_s: float, now: float) -> None:
        """Take a new round trip of the sender's.

        Args:
            rtt_s: There and back.
            other_queue_s: What it waited on the way back, as is known from the other direction's estimate.
            now: Seconds.
        """
        self._round_trip.measured(rtt_s)
        way_s = max(0.0, rtt_s - other_queue_s)
        self._trips.add(way_s, now)
        self._way_s = (*self._way_s, way_s)[-RECENT:]

    def measured_delay(self, delay_s: float, now: float) -> None:
        """Take a new delay of a sender report, from any origin."""
        self._delays.add(delay_s, now)
        self._recent = (*self._recent, delay_s)[-RECENT:]
        self._delay_at = now

    def counted(self, span_s: float, octets: int, expected: int, received: int, now: float) -> None:
        """Take what arrived since the last report.

        Args:
            span_s: How long that is, on the receiver's clock.
            octets: On the wire.
            expected: Packets that should have arrived.
            received: Those that did.
            now: Seconds.
        """
        if not octets:
            self.silence_s += span_s
            return
        dark, self.silence_s = self.silence_s >= DARK_S, 0.0
        if dark:
            self.anew(now)
            return
        self._losses.counted(expected, received, now)
        if span_s < LEAST_SPAN_S:
            return
        before_s = self._queue_s
        self._queue_s = self._queue(now)
        reading = of_reports(
            octets,
            span_s,
            self._queue_s,
            before_s,
            self._round_trip.smoothed_s + REPORTS * span_s,
            overflow=self._losses.overflows >= OVERFLOWS,
        )
        if self._capacity.update(reading, now):
            self._delays.clear()
            self._trips.clear()
        draining = self._capacity.phase is Phase.DRAIN
        self._delays.frozen = self._trips.frozen = draining
        if draining:
            self._losses.forgive(now)

    def _queue(self, now: float) -> float:
        if now - self._delay_at <= FRESH_S:
            base, recent = self._delays, self._recent
        elif self._way_s:
            base, recent = self._trips, self._way_s
        else:
            return 0.0
        newest_s = base.above_base(recent[-1])
        return newest_s if newest_s > CERTAIN_S else base.above_base(min(recent))

    def estimate(self, now: float) -> Estimate:
        """Return what is known as of the last report."""
        return Estimate(
            rate_bps=self._capacity.rate_bps,
            usable_bps=self._capacity.usable_bps,
            loss_ratio=self._losses.ratio,
            queue_delay_s=self._queue_s,
            rtt_s=self._round_trip.smoothed_s,
            confident=self._capacity.confident(now),
            calm_s=self._capacity.calm_s(now),
        )
