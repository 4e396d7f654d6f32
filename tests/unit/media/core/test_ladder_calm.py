# SPDX-License-Identifier: Apache-2.0
"""When a direction may be looked at less often."""

from dataclasses import replace

import pytest

from media.core.fit import Link
from media.core.ladder import begin, capped, decide, is_calm
from media.core.rungs import Rung

WIDE = Link(
    rate_bps=1_000_000, usable_bps=1_000_000, loss_ratio=0.0, rtt_s=0.1, queue_s=0.0, silence_s=0.0
)
WIRE_BPS = 500_000.0


def test_room_on_every_way_and_nothing_to_climb_to_is_calm() -> None:
    """At `standard` on two ways of twice what is sent, before and after decisions that change nothing."""
    path = (WIDE, WIDE)
    state = begin(Rung.STANDARD, path, 0.0)
    assert is_calm(state, path, WIRE_BPS)
    state, move = decide(state, path, 0.2)
    assert move is None
    assert is_calm(state, path, WIRE_BPS)


@pytest.mark.parametrize(
    "worse",
    [
        {"queue_s": 0.05},
        {"loss_ratio": 0.02},
        {"silence_s": 1.0},
        {"rate_bps": 700_000.0},
    ],
)
@pytest.mark.parametrize("whose", [0, 1])
def test_one_way_that_is_not_is_enough(worse: dict[str, float], whose: int) -> None:
    """A queue, losses, silence or little room, on the sender's way or a watcher's."""
    path = [WIDE, WIDE]
    state = begin(Rung.STANDARD, tuple(path), 0.0)
    path[whose] = replace(WIDE, **worse)
    assert not is_calm(state, tuple(path), WIRE_BPS)


def test_what_waits_to_be_done_is_not_calm() -> None:
    """A rung that has room, a ceiling that was set, and every rung below `standard`, where the link rules."""
    path = (WIDE, WIDE)
    state = begin(Rung.STANDARD, path, 0.0)
    wide = tuple(replace(each, rate_bps=5e6, usable_bps=5e6) for each in path)
    climbing, _ = decide(state, wide, 0.2)
    assert climbing.fits_since is not None
    assert not is_calm(climbing, wide, WIRE_BPS)
    assert not is_calm(capped(state, Rung.VOICE), path, WIRE_BPS)
    assert not is_calm(begin(Rung.GLIMPSE, path, 0.0), path, WIRE_BPS / 10)
