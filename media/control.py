# SPDX-License-Identifier: Apache-2.0
"""The relay's connection to a signalling node: dials, says hello, keeps dialling for ever.

What the relay forwards does not depend on it. A message that can't be read is counted and passed over: a newer node may say
what this relay does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import SHUT_RDWR
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import msgspec

from media.outbox import Outbox, OutboxFull
from signalling.wire.base import FromClient
from signalling.wire.legs import (
    CarriedBeside,
    CloseLeg,
    Forwarding,
    LegBraked,
    LegKnown,
    LegSeated,
    RelayAnswer,
    Wished,
)
from signalling.wire.messages import MAX_MESSAGE_BYTES, PROTOCOL_VERSIONS, Error, Hello, Ok, Welcome

_log = logging.getLogger(__name__)

PAUSE_MIN_S = 0.2
PAUSE_SOON_S = 1.5
PAUSE_MAX_S = 5.0
"""Between two attempts; doubled each time, the actual pause is drawn between half of it and all of it."""
SOON_S = 60.0
"""So long after the start or a loss the longest pause is ``PAUSE_SOON_S``: a node restarts in seconds, and gives its pages other
legs when the relay is not back 5 s later."""
STEADY_S = 5.0
"""A connection that held for so long was a good one: the next attempt is soon."""
WELCOME_S = 10.0
"""To connect and to be welcomed: TCP, TLS, upgrade and hello are four round trips, 3.2 s on the worst satellite link."""
WRITING_MAX = 1_024
"""Messages that a slow connection has not taken yet."""
HEARTBEAT_S = 3.0
"""Between pings; half of it later the node counts as gone. A node that takes 4.5 s for a pong is of no use for a call."""

_HELLO_ID = 1

Order: TypeAlias = (
    LegSeated | LegKnown | RelayAnswer | Forwarding | CloseLeg | LegBraked | Wished | CarriedBeside
)
"""What a node asks of a relay."""

_Said: TypeAlias = Order | Welcome | Ok | Error
_decode: Callable[[str], _Said] = msgspec.json.Decoder(_Said).decode


class TokenUnusable(Exception):
    """The token's file can't be read or holds none; it is looked at again before each attempt."""


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Whom to dial, and who we are."""

    server: str
    """``wss://name[:port]`` (or ``ws://``, for a machine's own); ``/ws`` is added."""
    token_file: Path
    """Read anew before each attempt, so that it can be renewed."""
    instance: str
    """Of this process."""
    certificate: Path | None = None
    """PEM certificate that the server must have, whatever its name; None = one from a known authority for its name."""
    origin: str | None = None
    """What the server calls itself (RFC 6454); None = as it is dialled."""

    @property
    def url(self) -> str:
        """Where the WebSocket is."""
        return self.server.rstrip("/") + "/ws"


class Owner(Protocol):
    """Who acts on what the node says."""

    def welcomed(self) -> None:
        """A connection stands: tell the node what there is."""

    def ordered(self, order: Order) -> None:
        """Do what the node says; never raises for what it says."""

    def lost(self) -> None:
        """The connection is gone."""


