# SPDX-License-Identifier: Apache-2.0
"""One WebSocket: frames in, frames out, nothing else.

Two things differ from aiohttp's usual way, both for speed and both measured (forwarded messages per CPU-second):

* A message is handled where the frame parser completes it, in the same callback that read it from the transport, not by
  a task that waits on a queue (78,100 → 120,900). ``_Sink`` stands in for aiohttp's queue.
* A frame is written to the transport at once. The bounded queue of what a slow reader has not taken yet is the
  transport's own buffer, measured at each write (at ``max_buffered_bytes`` the reader is cut off) and at each sweep.

``tests/integration/test_socket.py`` holds aiohttp to the few private names used here.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Final

from aiohttp import WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp._websocket.writer import WebSocketWriter
from typing_extensions import override

from signalling.wire.codes import CODES, Code
from signalling.wire.messages import MAX_MESSAGE_BYTES

_TEXT: Final = 0x81
_BINARY: Final = 0x82
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_GOING_AWAY: Final = 1001
_CLOSE_WAIT_S: Final = 2.0
"""How long a closing socket may take to flush its close frame; then it is aborted (``ws.close`` can hang for ever)."""
_MEDIUM: Final = struct.Struct("!BBH").pack
_PARSER_LIMIT: Final = 2**16
_PARSER_MAX_BYTES: Final = MAX_MESSAGE_BYTES + 1
"""aiohttp refuses a message that reaches its limit; ours may be reached."""


def _frame(first: int, payload: bytes) -> bytes:
    """Return an unmasked, unfragmented frame (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return _MEDIUM(first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload


class _Sink(WebSocketDataQueue):
    """Takes the place of the queue between aiohttp's parser and a reader task."""

    socket: Socket

    @override
    def feed_data(self, data: tuple[WSMsgType, object, object], size: int) -> None:
        """Handle a complete message now."""
        self.socket._received(data[0], data[1])  # noqa: SLF001 - two halves of one thing

    @override
    def feed_eof(self) -> None:
        """End: the transport is gone."""
        super().feed_eof()
        self.socket._lost()  # noqa: SLF001

    @override
    def set_exception(self, exc: BaseException, *_: object) -> None:
        """End: the peer broke RFC 6455 (too large, bad UTF-8, unmasked …) or the transport failed."""
        super().set_exception(exc)
        self.socket._broken(exc)  # noqa: SLF001


class _Upgrade(web.WebSocketResponse):
    """aiohttp's handshake and frame parser, with our sink behind it."""

    sink: _Sink

    @override
    def _post_start(
        self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter
    ) -> None:
        self._ws_protocol = protocol
        self._writer = writer
        # The response owns the parser: aiohttp keeps it by weak reference only.
        self._parser = WebSocketReader(
            self.sink, _PARSER_MAX_BYTES, compress=False, decode_text=False
        )
        request.protocol.set_parser(self._parser)
        request.protocol.keep_alive(False)

    def over(self) -> None:
        """End the request without a close handshake of aiohttp's own."""
        self._parser = None
        self._set_closed()


class Socket:
    """A server-side WebSocket without compression (permessage-deflate costs 60 % of the rate and 91 KB each)."""

    __slots__ = (
        "_closed",
        "_code",
        "_max_buffered_bytes",
        "_soon",
        "_transport",
        "_ws",
        "heard",
        "on_bytes",
        "on_ping",
        "on_text",
        "over_since",
        "silent_beats",
    )

    def __init__(
        self,
        on_text: Callable[[bytes], None],
        on_ping: Callable[[], None] = lambda: None,
        max_buffered_bytes: int = 2**20,
        on_bytes: Callable[[bytes], None] | None = None,
    ) -> None:
        """Call ``on_text`` with each text message's bytes, ``on_ping`` for each ping; neither may block or raise.

        So with ``on_bytes`` for binary messages; without it they end the connection.
        """
        self.on_text = on_text
        self.on_bytes = on_bytes
        self.on_ping = on_ping
        self._max_buffered_bytes = max_buffered_bytes
        self._ws = _Upgrade(compress=False, max_msg_size=_PARSER_MAX_BYTES)
        self._transport: asyncio.Transport | None = None
        self._soon: list[bytes] = []
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._code: int | None = None
        self.heard = True
        """Whether anything arrived since the last sweep set this to False."""
        self.silent_beats = 0
        """Sweeps in a row that heard nothing."""
        self.over_since: float | None = None
        """Since when (loop time) the reader is behind, as the last sweep saw it."""

    async def run(self, request: web.Request) -> web.WebSocketResponse:
        """Answer the upgrade and stay until the socket is closed.

        Raises:
            aiohttp.web.HTTPException: the request is no WebSocket upgrade.
        """
        sink = _Sink(request.protocol, _PARSER_LIMIT, loop=asyncio.get_running_loop())
        sink.socket = self
        self._ws.sink = sink
        self._transport = request.transport
        await self._ws.prepare(request)
        try:
            await self._closed
        finally:
            self._detach()
        return self._ws

    def _detach(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None and not transport.is_closing():
            transport.abort() if transport.get_write_buffer_size() else transport.close()
        self._ws.over()

    # -- out ---------------------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None and self._code is None and not self._closed.done()

    @property
    def close_code(self) -> int | None:
        """The code that this side closed with."""
        return self._code

    @property
    def buffered_bytes(self) -> int:
        """What the peer has not taken yet."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return 0
        return transport.get_write_buffer_size() + sum(map(len, self._soon))

    def send(self, payload: bytes) -> None:
        """Send one text message; nothing happens on a closed socket, and one that takes nothing is closed."""
        self._write(_frame(_TEXT, payload))

    def send_soon(self, payload: bytes) -> None:
        """Send one text message together with all else that is sent in this turn of the event loop.

        An answer, the lines of the timeline and a view that come of one step are one write, and one packet on a thin
        link, instead of four. ``send`` doesn't overtake them.
        """
        if not self._soon:
            asyncio.get_running_loop().call_soon(self._flush)
        self._soon.append(_frame(_TEXT, payload))

    def send_bytes(self, payload: bytes) -> None:
        """Send one binary message, after what ``send_soon`` holds."""
        self._write(_frame(_BINARY, payload))

    def _flush(self) -> None:
        if self._soon:
            self._write(b"")

    def _write(self, frame: bytes) -> None:
        if self._soon:
            frame = b"".join((*self._soon, frame))
            self._soon.clear()
        transport = self._transport
        # uvloop's transport raises once it is closed, and whoever sends to this peer must not pay for that.
        if transport is None or self._code is not None or transport.is_closing():
            return
        transport.write(frame)
        if transport.get_write_buffer_size() > self._max_buffered_bytes:
            self.close(Code.SLOW_READER)

    def ping(self) -> None:
        """Send a ping (RFC 6455 §5.5.2); browsers answer by themselves."""
        self._write(_frame(_PING, b""))

    def close(self, code: Code) -> None:
        """Close with the code's close code; a peer that doesn't take the close frame is cut off."""
        self._close(CODES[code].close or _GOING_AWAY, code.value)

    def cut(self) -> None:
        """End without a close frame: nobody is there to read one."""
        self._code = self._code or 1006
        self._lost()

    def _close(self, close_code: int, reason: str) -> None:
        self._flush()
        if self._code is not None:
            return
        transport = self._transport
        self._code = close_code
        if transport is None or transport.is_closing():
            self._lost()
            return
        transport.write(_frame(_CLOSE, struct.pack("!H", close_code) + reason.encode()))
        asyncio.get_running_loop().call_later(_CLOSE_WAIT_S, self._lost)

    # -- in ----------------------------------------------------------------------------------------------------------

    def _received(self, kind: WSMsgType, data: object) -> None:
        self.heard = True
        if self._code is not None and kind is not WSMsgType.CLOSE:
            return
        if kind is WSMsgType.TEXT:
            self.on_text(data)  # type: ignore[arg-type]
            return
        match kind:
            case WSMsgType.PING:
                self.on_ping()
                self._write(_frame(_PONG, bytes(data)))  # type: ignore[call-overload]
            case WSMsgType.CLOSE:
                if self._code is None:
                    self._close(1000, "")
                self._lost()
            case WSMsgType.BINARY if self.on_bytes is not None:
                self.on_bytes(bytes(data))  # type: ignore[call-overload]
            case WSMsgType.BINARY:
                self.close(Code.BINARY_UNSUPPORTED)
            case _:
                pass

    def _broken(self, exc: BaseException) -> None:
        code = getattr(exc, "code", None)
        if code == 1009:
            self.close(Code.TOO_LARGE)
        elif isinstance(code, int):
            self._close(code, "")
        else:
            self._lost()

    def _lost(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
