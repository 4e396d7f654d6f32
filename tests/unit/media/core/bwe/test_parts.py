# SPDX-License-Identifier: Apache-2.0
"""The estimators' parts, each by itself."""

import random

import pytest

from media.core.bwe.arrivals import ArrivalMeter
from media.core.bwe.clock import SendClock
from media.core.bwe.delay import DelayTracker
from media.core.bwe.downlink import DownlinkEstimator
from media.core.bwe.losses import LossMeter
from media.core.bwe.uplink import UplinkEstimator
from media.core.transport_cc import TransportFeedback


@pytest.mark.parametrize(("rate", "bits"), [(0, 24), (48_000, 32)])
def test_send_times_do_not_wrap(rate: int, bits: int) -> None:
    """Over two periods of the counter, with a silence longer than one, differences stay true."""
    clock = SendClock(rate)
    tick_s = 1 / rate if rate else 1 / (1 << 18)
    period_s = (1 << bits) * tick_s
    origin = clock.sent_at(int(5.0 / tick_s), 5.0)
    for now in (5.1, 5.05, 30.0, 6 + period_s, 7 + 2.7 * period_s):
        value = int(now / tick_s) & ((1 << bits) - 1)
        assert clock.sent_at(value, now) - origin == pytest.approx(now - 5.0, abs=1e-3)


def test_jitter_is_no_queue_and_a_queue_is() -> None:
    """160 ms of jitter stays below the threshold nearly always; 150 ms of queue is seen in 1.5 s."""
    tracker = DelayTracker()
    rng = random.Random(1)
    above = 0
    for i in range(1000):
        tracker.add(0.3 + rng.uniform(-0.08, 0.08), i * 0.03)
        above += tracker.queue_s(i * 0.03) > tracker.threshold_s
    assert above <= 20
    for i in range(1000, 1050):
        tracker.add(0.45 + rng.uniform(-0.08, 0.08), i * 0.03)
    assert tracker.queue_s(31.47) > tracker.threshold_s
    assert tracker.queue_s(31.47) == pytest.approx(0.15, abs=0.05)


def test_clocks_may_drift_apart() -> None:
    """100 ppm between the two clocks make less than 10 ms of queue in ten minutes."""
    tracker = DelayTracker()
    for i in range(10_000):
        tracker.add(0.1 + i * 0.06 * 1e-4, i * 0.06)
        assert tracker.queue_s(i * 0.06) < 0.01


@pytest.mark.parametrize("dropped_before_the_bottleneck", [True, False])
def test_losses_do_not_lower_the_pace(dropped_before_the_bottleneck: bool) -> None:
    """48 kbit/s is 48 kbit/s whether the queue drops packets or the air does."""
    meter = ArrivalMeter()
    rng = random.Random(2)
    at, lost = 0.0, False
    for _ in range(100):
        drop = rng.random() < 0.2
        if not (drop and dropped_before_the_bottleneck):
            at += 300 * 8 / 48_000
        if drop:
            lost = True
            continue
        meter.add_all([(at * 0.9, at, 300, lost)])
        lost = False
    pace = meter.pace(at)
    assert pace is not None
    assert pace.arrived_bps == pytest.approx(48_000, rel=0.05)


def test_bunched_packets_are_no_proof() -> None:
    """What jitter pushed together was carried no faster than it was sent."""
    meter = ArrivalMeter()
    for i in range(40):
        meter.add_all([(i * 0.05, 2.0 + i * 0.02, 300, False)])
    pace = meter.pace(2.8)
    assert pace is not None
    assert pace.carried_bps == pytest.approx(48_000, rel=0.02)
    assert pace.arrived_bps == pytest.approx(120_000, rel=0.02)


def test_losses_need_a_crowd() -> None:
    """One packet of seventeen lost is not judged before 20 were due, and then smoothed."""
    meter = LossMeter(0.0)
    meter.counted(17, 16, 2.1)
    assert meter.ratio == 0.0
    meter.counted(17, 16, 3.0)
    assert 0.0 < meter.ratio < 0.06


