# SPDX-License-Identifier: Apache-2.0
"""Scores against published values, and words that people would use."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.quality import (
    WORDS,
    Cause,
    Heard,
    LinkQuality,
    Named,
    PictureMeter,
    Seen,
    VoiceMeter,
    Word,
    delay_impairment,
    equipment_impairment,
    mean_opinion,
    opus_impairment,
    overall,
    rate_picture,
    rate_voice,
    word_of,
    worse,
)

SECOND = 48_000


@pytest.mark.parametrize(
    ("r", "mos"), [(93.2, 4.41), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)]
)
def test_mos_of_r(r: float, mos: float) -> None:
    """ITU-T G.107 Annex B, Table B.1, and the default R of 93.2."""
    assert mean_opinion(r) == pytest.approx(mos, abs=0.01)


def test_the_ends_of_the_scale() -> None:
    """Annex B: below 0 it is 1, above 100 it is 4.5, never less than 1 in between."""
    assert (mean_opinion(-5), mean_opinion(120)) == (1.0, 4.5)
    assert min(mean_opinion(r / 10) for r in range(1, 1000)) == 1.0


@pytest.mark.parametrize(
    ("ie", "bpl", "at_two_percent"),
    [(11, 19.0, 19), (15, 16.1, 24), (0, 25.1, 7)],
    ids=["G.729A+VAD", "G.723.1A+VAD 6.3", "G.711 with concealment"],
)
def test_equipment_impairment(ie: float, bpl: float, at_two_percent: float) -> None:
    """ITU-T G.113 App. I: factors without loss and at 2 % of random loss, rounded there."""
    found = equipment_impairment(ie, bpl, 0.02)
    assert found == pytest.approx(at_two_percent, abs=0.6)
    assert equipment_impairment(ie, bpl, 0.0) == ie


def test_bursts_hurt_more() -> None:
    """The same loss in bursts of twice the length costs more; at all lost it is bounded by 95."""
    assert equipment_impairment(10, 10, 0.06, 2.0) > equipment_impairment(10, 10, 0.06) + 5
    assert equipment_impairment(10, 10, 1.0) < 95


@pytest.mark.parametrize(
    ("delay_ms", "mos"),
    [(100, 4.41), (200, 4.34), (300, 3.96), (350, 3.75), (400, 3.56), (500, 3.23), (700, 2.82)],
)
def test_delay_impairment(delay_ms: float, mos: float) -> None:
    """MOS by delay alone, from G.107's formula computed independently; R = 73 at 350 ms."""
    assert mean_opinion(93.2 - delay_impairment(delay_ms / 1000)) == pytest.approx(mos, abs=0.01)


@pytest.mark.parametrize(("loss", "mos"), [(0, 3.27), (1, 3.07), (3, 2.70), (5, 2.39), (10, 1.83)])
def test_delay_and_loss_together(loss: float, mos: float) -> None:
    """350 ms with Ie 10, Bpl 20: the same independent computation."""
    r = 93.2 - delay_impairment(0.35) - equipment_impairment(10, 20, loss / 100)
    assert mean_opinion(r) == pytest.approx(mos, abs=0.01)


def test_opus_is_between_known_codecs() -> None:
    """8 kbit/s costs a bit more than G.729 (10), 32 less; never negative, never over 30."""
    assert opus_impairment(8_000) == pytest.approx(13.7, abs=0.05)
    assert opus_impairment(32_000) == pytest.approx(7.3, abs=0.05)
    assert opus_impairment(510_000) == 0
    assert opus_impairment(0) == 30


def second(
    lost: float = 0.0, rtt_s: float = 0.05, frame_ms: int = 20, bps: float = 24e3,
    buffer_s: float = 0.06, bursts: int | None = None,
) -> Heard:  # fmt: skip
    frames = lost * 1000 / frame_ms
    return Heard(
        SECOND, int(lost * SECOND), round(frames) if bursts is None else bursts, buffer_s, rtt_s,
        frame_ms / 1000, bps,
    )  # fmt: skip


def score_of(heard: Heard) -> tuple[Word, Cause]:
    meter = VoiceMeter()
    for i in range(6):
        meter.add(heard, float(i))
    score = meter.score(5.0)
    assert score is not None
    return score.word, score.cause


def test_a_satellite_without_loss_is_fair() -> None:
    """600 ms of round trip and nothing lost: fair, for delay, with every voice of the ladder."""
    for bps, frame_ms in ((24e3, 20), (32e3, 20), (16e3, 20), (12e3, 20), (12e3, 60)):
        assert score_of(second(0, 0.6, frame_ms, bps)) == (Word.FAIR, Cause.DELAY)


@pytest.mark.parametrize(
    ("heard", "word", "cause"),
    [
        (second(), Word.EXCELLENT, Cause.NONE),
        (second(0.0, 0.05, 60, 8e3), Word.GOOD, Cause.CODEC),
        (second(0.03, 0.05), Word.FAIR, Cause.LOSS),
        (second(0.04, 0.5, 60, 8e3, 0.1, bursts=1), Word.POOR, Cause.DELAY),
        (second(0.1, 0.05), Word.POOR, Cause.LOSS),
        (second(0.4, 0.5, 60, 8e3), Word.BAD, Cause.LOSS),
        (second(0.0, 4.0), Word.POOR, Cause.DELAY),
    ],
    ids=["city", "glimpse nearby", "3 % nearby", "edge", "10 % nearby", "40 %", "4 s"],
)
def test_a_word_and_its_cause(heard: Heard, word: Word, cause: Cause) -> None:
    """What people would say of it, and what takes most from it."""
    assert score_of(heard) == (word, cause)


