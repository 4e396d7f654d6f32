# SPDX-License-Identifier: Apache-2.0
"""When a link is asked for more, and how much is sent to ask."""

from __future__ import annotations

import itertools

import pytest

from media.core.asking import link_of
from media.core.bwe.capacity import Capacity
from media.core.bwe.estimate import Estimate
from media.core.bwe.probe import LAST_S, SPACING_S, ProbePlan, ProbePlanner, Probing
from tests.support.bwe_link import Scenario, simulate


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
    assert gaps == pytest.approx([11.8, 21.8, 41.8, 41.8], abs=0.25)

    capacity.proved(115e3, 118.9)
    assert planner.plan(1e6, capacity, 90e3, 0.5, 0.5, 119.1).target_bps == pytest.approx(172.5e3)


def _full(rate_bps: float, now: float) -> Capacity:
    """Return a link that was seen full until now."""
    capacity = Capacity(rate_bps, 0.0)
    capacity._proved_at = now
    return capacity


def test_a_link_that_was_seen_full_is_asked_for_little() -> None:
    """And later, also where a plan has found more, and has filled that too; what was found without a queue is believed."""
    capacity = _full(100e3, 9.0)
    planner = ProbePlanner(10.0)
    plan = planner.plan(1e6, capacity, 90e3, 0.5, 0.5, 10.0)
    assert plan is not None
    assert plan.target_bps == pytest.approx(115e3)
    capacity.rate_bps = 114e3
    wider = planner.plan(1e6, capacity, 90e3, 0.5, 0.5, 12.0)
    assert wider is not None
    assert wider.target_bps == pytest.approx(171e3)
    capacity.rate_bps, capacity._proved_at = 150e3, 13.0
    assert planner.plan(1e6, capacity, 90e3, 0.5, 0.5, 14.0) is None
    again = planner.plan(1e6, capacity, 90e3, 0.5, 0.5, 14.1 + 2 * SPACING_S)
    assert again is not None
    assert again.target_bps == pytest.approx(172.5e3)


def test_a_plan_is_judged_when_its_proof_is_in() -> None:
    """What it has found stays found, though nobody wants more before the estimate sinks again."""
    capacity = Capacity(150e3, 0.0)
    planner = ProbePlanner(0.0)
    assert planner.plan(230e3, capacity, 140e3, 0.5, 0.5, 0.0) is not None
    capacity.rate_bps = 260e3
    assert planner.plan(230e3, capacity, 140e3, 0.5, 0.5, 3.0) is None
    capacity.rate_bps = 175e3
    assert planner.plan(230e3, capacity, 140e3, 0.5, 0.5, 22.0) is not None


@pytest.mark.parametrize(("window_s", "lasts_s"), [(0.5, 0.8), (1.5, LAST_S)])
def test_a_plan_lasts_as_long_as_arrivals_are_counted_over(window_s: float, lasts_s: float) -> None:
    """And a little longer, so that they show."""
    plan = ProbePlanner(0.0).plan(1e6, Capacity(100e3, 0.0), 90e3, window_s, 0.5, 0.0)
    assert plan is not None
    assert plan.lasts_s == pytest.approx(lasts_s)


@pytest.mark.parametrize("seed", [1, 4])
def test_a_link_that_became_far_wider_is_found(seed: int) -> None:
    """900 kbit/s seen full, 20 Mbit/s from 15 s on, media of 500: found by the first plan after it (the last one was in vain at 12 s)."""
    scenario = Scenario(
        [(0.0, 900e3), (15.0, 20e6)], 0.05, "down", start_bps=8e5, limit_bps=5e5, probing_bps=1.1e6,
        duration_s=60, seed=seed,
    )  # fmt: skip
    found = next(s.at for s in simulate(scenario).samples if s.estimate.rate_bps > 1.05e6)
    assert found < 38


def test_where_padding_asks_the_picture_goes_hardly_beyond_what_is_known() -> None:
    """A twentieth; elsewhere its own step must find out."""
    estimate = Estimate(
        rate_bps=100e3, usable_bps=170e3, loss_ratio=0.0, queue_delay_s=0.0, rtt_s=0.6,
        confident=False, calm_s=float("inf"),
    )  # fmt: skip
    assert link_of(estimate, 0.0, probed=True).usable_bps == pytest.approx(105e3)
    assert link_of(estimate, 0.0).usable_bps == pytest.approx(125e3)
