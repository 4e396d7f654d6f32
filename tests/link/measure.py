# SPDX-License-Identifier: Apache-2.0
"""One call of one system over one link: from the click to the figures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from playwright.async_api import Error, Page, Playwright

from tests.link import meter
from tests.link.lab import Lab, Permission
from tests.link.meter import Taken
from tests.link.profiles import DIRECTIONS, Profile
from tests.link.systems import Ends, System

CONNECT_S = 60.0
"""Who has no voice by then is measured from then on as they are."""
SETTLED_S = 3.0
"""Of a squeeze: what was on its way when the rate fell is not held against anybody."""
FORMER_FPS = 0.8
"""As much picture as before: the former height, and so much of the former frame rate, over 3 s."""
FORMER_OVER_S = 3.0

Figures = dict[str, Any]
"""Name: (down, up), or a single value."""


async def measure(
    system: System,
    profile: Profile,
    seed: int,
    seconds: float,
    playwright: Playwright,
    folder: Path,
) -> Figures:
    """Return what came of one call; a peer's failure is a result (``failed``), not an exception.

    Raises:
        LabUnavailableError: this machine cannot emulate links.
    """
    permission: Permission = "remembered" if profile.name.endswith("_remembered") else "asked"
    # What happens to the link happens to a call that stands, so it is played then.
    async with Lab(replace(profile, schedule=()), seed=seed) as lab:
        figures: Figures = {"link": profile.name, "system": system.name, "seed": seed}
        try:
            async with system.call(lab, playwright, folder, permission) as ends:
                figures |= await _watched(lab, ends, profile, seconds)
        except (Error, TimeoutError, AssertionError, RuntimeError) as error:
            # A server that did not start is told by the end of its log, a browser's trouble by its beginning.
            lines = str(error).strip().splitlines() or [""]
            line = lines[-1 if isinstance(error, AssertionError) else 0]
            figures["failed"] = f"{type(error).__name__}: {line[:160]}"
        figures["lateness_ms"] = lab.report()["lateness_ms"]
        return figures


async def _watched(lab: Lab, ends: Ends, profile: Profile, seconds: float) -> Figures:
    pages = (ends.island, ends.city)
    voice = await asyncio.gather(*(_first_voice(page, ends.clicked_at) for page in pages))
    since = max([at for at in voice if at] or [0.0]) if all(voice) else time.time()
    before = await asyncio.to_thread(lab.report)
    if profile.schedule:
        await asyncio.to_thread(lab.play, profile.schedule)
        since = time.time()
        seconds = max(seconds, profile.schedule[-1].at_s + 40)
        seconds = max(seconds, *(end + 25 for end in profile.ends_s()), 0)
    until = since + seconds
    await asyncio.sleep(max(0.0, until - time.time()))
    after = await asyncio.to_thread(lab.report)
    seconds_log = _log_between(lab, before["lived_s"], after["lived_s"])
    taken = [await meter.take(page) for page in pages]
    first = [await meter.first(page) for page in pages]
    figures: Figures = {
        "seconds": seconds,
        "opened": asdict(ends.opened) | {"bound_s": _bound_s(profile, ends)},
        "voice_after_s": [_after(at, ends.clicked_at) for at, _ in first],
        "picture_after_s": [_after(at, ends.clicked_at) for _, at in first],
        "troubles": [*taken[0].troubles, *taken[1].troubles],
        **_heard_and_seen(taken, since, until),
        **_carried(before, after, seconds_log),
        "loaded": [
            (name, round(a - since, 2), round(b - since, 2), size)
            for name, a, b, size in taken[0].loaded
        ],
        "told": [(round(at - since, 2), message) for at, message in ends.told],
    }
    if profile.ends_s():
        figures |= _back(taken, since, until, profile.ends_s())
    elif profile.schedule:
        figures |= _squeezed(taken, since, until, profile)
    return figures


async def _first_voice(page: Page, since: float) -> float | None:
    while time.time() < since + CONNECT_S:
        at, _ = await meter.first(page)
        if at:
            return at
        await asyncio.sleep(0.2)
    return None


def _after(at: float | None, since: float) -> float | None:
    return None if at is None else round(at - since, 2)


def _bound_s(profile: Profile, ends: Ends) -> float:
    """Four round trips, the page's bytes at the link's rate, and 0.3 s."""
    round_trip_s = (profile.down.delay_ms + profile.up.delay_ms) / 1_000
    return round(4 * round_trip_s + ends.opened.loaded_bytes * 8 / profile.down.rate_bps + 0.3, 2)


def _heard_and_seen(taken: Sequence[Taken], since: float, until: float) -> Figures:
    """Return the figures of both ends: (what the island gets, what the city gets)."""
    island, city = taken
    frames = [meter.frames(each, since, until) for each in taken]
    sizes = [meter.height(each, since, until) for each in taken]
    lasts = until - since
    return {
        "good_percent": [round(100 * meter.good_audio(each, since, until), 2) for each in taken],
        "fps": [round(len(each) / lasts, 2) for each in frames],
        "frozen_percent": [round(100 * meter.frozen(each, since, until), 1) for each in frames],
        "size": [f"{width}x{height}" if height else "none" for width, height in sizes],
        "height": [height for _, height in sizes],
        "mouth_to_ear_ms": [
            meter.mouth_to_ear_ms(city, island, since, until),
            meter.mouth_to_ear_ms(island, city, since, until),
        ],
        "buffer_ms": [_buffer_ms(each, since, until) for each in taken],
        "key_frames": [
            meter.growth(each, since, until, "inbound-rtp/video", "keyFramesDecoded")
            for each in taken
        ],
        "nacks": [
            meter.growth(each, since, until, "inbound-rtp/video", "nackCount") for each in taken
        ],
        "plis": [
            meter.growth(each, since, until, "inbound-rtp/video", "pliCount") for each in taken
        ],
        "sent_picture_kbps": [
            _kbps(each, since, until, "outbound-rtp/video") for each in (city, island)
        ],
        "sent_voice_kbps": [
            _kbps(each, since, until, "outbound-rtp/audio") for each in (city, island)
        ],
    }


def _kbps(taken: Taken, since: float, until: float, kind: str) -> float:
    return round(
        meter.growth(taken, since, until, kind, "bytesSent") * 8 / 1_000 / (until - since), 1
    )


def _buffer_ms(taken: Taken, since: float, until: float) -> float | None:
    """Return how long voice waited in the receiver's jitter buffer, on average."""
    kind = "inbound-rtp/audio"
    out = meter.growth(taken, since, until, kind, "jitterBufferEmittedCount")
    waited_s = meter.growth(taken, since, until, kind, "jitterBufferDelay")
    return round(1_000 * waited_s / out) if out else None


