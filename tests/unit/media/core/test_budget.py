# SPDX-License-Identifier: Apache-2.0
"""What one direction of a link may carry."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.budget import (
    MAX_DEBT_S,
    MAX_VOICE_DEBT_S,
    MIN_REPAIR_BURST_BYTES,
    REPAIR_BURST_S,
    REPAIR_SHARE,
    Allowance,
    Budget,
)


def test_voice_always_passes_and_is_paid() -> None:
    """Voice has no refusal; what it takes is missing for the picture, up to a bound."""
    budget = Budget(80_000, 0.0)  # 10,000 octets/s
    assert budget.balance_bytes == 2_500
    budget.voice(3_000, 0.0)
    assert budget.balance_bytes == -500
    budget.voice(1e9, 0.0)
    assert budget.balance_bytes == -10_000 * MAX_VOICE_DEBT_S


def test_the_picture_stops_at_a_queues_worth_of_debt() -> None:
    """At 80 kbit/s 2,500 octets saved up and 6,000 of debt: seventeen packets of 500 at once."""
    budget = Budget(80_000, 0.0)
    assert [budget.video(500, 0.0) for _ in range(18)] == [True] * 17 + [False]
    assert budget.balance_bytes == -10_000 * MAX_DEBT_S
    assert budget.refused_bytes == 500
    assert not budget.video(500, 0.049)
    assert budget.video(500, 0.051)


def test_the_picture_yields_to_voice() -> None:
    """Where voice takes the whole rate nothing is left for a picture, and voice goes on."""
    budget = Budget(16_000, 0.0)
    passed = 0
    for tick in range(1, 1_000):
        budget.voice(120, tick * 0.06)  # 2,000 octets a second
        passed += budget.video(300, tick * 0.06)
    assert passed <= 6


def test_repairs_have_their_share_and_no_more() -> None:
    """A hundred seconds of endless requests: a quarter of the rate, and what was saved up."""
    budget = Budget(48_000, 0.0)  # 6,000 octets/s
    paid = sum(500 for tick in range(10_000) if budget.repair(500, tick * 0.01))
    share = 6_000 * REPAIR_SHARE * 100
    assert share < paid <= share + 6_000 * REPAIR_SHARE * REPAIR_BURST_S


def test_repairs_stop_in_debt() -> None:
    """A link that is full already carries no retransmission and gets no request."""
    budget = Budget(80_000, 0.0)
    while budget.video(500, 0.0):
        pass
    assert not budget.repair(500, 0.0)
    assert not budget.invite(500, 0.0)
    assert not budget.invite_key_frame(500, 0.0)
    assert budget.repair(500, 0.5)


def test_a_key_frame_can_be_paid_on_the_thinnest_link() -> None:
    """The share holds 2,500 octets at least."""
    budget = Budget(10_000, 0.0)
    assert budget.invite_key_frame(MIN_REPAIR_BURST_BYTES, 0.0)
    assert not budget.invite_key_frame(100, 0.0)
    assert budget.invite_key_frame(100, 1.0)


def test_an_invited_retransmission_is_paid_like_one_that_is_sent() -> None:
    """Both accounts pay at once; a key frame that is asked for costs the share alone."""
    budget = Budget(80_000, 0.0)
    assert budget.invite(500, 0.0)
    assert budget.balance_bytes == 2_000
    assert budget.invite_key_frame(1_500, 0.0)
    assert budget.balance_bytes == 2_000
    assert [budget.invite(1_500, 0.0) for _ in range(3)] == [True, True, False]


def test_a_new_rate_holds_at_once() -> None:
    """After a fall the balance shrinks with the rate; time before it counts at the old one."""
    budget = Budget(800_000, 0.0)
    budget.set_rate(8_000, 1.0)
    assert budget.rate_bps == 8_000
    assert budget.balance_bytes == 250
    budget.voice(0, 100.0)
    assert budget.balance_bytes == 250
    budget.set_rate(0, 100.0)
    assert budget.rate_bps == 1


def test_time_never_runs_backwards() -> None:
    """An earlier instant earns nothing and takes nothing."""
    budget = Budget(8_000, 10.0)
    budget.voice(250, 10.0)
    budget.voice(0, 5.0)
    assert budget.balance_bytes == 0
    budget.voice(0, 10.1)
    assert budget.balance_bytes == pytest.approx(100)


@given(
    st.floats(5_000, 2e6),
    st.lists(
        st.tuples(st.sampled_from(["voice", "video", "repair", "invite", "key"]), st.floats(40, 1_500),
                  st.floats(0, 0.5)),
        max_size=300,
    ),
)  # fmt: skip
@settings(max_examples=80)
def test_the_loop_cannot_start(rate_bps: float, steps: list[tuple[str, float, float]]) -> None:
    """For any sequence: repairs within their share; without voice nothing beyond the rate and a queue."""
    budget = Budget(rate_bps, 0.0)
    rate = rate_bps / 8
    now = repairs = sent = voice = 0.0
    burst = max(MIN_REPAIR_BURST_BYTES, rate * REPAIR_SHARE * REPAIR_BURST_S)
    for kind, size, later in steps:
        now += later
        if kind == "voice":
            budget.voice(size, now)
            voice += size
        elif kind == "video":
            sent += size * budget.video(size, now)
        elif kind == "repair":
            paid = size * budget.repair(size, now)
            repairs += paid
            sent += paid
        elif kind == "invite":
            paid = size * budget.invite(size, now)
            repairs += paid
            sent += paid
        else:
            repairs += size * budget.invite_key_frame(size, now)
        assert repairs <= burst + rate * REPAIR_SHARE * now + 1
        assert sent <= rate * (now + 0.25 + MAX_DEBT_S) + 1


def test_an_allowance_holds_a_sender_to_its_rate() -> None:
    """A hundred seconds of ten times the rate: the rate, and at most twice what may be saved up."""
    allowance = Allowance(1_000, 4_000, 0.0)
    passed = 0
    for tick in range(10_000):
        if allowance.left >= 0 or allowance.fill(tick * 0.01):
            allowance.left -= 100
            passed += 100
    assert 100_000 <= passed <= 100_000 + 2 * 4_000 + 100


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
@settings(deadline=None)
def test_an_allowance_refuses_nobody_below_its_rate(times: list[tuple[bool, int]]) -> None:
    """At nine tenths of the rate, with stalls of up to 4 s that come out at once, in any order: nothing is refused."""
    allowance = Allowance(1_000, 4_000, 0.0)
    tick = 0
    for stalls, ticks in times:
        waiting = 0
        for _ in range(ticks):
            tick += 1
            waiting += 90
            if not stalls:
                allowance.left -= waiting
                waiting = 0
                assert allowance.left >= 0 or allowance.fill(tick * 0.1)
        allowance.left -= waiting
        assert allowance.left >= 0 or allowance.fill(tick * 0.1)
