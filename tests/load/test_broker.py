# SPDX-License-Identifier: Apache-2.0
"""The load bench itself works; how fast is for `make load` to say, on a machine that does nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load import peerjs
from tests.load.calls import MESSAGES, contains, expected

ROOT = Path(__file__).parents[2]


def numbers(line: str) -> list[float]:
    """Return the figures of a row: rate, cost, three percentiles, memory."""
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    texts = [cells[1], cells[2], *cells[3].split("/"), cells[4].partition("(")[0]]
    return [float(text.replace(",", "")) for text in texts]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_bench_fills_its_table() -> None:
    """Every row has all its figures, in an order that is possible; every message arrived as it was sent."""
    command = [sys.executable, "-m", "tests.load.broker", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr[-2_000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    names = [row.split("|")[1].strip() for row in rows]
    assert names == ["Selat", "Selat, TLS", *(["PeerJS"] if peerjs.installed() else [])]
    for row in rows:
        rate, set_up_ms, p50_ms, p95_ms, p99_ms, idle_kb = numbers(row)
        assert 100 < rate < 1_000_000
        assert 0.1 < set_up_ms < 1_000
        assert 0.01 < p50_ms <= p95_ms <= p99_ms < 5_000
        assert 0 < idle_kb < 1_000


def test_a_changed_message_would_be_noticed() -> None:
    """The comparison of what arrives with what was sent finds a single changed character."""
    for step in range(MESSAGES):
        sent = expected(step)
        text = json.dumps({"type": "x", "from": "p", "payload": sent})
        assert contains(text.encode(), sent)
        assert not contains(text.replace("0", "1").encode(), sent)
