# SPDX-License-Identifier: Apache-2.0
"""What forwarding costs: the relay, and Debian's Janus (VideoRoom) where it is installed, under the same generated peers.

Run as ``python -m tests.load.relay``. Real sockets, DTLS and SRTP (AES-256-GCM for both) over the loopback interface, the relay on
one core and the load on another. As root it makes a network namespace for itself: Janus wants an address that is not the
loopback's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from media.relay.description import Offer
from tests.load import janus
from tests.load.media_load import End, Load
from tests.load.process import Meter, Server, ahead_of_others, python, serving, split_cores
from tests.support.relay_peer import Peer

INSIDE = "SELAT_LOAD_INSIDE"
NAMESPACE = (
    "ip link set lo up && ip link add load0 type veth peer name load1 && ip addr add 10.77.0.1/24 dev load0 "
    "&& ip link set load0 up && ip link set load1 up && exec \"$@\""
)  # fmt: skip
AIM_CONNECTION_MS = 5.0
AIM_LEG_KB = 120.0
AIM_DELAY_MS = 5.0
AIM_CALLS = 120
LOAD_RATIO = 0.7
LOADED_MOST = 0.75
LOADED_TRIES = 3
WAKING_S = 1.0
"""Before a window: whoever was silent begins with key frames."""
"""What a packet costs depends on how many come and on who else has the machine: with more load than this the delay is measured
again with fewer calls."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    connections: int = 40
    calls: tuple[int, ...] = (20, 80)
    seconds: float = 5.0
    rounds: int = 4
    sizes: tuple[int, ...] = (120, 1_100)


QUICK = Plan(connections=4, calls=(2,), seconds=1.0, rounds=1, sizes=(120,))


@dataclass
class Row:
    """What was found of one relay."""

    name: str
    connection_ms: float = 0.0
    leg_kb: float = 0.0
    flat_us: dict[int, list[float]] = field(default_factory=dict)
    paced: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    """Calls: share of a core, µs per forwarded packet."""
    loaded: tuple[int, float, float, float] | None = None
    """Calls, share of a core, p50 and p99 of the way through in ms."""
    lost_ratio: float = 0.0
    others: list[float] = field(default_factory=list)


class Selat:
    """Our relay under load."""

    name = "Selat"
    per_person = 1
    pairs = 1

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ssrc = 1_000

    async def _leg(self) -> tuple[Peer, int, Any]:
        made = await self.server.ask({"do": "mint"})
        self.ssrc += 8
        peer = Peer(
            msgspec.convert(made["offer"], Offer), ssrcs=(self.ssrc, self.ssrc + 1, self.ssrc + 2)
        )
        answer = msgspec.to_builtins(peer.answer())
        for kind in ("audio", "video"):
            answer[kind]["extensions"] = [1, 2, 3]
        await peer.open()
        await self.server.ask({"do": "answer", "leg": made["leg"], "answer": answer})
        await peer.shake()
        return peer, made["leg"], answer

    async def connect(self) -> list[Peer]:
        """Make one leg and leave it idle."""
        return [(await self._leg())[0]]

    async def call(self) -> list[End]:
        """Make a call of two people."""
        legs = [await self._leg() for _ in range(2)]
        await self.server.ask(
            {"do": "call", "legs": [n for _, n, _ in legs], "answers": [a for _, _, a in legs]}
        )
        return [End(peer) for peer, _, _ in legs]

    async def clear(self) -> None:
        """Close all."""
        await self.server.ask({"do": "clear"})


class VideoRoom:
    """Janus under load."""

    name = "Janus"
    per_person = 2

    def __init__(self, server: Server, session: janus.Janus) -> None:
        self.server = server
        self._session = session
        self._rooms = 0
        self._ssrc = 1_000_000

    def _ssrcs(self) -> tuple[int, int, int]:
        self._ssrc += 8
        return self._ssrc, self._ssrc + 1, self._ssrc + 2

    async def connect(self) -> list[Peer]:
        """Make one publishing connection and leave it idle."""
        self._rooms += 1
        await self._session.room(self._rooms)
        peer, _ = await self._session.publish(self._rooms, self._ssrcs())
        await peer.open()
        await peer.shake()
        return [peer]

    async def call(self) -> list[End]:
        """Make a call of two people: four connections."""
        self._rooms += 1
        await self._session.room(self._rooms)
        published = []
        for _ in range(2):
            peer, number = await self._session.publish(self._rooms, self._ssrcs())
            await peer.open()
            await peer.shake()
            published.append((peer, number))
        ends = [End(peer, receives=False, feeds_back=False) for peer, _ in published]
        for _, number in published:
            peer = await self._session.watch(self._rooms, number, self._ssrcs())
            await peer.open()
            await peer.shake()
            ends.append(End(peer, sends=False, feeds_back=False))
        return ends

    async def clear(self) -> None:
        """Nothing: it goes with its process."""


