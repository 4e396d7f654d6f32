# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client that can break every rule of RFC 6455."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
DEADLINE_S = 5.0


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """Return a frame as a client sends it, or as it must not."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    if not masked:
        return head + payload
    key = os.urandom(4)
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + key + body.to_bytes(len(payload), "big")


@dataclass(slots=True)
class RawSocket:
    """An upgraded connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: bytes
    """The head of the server's answer to the upgrade."""

    @classmethod
    async def connect(cls, port: int, path: str = "/ws", **headers: str) -> RawSocket:
        """Connect and upgrade."""
        # A small window of what may wait unread, so that a test needs no megabytes to be a slow reader.
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return cls(reader, writer, answer)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def read(self) -> tuple[int, bytes]:
        """Return the next frame: opcode and payload. Raises IncompleteReadError at the end."""
        async with asyncio.timeout(DEADLINE_S):
            first, length = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "reserved bits from the server"
            assert first & 0x80, "a fragment from the server"
            assert not length & 0x80, "a masked frame from the server"
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def close_code(self) -> int:
        """Read up to the close frame; return its code."""
        while True:
            opcode, payload = await self.read()
            if opcode == CLOSE:
                return int(struct.unpack("!H", payload[:2])[0]) if payload else 1005

    async def ended(self) -> bool:
        """Return whether the connection was ended by the server, before the deadline."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while await self.reader.read(65_536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    async def close(self) -> None:
        """Let go of the connection."""
        self.writer.transport.abort()
        await asyncio.sleep(0)
