# SPDX-License-Identifier: Apache-2.0
"""The embedded store: one SQLite file, one node, nothing else to run.

Two threads stand between the event loop and the file. The *writer* commits in groups: what arrives while a commit is
under way shares the next one. The *reader* has its own connection, which WAL mode lets read while the writer writes.
New events reach tails and inboxes in memory.

What is written survives ``kill -9`` of the process at any moment, in both settings of ``synchronous``: a commit has
left the process before it is acknowledged. They differ in what a power cut or a crash of the kernel may cost:

* ``FULL`` (default): the log is flushed to the disk before a commit is acknowledged. Nothing is lost, if the disk
  doesn't lie about flushing. A commit takes as long as the disk's flush; appends that wait together share it.
* ``NORMAL``: the log is flushed only when it is merged into the file (every 1,000 pages, about 4 MB). The commits
  since then may be lost, newest first; the file is never corrupt, and what remains is a prefix of what was written.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast

from signalling.store import sqlite_leases
from signalling.store.arguments import check_appends, check_id, ttl_ms_of
from signalling.store.base import (
    Append,
    Content,
    ContentId,
    Due,
    InboxId,
    Lease,
    OwnerId,
    Recorded,
    StoreUnavailable,
    StreamId,
    TailTruncated,
)
from signalling.store.inbox import Inboxes
from signalling.store.sqlite_file import SqliteFile, Synchronous, unavailable
from signalling.store.sqlite_writer import AppendJob, CallJob, Job, Writer
from signalling.store.vault import MAX_RESEALS, KeyOutdated, SealedItem, SealedOwner, Vault
from signalling.store.worker import Outcome, Worker

GATHER_S: Final = 0.002
"""While appends arrive faster than they are committed, commits start at most this often. A flush costs about 0.2 ms of
CPU (measured on a virtual disk), more than everything else in an append, so under load it pays to share it among more.
Appends that come one by one never
wait. 2 ms is below what anybody can feel in a call's set-up, and a fifth of a disk's own flush
time on common hardware."""

TAIL_BATCH: Final = 500
"""Events per batch of a tail: a loop iteration of about a millisecond for a consumer at 2 µs per event."""

RECENT_KEPT: Final = 4_096
"""Newest events kept in memory, so that tails that keep up never touch the file. Seconds of the heaviest load."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Read:
    future: asyncio.Future[object]
    query: Callable[[sqlite3.Connection], object]


