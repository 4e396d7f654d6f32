# SPDX-License-Identifier: Apache-2.0
"""The Redis store: one Redis server, two and more nodes.

What must be atomic is a Lua script (``lua/``), which Redis runs alone. All keys lie under one prefix:

=================  ====================================================================================
``head``           position of the newest event
``log``            every event in global order, a Redis Stream whose entry ids are the positions; trimmed
``due``            due times, a sorted set
``fence``          the newest fencing token
``schema``         version of this layout;  ``key-check`` recognises the master key
``s:<stream>``     a stream's events, a list of ``position:data``; never trimmed, its length is the version
``k:<owner>``      an owner's wrapped content key; empty = erased;  ``c:<owner>`` the sealed content, a hash
``l:<name>``       a lease with owner and token, which expires by Redis's clock
``i:<inbox>``      a channel, nothing is stored
=================  ====================================================================================

The keys carry no hash tags: a Redis Cluster is refused, on purpose, since an append spans keys.

**Durability is Redis's configuration**, and ``durability()`` says what is amiss with it:

* ``appendonly yes`` is a must: without it a restart goes back to the last snapshot, or to nothing.
* ``appendfsync always`` keeps the contract in full: an answer leaves Redis after its effect is on the disk. One flush
  is shared by all commands of one turn of Redis's loop.
* ``appendfsync everysec`` (Redis's default) may lose about a second in a power cut, and, less known, also when *Redis
  alone* is killed: while a flush is under way longer than usual, Redis holds written data back in its own memory for up
  to 2 seconds and answers all the same (``flushAppendOnlyFile`` in ``aof.c``). Seen with Redis 7.0 and a disk slowed
  to 1.5 s per flush: of 3,498 acknowledged appends 957 were gone after ``kill -9``; with the two others none.
* ``appendfsync no`` loses nothing to a kill, and in a power cut what the kernel had not written yet (about 30 s).
* ``maxmemory-policy noeviction``: any other lets Redis throw consults away when memory is short.

After an erasure the old bytes stay in Redis's append-only file until it is rewritten; this store asks for that within
``REWRITE_AFTER_S``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisError

from signalling.store.arguments import check_appends, check_id, ttl_ms_of
from signalling.store.base import (
    Append,
    Content,
    ContentErased,
    ContentId,
    Due,
    InboxId,
    Lease,
    OwnerId,
    Recorded,
    StoreUnavailable,
    StreamId,
    TailTruncated,
    VersionConflict,
)
from signalling.store.inbox import Inboxes
from signalling.store.redis_inbox import Subscriber
from signalling.store.redis_lane import (
    Argument,
    Connect,
    Connection,
    Lane,
    Script,
    disconnect,
    refused,
)
from signalling.store.vault import MAX_RESEALS, KeyOutdated, SealedItem, SealedOwner, Vault

SCHEMA_VERSION: Final = 1

TIMEOUT_S: Final = 5.0
"""For an exchange with Redis. A healthy one answers within milliseconds; a flush on a busy disk may take a second."""

LOG_LENGTH: Final = 100_000
"""Events kept in global order: with 300 bytes each, 30 MB; a tail that lags may be hours behind on a busy service."""

TAIL_BATCH: Final = 500
"""Events per batch of a tail: a loop iteration of about a millisecond for a consumer at 2 µs per event."""

TAIL_BLOCK_S: Final = 5.0
"""How long Redis holds the question for news; an answer that stays away longer than this and ``TIMEOUT_S`` shows a dead
path."""

READ_BATCH: Final = 1_000
"""Events of one stream per question, so that a long stream doesn't hold up Redis for everybody."""

REWRITE_AFTER_S: Final = 60.0
"""From an erasure until the append-only file is rewritten without it: many erasures share one rewrite."""


