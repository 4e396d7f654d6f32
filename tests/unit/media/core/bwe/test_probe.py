# SPDX-License-Identifier: Apache-2.0
"""When a link is asked for more, and how much is sent to ask."""

from __future__ import annotations

import itertools

import pytest

from media.core.bwe.capacity import Capacity
from media.core.bwe.probe import LAST_S, ProbePlan, ProbePlanner, Probing


def _sent(plan: ProbePlan, media_bps: float, from_s: float = 0.0) -> tuple[int, int]:
    """Return the octets of media, which begins at `from_s`, and of trains that one plan makes."""
    probing = Probing(plan, 0, 10.0)
    media = trains = 0
    for turn in range(1, 1_000):
        now = 10.0 + turn / 100
        if now - 10 >= from_s:
            media += round(media_bps / 800)
        due = probing.due(media + trains, now)
        if due < 0:
            return media, trains
        trains += due
    raise AssertionError("it has no end")


@pytest.mark.parametrize("media_bps", [0.0, 60e3, 190e3])
def test_media_and_trains_together_are_what_is_asked(media_bps: float) -> None:
    """Within one train, whatever the media take of it."""
    plan = ProbePlan(3, 1_200, 200e3, LAST_S)
    media, trains = _sent(plan, media_bps)
    asked = plan.target_bps * LAST_S / 8
    assert asked - 2 * 3_600 <= media + trains <= asked + 60


def test_a_picture_that_grows_meanwhile_is_counted() -> None:
    """Trains that were meant to go beside a voice give way to a picture that begins in the middle."""
    plan = ProbePlan(1, 1_200, 200e3, LAST_S)
    _, alone = _sent(plan, 0.0)
    media, trains = _sent(plan, 150e3, LAST_S / 2)
    assert trains < alone - media / 2


def test_media_above_what_is_asked_need_no_trains() -> None:
    """Nothing is added to what proves it anyway."""
    assert _sent(ProbePlan(1, 400, 100e3, LAST_S), 120e3)[1] == 0


def test_what_gives_nothing_is_asked_less_and_more_seldom() -> None:
    """Half as much again at first; a seventh after that was in vain, 10, 20 and 40 s later; again at once when it was not."""
    capacity = Capacity(100e3, 0.0)
    planner = ProbePlanner(0.0)
    asked: list[tuple[float, float]] = []
    for tenth in range(1_180):
        now = tenth / 10
        plan = planner.plan(1e6, capacity, 90e3, 0.5, 0.5, now)
        if plan is not None:
            asked.append((now, plan.target_bps))
    assert [bps for _, bps in asked] == pytest.approx([150e3] + 4 * [115e3])
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(asked)]
    assert gaps == pytest.approx([11.7, 21.7, 41.7, 41.7], abs=0.2)

    capacity.proved(115e3, 118.5)
    assert planner.plan(1e6, capacity, 90e3, 0.5, 0.5, 118.6).target_bps == pytest.approx(172.5e3)
