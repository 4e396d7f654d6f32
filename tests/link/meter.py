# SPDX-License-Identifier: Apache-2.0
"""What one page got and what the other one said: samples of a page's own statistics, and figures made of them.

Nothing here knows which system was measured. Times are of this machine's clock (UTC epoch seconds), which both browsers share.

- *Good audio*: of each second, the share of samples that were played and not concealed (webrtc-stats: concealedSamples over
  totalSamplesReceived), averaged over the whole stretch. Silent concealment counts as bad: a long outage is played as silence.
  Silence that a sender's DTX announces is not concealed and so is good; the speech that is used hardly has any. A second before
  the first packet, or in which nothing was played, is bad.
- *Frozen*: the share of the stretch in gaps of more than 1 s between frames that were decoded, whole gaps, from the first
  frame on; a first frame later than 5 s, and a last one, make a gap with the stretch's beginning and end.
- *Mouth to ear*: by how much the loudness of what is played here lags behind that of what is said there, by correlation over
  8 s; from the sender's captured track to the receiver's decoded one. Sound cards come on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

SCRIPT = Path(__file__).parent / "pages" / "meter.js"
FROZEN_S = 1.0
FIRST_FRAME_S = 5.0
"""A picture that begins so late was frozen before; sooner, the wait is in its own column."""
BLOCK_S = 0.01
"""Of one value of loudness, as in meter.js."""
GRID_S = 0.01
WINDOW_S, STEP_S = 8.0, 4.0
QUIET = 1e-5
"""Mean square below which all is silence: -50 dB; a gap must not outweigh what is there."""
FURTHEST_S = 5.0
"""The longest delay that is looked for: a 4 s queue and a jitter buffer."""
ALIKE = 0.5
"""Correlation of loudness below which two stretches are not taken for the same speech: unrelated ones reach 0.3 (seen)."""

Row = tuple[float, dict[str, dict[str, Any]]]
Loudness = tuple[float, int, list[float], int]
"""(instant at which these were there, number of the first one, mean squares, number of the track)."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a page's meter has collected."""

    rows: list[Row]
    """(instant, statistics by connection and id), about ten a second."""
    said: list[Loudness]
    """What the page's microphone gave."""
    played: list[Loudness]
    """What was decoded from the other person."""
    troubles: tuple[str, ...] = ()
    loaded: tuple[tuple[str, float, float, int], ...] = ()
    """(what, from, until, bytes) of what the page loaded after itself."""

    def between(self, since: float, until: float) -> Taken:
        """Return the statistics of a stretch, with one row before it if there is one."""
        first = max((n for n, row in enumerate(self.rows) if row[0] <= since), default=0)
        rows = [row for row in self.rows[first:] if row[0] <= until]
        return Taken(rows, self.said, self.played, self.troubles)


async def put(context: BrowserContext) -> None:
    """Put the meter into a browser before anything is opened in it."""
    await context.add_init_script(path=SCRIPT)


async def begin(page: Page) -> float:
    """Notice the first voice and picture from now on; return the instant."""
    at_ms: float = await page.evaluate("meter.begin()")
    return at_ms / 1_000


async def first(page: Page) -> tuple[float | None, float | None]:
    """Return when, since `begin`, the first voice packet and the first decoded frame came."""
    voice, picture = await page.evaluate("[meter.voiceAt, meter.pictureAt]")
    return voice / 1_000 or None, picture / 1_000 or None


async def take(page: Page) -> Taken:
    """Return everything that the meter has collected."""
    found = await page.evaluate("meter.take()")

    def blocks(side: str) -> list[Loudness]:
        return [(at / 1_000, *rest) for at, *rest in found["loudness"][side]]

    return Taken(
        [(at / 1_000, seen) for at, seen in found["rows"]],
        blocks("said"),
        blocks("played"),
        tuple(str(found[name]) for name in ("broken", "deaf") if found.get(name)),
        tuple((name, a / 1_000, b / 1_000, size) for name, a, b, size in found["loaded"]),
    )


# -- figures ---------------------------------------------------------------------------------------


def _growth(rows: Sequence[Row], kind: str, name: str) -> float:
    """Return by how much a counter grew over these rows, whatever connections came and went."""
    grown = 0.0
    last: dict[str, float] = {}
    for number, (_, seen) in enumerate(rows):
        for key, stat in seen.items():
            if stat["kind"] != kind or name not in stat:
                continue
            before = last.get(key, stat[name] if number == 0 else 0.0)
            grown += max(0.0, stat[name] - before)
            last[key] = stat[name]
    return grown


def growth(taken: Taken, since: float, until: float, kind: str, name: str) -> float:
    """Return by how much a counter of this kind of statistics grew in a stretch."""
    return _growth(taken.between(since, until).rows, kind, name)


def good_audio(taken: Taken, since: float, until: float) -> float:
    """Return the share of unconcealed audio, 0 to 1."""
    kind = "inbound-rtp/audio"
    shares = []
    for at in np.arange(since, until - 0.5, 1.0):
        rows = taken.between(float(at), min(float(at) + 1.0, until)).rows
        arrived = any(
            stat["kind"] == kind and stat.get("packetsReceived")
            for _, seen in rows[:-1]
            for stat in seen.values()
        )
        played = _growth(rows, kind, "totalSamplesReceived")
        if not arrived or not played:
            shares.append(0.0)
            continue
        shares.append(max(0.0, 1 - _growth(rows, kind, "concealedSamples") / played))
    return float(np.mean(shares)) if shares else 0.0