def _carried(before: dict[str, Any], after: dict[str, Any], log: list[dict[str, Any]]) -> Figures:
    """Return what the link did meanwhile, by its own account."""
    figures: Figures = {"drops_percent": [], "air_percent": [], "kbps": [], "queue_ms": []}
    for direction in DIRECTIONS:
        was, now = before[direction], after[direction]
        offered = now["offered_packets"] - was["offered_packets"]
        lost = {
            cause: now["lost_packets"][cause] - was["lost_packets"][cause]
            for cause in now["lost_packets"]
        }
        sent = offered - lost["queue"] - lost["blackout"]
        air = lost["random"] + lost["burst"]
        lasts_s = after["lived_s"] - before["lived_s"]
        delivered = now["delivered_bytes"] - was["delivered_bytes"]
        figures["drops_percent"].append(round(100 * lost["queue"] / offered, 2) if offered else 0.0)
        figures["air_percent"].append(round(100 * air / sent, 2) if sent else 0.0)
        figures["kbps"].append(round(delivered * 8 / 1_000 / lasts_s, 1))
        waits = sorted(each[direction]["queue_ms"] or 0 for each in log) or [0]
        figures["queue_ms"].append([waits[len(waits) // 2], waits[len(waits) * 95 // 100]])
    return figures


def _log_between(lab: Lab, since_s: float, until_s: float) -> list[dict[str, Any]]:
    if lab.log is None:
        return []
    lines = [json.loads(line) for line in lab.log.read_text("utf-8").splitlines()]
    return [
        line
        for line in lines
        if line.get("event") == "second" and since_s <= line["at_s"] <= until_s
    ]


def _back(taken: Sequence[Taken], since: float, until: float, ends_s: Sequence[float]) -> Figures:
    """Return after how long voice and picture were back, at worst of the outages; None: never."""

    def worst(instants: Sequence[float]) -> float | None:
        waits = []
        for end_s in ends_s:
            at = next((at for at in instants if at > since + end_s), None)
            if at is None:
                return None
            waits.append(at - since - end_s)
        return round(max(waits), 2)

    return {
        "voice_back_s": [worst(meter.arrivals(each, since, until)) for each in taken],
        "picture_back_s": [worst(meter.frames(each, since, until)) for each in taken],
    }


def _squeezed(taken: Sequence[Taken], since: float, until: float, profile: Profile) -> Figures:
    """Return the figures of the squeeze itself, and how long after it the picture was as before."""
    begins, ends = (since + step.at_s for step in (profile.schedule[0], profile.schedule[-1]))
    settled = begins + SETTLED_S
    return {
        "good_percent": [round(100 * meter.good_audio(each, begins, ends), 2) for each in taken],
        "frozen_percent": [
            round(100 * meter.frozen(meter.frames(each, settled, ends), settled, ends), 1)
            for each in taken
        ],
        "former_s": [_former_s(each, since, begins, ends, until) for each in taken],
    }


def _former_s(taken: Taken, since: float, begins: float, ends: float, until: float) -> float | None:
    """Return how long after the squeeze the picture had its former size and frame rate again; None: not yet."""
    lines = meter.height(taken, begins - FORMER_OVER_S, begins)[1]
    rate = len(meter.frames(taken, begins - FORMER_OVER_S, begins))
    at = ends
    while at + FORMER_OVER_S <= until:
        frames = len(meter.frames(taken, at, at + FORMER_OVER_S))
        if frames >= FORMER_FPS * rate and meter.height(taken, at, at + FORMER_OVER_S)[1] >= lines:
            return round(at - ends, 1)
        at += 0.5
    return None


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the medians over seeds; a figure that most runs could not have is None."""
    good = [run for run in runs if "failed" not in run]
    answer: Figures = {
        "runs": len(runs),
        "failed": [run["failed"] for run in runs if "failed" in run],
    }
    if not good:
        return answer
    for name, value in good[0].items():
        if (
            not isinstance(value, list)
            or len(value) != 2
            or name in {"told", "troubles", "loaded", "queue_ms"}
        ):
            continue
        answer[name] = [_middle([run[name][side] for run in good]) for side in (0, 1)]
    answer["queue_ms"] = [
        [_middle([run["queue_ms"][side][which] for run in good]) for which in (0, 1)]
        for side in (0, 1)
    ]
    answer["usable_s"] = _middle([run["opened"]["usable_s"] for run in good])
    whole = [run["opened"].get("whole_s") for run in good]  # older runs don't have it
    answer["whole_s"] = None if None in whole else _middle(whole)
    answer["bound_s"] = _middle([run["opened"]["bound_s"] for run in good])
    return answer


def _middle(values: Sequence[Any]) -> Any:
    """Return the median, None where half or more of the values are; of words the most frequent."""
    there = [value for value in values if value is not None]
    if len(there) * 2 <= len(values):
        return None
    if isinstance(there[0], str):
        return max(there, key=there.count)
    return round(median(there), 2)
