# SPDX-License-Identifier: Apache-2.0
"""The link probe over emulated links, in virtual time: what it costs and what it finds."""

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.link_probe import (
    MAX_SECONDS,
    MAX_SHARE,
    Confidence,
    LinkProbe,
    Mode,
    Outlook,
    Reading,
    Train,
    outlook,
    start,
)
from media.core.rungs import Rung, Wish
from tests.link.model import LinkModel, LinkParameters

TICK_S = 0.02
ANOTHER_CLOCK_S = 7_000.0


@dataclass
class Run:
    """What a probe did."""

    reading: Reading
    trains: list[tuple[float, Train]] = field(default_factory=list)
    done_at: float = 0.0
    queue_s: float = 0.0
    """The longest that anything waited."""


def probe(
    rate_bps: float, rtt_s: float = 0.1, *, mode: Mode = Mode.FULL, known_bps: float = 0.0,
    seed: int = 1, back_bps: float = 1e6, **link: float,
) -> Run:  # fmt: skip
    """Run one direction, whose receiver answers each packet over a way back."""
    model = LinkModel(LinkParameters(rate_bps, rtt_s * 500, **link), seed)
    one = LinkProbe(0.0, mode, known_bps)
    out = Run(one.reading(0.0))
    answers: list[tuple[float, int, int, float]] = []
    sent_at: dict[int, float] = {}
    for tick in range(int((MAX_SECONDS + 4) / TICK_S)):
        now = tick * TICK_S
        while answers and answers[0][0] <= now:
            _, number, index, at = heapq.heappop(answers)
            one.arrived(number, index, at + ANOTHER_CLOCK_S)
            if index == 0:
                one.measured_rtt(now - sent_at[number])
        while (train := one.next_train(now)) is not None:
            out.trains.append((now, train))
            sent_at[train.number] = now
            for index in range(train.packets):
                model.offer(now, bytes([train.number, index]), train.size_bytes)
            out.queue_s = max(out.queue_s, model.queue_delay_s(now))
        while model.next_at_s() <= now + TICK_S:
            at = model.next_at_s()
            for payload in model.poll(at):
                back = at + rtt_s / 2 + 60 * 8 / back_bps
                heapq.heappush(answers, (back, payload[0], payload[1], at))
        if not one.done(now):
            out.done_at = min(now + TICK_S, MAX_SECONDS)
    out.reading = one.reading(MAX_SECONDS + 4)
    return out


LINKS = [
    {"rate_bps": 24e3, "rtt_s": 0.6, "loss_ratio": 0.02},
    {"rate_bps": 48e3, "rtt_s": 0.5, "jitter_ms": 80, "burst_loss_ratio": 0.06},
    {"rate_bps": 64e3, "rtt_s": 0.8, "jitter_ms": 60, "loss_ratio": 0.03},
    {"rate_bps": 128e3, "rtt_s": 0.65, "jitter_ms": 20, "loss_ratio": 0.01},
    {"rate_bps": 384e3, "rtt_s": 0.25, "loss_ratio": 0.02},
    {"rate_bps": 1e6, "rtt_s": 0.12, "burst_loss_ratio": 0.05},
    {"rate_bps": 5e7, "rtt_s": 0.02},
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link['rate_bps'] / 1e3:.0f}")
def test_it_costs_little(link: dict[str, float], seed: int) -> None:
    """At most 6 s, a quarter of the link's bytes in them, three packets at once, one train in the queue."""
    run = probe(**link, seed=seed)
    assert run.done_at <= MAX_SECONDS
    assert max(at for at, _ in run.trains) <= MAX_SECONDS
    assert all(train.packets <= 3 for _, train in run.trains)
    assert run.reading.sent_bytes == sum(t.packets * t.size_bytes for _, t in run.trains)
    # Of the time that it really took, which may be less.
    assert run.reading.sent_bytes <= MAX_SHARE * link["rate_bps"] / 8 * run.done_at
    longest = max(train.packets * train.size_bytes for _, train in run.trains)
    assert run.queue_s <= min(0.3, 1.1 * longest * 8 / link["rate_bps"])  # never two trains
    if link["rate_bps"] < 150e3 and not link.get("jitter_ms"):
        assert max(train.size_bytes for _, train in run.trains) <= 400


@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link['rate_bps'] / 1e3:.0f}")
def test_it_finds_the_rate(link: dict[str, float]) -> None:
    """Median of nine: at most a tenth too high; a fifth too low, under much jitter 45 %.

    Where packets can't overtake, jitter of 60-80 ms draws out trains that take 100.
    """
    readings = [probe(**link, seed=seed).reading for seed in range(9)]
    truth = min(link["rate_bps"], 2e6)
    rates = sorted(r.rate_bps / truth for r in readings)
    certain = sorted(r.certain_bps / truth for r in readings)
    least = 0.55 if link.get("jitter_ms", 0) >= 60 else 0.8
    assert least <= rates[4] <= 1.1
    assert certain[4] <= 1.001
    assert all(r.confidence > Confidence.NONE for r in readings)


def test_a_clean_link_is_known_soon() -> None:
    """Without jitter and loss confidence is high, earlier than 6 s on a fast link."""
    slow, fast = probe(128e3, 0.3), probe(5e6, 0.05)
    assert slow.reading.confidence is Confidence.HIGH
    assert slow.reading.rate_bps == pytest.approx(128e3, rel=0.05)
    assert fast.reading.confidence is Confidence.HIGH
    assert fast.done_at < 4
    assert slow.reading.rtt_s == pytest.approx(0.3, abs=0.1)
    assert slow.reading.loss_ratio == 0


