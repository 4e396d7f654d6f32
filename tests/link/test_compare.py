# SPDX-License-Identifier: Apache-2.0
"""The comparison's table says what was measured, and says no where nothing was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from tests.link.aims import AIMS, judged
from tests.link.compare import Results, table, versus_peerjs
from tests.link.measure import measure, medians
from tests.link.profiles import PROFILES
from tests.link.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[2]


def figures(link: str, system: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A run that keeps the aims of 256/128 kbit/s."""
    found: dict[str, Any] = {
        "link": link, "system": system, "seed": seed, "lateness_ms": {"p99": 1.0},
        "opened": {"usable_s": 2.0, "bound_s": 3.2}, "voice_after_s": [0.7, 0.7], "picture_after_s": [1.5, 1.6],
        "good_percent": [99.9, 99.8], "fps": [14.9, 12.0], "frozen_percent": [0.0, 0.5], "height": [240, 240],
        "size": ["320x240", "320x240"], "mouth_to_ear_ms": [450, 500], "drops_percent": [0.0, 0.0],
        "air_percent": [1.0, 1.1], "kbps": [180.0, 100.0], "queue_ms": [[0, 40], [10, 90]],
    }  # fmt: skip
    return found | changes


def test_aims_have_links() -> None:
    """Every aim is of a link that exists, and every column of an aim can be judged."""
    assert set(AIMS) <= set(PROFILES)
    assert judged("good_percent", AIMS["edge"], {"good_percent": [96.5, 94.9]}) == (True, False)
    assert judged("voice_back_s", AIMS["blackout_20"], {"voice_back_s": [0.9, None]}) == (
        True,
        False,
    )
    assert judged("size", AIMS["edge"], {"size": ["1x1", "1x1"]}) == (None, None)


def test_table(tmp_path: Path) -> None:
    """Medians over seeds with marks at Selat's, peers' failures as results, and the count of aims missed."""
    results = Results(tmp_path / "figures.json")
    for seed, good in ((1, 99.9), (2, 98.0), (3, 99.6)):
        results.add(figures("island_256", "Selat", seed, good_percent=[good, 99.8]))
    results.add(figures("island_256", "Selat", 4, fps=[15, 9.0], mouth_to_ear_ms=[None, 520]))
    results.add(
        {
            "link": "island_256",
            "system": "Janus",
            "seed": 1,
            "failed": "Error: no|thing",
            "lateness_ms": {},
        }
    )
    lines, missed = table(Results(tmp_path / "figures.json"))
    ours, theirs, aims = lines[2:]
    assert "Selat (4)" in ours
    assert "99.75 ✓ / 99.8 ✓" in ours
    assert "2.0 ✓" in ours
    assert missed == 0
    assert "failed: Error: no/thing" in theirs
    assert "99.5 / 99.5" in aims
    results.add(figures("island_256", "Selat", 4, opened={"usable_s": 9.0, "bound_s": 3.2}))
    for seed in (1, 2, 3):
        results.add(
            figures("island_256", "Selat", seed, fps=[3.0, 12.0], frozen_percent=[100, 0.5])
        )
    lines, missed = table(results)
    assert "3 ✗ / 12 ✓" in lines[2]
    assert missed == 2


def test_never_is_never() -> None:
    """A figure that half of the runs could not have is no figure, and PeerJS's lead in the city is told."""
    runs = [
        figures("city", "Selat", seed, mouth_to_ear_ms=[None if seed < 3 else 60, 60])
        for seed in (1, 2, 3, 4)
    ]
    assert medians(runs)["mouth_to_ear_ms"] == [None, 60]
    results = Results(None)
    results.add(figures("city", "Selat", 1, fps=[12.0, 15.0], height=[480, 480]))
    results.add(figures("city", "PeerJS", 1, fps=[15.0, 15.0], height=[480, 480]))
    assert list(versus_peerjs(results)) == ["city, down: fps 12.0, PeerJS 15.0"]


@pytest.mark.link
@pytest.mark.parametrize("program", [["tests.link.compare"], ["tests.link.island", "edge"]])
def test_without_privileges_it_is_not_done(program: list[str]) -> None:
    """Where no link can be emulated both programs say so loudly, and do not end well."""
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", *program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 2
    assert "THE LINK LAB CANNOT RUN" in done.stderr
    assert "NOT DONE" in done.stderr


@pytest.mark.slow
@pytest.mark.link
@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", list(SYSTEMS))
async def test_each_system_can_be_measured(name: str, tmp_path: Path) -> None:
    """On a city's link a short call of each system is heard and seen at both ends, and every figure is there."""
    system = SYSTEMS[name]
    if lacks := system.missing():
        pytest.fail(f"nothing proven about {system.name}, for want of {lacks}")
    async with async_playwright() as playwright:
        found = await measure(system, PROFILES["city"], 1, 20, playwright, tmp_path)
    assert "failed" not in found, found["failed"]
    assert not found["troubles"]
    for side in (0, 1):
        assert found["good_percent"][side] > 90
        assert found["fps"][side] > 5
        assert found["frozen_percent"][side] < 20
        assert found["height"][side] >= 120
        assert 20 < found["mouth_to_ear_ms"][side] < 400
        assert found["kbps"][side] > 20
