# SPDX-License-Identifier: Apache-2.0
"""The estimators in command of a sender over emulated links, in virtual time."""

import pytest

from tests.support.bwe_link import Scenario, Side, Trace, judge, simulate

BOTH: tuple[Side, ...] = ("up", "down")


def at(trace: Trace, second: float) -> int:
    return min(range(len(trace.samples)), key=lambda i: abs(trace.samples[i].at - second))


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("rtt_s", [0.02, 0.25, 0.8])
@pytest.mark.parametrize(
    "steps",
    [
        [(0.0, 30e3)],
        [(0.0, 64e3), (20.0, 48e3)],
        [(0.0, 64e3), (20.0, 128e3)],
        [(0.0, 1e6), (20.0, 1e5)],
        [(0.0, 2.5e6), (20.0, 5e6)],
    ],
    ids=["30", "64-48", "64-128", "1000-100", "2500-5000"],
)
def test_within_a_fifth_ten_seconds_after_a_step(
    side: Side, rtt_s: float, steps: list[tuple[float, float]]
) -> None:
    """On a clean link the rate is within 20 % from 10 s after the step on, and hardly above before."""
    scenario = Scenario(steps, rtt_s, side, start_bps=0.8 * steps[0][1], duration_s=36)
    verdict = judge(scenario, simulate(scenario))
    assert verdict.inside_ratio >= 0.95
    assert abs(verdict.error_ratio) <= 0.1
    assert verdict.over_s <= 2.4


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize(
    ("loss_ratio", "burst", "jitter_ms"), [(0.06, 0.0, 0.0), (0.03, 0.0, 60.0), (0.0, 0.06, 80.0)]
)
@pytest.mark.parametrize("rate_bps", [64e3, 384e3])
def test_loss_is_not_congestion(
    side: Side, rate_bps: float, loss_ratio: float, burst: float, jitter_ms: float
) -> None:
    """6 % of loss, at random or in bursts, leaves the estimate where the link is."""
    scenario = Scenario(
        [(0.0, rate_bps)], 0.5, side, loss_ratio=loss_ratio, burst_loss_ratio=burst,
        jitter_ms=jitter_ms, start_bps=0.8 * rate_bps, duration_s=60,
    )  # fmt: skip
    trace = simulate(scenario)
    assert trace.air_loss_ratio > 0.02
    verdict = judge(scenario, trace)
    assert verdict.inside_ratio >= 0.9
    assert verdict.queue_loss_ratio <= 0.02
    assert verdict.queue_p50_ms <= 150


def test_a_constant_link_gives_a_constant_rate() -> None:
    """Once found, the rate of a link that doesn't change stays within 5 %: tries don't move it."""
    trace = simulate(Scenario([(0.0, 250e3)], 0.25, loss_ratio=0.02, duration_s=90))
    late = [s.estimate.rate_bps for s in trace.samples if s.at > 20]
    assert max(late) / min(late) < 1.05
    assert all(s.estimate.confident for s in trace.samples if s.at > 20)


@pytest.mark.parametrize("side", BOTH)
def test_a_voice_proves_itself_and_no_more(side: Side) -> None:
    """17 packets/s on a fast link: the estimate stays near what is sent, and says it isn't sure."""
    trace = simulate(
        Scenario([(0.0, 1e6)], 0.6, side, loss_ratio=0.03, jitter_ms=80, start_bps=20e3,
                 limit_bps=0, duration_s=90)
    )  # fmt: skip
    assert max(s.estimate.rate_bps for s in trace.samples) < 30e3
    assert min(s.estimate.rate_bps for s in trace.samples if s.at > 5) > 15e3
    assert not any(s.estimate.confident for s in trace.samples)


def test_probes_find_what_a_voice_does_not() -> None:
    """Small trains beside a voice find 500 kbit/s in half a minute, and the link's end at 100."""
    wide = simulate(
        Scenario(
            [(0.0, 1e6)], 0.3, "down", limit_bps=0, start_bps=20e3, probing_bps=5e5, duration_s=40
        )
    )
    assert wide.samples[-1].estimate.rate_bps > 400e3
    narrow = simulate(
        Scenario(
            [(0.0, 1e5)], 0.3, "down", limit_bps=0, start_bps=20e3, probing_bps=5e5, duration_s=90
        )
    )
    last = narrow.samples[-1].estimate
    assert 80e3 < last.rate_bps < 120e3
    assert narrow.queue_loss_ratio < 0.02
    for plan in wide.plans + narrow.plans:
        assert 1 <= plan.packets <= 3
        assert plan.size_bytes <= (400 if plan.target_bps < 150e3 else 1200)
    # In 90 s the link carries 1.1 MB.
    assert narrow.probed_bytes < 0.15 * 90 * 1e5 / 8


def test_a_blackout_is_no_step() -> None:
    """After 20 s of nothing the link's rate is what it was, and nobody was sure of it meanwhile."""
    trace = simulate(Scenario([(0.0, 384e3)], 0.25, blackout=(20, 20), duration_s=60))
    before = trace.samples[at(trace, 19)].estimate.rate_bps
    dark = trace.samples[at(trace, 30)].estimate
    assert dark.rate_bps == pytest.approx(before, rel=0.05)
    assert not dark.confident
    assert trace.samples[at(trace, 45)].estimate.rate_bps == pytest.approx(before, rel=0.1)


def test_a_longer_way_is_no_queue() -> None:
    """200 ms more of distance: careful for some seconds, then as before."""
    trace = simulate(Scenario([(0.0, 384e3)], 0.25, delay_step=(30, 200), duration_s=50))
    assert min(s.estimate.rate_bps for s in trace.samples if s.at > 10) > 0.5 * 384e3
    last = trace.samples[-1].estimate
    assert last.rate_bps == pytest.approx(384e3, rel=0.1)
    assert last.queue_delay_s < 0.15


def test_one_who_does_not_obey_is_measured_all_the_same() -> None:
    """A voice on a link too thin for it keeps a queue; its rate is the link's, the queue is told."""
    trace = simulate(Scenario([(0.0, 14e3)], 0.3, limit_bps=0, start_bps=20e3, duration_s=90))
    last = trace.samples[-1].estimate
    assert last.rate_bps == pytest.approx(14e3, rel=0.1)
    assert last.queue_delay_s > 0.3
    assert last.usable_bps < 14e3


def test_a_deep_queue_is_never_filled() -> None:
    """With a queue of 4 s half of what is sent waits less than 150 ms."""
    scenario = Scenario(
        [(0.0, 64e3)], 0.5, burst_loss_ratio=0.06, jitter_ms=80, queue_ms=4000, duration_s=60
    )
    verdict = judge(scenario, simulate(scenario))
    assert verdict.queue_p50_ms < 150
    assert verdict.queue_p95_ms < 600


@pytest.mark.parametrize("rtt_s", [0.02, 0.25, 0.8])
def test_receiver_reports_alone_do_not_flood(rtt_s: float) -> None:
    """Without feedback a link that falls to a quarter is found, though late."""
    scenario = Scenario(
        [(0.0, 256e3), (30.0, 64e3)], rtt_s, "reported", start_bps=200e3, duration_s=70
    )
    verdict = judge(scenario, simulate(scenario))
    assert verdict.error_ratio < 0.25
    assert verdict.queue_p50_ms < 250
