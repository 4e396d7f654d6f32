# SPDX-License-Identifier: Apache-2.0
"""A store whose operations are timed and whose failures are counted; otherwise the store itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from typing import TypeVar

from signalling.metrics import Metrics, StoreOperation
from signalling.store.base import (
    Append,
    Content,
    ContentId,
    Due,
    InboxId,
    Lease,
    OwnerId,
    Recorded,
    Store,
    StoreUnavailable,
    StreamId,
)

_T = TypeVar("_T")


class WatchedStore:
    """Implements ``Store`` by another one; see ``signalling.store.base`` for what each does."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        """Measure ``store``."""
        self._store = store
        self._metrics = metrics

    async def _timed(self, operation: StoreOperation, call: Awaitable[_T]) -> _T:
        begun = time.monotonic()
        try:
            return await call
        except StoreUnavailable:
            self._metrics.store_error(operation)
            raise
        finally:
            self._metrics.store_latency(operation, time.monotonic() - begun)

    async def append(self, *appends: Append, content: Sequence[Content] = ()) -> int:
        """See ``Store``."""
        return await self._timed("append", self._store.append(*appends, content=content))

    async def read(self, stream: StreamId, after_version: int = 0) -> list[Recorded]:
        """See ``Store``."""
        return await self._timed("read", self._store.read(stream, after_version))

    async def head(self) -> int:
        """See ``Store``."""
        return await self._store.head()

    async def recent(self, limit: int) -> list[Recorded]:
        """See ``Store``."""
        return await self._store.recent(limit)

    def tail(self, after: int) -> AsyncIterator[list[Recorded]]:
        """See ``Store``."""
        return self._store.tail(after)

    async def due(self, before: float, limit: int = 100) -> list[Due]:
        """See ``Store``."""
        return await self._timed("due", self._store.due(before, limit))

    async def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """See ``Store``."""
        return await self._timed("acquire", self._store.acquire(name, owner, ttl_s))

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> set[str]:
        """See ``Store``."""
        return await self._timed("renew", self._store.renew(leases, ttl_s))

    async def release(self, lease: Lease) -> None:
        """See ``Store``."""
        await self._timed("release", self._store.release(lease))

    async def holders(self, names: Iterable[str]) -> dict[str, Lease]:
        """See ``Store``."""
        return await self._store.holders(names)

    async def open_inbox(self, inbox: InboxId) -> None:
        """See ``Store``."""
        await self._timed("post", self._store.open_inbox(inbox))

    async def close_inbox(self, inbox: InboxId) -> None:
        """See ``Store``."""
        await self._timed("post", self._store.close_inbox(inbox))

    async def post(self, inbox: InboxId, body: bytes) -> bool:
        """See ``Store``."""
        return await self._timed("post", self._store.post(inbox, body))

    def inbox_items(self) -> AsyncIterator[tuple[InboxId, bytes]]:
        """See ``Store``."""
        return self._store.inbox_items()

    async def content(
        self, owner: OwnerId, ids: Iterable[ContentId] | None = None
    ) -> Mapping[ContentId, bytes]:
        """See ``Store``."""
        return await self._timed("content", self._store.content(owner, ids))

    async def erase(self, owner: OwnerId) -> bool:
        """See ``Store``."""
        return await self._timed("erase", self._store.erase(owner))

    async def ping(self) -> float:
        """See ``Store``."""
        return await self._timed("ping", self._store.ping())

    async def close(self) -> None:
        """See ``Store``."""
        await self._store.close()
