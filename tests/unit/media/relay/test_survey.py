# SPDX-License-Identifier: Apache-2.0
"""The link probe over a warm leg: what it sends, what it believes, what it finds."""

import heapq
import random
from types import SimpleNamespace

import pytest
from aioice import stun

from media.core.link_probe import MAX_SHARE, Confidence, Mode
from media.relay.survey import ANSWER_BYTES, ERROR_BYTES, UDP_BYTES, Survey, answered, request
from tests.link.model import LinkModel, LinkParameters
from tests.support.stun import reply

USERNAME, PASSWORD = "theirs:ours1234", "p" * 24
STEP_S = 0.01


class Island:
    """A browser behind a link without losses."""

    def __init__(self, up_bps, down_bps, rtt_s, *, mode=Mode.FULL, password=PASSWORD):
        self.now = 100.0
        self.rates = {"up": up_bps, "down": down_bps}
        self.free = {"up": 0.0, "down": 0.0}
        self.carried = {"up": 0, "down": 0}
        self.rtt_s = rtt_s
        self.password = password
        self.trains = []
        self.answers = []
        self.leg = SimpleNamespace(path=self, on_stun_answer=None)
        self.survey = Survey(self.leg, USERNAME, PASSWORD, self.now, mode, None)

    def _carry(self, way, size, at):
        self.free[way] = max(self.free[way], at) + size * 8 / self.rates[way]
        self.carried[way] += size
        return self.free[way]

    def send(self, data, weight):
        self.trains.append((self.now, len(data)))
        at = self._carry("down", len(data) + UDP_BYTES, self.now) + self.rtt_s / 2
        answer = reply(data, self.password)
        size = ERROR_BYTES if answer[:2] == b"\x01\x11" else ANSWER_BYTES
        heapq.heappush(self.answers, (at, 0, answer, size))

    def run(self, seconds=12.0):
        """Run to the end; return how long it took."""
        began = self.now
        while self.now - began < seconds:
            self.now += STEP_S
            while self.answers and self.answers[0][0] <= self.now:
                at, back, data, size = heapq.heappop(self.answers)
                if not back:
                    at = self._carry("up", size, at) + self.rtt_s / 2
                    heapq.heappush(self.answers, (at, 1, data, size))
                elif self.leg.on_stun_answer is not None:
                    self.leg.on_stun_answer(data, at)
            if not self.survey.tick(self.now):
                break
        return self.now - began


def test_a_request_is_a_check_as_others_read_it():
    """Signed with the browser's password, of the size that was asked for; another password fails."""
    data, transaction = request(USERNAME, PASSWORD, 400, 7)
    assert abs(len(data) + UDP_BYTES - 400) <= 4
    message = stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD.encode())
    assert not message.check_message_integrity(b"another")
    assert message.attributes["USERNAME"] == USERNAME
    assert message.transaction_id == transaction
    assert "ICE-CONTROLLED" in message.attributes


def test_only_what_the_browser_signed_is_an_answer():
    """The transaction comes out of a good answer; a wrong password, a cut and a bare message give nothing."""
    data, transaction = request(USERNAME, PASSWORD, 0, 7)
    good = reply(data, PASSWORD)
    assert answered(good, PASSWORD) == transaction
    assert answered(reply(data, "q" * 24), PASSWORD) is None
    assert all(answered(good[:end], PASSWORD) is None for end in range(20, 44))
    assert answered(data[:20], PASSWORD) is None


@pytest.mark.parametrize(
    ("up", "down", "rtt"), [(64e3, 128e3, 0.8), (128e3, 384e3, 0.25), (48e3, 64e3, 0.5), (24e3, 24e3, 0.6)]
)  # fmt: skip
def test_both_ways_are_found_with_few_bytes(up, down, rtt):
    """At most a twentieth too high, a third too low; 6 s of asking, a quarter of the bytes of either way, three at once."""
    island = Island(up, down, rtt)
    took = island.run()
    assert took <= 6 + 2.0
    assert max(at for at, _ in island.trains) - 100 <= 6.0
    found_up, found_down = island.survey.reading(island.now)
    for found, truth in ((found_up, up), (found_down, down)):
        assert 0.67 * truth <= found.rate_bps <= 1.05 * truth
        assert found.confidence >= (Confidence.FAIR if down > 24e3 else Confidence.LOW)
        assert found.loss_ratio == 0
        assert found.rtt_s == pytest.approx(rtt, abs=0.15)
    for way, truth in island.rates.items():
        assert island.carried[way] <= MAX_SHARE * truth / 8 * 6.0
    starts = [at for at, _ in island.trains]
    assert max(starts.count(at) for at in set(starts)) <= 3


