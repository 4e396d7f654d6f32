# SPDX-License-Identifier: Apache-2.0
"""Live messages that reached this node, waiting for the one consumer of ``Store.inbox_items``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from signalling.store.base import InboxId

MAX_WAITING = 20_000
"""Messages that may wait for the consumer. It is on the same event loop and only enqueues, so this many (5 s of the
fastest forwarding measured on one core) means that it hangs; then the newest are dropped, as "at most once" allows."""


class Inboxes:
    """Which inboxes are open on this store object, and what arrived for them in order."""

    def __init__(self) -> None:
        self.open: set[InboxId] = set()
        self.dropped = 0
        """Messages that found the queue full."""
        self._waiting: deque[tuple[InboxId, bytes]] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def deliver(self, inbox: InboxId, body: bytes) -> bool:
        """Queue a message for the consumer; return whether the inbox is open and there was room."""
        if inbox not in self.open:
            return False
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return False
        self._waiting.append((inbox, body))
        self._news.set()
        return True

    async def items(self) -> AsyncIterator[tuple[InboxId, bytes]]:
        """Yield in order of arrival until ``close``; what waits for an inbox that was closed meanwhile is skipped."""
        while True:
            while self._waiting:
                item = self._waiting.popleft()
                if item[0] in self.open:
                    yield item
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """End the iterator, now or when it is next asked."""
        self._closed = True
        self.open.clear()
        self._waiting.clear()
        self._news.set()
