# SPDX-License-Identifier: Apache-2.0
"""Numbers that wrap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.serial import MAX_MISORDER, Unwrapper, difference_16, difference_32


@pytest.mark.parametrize(
    ("a", "b", "ahead"),
    [
        (0, 65535, 1),
        (65535, 0, -1),
        (5, 5, 0),
        (32767, 0, 32767),
        (32769, 0, -32767),
        (100, 65500, 136),
    ],
)
def test_sixteen_bits(a: int, b: int, ahead: int) -> None:
    """The shorter way round says which of two sequence numbers is newer."""
    assert difference_16(a, b) == ahead


@pytest.mark.parametrize(
    ("a", "b", "ahead"),
    [(0, 2**32 - 1, 1), (2**32 - 1, 0, -1), (2**31 - 1, 0, 2**31 - 1), (960, 2**32 - 960, 1920)],
)
def test_thirty_two_bits(a: int, b: int, ahead: int) -> None:
    """The same for timestamps."""
    assert difference_32(a, b) == ahead


@given(st.integers(0, 65535), st.lists(st.integers(-MAX_MISORDER, 32767), max_size=200))
def test_indices_follow_the_sender(first: int, steps: list[int]) -> None:
    """Whatever a sender's true index is, within half a cycle ahead it is found from 16 bits."""
    unwrapper = Unwrapper()
    truth = highest = unwrapper.unwrap(first)
    assert truth == first + 65536
    for step in steps:
        truth = highest + step
        if truth < 0:
            continue
        assert unwrapper.unwrap(truth & 0xFFFF) == truth
        highest = max(highest, truth)
        assert unwrapper.highest == highest


def test_wraps_upwards() -> None:
    """65535 is followed by 0, one higher."""
    unwrapper = Unwrapper()
    assert [unwrapper.unwrap(n) for n in (65534, 65535, 0, 1, 65535)] == [
        131070, 131071, 131072, 131073, 131071,
    ]  # fmt: skip


def test_an_unrelated_number_counts_when_its_successor_comes() -> None:
    """One stray number is refused; two in a row are the sender beginning again, above all before."""
    unwrapper = Unwrapper()
    unwrapper.unwrap(30_000)
    assert unwrapper.unwrap(20_000) == -1
    assert unwrapper.unwrap(30_001) == 65536 + 30_001
    assert unwrapper.unwrap(20_005) == -1
    index = unwrapper.unwrap(20_006)
    assert index == 2 * 65536 + 20_006
    assert unwrapper.restarts == 1
    assert unwrapper.unwrap(20_007) == index + 1
