# SPDX-License-Identifier: Apache-2.0
"""The one writer of the embedded store: many appends, one commit.

Runs in the writer thread, never on the event loop. A batch of jobs is decided against the versions in memory (the
file's lock makes this process the only one that changes them) and then written with a handful of multi-row statements.
That matters beyond speed: ``sqlite3`` lets go of the interpreter lock around each statement and must win it back from
the event loop afterwards, which on a busy loop takes up to the switch interval (5 ms) *each time*.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from signalling.store.base import (
    Append,
    ContentErased,
    OwnerId,
    Recorded,
    StoreError,
    StoreUnavailable,
    StreamId,
    VersionConflict,
)
from signalling.store.sqlite_file import SqliteFile, unavailable
from signalling.store.vault import KeyOutdated, SealedOwner
from signalling.store.worker import Outcome

ROWS: Final = (64, 32, *range(16, 0, -1))
"""Rows per multi-row statement: what a usual batch has for a table is one statement, since each costs a hand-over of the
interpreter lock. Few enough sizes that the connection's statement cache holds them all."""

MAX_CACHED: Final = 100_000
"""Streams, and owners, whose state is kept in memory, about 20 MB; beyond it the cache starts anew."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppendJob:
    """An append, its content sealed already."""

    future: asyncio.Future[object]
    appends: tuple[Append, ...]
    sealed: tuple[SealedOwner, ...]


@dataclass(frozen=True, slots=True)
class CallJob:
    """Other writing (leases, erasure), which shares the batch's transaction."""

    future: asyncio.Future[object]
    work: Callable[[Writer], object]


Job: TypeAlias = AppendJob | CallJob


@dataclass(slots=True)
class _Stream:
    """A stream as the transaction leaves it."""

    stream_no: int
    version: int


@dataclass(slots=True)
class _Rows:
    """What the batch will write, column by column as the statements take it."""

    events: list[tuple[object, ...]] = field(default_factory=list)
    streams: dict[int, tuple[object, ...]] = field(default_factory=dict)
    owners: dict[OwnerId, tuple[object, ...]] = field(default_factory=dict)
    content: list[tuple[object, ...]] = field(default_factory=list)


