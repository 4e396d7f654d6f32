# SPDX-License-Identifier: Apache-2.0
"""From what arrives and how long it waits to what the link carries and what may be sent.

The main signal is the queue. While one stands, the link is busy and what arrives *is* its rate,
whoever sent it and whatever was lost; the sender is held below it until the queue is gone. Without
a queue what arrives is proof that the link carries as much, and if the sender uses what it may, it
may try more: carefully around the rate that was too much last time, in larger and larger steps when
that has proved to be the past. Loss alone lowers nothing, except a fifth of everything lost slice
after slice: a queue too short to be seen.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from media.core.bwe.reading import STEP_RATIO, is_pace_of_link, quickest

if TYPE_CHECKING:
    from media.core.bwe.reading import Reading

MIN_BPS: Final = 4_000.0
"""Below this not even text and keep-alives live."""
MAX_BPS: Final = 20_000_000.0
"""More is never sent to one person; bounds growth."""
STEPS: Final = (1.08, 1.2, 1.5, 2.0)
"""Growth per response of the link, slow at first. From a known rate to ten times it in five steps: 8 s
at a round trip of 800 ms."""
USED_RATIO: Final = 0.8
"""A sender below this share of what it may send proves nothing for more."""
HOLD_RATIO: Final = 0.95
"""Sent of the known rate between two tries: what frames of uneven size need not to queue."""
HOLD_S: Final = 2.0
MAX_HOLD_S: Final = 4.0
"""A step up must be seen and followed within 10 s."""
CONFIRM_S: Final = 0.5
"""A queue that stands this long is one; a shorter one may be a bunch of late packets."""
CERTAIN_RATIO: Final = 2.0
"""Times the threshold: a queue at once."""
DRAINED_RATIO: Final = 0.75
"""Of the threshold: below it a queue is gone, as far as jitter lets us see."""
DRAIN_S: Final = 1.2
MIN_DRAIN_RATIO: Final = 0.5
MAX_DRAIN_RATIO: Final = 0.88
"""While a queue of q seconds stands, 1 - q / 1.2 of the rate is sent: gone in about a second."""
SMOOTH_S: Final = 0.6
"""Time constant of the rate while the link is busy."""
FIRST_SMOOTH_S: Final = 0.25
FIRST_S: Final = 1.5
"""The same in the beginning, when the rate may just have fallen to a tenth."""
OBEYED_RATIO: Final = 1.15
"""A sender that sends more than this of what it may has not obeyed (yet)."""
LARGE_QUEUE_S: Final = 0.3
"""More than jitter and most changes of route can make: then the rate follows what arrives, or a full
queue in balance with a rate believed twice too high would stand for ever."""
DEAF_RATIO: Final = 1.25
"""One who goes on sending so much keeps the link busy: a voice on a link too thin for it."""
STUCK_S: Final = 1.0
"""A queue that doesn't shrink in this time though less is sent than arrives is a longer way."""
CONFIDENT_S: Final = 30.0
"""What was seen longer ago may have changed; links of this kind change within minutes (measured
traces show steps each half minute at worst)."""


class Phase(StrEnum):
    """What is being done about the link."""

    GROW = "grow"
    DRAIN = "drain"
    HOLD = "hold"


