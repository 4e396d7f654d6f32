# SPDX-License-Identifier: Apache-2.0
"""The load bench itself works; how fast is for `make load` to say, on a machine that does nothing else."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.load import peerjs, selat
from tests.load.calls import MESSAGES, contains, expected
from tests.load.client import Client
from tests.load.process import Server

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


REFUSAL = b'{"type":"error","code":"rate_limited"}'


class Silent:
    """A client whose server says nothing but what the test says."""

    on_message: Any = None

    def write(self, _data: bytes) -> None:
        """Send nothing."""


async def test_a_refused_message_ends_the_run_with_its_code() -> None:
    """A message that the server refuses is never forwarded; the bench says which code it was, without a wait."""
    field = selat.empty_field()
    ends = [Silent(), Silent()]
    sides = [selat.side(selat.Page(cast("Client", end)), "c", "offer") for end in ends]
    field.add(*sides)
    await field.flat_out(1)
    ends[0].on_message(REFUSAL)
    async with asyncio.timeout(2.0):
        with pytest.raises(RuntimeError, match="rate_limited"):
            await field.drain()


async def test_a_desk_that_failed_is_named_not_the_patient_who_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A visit that nobody serves fails with what the desk was refused."""

    async def refused(_desk: selat.Page) -> None:
        raise RuntimeError("refused: rate_limited")

    async def in_vain(_patient: dict[str, str]) -> None:
        raise TimeoutError

    ward = selat.Ward(cast("Server", None), tls=False)
    monkeypatch.setattr(ward, "_visit", in_vain)
    with pytest.raises(TimeoutError):
        await ward.visit({})
    desk = asyncio.create_task(refused(cast("selat.Page", None)))
    await asyncio.wait([desk])
    monkeypatch.setattr(ward, "_desks", [desk])
    with pytest.raises(RuntimeError, match="rate_limited"):
        await ward.visit({})
