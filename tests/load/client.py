# SPDX-License-Identifier: Apache-2.0
"""The load's WebSocket clients: as little work per message as Python allows.

A client frame must be masked (RFC 6455 §5.3), and masking 3 KB in Python costs more than all the rest. So frames are
masked once, with one key, and only the request's id is put in at each sending (``Template``). The key is not zero: a
server may skip the unmasking of those, and both servers are to do the work that browsers make them do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from typing_extensions import override

MASK = b"\x37\xfa\x21\x3d"
FIRST_ID = 1_000_000_000
"""Ids of ten digits from here: frames of one kind then have one length, and the digits one place."""
DIGITS = 10
CONNECT_S = 60.0
CONNECTING = 64
"""Connections that are opened at a time: below every listen queue."""


def masked(payload: bytes, offset: int = 0) -> bytes:
    """Return a piece of a payload as it is on the wire when it begins at ``offset``."""
    shift = offset % 4
    key = (MASK[shift:] + MASK[:shift]) * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")


def header(length: int, opcode: int = 1) -> bytes:
    """Return the head of a masked, final frame (RFC 6455 §5.2), the masking key included."""
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length)) + MASK
    return struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length) + MASK


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """Return a whole frame."""
    return header(len(payload), opcode) + masked(payload)


@dataclass(frozen=True, slots=True)
class Template:
    """A message whose request id is filled in at each sending."""

    head: bytes
    tail: bytes
    shift: int

    @classmethod
    def of(cls, kind: str, rest: dict[str, Any]) -> Template:
        """Return the template of ``{"type": kind, "id": …, **rest}``."""
        before = f'{{"type":"{kind}","id":'.encode()
        after = b"," + json.dumps(rest, separators=(",", ":")).encode()[1:]
        at = len(before) + DIGITS
        return cls(header(at + len(after)) + masked(before), masked(after, at), len(before))

    def frame(self, request_id: int) -> bytes:
        """Return the frame with this id."""
        digits = int.from_bytes(b"%d" % request_id, "big") ^ _DIGIT_MASKS[self.shift % 4]
        return self.head + digits.to_bytes(DIGITS, "big") + self.tail


_DIGIT_MASKS = [int.from_bytes(masked(bytes(DIGITS), shift), "big") for shift in range(4)]


class Client(asyncio.Protocol):
    """One WebSocket. It trusts the server's framing; pings are answered, a close is remembered."""

    __slots__ = ("_host", "_open", "_path", "_rest", "closed", "on_message", "ready", "transport")

    def __init__(self, host: str, path: str, on_message: Callable[[bytes], None]) -> None:
        self._host, self._path = host, path
        self.on_message = on_message
        self._rest = b""
        self._open = False
        self.transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: int | None = None
        """The server's close code, 1006 if the connection just went."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade, as a page of the server's own origin."""
        self.transport = transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        scheme = "https" if transport.get_extra_info("ssl_object") else "http"
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nOrigin: {scheme}://{self._host}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
        )

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Remember it."""
        self.closed = self.closed or 1006
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed before the upgrade"))

    @override
    def data_received(self, data: bytes) -> None:
        """Hand on each whole message."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self._open:
            head, end_of_head, data = data.partition(b"\r\n\r\n")
            if not end_of_head:
                self._rest = head
                return
            self._upgraded(head)
        at, end = 0, len(data)
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start + length > end:
                break
            opcode, at = data[at], start + length
            if opcode == 0x81:
                self.on_message(data[start:at])
            else:
                self._control(opcode, data[start:at])
        if at < end:
            self._rest = data[at:]

    def _upgraded(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101 "):
            self.ready.set_exception(ConnectionError(head.partition(b"\r\n")[0].decode()))
            self.close()
            return
        assert b"permessage-deflate" not in head.lower(), "frames would be compressed"
        self._open = True
        self.ready.set_result(None)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == 0x89:
            self.write(frame(payload, 0xA))
        elif opcode == 0x88:
            self.closed = int.from_bytes(payload[:2], "big") or 1005
            self.close()

    def write(self, data: bytes) -> None:
        """Send a frame."""
        if self.transport is not None:
            self.transport.write(data)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message that is not worth a template."""
        self.write(frame(json.dumps(message, separators=(",", ":")).encode()))

    def close(self) -> None:
        """Drop the connection, with a close frame."""
        if self.transport is not None:
            self.transport.write(frame(b"\x03\xe8", 8))
            self.transport.close()


_gate = asyncio.Semaphore(CONNECTING)


def ignore(_payload: bytes) -> None:
    """Take a message and do nothing."""


async def connect(
    port: int, path: str, on_message: Callable[[bytes], None] = ignore, *, tls: bool = False
) -> Client:
    """Open a WebSocket to a port of this machine; a server's first message may come with its 101.

    Raises:
        ConnectionError: the server refused the upgrade; the text is its status line.
    """
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    async with _gate, asyncio.timeout(CONNECT_S):
        _, client = await loop.create_connection(
            lambda: Client(f"127.0.0.1:{port}", path, on_message), "127.0.0.1", port, ssl=context
        )
        await client.ready
    return client