def test_a_burst_is_worse_than_single_losses() -> None:
    """6 % of the voice lost as three frames at once costs more than as three single ones."""
    scores = []
    for bursts in (1, 3):
        meter = VoiceMeter()
        meter.add(second(0.06, 0.1, 20, bursts=bursts), 0.0)
        scores.append(meter.score(0.0))
    together, apart = scores
    assert together is not None
    assert apart is not None
    assert together.loss_cost > apart.loss_cost + 5


def test_a_word_is_about_the_last_seconds() -> None:
    """Bad seconds are forgotten after five; a silent receiver has no word; DTX is no loss."""
    meter = VoiceMeter()
    assert meter.score(0.0) is None
    for i in range(4):
        meter.add(second(0.5), float(i))
    bad = meter.score(3.0)
    assert bad is not None
    assert bad.word is Word.BAD
    for i in range(4, 10):
        meter.add(second(), float(i))
    good = meter.score(9.0)
    assert good is not None
    assert good.word is Word.EXCELLENT
    assert meter.score(20.0) is None


@given(
    st.floats(0, 10), st.floats(0, 1), st.floats(0, 20), st.floats(0, 1e6),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_worse_is_never_better(
    delay_s: float, loss: float, burst_r: float, bps: float, more_s: float, more: float
) -> None:
    """R is in 0..93.2, falls with delay and with loss, and the words fall with R."""
    score = rate_voice(delay_s, loss, burst_r, bps)
    assert 0 <= score.r <= 93.2
    assert 1 <= score.mos <= 4.5
    later = rate_voice(delay_s + more_s, loss, burst_r, bps)
    lost = rate_voice(delay_s, min(1.0, loss + more), burst_r, bps)
    for other in (later, lost):
        assert other.r <= score.r + 1e-9
        assert WORDS.index(other.word) >= WORDS.index(score.word)
    assert (score.cause is Cause.NONE) == (score.word is Word.EXCELLENT)


def test_words_are_halfway_between_numbers() -> None:
    """MOS 3.5, 2.5 and 1.5 part good, fair, poor and bad within 0.02."""
    for r, above, below in ((68, Word.GOOD, Word.FAIR), (48.5, Word.FAIR, Word.POOR)):
        assert (word_of(r), word_of(r - 0.01)) == (above, below)
        assert abs(mean_opinion(r) % 1 - 0.5) < 0.02
    assert abs(mean_opinion(27.5) - 1.5) < 0.02


@pytest.mark.parametrize(
    ("fps", "frozen", "word", "cause"),
    [
        (24, 0.0, Word.EXCELLENT, Cause.NONE), (12, 0.0, Word.GOOD, Cause.FRAME_RATE),
        (20, 0.02, Word.GOOD, Cause.FROZEN), (4, 0.06, Word.FAIR, Cause.FROZEN),
        (2, 0.0, Word.POOR, Cause.FRAME_RATE), (0.4, 0.9, Word.BAD, Cause.FROZEN),
    ],
)  # fmt: skip
def test_a_picture(fps: float, frozen: float, word: Word, cause: Cause) -> None:
    """The worse of frame rate and freezes decides and is the cause; of equals the freezes are."""
    score = rate_picture(fps, frozen)
    assert (score.word, score.cause) == (word, cause)


def test_a_picture_is_counted_while_there_is_to_be_one() -> None:
    """Over ten seconds; what was switched off has no word."""
    meter = PictureMeter()
    for i in range(10):
        meter.add(Seen(1.0, 0 if i < 2 else 15, 1.0 if i < 2 else 0.0), float(i))
    score = meter.score(9.0)
    assert score is not None
    assert (score.frozen_ratio, score.fps, score.word) == (0.2, 12, Word.POOR)
    meter.clear()
    assert meter.score(9.0) is None


def test_one_word_for_both() -> None:
    """The worse of voice and picture, of equals the voice; nothing measured has no word."""
    voice = rate_voice(0.45, 0.0, 1.0, 24e3)
    assert overall(voice, rate_picture(4, 0.0)) == (Word.FAIR, Cause.DELAY)
    assert overall(voice, rate_picture(0, 1.0)) == (Word.BAD, Cause.FROZEN)
    assert overall(None, None) is None


CITY = LinkQuality(0.03, 0.0, 5e6)


@pytest.mark.parametrize(
    ("link", "named"),
    [
        (LinkQuality(0.6, 0.0, 4e6), Named.SECOND), (LinkQuality(0.1, 0.05, 4e6), Named.SECOND),
        (LinkQuality(0.1, 0.0, 48e3), Named.SECOND), (LinkQuality(0.1, 0.002, 1e6), Named.NEITHER),
    ],
    ids=["satellite", "loss", "thin", "fine"],
)  # fmt: skip
def test_the_worse_link_is_named(link: LinkQuality, named: Named) -> None:
    """Beside a city's link: the satellite, the lossy, the thin; and nobody if nothing costs a word."""
    assert worse(CITY, link) is named
    mirrored = {Named.SECOND: Named.FIRST}
    assert worse(link, CITY) is mirrored.get(named, named)


def test_two_equal_links_are_both_named() -> None:
    """Nobody is blamed for what both do."""
    assert worse(LinkQuality(0.6, 0.01, 1e5), LinkQuality(0.55, 0.02, 1e5)) is Named.BOTH
