# SPDX-License-Identifier: Apache-2.0
"""One direction of a link, from packets with a time of sending and a time of arrival.

Whether the arrivals are our own or the other side tells us of them makes no difference here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.bwe.arrivals import SILENCE_S, ArrivalMeter
from media.core.bwe.capacity import Capacity, Phase
from media.core.bwe.delay import DelayTracker
from media.core.bwe.estimate import Estimate
from media.core.bwe.losses import OVERFLOWS, LossMeter
from media.core.bwe.probe import ProbePlan, ProbePlanner
from media.core.bwe.reading import Reading
from media.core.reports import RoundTrip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from media.core.bwe.arrivals import Arrival, Pace

INTERVAL_S: Final = 0.1
"""Readings in between change nothing: a tenth of the window that they are taken over."""
BESIDE_S: Final = 2.5
"""What is carried beside the media is told each second; it has ended when nothing was said for so long."""
WINDOW_S: Final = 0.6
"""What `ArrivalMeter` and `DelayTracker` look back over, added to a round trip, is a link's response."""


class LinkWatch:
    """What is known about one direction of one leg."""

    __slots__ = (
        "_arrivals", "_beside_at", "_beside_bps", "_capacity", "_delay", "_losses", "_next_at", "_planner", "_queue_s",
        "_round_trip",
    )  # fmt: skip

    def __init__(self, start_bps: float, rtt_s: float, now: float) -> None:
        """Start with what a probe or the last call on this link has told.

        Args:
            start_bps: Rate to begin with.
            rtt_s: Round trip, as ICE or DTLS have seen it.
            now: Seconds.
        """
        self._capacity = Capacity(start_bps, now)
        self._delay = DelayTracker()
        self._arrivals = ArrivalMeter()
        self._losses = LossMeter(now)
        self._planner = ProbePlanner(now)
        self._round_trip = RoundTrip(rtt_s)
        self._queue_s = 0.0
        self._beside_bps, self._beside_at = 0.0, now
        self._next_at = now

    def measured_rtt(self, rtt_s: float) -> None:
        """Take a round trip (`media.core.reports.round_trip_s`, a STUN check)."""
        self._round_trip.measured(rtt_s)

    def counted(self, expected: int, received: int, now: float) -> None:
        """Add packets that should have arrived and that did, since the last call."""
        self._losses.counted(expected, received, now)

    def carried_beside(self, rate_bps: float, now: float) -> None:
        """Note what the link carries that doesn't come this way: content on the page's WebSocket.

        A link that carries both has proved the rate of both, and a full one has it.
        """
        self._beside_bps, self._beside_at = rate_bps, now

    def beside_bps(self, now: float) -> float:
        """Return what was said to be carried beside the media, lately."""
        return self._beside_bps if now - self._beside_at <= BESIDE_S else 0.0

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """Note packets in the order of their arrival.

        Their times of arrival must be of the caller's own clock, or one that runs with it. In bulk: one by one they cost
        five times as much.
        """
        self._arrivals.add_all(arrivals)
        self._delay.add_all(arrivals)

    def estimate(self, now: float) -> Estimate:
        """Return what is known now; to be asked a few times a second."""
        if now >= self._next_at:
            self._next_at = now + INTERVAL_S
            self._read(now)
        capacity = self._capacity
        return Estimate(
            rate_bps=capacity.rate_bps,
            usable_bps=capacity.usable_bps,
            loss_ratio=self._losses.ratio,
            queue_delay_s=self._queue_s,
            rtt_s=self._round_trip.smoothed_s,
            confident=capacity.confident(now) and self._arrivals.silence_s(now) < SILENCE_S,
            calm_s=capacity.calm_s(now),
        )

    def probe(self, wanted_bps: float, now: float, sending_bps: float = 0.0) -> ProbePlan | None:
        """Return what to send beside the media to learn whether the link carries `wanted_bps`.

        None: it is known to, or it was asked lately, or a queue stands. The caller sends the trains;
        what they prove shows in `estimate`. After a burst of losses less arrives than is sent: what is
        known to be sent is not sent twice (64 kbit/s were asked for 96, in virtual time).
        """
        pace = self._arrivals.pace(now, self._delay.noise_s)
        if pace is None:
            return None
        return self._planner.plan(
            wanted_bps,
            self._capacity,
            max(self._whole(pace, now).carried_bps, sending_bps),
            self._arrivals.window_s(self._delay.noise_s),
            self._round_trip.smoothed_s,
            now,
        )

    def proved(self, rate_bps: float, now: float) -> None:
        """Take what others have proved that the link carries; one that was seen full lately is not believed to."""
        self._capacity.proved(rate_bps, now)

    def fell(self, now: float) -> None:
        """Note that less is sent from now on: what was asked for in vain before is no reason to wait."""
        self._planner = ProbePlanner(now)

    def _whole(self, pace: Pace, now: float) -> Pace:
        """Return the pace of all that the link carries."""
        beside_bps = self.beside_bps(now)
        return type(pace)(*(rate_bps + beside_bps for rate_bps in pace)) if beside_bps else pace

    def _read(self, now: float) -> None:
        paces = self._arrivals.paces(now, self._delay.noise_s)
        if paces is None:
            return
        pace, quick = self._whole(paces[0], now), self._whole(paces[1], now)
        self._queue_s = self._delay.queue_s(now)
        reading = Reading(
            pace=pace,
            quick=quick,
            queue_s=self._queue_s,
            threshold_s=self._delay.threshold_s,
            overflow=self._losses.overflows >= OVERFLOWS,
            response_s=self._round_trip.smoothed_s + WINDOW_S,
        )
        if self._capacity.update(reading, now):
            self._delay.rebase(now)
        self._delay.frozen = self._capacity.phase is Phase.DRAIN
        if self._delay.frozen:
            self._losses.forgive(now)
