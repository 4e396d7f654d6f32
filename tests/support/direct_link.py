# SPDX-License-Identifier: Apache-2.0
"""A direct call's one direction over an emulated link, in virtual time: both pages count, the node decides, the sender obeys."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from media.core.direct import DirectWay
from media.core.ladder import Move
from media.core.limits import Limits
from media.core.rungs import HEADER_BYTES, Rung, Voice, voice_wire_bps
from tests.link.model import LinkModel, LinkParameters

OPEN_BPS = 1_500_000.0
"""What the browser's own control is taken to send in the open."""
SENDER_REPORT_S = 1.0
VOICE_REPORT_S = 5.0
CHECK_S = 2.5
"""Between two round trips of ICE checks."""
CLOCK_S = 1_000.0


@dataclass
class Direct:
    """What came of it."""

    rungs: list[tuple[float, Rung]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    limits: list[tuple[float, Limits]] = field(default_factory=list)
    queue_s: list[float] = field(default_factory=list)
    queue_loss_ratio: float = 0.0
    frames: list[float] = field(default_factory=list)
    """When pictures came."""
    reported_bytes: int = 0

    def rung_at(self, second: float) -> Rung:
        """Return the rung at a time."""
        return [rung for at, rung in self.rungs if at <= second][-1]

    def fps(self, since: float, until: float) -> float:
        """Return how many pictures came in a second."""
        return sum(since <= at < until for at in self.frames) / (until - since)


class Call:
    """One run."""

    def __init__(
        self,
        steps: list[tuple[float, float]],
        rtt_s: float,
        *,
        loss_ratio: float = 0.0,
        burst_loss_ratio: float = 0.0,
        jitter_ms: float = 0.0,
        queue_ms: float = 600.0,
        seed: int = 1,
        delays: bool = True,
        blackout: tuple[float, float] | None = None,
        signalling_cut: tuple[float, float] | None = None,
        used_ratio: float = 1.0,
        probes: bool = True,
    ) -> None:
        """Make a call.

        Args:
            steps: (from second, bits per second) of the link, the first at 0.
            rtt_s: of the way; the way back has no queue.
            delays: whether the receiving browser has the sender reports' times.
            signalling_cut: from when to when the receiver's page can't reach its node.
            used_ratio: what the encoder makes of what it may.
            probes: whether the sending browser's own control says what it found.
        """
        self.rng = random.Random(seed)
        self.rtt_s = rtt_s
        self.steps, self.blackout, self.cut = steps, blackout, signalling_cut
        self.jitter_s = jitter_ms / 1_000
        self.delays = delays
        self.used_ratio, self.probes = used_ratio, probes
        self.rate_bps = steps[0][1]
        self.link = LinkModel(
            LinkParameters(
                rate_bps=steps[0][1],
                delay_ms=rtt_s * 500,
                jitter_ms=jitter_ms,
                loss_ratio=loss_ratio,
                burst_loss_ratio=burst_loss_ratio,
                queue_ms=queue_ms,
            ),
            seed,
        )
        self.way = DirectWay(0.0)
        self.out = Direct()
        self.limits = self.way.begin(0.0)
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = self.number = 0
        self.highest = -1
        self.received = self.octets = 0
        self.told = (0, 0, 0)
        self.reported_at = 0.0
        self.delay_s: float | None = None
        self.rtts: list[float] = []

    def later(self, at: float, act: Callable[[float], None]) -> None:
        """Do something at a time."""
        self.order += 1
        heapq.heappush(self.events, (at, self.order, act))

    def step(self, rate_bps: float, now: float) -> None:
        """Change the link."""
        self.rate_bps = rate_bps
        self.link.change(now, rate_bps=rate_bps)

    def send(self, size: int, now: float, last: bool = False, report_at: float = -1.0) -> None:
        """Offer a packet to the link; it carries its size, whether it ends a frame, and a sender report's time."""
        stamp = max(0, int(report_at * 1_000) + 1)
        payload = b"".join(
            (
                self.number.to_bytes(4, "big"),
                size.to_bytes(2, "big"),
                bytes([last]),
                stamp.to_bytes(4, "big"),
            )
        )
        self.number += 1
        self.link.offer(now, payload, size)

    def voice(self, now: float) -> None:
        """Send a frame of voice."""
        limits = self.limits
        voice = Voice(limits.audio_max_bps or 32_000, 20 if limits.ptime_ms == 20 else 60)
        frame_s = limits.ptime_ms / 1_000
        size = voice_wire_bps(voice, int(limits.red == "first")) * voice.frame_ms / 8_000
        self.send(int(size * frame_s * 1_000 / voice.frame_ms), now)
        self.later(now + frame_s, self.voice)

    def picture(self, now: float) -> None:
        """Send a picture, paced as Chromium paces."""
        limits = self.limits
        rate = min(OPEN_BPS, limits.video_max_bps)
        if not rate:
            self.later(now + 0.1, self.picture)
            return
        fps = limits.video_max_fps or 25
        size = self.used_ratio * rate / 8 / fps * self.rng.uniform(0.8, 1.2)
        count = int(size // 1_100) + 1
        for i in range(count):
            each = int(size / count) + HEADER_BYTES
            at = now + i * each * 8 / (2.5 * rate)
            self.later(at, lambda t, each=each, last=i == count - 1: self.send(each, t, last))
        self.later(now + 1 / fps, self.picture)

    def sender_report(self, now: float) -> None:
        """Send a sender report, of the picture or of the voice alone."""
        each = SENDER_REPORT_S if self.limits.video_max_bps else VOICE_REPORT_S
        self.later(now + each * self.rng.uniform(0.5, 1.5), self.sender_report)
        self.send(100, now, report_at=now)

    def check(self, now: float) -> None:
        """Measure a round trip; the way back has no queue."""
        self.later(now + CHECK_S, self.check)
        extra = self.rng.uniform(-1, 1) * self.jitter_s
        self.rtts.append(max(0.001, self.rtt_s + self.link.queue_delay_s(now) + extra))

    def arrive(self, payload: bytes, now: float) -> None:
        """Take a packet at the receiver."""
        number, size = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:6], "big")
        self.highest = max(self.highest, number)
        self.received += 1
        self.octets += size
        if payload[6]:
            self.out.frames.append(now)
        stamp = int.from_bytes(payload[7:11], "big")
        if stamp and self.delays:
            delay_s = now + CLOCK_S - (stamp - 1) / 1_000
            self.delay_s = delay_s if self.delay_s is None else min(delay_s, self.delay_s)

    def report(self, now: float) -> None:
        """Send the node what was counted, each second, or each two on thin rungs."""
        each = 2.0 if self.limits.rung <= Rung.SMALL else 1.0
        self.later(now + each, self.report)
        if self.cut and self.cut[0] <= now < self.cut[1]:
            return
        expected, received, octets = (
            self.highest + 1 - self.told[0], self.received - self.told[1], self.octets - self.told[2]
        )  # fmt: skip
        self.told = (self.highest + 1, self.received, self.octets)
        span_s = now - self.reported_at
        self.reported_at = now
        delay_s, self.delay_s = self.delay_s, None
        rtts, self.rtts = self.rtts, []
        # Chromium probes to 100 kbit/s when it begins, then finds about 1.6 times what it sends (measured), or the link.
        may_bps = self.limits.video_max_bps + (self.limits.audio_max_bps or 32_000)
        available_bps = min(max(100e3, 2.3 * may_bps), 0.9 * self.rate_bps) if self.probes else 0.0
        self.out.reported_bytes += 178

        def take(at: float) -> None:
            if rtts:
                self.way.estimator.measured_rtt(min(rtts), 0.0, at)
            self.way.available(available_bps)
            if delay_s is not None:
                self.way.estimator.measured_delay(delay_s, at)
            self.way.counted(span_s, octets, expected, received, at)
            self.decide(at)

        self.later(now + self.rtt_s / 2, take)
        # The sender's own report comes in between: another decision.
        self.later(now + self.rtt_s / 2 + each / 2, self.decide)

    def decide(self, now: float) -> None:
        """Let the node decide."""
        limits, move = self.way.decide(now)
        state = self.way.direction.state
        assert state is not None
        self.out.rungs.append((now, state.rung))
        self.out.queue_s.append(self.link.queue_delay_s(now))
        if move is not None:
            self.out.moves.append(move)
        if limits is not None:
            self.out.limits.append((now, limits))
            self.later(now + self.rtt_s / 2, lambda _at: setattr(self, "limits", limits))

    def run(self, duration_s: float) -> Direct:
        """Run for so long."""
        for at, act in (
            (0.0, self.voice), (0.01, self.picture), (0.3, self.sender_report), (0.2, self.check), (1.0, self.report),
        ):  # fmt: skip
            self.later(at, act)
        for at, rate in self.steps[1:]:
            self.later(at, lambda now, rate=rate: self.step(rate, now))
        if self.blackout is not None:
            begin, length = self.blackout
            self.later(begin, lambda now: self.link.blackout(now, length))
        while True:
            arrives = self.link.next_at_s()
            at = min(arrives, self.events[0][0])
            if at > duration_s:
                break
            if arrives <= self.events[0][0]:
                for payload in self.link.poll(arrives):
                    self.arrive(payload, arrives)
                continue
            _, _, act = heapq.heappop(self.events)
            act(at)
        self.out.queue_loss_ratio = self.link.tally.as_dict()["queue_loss_ratio"]
        return self.out
