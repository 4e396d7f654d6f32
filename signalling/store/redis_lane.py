# SPDX-License-Identifier: Apache-2.0
"""One connection to Redis that many callers share, and the scripts that run on it.

redis-py gives every command its own connection from a pool and its own round trip: 100 µs of CPU on this side for each.
A lane sends what arrived while the last exchange was under way in one go (25 µs per command in tens). Callers are
answered in the order in which they called, so what one caller posts arrives in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Protocol, TypeAlias

from redis.exceptions import NoScriptError, RedisError, ResponseError

from signalling.store.base import StoreUnavailable

Argument: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Argument, ...]

MAX_BATCH: Final = 256
"""Commands per exchange: bounds what one answer waits for."""

CLOSED: Final = "the store is closed"


class Connection(Protocol):
    """What we use of redis-py's asynchronous connections, which come with hardly any types."""

    async def connect(self) -> None:
        """Connect, authenticate, select the database."""

    async def disconnect(self, nowait: bool = False) -> None:
        """Close the socket; unless ``nowait``, wait until it is closed."""

    async def can_read(self) -> bool:
        """Return whether something is there to be read, the end included."""

    def pack_commands(self, commands: Sequence[Command]) -> list[bytes]:
        """Encode commands."""

    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        """Send what ``pack_commands`` made."""

    async def send_command(self, *args: Argument, check_health: bool = True) -> None:
        """Send one command."""

    async def read_response(
        self, disable_decoding: bool = False, timeout: float | None = None
    ) -> Any:  # noqa: ANN401 - what Redis answers
        """Read an answer; raises ResponseError for an error answer, returns None when ``timeout`` is over."""


Connect: TypeAlias = Callable[[], Connection]


@dataclass(frozen=True, slots=True)
class _Call:
    commands: Sequence[Command]
    future: asyncio.Future[list[Any]]


class Lane:
    """Commands of many callers over one connection, connected when needed, and again after a failure."""

    def __init__(self, connect: Connect, timeout_s: float, scripts: Sequence[Script] = ()) -> None:
        """Nothing is connected before the first call.

        Args:
            connect: Makes a connection, not connected yet, without time-outs of its own.
            timeout_s: For a whole exchange, connecting included.
            scripts: Given to Redis with each new connection, since a server that was restarted has forgotten them.
        """
        self._scripts = scripts
        self._connect = connect
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._calls: deque[_Call] = deque()
        self._news = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    async def call(self, *command: Argument) -> Any:  # noqa: ANN401 - what Redis answers
        """Send one command and return its answer.

        Raises:
            StoreUnavailable: no answer, or an answer that refuses for a reason that may pass.
        """
        [reply] = await self.calls([command])
        return reply

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go (not atomically) and return their answers.

        Raises:
            StoreUnavailable: no answer, or one of them was refused.
        """
        replies = await self._exchanged(commands)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise refused(reply)
        return replies

    async def run(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:  # noqa: ANN401
        """Run a script and return its answer.

        Raises:
            StoreUnavailable: as ``call``; a script that was refused wrote nothing.
        """
        rest = (len(keys), *keys, *args)
        [reply] = await self._exchanged([("EVALSHA", script.sha1, *rest)])
        if isinstance(reply, NoScriptError):  # somebody emptied its cache; nothing was run
            return await self.call("EVAL", script.source, *rest)
        if isinstance(reply, RedisError):
            raise refused(reply)
        return reply

    async def close(self) -> None:
        """Answer what was called already, then disconnect."""
        self._closing = True
        self._news.set()
        await self._task

    async def _exchanged(self, commands: Sequence[Command]) -> list[Any]:
        if self._closing:
            raise StoreUnavailable(CLOSED)
        call = _Call(commands, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._news.set()
        return await call.future

    async def _run(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._calls:
                    await self._exchange(self._take())
                if self._closing:
                    return
        finally:
            await self._disconnect(wait=True)
            for call in self._calls:
                _fail(call, StoreUnavailable(CLOSED))

    def _take(self) -> list[_Call]:
        calls = [self._calls.popleft()]
        commands = len(calls[0].commands)
        while self._calls and commands + len(self._calls[0].commands) <= MAX_BATCH:
            calls.append(self._calls.popleft())
            commands += len(calls[-1].commands)
        return calls

    async def _exchange(self, calls: Sequence[_Call]) -> None:
        done = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._ready()
                packed = connection.pack_commands([c for call in calls for c in call.commands])
                await connection.send_packed_command(packed, check_health=False)
                for call in calls:
                    replies = [await _read(connection) for _ in call.commands]
                    if not call.future.done():
                        call.future.set_result(replies)
                    done += 1
        except (RedisError, OSError, TimeoutError) as error:
            await self._disconnect()
            for call in calls[done:]:
                _fail(call, refused(error))
        except BaseException:
            for call in calls[done:]:
                _fail(call, StoreUnavailable(CLOSED))
            raise

    async def _ready(self) -> Connection:
        connection = self._connection
        if connection is not None and await _is_stale(connection):
            # A server that was restarted closed it: better to connect again than to fail with an unknown outcome.
            await self._disconnect()
            connection = None
        if connection is None:
            connection = self._connection = self._connect()
            await connection.connect()
            for script in self._scripts:
                await connection.send_command("SCRIPT", "LOAD", script.source, check_health=False)
            for _ in self._scripts:
                await connection.read_response(disable_decoding=True)
        return connection

    async def _disconnect(self, *, wait: bool = False) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await disconnect(connection, wait=wait)


class Script:
    """A Lua script of this package: its text, and the hash by which Redis knows it."""

    def __init__(self, name: str) -> None:
        """Load ``lua/<name>.lua``."""
        folder = resources.files("signalling.store") / "lua"
        self.source: Final = (folder / f"{name}.lua").read_text(encoding="utf-8")
        self.sha1: Final = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def refused(error: Exception) -> StoreUnavailable:
    """Translate redis-py's exceptions; of an error answer only its code (``OOM``, ``MISCONF``) goes along."""
    code = type(error).__name__
    if isinstance(error, ResponseError) and (words := str(error).split()) and words[0].isupper():
        code = words[0]
    unavailable = StoreUnavailable(f"Redis can't be reached or refused: {code}")
    unavailable.__cause__ = error
    return unavailable


async def disconnect(connection: Connection, *, wait: bool = False) -> None:
    """Close a connection, whatever state it is in; wait for the transport to end only in an orderly shutdown."""
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=not wait)


async def _is_stale(connection: Connection) -> bool:
    try:
        return (
            await connection.can_read()
        )  # nothing is owed to us: so it is the end of the connection
    except (RedisError, OSError):
        return True


async def _read(connection: Connection) -> Any:  # noqa: ANN401
    """Read one answer; an error answer is returned, since those behind it must be read as well."""
    try:
        # The exchange has its own time-out: redis-py's would cost a timer per answer.
        return await connection.read_response(disable_decoding=True, timeout=math.inf)
    except ResponseError as error:
        return error


def _fail(call: _Call, error: StoreUnavailable) -> None:
    if not call.future.done():
        call.future.set_exception(error)
