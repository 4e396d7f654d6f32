# SPDX-License-Identifier: Apache-2.0
"""Leases of the embedded store, as statements inside the writer's transaction.

They are kept in the file although one process has it: a restart must not hand out a fencing token twice, nor take a
name from its holder before it expires.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from signalling.store.base import Lease


def acquire(
    connection: sqlite3.Connection, name: str, owner: str, ttl_s: float, now: float
) -> Lease | None:
    """Take or extend a lease; see ``Store.acquire``."""
    # Expired rows go here, so that names from an open set don't pile up; the index makes it cheap.
    connection.execute("DELETE FROM leases WHERE expires_at <= ?", (now,))
    row = connection.execute("SELECT owner, token FROM leases WHERE name = ?", (name,)).fetchone()
    if row is None:
        # One counter for all names: it survives the rows, so a token also outgrows those of forgotten holders.
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'fence'")
        token = connection.execute("SELECT value FROM meta WHERE name = 'fence'").fetchone()[0]
        connection.execute(
            "INSERT INTO leases VALUES (?, ?, ?, ?)", (name, owner, token, now + ttl_s)
        )
        return Lease(name, owner, token)
    if row[0] != owner:
        return None
    connection.execute("UPDATE leases SET expires_at = ? WHERE name = ?", (now + ttl_s, name))
    return Lease(name, owner, row[1])


def renew(
    connection: sqlite3.Connection, leases: Iterable[Lease], ttl_s: float, now: float
) -> set[str]:
    """Extend leases that are still held; return the names that were lost."""
    lost = set()
    for lease in leases:
        cursor = connection.execute(
            "UPDATE leases SET expires_at = ? WHERE name = ? AND token = ? AND expires_at > ?",
            (now + ttl_s, lease.name, lease.token, now),
        )
        if cursor.rowcount == 0:
            lost.add(lease.name)
    return lost


def release(connection: sqlite3.Connection, lease: Lease) -> None:
    """Give a lease back if it is still held with this token."""
    connection.execute("DELETE FROM leases WHERE name = ? AND token = ?", (lease.name, lease.token))


def holders(connection: sqlite3.Connection, names: Iterable[str], now: float) -> dict[str, Lease]:
    """Return the leases among ``names`` that are held now."""
    found = {}
    for name in names:
        row = connection.execute(
            "SELECT owner, token FROM leases WHERE name = ? AND expires_at > ?", (name, now)
        ).fetchone()
        if row is not None:
            found[name] = Lease(name, row[0], row[1])
    return found
