# SPDX-License-Identifier: Apache-2.0
"""Bytes by key: at once, for long, and in bounded memory."""

from signalling.core.allowance import Allowance

NOW = 1_790_000_000.0


def test_a_burst_and_then_a_rate() -> None:
    """What a bucket holds goes at once; afterwards so much a second, and the wait that is told is the right one."""
    allowance = Allowance(1_000.0, 100.0)
    assert allowance.charge("a", 600.0, NOW) == 0.0
    assert allowance.charge("a", 600.0, NOW) == 2.0
    assert allowance.charge("a", 600.0, NOW + 1.9) > 0.0
    assert allowance.charge("a", 600.0, NOW + 2.0) == 0.0
    taken = sum(600 for n in range(10_000) if not allowance.charge("a", 600.0, NOW + 2 + n / 10))
    assert taken <= 1_000 * 100 + 1_000


def test_keys_do_not_touch_each_other() -> None:
    """What one has used up another one still has."""
    allowance = Allowance(1_000.0, 100.0)
    assert allowance.charge("a", 1_000.0, NOW) == 0.0
    assert allowance.charge("b", 1_000.0, NOW) == 0.0
    assert allowance.charge("a", 1.0, NOW) > 0.0


def test_more_than_a_bucket_is_a_bucket() -> None:
    """Nothing is too large for ever: it takes all that there is."""
    allowance = Allowance(1_000.0, 100.0)
    assert allowance.charge("a", 5_000.0, NOW) == 0.0
    assert allowance.charge("a", 5_000.0, NOW) == 10.0


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    """Neither a step back nor the way forward from there counts a second twice."""
    allowance = Allowance(1_000.0, 100.0)
    assert allowance.charge("a", 1_000.0, NOW) == 0.0
    assert allowance.charge("a", 100.0, NOW - 3_600.0) == 1.0
    assert allowance.charge("a", 100.0, NOW - 3_599.0) == 0.0


def test_memory_is_bounded() -> None:
    """The key that was charged longest ago is forgotten."""
    allowance = Allowance(1_000.0, 100.0, capacity=3)
    for key in "abcad":
        allowance.charge(key, 400.0, NOW)
    assert len(allowance) == 3
    assert allowance.charge("a", 400.0, NOW) > 0.0
    assert allowance.charge("b", 1_000.0, NOW) == 0.0
