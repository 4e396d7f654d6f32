# SPDX-License-Identifier: Apache-2.0
"""The store contract: everything durable, and everything that two nodes must agree on.

Two implementations obey these docstrings, and one suite (``tests/contract``) proves it on both: ``embedded`` (SQLite,
one node) and ``redis`` (two and more nodes). No other place in Selat talks to a database.

The model, in six nouns:

* An **event** is an opaque byte string in a **stream**. Streams are append-only; an event's ``version`` is its place in
  its stream (1, 2, 3 …), its ``position`` its place among all events of the store (strictly increasing, gaps allowed).
* An **append** adds events to one or two streams atomically, if each stream still has the expected version. This is the
  only arbiter: of two nodes that act on the same state exactly one wins.
* A **due time** belongs to a stream: the moment when somebody must look at it again. Each append sets it (or clears it)
  in the same transaction, so a deadline can't be lost between the event and its timer.
* A **lease** is a name held by one owner until it expires, with a fencing token that grows with each new holder.
* An **inbox** is an address at which live messages reach the node where somebody listens; nothing is kept. What must
  survive is an event.
* **Content** is personal data (a name, a chat line, a note) beside the events, sealed under a key per owner. Events
  carry content ids and hashes only, so erasing an owner destroys content and key while folds and audit still work.

Errors form one tree::

    StoreError
    ├── VersionConflict    somebody appended first: read again and decide again
    ├── ContentErased      the owner's content was destroyed; nothing can be added to it
    ├── TailTruncated      the position asked for is older than what the store keeps in global order
    └── StoreUnavailable   the database can't be reached or refused to write: try again later
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

StreamId = NewType("StreamId", str)
OwnerId = NewType("OwnerId", str)
"""Whose content it is: one sealing key per owner, e.g. ``consult:<id>`` or ``account:<id>``."""
ContentId = NewType("ContentId", str)
InboxId = NewType("InboxId", str)

MAX_STREAMS_PER_APPEND = 2
"""A consult and the specialist whom it concerns: no transition of Selat needs more."""


class StoreError(Exception):
    """Root of what a store raises; a library's own exceptions never leave an implementation."""


class VersionConflict(StoreError):
    """A stream no longer has the version that the caller decided on; nothing was written."""

    def __init__(self, stream: StreamId, expected: int, actual: int) -> None:
        """Carry the stream, the expected version and the one found."""
        super().__init__(f"stream is at version {actual}, expected {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class ContentErased(StoreError):
    """The owner was erased: reading gives nothing, appending content is refused, nothing was written."""


class TailTruncated(StoreError):
    """The global order no longer reaches back to the position asked for."""


class StoreUnavailable(StoreError):
    """The database can't be reached or can't write. The outcome of the call is unknown: read before trying again."""


@dataclass(frozen=True, slots=True)
class Append:
    """What to add to one stream."""

    stream: StreamId
    expected_version: int
    """Events that the stream must hold now; 0 = it must not exist yet."""
    events: tuple[bytes, ...] = ()
    """May be empty: then only ``due_at`` changes, still guarded by the version."""
    due_at: float | None = None
    """UTC epoch seconds; replaces the stream's due time. None = the stream wants no more attention."""


@dataclass(frozen=True, slots=True)
class Content:
    """Personal data to keep beside the events of the same append."""

    owner: OwnerId
    content_id: ContentId
    body: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it was stored."""

    position: int
    stream: StreamId
    version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """A stream whose due time has come."""

    stream: StreamId
    due_at: float


@dataclass(frozen=True, slots=True)
class Lease:
    """A held name."""

    name: str
    owner: str
    token: int
    """Fencing token: greater than that of every earlier holder of this name, also across restarts."""


class Store(Protocol):
    """See the module docstring. All instants are UTC epoch seconds; lease expiry follows the store's own clock."""

    async def append(self, *appends: Append, content: Sequence[Content] = ()) -> int:
        """Add to one or two streams, with content, all or nothing; return the position of the last event.

        When this returns, the events are acknowledged: a ``kill -9`` of any process no longer loses them (what a
        power cut may cost is the implementation's setting). Appends that arrive together may share one commit.
        With no events at all the current head position is returned.

        Raises:
            VersionConflict: a stream has another version; nothing was written.
            ContentErased: an owner of ``content`` was erased; nothing was written.
            StoreUnavailable: not written, or not known to be.
            ValueError: no append, more than two, or the same stream twice.
        """
        ...

    async def read(self, stream: StreamId, after_version: int = 0) -> list[Recorded]:
        """Return the stream's events with a version above ``after_version``, in order; an unknown stream is empty."""
        ...

    async def head(self) -> int:
        """Return the position of the newest event, 0 for an empty store."""
        ...

    async def recent(self, limit: int) -> list[Recorded]:
        """Return the newest ``limit`` events of all streams, oldest first (for medians after a restart)."""
        ...

    def tail(self, after: int) -> AsyncIterator[list[Recorded]]:
        """Yield every event with a position above ``after``, in global order, exactly once, in batches, for ever.

        Every append of every node appears, also the caller's own. Stops when the store is closed.

        Raises:
            TailTruncated: events after ``after`` are no longer kept.
            StoreUnavailable: the database went away; tail again from the last position seen.
        """
        ...

    async def due(self, before: float, limit: int = 100) -> list[Due]:
        """Return at most ``limit`` streams with a due time at or before ``before``, the earliest first.

        Nothing is claimed: a stream stays due until an append changes its due time, and of two nodes that act on it
        the version decides. ``due(inf, n)`` lists the live streams, since a live stream always has a deadline.
        """
        ...

    async def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """Take a lease if it is free, expired, or held by ``owner`` already (then it is extended, same token).

        Returns None if somebody else holds it.
        """
        ...

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> set[str]:
        """Extend leases that are still held with the same token; return the names that were lost meanwhile."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a lease back if it is still held with this token; otherwise nothing happens."""
        ...

    async def holders(self, names: Iterable[str]) -> dict[str, Lease]:
        """Return the leases among ``names`` that are held now."""
        ...

    async def open_inbox(self, inbox: InboxId) -> None:
        """Start to receive what is posted to ``inbox`` through ``inbox_items``. Opening twice is harmless.

        When this returns, what is posted from now on, by any node, arrives.
        """
        ...

    async def close_inbox(self, inbox: InboxId) -> None:
        """Stop receiving for ``inbox``; a closed or unknown one is no error."""
        ...

    async def post(self, inbox: InboxId, body: bytes) -> bool:
        """Hand a message to whoever has ``inbox`` open, on any node; return whether anybody had.

        Live only: at most once, in order per sender, never stored. For descriptions, candidates and notices that
        are renegotiated after a loss.
        """
        ...

    def inbox_items(self) -> AsyncIterator[tuple[InboxId, bytes]]:
        """Yield what was posted to this store object's open inboxes, until the store is closed. One consumer."""
        ...

    async def content(
        self, owner: OwnerId, ids: Iterable[ContentId] | None = None
    ) -> Mapping[ContentId, bytes]:
        """Return the owner's content (all of it, or those of ``ids`` that exist), opened.

        An erased or unknown owner has none.
        """
        ...

    async def erase(self, owner: OwnerId) -> bool:
        """Destroy the owner's content and key, for good; return whether there was any.

        Streams are not touched. Later content for this owner raises ContentErased.
        """
        ...

    async def ping(self) -> float:
        """Make a round trip to the database and return how long it took, in seconds; raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Flush what was accepted, stop the iterators, release everything. Idempotent."""
        ...