class EmbeddedStore:
    """``Store`` on one SQLite file. Make it with ``open``; see the module for what it promises."""

    def __init__(self, file: SqliteFile, vault: Vault, clock: Callable[[], float]) -> None:
        """For ``open`` only."""
        self._file = file
        self._vault = vault
        self._clock = clock
        self._synchronous: Synchronous = file.synchronous
        self._loop = asyncio.get_running_loop()
        self._sqlite = Writer(file)
        self._recent = _Recent(self._sqlite.head)
        self._inboxes = Inboxes()
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._closing: asyncio.Task[None] | None = None
        self._gather_until = 0.0
        self._writer: Worker[Job] = Worker("selat-store-write", self._write, self._gather)
        self._reader: Worker[_Read] = Worker("selat-store-read", self._read_batch)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        master_key: bytes,
        *,
        synchronous: Synchronous = "FULL",
        clock: Callable[[], float] = time.time,  # noqa: TID251 - leases expire by the store's own clock
    ) -> EmbeddedStore:
        """Open the database file, making it if it isn't there.

        Args:
            path: The file; ``-wal``, ``-shm`` and ``.lock`` appear beside it. Its folder must exist, on a local disk.
            master_key: At least 32 random bytes, the same each time.
            synchronous: What a power cut may cost: ``FULL`` nothing, ``NORMAL`` the last commits (see the module).
                ``kill -9`` costs nothing in either.
            clock: UTC epoch seconds, for leases.

        Raises:
            StoreUnavailable: another process has it open, its schema is newer, the master key is another one, or the
                disk refuses.
            ValueError: the master key is too short.
        """
        vault = Vault(master_key)
        file = await asyncio.to_thread(SqliteFile, Path(path), vault, synchronous)
        return cls(file, vault, clock)

    # -- events --------------------------------------------------------------------------------

    async def append(self, *appends: Append, content: Sequence[Content] = ()) -> int:
        """See ``Store.append``."""
        check_appends(appends, content)
        for _ in range(MAX_RESEALS):
            sealed = self._vault.seal(content) if content else ()
            future = self._loop.create_future()
            self._writer.submit(AppendJob(future, appends, sealed))
            try:
                return cast("int", await future)
            except KeyOutdated as outdated:
                self._vault.adopt(outdated.owner, outdated.wrapped)
        raise StoreUnavailable("content keys keep changing")

    async def read(self, stream: StreamId, after_version: int = 0) -> list[Recorded]:
        """See ``Store.read``."""
        return await self._query(partial(_read_stream, stream, after_version))

    async def head(self) -> int:
        """See ``Store.head``."""
        self._check_open()
        return self._recent.head

    async def recent(self, limit: int) -> list[Recorded]:
        """See ``Store.recent``."""
        return await self._query(partial(_read_recent, limit))

    async def tail(self, after: int) -> AsyncIterator[list[Recorded]]:
        """See ``Store.tail``. The file keeps everything, so only a position from another file is refused."""
        if after > self._recent.head:
            raise TailTruncated("the position is ahead of this store: it is not the one it was")
        while not self._is_closed():
            batch = self._recent.after(after)
            if batch is None:
                try:
                    batch = await self._query(partial(_read_global, after))
                except StoreUnavailable:
                    if self._is_closed():
                        return
                    raise
            if batch:
                after = batch[-1].position
                yield batch
            else:
                await asyncio.shield(self._news)

    async def due(self, before: float, limit: int = 100) -> list[Due]:
        """See ``Store.due``."""
        return await self._query(partial(_read_due, before, limit))

    # -- leases --------------------------------------------------------------------------------

    async def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """See ``Store.acquire``."""
        check_id(name)
        ttl_s = ttl_ms_of(ttl_s) / 1000
        return await self._call(
            lambda writer: sqlite_leases.acquire(
                writer.connection, name, owner, ttl_s, self._clock()
            )
        )

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> set[str]:
        """See ``Store.renew``."""
        held = tuple(leases)
        ttl_s = ttl_ms_of(ttl_s) / 1000
        if not held:
            return set()
        return await self._call(
            lambda writer: sqlite_leases.renew(writer.connection, held, ttl_s, self._clock())
        )

    async def release(self, lease: Lease) -> None:
        """See ``Store.release``."""
        await self._call(lambda writer: sqlite_leases.release(writer.connection, lease))

    async def holders(self, names: Iterable[str]) -> dict[str, Lease]:
        """See ``Store.holders``."""
        wanted = tuple(names)
        return await self._query(
            lambda connection: sqlite_leases.holders(connection, wanted, self._clock())
        )

    # -- inboxes -------------------------------------------------------------------------------

    async def open_inbox(self, inbox: InboxId) -> None:
        """See ``Store.open_inbox``."""
        check_id(inbox)
        self._check_open()
        self._inboxes.open.add(inbox)

    async def close_inbox(self, inbox: InboxId) -> None:
        """See ``Store.close_inbox``."""
        self._inboxes.open.discard(inbox)

    async def post(self, inbox: InboxId, body: bytes) -> bool:
        """See ``Store.post``."""
        self._check_open()
        return self._inboxes.deliver(inbox, body)

    def inbox_items(self) -> AsyncIterator[tuple[InboxId, bytes]]:
        """See ``Store.inbox_items``."""
        return self._inboxes.items()

    # -- content -------------------------------------------------------------------------------

    async def content(
        self, owner: OwnerId, ids: Iterable[ContentId] | None = None
    ) -> Mapping[ContentId, bytes]:
        """See ``Store.content``. Raises StoreError if what is stored was altered."""
        wanted = None if ids is None else tuple(ids)
        sealed = await self._query(partial(_read_content, owner, wanted))
        if sealed is None:
            return {}
        return self._vault.open(owner, sealed.wrapped, sealed.items)

    async def erase(self, owner: OwnerId) -> bool:
        """See ``Store.erase``. The file's free space and its log are overwritten as well."""
        check_id(owner)
        had_any = await self._call(lambda writer: writer.erase(owner))
        self._vault.forget(owner)
        return had_any

    # -- the store itself ----------------------------------------------------------------------

    async def ping(self) -> float:
        """See ``Store.ping``. Goes through the writer's queue, so it also shows how long that is."""
        started = time.perf_counter()
        await self._call(lambda writer: writer.connection.execute("SELECT 1").fetchone())
        return time.perf_counter() - started

    async def durability(self) -> str | None:
        """Return what an operator should know about losses, None if there is nothing to say."""
        if self._synchronous == "FULL":
            return None
        return "synchronous = NORMAL: a power cut may lose the last acknowledged events (kill -9 loses none)"

    async def close(self) -> None:
        """See ``Store.close``."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._inboxes.close()
        self._wake_tails()
        await self._writer.stop()
        await self._reader.stop()
        await asyncio.to_thread(self._file.close)

    # -- the loop's side of the threads ----------------------------------------------------------

    def _is_closed(self) -> bool:
        return self._closing is not None

    def _check_open(self) -> None:
        if self._is_closed():
            raise StoreUnavailable("the store is closed")

    async def _call(self, work: Callable[[Writer], T]) -> T:
        future = self._loop.create_future()
        self._writer.submit(CallJob(future, work))
        return cast("T", await future)

    async def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        future = self._loop.create_future()
        self._reader.submit(_Read(future, query))
        return cast("T", await future)

    def _publish(self, outcomes: Sequence[Outcome], recorded: Sequence[Recorded]) -> None:
        # Tails and the head first: whoever is told of an append must find it in both.
        if recorded:
            self._recent.extend(recorded)
            self._wake_tails()
        for outcome in outcomes:
            outcome.settle()

    def _wake_tails(self) -> None:
        news, self._news = self._news, self._loop.create_future()
        news.set_result(None)

    # -- in the threads --------------------------------------------------------------------------

    def _gather(self) -> None:
        """Let more appends arrive before a commit, if they do arrive (``GATHER_S``)."""
        wait_s = self._gather_until - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)

    def _write(self, jobs: Sequence[Job]) -> Callable[[], None]:
        started = time.monotonic()
        outcomes, recorded = self._sqlite.write(jobs)
        if (
            self._synchronous == "FULL"
        ):  # otherwise a commit costs little, and sharing it saves nothing
            self._gather_until = started + GATHER_S if len(jobs) > 1 else 0.0
        return partial(self._publish, outcomes, recorded)

    def _read_batch(self, reads: Sequence[_Read]) -> Callable[[], None]:
        outcomes = [_run_read(self._file.reader, read) for read in reads]
        return partial(self._publish, outcomes, ())


class _Recent:
    """The newest events, for tails that keep up."""

    def __init__(self, head: int) -> None:
        self.head = head
        self._events: list[Recorded] = []

    def extend(self, recorded: Sequence[Recorded]) -> None:
        if recorded[0].position != self.head + 1:  # a commit whose outcome was unknown did happen
            self._events.clear()
        self._events += recorded
        self.head = recorded[-1].position
        if len(self._events) > 2 * RECENT_KEPT:
            del self._events[:-RECENT_KEPT]

    def after(self, position: int) -> list[Recorded] | None:
        """Return the first events above a position, or None if they are no longer here."""
        count = self.head - position
        if count <= 0:
            return []
        if count > len(self._events):
            return None
        start = len(self._events) - count
        return self._events[start : start + TAIL_BATCH]


def _run_read(connection: sqlite3.Connection, read: _Read) -> Outcome:
    try:
        return Outcome(read.future, read.query(connection))
    except sqlite3.Error as error:
        return Outcome(read.future, error=unavailable(error))
    except (ValueError, OverflowError):  # an id that is no UTF-8, a number beyond 64 bits
        return Outcome(read.future, error=ValueError("an id or number that no store can hold"))


def _read_stream(
    stream: StreamId, after_version: int, connection: sqlite3.Connection
) -> list[Recorded]:
    rows = connection.execute(
        "SELECT position, e.version, data FROM events e JOIN streams s USING (stream_no)"
        " WHERE stream = ? AND e.version > ? ORDER BY e.version",
        (stream, after_version),
    ).fetchall()
    return [Recorded(position, stream, version, data) for position, version, data in rows]


def _read_global(after: int, connection: sqlite3.Connection) -> list[Recorded]:
    rows = connection.execute(
        "SELECT position, stream, e.version, data FROM events e JOIN streams s USING (stream_no)"
        " WHERE position > ? ORDER BY position LIMIT ?",
        (after, TAIL_BATCH),
    ).fetchall()
    return [Recorded(*row) for row in rows]


def _read_recent(limit: int, connection: sqlite3.Connection) -> list[Recorded]:
    rows = connection.execute(
        "SELECT position, stream, e.version, data FROM events e JOIN streams s USING (stream_no)"
        " ORDER BY position DESC LIMIT ?",
        (max(limit, 0),),
    ).fetchall()
    return [Recorded(*row) for row in reversed(rows)]


def _read_due(before: float, limit: int, connection: sqlite3.Connection) -> list[Due]:
    if math.isnan(before):
        return []
    rows = connection.execute(
        "SELECT stream, due_at FROM streams WHERE due_at IS NOT NULL AND due_at <= ?"
        " ORDER BY due_at, stream LIMIT ?",
        (before, max(limit, 0)),
    ).fetchall()
    return [Due(stream, due_at) for stream, due_at in rows]


def _read_content(
    owner: OwnerId, ids: Sequence[ContentId] | None, connection: sqlite3.Connection
) -> SealedOwner | None:
    row = connection.execute("SELECT wrapped FROM owners WHERE owner = ?", (owner,)).fetchone()
    if row is None or row[0] is None:
        return None
    select = "SELECT content_id, sealed FROM content WHERE owner = ?"
    if ids is None:
        rows = connection.execute(select, (owner,)).fetchall()
    else:
        rows = [
            found
            for content_id in dict.fromkeys(ids)
            for found in connection.execute(
                f"{select} AND content_id = ?", (owner, content_id)
            ).fetchall()
        ]
    return SealedOwner(owner, row[0], tuple(SealedItem(*found) for found in rows))
