# SPDX-License-Identifier: Apache-2.0
"""What comes in beside a call's media, as a rate that is told each second."""

import pytest

from signalling.core.inflow import AROUND_BYTES, Inflow


def rates(*came: tuple[float, int]) -> list[tuple[float, int]]:
    inflow = Inflow(came[0][0])
    told = ((at, inflow.came(size, at)) for at, size in came)
    return [(at, bps) for at, bps in told if bps is not None]


def test_a_steady_inflow_is_told_each_second() -> None:
    """400 bytes each 100 ms are 38.6 kbit/s with what is around them."""
    told = rates(*((10 + at / 10, 400) for at in range(50)))
    assert [at for at, _ in told] == [11.0, 12.0, 13.0, 14.0]
    for _, bps in told:
        assert bps == pytest.approx((400 + AROUND_BYTES) * 80, rel=0.11)


def test_a_pause_and_what_comes_at_once_after_it_are_one_rate() -> None:
    """While TCP repairs a loss nothing comes, then all of it: over two seconds that is the rate it was."""
    steady = [(at / 10, 400) for at in range(31)]
    held_up = [(at if at < 2.2 or at > 2.9 else 2.9, size) for at, size in steady]
    assert rates(*held_up)[-1][1] == pytest.approx(rates(*steady)[-1][1], rel=0.05)


def test_after_a_long_pause_it_begins_anew() -> None:
    """Minutes without a piece are no part of a rate."""
    told = rates(
        *((at / 10, 400) for at in range(11)), *((60 + at / 10, 1_200) for at in range(11))
    )
    assert [at for at, _ in told] == [1.0, 61.0]
    assert told[1][1] > 2.5 * told[0][1]