class Writer:
    """Decides and writes batches on the writing connection."""

    def __init__(self, file: SqliteFile) -> None:
        """Read where the last process ended."""
        self._file = file
        self._streams: dict[StreamId, _Stream | None] = {}
        self._owners: dict[OwnerId, bytes | None] = {}  # None: erased; absent key: not looked up
        self._rows = _Rows()
        self._recorded: list[Recorded] = []
        self._scrub = False
        self.head = 0
        self._next_stream_no = 1
        self._find_ends()

    @property
    def connection(self) -> sqlite3.Connection:
        """For a ``CallJob``: the connection, inside the batch's transaction."""
        return self._file.writer

    def write(self, jobs: Sequence[Job]) -> tuple[list[Outcome], list[Recorded]]:
        """Commit a batch; return what became of each job, and the new events in order.

        A refused job (conflict, erased) leaves the others alone. If the database refuses, none of them was written.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            self._look_up(jobs)
            outcomes = [self._decide(job) for job in jobs]
            self._flush()
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            return self._give_up(jobs, unavailable(error)), []
        except Exception:  # noqa: BLE001 - whatever it is, the callers must learn it and the thread must go on
            _log.exception("store_batch_failed")
            return self._give_up(jobs, StoreUnavailable("the batch could not be written")), []
        recorded, self._recorded = self._recorded, []
        if self._scrub:
            self._merge_log()
        return outcomes, recorded

    def erase(self, owner: OwnerId) -> bool:
        """Delete the owner's content and key, inside the batch's transaction; return whether there was a key."""
        self._flush()
        execute = self.connection.execute
        row = execute("SELECT wrapped FROM owners WHERE owner = ?", (owner,)).fetchone()
        execute("DELETE FROM content WHERE owner = ?", (owner,))
        execute(
            "INSERT INTO owners VALUES (?, NULL) ON CONFLICT (owner) DO UPDATE SET wrapped = NULL",
            (owner,),
        )
        self._owners[owner] = None
        self._scrub = True
        return row is not None and row[0] is not None

    def _decide(self, job: Job) -> Outcome:
        try:
            if isinstance(job, CallJob):
                return Outcome(job.future, job.work(self))
            return Outcome(job.future, self._append(job))
        except StoreError as refusal:
            return Outcome(job.future, error=refusal)

    def _append(self, job: AppendJob) -> int:
        for append in job.appends:
            stream = self._streams[append.stream]
            version = 0 if stream is None else stream.version
            if version != append.expected_version:
                raise VersionConflict(append.stream, append.expected_version, version)
        for owner in job.sealed:
            self._check_owner(owner)
        for append in job.appends:
            self._add(append)
        for owner in job.sealed:
            if owner.owner not in self._owners:
                self._owners[owner.owner] = owner.wrapped
                self._rows.owners[owner.owner] = (owner.owner, owner.wrapped)
            self._rows.content += [
                (owner.owner, item.content_id, item.sealed) for item in owner.items
            ]
        return self.head

    def _check_owner(self, owner: SealedOwner) -> None:
        if owner.owner not in self._owners:
            return
        wrapped = self._owners[owner.owner]
        if wrapped is None:
            raise ContentErased("this owner's content was erased")
        if wrapped != owner.wrapped:
            raise KeyOutdated(owner.owner, wrapped)

    def _add(self, append: Append) -> None:
        stream = self._streams[append.stream]
        if stream is None:
            stream = self._streams[append.stream] = _Stream(self._next_stream_no, 0)
            self._next_stream_no += 1
        for data in append.events:
            self.head += 1
            stream.version += 1
            self._rows.events.append((self.head, stream.stream_no, stream.version, data))
            self._recorded.append(Recorded(self.head, append.stream, stream.version, data))
        self._rows.streams[stream.stream_no] = (
            stream.stream_no,
            append.stream,
            stream.version,
            append.due_at,
        )

    def _look_up(self, jobs: Iterable[Job]) -> None:
        """Bring the streams and owners of the batch into memory."""
        if len(self._streams) > MAX_CACHED:
            self._streams.clear()
        if len(self._owners) > MAX_CACHED:
            self._owners.clear()
        streams: set[StreamId] = set()
        owners: set[OwnerId] = set()
        for job in jobs:
            if isinstance(job, AppendJob):
                # Not `streams -= self._streams.keys()`: that walks through all that is cached, not through the batch.
                streams.update(a.stream for a in job.appends if a.stream not in self._streams)
                owners.update(s.owner for s in job.sealed if s.owner not in self._owners)
        for stream in streams:
            self._streams[stream] = None
        for name, stream_no, version in self._select(
            "SELECT stream, stream_no, version FROM streams WHERE stream", streams
        ):
            self._streams[name] = _Stream(stream_no, version)
        for name, wrapped in self._select("SELECT owner, wrapped FROM owners WHERE owner", owners):
            self._owners[name] = wrapped

    def _select(self, select: str, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        for chunk in _chunks(list(names)):
            marks = ",".join("?" * len(chunk))
            yield from self.connection.execute(f"{select} IN ({marks})", chunk).fetchall()

    def _flush(self) -> None:
        rows, self._rows = self._rows, _Rows()
        self._insert("INSERT INTO streams VALUES", 4, rows.streams.values(), _STREAM_UPSERT)
        self._insert("INSERT INTO events VALUES", 4, rows.events)
        self._insert("INSERT INTO owners VALUES", 2, rows.owners.values())
        self._insert("INSERT INTO content VALUES", 3, rows.content, _CONTENT_UPSERT)

    def _insert(
        self, insert: str, columns: int, rows: Iterable[tuple[object, ...]], on_conflict: str = ""
    ) -> None:
        marks = "(" + ",".join("?" * columns) + ")"
        for chunk in _chunks(list(rows)):
            values = [value for row in chunk for value in row]
            self.connection.execute(
                f"{insert} {','.join([marks] * len(chunk))}{on_conflict}", values
            )

    def _give_up(self, jobs: Iterable[Job], error: StoreUnavailable) -> list[Outcome]:
        """Roll back, and forget all that was believed: the next batch reads it from the file again."""
        self._rows = _Rows()
        self._recorded = []
        self._streams.clear()
        self._owners.clear()
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self._find_ends()
        except sqlite3.Error:
            self._reconnect()
        return [Outcome(job.future, error=error) for job in jobs]

    def _reconnect(self) -> None:
        try:
            self._file.reconnect_writer()
            self._find_ends()
        except sqlite3.Error:
            return  # the next batch fails at its BEGIN, comes here again, and so on until the disk is back

    def _find_ends(self) -> None:
        # A commit that failed may still have reached the file: where the store ends is asked, not remembered.
        execute = self.connection.execute
        self.head = execute("SELECT ifnull(max(position), 0) FROM events").fetchone()[0]
        self._next_stream_no = execute(
            "SELECT ifnull(max(stream_no), 0) + 1 FROM streams"
        ).fetchone()[0]

    def _merge_log(self) -> None:
        """Copy the log into the file and cut it, so that what was erased is in neither."""
        try:
            busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:
            return  # the erasure is committed; the next batch tries again
        self._scrub = bool(busy)


_STREAM_UPSERT: Final = (
    " ON CONFLICT (stream_no) DO UPDATE SET version = excluded.version, due_at = excluded.due_at"
)
_CONTENT_UPSERT: Final = " ON CONFLICT (owner, content_id) DO UPDATE SET sealed = excluded.sealed"


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into pieces whose lengths are in ``ROWS``."""
    at = 0
    for size in ROWS:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size