async def connect(under: Selat | VideoRoom, plan: Plan, row: Row) -> None:
    """Measure what connections cost, and close them."""
    peers = await under.connect()
    meter = Meter(under.server)
    for _ in range(plan.connections):
        peers += await under.connect()
    cost = meter.stop()
    row.connection_ms = cost.server_s * 1e3 / plan.connections
    row.others.append(cost.others_ratio)
    for peer in peers:
        await peer.close()
    await under.clear()


async def fill(under: Selat | VideoRoom, calls: int, row: Row, ends: list[End]) -> Load:
    """Have so many calls, and measure what one more of their legs takes of memory."""
    before = under.server.rss_bytes()
    begun = len(ends)
    while len(ends) < calls * 2 * under.per_person:
        ends += await under.call()
    load = Load(ends)
    load.paced(2)
    # Now: windows and caches are full, and no backlog of a core that was too busy has left its traces.
    row.leg_kb = (under.server.rss_bytes() - before) / 1024 / (len(ends) - begun)
    return load


def pace(under: Selat | VideoRoom, load: Load, calls: int, plan: Plan, row: Row) -> None:
    """Measure one window of paced calls, which were silent while another relay had its own."""
    load.paced(WAKING_S)
    with ahead_of_others(under.server):
        meter = Meter(under.server)
        found = load.paced(plan.seconds)
        cost = meter.stop()
    row.others.append(cost.others_ratio)
    row.paced.setdefault(calls, []).append(
        (cost.server_s / cost.wall_s, cost.server_s * 1e6 / max(1, found.received))
    )
    row.lost_ratio = max(row.lost_ratio, 1 - found.received / found.sent)


def rush(under: Selat | VideoRoom, load: Load, size: int, plan: Plan, row: Row) -> None:
    """Measure one window flat out."""
    meter = Meter(under.server)
    found = load.flat_out(plan.seconds / 2, size)
    cost = meter.stop()
    row.flat_us.setdefault(size, []).append(cost.server_s * 1e6 / max(1, found.received))


async def measure(found: Sequence[Selat | VideoRoom], plan: Plan) -> list[Row]:
    """Measure all relays by windows in turn: what else the machine does meets each of them alike."""
    rows = [Row(under.name) for under in found]
    ends: list[list[End]] = [[] for _ in found]
    for under, row in zip(found, rows, strict=True):
        await connect(under, plan, row)
    for calls in plan.calls:
        loads = [
            await fill(*each) for each in zip(found, [calls] * len(found), rows, ends, strict=True)
        ]
        for _ in range(plan.rounds):
            for under, load, row in zip(found, loads, rows, strict=True):
                pace(under, load, calls, plan, row)
    few = [Load(its[: 8 * under.per_person]) for under, its in zip(found, ends, strict=True)]
    for size in plan.sizes:
        for _ in range(plan.rounds):
            for under, load, row in zip(found, few, rows, strict=True):
                rush(under, load, size, plan, row)
    for under, row, its in zip(found, rows, ends, strict=True):
        await loaded(under, plan, row, its)
    return rows


async def loaded(under: Selat | VideoRoom, plan: Plan, row: Row, ends: list[End]) -> None:
    """Find the delay at 70 % of a core, or at as many calls as the plan has."""
    calls = plan.calls[-1]
    if plan is not QUICK:
        share = statistics.median(each[0] for each in row.paced[calls])
        calls = min(400, int(calls * LOAD_RATIO / share))
    if isinstance(under, VideoRoom):
        calls = plan.calls[-1]  # its threads take more than one core's worth
    for _ in range(LOADED_TRIES):
        while len(ends) < calls * 2 * under.per_person:
            ends += await under.call()
        load = Load(ends[: calls * 2 * under.per_person])
        load.paced(2)
        meter = Meter(under.server)
        with ahead_of_others(under.server):
            found = load.paced(plan.seconds)
        cost = meter.stop()
        share = cost.server_s / cost.wall_s
        row.loaded = (calls, share, found.percentile_ms(0.5), found.percentile_ms(0.99))
        if share <= LOADED_MOST or isinstance(under, VideoRoom):
            break
        calls = max(1, int(calls * LOAD_RATIO / share))


@contextlib.asynccontextmanager
async def relays(core: int, folder: Path) -> AsyncIterator[list[Selat | VideoRoom]]:
    """Run what there is, one after the other's start."""
    async with contextlib.AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            serving("Selat", python("tests.load.relay_process"), core, b"{")
        )
        found: list[Selat | VideoRoom] = [Selat(ours)]
        if janus.installed() and os.environ.get(INSIDE):
            running, session = await stack.enter_async_context(janus.server(core, folder))
            found.append(VideoRoom(running, session))
        yield found