def test_a_fast_link_is_known_before_anybody_can_accept():
    """50 Mbit/s, 20 ms: certain in 3.5 s, both ways."""
    island = Island(5e7, 5e7, 0.02)
    assert island.run() < 3.5
    up, down = island.survey.reading(island.now)
    assert up.certain_bps > 1e6
    assert down.certain_bps > 1e6


def test_data_saving_asks_for_less():
    """Half the time and half the share."""
    full, saving = Island(64e3, 128e3, 0.8), Island(64e3, 128e3, 0.8, mode=Mode.SAVING)
    full.run()
    saving.run()
    assert saving.carried["down"] < 0.6 * full.carried["down"]
    assert saving.carried["up"] < 0.6 * full.carried["up"]


def test_a_browser_that_does_not_answer_costs_little():
    """Wrong signatures count as nothing: after four blind trains of each kind it ends, and nothing is known."""
    island = Island(64e3, 128e3, 0.8, password="q" * 24)
    assert island.run() < 8.0
    assert len(island.trains) <= 8 * 3
    up, down = island.survey.reading(island.now)
    assert up.confidence is down.confidence is Confidence.NONE
    assert island.leg.on_stun_answer is None


class RoughIsland:
    """A browser behind a link with jitter both ways, and a relay that is held up now and then."""

    def __init__(self, up_bps, down_bps, rtt_s, seed, *, jitter_ms=0.0, held_s=0.0):
        self.now = 100.0
        self.rng = random.Random(seed)
        self.up, self.down = (
            LinkModel(LinkParameters(bps, rtt_s * 500, jitter_ms=jitter_ms), f"{seed}/{bps}")
            for bps in (up_bps, down_bps)
        )
        self.held_s = held_s
        self.leg = SimpleNamespace(path=self, on_stun_answer=None)
        self.survey = Survey(self.leg, USERNAME, PASSWORD, self.now, Mode.FULL, None)

    def send(self, data, weight):
        self.down.offer(self.now, data, len(data) + UDP_BYTES)

    def run(self, seconds=12.0):
        """Run to the end; what comes while the relay is held up is told with the time of being read."""
        until, tick_at, held_until = self.now + seconds, self.now, 0.0
        waiting = []
        while self.now < until:
            self.now += STEP_S / 2
            for data in self.down.poll(self.now):
                answer = reply(data, PASSWORD)
                size = ERROR_BYTES if answer[:2] == b"\x01\x11" else ANSWER_BYTES
                self.up.offer(self.now, answer, size)
            waiting += self.up.poll(self.now)
            if self.now >= held_until and self.rng.random() < STEP_S / 2:
                held_until = self.now + self.rng.uniform(0, self.held_s)
            if self.now < held_until:
                continue
            for answer in waiting:
                if self.leg.on_stun_answer is not None:
                    self.leg.on_stun_answer(answer, self.now)
            waiting.clear()
            if self.now >= tick_at:
                tick_at = self.now + 2 * STEP_S
                if not self.survey.tick(self.now):
                    break


@pytest.mark.parametrize(
    "trouble", [{}, {"jitter_ms": 80}, {"held_s": 0.6}], ids=["clean", "jitter", "held"]
)
@pytest.mark.parametrize(
    ("up", "down", "rtt"),
    [
        (24e3, 24e3, 0.6), (48e3, 64e3, 0.5), (64e3, 128e3, 0.8), (128e3, 256e3, 0.65), (128e3, 384e3, 0.25),
        (500e3, 1e6, 0.12), (5e7, 5e7, 0.02),
    ],
)  # fmt: skip
def test_a_reading_is_right_or_says_that_it_is_a_lower_bound(up, down, rtt, trouble):
    """80 ms of jitter each way, or a relay held up for up to 0.6 s once a second: within 30 %, or no more than is certain.

    One of five may be off.
    """
    off = {up: 0, -down: 0}
    for seed in range(5):
        island = RoughIsland(up, down, rtt, seed, **trouble)
        island.run()
        for key, found in zip(off, island.survey.reading(island.now), strict=True):
            truth = min(abs(key), 2e6)
            if found.at_least:
                off[key] += found.certain_bps > 1.1 * truth
            else:
                off[key] += not 0.7 * truth <= found.rate_bps <= 1.3 * truth
        if not trouble and up > 24e3:
            assert not any(found.at_least for found in island.survey.reading(island.now))
    assert max(off.values()) <= 1