def frames(taken: Taken, since: float, until: float) -> list[float]:
    """Return the instants at which frames had been decoded, to 100 ms; several may be the same."""
    instants: list[float] = []
    last: dict[str, float] = {}
    for at, seen in taken.rows:
        for key, stat in seen.items():
            if stat["kind"] != "inbound-rtp/video":
                continue
            count = stat.get("framesDecoded", 0)
            if since <= at <= until:
                instants += [at] * max(0, int(count - last.get(key, 0)))
            last[key] = count
    return instants


def arrivals(taken: Taken, since: float, until: float) -> list[float]:
    """Return the instants at which voice packets had come, to 100 ms."""
    instants: list[float] = []
    last: dict[str, float] = {}
    for at, seen in taken.rows:
        for key, stat in seen.items():
            if stat["kind"] != "inbound-rtp/audio":
                continue
            count = stat.get("packetsReceived", 0)
            if since <= at <= until and count > last.get(key, 0):
                instants.append(at)
            last[key] = count
    return instants


def frozen(instants: Sequence[float], since: float, until: float) -> float:
    """Return the share of a stretch in gaps between frames that last more than a second."""
    if until <= since:
        return 0.0
    if not instants:
        return 1.0
    begins = instants[0] if instants[0] - since <= FIRST_FRAME_S else since
    gaps = [b - a for a, b in pairwise([begins, *instants, until])]
    return sum(gap for gap in gaps if gap > FROZEN_S) / (until - since)


def height(taken: Taken, since: float, until: float) -> tuple[int, int]:
    """Return the size of most of the decoded frames (width, height); zeros where there were none."""
    sizes: dict[tuple[int, int], float] = {}
    last: dict[str, float] = {}
    for _, seen in taken.between(since, until).rows:
        for key, stat in seen.items():
            if stat["kind"] != "inbound-rtp/video" or not stat.get("frameHeight"):
                continue
            count = stat.get("framesDecoded", 0)
            size = (int(stat["frameWidth"]), int(stat["frameHeight"]))
            sizes[size] = sizes.get(size, 0) + max(0, count - last.get(key, count))
            last[key] = count
    return max(sizes, key=lambda size: sizes[size]) if sizes else (0, 0)


def mouth_to_ear_ms(said: Taken, played: Taken, since: float, until: float) -> float | None:
    """Return the median delay from what was said to when it was decoded; None if it cannot be told."""
    mouth, mouth_from = _grid(said.said)
    ear, ear_from = _grid(played.played)
    if mouth is None or ear is None:
        return None
    lags = []
    width, furthest = round(WINDOW_S / GRID_S), round(FURTHEST_S / GRID_S)
    for at in np.arange(since + FURTHEST_S, until - WINDOW_S, STEP_S):
        here = round((float(at) - ear_from) / GRID_S)
        there = round((float(at) - mouth_from) / GRID_S) - furthest
        if (
            here < 0
            or there < 0
            or here + width > len(ear)
            or there + width + furthest > len(mouth)
        ):
            continue
        lag = _lag(ear[here : here + width], mouth[there : there + width + furthest])
        if lag is not None:
            lags.append((furthest - lag) * GRID_S * 1_000)
    return round(median(lags)) if lags else None


def _lag(ear: np.ndarray[Any, Any], mouth: np.ndarray[Any, Any]) -> int | None:
    """Return where in `mouth` the shorter `ear` is found; None where nothing is alike."""
    width = len(ear)
    ear = ear - ear.mean()
    if not ear.std():
        return None
    sums = np.concatenate(([0.0], np.cumsum(mouth)))
    squares = np.concatenate(([0.0], np.cumsum(mouth * mouth)))
    means = (sums[width:] - sums[:-width]) / width
    spread = np.sqrt(np.maximum(1e-12, (squares[width:] - squares[:-width]) / width - means**2))
    alike = np.correlate(mouth, ear, "valid") / (width * spread * ear.std())
    best = int(np.argmax(alike))
    return best if alike[best] >= ALIKE else None


def _grid(blocks: Sequence[Loudness]) -> tuple[np.ndarray[Any, Any] | None, float]:
    """Return the loudest track in decibels, in steps of 10 ms, and the instant of the first one."""
    if not blocks:
        return None, 0.0
    energy: dict[int, float] = {}
    for _, _, values, track in blocks:
        energy[track] = energy.get(track, 0.0) + sum(values)
    loudest = max(energy, key=lambda track: energy[track])
    blocks = [each for each in blocks if each[3] == loudest]
    # A message comes after its last sample, never before it: the quickest of a while tells how the two clocks stand.
    late = np.array([at - (number + len(values)) * BLOCK_S for at, number, values, _ in blocks])
    near = 30
    offsets = [float(late[max(0, n - near) : n + near + 1].min()) for n in range(len(late))]
    times = np.concatenate(
        [
            offset + (number + np.arange(len(values)) + 0.5) * BLOCK_S
            for (_, number, values, _), offset in zip(blocks, offsets, strict=True)
        ]
    )
    levels = 10 * np.log10(
        np.concatenate([np.asarray(values) for _, _, values, _ in blocks]) + QUIET
    )
    grid = np.arange(times[0], times[-1], GRID_S)
    return np.interp(grid, times, levels), float(times[0])
