# SPDX-License-Identifier: Apache-2.0
"""The ladder and the estimator in command of a sender over an emulated link, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from media.core.bwe.probe import ProbePlanner
from media.core.bwe.reported import ReportedDownlinkEstimator
from media.core.fit import Link, Sending
from media.core.ladder import Move, State, begin, decide, next_bps
from media.core.rungs import HEADER_BYTES, Rung, voice_wire_bps
from tests.support.bwe_link import COMMAND_S, Scenario, _Run

OPEN_BPS = 1_500_000.0
"""What the browser's own control is taken to send in the open, if the estimate allows it."""


@dataclass
class Climb:
    """What the ladder did."""

    moves: list[Move] = field(default_factory=list)
    rungs: list[tuple[float, Rung]] = field(default_factory=list)
    """At each decision."""
    over: list[tuple[float, float]] = field(default_factory=list)
    """(second, sent share of the link's true rate) at each decision."""
    queue_loss_ratio: float = 0.0
    queue_s: list[float] = field(default_factory=list)
    probed_bytes: int = 0
    sent_bytes: int = 0
    path: list[Link] = field(default_factory=list)

    def rung_at(self, second: float) -> Rung:
        """Return the rung at a time."""
        return [rung for at, rung in self.rungs if at <= second][-1]

    def steps(self, since: float = 0.0, until: float = float("inf")) -> list[Move]:
        """Return the moves from rung to rung."""
        return [m for m in self.moves if m.before is not m.after and since <= m.at < until]


class _Ladder(_Run):
    def __init__(self, scenario: Scenario, rung: Rung) -> None:
        super().__init__(scenario)
        self.heard_at = 0.0
        self.climb = Climb()
        self.state: State = begin(rung, (self.look(0.0),), 0.0)
        self.sending: Sending = self.state.sending

    def look(self, now: float) -> Link:
        estimate = self.estimator.estimate(now)
        return Link(
            estimate.rate_bps, estimate.usable_bps, estimate.loss_ratio, estimate.rtt_s,
            estimate.queue_delay_s, now - self.heard_at,
        )  # fmt: skip

    def arrive(self, payload: bytes, now: float) -> None:
        super().arrive(payload, now)
        self.heard_at = now

    def voice(self, now: float) -> None:
        voice = self.sending.voice
        if voice is None:
            self.later(now + 0.2, self.voice)
            return
        frame_s = voice.frame_ms / 1000
        copies = self.sending.copies
        self.send(int(voice_wire_bps(voice, copies) * frame_s / 8), now)
        self.later(now + frame_s, self.voice)

    def picture(self, now: float) -> None:
        sending = self.sending
        if not sending.height:
            self.later(now + 0.1, self.picture)
            return
        rate = sending.max_bps or max(850e3, min(OPEN_BPS, 0.85 * self.allowed))
        size = rate / 8 / sending.fps * self.rng.uniform(0.8, 1.2)
        count = int(size // 1_100) + 1
        for i in range(count):
            each = int(size / count) + HEADER_BYTES
            self.later(now + i * each * 8 / (2.5 * rate), lambda at, each=each: self.send(each, at))
        self.later(now + 1 / sending.fps, self.picture)

    def command(self, now: float) -> None:
        self.later(now + COMMAND_S, self.command)
        link = self.look(now)
        # Of a way down the sender sits elsewhere: on a link as good, which is never silent.
        path = (link,) if self.scenario.side == "up" else (replace(link, silence_s=0.0), link)
        self.state, move = decide(self.state, path, now)
        climb = self.climb
        climb.path.append(link)
        climb.rungs.append((now, self.state.rung))
        climb.queue_s.append(self.link.queue_delay_s(now))
        climb.over.append((now, self.state.sending.wire_bps(link) / self.capacity))
        delay = self.scenario.rtt_s / 2
        self.later(now + delay, lambda at: setattr(self, "allowed", link.usable_bps))
        if move is not None:
            climb.moves.append(move)
            self.later(now + delay, lambda at: setattr(self, "sending", move.sending))
        estimator = self.estimator
        if (
            move is not None
            and move.after < move.before
            and not isinstance(estimator, ReportedDownlinkEstimator)
        ):
            # The link is another one now: the rate that was asked for in vain is no reason to wait.
            estimator.watch._planner = ProbePlanner(now)
        wanted = next_bps(self.state, link, copy=bool(self.state.protected[0]))
        if wanted and not isinstance(estimator, ReportedDownlinkEstimator):
            plan = estimator.watch.probe(wanted, now)
            if plan is not None:
                self.later(now + delay, lambda at: self.run_plan(plan, at))


def climb(scenario: Scenario, rung: Rung = Rung.OPEN) -> Climb:
    """Run a scenario and return what the ladder did; it begins at `rung` or what fits below it."""
    run = _Ladder(scenario, rung)
    trace = run.run()
    run.climb.queue_loss_ratio = trace.queue_loss_ratio
    run.climb.sent_bytes = trace.sent_bytes
    run.climb.probed_bytes = trace.probed_bytes
    return run.climb
