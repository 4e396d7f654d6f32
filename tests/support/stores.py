# SPDX-License-Identifier: Apache-2.0
"""Where a store under test lives, so that one suite can open, reopen and search both kinds."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from signalling.store.base import Recorded, Store
from signalling.store.embedded import EmbeddedStore
from signalling.store.redis import RedisStore
from tests.support.redis_server import RedisServer

MASTER_KEY = bytes(range(32))
DEADLINE_S = 10.0

_prefixes = itertools.count(1)


class Place(Protocol):
    """A database on which stores are opened."""

    kind: str
    nodes: bool
    """Whether two store objects may be open at once."""

    async def open(self, master_key: bytes = MASTER_KEY) -> Store: ...
    def bytes_on_disk(self) -> bytes: ...


@dataclass
class EmbeddedPlace:
    """A folder with one database file."""

    folder: Path
    kind: str = "embedded"
    nodes: bool = False

    async def open(self, master_key: bytes = MASTER_KEY) -> Store:
        return await EmbeddedStore.open(self.folder / "selat.db", master_key)

    def bytes_on_disk(self) -> bytes:
        # By another process: closing the file in this one would drop the locks that SQLite holds on it.
        paths = [str(path) for path in self.folder.iterdir()]
        return subprocess.run(["cat", *paths], check=True, capture_output=True).stdout


@dataclass
class RedisPlace:
    """A prefix of its own on a shared server."""

    server: RedisServer
    kind: str = "redis"
    nodes: bool = True
    log_length: int = 100_000
    prefix: str = field(default_factory=lambda: f"test-{next(_prefixes)}:")

    async def open(self, master_key: bytes = MASTER_KEY) -> Store:
        return await RedisStore.open(
            self.server.url, master_key, prefix=self.prefix, log_length=self.log_length
        )

    def bytes_on_disk(self) -> bytes:
        return self.server.bytes_on_disk()


async def take(
    tail: AsyncIterator[list[Recorded]], count: int, deadline_s: float = DEADLINE_S
) -> list[Recorded]:
    """Return the next ``count`` events of a tail or more, and end it."""
    events: list[Recorded] = []
    async with asyncio.timeout(deadline_s), aclosing(tail):  # type: ignore[type-var]
        async for batch in tail:
            assert batch
            events += batch
            if len(events) >= count:
                break
    return events


async def assert_nothing_leaked() -> None:
    """Fail if a task or a store's thread is left. Tasks that are just ending get a moment."""
    mine = asyncio.current_task()

    def left() -> list[str]:
        tasks = [repr(task) for task in asyncio.all_tasks() if task is not mine]
        threads = [t.name for t in threading.enumerate() if t.name.startswith("selat-store")]
        return tasks + threads

    deadline = time.monotonic() + 1
    while left() and time.monotonic() < deadline:  # noqa: ASYNC110 - any task, any thread
        await asyncio.sleep(0.005)
    assert not left()
