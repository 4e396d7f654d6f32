# SPDX-License-Identifier: Apache-2.0
"""Asking a link for more than is being sent: small trains beside the media, never a burst.

A voice alone proves its own 20 kbit/s and nothing else, and silence proves nothing. Whoever wants
more asks for a plan: trains of at most three packets, spaced so that media and trains together are
the rate in question, for as long as it takes to see a queue if there will be one. The spacing
between a train's packets doesn't matter: jitter of 80 ms hides what three packets take on anything
above 100 kbit/s, so the proof is the sum of many trains without a queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from media.core.bwe.capacity import Phase

if TYPE_CHECKING:
    from media.core.bwe.capacity import Capacity

TRAIN_PACKETS: Final = 3
SMALL_BYTES: Final = 400
LARGE_BYTES: Final = 1_200
SMALL_BELOW_BPS: Final = 150_000.0
"""1,200 octets block 48 kbit/s for 200 ms: below 150 kbit/s nothing behind voice is so large."""
FACTOR: Final = 1.5
CAREFUL_FACTOR: Final = 1.2
"""Over what is known. If it is too much, 1.5 makes a queue of 0.6 s in ``LAST_S``: the whole of a consumer modem's, and
media is dropped (measured at 650 ms: 10 packets a probe, and a picture that stood for 5 s). So a link that gave nothing last
time is asked for a fifth more: 0.24 s."""
LAST_S: Final = 1.2
"""Of probing: the longest window of `ArrivalMeter` with what jitter hides of it is 1.5 s."""
SPACING_S: Final = 5.0
MAX_SPACING_S: Final = 40.0
"""Doubled by each plan that proved nothing: 1.2 s of 40 s, at a third of the rate, is 1 % of the data."""
GAINED_RATIO: Final = 1.1


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What to send beside the media."""

    packets: int
    """Per train, sent back to back; at most 3."""
    size_bytes: int
    """Of each, on the wire."""
    interval_s: float
    """Between the beginnings of two trains."""
    trains: int
    target_bps: float
    """What media and trains are together."""

    @property
    def total_bytes(self) -> int:
        """What the plan costs."""
        return self.packets * self.size_bytes * self.trains


class ProbePlanner:
    """Says when asking is worth it."""

    __slots__ = ("_before_bps", "_next_at", "_spacing_s")

    def __init__(self, now: float) -> None:
        self._next_at = now
        self._spacing_s = SPACING_S
        self._before_bps = 0.0

    def plan(
        self, wanted_bps: float, capacity: Capacity, arrived_bps: float, rtt_s: float, now: float
    ) -> ProbePlan | None:
        """Return a plan, or None if there is nothing to learn or it is too early to ask again.

        Args:
            wanted_bps: What would be sent if the link carried it.
            capacity: What is known.
            arrived_bps: What arrives now.
            rtt_s: Smoothed round trip.
            now: Seconds.
        """
        known_bps = capacity.rate_bps
        if wanted_bps <= known_bps or capacity.phase is Phase.DRAIN or now < self._next_at:
            return None
        if self._before_bps:
            gained = known_bps > self._before_bps * GAINED_RATIO
            self._spacing_s = SPACING_S if gained else min(MAX_SPACING_S, self._spacing_s * 2)
            self._before_bps = 0.0
            if not gained:
                self._next_at = now + self._spacing_s - SPACING_S
                if now < self._next_at:
                    return None
        careful = self._spacing_s > SPACING_S
        target_bps = min(wanted_bps, known_bps * (CAREFUL_FACTOR if careful else FACTOR))
        extra_bps = target_bps - arrived_bps
        if extra_bps <= 0:
            return None
        size = SMALL_BYTES if target_bps < SMALL_BELOW_BPS else LARGE_BYTES
        packets = max(1, min(TRAIN_PACKETS, int(extra_bps * LAST_S / 8 / size / 4)))
        interval_s = packets * size * 8 / extra_bps
        lasts_s = LAST_S
        # The next one when this one's proof is in.
        self._next_at = now + lasts_s + rtt_s + (SPACING_S if self._spacing_s > SPACING_S else 1.0)
        self._before_bps = known_bps
        return ProbePlan(
            packets, size, interval_s, max(1, math.ceil(lasts_s / interval_s)), target_bps
        )
