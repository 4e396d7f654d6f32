# SPDX-License-Identifier: Apache-2.0
"""The relay's bench itself works; how fast is for `make load` to say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_bench_fills_its_table() -> None:
    """Every row has a figure for every relay, and nothing was lost on the way."""
    command = [sys.executable, "-m", "tests.load.relay", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr[-2_000:]
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[0][1].strip() == "Selat"
    assert len(rows) == 9
    assert all(cell.strip() for row in rows[2:] for cell in row)
    lost = [float(cell.strip().rstrip("%")) for cell in rows[-1][1:]]
    assert max(lost) < 5
