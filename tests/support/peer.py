# SPDX-License-Identifier: Apache-2.0
"""A scripted client on the WebSocket: asks, remembers everything that came, waits for what must come."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

import aiohttp

DEADLINE_S = 10.0
Message = dict[str, Any]
SDP = "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


class Peer:
    """One participant's page. ``reconnect`` is the same page load after a lost socket."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, token: str, consult: str | None = None
    ) -> None:
        """``token`` is a session token; nothing is opened yet."""
        self.http = http
        self.url = url
        self.token = token
        self.consult = consult
        self.instance = "i" + secrets.token_hex(8)
        self.messages: list[Message] = []
        self.frames: list[bytes] = []
        """Binary frames, as they came."""
        self.account = ""
        self.resume = ""
        self.cookie = ""
        self.close_code: int | None = None
        self._id = 0
        self._came = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    # -- the socket --------------------------------------------------------------------------------------------------

    async def dial(self) -> None:
        """Open the socket, say nothing."""
        self._id = 0
        self.close_code = None
        self._socket = await self.http.ws_connect(
            self.url.replace("http", "ws", 1) + "/ws", headers={"Origin": self.url}, max_msg_size=0
        )
        self._reader = asyncio.create_task(self._read(self._socket))

    async def open(self, **hello: Any) -> Message:
        """Open the socket and say hello; return the welcome or the error."""
        await self.dial()
        return await self.hello(**hello)

    async def hello(self, **fields: Any) -> Message:
        """Say hello on an open socket."""
        given = {"protocols": [1], "token": self.token, "instance": self.instance, **fields}
        return await self.request("hello", **given)

    async def reconnect(self, **hello: Any) -> Message:
        """Come back as the same page load, with the cursor of what was seen."""
        await self.lose()
        given = {"consult": self.consult, "cursor": self.cursor} if self.consult else {}
        return await self.open(**{**given, **hello})

    def stop_reading(self) -> None:
        """Take nothing from the network any more, without telling anybody."""
        connection = None if self._socket is None else self._socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()

    def read_on(self) -> None:
        """Take again what the network has."""
        connection = None if self._socket is None else self._socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.resume_reading()

    def abort(self) -> None:
        """Reset the connection; what was under way is lost."""
        connection = None if self._socket is None else self._socket._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    async def lose(self) -> None:
        """Lose the socket without a close frame, as a phone in a lift does."""
        self.abort()
        await self._end()

    async def _end(self) -> None:
        if self._reader is not None and self._socket is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            await self._socket.close()

    async def close(self) -> None:
        """Close as a page does."""
        if self._socket is not None:
            await self._socket.close()
        await self._end()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.BINARY:
                self.frames.append(frame.data)
                self._came.set()
                continue
            self.messages.append(json.loads(frame.data))
            self._came.set()
        self.close_code = socket.close_code
        self._came.set()

    # -- talking -----------------------------------------------------------------------------------------------------

    async def send_text(self, text: str) -> None:
        """Send anything."""
        assert self._socket is not None
        await self._socket.send_str(text)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        assert self._socket is not None
        await self._socket.send_bytes(data)

    async def send(self, type_: str, **fields: Any) -> int:
        """Send a message; return its id."""
        self._id = max(self._id + 1, fields.get("id", 0))
        await self.send_text(json.dumps({"type": type_, "id": self._id, **fields}))
        return self._id

    async def request(self, type_: str, **fields: Any) -> Message:
        """Send a message; return the answer to it."""
        mark = len(self.messages)
        request_id = await self.send(type_, **fields)
        return await self.wait_for(lambda m: m.get("re") == request_id, after=mark)

    async def done(self, type_: str, **fields: Any) -> Message:
        """Send a message that must succeed."""
        answer = await self.request(type_, **fields)
        assert answer["type"] != "error", (type_, answer)
        return answer

    async def refused(self, type_: str, **fields: Any) -> str:
        """Send a message that must be refused; return the code."""
        answer = await self.request(type_, **fields)
        assert answer["type"] == "error", (type_, answer)
        code: str = answer["code"]
        return code

    async def chat(self, text: str, key: str | None = None) -> Message:
        """Say something in the consult."""
        return await self.done(
            "chat", consult=self.consult, key=key or secrets.token_hex(8), text=text
        )

    async def ping(self) -> float:
        """Ask whether the server is there; return after how many seconds it said so."""
        began = asyncio.get_running_loop().time()
        await self.done("ping")
        return asyncio.get_running_loop().time() - began

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def wait_for(
        self,
        condition: Callable[[Message], object],
        deadline_s: float = DEADLINE_S,
        after: int = 0,
    ) -> Message:
        """Return the first message from number ``after`` on that meets ``condition``; fail at the deadline."""
        seen = after
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    for message in self.messages[seen:]:
                        seen += 1
                        if condition(message):
                            return message
                    if self.close_code is not None:
                        break
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            pass
        tail = "\n".join(str(m)[:300] for m in self.messages[-6:])
        raise AssertionError(f"it did not come; closed: {self.close_code}; last came\n{tail}")

    async def wait_until(
        self, condition: Callable[[], object], deadline_s: float = DEADLINE_S
    ) -> None:
        """Return when ``condition`` holds for what came so far; fail at the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            tail = "\n".join(str(m)[:300] for m in self.messages[-6:])
            raise AssertionError(f"it did not come true; last came\n{tail}") from None

    async def until_state(self, *states: str, deadline_s: float = DEADLINE_S) -> Message:
        """Wait until the newest view of the consult is in one of these states; return it."""
        await self.wait_until(lambda: self.view.get("state") in states, deadline_s)
        return self.view

    async def until_desk(self, state: str, deadline_s: float = DEADLINE_S) -> Message:
        """Wait until the newest desk says this of the specialist."""
        await self.wait_until(lambda: self.desk.get("state") == state, deadline_s)
        return self.desk

    async def until_closed(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end of the socket; return the close code."""
        await self.wait_until(lambda: self.close_code is not None, deadline_s)
        assert self.close_code is not None
        return self.close_code

    # -- what came ---------------------------------------------------------------------------------------------------

    def of(self, type_: str) -> list[Message]:
        """Return all messages of a type."""
        return [m for m in self.messages if m["type"] == type_]

    @property
    def view(self) -> Message:
        """The newest view of the consult."""
        return (self.of("consult") or [{}])[-1]

    @property
    def desk(self) -> Message:
        """The newest desk."""
        return (self.of("desk") or [{}])[-1]

    @property
    def entries(self) -> list[Message]:
        """The lines of this peer's consult, as they came."""
        return [m for m in self.of("entry") if m["consult"] == self.consult]

    @property
    def cursor(self) -> int:
        """The newest line that came."""
        return max((e["cursor"] for e in self.entries), default=0)

    @property
    def said(self) -> list[str]:
        """The chat, as it came."""
        return [e["text"] for e in self.entries if e["kind"] == "chat"]