class RedisStore:
    """``Store`` on one Redis server. Make it with ``open``; see the module for what Redis must be told."""

    def __init__(self, connect: Connect, vault: Vault, prefix: str, log_length: int) -> None:
        """For ``open`` only."""
        self._connect = connect
        self._vault = vault
        self._prefix = prefix
        self._log_length = log_length
        self._loop = asyncio.get_running_loop()
        self._append = Script("append")
        self._erase = Script("erase")
        self._acquire = Script("acquire")
        self._renew = Script("renew")
        self._release = Script("release")
        scripts = (self._append, self._erase, self._acquire, self._renew, self._release)
        # Three connections: neither reading a long stream nor a commit that waits for the disk delays live messages.
        self._writes = Lane(connect, TIMEOUT_S, scripts)
        self._reads = Lane(connect, TIMEOUT_S)
        self._posts = Lane(connect, TIMEOUT_S)
        self._inboxes = Inboxes()
        self._subscriber = Subscriber(self._connect, self._inboxes, f"{prefix}i:", TIMEOUT_S)
        self._tails: set[Connection] = set()
        self._rewrite: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        master_key: bytes,
        *,
        prefix: str = "selat:",
        log_length: int = LOG_LENGTH,
    ) -> RedisStore:
        """Connect to a Redis server.

        Args:
            url: ``redis://[user:password@]host:port/db``, ``rediss://…`` (TLS) or ``unix:///path``.
            master_key: At least 32 random bytes, the same on each node.
            prefix: Of every key, so that several services may share a server.
            log_length: Events kept in global order, at least; see ``LOG_LENGTH``.

        Raises:
            StoreUnavailable: no answer, a cluster, a newer layout, or made with another master key.
            ValueError: the master key is too short, or the URL is none of Redis's.
        """
        vault = Vault(master_key)
        # Time-outs are the lanes' business, except for the first moment; RESP2, since nothing here needs more.
        pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=TIMEOUT_S
        )
        store = cls(cast("Connect", pool.make_connection), vault, prefix, log_length)
        try:
            await store._check()
        except BaseException:
            await store.close()
            raise
        return store

    async def _check(self) -> None:
        server = await self._reads.call("INFO", "server")
        if b"redis_mode:cluster" in server:
            raise StoreUnavailable("a Redis Cluster can't hold this store; give it a single server")
        schema, key_check = self._key("schema"), self._key("key-check")
        *_, version, check = await self._writes.calls(
            [
                ("SET", schema, SCHEMA_VERSION, "NX"),
                ("SET", key_check, self._vault.key_check(), "NX"),
                ("GET", schema),
                ("GET", key_check),
            ]
        )
        if int(version) > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"this Redis has layout {int(version)}, this version of Selat knows up to {SCHEMA_VERSION}"
            )
        self._vault.verify(check)

    # -- events --------------------------------------------------------------------------------

    async def append(self, *appends: Append, content: Sequence[Content] = ()) -> int:
        """See ``Store.append``."""
        check_appends(appends, content)
        for _ in range(MAX_RESEALS):
            sealed = self._vault.seal(content) if content else ()
            try:
                return await self._append_sealed(appends, sealed)
            except KeyOutdated as outdated:
                self._vault.adopt(outdated.owner, outdated.wrapped)
        raise StoreUnavailable("content keys keep changing")

    async def _append_sealed(self, appends: Sequence[Append], sealed: Sequence[SealedOwner]) -> int:
        keys = [self._key("head"), self._key("log"), self._key("due")]
        args: list[Argument] = [self._log_length, len(appends)]
        for append in appends:
            keys.append(self._key("s:", append.stream))
            due_at = "" if append.due_at is None else repr(float(append.due_at))
            args += (append.stream, append.expected_version, due_at, len(append.events))
            args += append.events
        for owner in sealed:
            keys += (self._key("k:", owner.owner), self._key("c:", owner.owner))
            args += (owner.wrapped, len(owner.items))
            for item in owner.items:
                args += (item.content_id, item.sealed)
        reply = await self._writes.run(self._append, keys, args)
        if isinstance(reply, int):
            return reply
        match reply:
            case [b"conflict", index, actual]:
                append = appends[index]
                raise VersionConflict(append.stream, append.expected_version, actual)
            case [b"erased", index]:
                self._vault.forget(sealed[index].owner)
                raise ContentErased("this owner's content was erased")
            case [b"key", index, wrapped]:
                raise KeyOutdated(sealed[index].owner, wrapped)
            case _:
                raise StoreUnavailable("Redis answered what the script does not say")

    async def read(self, stream: StreamId, after_version: int = 0) -> list[Recorded]:
        """See ``Store.read``."""
        check_id(stream)
        events: list[Recorded] = []
        version = max(after_version, 0)
        while True:
            rows = await self._reads.call(
                "LRANGE", self._key("s:", stream), version, version + READ_BATCH - 1
            )
            for row in rows:
                version += 1
                position, _, data = row.partition(b":")
                events.append(Recorded(int(position), stream, version, data))
            if len(rows) < READ_BATCH:
                return events

    async def head(self) -> int:
        """See ``Store.head``."""
        return int(await self._reads.call("GET", self._key("head")) or 0)

    async def recent(self, limit: int) -> list[Recorded]:
        """See ``Store.recent``. Reaches back as far as the global order is kept."""
        if limit <= 0:
            return []
        entries = await self._reads.call("XREVRANGE", self._key("log"), "+", "-", "COUNT", limit)
        return [_recorded(entry) for entry in reversed(entries)]

    async def tail(self, after: int) -> AsyncIterator[list[Recorded]]:
        """See ``Store.tail``."""
        if self._is_closed():
            return
        connection = self._connect()
        self._tails.add(connection)
        try:
            await self._begin_tail(connection, after)
            while not self._is_closed():
                entries = await self._news(connection, after)
                if entries:
                    batch = [_recorded(entry) for entry in entries]
                    # Positions have no gaps here, so a missing one was trimmed before it could be read.
                    if batch[0].position != after + 1:
                        raise TailTruncated(
                            "the global order no longer reaches back to this position"
                        )
                    after = batch[-1].position
                    yield batch
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_closed():
                raise refused(error) from None
        finally:
            self._tails.discard(connection)
            await disconnect(connection)

    async def _begin_tail(self, connection: Connection, after: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await connection.connect()
            await connection.send_command("GET", self._key("head"), check_health=False)
            head = int(await connection.read_response(disable_decoding=True) or 0)
        if after > head:
            raise TailTruncated("the position is ahead of this store: it is not the one it was")

    async def _news(self, connection: Connection, after: int) -> list[Any]:
        command = ("XREAD", "COUNT", TAIL_BATCH, "BLOCK", int(TAIL_BLOCK_S * 1000))
        async with asyncio.timeout(TAIL_BLOCK_S + TIMEOUT_S):
            await connection.send_command(
                *command, "STREAMS", self._key("log"), f"{max(after, 0)}-0", check_health=False
            )
            reply = await connection.read_response(disable_decoding=True)
        return reply[0][1] if reply else []

    async def due(self, before: float, limit: int = 100) -> list[Due]:
        """See ``Store.due``."""
        if limit <= 0 or math.isnan(before):
            return []
        row = await self._reads.call(
            "ZRANGEBYSCORE",
            self._key("due"),
            "-inf",
            repr(float(before)),
            "WITHSCORES",
            "LIMIT",
            0,
            limit,
        )
        return [
            Due(StreamId(name.decode()), float(score))
            for name, score in zip(row[::2], row[1::2], strict=True)
        ]

    # -- leases --------------------------------------------------------------------------------

    async def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """See ``Store.acquire``."""
        check_id(name)
        keys = (self._key("l:", name), self._key("fence"))
        token = await self._writes.run(self._acquire, keys, (owner, ttl_ms_of(ttl_s)))
        return None if token is None else Lease(name, owner, token)

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> set[str]:
        """See ``Store.renew``."""
        held = tuple(leases)
        args = (ttl_ms_of(ttl_s), *(lease.token for lease in held))
        if not held:
            return set()
        keys = [self._key("l:", lease.name) for lease in held]
        lost = await self._writes.run(self._renew, keys, args)
        return {held[index].name for index in lost}

    async def release(self, lease: Lease) -> None:
        """See ``Store.release``."""
        await self._writes.run(self._release, [self._key("l:", lease.name)], [lease.token])

    async def holders(self, names: Iterable[str]) -> dict[str, Lease]:
        """See ``Store.holders``."""
        wanted = tuple(names)
        replies = await self._reads.calls(
            [("HMGET", self._key("l:", name), "owner", "token") for name in wanted]
        )
        return {
            name: Lease(name, owner.decode(), int(token))
            for name, (owner, token) in zip(wanted, replies, strict=True)
            if owner is not None
        }

    # -- inboxes -------------------------------------------------------------------------------

    async def open_inbox(self, inbox: InboxId) -> None:
        """See ``Store.open_inbox``. Raises StoreUnavailable if Redis doesn't confirm it."""
        check_id(inbox)
        await self._subscriber.open(inbox)

    async def close_inbox(self, inbox: InboxId) -> None:
        """See ``Store.close_inbox``."""
        await self._subscriber.close_inbox(inbox)

    async def post(self, inbox: InboxId, body: bytes) -> bool:
        """See ``Store.post``."""
        return bool(await self._posts.call("PUBLISH", self._key("i:", inbox), body))

    def inbox_items(self) -> AsyncIterator[tuple[InboxId, bytes]]:
        """See ``Store.inbox_items``."""
        return self._inboxes.items()

    # -- content -------------------------------------------------------------------------------

    async def content(
        self, owner: OwnerId, ids: Iterable[ContentId] | None = None
    ) -> Mapping[ContentId, bytes]:
        """See ``Store.content``. Raises StoreError if what is stored was altered."""
        get_key = ("GET", self._key("k:", owner))
        if ids is None:
            wrapped, row = await self._reads.calls([get_key, ("HGETALL", self._key("c:", owner))])
            found = [(ContentId(i.decode()), s) for i, s in zip(row[::2], row[1::2], strict=True)]
        elif wanted := tuple(ids):
            wrapped, row = await self._reads.calls(
                [get_key, ("HMGET", self._key("c:", owner), *wanted)]
            )
            found = list(zip(wanted, row, strict=True))
        else:
            return {}
        if not wrapped:  # unknown, or erased
            return {}
        return self._vault.open(
            owner, wrapped, [SealedItem(*item) for item in found if item[1] is not None]
        )

    async def erase(self, owner: OwnerId) -> bool:
        """See ``Store.erase``. The append-only file is rewritten soon after (``REWRITE_AFTER_S``)."""
        check_id(owner)
        keys = (self._key("k:", owner), self._key("c:", owner))
        had_any = bool(await self._writes.run(self._erase, keys, ()))
        self._vault.forget(owner)
        if had_any and self._rewrite is None:
            self._rewrite = self._loop.call_later(REWRITE_AFTER_S, self._start_rewrite)
        return had_any

    def _start_rewrite(self) -> None:
        self._rewrite = None
        rewrite = self._loop.create_task(self._writes.calls([("BGREWRITEAOF",)]))
        # Refused where a provider runs Redis, or while one is under way: it will be rewritten in its own time.
        rewrite.add_done_callback(lambda task: task.cancelled() or task.exception())

    # -- the store itself ----------------------------------------------------------------------

    async def ping(self) -> float:
        """See ``Store.ping``."""
        started = time.perf_counter()
        await self._writes.call("PING")
        return time.perf_counter() - started

    async def durability(self) -> str | None:
        """Return what an operator should know about losses, None if there is nothing to say."""
        try:
            row = await self._reads.call("CONFIG", "GET", "*")
        except StoreUnavailable:
            return "Redis doesn't tell its configuration: make sure of appendonly, appendfsync and noeviction"
        config = dict(zip(row[::2], row[1::2], strict=True))
        said = []
        if config.get(b"appendonly") != b"yes":
            said.append("appendonly is off: a restart of Redis loses consults")
        elif config.get(b"appendfsync") == b"everysec":
            said.append(
                "appendfsync is everysec: a power cut, or a kill of Redis while its disk is slow,"
                " may lose the last 1 to 2 seconds"
            )
        elif config.get(b"appendfsync") == b"no":
            said.append("appendfsync is no: a power cut may lose about the last 30 seconds")
        if config.get(b"maxmemory-policy", b"noeviction") != b"noeviction":
            said.append("maxmemory-policy is not noeviction: Redis may throw consults away")
        return "; ".join(said) or None

    async def close(self) -> None:
        """See ``Store.close``."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._inboxes.close()
        if self._rewrite is not None:
            self._rewrite.cancel()
            with contextlib.suppress(StoreUnavailable):
                await self._writes.calls([("BGREWRITEAOF",)])
        for connection in tuple(self._tails):
            await disconnect(connection)  # their reads end, and they see that the store is closed
        await self._subscriber.close()
        for lane in (self._writes, self._reads, self._posts):
            await lane.close()

    def _is_closed(self) -> bool:
        return self._closing is not None

    def _key(self, kind: str, name: str = "") -> str:
        return f"{self._prefix}{kind}{name}"


def _recorded(entry: Any) -> Recorded:  # noqa: ANN401 - what Redis answers
    entry_id, (_, stream, _, version, _, data) = entry
    position, _, _ = entry_id.partition(b"-")
    return Recorded(int(position), StreamId(stream.decode()), int(version), data)