class Control:
    """One connection at a time, made again for ever."""

    def __init__(
        self, settings: ControlSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.connected = False
        self.connections = 0
        """Made since the start."""
        self.unreadable = 0
        """Messages that were passed over."""
        self.refusals = 0
        """Error messages of the node."""
        self._clock = clock
        self._lost_at = clock()
        self._outbox: Outbox | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._pump: asyncio.TimerHandle | None = None
        self._said: str | None = None

    def tell(self, message: FromClient) -> None:
        """Say something to the node; without a connection nothing happens (the next one begins with all there is)."""
        outbox = self._outbox
        if outbox is None:
            return
        try:
            outbox.put(message, self._clock())
        except (OutboxFull, asyncio.QueueFull):
            self._cut()
        else:
            self._arm(outbox)

    async def run(self, owner: Owner) -> None:
        """Dial, listen, dial again. Ends only by being cancelled."""
        pause_s = PAUSE_MIN_S
        async with aiohttp.ClientSession() as session:
            while True:
                began_at = self._clock()
                try:
                    await self._connection(session, owner)
                except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as error:
                    self._say_once(type(error).__name__)
                except TokenUnusable as error:
                    self._say_once(str(error))
                if self._clock() - began_at >= STEADY_S:
                    pause_s = PAUSE_MIN_S
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 no secret
                soon = self._clock() - self._lost_at < SOON_S
                pause_s = min(PAUSE_SOON_S if soon else PAUSE_MAX_S, pause_s * 2)

    async def _connection(self, session: aiohttp.ClientSession, owner: Owner) -> None:
        token = read_token(self.settings.token_file)
        async with asyncio.timeout(WELCOME_S):
            socket = await session.ws_connect(
                self.settings.url,
                headers={"Origin": self.settings.origin or origin_of(self.settings.server)},
                ssl=_trust(self.settings.certificate),
                heartbeat=HEARTBEAT_S,
                max_msg_size=MAX_MESSAGE_BYTES * 2,
                compress=0,
            )
        writer: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(WELCOME_S):
                welcomed = await self._hello(socket, token)
            if welcomed:
                queue: asyncio.Queue[bytes] = asyncio.Queue(WRITING_MAX)
                writer = asyncio.get_running_loop().create_task(_write(socket, queue))
                self._socket = socket
                self._outbox = Outbox(queue.put_nowait, _HELLO_ID + 1, self._clock())
                self._begin(owner)
                await self._listen(socket, owner)
        finally:
            if writer is not None:
                writer.cancel()
            await self._end(socket, owner)

    async def _hello(self, socket: aiohttp.ClientWebSocketResponse, token: str) -> bool:
        """Say hello; return whether the node wants us."""
        hello = Hello(
            id=_HELLO_ID,
            protocols=list(PROTOCOL_VERSIONS),
            token=token,
            instance=self.settings.instance,
        )
        await socket.send_str(msgspec.json.encode(hello).decode())
        async for frame in socket:
            message = self._read(frame)
            if isinstance(message, Welcome):
                return True
            if isinstance(message, Error):
                self._say_once(f"refused: {message.code}")
                return False
        self._say_once(f"closed with {socket.close_code}")
        return False

    def _begin(self, owner: Owner) -> None:
        self.connected = True
        self.connections += 1
        self._said = None
        _log.info("control_connected", extra={"connections": self.connections})
        owner.welcomed()

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, owner: Owner) -> None:
        async for frame in socket:
            message = self._read(frame)
            if isinstance(message, Error):
                self.refusals += 1
                _log.warning("control_refused", extra={"code": message.code})
            elif message is not None and not isinstance(message, Welcome | Ok):
                owner.ordered(message)

    def _read(self, frame: aiohttp.WSMessage) -> _Said | None:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            return None
        try:
            return _decode(frame.data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self.unreadable += 1
            return None

    async def _end(self, socket: aiohttp.ClientWebSocketResponse, owner: Owner) -> None:
        self._outbox = self._socket = None
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        was_connected, self.connected = self.connected, False
        if was_connected:
            self._lost_at = self._clock()
            _log.warning("control_lost", extra={"close_code": socket.close_code})
            owner.lost()
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(1.0):
                await socket.close()

    def _arm(self, outbox: Outbox) -> None:
        if self._pump is None and (after_s := outbox.pump(self._clock())) is not None:
            self._pump = asyncio.get_running_loop().call_later(after_s, self._pumped)

    def _pumped(self) -> None:
        self._pump = None
        if self._outbox is not None:
            try:
                self._arm(self._outbox)
            except asyncio.QueueFull:
                self._cut()

    def _cut(self) -> None:
        """Give a connection up that does not take what is sent; ``run`` makes another."""
        socket, self._outbox = self._socket, None
        if socket is not None and (transport := socket.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):
                transport.shutdown(SHUT_RDWR)

    def _say_once(self, why: str) -> None:
        """Log a reason when it is another than last time: a server that is away for a night is one line."""
        if why != self._said:
            self._said = why
            _log.warning("control_unreachable", extra={"why": why})


async def _write(socket: aiohttp.ClientWebSocketResponse, queue: asyncio.Queue[bytes]) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
        while True:
            await socket.send_str((await queue.get()).decode())


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        TokenUnusable: it can't be read, or holds none.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnusable(f"token file: {type(error).__name__}") from None
    if not 16 <= len(token) <= 2_048:
        raise TokenUnusable("token file: no token in it")
    return token


def origin_of(server: str) -> str:
    """Return a server's origin: ``wss://name:port`` is ``https://name:port``."""
    parts = urlsplit(server)
    return f"{'http' if parts.scheme == 'ws' else 'https'}://{parts.netloc}"


def _trust(certificate: Path | None) -> ssl.SSLContext | bool:
    """Return how the server proves who it is; a given certificate is read anew, since it may have been renewed.

    Raises:
        OSError, ssl.SSLError: the file can't be read.
    """
    if certificate is None:
        return True
    context = ssl.create_default_context(cafile=str(certificate))
    # The very certificate is what is trusted: its issuer need not be known, and its names may be others than the dialled.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
