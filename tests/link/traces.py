# SPDX-License-Identifier: Apache-2.0
"""Recorded links: what somebody measured on a boat or a hill, as a schedule for the lab.

Three forms are read, told apart by the end of the file's name:

- ``.jsonl``: steps, as the emulator writes them into its own log (`profiles.load_trace`).
- ``.csv``: a heading and one line per moment. ``at_s`` and any of ``rate_kbps``, ``delay_ms``, ``jitter_ms``,
  ``loss_ratio``, ``burst_loss_ratio`` and ``queue_ms``, each alone (both directions) or as ``down_…`` and ``up_…``;
  ``blackout_s``; ``change_address_gap_s``. An empty cell changes nothing. A delay is one way.
- anything else: Mahimahi's form (Netravali et al., USENIX ATC 2015), one integer per line: the millisecond at which
  1,500 bytes could be sent. It says nothing of delay and loss. ``NAME.down`` and ``NAME.up`` belong together; of a file
  without such an end both directions are made.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.link.model import MTU_BYTES
from tests.link.profiles import DIRECTIONS, Direction, Profile, Step, load_trace

BIN_S = 1.0
"""A Mahimahi trace becomes one rate per so long: a fade that is shorter is the jitter's business."""
_EVENTS = ("blackout_s", "change_address_gap_s")
_PARAMETERS = ("rate_kbps", "delay_ms", "jitter_ms", "loss_ratio", "burst_loss_ratio", "queue_ms")


def read_trace(path: Path) -> tuple[Step, ...]:
    """Read a recorded link of any of the three forms.

    Raises:
        ValueError: a line is wrong; with the file's name and the line's number.
        OSError: the file cannot be read.
    """
    if path.suffix == ".jsonl":
        return load_trace(path)
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix in {".down", ".up"}:
        pair = {direction: path.with_suffix(f".{direction}") for direction in DIRECTIONS}
        steps = [
            step for direction in DIRECTIONS for step in _read_bins(pair[direction], direction)
        ]
        return tuple(sorted(steps, key=lambda step: step.at_s))
    return tuple(_read_bins(path, None))


def repeated(steps: tuple[Step, ...], until_s: float) -> tuple[Step, ...]:
    """Play a trace again and again until ``until_s``; the last state lasts as long as the one before it.

    Raises:
        ValueError: it is empty or lasts no time.
    """
    starts = sorted({step.at_s for step in steps})
    if len(starts) < 2:
        raise ValueError("a trace that is to be repeated needs two moments")
    lasts_s = starts[-1] + (starts[-1] - starts[-2])
    rounds = int(until_s // lasts_s) + 1
    made = [replace(step, at_s=step.at_s + n * lasts_s) for n in range(rounds) for step in steps]
    return tuple(step for step in made if step.at_s < until_s)


def traced(base: Profile, path: Path, until_s: float = 3_600.0) -> Profile:
    """Return a link that does what a trace says; what the trace leaves out is the base's."""
    steps = read_trace(path)
    return replace(
        base,
        name=path.name,
        source=f"A recorded trace; what it leaves out as {base.name}.",
        schedule=repeated(steps, until_s),
    )


def _read_csv(path: Path) -> tuple[Step, ...]:
    steps: list[Step] = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            try:
                steps += _row_steps(row)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path.name}:{rows.line_num}: {error}") from error
    return tuple(sorted(steps, key=lambda step: step.at_s))


def _row_steps(row: dict[str, Any]) -> Iterator[Step]:
    cells = {name: float(cell) for name, cell in row.items() if cell not in (None, "")}
    at_s = cells.pop("at_s")
    changes: dict[Direction | None, dict[str, float]] = {}
    for name, value in cells.items():
        if name in _EVENTS:
            yield Step(at_s, **{name: value})
            continue
        ahead, _, rest = name.partition("_")
        direction: Direction | None = "down" if ahead == "down" else "up" if ahead == "up" else None
        parameter = rest if direction else name
        if parameter not in _PARAMETERS:
            raise ValueError(f"no such column: {name}")
        in_bps = parameter == "rate_kbps"
        wanted = changes.setdefault(direction, {})
        wanted["rate_bps" if in_bps else parameter] = value * 1_000 if in_bps else value
    for direction, values in changes.items():
        yield Step(at_s, direction, values)


def _read_bins(path: Path, direction: Direction | None) -> Iterator[Step]:
    """Yield a step for each bin in which the rate is another than in the one before."""
    chances: Counter[int] = Counter()
    for number, line in enumerate(path.read_text("ascii").splitlines(), start=1):
        if not line.isdecimal():
            raise ValueError(f"{path.name}:{number}: not a number of milliseconds: {line}")
        chances[int(int(line) / 1_000 // BIN_S)] += 1
    if not chances:
        raise ValueError(f"{path.name}: empty")
    before = -1.0
    for number in range(max(chances) + 1):
        rate_bps = chances[number] * MTU_BYTES * 8 / BIN_S
        if rate_bps != before:
            yield Step(number * BIN_S, direction, {"rate_bps": rate_bps})
        before = rate_bps
