# SPDX-License-Identifier: Apache-2.0
"""What ``signalling.edge.socket`` expects of aiohttp, byte by byte, and what peers may expect of it.

The class uses private names of aiohttp; whatever an upgrade of aiohttp changes there fails here first.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from signalling.edge.socket import Socket
from signalling.wire.codes import Code
from signalling.wire.messages import MAX_MESSAGE_BYTES
from tests.support.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawSocket,
    frame,
)
from tests.support.until import until


@dataclass
class Server:
    """An echo server of our sockets."""

    port: int = 0
    sockets: list[Socket] = field(default_factory=list)
    finished: int = 0
    received: list[bytes] = field(default_factory=list)

    async def handler(self, request: web.Request) -> web.StreamResponse:
        socket = Socket(self.received.append)
        socket.on_text = lambda data: self._echo(socket, data)
        self.sockets.append(socket)
        try:
            return await socket.run(request)
        finally:
            self.finished += 1

    def _echo(self, socket: Socket, data: bytes) -> None:
        self.received.append(data)
        socket.send(data)


@pytest.fixture
async def server(no_leaks: None) -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.add_routes([web.get("/ws", server.handler)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    for socket in server.sockets:
        socket.cut()
    await until(lambda: server.finished == len(server.sockets))
    await runner.cleanup()


@pytest.fixture
async def peer(server: Server) -> AsyncIterator[RawSocket]:
    peer = await RawSocket.connect(server.port)
    yield peer
    await peer.close()


async def over(server: Server) -> None:
    """Wait until the server has let go of every socket."""
    await until(lambda: server.finished == len(server.sockets))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, MAX_MESSAGE_BYTES])
async def test_text_of_every_length_form(server: Server, peer: RawSocket, size: int) -> None:
    """Texts in all three length encodings of RFC 6455 §5.2 arrive and are sent unchanged."""
    payload = bytes(b"abcdefghij"[i % 10] for i in range(size))
    peer.write(frame(TEXT, payload))
    assert await peer.read() == (TEXT, payload)
    assert server.received == [payload]


async def test_many_texts_in_one_segment(server: Server, peer: RawSocket) -> None:
    """Frames that arrive together are handled one by one, in order."""
    peer.write(b"".join(frame(TEXT, b"%d" % i) for i in range(500)))
    assert [(await peer.read())[1] for _ in range(500)] == [b"%d" % i for i in range(500)]


async def test_text_that_arrives_byte_by_byte(server: Server, peer: RawSocket) -> None:
    """A frame may be cut anywhere by the network."""
    for byte in frame(TEXT, b"x" * 130):
        peer.write(bytes((byte,)))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert await peer.read() == (TEXT, b"x" * 130)


async def test_fragments_are_joined_around_a_ping(server: Server, peer: RawSocket) -> None:
    """A fragmented message is one message; a control frame between its fragments is answered at once."""
    peer.write(frame(TEXT, b"one ", fin=False))
    peer.write(frame(CONTINUATION, b"two ", fin=False))
    peer.write(frame(PING, b"now"))
    assert await peer.read() == (PONG, b"now")
    peer.write(frame(CONTINUATION, b"three"))
    assert await peer.read() == (TEXT, b"one two three")
    assert server.received == [b"one two three"]


async def test_ping_is_answered_and_our_ping_is_heard(server: Server, peer: RawSocket) -> None:
    """A ping gets a pong with its payload; a pong to ours counts as a sign of life."""
    peer.write(frame(PING, b"p" * 125))
    assert await peer.read() == (PONG, b"p" * 125)
    (socket,) = server.sockets
    socket.heard = False
    socket.ping()
    assert await peer.read() == (PING, b"")
    peer.write(frame(PONG))
    await until(lambda: socket.heard)


async def test_peer_closes(server: Server, peer: RawSocket) -> None:
    """A close frame is answered, and the handler ends."""
    peer.write(frame(CLOSE, b"\x03\xe8"))
    assert await peer.close_code() == 1000
    assert await peer.ended()
    await over(server)


async def test_we_close_and_the_peer_answers(server: Server, peer: RawSocket) -> None:
    """Our close frame carries the code and its name; nothing that comes after it is handled; the answer ends it."""
    (socket,) = server.sockets
    socket.close(Code.DISPLACED)
    assert not socket.open
    opcode, payload = await peer.read()
    assert (opcode, payload) == (CLOSE, b"\x0f\xaa" + b"displaced")
    peer.write(frame(TEXT, b"too late"))
    peer.write(frame(CLOSE, payload))
    assert await peer.ended()
    await over(server)
    assert server.received == []
    assert socket.close_code == 4010


async def test_we_close_and_the_peer_does_not_answer(server: Server, peer: RawSocket) -> None:
    """A peer that ignores our close frame is cut off after two seconds."""
    (socket,) = server.sockets
    began = asyncio.get_running_loop().time()
    socket.close(Code.RESTARTING)
    assert await peer.close_code() == 4012
    assert await peer.ended()
    assert 1.0 < asyncio.get_running_loop().time() - began < 4.0
    await over(server)


async def test_binary_is_refused(server: Server, peer: RawSocket) -> None:
    """A binary message closes with 4003."""
    peer.write(frame(BINARY, b"\x00\x01"))
    assert await peer.close_code() == 4003
    assert server.received == []


@pytest.mark.parametrize("fragments", [1, 3])
async def test_too_large_is_refused(server: Server, peer: RawSocket, fragments: int) -> None:
    """A message above the limit closes with 4009, in one frame or in fragments, and is not handled."""
    part = b"x" * (MAX_MESSAGE_BYTES // fragments + 1)
    for i in range(fragments):
        peer.write(frame(TEXT if i == 0 else CONTINUATION, part, fin=i == fragments - 1))
    assert await peer.close_code() == 4009
    assert server.received == []


async def test_announced_size_is_enough_to_refuse(server: Server, peer: RawSocket) -> None:
    """A frame that only announces 2^62 bytes is refused before they come."""
    peer.write(b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask")
    assert await peer.close_code() == 4009


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rsv1, compression that was not agreed", frame(TEXT, b"x", rsv=4)),
        ("rsv2", frame(TEXT, b"x", rsv=2)),
        ("rsv3", frame(TEXT, b"x", rsv=1)),
        ("unknown opcode", frame(3, b"x")),
        ("unknown control opcode", frame(11, b"x")),
        ("fragmented ping", frame(PING, b"x", fin=False)),
        ("ping too long", frame(PING, b"x" * 126)),
        ("continuation of nothing", frame(CONTINUATION, b"x")),
        ("new message inside a fragmented one", frame(TEXT, b"x", fin=False) + frame(TEXT, b"y")),
        ("close code that nobody may send", frame(CLOSE, (1005).to_bytes(2, "big"))),
        ("close frame of one byte", frame(CLOSE, b"\x03")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the mask is random
)
async def test_broken_frames_end_the_connection(
    server: Server, peer: RawSocket, name: str, data: bytes
) -> None:
    """What RFC 6455 forbids closes with 1002 and is not handled."""
    peer.write(data)
    assert await peer.close_code() == 1002, name
    assert server.received == []
    await peer.close()
    await over(server)


async def test_unmasked_frames(server: Server, peer: RawSocket) -> None:
    """A client's frame must be masked (RFC 6455 §5.1), which aiohttp doesn't enforce: it is read as what it says."""
    peer.write(frame(TEXT, b"bare", masked=False))
    assert await peer.read() == (TEXT, b"bare")


async def test_compression_is_not_agreed(server: Server) -> None:
    """A client that offers permessage-deflate gets a socket without it."""
    offer = "permessage-deflate; client_max_window_bits"
    peer = await RawSocket.connect(server.port, Sec_WebSocket_Extensions=offer)
    assert b"sec-websocket-extensions" not in peer.answer.lower()
    peer.write(frame(TEXT, b"a" * 1_000))
    assert await peer.read() == (TEXT, b"a" * 1_000)
    await peer.close()


async def test_bad_utf8_in_a_close_reason(server: Server, peer: RawSocket) -> None:
    """A close reason that is no UTF-8 closes with 1007."""
    peer.write(frame(CLOSE, b"\x03\xe8\xff\xfe"))
    assert await peer.close_code() == 1007


async def test_text_is_handed_over_as_bytes(server: Server, peer: RawSocket) -> None:
    """UTF-8 is judged by whoever decodes the JSON, so bytes that are none arrive there as they are."""
    peer.write(frame(TEXT, b"\xff\xfe"))
    assert await peer.read() == (TEXT, b"\xff\xfe")


async def test_abort(server: Server, peer: RawSocket) -> None:
    """A connection that is reset ends the handler; sending to it afterwards does nothing."""
    (socket,) = server.sockets
    peer.writer.transport.abort()
    await over(server)
    assert not socket.open
    socket.send(b"nobody")
    socket.ping()
    socket.close(Code.RESTARTING)
    assert socket.buffered_bytes == 0


@pytest.mark.parametrize("way", ["abort", "close"])
async def test_transport_that_closed_a_moment_ago(
    server: Server, peer: RawSocket, way: str
) -> None:
    """Before the loss is known, sending does nothing: whoever sends must not fail because this peer is gone."""
    (socket,) = server.sockets
    assert socket._transport is not None
    getattr(socket._transport, way)()
    await asyncio.sleep(0)
    socket.send(b"nobody")
    socket.ping()
    assert socket.buffered_bytes == 0
    await over(server)


async def test_cut(server: Server, peer: RawSocket) -> None:
    """Cutting ends without a close frame."""
    (socket,) = server.sockets
    socket.cut()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await peer.read()
    await over(server)


async def test_a_reader_that_reads_nothing(server: Server, peer: RawSocket) -> None:
    """What waits for it can be seen, closing it needs no reading, and it is let go within seconds."""
    (socket,) = server.sockets
    peer.writer.transport.pause_reading()
    for _ in range(400):
        socket.send(b"x" * 60_000)
    assert socket.buffered_bytes > 1_000_000
    socket.close(Code.SLOW_READER)
    await until(lambda: server.finished == 1, 5.0)
    assert socket.buffered_bytes == 0


async def test_plain_request_is_no_upgrade(server: Server) -> None:
    """A request without the upgrade headers is answered with 400, and leaves nothing behind."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    await over(server)


async def test_a_finished_socket_is_forgotten(server: Server) -> None:
    """Nothing of a closed connection stays in memory."""
    peer = await RawSocket.connect(server.port)
    peer.write(frame(TEXT, b"x"))
    await peer.read()
    handlers = weakref.ref(server.sockets[0]._ws)
    peer.write(frame(CLOSE, b"\x03\xe8"))
    assert await peer.ended()
    await over(server)
    server.sockets.clear()
    server.finished = 0
    await peer.close()
    await until(lambda: (gc.collect(), handlers() is None)[1])