class Capacity:
    """Rate of one direction."""

    __slots__ = (
        "_at", "_before", "_busy_since", "_ceiling", "_certain", "_hold_s", "_looked_at", "_looked_queue_s",
        "_next_at", "_proved_at", "_steepest", "_step", "_used_ratio", "phase", "rate_bps", "usable_bps",
    )  # fmt: skip

    def __init__(
        self,
        start_bps: float,
        now: float,
        steepest: int = len(STEPS) - 1,
        used_ratio: float = USED_RATIO,
    ) -> None:
        """Start with what a probe or the last call on this link has told.

        Args:
            start_bps: Rate to begin with.
            now: Seconds.
            steepest: Index in `STEPS` of the largest growth per response.
            used_ratio: Of what may be sent, what must be used to prove anything for more.
        """
        self._steepest = steepest
        self._used_ratio = used_ratio
        self.rate_bps = self.usable_bps = _bounded(start_bps)
        self.phase = Phase.GROW
        self._at = now
        self._step = 1  # who has measured the start is near the truth
        self._ceiling = 0.0
        self._next_at = now
        self._busy_since = now
        self._looked_at = now
        self._looked_queue_s = 0.0
        self._certain = False
        self._before = self.phase, self.usable_bps
        self._hold_s = HOLD_S
        self._proved_at = float("-inf")

    def confident(self, now: float) -> bool:
        """Tell whether the rate was seen to be the link's, not only the sender's, lately."""
        return now - self._proved_at <= CONFIDENT_S

    def calm_s(self, now: float) -> float:
        """Return the time since the link was last seen to be full."""
        return now - self._proved_at

    def proved(self, rate_bps: float, now: float) -> None:
        """Take what trains beside the media have proved, while the link has not been seen full."""
        if self.phase is Phase.GROW and not self.confident(now):
            self.rate_bps = max(self.rate_bps, _bounded(rate_bps))
            self.usable_bps = max(self.usable_bps, self.rate_bps)

    def update(self, reading: Reading, now: float) -> bool:
        """Take a reading; return whether the delay's base must be taken anew."""
        passed = max(0.0, now - self._at)
        self._at = now
        if reading.queue_s > reading.threshold_s or (
            self.phase is Phase.DRAIN and reading.queue_s > reading.threshold_s * DRAINED_RATIO
        ):
            return self._busy(reading, passed, now)
        if reading.overflow and self.phase is not Phase.DRAIN:
            self._enter_drain(reading, now)
            self._certain = True
            self._set(reading.pace.carried_bps, reading)
            return False
        if self.phase is Phase.DRAIN:
            self._drained(reading, now)
        elif self.phase is Phase.HOLD and now >= self._next_at:
            self.phase = Phase.GROW
            self._step = 0
            self._next_at = now
        self._prove(reading, passed, now)
        if self.phase is Phase.GROW and now >= self._next_at:
            self._grow(reading, now)
        return False

    def _enter_drain(self, reading: Reading, now: float) -> None:
        self._before = self.phase, self.usable_bps
        self.phase = Phase.DRAIN
        self._certain = False
        self._busy_since = self._looked_at = now
        self._looked_queue_s = reading.queue_s
        # Careful at once, but the rate stays known until the queue is certain.
        self.usable_bps = min(self.usable_bps, self.rate_bps * MAX_DRAIN_RATIO)

    def _busy(self, reading: Reading, passed: float, now: float) -> bool:
        if self.phase is not Phase.DRAIN:
            self._enter_drain(reading, now)
        stands_s = now - self._busy_since
        if reading.queue_s > reading.threshold_s:
            if self._certain:
                smooth_s = FIRST_SMOOTH_S if stands_s < FIRST_S else SMOOTH_S
                weight = min(1.0, passed / smooth_s)
                moved = (self._busy_bps(reading) - self.rate_bps) * weight
                self._set(self.rate_bps + moved, reading)
                self._proved_at = now
            elif stands_s >= CONFIRM_S or reading.queue_s > CERTAIN_RATIO * reading.threshold_s:
                self._certain = True
                self._set(self._busy_bps(reading), reading)
                self._proved_at = now
        return self._stuck(reading, now)

    def _stuck(self, reading: Reading, now: float) -> bool:
        """Tell whether the queue stands although less is sent: then it is none, the way is longer."""
        moved_s = abs(reading.queue_s - self._looked_queue_s)
        if (
            moved_s >= max(0.02, reading.threshold_s / 2)
            or reading.pace.arrived_bps > self.usable_bps * OBEYED_RATIO
            or is_pace_of_link(reading.pace)
        ):
            self._looked_at = now
            self._looked_queue_s = reading.queue_s
            return False
        if now - self._looked_at < STUCK_S + reading.response_s:
            return False
        self.phase = Phase.GROW
        self.usable_bps = self.rate_bps
        self._next_at = now + reading.response_s
        return True

    def _busy_bps(self, reading: Reading) -> float:
        """Return the rate of a busy link.

        What arrives is not taken for it where that is simply what was sent: a longer way or much
        jitter would talk the rate down step by step.
        """
        found = quickest(reading)
        if (
            found >= self.rate_bps
            or is_pace_of_link(reading.pace)
            or found > self.usable_bps * DEAF_RATIO
            or reading.queue_s > LARGE_QUEUE_S
        ):
            return found
        return (
            found
            if is_pace_of_link(reading.quick) and found < STEP_RATIO * self.rate_bps
            else self.rate_bps
        )

    def _set(self, rate_bps: float, reading: Reading) -> None:
        self.rate_bps = _bounded(rate_bps)
        ratio = 1 - reading.queue_s / DRAIN_S
        self.usable_bps = _bounded(
            self.rate_bps * max(MIN_DRAIN_RATIO, min(MAX_DRAIN_RATIO, ratio))
        )

    def _drained(self, reading: Reading, now: float) -> None:
        if not self._certain:  # late packets; go on as before
            self.phase, self.usable_bps = self._before
            return
        # The same ceiling as last time: no need to ask so often.
        same = abs(self.rate_bps - self._ceiling) < 0.15 * self._ceiling
        self._hold_s = min(MAX_HOLD_S, self._hold_s * 1.5) if same else HOLD_S
        self._ceiling = self.rate_bps
        self.phase = Phase.HOLD
        self._next_at = now + self._hold_s + reading.response_s
        self.usable_bps = _bounded(self.rate_bps * HOLD_RATIO)

    def _prove(self, reading: Reading, passed: float, now: float) -> None:
        if reading.pace.carried_bps > self.rate_bps:
            weight = min(1.0, passed / SMOOTH_S)
            self.rate_bps = _bounded(
                self.rate_bps + (reading.pace.carried_bps - self.rate_bps) * weight
            )

    def _grow(self, reading: Reading, now: float) -> None:
        if reading.pace.carried_bps < self._used_ratio * self.usable_bps:
            return
        known = max(self.rate_bps, reading.pace.carried_bps)
        wanted = _bounded(known * STEPS[self._step])
        self._step = min(self._step + 1, self._steepest)
        self._next_at = now + reading.response_s
        if wanted > self.usable_bps:
            self.usable_bps = wanted


def _bounded(rate_bps: float) -> float:
    return max(MIN_BPS, min(MAX_BPS, rate_bps))
