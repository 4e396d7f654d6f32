# SPDX-License-Identifier: Apache-2.0
"""The trains of a probe plan in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from media.core.bwe.probe import ProbePlan


class Probing:
    """One plan under way."""

    __slots__ = ("_left", "_next_at", "_plan")

    def __init__(self, plan: ProbePlan, now: float) -> None:
        self._plan = plan
        self._left = plan.trains
        self._next_at = now

    def due(self, now: float) -> int:
        """Return how many octets to send now; -1 when it is over."""
        if not self._left:
            return -1
        if now < self._next_at:
            return 0
        self._left -= 1
        self._next_at += self._plan.interval_s
        return self._plan.packets * self._plan.size_bytes
