# SPDX-License-Identifier: Apache-2.0
"""Asking a link for more than is being sent: small trains beside the media, never a burst.

A voice alone proves its own 20 kbit/s and nothing else, and silence proves nothing. Whoever wants
more asks for a plan: trains of at most three packets, each sent when media and trains together have
fallen behind the rate in question, for as long as it takes to see a queue if there will be one. The
spacing between a train's packets doesn't matter: jitter of 80 ms hides what three packets take on
anything above 100 kbit/s, so the proof is the sum of many trains without a queue.
"""

from __future__ import annotations

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
CAREFUL_FACTOR: Final = 1.15
"""Over what is known. If it is too much, 1.5 makes a queue of 0.4 s in the 0.8 s of a plan beside a picture, and a receiver's
voice buffer stays as deep for half a minute (0.26 s, measured at 650 ms). So a link that was seen full lately, or gave nothing
last time, is asked for a seventh more: 0.12 s."""
LAST_S: Final = 1.2
"""Of probing, at most: the longest window of `ArrivalMeter` with what jitter hides of it is 1.5 s."""
BEYOND_S: Final = 0.3
"""Of probing, beyond the window that arrivals are counted in: what is known follows the window's rate within 0.6 s."""
PROOF_S: Final = 0.5
"""After that and a round trip a plan's proof is in: feedback each 0.2 s, a reading each 0.1 s, a command each 0.2 s."""
SPACING_S: Final = 5.0
MAX_SPACING_S: Final = 40.0
"""Doubled by each plan that proved nothing: 1.2 s of 40 s, at a seventh of the rate, is 0.5 % of the data."""
ASKED_RATIO: Final = 1.15
"""Asked for over what is wanted: not all that a plan adds is proved (a sixth of it to six sevenths, in virtual time)."""
GAINED_SHARE: Final = 0.25
"""Of what was asked for beyond what was known: with 0.4 a link that had become 20 times as wide was not found in 95 s, as each of
three plans came to within 1 % of it and was asked again 20 and 40 s later; on one that stays full as many are sent (virtual time)."""


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What to send beside the media."""

    packets: int
    """Per train, sent back to back; at most 3."""
    size_bytes: int
    """Of each, on the wire."""
    target_bps: float
    """What media and trains are together."""
    lasts_s: float
    """From the first train on; media alone may be all that is sent."""


class Probing:
    """One plan under way."""

    __slots__ = ("_before", "_began_at", "_plan")

    def __init__(self, plan: ProbePlan, octets: int, now: float) -> None:
        """Begin; `octets` is what has been sent so far, of everything."""
        self._plan = plan
        self._before = octets
        self._began_at = now

    def due(self, octets: int, now: float) -> int:
        """Return how many octets to send now; -1 when it is over.

        What media will take isn't known before: trains at fixed times beside a picture that grew meanwhile made twice the
        queue (0.3 s where 0.15 was reckoned with, in virtual time).

        Args:
            octets: What has been sent by now, trains too.
            now: Seconds.
        """
        plan = self._plan
        passed_s = now - self._began_at
        if passed_s >= plan.lasts_s:
            return -1
        train = plan.packets * plan.size_bytes
        return train if plan.target_bps * passed_s / 8 >= octets - self._before + train else 0


class ProbePlanner:
    """Says when asking is worth it."""

    __slots__ = ("_gained", "_gained_from_bps", "_next_at", "_planned_at", "_spacing_s")

    def __init__(self, now: float) -> None:
        self._next_at = now
        self._planned_at = now
        self._spacing_s = SPACING_S
        self._gained = False
        self._gained_from_bps = 0.0

    def plan(
        self,
        wanted_bps: float,
        capacity: Capacity,
        arrived_bps: float,
        window_s: float,
        rtt_s: float,
        now: float,
    ) -> ProbePlan | None:
        """Return a plan, or None if there is nothing to learn or it is too early to ask again.

        Args:
            wanted_bps: What would be sent if the link carried it.
            capacity: What is known.
            arrived_bps: What arrives now.
            window_s: Over how much of the past that was counted.
            rtt_s: Smoothed round trip.
            now: Seconds.
        """
        known_bps = capacity.rate_bps
        if capacity.phase is Phase.DRAIN or now < self._next_at:
            return None
        if self._gained_from_bps:
            # Judged as soon as the proof is in: later something else may have moved what is known. What a plan has filled is
            # all there is: a full link's rate moves by a twentieth, and passed for a gain each time (5.5 plans in 100 s, not 2.8).
            full = capacity.calm_s(now) <= now - self._planned_at
            self._gained = known_bps > self._gained_from_bps and not full
            self._gained_from_bps = 0.0
            self._spacing_s = SPACING_S if self._gained else min(MAX_SPACING_S, self._spacing_s * 2)
            if not self._gained:
                self._next_at = now + self._spacing_s
        if wanted_bps <= known_bps or now < self._next_at:
            return None
        # What a plan has found beyond a full link is believed, unless it filled that one too.
        calm_s = capacity.calm_s(now)
        filled = calm_s <= now - self._planned_at if self._gained else capacity.confident(now)
        careful = filled or self._spacing_s > SPACING_S
        target_bps = min(
            wanted_bps * ASKED_RATIO, known_bps * (CAREFUL_FACTOR if careful else FACTOR)
        )
        extra_bps = target_bps - arrived_bps
        if extra_bps <= 0:
            return None
        size = SMALL_BYTES if target_bps < SMALL_BELOW_BPS else LARGE_BYTES
        lasts_s = min(LAST_S, window_s + BEYOND_S)
        packets = max(1, min(TRAIN_PACKETS, int(extra_bps * lasts_s / 8 / size / 4)))
        # The next one when this one's proof is in.
        self._planned_at = now
        self._next_at = now + lasts_s + rtt_s + PROOF_S
        self._gained_from_bps = known_bps + GAINED_SHARE * (target_bps - known_bps)
        return ProbePlan(packets, size, target_bps, lasts_s)
