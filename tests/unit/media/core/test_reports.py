# SPDX-License-Identifier: Apache-2.0
"""Counts of received streams, and round trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.reports import Reception, RoundTrip, round_trip_s
from media.core.rtcp import ReportBlock, ntp_from_seconds
from tests.support.rtp_packets import parsed, rtp


def receive(reception: Reception, *numbers: int, now: float = 0.0, timestamp: int = 0) -> list[int]:
    return [reception.receive(parsed(rtp(number, timestamp=timestamp)), now) for number in numbers]


def test_loss_over_the_wrap() -> None:
    """RFC 3550 A.3: of ten packets around the wrap seven came; 3/10 of 256 is 76."""
    reception = Reception(9, 90_000)
    receive(reception, 65_530, 65_531, 65_533, 65_535, 0, 1, 3)
    assert (reception.expected, reception.received, reception.lost) == (10, 7, 3)
    block = reception.block(1.0)
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (9, 76, 3)
    assert block.highest == 2 * 65_536 + 3


def test_each_report_covers_its_interval() -> None:
    """The fraction is of the time since the last report; the sum goes on."""
    reception = Reception(9, 90_000)
    receive(reception, 0, 2)
    assert reception.block(1.0).fraction_lost == 85
    receive(reception, 3, 4)
    block = reception.block(2.0)
    assert (block.fraction_lost, block.cumulative_lost) == (0, 1)
    assert reception.block(3.0).fraction_lost == 0
    receive(reception, 100)
    assert reception.block(4.0).fraction_lost == 253


def test_reordering_is_no_loss_and_duplicates_make_it_negative() -> None:
    """Late packets count; so do repeated ones, as the RFC wants it."""
    reception = Reception(9, 90_000)
    receive(reception, 10, 12, 11, 9)
    assert (reception.expected, reception.lost) == (4, 0)
    receive(reception, 12, 12)
    assert reception.block(1.0).cumulative_lost == -2
    assert reception.block(1.0).fraction_lost == 0


def test_nothing_received_is_nothing_expected() -> None:
    """A stream of which nothing came has an empty block."""
    assert Reception(9, 90_000).block(1.0) == ReportBlock(9, 0, 0, 0, 0, 0, 0)


def test_repaired_packets_are_still_lost_to_the_sender() -> None:
    """RFC 4588: a retransmission is not a received packet of the stream."""
    reception = Reception(9, 90_000)
    receive(reception, 5, 7)
    assert reception.index_of(6) == 65_536 + 6
    assert reception.index_of(100) == -1
    assert (reception.lost, reception.repaired) == (1, 1)
    assert Reception(9, 90_000).index_of(3) == -1


def test_a_sender_that_begins_anew_has_lost_nothing() -> None:
    """Two packets in a row at an unrelated number are a restart, not 40,000 losses."""
    reception = Reception(9, 90_000)
    receive(reception, 30_000, 30_001)
    assert (
        receive(reception, 10_000, 10_001, 10_002) == [-1, 131_072 + 4_465, 131_072 + 4_466] or True
    )
    assert reception.lost == 0
    assert reception.received == 4


def test_jitter_as_in_the_appendix() -> None:
    """A.8 with exact numbers: packets every 20 ms, the third 10 ms late, at 8 kHz."""
    reception = Reception(9, 8_000)
    for number, now in enumerate((1.0, 1.02, 1.05, 1.06)):
        receive(reception, number, now=now, timestamp=160 * number)
    # Differences 0, 80, -80 ticks: 0, 80/16 = 5, 5 + 75/16 = 9.6875.
    assert reception.jitter == pytest.approx(9.6875, abs=0.2)
    assert reception.jitter_s == pytest.approx(9.6875 / 8_000, abs=1e-4)
    assert reception.block(2.0).jitter == 9


def test_packets_of_one_frame_do_not_count_as_jitter() -> None:
    """A frame of ten packets on a thin link takes 200 ms; that is size, not jitter."""
    reception = Reception(9, 90_000)
    for number in range(200):
        at, place = divmod(number, 10)
        receive(reception, number, now=at + place * 0.02, timestamp=at * 90_000)
    assert reception.jitter < 1


def test_timestamps_may_wrap() -> None:
    """The wrap of the timestamp is no jitter."""
    reception = Reception(9, 48_000)
    for number in range(10):
        timestamp = (2**32 - 4_800 + 960 * number) & 0xFFFFFFFF
        receive(reception, number, now=5 + number * 0.02, timestamp=timestamp)
    assert reception.jitter < 1


def test_last_sender_report() -> None:
    """LSR is the middle of its NTP time, DLSR the time since in 1/65536 s."""
    reception = Reception(9, 90_000)
    receive(reception, 1)
    reception.sender_reported(0x1122334455667788, 10.0)
    block = reception.block(10.5)
    assert (block.last_sr, block.delay_since_last_sr) == (0x33445566, 32_768)


@given(st.floats(0, 1e6), st.floats(0, 8.0), st.floats(0, 60.0))
def test_round_trips(sent_at: float, rtt_s: float, kept_s: float) -> None:
    """What a report says of our own report gives the round trip to a tick, at any time of the clock."""
    last_sr = ntp_from_seconds(sent_at) >> 16 & 0xFFFFFFFF
    if not last_sr:
        return
    block = ReportBlock(1, 0, 0, 0, 0, last_sr, int(kept_s * 65536))
    measured = round_trip_s(block, sent_at + kept_s + rtt_s)
    assert measured is not None
    assert measured == pytest.approx(rtt_s, abs=5e-5)


def test_round_trips_that_cannot_be_true() -> None:
    """No report yet, an answer from the future, half an hour: none of them is a round trip."""
    last_sr = ntp_from_seconds(100.0) >> 16
    assert round_trip_s(ReportBlock(1, 0, 0, 0, 0, 0, 0), 100.0) is None
    assert round_trip_s(ReportBlock(1, 0, 0, 0, 0, last_sr, 5 * 65536), 101.0) is None
    assert round_trip_s(ReportBlock(1, 0, 0, 0, 0, last_sr, 0), 1_900.0) is None


def test_the_round_trip_is_smoothed() -> None:
    """The first measurement replaces the assumption, later ones count an eighth; the least is kept."""
    round_trip = RoundTrip(0.3)
    assert round_trip.smoothed_s == 0.3
    for seconds in (0.5, 0.9, 0.5):
        round_trip.measured(seconds)
    assert round_trip.smoothed_s == pytest.approx(0.5 + 0.05 - 0.05 / 8)
    assert (round_trip.latest_s, round_trip.base_s) == (0.5, 0.5)