async def run(plan: Plan, folder: Path) -> list[Row]:
    """Measure all."""
    cores = split_cores(first=plan is not QUICK)
    async with relays(cores.server, folder) as found:
        return await measure(found, plan)


def both(found: Sequence[float], digits: int) -> str:
    """Return the best and the median."""
    return f"{min(found):.{digits}f} / {statistics.median(found):.{digits}f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of what windows next to each other have to each other."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def table(rows: Sequence[Row], plan: Plan) -> str:
    """Return the figures as a Markdown table."""
    lines: list[tuple[str, list[str]]] = [
        ("CPU per new connection, ms", [f"{row.connection_ms:.1f}" for row in rows]),
        ("memory per connection in a call, KB", [f"{row.leg_kb:.0f}" for row in rows]),
    ]
    lines += [
        (f"flat out, {size} octets: µs per forwarded packet, best/median", [both(row.flat_us[size], 1) for row in rows])
        for size in plan.sizes
    ]  # fmt: skip
    for calls in plan.calls:
        lines.append((f"{calls} calls of two: share of a core",
                      [f"{statistics.median(each[0] for each in row.paced[calls]):.2f}" for row in rows]))  # fmt: skip
        lines.append((f"{calls} calls of two: µs per forwarded packet, best/median",
                      [both([each[1] for each in row.paced[calls]], 0) for row in rows]))  # fmt: skip
    lines.append(("delay p50 / p99, ms, at calls (share of a core)",
                  [f"{row.loaded[2]:.2f} / {row.loaded[3]:.2f} at {row.loaded[0]} ({row.loaded[1]:.2f})"
                   for row in rows if row.loaded]))  # fmt: skip
    lines.append(("lost at worst", [f"{row.lost_ratio:.2%}" for row in rows]))
    head = ["", *(row.name for row in rows)]
    return "\n".join(
        "| " + " | ".join(cells) + " |"
        for cells in [head, ["---"] * len(head), *([name, *cells] for name, cells in lines)]
    )


def aims(rows: Sequence[Row], plan: Plan) -> list[tuple[str, bool]]:
    """Return each aim in words, and whether it was reached."""
    ours = rows[0]
    assert ours.loaded is not None
    most = plan.calls[-1]
    share = statistics.median(each[0] for each in ours.paced[most])
    room = most / share
    found = [
        (f"a connection {ours.connection_ms:.1f} ms of CPU, aim ≤ {AIM_CONNECTION_MS}", ours.connection_ms <= AIM_CONNECTION_MS),
        (f"a leg {ours.leg_kb:.0f} KB, aim ≤ {AIM_LEG_KB:.0f}", ours.leg_kb <= AIM_LEG_KB),
        (f"p99 of the delay {ours.loaded[3]:.2f} ms at {ours.loaded[1]:.2f} of a core, aim < {AIM_DELAY_MS}", ours.loaded[3] < AIM_DELAY_MS),
        (f"{room:.0f} calls of two per core at 150 kbit/s, aim ≥ {AIM_CALLS}", room >= AIM_CALLS),
    ]  # fmt: skip
    if len(rows) > 1:
        theirs = rows[1]
        size, few = plan.sizes[-1], plan.calls[0]
        flat = ratio(ours.flat_us[size], theirs.flat_us[size])
        paced = ratio(*([each[1] for each in row.paced[few]] for row in (ours, theirs)))
        found += [
            (f"flat out {flat:.2f}× Janus per packet, aim ≤ 1.0", flat <= 1.0),
            (f"{few} paced calls {paced:.2f}× Janus per packet, aim ≤ 0.6", paced <= 0.6),
        ]
    return found


def main() -> int:
    """Run, print, and say by the exit code whether every aim was reached."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.load.relay")
    parser.add_argument("--quick", action="store_true", help="a smoke test of seconds; no aims")
    quick = parser.parse_args().quick
    if not os.environ.get(INSIDE) and os.geteuid() == 0 and janus.installed():
        command = ["unshare", "-n", "sh", "-c", NAMESPACE, "sh", sys.executable, "-m", "tests.load.relay", *sys.argv[1:]]  # fmt: skip
        return subprocess.run(command, check=False, env=os.environ | {INSIDE: "1"}).returncode
    plan = QUICK if quick else Plan()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(run(plan, Path(folder)))
    print(table(rows, plan))
    others = max(statistics.median(row.others) for row in rows)
    if others > 0.05:
        print(
            f"- other programs had {others:.0%} of the machine meanwhile: repeat it when they are gone"
        )
    if quick:
        return 0
    found = aims(rows, plan)
    for text, reached in found:
        print(f"{'reached' if reached else 'MISSED'}: {text}")
    return 0 if all(reached for _, reached in found) else 1


if __name__ == "__main__":
    sys.exit(main())
