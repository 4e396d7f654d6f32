# SPDX-License-Identifier: Apache-2.0
"""An estimator in command of a sender over an emulated link, in virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from media.core.budget import OVERHEAD_BYTES
from media.core.bwe.downlink import DownlinkEstimator
from media.core.bwe.estimate import Estimate
from media.core.bwe.probe import ProbePlan, Probing
from media.core.bwe.reported import ReportedDownlinkEstimator
from media.core.bwe.uplink import UplinkEstimator
from media.core.transport_cc import TICK_S, TransportFeedback
from tests.link.model import LinkModel, LinkParameters

Side = Literal["up", "down", "reported"]
Estimator = UplinkEstimator | DownlinkEstimator | ReportedDownlinkEstimator
VOICE_S = 0.06
VOICE_BYTES = 130
"""60 ms at 8 kbit/s with its headers: 17 packets and 17 kbit/s."""
SAMPLE_S = 0.1
TURN_S = 0.01
COMMAND_S = 0.2
FEEDBACK_S = 0.1
REPORT_S = 1.0
CLOCK_OFFSET_S = 1000.0


@dataclass
class Scenario:
    """A link, its steps, and who sends."""

    steps: list[tuple[float, float]]
    """(from second, bits per second), the first at 0."""
    rtt_s: float
    side: Side = "up"
    loss_ratio: float = 0.0
    burst_loss_ratio: float = 0.0
    jitter_ms: float = 0.0
    queue_ms: float = 600.0
    duration_s: float = 40.0
    start_bps: float = 30_000.0
    limit_bps: float = 6_000_000.0
    """What the sender has to send at most."""
    probing_bps: float = 0.0
    """What the owner of a down-link wants, if it asks for probes."""
    blackout: tuple[float, float] | None = None
    delay_step: tuple[float, float] | None = None
    """(second, milliseconds more one way)."""
    seed: int = 1


@dataclass
class Sample:
    """One moment."""

    at: float
    capacity_bps: float
    estimate: Estimate
    true_queue_s: float


@dataclass
class Trace:
    """What came out."""

    samples: list[Sample] = field(default_factory=list)
    plans: list[ProbePlan] = field(default_factory=list)
    probed_bytes: int = 0
    queue_loss_ratio: float = 0.0
    air_loss_ratio: float = 0.0
    sent_bytes: int = 0


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        rate = scenario.steps[0][1]
        self.link = LinkModel(
            LinkParameters(
                rate_bps=rate,
                delay_ms=scenario.rtt_s * 500,
                jitter_ms=scenario.jitter_ms,
                loss_ratio=scenario.loss_ratio,
                burst_loss_ratio=scenario.burst_loss_ratio,
                queue_ms=scenario.queue_ms,
            ),
            scenario.seed,
        )
        self.capacity = rate
        self.estimator: Estimator
        if scenario.side == "up":
            self.estimator = UplinkEstimator(scenario.start_bps, scenario.rtt_s, 0.0)
        elif scenario.side == "down":
            self.estimator = DownlinkEstimator(scenario.start_bps, scenario.rtt_s, 0.0)
        else:
            self.estimator = ReportedDownlinkEstimator(scenario.start_bps, scenario.rtt_s, 0.0)
        self.rng = random.Random(scenario.seed)
        self.allowed = scenario.start_bps
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = 0
        self.number = 0
        self.highest = -1
        self.received = self.reported_expected = self.reported_received = 0
        self.pending: dict[int, float] = {}
        self.feedback_base = 0
        self.feedbacks = 0
        self.trace = Trace()

    def later(self, at: float, act: Callable[[float], None]) -> None:
        self.order += 1
        heapq.heappush(self.events, (at, self.order, act))

    # -- sender
    def send(self, size: int, now: float) -> None:
        number = self.number
        self.number += 1
        if isinstance(self.estimator, DownlinkEstimator):
            self.estimator.sent(size, now)
        elif isinstance(self.estimator, ReportedDownlinkEstimator):
            self.estimator.sent(size)
        self.trace.sent_bytes += size
        stamp = int((now + CLOCK_OFFSET_S) * (1 << 18)) & 0xFFFFFF
        payload = number.to_bytes(4, "big") + stamp.to_bytes(3, "big") + size.to_bytes(2, "big")
        self.link.offer(now, payload, size)

    def voice(self, now: float) -> None:
        self.send(VOICE_BYTES, now)
        self.later(now + VOICE_S, self.voice)

    def picture(self, now: float) -> None:
        target = min(self.allowed, self.scenario.limit_bps) - VOICE_BYTES * 8 / VOICE_S
        fps = 4 if target < 60_000 else 10 if target < 300_000 else 20
        if target > 4_000:
            size = target / 8 / fps * self.rng.uniform(0.8, 1.2)
            largest = 400 if target < 150_000 else 1200
            count = int(size // largest) + 1
            each = max(80, int(size / count))
            for i in range(count):  # Chromium's pacer: 2.5 times the rate
                self.later(
                    now + i * each * 8 / (2.5 * target), lambda at, each=each: self.send(each, at)
                )
        self.later(now + 1 / fps, self.picture)

    def run_plan(self, plan: ProbePlan, now: float) -> None:
        self.trace.plans.append(plan)
        self.probe(plan, Probing(plan, self.trace.sent_bytes, now), now)

    def probe(self, plan: ProbePlan, probing: Probing, now: float) -> None:
        due = probing.due(self.trace.sent_bytes, now)
        if due < 0:
            return
        self.trace.probed_bytes += due
        for _ in range(due // plan.size_bytes):
            self.send(plan.size_bytes, now)
        self.later(now + TURN_S, lambda at: self.probe(plan, probing, at))

    # -- receiver
    def arrive(self, payload: bytes, now: float) -> None:
        number = int.from_bytes(payload[:4], "big")
        stamp = int.from_bytes(payload[4:7], "big")
        size = int.from_bytes(payload[7:9], "big")
        gap = number != self.highest + 1
        self.highest = max(self.highest, number)
        self.received += 1
        if isinstance(self.estimator, UplinkEstimator):
            self.estimator.received(stamp, size - OVERHEAD_BYTES, now, after_loss=gap)
        elif isinstance(self.estimator, DownlinkEstimator):
            self.pending[number] = now

    def feed_back(self, now: float) -> None:
        self.later(now + FEEDBACK_S, self.feed_back)
        if not self.pending:
            return
        base, last = self.feedback_base, max(self.pending)
        if last < base:
            self.pending.clear()
            return
        arrivals = tuple(
            round((self.pending[n] + CLOCK_OFFSET_S) / TICK_S) if n in self.pending else None
            for n in range(base, last + 1)
        )
        reference = next(a for a in arrivals if a is not None) // 256
        feedback = TransportFeedback(1, 2, base & 0xFFFF, self.feedbacks & 255, reference, arrivals)
        self.pending.clear()
        self.feedback_base = last + 1
        self.feedbacks += 1
        estimator = self.estimator
        assert isinstance(estimator, DownlinkEstimator)
        if self.rng.random() >= self.scenario.loss_ratio:  # feedback is lost as well
            self.later(now + self.scenario.rtt_s / 2, lambda at: estimator.feedback(feedback, at))

    def report(self, now: float) -> None:
        self.later(now + REPORT_S * self.rng.uniform(0.5, 1.5), self.report)
        expected = self.highest + 1 - self.reported_expected
        received = self.received - self.reported_received
        self.reported_expected += expected
        self.reported_received += received
        jitter_s = self.rng.uniform(-1, 1) * self.scenario.jitter_ms / 1000
        rtt_s = self.scenario.rtt_s + self.link.queue_delay_s(now) + jitter_s
        estimator = self.estimator
        assert isinstance(estimator, ReportedDownlinkEstimator)
        self.later(
            now + self.scenario.rtt_s / 2,
            lambda at: estimator.reported(max(0.001, rtt_s), expected, received, at),
        )

    # -- the estimator's owner
    def command(self, now: float) -> None:
        self.later(now + COMMAND_S, self.command)
        scenario, estimator = self.scenario, self.estimator
        usable = estimator.estimate(now).usable_bps
        # Our own down-link is obeyed at once; the page hears of its up-link half a round trip later.
        delay = scenario.rtt_s / 2 if scenario.side == "up" else 0.0
        self.later(now + delay, lambda at: setattr(self, "allowed", usable))
        if scenario.probing_bps and isinstance(estimator, DownlinkEstimator):
            plan = estimator.probe(scenario.probing_bps, now)
            if plan is not None:
                self.later(now + delay, lambda at: self.run_plan(plan, at))

    def measure(self, now: float) -> None:
        self.later(now + 1.0, self.measure)
        if isinstance(self.estimator, ReportedDownlinkEstimator):
            return
        self.estimator.measured_rtt(self.scenario.rtt_s + min(5.0, self.link.queue_delay_s(now)))
        if isinstance(self.estimator, UplinkEstimator):
            self.estimator.counted(self.highest + 1, self.received, now)

    def sample(self, now: float) -> None:
        self.later(now + SAMPLE_S, self.sample)
        self.trace.samples.append(
            Sample(now, self.capacity, self.estimator.estimate(now), self.link.queue_delay_s(now))
        )

    def step(self, rate: float, now: float) -> None:
        self.capacity = rate
        self.link.change(now, rate_bps=rate)

    def run(self) -> Trace:
        scenario = self.scenario
        self.later(0.0, self.voice)
        self.later(0.01, self.picture)
        self.later(0.05, self.command)
        self.later(0.07, self.sample)
        self.later(1.0, self.measure)
        if scenario.side == "down":
            self.later(0.1, self.feed_back)
        if scenario.side == "reported":
            self.later(0.5, self.report)
        for at, rate in scenario.steps[1:]:
            self.later(at, lambda now, rate=rate: self.step(rate, now))
        if scenario.blackout:
            begin, length = scenario.blackout
            self.later(begin, lambda now: self.link.blackout(now, length))
        if scenario.delay_step:
            begin, more = scenario.delay_step
            delay_ms = scenario.rtt_s * 500 + more
            self.later(begin, lambda now: self.link.change(now, delay_ms=delay_ms))
        while True:
            arrives = self.link.next_at_s()
            at = min(arrives, self.events[0][0])
            if at > scenario.duration_s:
                break
            if arrives <= self.events[0][0]:
                for payload in self.link.poll(arrives):
                    self.arrive(payload, arrives)
                continue
            _, _, act = heapq.heappop(self.events)
            act(at)
        tally = self.link.tally.as_dict()
        self.trace.queue_loss_ratio = tally["queue_loss_ratio"]
        self.trace.air_loss_ratio = tally["air_loss_ratio"]
        return self.trace


def simulate(scenario: Scenario) -> Trace:
    """Run a scenario and return what the estimator said all along."""
    return _Run(scenario).run()


@dataclass(frozen=True)
class Verdict:
    """A trace against the aim."""

    error_ratio: float
    """Median of rate over capacity, less 1, from 10 s after the last step on."""
    worst_ratio: float
    """The rate furthest from it in that time, less 1."""
    inside_ratio: float
    """Share of that time within 20 %."""
    settled_s: float
    """From the last step until the rate stays within 20 % for 2 s; infinity if never."""
    over_s: float
    """Longest time that rate or usable is above 110 % of capacity."""
    queue_p50_ms: float
    queue_p95_ms: float
    """Of the link, from 10 s after the last step on."""
    queue_loss_ratio: float


def judge(scenario: Scenario, trace: Trace) -> Verdict:
    """Measure a trace against the aim."""
    last_step = scenario.steps[-1][0]
    late = [s for s in trace.samples if s.at >= last_step + 10]
    ratios = sorted(s.estimate.rate_bps / s.capacity_bps - 1 for s in late)
    queue = sorted(s.true_queue_s * 1000 for s in late)
    settled, since = float("inf"), None
    over, over_since = 0.0, None
    for s in trace.samples:
        inside = abs(s.estimate.rate_bps / s.capacity_bps - 1) <= 0.2
        if s.at >= last_step:
            since = (since if since is not None else s.at) if inside else None
            if since is not None and s.at - since >= 2 and settled == float("inf"):
                settled = since - last_step
        if max(s.estimate.rate_bps, s.estimate.usable_bps) > 1.1 * s.capacity_bps:
            over_since = s.at if over_since is None else over_since
            over = max(over, s.at - over_since + SAMPLE_S)
        else:
            over_since = None
    return Verdict(
        error_ratio=ratios[len(ratios) // 2],
        worst_ratio=max(ratios, key=abs),
        inside_ratio=sum(abs(r) <= 0.2 for r in ratios) / len(ratios),
        settled_s=settled,
        over_s=over,
        queue_p50_ms=queue[len(queue) // 2],
        queue_p95_ms=queue[int(len(queue) * 0.95)],
        queue_loss_ratio=trace.queue_loss_ratio,
    )