def test_voice_time_stamps_serve_without_abs_send_time() -> None:
    """A leg whose browser writes no abs-send-time shows its queue by the voice's timestamps."""
    estimator = UplinkEstimator(20e3, 0.3, 0.0)
    for i in range(200):
        late = 0.25 if i > 150 else 0.0
        now = i * 0.06 + late
        estimator.received_voice(i * 2880, 80, now)
        estimate = estimator.estimate(now)
    assert estimate.queue_delay_s == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("said_until_s", "full_bps"), [(0.0, 42e3), (9.0, 102e3), (1.0, 42e3)])
def test_what_is_carried_beside_the_media_counts_for_the_link(
    said_until_s: float, full_bps: float
) -> None:
    """A link that is full of media and content has the rate of both; what was not said again for 2.5 s has ended."""
    estimator = UplinkEstimator(20e3, 0.3, 0.0)
    for i in range(300):
        sent_at = i * 0.02  # 50 kbit/s
        now = sent_at + max(0, i - 200) * 0.004  # from 4 s on a queue grows
        if i % 50 == 0 and now < said_until_s:
            estimator.carried_beside(60e3, now)
        estimator.received(round(sent_at * (1 << 18)) & 0xFFFFFF, 81, now)
        rate_bps = estimator.estimate(now).rate_bps
        if i == 150:
            assert rate_bps == pytest.approx(110e3 if said_until_s else 50e3, rel=0.1)
    assert rate_bps == pytest.approx(full_bps, rel=0.1)


def test_a_stream_that_ends_is_no_loss() -> None:
    """Totals that become smaller begin a new count."""
    estimator = UplinkEstimator(20e3, 0.3, 0.0)
    estimator.counted(1000, 990, 1.0)
    estimator.counted(100, 100, 5.0)
    estimator.counted(200, 200, 10.0)
    assert 0 <= estimator.estimate(10.0).loss_ratio <= 0.01


def feed(estimator: DownlinkEstimator, first: int, lost: set[int], now: float) -> None:
    ticks = [
        None if n in lost else round((5000 + n * 0.02) / 0.00025) for n in range(first, first + 5)
    ]
    reference = next((t for t in ticks if t is not None), 0) // 256 % (1 << 24)
    offset = reference * 256 - (next((t for t in ticks if t is not None), 0) // 256) * 256
    arrivals = tuple(None if t is None else t + offset for t in ticks)
    estimator.feedback(TransportFeedback(1, 2, first & 0xFFFF, 0, reference, arrivals), now)


def test_feedback_over_the_wrap_of_the_numbers() -> None:
    """70,000 packets, reported by fives, each fiftieth feedback lost: the rate is what was sent."""
    estimator = DownlinkEstimator(50e3, 0.1, 0.0)
    for n in range(70_000):
        now = n * 0.02
        assert estimator.sent(250, now) == n & 0xFFFF
        if n % 5 == 4 and n // 5 % 50:
            feed(estimator, n - 4, {n - 4} if n % 100 == 4 else set(), now + 0.05)
            estimate = estimator.estimate(now + 0.05)
    assert estimate.rate_bps == pytest.approx(100e3, rel=0.1)
    assert estimate.queue_delay_s < 0.01
    assert 0.0 <= estimate.loss_ratio < 0.03


def test_repeated_and_invented_feedback_counts_once() -> None:
    """The same feedback again, and one about packets that were never sent, change nothing."""
    estimator = DownlinkEstimator(50e3, 0.1, 0.0)
    for n in range(10):
        estimator.sent(250, n * 0.02)
    feed(estimator, 0, set(), 0.25)
    before = list(estimator.watch._arrivals._at)
    feed(estimator, 0, set(), 0.3)
    feed(estimator, 8, set(), 0.3)
    feed(estimator, 40_000, set(), 0.3)
    assert list(estimator.watch._arrivals._at) == before
