# SPDX-License-Identifier: Apache-2.0
"""`make link`: Selat, PeerJS and Janus over the same links, and the table of what came of it beside the aims.

    python -m tests.link.compare --systems selat,peerjs --links edge,hspa --seeds 1,2,3 --seconds 120 --json figures.json

Figures of earlier runs in the file are kept (a link, system and seed that is measured again replaces them), so a long table can
be measured piece by piece. Ends with 1 when Selat misses an aim, with 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from tests.link import namespaces
from tests.link.aims import AIMS, MARGIN, Aim, judged
from tests.link.measure import Figures, measure, medians
from tests.link.profiles import PROFILES, Profile
from tests.link.systems import SYSTEMS
from tests.link.traces import traced

LATE_MS = 20.0
"""The link's own lateness, 99th percentile, beyond which the machine was too busy for the figures to be worth much."""
PRIORITY = -5
"""Nice value: behind the link's own -10, before everything else."""
OF_THE_AIMS = tuple(AIMS)
COLUMNS: tuple[tuple[str, str], ...] = (
    ("voice_after_s", "voice after s"),
    ("picture_after_s", "picture after s"),
    ("good_percent", "good audio %"),
    ("mouth_to_ear_ms", "mouth to ear ms"),
    ("fps", "fps"),
    ("frozen_percent", "frozen %"),
    ("size", "size"),
    ("drops_percent", "dropped by the queue %"),
    ("air_percent", "lost in the air %"),
    ("kbps", "carried kbit/s"),
)
EVENTS: tuple[tuple[str, str], ...] = (
    ("voice_back_s", "voice back s"),
    ("picture_back_s", "picture back s"),
    ("former_s", "as before s"),
)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests.link.compare", description=__doc__)
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="of " + ", ".join(SYSTEMS))
    parser.add_argument(
        "--links", default=",".join(OF_THE_AIMS), help="names, or files of recorded links"
    )
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each call")
    parser.add_argument("--json", type=Path, help="where the figures are kept")
    parser.add_argument(
        "--table", action="store_true", help="measure nothing, print what the file has"
    )
    return parser.parse_args(words)


def link_of(name: str) -> Profile:
    """Return a profile by its name, or a recorded link by its file.

    Raises:
        SystemExit: there is neither.
    """
    if name in PROFILES:
        return PROFILES[name]
    if Path(name).is_file():
        return traced(PROFILES["hspa"], Path(name))
    raise SystemExit(
        f"No such link: {name}. There are: {', '.join(PROFILES)}, and files of recorded links."
    )


class Results:
    """The figures of all runs, and their file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.runs: list[Figures] = []
        if path is not None and path.exists():
            self.runs = json.loads(path.read_text("utf-8"))["runs"]

    def add(self, run: Figures) -> None:
        """Keep a run, instead of the same one of earlier."""
        mark = ("link", "system", "seed")
        self.runs = [each for each in self.runs if any(each[name] != run[name] for name in mark)]
        self.runs.append(run)
        if self._path is not None:
            self._path.write_text(json.dumps({"runs": self.runs}, indent=1), "utf-8")

    def of(self, link: str, system: str) -> list[Figures]:
        """Return the runs of one cell."""
        return [each for each in self.runs if (each["link"], each["system"]) == (link, system)]


def go_first() -> None:
    """Go before whatever else runs here, as far as may be; servers and browsers inherit it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        # Where the kernel groups processes by session (sched(7)), the group's nice value is the one that counts.
        Path("/proc/self/autogroup").write_text(str(PRIORITY))


async def run(wanted: argparse.Namespace, results: Results) -> None:
    """Measure everything that is wanted, one call after the other."""
    links = [link_of(name) for name in wanted.links.split(",")]
    systems = [SYSTEMS[name] for name in wanted.systems.split(",")]
    for system in list(systems):
        if lacks := system.missing():
            print(f"NOT MEASURED: {system.name}, for want of {lacks}", file=sys.stderr)
            systems.remove(system)
    if not systems:
        raise SystemExit(2)
    # In a system's turn for each seed, so that a slow hour of the machine does not hit one of them.
    cells = [
        (link, int(seed), system)
        for link in links
        for seed in wanted.seeds.split(",")
        for system in systems
    ]
    with tempfile.TemporaryDirectory(prefix="selat-compare-") as folder:
        async with async_playwright() as playwright:
            for number, (link, seed, system) in enumerate(cells, start=1):
                begun = time.monotonic()
                found = await measure(system, link, seed, wanted.seconds, playwright, Path(folder))
                found["load"] = os.getloadavg()[0]
                results.add(found)
                words = found.get("failed") or " ".join(
                    f"{name}={found[name]}" for name, _ in (*COLUMNS, *EVENTS) if name in found
                )
                took_s = time.monotonic() - begun
                print(
                    f"[{number}/{len(cells)}, {took_s:.0f} s] {link.name} {system.name} {seed}: {words}",
                    file=sys.stderr,
                )


