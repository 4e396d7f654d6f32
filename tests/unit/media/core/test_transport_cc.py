# SPDX-License-Identifier: Apache-2.0
"""Transport-wide feedback, written and read."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.rtcp import parse
from media.core.transport_cc import (
    MAX_RUNS,
    MAX_STATUSES,
    TICK_S,
    ArrivalLog,
    TransportFeedback,
    parse_feedback,
)


def read(data: bytes) -> TransportFeedback:
    (feedback,) = parse(data)
    assert isinstance(feedback, TransportFeedback)
    return feedback


def test_the_drafts_layout_byte_for_byte() -> None:
    """Three packets, one lost: one run-length or vector chunk, small and large deltas, padding."""
    log = ArrivalLog()
    log.received(10, 1.0)
    log.received(11, 1.001)
    log.received(13, 1.101)
    (data,) = log.write(1, 2)
    # 1.0 s is 15 references of 64 ms and 160 ticks; then 4 ticks; then 400 ticks.
    assert data == bytes.fromhex(
        "afcd0006" "00000001" "00000002" "000a0004" "00000f00" "d480" "a004" "0190" "0002"
    )  # fmt: skip
    feedback = read(data)
    assert (feedback.base, feedback.count, feedback.reference) == (10, 0, 15)
    assert feedback.arrivals == (4000, 4004, None, 4404)


@given(
    st.integers(0, 65535), st.floats(0, 100_000),
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 2.0)), min_size=1, max_size=120),
)  # fmt: skip
@settings(max_examples=60)
def test_what_arrived_is_read_back(
    first: int, start: float, steps: list[tuple[int, float]]
) -> None:
    """Numbers over the wrap and gaps of any size: every arrival to the tick, every loss as a loss."""
    log = ArrivalLog()
    index, now = first, start
    arrivals: dict[int, float] = {}
    for ahead, later in steps:
        log.received(index & 0xFFFF, now)
        arrivals[index] = now
        index += ahead
        now += later
    found: dict[int, int] = {}
    lost = 0
    at = first
    for count, data in enumerate(log.write(7, 8)):
        assert len(data) <= 1_200
        feedback = read(data)
        assert (feedback.sender_ssrc, feedback.media_ssrc, feedback.count) == (7, 8, count & 0xFF)
        at += (feedback.base - at + 0x8000 & 0xFFFF) - 0x8000
        for step, ticks in enumerate(feedback.arrivals):
            if ticks is None:
                lost += 1
            else:
                found[at + step] = ticks
    wrap = 1 << 32  # 24 bits of 64 ms and the ticks below
    for number, seconds in arrivals.items():
        away = (found[number] - round(seconds / TICK_S) + wrap // 2) % wrap - wrap // 2
        assert abs(away) <= 1
    assert found.keys() == arrivals.keys()
    assert log.write(7, 8) == []


def test_a_browser_that_limits_rule_hears_of_arrivals_alone() -> None:
    """Each run of arrivals has a feedback of its own, in one sequence: nothing was lost, as far as it knows."""
    log = ArrivalLog()
    for number in (1, 2, 5, 6, 9):
        log.received(number, 1.0)
    told = [read(data) for data in log.write(1, 2, losses=False)]
    assert [(each.base, len(each.arrivals), each.count) for each in told] == [
        (1, 2, 0),
        (5, 2, 1),
        (9, 1, 2),
    ]
    assert not any(None in each.arrivals for each in told)
    log.received(12, 1.1)
    (data,) = log.write(1, 2, losses=True)
    assert (read(data).base, read(data).arrivals) == (10, (None, None, 4400))


def test_who_skips_numbers_is_told_of_the_newest_only() -> None:
    """A feedback for each of 2,048 arrivals would be one packet for each of a sender's, out of turn too."""
    log = ArrivalLog()
    for number in range(0, 4_096, 2):
        log.received(number, 1.0)
    told = [read(data) for data in log.write(1, 2, losses=False)]
    assert [each.base for each in told] == list(range(4_094 - 2 * (MAX_RUNS - 1), 4_095, 2))
    log.received(4_000, 1.1)
    assert log.write(1, 2, losses=False) == []


def test_the_next_feedback_begins_where_the_last_ended() -> None:
    """Losses between two feedback packets are reported by the second; late ones are not repeated."""
    log = ArrivalLog()
    log.received(1, 1.0)
    log.write(1, 2)
    log.received(4, 1.1)
    log.received(1, 1.1)
    (data,) = log.write(1, 2)
    feedback = read(data)
    assert (feedback.base, feedback.count) == (2, 1)
    assert feedback.arrivals == (None, None, 4400)


def test_a_pause_longer_than_a_delta_begins_another_feedback() -> None:
    """Sixteen bits of ticks are 8.19 s: after twenty seconds of silence the reference is set anew."""
    log = ArrivalLog()
    log.received(1, 1.0)
    log.received(2, 21.0)
    first, second = log.write(1, 2)
    assert (read(first).arrivals, read(first).count) == ((4_000,), 0)
    assert (read(second).arrivals, read(second).base, read(second).count) == ((84_000,), 2, 1)


def test_the_reference_time_is_signed() -> None:
    """The draft's 24 bits are a signed number of 64 ms."""
    body = struct.pack("!HHIHB", 1, 1, 0xFFFFFF00, 1 << 13 | 1, 3)
    feedback = parse_feedback(body, 0, len(body), 1, 2)
    assert feedback is not None
    assert (feedback.reference, feedback.arrivals) == (-1, (-253,))


def test_memory_is_bounded() -> None:
    """Without anybody who asks for feedback, the log stays at its bound."""
    log = ArrivalLog()
    for number in range(10_000):
        log.received(number & 0xFFFF, number * 0.001)
    assert len(log._new) == MAX_STATUSES


def test_runs_are_long_chunks() -> None:
    """A hundred packets in a row at an even pace are one chunk of two octets."""
    log = ArrivalLog()
    for number in range(100):
        log.received(number, 2.048 + number * 0.01)
    (data,) = log.write(1, 2)
    assert len(data) == 12 + 8 + 2 + 100 + 2
    assert data[20:22] == struct.pack("!H", 1 << 13 | 100)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("!HHI", 1, 0, 0),  # no status
        struct.pack("!HHI", 1, 5, 0),  # no chunk
        struct.pack("!HHIH", 1, 5, 0, 0),  # a run of nothing
        struct.pack("!HHIH", 1, 5, 0, 1 << 13 | 5) + b"\1\2",  # fewer deltas than packets
        struct.pack("!HHIH", 1, 1, 0, 2 << 13 | 1) + b"\1",  # half a large delta
        struct.pack("!HHIH", 1, 1, 0, 3 << 13 | 1) + b"\1\1",  # the reserved symbol
        struct.pack("!HHI", 1, 65_535, 0) + struct.pack("!H", 0x1FFF) * 9,  # claims too much
    ],
)
def test_malformed_feedback_is_none(body: bytes) -> None:
    """Feedback that contradicts itself is not used at all."""
    assert parse_feedback(body, 0, len(body), 1, 2) is None


@given(st.binary(max_size=100), st.integers(1, 2_100))
def test_never_raises(body: bytes, count: int) -> None:
    """Any body is read or refused, within the bound."""
    for data in (body, struct.pack("!HHI", 3, count, 1) + body):
        feedback = parse_feedback(data, 0, len(data), 1, 2)
        assert feedback is None or len(feedback.arrivals) <= MAX_STATUSES
