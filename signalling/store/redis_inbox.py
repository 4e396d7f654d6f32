# SPDX-License-Identifier: Apache-2.0
"""Receives what is posted to this node's inboxes through Redis pub/sub."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from redis.exceptions import RedisError

from signalling.store.base import InboxId, StoreUnavailable
from signalling.store.inbox import Inboxes
from signalling.store.redis_lane import CLOSED, Connect, Connection, disconnect, refused

PING_EVERY_S: Final = 5.0
"""A silent subscription is asked whether it lives this often: a dead path is noticed after two of these, well within
the time that a call's set-up is retried."""

RETRY_FIRST_S: Final = 0.05
RETRY_MOST_S: Final = 1.0
"""Pause before connecting again: short for a restarted server, bounded so that a node is back a second after Redis."""


class Subscriber:
    """One connection in pub/sub mode.

    It connects by itself again and takes up every open inbox; what was posted in between is lost, as live messages may
    be.
    """

    def __init__(
        self,
        connect: Connect,
        inboxes: Inboxes,
        channel_prefix: str,
        timeout_s: float,
    ) -> None:
        """Start to connect."""
        self._connect = connect
        self._inboxes = inboxes
        self._prefix = channel_prefix.encode()
        self._timeout_s = timeout_s
        self._connection: Connection | None = None  # set while subscriptions can be sent
        self._pending: dict[InboxId, asyncio.Future[None]] = {}
        self._unconfirmed: Counter[InboxId] = Counter()
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def open(self, inbox: InboxId) -> None:
        """Subscribe, and return when Redis has confirmed it.

        Raises:
            StoreUnavailable: no confirmation in time; the inbox isn't open.
        """
        if inbox in self._inboxes.open:
            return
        if (pending := self._pending.get(inbox)) is None:
            pending = self._pending[inbox] = asyncio.get_running_loop().create_future()
            pending.add_done_callback(_retrieve)
            try:
                await self._send("SUBSCRIBE", inbox)
            except StoreUnavailable as error:
                self._settle(inbox, error)
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(pending)
        except TimeoutError as error:
            self._settle(inbox, refused(error))
            raise refused(error) from None

    async def close_inbox(self, inbox: InboxId) -> None:
        """Unsubscribe; without a connection there is nothing to unsubscribe from."""
        self._inboxes.open.discard(inbox)
        self._settle(inbox, StoreUnavailable("the inbox was closed"))
        if self._connection is not None:
            try:
                await self._send("UNSUBSCRIBE", inbox)
            except StoreUnavailable:
                return  # the next connection doesn't take it up

    async def close(self) -> None:
        """End the connection."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _send(self, command: str, inbox: InboxId) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ready.wait()
                if self._connection is None:
                    raise StoreUnavailable(CLOSED)
                if command == "SUBSCRIBE":
                    self._unconfirmed[inbox] += 1
                await self._connection.send_command(
                    command, self._prefix + inbox.encode(), check_health=False
                )
        except (RedisError, OSError, TimeoutError) as error:
            raise refused(error) from None

    async def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        try:
            while True:
                connection = self._connect()
                try:
                    await self._take_up(connection)
                    pause_s = RETRY_FIRST_S
                    await self._receive(connection)
                except (RedisError, OSError, TimeoutError) as error:
                    self._lost(refused(error))
                finally:
                    await disconnect(connection)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MOST_S)
        finally:
            self._lost(StoreUnavailable(CLOSED))
            self._ready.set()  # whoever waits for a connection learns that none will come

    async def _take_up(self, connection: Connection) -> None:
        async with asyncio.timeout(self._timeout_s):
            await connection.connect()
            channels = [self._prefix + inbox.encode() for inbox in self._inboxes.open]
            if channels:
                await connection.send_command("SUBSCRIBE", *channels, check_health=False)
        self._connection = connection
        self._ready.set()

    async def _receive(self, connection: Connection) -> None:
        unanswered = False
        while True:
            reply = await connection.read_response(disable_decoding=True, timeout=PING_EVERY_S)
            if reply is not None:
                unanswered = False
                self._take(reply)
            elif unanswered:
                raise TimeoutError
            else:
                unanswered = True
                await connection.send_command("PING", check_health=False)

    def _take(self, reply: object) -> None:
        if not isinstance(reply, list):
            return  # the answer to our ping while nothing is subscribed: then it is no push but b"PONG"
        inbox = InboxId(reply[1][len(self._prefix) :].decode())
        match reply[0]:
            case b"message":
                self._inboxes.deliver(inbox, reply[2])
            case b"subscribe":
                self._confirm(inbox)
            case _:  # other confirmations, and the answer to our ping
                pass

    def _confirm(self, inbox: InboxId) -> None:
        self._unconfirmed[inbox] -= 1
        if self._unconfirmed[inbox] > 0:
            return  # opened, closed and opened again at once: the last confirmation counts
        del self._unconfirmed[inbox]
        if inbox in self._pending:
            self._inboxes.open.add(inbox)
            self._settle(inbox, None)

    def _settle(self, inbox: InboxId, error: StoreUnavailable | None) -> None:
        pending = self._pending.pop(inbox, None)
        if pending is None or pending.done():
            return
        if error is None:
            pending.set_result(None)
        else:
            pending.set_exception(error)

    def _lost(self, error: StoreUnavailable) -> None:
        self._connection = None
        self._ready.clear()
        self._unconfirmed.clear()
        for inbox in list(self._pending):
            self._settle(inbox, error)


def _retrieve(pending: asyncio.Future[None]) -> None:
    """Mark an exception as seen: the caller who would have seen it may be gone."""
    if not pending.cancelled():
        pending.exception()