# -- the table -------------------------------------------------------------------------------------


def table(results: Results) -> tuple[list[str], int]:
    """Return the table in Markdown, and how many aims Selat misses in it."""
    titles = ["link", "system", "page s", *(title for _, title in (*COLUMNS, *EVENTS))]
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    missed = 0
    seen = list(dict.fromkeys(each["link"] for each in results.runs))
    order = [name for name in PROFILES if name in seen] + [
        name for name in seen if name not in PROFILES
    ]
    for link in order:
        aim = AIMS.get(link, Aim())
        for system in SYSTEMS.values():
            runs = results.of(link, system.name)
            if not runs:
                continue
            found = medians(runs)
            cells, misses = _row(system.name, found, aim, results)
            lines.append(f"| {link} | {system.name} ({len(runs)}) | " + " | ".join(cells) + " |")
            missed += misses
        if aim != Aim():
            aims = [_pair(getattr(aim, name, None)) for name, _ in (*COLUMNS, *EVENTS)]
            lines.append(f"| | *aim* | 4 RTT + bytes + 0.3 | {' | '.join(aims)} |")
    return lines, missed


def _row(name: str, found: Figures, aim: Aim, results: Results) -> tuple[list[str], int]:
    """Return a row's cells, with marks beside Selat's, and how many aims it misses."""
    names = [column for column, _ in (*COLUMNS, *EVENTS)]
    if "kbps" not in found:
        words = f"failed: {found['failed'][0]}".replace("|", "/")
        return [words, *["" for _ in names]], int(name == "Selat")
    ours = name == "Selat"
    in_time = found["usable_s"] <= found["bound_s"]
    mark = (" ✓" if in_time else f" ✗ > {found['bound_s']}") if ours else ""
    whole = f", whole {found['whole_s']}" if found.get("whole_s") else ""
    cells, missed = [f"{found['usable_s']}{mark}{whole}"], int(ours and not in_time)
    if found["failed"]:
        cells[0] += f" ({len(found['failed'])} failed)"
        missed += int(ours)
    for column in names:
        kept = judged(column, aim, found) if ours else (None, None)
        missed += kept.count(False)
        cells.append(_pair(found.get(column), kept))
    return cells, missed


def _pair(values: Sequence[Any] | None, kept: Sequence[bool | None] = (None, None)) -> str:
    if values is None:
        return ""
    marks = {None: "", True: " ✓", False: " ✗"}
    words = [
        "never" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    ]
    return " / ".join(word + marks[keeps] for word, keeps in zip(words, kept, strict=True))


def warnings(results: Results) -> Iterator[str]:
    """Say what makes the figures doubtful."""
    for each in results.runs:
        where = f"{each['link']} {each['system']} {each['seed']}"
        if each["lateness_ms"].get("p99", 0) > LATE_MS:
            yield f"{where}: the emulated link was {each['lateness_ms']['p99']} ms late: a busy machine"
        for words in each.get("troubles", ()):
            yield f"{where}: {words}"


def versus_peerjs(results: Results) -> Iterator[str]:
    """Say where, on the city's link, PeerJS is better."""
    ours, theirs = (results.of("city", name) for name in ("Selat", "PeerJS"))
    if not ours or not theirs:
        return
    mine, other = medians(ours), medians(theirs)
    if "fps" not in mine or "fps" not in other:
        return
    for side, where in enumerate(("down", "up")):
        for name in ("fps", "height"):
            if mine[name][side] < MARGIN * other[name][side]:
                yield f"city, {where}: {name} {mine[name][side]}, PeerJS {other[name][side]}"


def main() -> None:
    """Measure and print."""
    wanted = arguments()
    results = Results(wanted.json)
    if not wanted.table:
        try:
            namespaces.require_privileges()
        except namespaces.LabUnavailableError as error:
            print(f"\n*** {error}\n*** make link: NOT DONE\n", file=sys.stderr)
            raise SystemExit(2) from None
        go_first()
        asyncio.run(run(wanted, results))
    lines, missed = table(results)
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Linux {platform.release()}; down / up, medians\n"
    )
    print("\n".join(lines))
    worse = list(versus_peerjs(results))
    for line in (*worse, *warnings(results)):
        print(f"! {line}")
    print(f"\nSelat misses {missed + len(worse)} aims of these links.")
    raise SystemExit(1 if missed or worse else 0)


if __name__ == "__main__":
    main()
