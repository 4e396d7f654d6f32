# SPDX-License-Identifier: Apache-2.0
"""Recorded traces become the schedule that they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.link.model import LinkModel
from tests.link.profiles import PROFILES, Step
from tests.link.traces import read_trace, repeated, traced


def test_csv(tmp_path: Path) -> None:
    """Columns of both directions and of one, empty cells and outages; rates are read in kbit/s."""
    path = tmp_path / "boat.csv"
    path.write_text(
        "at_s,rate_kbps,up_rate_kbps,delay_ms,down_loss_ratio,blackout_s\n"
        "0,256,,325,0.01,\n2.5,,48,,,\n4,,,,,3\n"
    )
    assert read_trace(path) == (
        Step(0.0, None, {"rate_bps": 256_000.0, "delay_ms": 325.0}),
        Step(0.0, "down", {"loss_ratio": 0.01}),
        Step(2.5, "up", {"rate_bps": 48_000.0}),
        Step(4.0, blackout_s=3.0),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("at_s,speed\n0,1\n", "boat.csv:2: no such column: speed"),
        ("at_s,rate_kbps\n0,much\n", "boat.csv:2: could not convert"),
        ("rate_kbps\n1\n", "boat.csv:2: 'at_s'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    """What cannot be read is refused with file and line."""
    path = tmp_path / "boat.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_trace(path)


def test_mahimahi(tmp_path: Path) -> None:
    """Chances to send 1,500 bytes become the rate of each second; a second without any is one of rate 0."""
    (tmp_path / "ferry.down").write_text("".join(f"{ms}\n" for ms in (0, 250, 500, 750, 2100)))
    (tmp_path / "ferry.up").write_text("100\n1100\n2100\n")
    assert read_trace(tmp_path / "ferry.up") == (
        Step(0.0, "down", {"rate_bps": 48_000.0}),
        Step(0.0, "up", {"rate_bps": 12_000.0}),
        Step(1.0, "down", {"rate_bps": 0.0}),
        Step(2.0, "down", {"rate_bps": 12_000.0}),
    )
    (tmp_path / "both").write_text("0\n500\n")
    assert read_trace(tmp_path / "both") == (Step(0.0, None, {"rate_bps": 24_000.0}),)


def test_a_trace_is_repeated_on_a_profile(tmp_path: Path) -> None:
    """A trace of 3 s on a base fills as long as is asked for, and is a link that carries what it says."""
    path = tmp_path / "hill.csv"
    path.write_text("at_s,rate_kbps\n0,100\n1,50\n2,0\n")
    profile = traced(PROFILES["hspa"], path, until_s=7)
    assert [(step.at_s, step.changes["rate_bps"]) for step in profile.schedule] == [
        (0, 100_000), (1, 50_000), (2, 0), (3, 100_000), (4, 50_000), (5, 0), (6, 100_000),
    ]  # fmt: skip
    assert profile.down.delay_ms == PROFILES["hspa"].down.delay_ms
    model = LinkModel(profile.down, seed=3)
    carried = []
    for step in profile.schedule:
        model.change(step.at_s, loss_ratio=0, delay_ms=0, **step.changes)
        before = model.tally.delivered_bytes
        for tick in range(1_000):
            at_s = step.at_s + tick / 1_000
            model.poll(at_s)
            model.offer(at_s, b"", 100)
        carried.append((model.tally.delivered_bytes - before) * 8)
    assert carried[:3] == pytest.approx([100_000, 50_000, 0], abs=1_700)
    with pytest.raises(ValueError, match="two moments"):
        repeated((Step(0.0),), 10)


def test_when_outages_end() -> None:
    """A schedule tells when its link is usable again."""
    assert PROFILES["blackouts"].ends_s() == (15, 60, 164)
    assert PROFILES["new_address"].ends_s() == (11,)
    assert PROFILES["squeeze"].ends_s() == ()
