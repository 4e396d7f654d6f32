# SPDX-License-Identifier: Apache-2.0
"""What a durable append costs, on both stores: ``python -m tests.load.bench_store``.

A row is a number of callers that each append one 200-byte event with a due time and wait for the answer. CPU is this
process's, all threads; Redis's own is the last column. A call's set-up takes about 8 appends.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from signalling.store.base import Append, InboxId, Store, StreamId
from signalling.store.embedded import EmbeddedStore
from signalling.store.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import MASTER_KEY

CALLERS = (1, 10, 100)
SECONDS = 1.5
EVENT = b"x" * 200


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    store: str
    what: str
    callers: int
    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float | None = None

    def __str__(self) -> str:
        server = "" if self.server_cpu_us is None else f"{self.server_cpu_us:9.0f}"
        return (
            f"{self.store:20} {self.what:7} {self.callers:7} {self.per_s:9.0f} {self.cpu_us:9.0f}"
            f" {self.p50_ms:8.2f} {self.p99_ms:8.2f} {server}"
        )


HEADER = (
    f"{'store':20} {'what':7} {'callers':>7} {'per s':>9} {'CPU us':>9} {'p50 ms':>8} {'p99 ms':>8}"
    f" {'Redis us':>9}"
)


def server_cpu_s(server: RedisServer | None) -> float:
    """Return the CPU time that redis-server has used."""
    if server is None:
        return 0.0
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def appends(store: Store, caller: int, end: float, took: list[float]) -> None:
    """Append to one stream until the end."""
    stream, version = StreamId(f"consult:{time.monotonic_ns()}/{caller}"), 0
    while (started := time.perf_counter()) < end:
        await store.append(Append(stream, version, (EVENT,), due_at=started))
        version += 1
        took.append(time.perf_counter() - started)


async def posts(store: Store, caller: int, end: float, took: list[float]) -> None:
    """Post to one inbox until the end."""
    inbox = InboxId(f"participant:{caller}")
    await store.open_inbox(inbox)
    while (started := time.perf_counter()) < end:
        await store.post(inbox, EVENT)
        took.append(time.perf_counter() - started)


async def reads(store: Store, caller: int, end: float, took: list[float]) -> None:
    """Read a stream of 20 events until the end."""
    stream = StreamId(f"read:{time.monotonic_ns()}/{caller}")
    await store.append(Append(stream, 0, (EVENT,) * 20))
    while (started := time.perf_counter()) < end:
        assert len(await store.read(stream)) == 20
        took.append(time.perf_counter() - started)


async def measure(name: str, store: Store, callers: int, server: RedisServer | None, what) -> Row:  # type: ignore[no-untyped-def]
    """Run one row."""
    took: list[float] = []
    server_before, before, started = server_cpu_s(server), time.process_time(), time.perf_counter()
    end = started + SECONDS
    await asyncio.gather(*(what(store, caller, end, took) for caller in range(callers)))
    elapsed_s = time.perf_counter() - started
    cpu_s = time.process_time() - before
    server_s = server_cpu_s(server) - server_before
    took.sort()
    return Row(
        name,
        what.__name__,
        callers,
        len(took) / elapsed_s,
        cpu_s / len(took) * 1e6,
        took[len(took) // 2] * 1e3,
        took[len(took) * 99 // 100] * 1e3,
        server_s / len(took) * 1e6 if server else None,
    )


async def rows() -> list[Row]:
    """Measure everything; prints each row as it comes."""
    found: list[Row] = []

    def add(row: Row) -> None:
        found.append(row)
        print(row, flush=True)

    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} CPUs"
    )
    print(HEADER)
    for synchronous in ("FULL", "NORMAL"):
        for callers in CALLERS:
            with tempfile.TemporaryDirectory(prefix="selat-bench-") as folder:
                path = Path(folder) / "selat.db"
                embedded = await EmbeddedStore.open(path, MASTER_KEY, synchronous=synchronous)  # type: ignore[arg-type]
                name = f"embedded {synchronous}"
                add(await measure(name, embedded, callers, None, appends))
                if synchronous == "FULL":
                    add(await measure(name, embedded, callers, None, reads))
                await embedded.close()
    for appendfsync in ("always", "everysec"):
        server = RedisServer(appendfsync)
        try:
            redis = await RedisStore.open(server.url, MASTER_KEY)
            for callers in CALLERS:
                add(await measure(f"redis {appendfsync}", redis, callers, server, appends))
                if appendfsync == "always":
                    add(await measure("redis", redis, callers, server, reads))
                    consumer = asyncio.create_task(drain(redis))
                    add(await measure("redis", redis, callers, server, posts))
                    consumer.cancel()
                    await asyncio.wait({consumer})
            await redis.close()
        finally:
            server.stop()
    return found


async def drain(store: Store) -> None:
    """Take out what was posted."""
    async for _ in store.inbox_items():
        pass


if __name__ == "__main__":
    uvloop.run(rows())
