# SPDX-License-Identifier: Apache-2.0
"""Leases of the embedded store, as statements inside the writer's transaction.

They are kept in the file although one process has it: a restart must not hand out a fencing token twice, nor take a
name from its holder before it expires.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from signalling.store.base import Lease

SWEEP_EVERY: Final = 64
"""New leases between two removals of the expired ones: names come from an open set and must not pile up."""

# One counter for all names: it survives the rows, so a token also outgrows those of forgotten holders. A lease that is
# still held keeps its token; for the owner only, anybody else's statement changes and returns nothing.
_TAKE: Final = """
INSERT INTO leases
SELECT ?1, ?2, value + 1, ?3 FROM meta WHERE name = 'fence'
ON CONFLICT (name) DO UPDATE SET
    token = CASE WHEN leases.expires_at > ?4 THEN leases.token ELSE excluded.token END,
    owner = excluded.owner,
    expires_at = excluded.expires_at
WHERE leases.owner = excluded.owner OR leases.expires_at <= ?4
RETURNING token, (SELECT value FROM meta WHERE name = 'fence')
"""


def acquire(
    connection: sqlite3.Connection, name: str, owner: str, ttl_s: float, now: float
) -> Lease | None:
    """Take or extend a lease; see ``Store.acquire``."""
    row = connection.execute(_TAKE, (name, owner, now + ttl_s, now)).fetchone()
    if row is None:
        return None
    token, fence = row
    if token > fence:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'fence'", (token,))
        if token % SWEEP_EVERY == 0:
            connection.execute("DELETE FROM leases WHERE expires_at <= ?", (now,))
    return Lease(name, owner, token)


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
