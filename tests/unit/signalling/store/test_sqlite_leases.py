# SPDX-License-Identifier: Apache-2.0
"""Leases in the database file: what the contract's tests can't see from outside."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from signalling.store import sqlite_leases
from signalling.store.sqlite_file import SqliteFile
from signalling.store.sqlite_leases import SWEEP_EVERY
from signalling.store.vault import Vault

NOW = 1_000.0
TTL_S = 10.0


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new database file's writing connection."""
    file = SqliteFile(tmp_path / "selat.db", Vault(bytes(32)), "FULL")
    yield file.writer
    file.close()


def count(connection: sqlite3.Connection) -> int:
    """Return how many rows there are."""
    rows: int = connection.execute("SELECT count(*) FROM leases").fetchone()[0]
    return rows


def test_expired_names_do_not_pile_up(connection: sqlite3.Connection) -> None:
    """Names that are never asked for again are gone soon after their time; those that are held stay."""
    for n in range(5 * SWEEP_EVERY):
        held = sqlite_leases.acquire(connection, f"here:{n}", "one", TTL_S, NOW + n)
        assert held is not None
        assert held.token == n + 1
        assert count(connection) <= TTL_S + SWEEP_EVERY
    names = [f"here:{n}" for n in range(5 * SWEEP_EVERY)]
    at = NOW + 5 * SWEEP_EVERY - 1
    assert len(sqlite_leases.holders(connection, names, at)) == TTL_S


def test_a_token_grows_whoever_takes_the_name(connection: sqlite3.Connection) -> None:
    """The owner of a lease that ran out gets a new token too: meanwhile it was not held."""
    first = sqlite_leases.acquire(connection, "rota", "one", TTL_S, NOW)
    assert first is not None
    assert sqlite_leases.acquire(connection, "rota", "one", TTL_S, NOW + 1.0) == first
    assert sqlite_leases.acquire(connection, "rota", "two", TTL_S, NOW + TTL_S) is None
    again = sqlite_leases.acquire(connection, "rota", "one", TTL_S, NOW + 1.0 + TTL_S)
    assert again is not None
    assert again.token > first.token
    other = sqlite_leases.acquire(connection, "other", "two", TTL_S, NOW)
    assert other is not None
    assert other.token > again.token
