# SPDX-License-Identifier: Apache-2.0
"""A signalling node as a relay sees one: takes its connection, reads its messages as strictly as ours, says what a test says."""

from __future__ import annotations

import asyncio
import time
from typing import Self, TypeVar

from aiohttp import WSMsgType, web

from signalling.wire import codec
from signalling.wire.base import FromServer
from signalling.wire.ids import ConnectionId, ConsultId, LegId, ParticipantId
from signalling.wire.legs import (
    CloseLeg,
    Forwarding,
    LegAnswer,
    LegSeated,
    LegsMinted,
    LegsSeated,
    LegState,
    LimitLeg,
    MintedLeg,
    RelayAnswer,
    RelayStatus,
    Seat,
)
from signalling.wire.messages import ClientMessage, Hello, Welcome
from tests.support.until import until

M = TypeVar("M")


class FakeNode:
    """Listens on a port of 127.0.0.1; may go away and come back on the same one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.heard: list[ClientMessage] = []
        """All messages, of all connections."""
        self.hellos: list[Hello] = []
        self.refuses: FromServer | None = None
        """What to answer hellos with instead of a welcome."""
        self.pool: dict[str, MintedLeg] = {}
        self._sockets: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self._runner: web.AppRunner | None = None
        self._last_id = 0

    @property
    def url(self) -> str:
        """What a relay is told to dial."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def connected(self) -> bool:
        """Whether a relay is there."""
        return bool(self._sockets)

    async def open(self) -> Self:
        """Listen."""
        app = web.Application()
        app.add_routes([web.get("/ws", self._serve)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def close(self) -> None:
        """Go away without a word."""
        await self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        """Listen."""
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        """Go away."""
        await self.close()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._last_id = 0
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    await self._hear(request, socket, frame.data)
        finally:
            self._sockets.pop(socket, None)
        return socket

    async def _hear(self, request: web.Request, socket: web.WebSocketResponse, text: str) -> None:
        message = codec.decode(text.encode())
        assert message.id > self._last_id, "ids must rise"
        self._last_id = message.id
        if isinstance(message, Hello):
            self.hellos.append(message)
            if self.refuses is not None:
                await socket.send_str(codec.encode(self.refuses).decode())
                await socket.close()
                return
            welcome = Welcome(
                re=message.id,
                protocol=1,
                now=time.time(),
                role="relay",
                participant=ParticipantId(f"r_{message.instance}"),
                connection=ConnectionId("c"),
                heartbeat_s=15.0,
            )
            self.pool.clear()
            await socket.send_str(codec.encode(welcome).decode())
            assert request.transport is not None
            self._sockets[socket] = request.transport
        self.heard.append(message)
        if isinstance(message, LegsMinted):
            self.pool |= {each.leg: each for each in message.legs}

    async def say(self, message: FromServer) -> None:
        """Say something to every relay."""
        await self.say_text(codec.encode(message).decode())

    async def say_text(self, text: str) -> None:
        """Say anything at all."""
        for socket in list(self._sockets):
            await socket.send_str(text)

    async def seat(
        self, consult: str, participant: str, role: str, instance: str = "page-instance"
    ) -> MintedLeg:
        """Hand a minted leg out; return it."""
        await until(lambda: self.pool)
        minted = self.pool.pop(next(iter(self.pool)))
        await self.say(LegSeated(Seat(minted.leg, consult, participant, instance, role)))
        return minted

    async def answer(self, leg: str, answer: LegAnswer) -> None:
        """Hand on what a leg's browser answered."""
        await self.say(RelayAnswer(LegId(leg), answer))

    async def forward(self, consult: str, *between: str) -> None:
        """Ask to forward; without participants, to stop."""
        people = [ParticipantId(each) for each in between]
        await self.say(Forwarding(ConsultId(consult), people))

    async def close_leg(self, leg: str) -> None:
        """Ask to close a leg."""
        await self.say(CloseLeg(LegId(leg)))

    def of(self, kind: type[M]) -> list[M]:
        """Return what was heard of a kind."""
        return [each for each in self.heard if isinstance(each, kind)]

    def states(self, leg: str) -> list[str]:
        """Return what was heard of a leg."""
        return [each.state for each in self.of(LegState) if each.leg == leg]

    @property
    def status(self) -> RelayStatus:
        """The newest status."""
        return self.of(RelayStatus)[-1]

    @property
    def seated(self) -> LegsSeated:
        """The newest census."""
        return self.of(LegsSeated)[-1]

    def limits(self, leg: str) -> list[LimitLeg]:
        """Return the limits of a leg."""
        return [each for each in self.of(LimitLeg) if each.leg == leg]

    async def cut(self) -> None:
        """Cut all connections without a word, and listen on."""
        for transport in self._sockets.values():
            transport.abort()
        await until(lambda: not self._sockets)
