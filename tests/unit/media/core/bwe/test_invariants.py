# SPDX-License-Identifier: Apache-2.0
"""Whatever arrives: an estimate is a number in its bounds, and nothing grows out of nothing."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.bwe.capacity import MAX_BPS, MIN_BPS
from media.core.bwe.downlink import DownlinkEstimator
from media.core.bwe.estimate import Estimate
from media.core.bwe.reported import ReportedDownlinkEstimator
from media.core.bwe.uplink import UplinkEstimator
from media.core.transport_cc import TransportFeedback

packets = st.lists(
    st.tuples(
        st.floats(0, 3),  # since the packet before
        st.integers(0, 0xFFFFFF),  # any abs-send-time
        st.integers(1, 1500),
        st.booleans(),
        st.floats(0, 10),  # a round trip
    ),
    max_size=120,
)


def check(estimate: Estimate) -> None:
    for rate in (estimate.rate_bps, estimate.usable_bps):
        assert MIN_BPS <= rate <= MAX_BPS
    assert 0 <= estimate.loss_ratio <= 1
    assert 0 <= estimate.queue_delay_s < math.inf
    assert 0 <= estimate.rtt_s <= 10


@given(packets, st.floats(0, 1e12))
@settings(max_examples=60, deadline=None)
def test_any_arrivals(
    arrivals: list[tuple[float, int, int, bool, float]], start_bps: float
) -> None:
    """Send times without sense, any spacing: in bounds, and never above twice what arrived."""
    now = 100.0
    estimator = UplinkEstimator(start_bps, 0.3, now)
    start = estimator.estimate(now).rate_bps
    total = 0
    for gap, stamp, size, after_loss, rtt_s in arrivals:
        now += gap
        total += size + 44
        estimator.received(stamp, size, now, after_loss=after_loss)
        estimator.counted(total, total // 2, now)
        estimator.measured_rtt(rtt_s)
        estimate = estimator.estimate(now)
        check(estimate)
        # 0.05 s is the shortest span that a rate is taken over.
        assert estimate.usable_bps <= max(start, total * 8 / 0.05) * 2


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF), st.integers(-(1 << 23), (1 << 23) - 1),
            st.lists(st.none() | st.integers(-(1 << 31), 1 << 31), max_size=30), st.floats(0, 2),
        ), max_size=30,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_feedback(feedbacks: list[tuple[int, int, list[int | None], float]]) -> None:
    """Feedback about packets that were never sent, with clocks that jump, raises nothing."""
    now = 10.0
    estimator = DownlinkEstimator(100e3, 0.3, now)
    for base, reference, arrivals, gap in feedbacks:
        now += gap
        for _ in range(20):
            estimator.sent(200, now)
        for number in (base, base % 600):
            estimator.feedback(TransportFeedback(1, 2, number, 0, reference, tuple(arrivals)), now)
        check(estimator.estimate(now))


@given(
    st.lists(
        st.tuples(
            st.floats(0, 10), st.integers(-5, 500), st.integers(-5, 600), st.floats(0, 10)
        ), max_size=60,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_reports(reports: list[tuple[float, int, int, float]]) -> None:
    """Reports that contradict each other stay in bounds."""
    now = 10.0
    estimator = ReportedDownlinkEstimator(100e3, 0.3, now)
    for rtt_s, expected, received, gap in reports:
        now += gap
        for _ in range(30):
            estimator.sent(300)
        estimator.reported(rtt_s, expected, received, now)
        check(estimator.estimate(now))


@given(st.floats(0, 1000), st.integers(1, 600))
@settings(max_examples=30, deadline=None)
def test_silence_raises_nothing(start: float, seconds: int) -> None:
    """Asking again and again while nothing arrives changes no rate and asks for no probe."""
    estimator = DownlinkEstimator(50e3, 0.5, start)
    for second in range(0, seconds, 5):
        estimate = estimator.estimate(start + second)
        assert (estimate.rate_bps, estimate.usable_bps) == (50e3, 50e3)
        assert not estimate.confident
        assert estimator.probe(1e6, start + second) is None
