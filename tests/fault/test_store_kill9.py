# SPDX-License-Identifier: Apache-2.0
"""`kill -9` at any moment loses no acknowledged event: a loop of kills during load, on both stores."""

import asyncio
import math
import random
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from signalling.store.base import Store, StoreUnavailable
from signalling.store.open import open_store
from tests.support.append_load import WRITERS, owner_of, pair
from tests.support.redis_server import RedisServer
from tests.support.stores import MASTER_KEY, take

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]

ROUNDS = [
    pytest.param(5, id="5-kills"),
    pytest.param(60, id="60-kills", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of its own: it is killed."""
    server = RedisServer()
    yield server
    server.stop()


class Load:
    """The appending process and what it said."""

    def __init__(self, url: str, round_: int) -> None:
        self.url, self.round = url, round_
        self.acknowledged: list[tuple[str, int, str]] = []

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "tests.support.append_load",
                self.url,
                "kill:",
                str(self.round),
            ),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert await asyncio.wait_for(self.process.stdout.readline(), 20) == b"ready\n"

    async def kill(self) -> None:
        """Kill it, and read what it had said until then."""
        with suppress(ProcessLookupError):  # it ends by itself when the server was killed
            self.process.send_signal(signal.SIGKILL)
        assert self.process.stdout is not None
        said = await asyncio.wait_for(self.process.stdout.read(), 10)
        await self.process.wait()
        for line in said.decode().splitlines():
            stream, version, body = line.split(" ")
            self.acknowledged.append((stream, int(version), body))


async def check(store: Store, load: Load) -> int:
    """Hold the store against what one round acknowledged; return how much that was."""
    for writer in range(WRITERS):
        first, second = pair(load.round, writer)
        events = await store.read(first)
        mirror = await store.read(second)
        # Both streams or neither, both events of an append or neither, none twice, in order.
        assert [e.data for e in events] == [e.data for e in mirror]
        expected: list[bytes] = []
        while len(expected) < len(events):
            version = len(expected)
            body = f"{load.round}/{writer}/{version + 1}".encode()
            expected += [body, body + b"+"] if version % 3 == 0 else [body]
        assert [e.data for e in events] == expected
        assert [e.version for e in events] == list(range(1, len(events) + 1))
        # What was acknowledged is there.
        mine = [line for line in load.acknowledged if line[0] == first]
        for _, version, said in mine:
            assert events[version - 1].data == said.encode()
        # Nothing beyond the one append that may have been under way.
        assert len(events) <= (mine[-1][1] if mine else 0) + 2
        # Content came with its event, and opens.
        content = await store.content(owner_of(load.round, writer))
        assert {c.encode() for c in content} == {e.data for e in events if e.data[-1:] != b"+"}
        assert all(name.encode() == body for name, body in content.items())
        due = {d.stream: d.due_at for d in await store.due(math.inf, 10_000)}
        assert due.get(first) == (float(len(events)) if events else None)
        assert second not in due
    return len(load.acknowledged)


async def check_global_order(store: Store) -> None:
    """The tail gives every event of every stream once, in rising order."""
    head = await store.head()
    whole = await store.recent(1_000_000)
    assert whole[-1].position == head
    assert [e.position for e in whole] == sorted({e.position for e in whole})
    assert await take(store.tail(whole[0].position - 1), len(whole), 60) == whole
    assert len({(e.stream, e.version) for e in whole}) == len(whole)
    for stream in {e.stream for e in whole}:
        mine = [e for e in whole if e.stream == stream]
        assert mine == (await store.read(stream))[-len(mine) :]


@pytest.mark.parametrize("rounds", ROUNDS)
async def test_killing_the_node_loses_no_acknowledged_event(tmp_path: Path, rounds: int) -> None:
    """Embedded store: after each kill during load the file opens and holds what was acknowledged."""
    moments = random.Random(rounds)
    url = str(tmp_path / "selat.db")
    loads = []
    for round_ in range(rounds):
        load = Load(url, round_)
        loads.append(load)
        await load.start()
        await asyncio.sleep(moments.uniform(0.0, 0.3))
        await load.kill()
        store = await open_store(url, MASTER_KEY)
        try:
            await check(store, load)
        finally:
            await store.close()
    store = await open_store(url, MASTER_KEY)
    try:
        acknowledged = [await check(store, load) for load in loads]
        assert sum(acknowledged) > 20 * rounds, "there was no load to speak of"
        await check_global_order(store)
    finally:
        await store.close()


@pytest.mark.redis
@pytest.mark.parametrize("rounds", ROUNDS)
async def test_killing_node_or_redis_loses_no_acknowledged_event(
    redis_server: RedisServer, rounds: int
) -> None:
    """Redis store: the node is killed in every other round, the server in the others; all that was acknowledged is there."""
    moments = random.Random(rounds)
    loads = []
    acknowledged = 0
    for round_ in range(rounds):
        load = Load(redis_server.url, round_)
        loads.append(load)
        await load.start()
        await asyncio.sleep(moments.uniform(0.0, 0.3))
        if round_ % 2:
            redis_server.kill()
            await asyncio.to_thread(redis_server.start)
        await load.kill()
        store = await open_store(redis_server.url, MASTER_KEY, prefix="kill:")
        try:
            acknowledged += await check(store, load)
        finally:
            await store.close()
    assert acknowledged > 20 * rounds, "there was no load to speak of"
    store = await open_store(redis_server.url, MASTER_KEY, prefix="kill:")
    try:
        for load in loads:
            await check(store, load)
        await check_global_order(store)
    finally:
        await store.close()


async def test_a_store_survives_a_server_that_comes_back(redis_server: RedisServer) -> None:
    """The same store object goes on after Redis was killed and started: events whole, leases and tokens kept."""
    store = await open_store(redis_server.url, MASTER_KEY)
    try:
        lease = await store.acquire("name", "one", 60)
        assert lease is not None
        redis_server.kill()
        with pytest.raises(StoreUnavailable):
            await store.head()
        await asyncio.to_thread(redis_server.start)
        assert await store.holders(["name"]) == {"name": lease}
        assert await store.acquire("name", "two", 60) is None
        assert re.match(rb"\+PONG", redis_server.command("PING"))
    finally:
        await store.close()