def test_loss_is_seen() -> None:
    """20 % of loss is told as 10 to 30, and of how many packets."""
    readings = [probe(500e3, 0.2, loss_ratio=0.2, seed=seed).reading for seed in range(9)]
    losses = sorted(r.loss_ratio for r in readings)
    assert 0.1 <= losses[4] <= 0.3
    assert all(r.packets >= 20 for r in readings)


def test_data_saving_asks_for_less() -> None:
    """Half the time and half the share: at most half of the bytes; no longer than 3 s."""
    full, saving = probe(128e3, 0.3, seed=3), probe(128e3, 0.3, mode=Mode.SAVING, seed=3)
    assert saving.reading.sent_bytes <= full.reading.sent_bytes / 2
    assert saving.done_at <= 3
    assert saving.reading.confidence > Confidence.NONE


def test_again_begins_with_what_was_known() -> None:
    """A second look is 6 trains at most and as good as the first; a link that fell isn't flooded."""
    again = probe(1e6, 0.1, mode=Mode.AGAIN, known_bps=1e6)
    assert len(again.trains) <= 6
    assert again.reading.rate_bps == pytest.approx(1e6, rel=0.2)
    fallen = probe(100e3, 0.1, mode=Mode.AGAIN, known_bps=1e6)
    assert fallen.reading.rate_bps == pytest.approx(100e3, rel=0.2)
    assert fallen.reading.sent_bytes <= MAX_SHARE * 100e3 / 8 * 3


def test_nothing_comes_back() -> None:
    """On a dead link 1.8 kB are sent, nothing is known, and the call may be tried."""
    one = LinkProbe(0.0)
    sent = [t for i in range(400) if (t := one.next_train(i * 0.02)) is not None]
    assert len(sent) == 4
    assert one.done(6.0)
    reading = one.reading(8.0)
    assert (reading.rate_bps, reading.confidence, reading.rtt_s) == (0, Confidence.NONE, None)
    assert reading.loss_ratio == 1
    assert outlook(reading, reading) is Outlook.UNKNOWN
    assert start(reading).rung <= Rung.VOICE


def test_arrivals_that_make_no_sense_change_nothing() -> None:
    """Unknown trains, indexes out of range and repeats are ignored."""
    one = LinkProbe(0.0)
    train = one.next_train(0.0)
    assert train is not None
    for number, index in ((1, 0), (-1, 0), (0, 3), (0, -1)):
        one.arrived(number, index, 1.0)
    assert one.reading(9.0).confidence is Confidence.NONE
    one.arrived(0, 0, 1.0)
    one.arrived(0, 0, 5.0)
    one.arrived(0, 1, 1.1)
    assert one.reading(9.0).rate_bps == pytest.approx(train.size_bytes * 8 / 0.1)


def known(
    rate_bps: float, confidence: Confidence = Confidence.HIGH, loss: float = 0.0, rtt_s: float = 0.1
) -> Reading:
    return Reading(rate_bps, 0.9 * rate_bps, confidence, loss, 40, rtt_s, 5_000)


def test_the_sentence_is_of_the_thinner_direction() -> None:
    """What each pair of rates makes possible; much loss promises no clear voice."""
    wide = known(2e6)
    table = {
        10e3: Outlook.MESSAGES, 25e3: Outlook.VOICE, 48e3: Outlook.SLOW_PICTURE,
        128e3: Outlook.SMALL_PICTURE, 500e3: Outlook.GOOD_PICTURE,
    }  # fmt: skip
    for rate, sentence in table.items():
        assert outlook(known(rate), wide) is sentence
        assert outlook(wide, known(rate)) is sentence
    assert outlook(wide, wide, Wish.VOICE) is Outlook.VOICE
    assert outlook(wide, known(300e3, loss=0.2)) is Outlook.VOICE_WITH_GAPS
    assert outlook(wide, known(300e3, loss=0.12)) is Outlook.GOOD_PICTURE  # 5 of 40: may be chance


def test_a_start_is_as_high_as_the_probe_is_sure() -> None:
    """2 Mbit/s: standard if certain, medium if fairly, a glimpse if hardly; never the open."""
    rungs = {c: start(known(2e6, c)).rung for c in Confidence}
    assert rungs == {
        Confidence.NONE: Rung.VOICE, Confidence.LOW: Rung.GLIMPSE, Confidence.FAIR: Rung.MEDIUM,
        Confidence.HIGH: Rung.STANDARD,
    }  # fmt: skip
    thin = start(known(30e3))
    assert thin.rung is Rung.VOICE
    assert thin.bps == pytest.approx(30e3)
    assert start(known(30e3, Confidence.LOW)).bps == pytest.approx(27e3)
    assert start(known(9e3, Confidence.LOW)).bps == pytest.approx(24e3)


@given(
    st.lists(
        st.tuples(st.integers(-2, 50), st.integers(-1, 4), st.floats(-1e6, 1e6), st.floats(0, 1)),
        max_size=60,
    ),
    st.sampled_from(Mode),
    st.floats(0, 1e9),
)
@settings(max_examples=50, deadline=None)
def test_any_answers(
    arrivals: list[tuple[int, int, float, float]], mode: Mode, known_bps: float
) -> None:
    """Whatever a receiver claims: bounded time, trains, sizes; numbers in their ranges."""
    one = LinkProbe(0.0, mode, known_bps)
    now, trains = 0.0, 0
    for number, index, at, passed in arrivals:
        while (train := one.next_train(now)) is not None:
            trains += 1
            assert train.packets <= 3
            assert 150 <= train.size_bytes <= 1200
            assert now < MAX_SECONDS
        one.arrived(number, index, at)
        one.measured_rtt(passed)
        now += passed
        reading = one.reading(now)
        assert 0 <= reading.certain_bps <= reading.rate_bps <= 2e6
        assert 0 <= reading.loss_ratio <= 1
        start(reading)
        outlook(reading, reading)
    assert trains <= 40
