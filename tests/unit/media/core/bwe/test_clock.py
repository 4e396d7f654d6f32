# SPDX-License-Identifier: Apache-2.0
"""Times of sending, one by one and many at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.bwe.clock import ABS_SEND_TIME_S, SendClock

steps = st.lists(
    st.lists(st.tuples(st.floats(-1.0, 4.0), st.floats(0.0, 3.0)), max_size=20), max_size=5
)


@given(batches=steps, begins=st.integers(0, (1 << 24) - 1))
@settings(deadline=None)
def test_many_at_once_are_told_the_same_as_one_by_one(
    batches: list[list[tuple[float, float]]], begins: int
) -> None:
    """Whatever overtakes what, over wraps and from the first packet on."""
    single, many = SendClock(), SendClock()
    sent, arrived = float(begins) * ABS_SEND_TIME_S, 100.0
    for batch in batches:
        values, times = [], []
        for sent_step, arrived_step in batch:
            sent += sent_step
            arrived += arrived_step
            values.append(int(sent / ABS_SEND_TIME_S) & 0xFFFFFF)
            times.append(arrived)
        one_by_one = [single.sent_at(*each) for each in zip(values, times, strict=True)]
        assert many.sent_all(values, times) == pytest.approx(one_by_one)


def test_a_silence_of_more_than_a_wrap_is_counted() -> None:
    """200 s without a packet are three wraps of 64 s; the first packet after them is told so."""
    clock = SendClock()
    assert clock.sent_all([1_000], [10.0]) == [0.0]
    (found,) = clock.sent_all([(1_000 + 200 * (1 << 18)) & 0xFFFFFF], [210.0])
    assert found == pytest.approx(200.0)
