# SPDX-License-Identifier: Apache-2.0
"""A call from browser to browser: what each of the two may send, by the same ladder as at a relay.

Here a direction has one link, from page to page, and nobody sees its packets: both pages say what they count
(``media.core.bwe.told``). Which end of the link is the weak one can't be known from that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from media.core.asking import GROWS_RATIO, KNOWN_RATIO, OPEN_RATIO, STEP_RATIO, THIN_RATIO, link_of
from media.core.bwe.reading import REPORTS_THRESHOLD_S
from media.core.bwe.told import ToldEstimator
from media.core.direction import Direction
from media.core.limits import START_BPS
from media.core.rungs import Rung

if TYPE_CHECKING:
    from media.core.bwe.estimate import Estimate
    from media.core.fit import Link, Path
    from media.core.ladder import Move
    from media.core.limits import Limits

ASSUMED_RTT_S: Final = 0.3
"""As ``media.relay.seat``: before anything was measured."""
STALE_S: Final = 6.0
"""What arrives is judged no more when its receiver has said nothing for so long: two reports of a thin link did not come, or
its page can't reach us; media may go on, and the page's brake watches it."""
PROBED_SHARE: Final = 0.9
ROOM_RATIO: Final = 1.25
"""Of what the browser's own control has found, and how far above what may be sent it must be to show room. Chromium probes when it
begins, and goes on to about half more than it sends: on 50 Mbit/s it had 117 kbit/s beside 50 that it might send, 217 beside 130
and 310 beside 230 (measured); on a full link it has what the link carries, or less. An encoder that makes less of its limits
than it may would prove nothing else."""
CALM_S: Final = 8.0
"""After a link was seen full, what the browser finds counts again: by then its own control has come down to the link as well."""
PATIENT_AFTER_S: Final = 5.0
PATIENT_PER_S: Final = 0.04
"""Beyond that, time must: a way that is used as it may be and shows no queue is taken for a little more each second on the same
rung. `small` is twice what a `glimpse` sends; at 1.7 times a good link would stay on the lower one for ever."""


class DirectWay:
    """What one page sends to the other."""

    def __init__(self, now: float, start_bps: float = START_BPS) -> None:
        """Begin with ``start_bps``, if that is what is known of the way."""
        self.estimator = ToldEstimator(start_bps, ASSUMED_RTT_S, now)
        self.direction = Direction(None)
        self._counted_at = float("-inf")
        self._available_bps = self._flows_bps = 0.0

    def begin(self, now: float) -> Limits:
        """Return what may be sent at first."""
        return self.direction.begin(Rung.STANDARD, self._path(now), self.estimator.base_rtt_s, now)

    @property
    def is_measured(self) -> bool:
        """Whether its receiver has counted anything yet."""
        return self._counted_at > float("-inf")

    def queue_s(self, now: float) -> float:
        """Return how long what is sent this way waits, as far as is known."""
        return self.estimator.estimate(now).queue_delay_s

    def counted(self, span_s: float, octets: int, expected: int, received: int, now: float) -> None:
        """Take what the receiver counted (``ToldEstimator.counted``)."""
        self._counted_at = now
        if span_s:
            self._flows_bps = octets * 8 / span_s
        self.estimator.counted(span_s, octets, expected, received, now)

    def available(self, bps: float) -> None:
        """Take what the sending browser's own control has found by probing (`availableOutgoingBitrate`); 0 = not known."""
        self._available_bps = bps

    def decide(self, now: float) -> tuple[Limits | None, Move | None]:
        """Return what is to be told to the page that sends, if anything is, and the move behind it."""
        if now - self._counted_at > STALE_S:
            return None, None
        return self.direction.decide(self._path(now), self.estimator.base_rtt_s, now)

    def braked(self, now: float) -> tuple[Limits | None, Move | None]:
        """Take the page's word that it has stopped its picture by itself; return as ``decide``."""
        return self.direction.braked(self._path(now), self.estimator.base_rtt_s, now)

    def _path(self, now: float) -> Path:
        return (self._link(now),)

    def _link(self, now: float) -> Link:
        estimate = self.estimator.estimate(now)
        link = link_of(estimate, self.estimator.silence_s)
        if estimate.queue_delay_s > REPORTS_THRESHOLD_S or estimate.calm_s < CALM_S:
            return link
        return self._wider(estimate, link, now)

    def _wider(self, estimate: Estimate, link: Link, now: float) -> Link:
        """Return what the way may be taken for, by what the browser has found, or by time."""
        state = self.direction.state
        known_bps, found_bps = estimate.rate_bps, PROBED_SHARE * self._available_bps
        if state is None or (estimate.confident and not self._available_bps):
            return link
        if self._available_bps:
            may_bps = self.direction.wire_bps((link,))
            if self._available_bps < ROOM_RATIO * may_bps:
                full = self._available_bps < ROOM_RATIO * self._flows_bps
                hoped_bps = min(link.rate_bps, known_bps * KNOWN_RATIO) if full else link.rate_bps
                return replace(link, rate_bps=max(hoped_bps, found_bps))
            known_bps = max(known_bps, may_bps)
        elif estimate.usable_bps <= known_bps * GROWS_RATIO:
            return link
        patience = max(0.0, (now - state.since - PATIENT_AFTER_S) * PATIENT_PER_S)
        patient_bps = known_bps * min(OPEN_RATIO, THIN_RATIO + patience)
        if self._available_bps:
            patient_bps = min(patient_bps, ROOM_RATIO * self._available_bps)
        more_bps = max(min(found_bps, known_bps * OPEN_RATIO), patient_bps)
        return replace(
            link,
            rate_bps=max(link.rate_bps, more_bps),
            usable_bps=max(link.usable_bps, min(more_bps, known_bps * STEP_RATIO)),
        )
