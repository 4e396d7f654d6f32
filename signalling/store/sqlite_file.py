# SPDX-License-Identifier: Apache-2.0
"""The database file of the embedded store: its lock, its schema, its connections."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final, Literal

from signalling.store.base import StoreUnavailable
from signalling.store.vault import Vault

Synchronous = Literal["FULL", "NORMAL"]

SCHEMA_VERSION: Final = 1

BUSY_TIMEOUT_S: Final = 2.0
"""How long a statement waits while a person's ``sqlite3`` shell or a backup holds the file: long enough for a backup
step, short enough that callers learn that the store is stuck."""

CACHE_KIB: Final = 16 * 1024
"""Page cache per connection: the open consults of a busy node several times over (a consult is about 20 events)."""

CACHED_STATEMENTS: Final = 256
"""Per connection: the writer's six multi-row statements in each of their eighteen sizes, and all others."""

_SCHEMA = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;
CREATE TABLE streams (
    stream_no INTEGER PRIMARY KEY,
    stream TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    due_at REAL
);
CREATE INDEX streams_due ON streams (due_at, stream) WHERE due_at IS NOT NULL;
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream_no INTEGER NOT NULL REFERENCES streams,
    version INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX events_stream ON events (stream_no, version);
CREATE TABLE owners (
    owner TEXT PRIMARY KEY,
    wrapped BLOB  -- NULL: erased, for good
) WITHOUT ROWID;
CREATE TABLE content (
    owner TEXT NOT NULL,
    content_id TEXT NOT NULL,
    sealed BLOB NOT NULL
);
CREATE UNIQUE INDEX content_place ON content (owner, content_id);
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX leases_expiry ON leases (expires_at);
"""


class SqliteFile:
    """An open database file that this process alone may use."""

    def __init__(self, path: Path, vault: Vault, synchronous: Synchronous) -> None:
        """Lock the file, make it if it isn't there, check its schema and master key.

        Raises:
            StoreUnavailable: another process has it open, it was written by a newer version or with another master
                key, it is no database, or the disk refuses.
        """
        self._path = path
        self.synchronous: Final = synchronous
        self._lock = _lock(path)
        try:
            self.writer = self._connect()
            try:
                _prepare(self.writer, vault)
                self.reader = self._connect()
            except BaseException:
                self.writer.close()
                raise
        except sqlite3.Error as error:
            os.close(self._lock)
            raise unavailable(error) from error
        except BaseException:
            os.close(self._lock)
            raise

    def reconnect_writer(self) -> None:
        """Replace the writing connection after an error that it may not have survived."""
        self.writer.close()
        self.writer = self._connect()

    def close(self) -> None:
        """Close both connections and let go of the lock. The last close merges the log into the file."""
        try:
            self.reader.close()
            self.writer.close()
        finally:
            os.close(self._lock)

    def _connect(self) -> sqlite3.Connection:
        # One thread at a time uses a connection, but not the one that opened it. Transactions are begun by hand.
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute(
                "PRAGMA secure_delete = ON"
            )  # erased means overwritten, not unlinked
        except BaseException:
            connection.close()
            raise
        return connection


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    """Translate SQLite's refusal; only its code goes along, its text may hold what was to be written."""
    return StoreUnavailable(f"the database refused: {getattr(error, 'sqlite_errorname', 'error')}")


def _lock(path: Path) -> int:
    """Take the lock beside the file. The kernel drops it when the process ends, however it ends."""
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"the database can't be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before SQLite makes it: nobody but this user reads the database, nor its -wal and -shm, which follow it. Not
        # before the lock: closing a file drops the POSIX locks that SQLite holds on it elsewhere in this process.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except BlockingIOError as error:
        os.close(lock)
        raise StoreUnavailable(
            "another process has this database open; several nodes need the Redis store"
        ) from error
    except OSError as error:
        os.close(lock)
        raise StoreUnavailable(f"the database can't be opened: {error.strerror}") from error
    return lock


def _prepare(connection: sqlite3.Connection, vault: Vault) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("schema", SCHEMA_VERSION), ("key_check", vault.key_check()), ("fence", 0)],
        )
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    connection.execute("COMMIT")
    if meta["schema"] > SCHEMA_VERSION:
        raise StoreUnavailable(
            f"this database has schema {meta['schema']}, this version of Selat knows up to {SCHEMA_VERSION}"
        )
    vault.verify(meta["key_check"])
