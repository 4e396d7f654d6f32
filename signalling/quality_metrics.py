# SPDX-License-Identifier: Apache-2.0
"""The metrics of how calls are, as the browsers received them: a part of ``signalling.metrics``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from auth.roles import Role
from signalling.core.quality_of_posts import PostsQuality
from signalling.wire.legs import RungName, RungReason
from signalling.wire.quality import Whose, WordName

IgnoredReason = Literal["too_soon", "no_call"]
RouteName = Literal["direct", "relayed"]

SCORE = (0.275, 0.485, 0.58, 0.68, 0.74, 0.8, 0.86, 0.91)
"""Where words begin (``media.core.quality.WORD_R``), halves of the wide ones, and 91, without a loss on a short way."""
CONCEALED = (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Aims are 0.5 to 6 % by link."""
MOUTH_TO_EAR_S = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9, 1, 1.5, 2, 3)
"""ITU-T G.114: up to 150 ms nobody notices, above 400 talking suffers; aims are 500 to 950 ms by link."""
FROZEN = (0, 0.01, 0.02, 0.1, 0.15, 0.4, 0.9)
INTERVAL_S = (0.034, 0.05, 0.067, 0.084, 0.105, 0.2, 0.286, 1, 10)
"""Both: where words begin (``media.core.quality.PICTURE_WORDS``), and aims by link: 30, 20, 15, 12, 10, 5, 3.5, 1 fps."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a page said that it received in some seconds, rated; None = nothing to rate."""

    scores: tuple[float, ...]
    """R of each second."""
    concealed_ratio: float | None
    frozen_ratio: float | None
    fps: float | None
    mouth_to_ear_s: float | None
    seconds: float
    word: WordName | None
    whose: Whose


class QualityMetrics:
    """What ``signalling.metrics.Metrics`` has as ``quality``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.score = self._histogram(
            "voice_score_ratio",
            "R of ITU-T G.107 of what a side heard, each second, of 100.",
            SCORE,
        )
        self.concealed = self._histogram(
            "concealed_ratio", "Share of the voice that a side heard concealed.", CONCEALED
        )
        self.mouth_to_ear = self._histogram(
            "mouth_to_ear_seconds", "One way, from mouth to a side's ear.", MOUTH_TO_EAR_S
        )
        self.frozen = self._histogram(
            "frozen_ratio",
            "Share of the time that a side's picture stood still for over a second.",
            FROZEN,
        )
        self.interval = self._histogram(
            "picture_interval_seconds", "Mean time from picture to picture.", INTERVAL_S
        )
        self.seconds = Counter(
            "selat_quality_seconds",
            "Time in calls by how it was, voice and picture, and by whose link that came from; server = from neither.",
            ["word", "whose"],
            registry=registry,
        )
        self.ignored = Counter(
            "selat_receptions_ignored",
            "Messages on what a page received that were not counted, by why.",
            ["reason"],
            registry=registry,
        )
        self.posts = PostsQuality()
        """Which posts have calls; the metric counts them and names none."""
        posts = Gauge(
            "selat_posts_in_calls",
            "Health posts with ten minutes of listening in the last half hour at this node, by how most of it was.",
            ["calls"],
            registry=registry,
        )
        posts.labels("fine").set_function(lambda: self.posts.count(monotonic())[0])
        posts.labels("poor").set_function(lambda: self.posts.count(monotonic())[1])
        self.moves = Counter(
            "selat_direct_moves",
            "On route direct: moves of the ladder by the rung that was moved to, or stayed on with other settings, and why.",
            ["rung", "reason"],
            registry=registry,
        )
        self.ways_ignored = Counter(
            "selat_ways_ignored",
            "Messages on the way between two browsers that were not counted: without a call on route direct.",
            registry=registry,
        )
        self._begin()

    def _begin(self) -> None:
        """Make every series: those of what has not happened are 0, not missing."""
        for word in get_args(WordName):
            for whose in get_args(Whose):
                self.seconds.labels(word, whose)
        for reason in get_args(IgnoredReason):
            self.ignored.labels(reason)
        for rung in get_args(RungName):
            for why in get_args(RungReason):
                self.moves.labels(rung, why)
        for histogram in (
            self.score,
            self.concealed,
            self.mouth_to_ear,
            self.frozen,
            self.interval,
        ):
            for role in (Role.PATIENT, Role.SPECIALIST):
                for route in get_args(RouteName):
                    histogram.labels(role, route)

    def _histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        labels = ["role", "route"]
        return Histogram(f"selat_{name}", text, labels, buckets=bounds, registry=self._registry)

    def received(self, role: Role, route: RouteName, measured: Measured) -> None:
        """A page said what it received."""
        for score in measured.scores:
            self.score.labels(role, route).observe(score / 100)
        fps = measured.fps
        observed = (
            (self.concealed, measured.concealed_ratio),
            (self.mouth_to_ear, measured.mouth_to_ear_s),
            (self.frozen, measured.frozen_ratio),
            (self.interval, None if fps is None else 1 / max(fps, 0.1)),
        )
        for histogram, value in observed:
            if value is not None:
                histogram.labels(role, route).observe(value)
        if measured.word is not None:
            self.seconds.labels(measured.word, measured.whose).inc(measured.seconds)

    def not_counted(self, reason: IgnoredReason) -> None:
        """What a page said of what it received was not counted."""
        self.ignored.labels(reason).inc()

    def direct_moved(self, rung: RungName, reason: RungReason) -> None:
        """The ladder of a call on route direct made a move."""
        self.moves.labels(rung, reason).inc()

    def way_not_counted(self) -> None:
        """What a page said of its way to another browser came without such a call."""
        self.ways_ignored.inc()
