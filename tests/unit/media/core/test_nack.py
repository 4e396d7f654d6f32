# SPDX-License-Identifier: Apache-2.0
"""When lost packets and key frames are asked for."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.budget import Budget
from media.core.keyframes import KeyFrameRequests
from media.core.nack import MAX_GAP, MAX_MISSING, MAX_REORDER_S, MIN_REORDER_S, NackScheduler

B = 65_536
RTT = 0.5
WAIT = 1.25


def rich() -> Budget:
    return Budget(1e8, 0.0)


def lossy(*indices: int, now: float = 0.0) -> NackScheduler:
    nacks = NackScheduler()
    for index in indices:
        nacks.received(B + index, now)
    return nacks


def due(nacks: NackScheduler, now: float, budget: Budget | None = None) -> list[int]:
    return nacks.due(now, RTT, WAIT, budget or rich(), 500)


def test_at_most_two_requests_spaced_by_the_round_trip() -> None:
    """The first after the tolerance for reordering, the second 1.25 round trips later, no third."""
    nacks = lossy(0, 3)
    asked = [
        (tick, numbers)
        for tick in range(0, 3_000, 5)
        if (numbers := nacks.due(tick / 1_000, RTT, 10.0, rich(), 500))
    ]
    assert asked == [(10, [1, 2]), (635, [1, 2])]
    assert nacks.requested == 4
    assert len(nacks) == 0


def test_no_request_that_cannot_be_answered_in_time() -> None:
    """The second request is left out where its answer would come after the hold has given up."""
    nacks = lossy(0, 2)
    assert nacks.due(0.01, RTT, 1.1, rich(), 500) == [1]
    assert nacks.due(0.7, RTT, 1.1, rich(), 500) == []
    assert len(nacks) == 0


def test_voice_on_a_long_way_is_never_asked_for() -> None:
    """With a bound below the round trip there is no request at all."""
    nacks = lossy(0, 2)
    for tick in range(20):
        assert nacks.due(tick * 0.01, RTT, 0.15, rich(), 100) == []
    assert len(nacks) == 0


def test_numbers_wrap() -> None:
    """What is asked for are 16-bit numbers."""
    nacks = NackScheduler()
    nacks.received(B + 65_534, 0.0)
    nacks.received(B + 65_537, 0.0)
    assert due(nacks, 0.1) == [65_535, 0]


def test_packets_that_come_are_not_asked_for() -> None:
    """By reordering or by retransmission: what is there is forgotten."""
    nacks = lossy(0, 4)
    nacks.received(B + 2, 0.005)
    assert due(nacks, 0.02) == [1, 3]
    nacks.received(B + 1, 0.5)
    assert due(nacks, 0.7) == [3]


def test_what_the_hold_gave_up_is_forgotten() -> None:
    """After `settle` nothing below is asked for."""
    nacks = lossy(0, 4)
    nacks.settle(B + 3)
    assert due(nacks, 0.02) == [3]


def test_tolerance_for_reordering_is_learned_and_forgotten() -> None:
    """A packet that came 40 ms late by itself makes later requests wait 50 ms; it decays."""
    nacks = lossy(0, 2)
    nacks.received(B + 1, 0.04)
    assert nacks.reorder_s == pytest.approx(0.05)
    nacks.received(B + 4, 1.0)
    assert due(nacks, 1.03) == []
    assert due(nacks, 1.05) == [3]
    for index in range(6, 300, 2):
        nacks.received(B + index, 2.0)
    assert nacks.reorder_s == pytest.approx(MIN_REORDER_S)
    nacks.received(B + 297, 9.0)
    assert nacks.reorder_s == MAX_REORDER_S


def test_an_outage_is_not_asked_for() -> None:
    """A gap of more than 64 packets is left to a key frame."""
    assert len(lossy(0, MAX_GAP)) == MAX_GAP - 1
    assert len(lossy(0, MAX_GAP + 2)) == 0


def test_memory_is_bounded() -> None:
    """However much is lost, 256 numbers are remembered, the newest."""
    nacks = lossy(*range(0, 5_000, 50))
    assert len(nacks) == MAX_MISSING
    assert min(nacks._missing) > B + 4_000


def test_requests_are_paid_for() -> None:
    """On 80 kbit/s 5,000 octets may be asked for at once, ten packets of 500, the rest as time pays."""
    budget = Budget(80_000, 0.0)
    nacks = lossy(0, 15)
    assert due(nacks, 0.02, budget) == list(range(1, 11))
    assert due(nacks, 0.04, budget) == []
    assert due(nacks, 0.3, budget) == [11]


@given(
    st.lists(st.tuples(st.integers(-20, 60), st.floats(0, 0.3)), max_size=200),
    st.floats(0.001, 2.0), st.floats(1_000, 1e6),
)  # fmt: skip
@settings(max_examples=60)
def test_never_more_than_two_requests(
    steps: list[tuple[int, float]], rtt_s: float, rate_bps: float
) -> None:
    """For any arrivals, round trip and rate: two requests per packet, bounded, never for what came."""
    nacks, budget = NackScheduler(), Budget(rate_bps, 0.0)
    asked: dict[int, int] = {}
    came: set[int] = set()
    index, now = B, 0.0
    for step, later in steps:
        now += later
        index = max(B, index + step)
        came.add(index)
        nacks.received(index, now)
        for number in nacks.due(now, rtt_s, 2.5 * rtt_s, budget, 300):
            asked[number] = asked.get(number, 0) + 1
            assert number + B not in came
        assert len(nacks) <= MAX_MISSING
    assert all(count <= 2 for count in asked.values())


def test_key_frame_requests_are_merged_and_spaced() -> None:
    """Fifty requests a second of five watchers become one a second until a key frame comes."""
    keys, budget = KeyFrameRequests(), rich()
    sent: list[float] = []
    for tick in range(450):
        now = tick / 100
        for _ in range(5):
            keys.want(now)
        if keys.due(now, 0.1, budget):
            sent.append(now)
    assert sent == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert keys.sent == 5
    assert keys.merged == 450 * 5 - 1


def test_on_a_long_way_key_frame_requests_wait_for_the_answer() -> None:
    """At a round trip of 0.8 s the second request comes after 1.2 s."""
    keys, budget = KeyFrameRequests(), rich()
    keys.want(0.0)
    assert keys.due(0.0, 0.8, budget)
    assert not keys.due(1.19, 0.8, budget)
    assert keys.due(1.201, 0.8, budget)


def test_a_request_that_crossed_a_key_frame_is_stale() -> None:
    """A watcher that asked before it can have seen the key frame gets no second one."""
    keys, budget = KeyFrameRequests(), rich()
    keys.want(0.0)
    keys.due(0.0, 0.1, budget)
    keys.arrived(5.0)
    assert not keys.wanted
    keys.want(5.4, rtt_s=0.5)
    assert not keys.wanted
    keys.want(5.6, rtt_s=0.5)
    assert keys.due(5.6, 0.1, budget)


def test_key_frames_are_paid_for() -> None:
    """On 24 kbit/s key frames of 1.5 kB can be asked for every two seconds, after what was saved up."""
    keys, budget = KeyFrameRequests(), Budget(24_000, 0.0)
    sent: list[float] = []
    for tick in range(1_200):
        now = tick / 100
        keys.want(now)
        if keys.due(now, 0.5, budget):
            sent.append(now)
    gaps = [b - a for a, b in itertools.pairwise(sent)]
    assert min(gaps) >= 1.0
    assert gaps[-1] == pytest.approx(2.0, abs=0.02)
    assert len(sent) == 7


def test_a_picture_can_always_be_had_again() -> None:
    """Even where a key frame costs more than the share ever holds, one is asked for when it is full."""
    keys, budget = KeyFrameRequests(), Budget(5_000, 0.0)
    for _ in range(20):
        keys.measured(20_000)
    assert keys.key_frame_bytes > 19_000
    keys.want(0.0)
    assert keys.due(0.0, 0.5, budget)
    assert not keys.due(10.0, 0.5, budget)
    assert keys.due(17.0, 0.5, budget)
