# SPDX-License-Identifier: Apache-2.0
"""How far a copy must follow its frame, from what a link has lost."""

import random

import pytest

from media.core.bursts import FORGET, BurstMeter


def test_single_losses_reach_to_the_next_packet() -> None:
    """One of a hundred packets each 20 ms: the next one arrives 20 ms later."""
    meter = BurstMeter()
    assert meter.reach_s == 0
    for number in range(1_000):
        (meter.lost if number % 100 == 50 else meter.arrived)(number * 0.02)
    assert meter.reach_s == pytest.approx(0.02)


@pytest.mark.parametrize("frame_s", [0.02, 0.06])
def test_bursts_reach_as_far_as_their_mean(frame_s: float) -> None:
    """Exponential bursts of 180 ms, 6 % of the time: 180 ms and a part of a frame, whatever the packets' distance."""
    drawn = random.Random(1)
    found = []
    meter = BurstMeter()
    bad, until, now = False, 0.0, 0.0
    while now < 3_000:
        while until <= now:
            bad = not bad
            until += drawn.expovariate(1 / (0.18 if bad else 2.82))
        (meter.lost if bad else meter.arrived)(now)
        found.append(meter.reach_s)
        now += frame_s
    assert sum(found) / len(found) == pytest.approx(0.18 + frame_s / 2, abs=0.03)


def test_outages_and_what_nobody_knows_are_no_bursts() -> None:
    """A second of silence, and losses before a feedback that was lost itself, change nothing; old runs are forgotten."""
    meter = BurstMeter()
    meter.run([0.06])
    meter.lost(1.0)
    meter.arrived(2.5)
    meter.lost(3.0)
    meter.unknown()
    meter.arrived(3.5)
    assert meter.reach_s == pytest.approx(0.06)
    for _ in range(50):
        meter.run([0.2, 0.1])
    assert meter.reach_s == pytest.approx(0.15, abs=0.06 * FORGET**50 + 1e-3)
