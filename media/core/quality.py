# SPDX-License-Identifier: Apache-2.0
"""How good one direction is, from what the receiver got: one score, one word, one cause.

Voice is rated with the E-model of ITU-T G.107, with its delay term: a loss-free satellite link is
fair, not excellent. R = 93.2 - Idd - Ie,eff: everything that isn't measured here (noise, loudness, echo,
which the browser cancels) has its default, and no advantage is granted for the place (A = 0). The
model is the narrowband one because impairment factors for Opus exist for no other scale. ITU-T says
that R is for planning, not for one person's opinion; it ranks, and that is what it is used for.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

BEST_R: Final = 93.2
"""R with all defaults (ITU-T G.107, clause 7.7)."""
BEST_DELAY_S: Final = 0.1
"""One way; up to here delay costs nothing (G.107 clause 7.4, mT = 100 ms, sT = 1: default class)."""
OPUS_BPL: Final = 10.0
"""Robustness to loss of Opus with concealment: as GSM-EFR (ITU-T G.113 App. I: Bpl 10), which rtcscore
uses for Opus too. What reaches us as lost is what copies and retransmissions have not repaired."""
OPUS_LOOKAHEAD_S: Final = 0.0065
"""Of the encoder: 26.5 ms in all with frames of 20 (RFC 6716 §2: lookahead 2.5-6.5 ms)."""
DEVICE_S: Final = 0.02
"""Capture and playout that nobody reports (rtcscore's constant)."""
MAX_BURST_R: Final = 8.0
"""A longer mean burst is an outage: at 60 ms half a second; the model was fitted to about 2."""
WINDOW_S: Final = 5.0
"""Of a word: at 17 packets/s one lost packet is 6 % of a second and 1 % of five."""
PICTURE_WINDOW_S: Final = 10.0
"""A gap counts as a freeze after 1 s, so a word over 5 s would have five values."""
MAX_WINDOW: Final = 64
WORD_STEP_R: Final = 10.0
"""Between two categories of users' satisfaction (G.107 Annex B): less is no reason to name a link."""
BOTH_RATIO: Final = 0.7
"""Of the worse link's cost, from where the other is named as well."""
THIN_BPS: Final = ((34e3, 30.0), (80e3, 20.0), (190e3, 10.0))
"""Below each rate a link costs so much, a word a rung: no picture, a glimpse only, a small picture only
(least rates of the rungs, `media.core.rungs`)."""


class Word(StrEnum):
    """The five words of ITU-T P.800's listening scale."""

    EXCELLENT = "excellent"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    BAD = "bad"


WORDS: Final = tuple(Word)
"""From best to worst."""

WORD_R: Final = ((80.0, Word.EXCELLENT), (68.0, Word.GOOD), (48.5, Word.FAIR), (27.5, Word.POOR))
"""R from which a word holds. MOS 3.5, 2.5 and 1.5, halfway between the words' numbers, are R = 68, 48.5
and 27.5; the scale ends at 4.5, so excellent is from 80 on, "satisfied" (G.107 Annex B, Table B.1)."""


class Cause(StrEnum):
    """What takes most from the score."""

    NONE = "none"
    DELAY = "delay"
    LOSS = "loss"
    CODEC = "codec"
    FROZEN = "frozen"
    FRAME_RATE = "frame-rate"


@dataclass(frozen=True, slots=True)
class VoiceScore:
    """One direction's voice."""

    r: float
    mos: float
    word: Word
    cause: Cause
    """None if the word is excellent."""
    delay_s: float
    """Mouth to ear, one way."""
    delay_cost: float
    loss_cost: float
    codec_cost: float
    """Idd, the part of Ie,eff that loss makes, and Ie: points of R."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a receiver heard in about a second: differences of webrtc-stats `inbound-rtp` counters."""

    samples: int
    """`totalSamplesReceived`."""
    concealed: int
    """`concealedSamples` less `silentConcealedSamples`: the silence of DTX is no loss."""
    bursts: int
    """`concealmentEvents`."""
    buffer_s: float
    """`jitterBufferDelay` over `jitterBufferEmittedCount`."""
    rtt_s: float
    """Of the whole way between the two people."""
    frame_s: float
    """Of a packet."""
    opus_bps: float
    """Of the encoder, without copies."""
    sample_rate_hz: int = 48_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What a receiver saw in about a second."""

    seconds: float
    frames: int
    """`framesRendered` or `framesDecoded`."""
    frozen_s: float
    """Of it in gaps over 1 s between frames."""


@dataclass(frozen=True, slots=True)
class PictureScore:
    """One direction's picture."""

    fps: float
    frozen_ratio: float
    word: Word
    cause: Cause


PICTURE_WORDS: Final = (
    (Word.EXCELLENT, 0.01, 14.5),
    (Word.GOOD, 0.02, 9.5),
    (Word.FAIR, 0.15, 3.5),
    (Word.POOR, 0.4, 1.0),
)
"""Word, most frozen, least frames per second: what is aimed at on links of 1,000, 256 and 64 kbit/s; below
3.5 fps a gesture is a row of stills, and one frame a second is the least that was found to be of use
(rehabilitation consults over modem). Half a frame less than 15 and 10 is counting."""


def delay_impairment(delay_s: float) -> float:
    """Return Idd for a one-way delay from mouth to ear (G.107 clause 7.4)."""
    if delay_s <= BEST_DELAY_S:
        return 0.0
    x = math.log2(delay_s / BEST_DELAY_S)
    sixth = 1 / 6
    return 25 * float((1 + x**6) ** sixth - 3 * (1 + (x / 3) ** 6) ** sixth + 2)


def equipment_impairment(ie: float, bpl: float, loss_ratio: float, burst_r: float = 1.0) -> float:
    """Return Ie,eff (G.107 clause 7.5).

    Args:
        ie: Of the codec without loss.
        bpl: Robustness of the codec to loss.
        loss_ratio: Lost for good.
        burst_r: Mean length of a burst over that of random loss; 1 is random.
    """
    ppl = 100 * loss_ratio
    if ppl <= 0:
        return ie
    return ie + (95 - ie) * ppl / (ppl / max(1.0, burst_r) + bpl)


def opus_impairment(opus_bps: float) -> float:
    """Return Ie of Opus by rate.

    No Recommendation has one. This is rtcscore's fit, 55 - 4.6 ln(rate) within 0..30: 13.7 at 8 kbit/s,
    7.3 at 32; G.113 App. I has 10 for G.729 at 8 kbit/s, 5 for GSM-EFR at 12.2.
    """
    return max(0.0, min(30.0, 55 - 4.6 * math.log(max(1.0, opus_bps))))


def mean_opinion(r: float) -> float:
    """Return the MOS of an R (G.107 Annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def word_of(r: float) -> Word:
    """Return the word for an R."""
    return next((word for least, word in WORD_R if r >= least), Word.BAD)


def rate_voice(
    delay_s: float, loss_ratio: float, burst_r: float, opus_bps: float, bpl: float = OPUS_BPL
) -> VoiceScore:
    """Rate a voice.

    Args:
        delay_s: Mouth to ear, one way.
        loss_ratio: Share of the voice that was concealed.
        burst_r: See `equipment_impairment`.
        opus_bps: Of the encoder.
        bpl: Robustness to loss.
    """
    codec = opus_impairment(opus_bps)
    loss = equipment_impairment(codec, bpl, loss_ratio, burst_r) - codec
    delay = delay_impairment(delay_s)
    r = max(0.0, BEST_R - delay - loss - codec)
    word = word_of(r)
    cause = Cause.NONE
    if word is not Word.EXCELLENT:
        costs = ((loss, Cause.LOSS), (delay, Cause.DELAY), (codec, Cause.CODEC))
        cause = max(costs, key=lambda cost: cost[0])[1]
    return VoiceScore(r, mean_opinion(r), word, cause, delay_s, delay, loss, codec)


class VoiceMeter:
    """One direction's voice, second by second."""

    __slots__ = ("_heard",)

    def __init__(self) -> None:
        self._heard: deque[tuple[float, Heard]] = deque(maxlen=MAX_WINDOW)

    def add(self, heard: Heard, now: float) -> None:
        """Take what the receiver heard since the last call."""
        self._heard.append((now, heard))

    def score(self, now: float) -> VoiceScore | None:
        """Return the score of the last seconds; None if nothing was to be heard in them."""
        recent = [heard for at, heard in self._heard if now - at < WINDOW_S]
        samples = sum(heard.samples for heard in recent)
        if samples <= 0:
            return None
        newest = recent[-1]
        concealed = min(samples, sum(max(0, heard.concealed) for heard in recent))
        loss_ratio = concealed / samples
        frame = max(1.0, newest.frame_s * newest.sample_rate_hz)
        bursts = sum(max(0, heard.bursts) for heard in recent)
        mean = concealed / frame / bursts if bursts else 1.0
        burst_r = max(1.0, min(MAX_BURST_R, mean * (1 - loss_ratio)))
        weights = [(heard.samples, heard) for heard in recent]
        buffer_s = sum(weight * heard.buffer_s for weight, heard in weights) / samples
        rtt_s = sum(weight * heard.rtt_s for weight, heard in weights) / samples
        delay_s = rtt_s / 2 + buffer_s + newest.frame_s + OPUS_LOOKAHEAD_S + DEVICE_S
        return rate_voice(delay_s, loss_ratio, burst_r, newest.opus_bps)


def rate_picture(fps: float, frozen_ratio: float) -> PictureScore:
    """Rate a picture; what takes it down furthest is the cause."""
    frozen = next((i for i, row in enumerate(PICTURE_WORDS) if frozen_ratio <= row[1]), 4)
    slow = next((i for i, row in enumerate(PICTURE_WORDS) if fps >= row[2]), 4)
    worst = max(frozen, slow)
    cause = Cause.NONE
    if worst:
        cause = Cause.FROZEN if frozen >= slow else Cause.FRAME_RATE
    return PictureScore(fps, frozen_ratio, WORDS[worst], cause)


class PictureMeter:
    """One direction's picture, second by second."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Seen]] = deque(maxlen=MAX_WINDOW)

    def add(self, seen: Seen, now: float) -> None:
        """Take what the receiver saw since the last call, while a picture is meant to be sent."""
        self._seen.append((now, seen))

    def clear(self) -> None:
        """Forget all: the picture was switched off, and not by the link."""
        self._seen.clear()

    def score(self, now: float) -> PictureScore | None:
        """Return the score of the last seconds; None if there was to be no picture."""
        recent = [seen for at, seen in self._seen if now - at < PICTURE_WINDOW_S]
        seconds = sum(seen.seconds for seen in recent)
        if seconds <= 0:
            return None
        frozen_s = sum(seen.frozen_s for seen in recent)
        return rate_picture(sum(seen.frames for seen in recent) / seconds, frozen_s / seconds)


def overall(voice: VoiceScore | None, picture: PictureScore | None) -> tuple[Word, Cause] | None:
    """Return one word and its cause for a direction: the worse of both, of equals the voice's."""
    scores: list[VoiceScore | PictureScore] = [s for s in (voice, picture) if s is not None]
    if not scores:
        return None
    worst = max(scores, key=lambda score: WORDS.index(score.word))
    return worst.word, worst.cause


class Named(StrEnum):
    """Which of two links is to be named to both people."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"
    NEITHER = "neither"


class LinkQuality(NamedTuple):
    """What one person's link does to the conversation, both directions of it together."""

    rtt_s: float
    """Between this person and the relay."""
    loss_ratio: float
    """The worse direction's."""
    rate_bps: float
    """The thinner direction's."""


def worse(link_a: LinkQuality, link_b: LinkQuality) -> Named:
    """Say which of two links is to be named; neither if neither costs a word."""
    first, second = _cost(link_a), _cost(link_b)
    most = max(first, second)
    if most < WORD_STEP_R:
        return Named.NEITHER
    if min(first, second) >= BOTH_RATIO * most:
        return Named.BOTH
    return Named.FIRST if first > second else Named.SECOND


def _cost(link: LinkQuality) -> float:
    # Frame, buffer and devices are about the delay that costs nothing: the link's comes on top.
    delay = delay_impairment(BEST_DELAY_S + link.rtt_s / 2)
    loss = equipment_impairment(0.0, OPUS_BPL, link.loss_ratio)
    thin = next((cost for below, cost in THIN_BPS if link.rate_bps < below), 0.0)
    return delay + loss + thin
