# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a connection, and the bound that it is given."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from signalling.core.pacing import UNKNOWN_BPS
from signalling.edge.paced import SO_MAX_PACING_RATE, Pacer, path_of


def info(
    *, least_round_trip_us: int, arrived: int, flying: int = 0, repeated: int = 0, rate: int = 1_108
) -> bytes:
    """Lay a ``tcp_info`` out as Linux does."""
    laid = bytearray(200)
    for at, value in (
        (16, 524),
        (24, flying),
        (100, repeated),
        (148, least_round_trip_us),
        (192, arrived),
    ):
        struct.pack_into("=I", laid, at, value)
    struct.pack_into("=Q", laid, 120, 822)
    struct.pack_into("=Q", laid, 160, rate)
    return bytes(laid)


class Connection(asyncio.Transport):
    """A transport and its socket, far away."""

    def __init__(self, *infos: bytes) -> None:
        super().__init__()
        self._infos = list(infos)
        self.bounds: list[int] = []
        self.closed = False
        self.let_go = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def is_closing(self) -> bool:
        return self.closed

    def getsockopt(self, _level: int, _option: int, _size: int) -> bytes:
        if len(self._infos) == 1:
            self.closed = True
        return self._infos.pop(0) if len(self._infos) > 1 else self._infos[0]

    def setsockopt(self, _level: int, option: int, value: int) -> None:
        assert option == SO_MAX_PACING_RATE
        self.bounds.append(value)
        if len(self.bounds) > 1:
            self.let_go.set()


async def test_the_kernel_is_understood() -> None:
    """A real connection: what was sent has arrived, in segments of that size, a short way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1_000)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.readexactly(1_000)
        writer.write(b"y" * 3_000)
        sock = writer.get_extra_info("socket")
        async with asyncio.timeout(5):
            while True:
                path = path_of(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 200))
                if path.acknowledged_bytes >= 3_000:
                    break
                await asyncio.sleep(0.01)
        assert 0 < path.least_round_trip_s < 0.05
        assert 500 <= path.segment_bytes <= 65_536
        assert path.arrived_segments >= 1
        assert path.flying_segments == path.waiting_bytes == path.repeated_segments == 0
        assert path.delivery_bps > 0
        assert Pacer().watch(writer.transport) is None
        writer.close()
        await writer.wait_closed()
    await server.wait_closed()


def test_an_older_kernel_says_less() -> None:
    """Then nothing is bounded."""
    with pytest.raises(struct.error):
        path_of(bytes(104))


async def test_a_thin_link_is_bounded_once_and_let_go_in_the_end() -> None:
    """600 ms and 24 kbit/s by its handshake: bounded before the first response, with the kernel's own limits after the last."""
    handshake = info(least_round_trip_us=638_000, arrived=3)
    connection = Connection(handshake, handshake, handshake)
    pacer = Pacer()
    bps = pacer.watch(connection)
    assert bps is not None
    assert 24_000 <= bps <= 40_000
    assert connection.bounds == [int(bps / 8)]
    assert pacer.watch(connection) is None
    async with asyncio.timeout(5):
        await connection.let_go.wait()
    assert connection.bounds[-1] == 125_000_000


async def test_what_is_no_tcp_is_left_alone() -> None:
    """An end of a socket pair, and no connection at all."""
    pacer = Pacer()
    assert pacer.watch(None) is None
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)
        assert pacer.watch(writer.transport) is None
        writer.close()
        await writer.wait_closed()


async def test_a_handshake_that_lost_something_is_no_measurement() -> None:
    """A moderate bound, until the link has said what it carries."""
    connection = Connection(info(least_round_trip_us=600_000, arrived=3, repeated=1))
    assert Pacer().watch(connection) == UNKNOWN_BPS


class _Unreferenced:
    """As uvloop's transports of TLS are: without room for a weak reference."""

    __slots__ = ("closing",)

    def __init__(self) -> None:
        self.closing = False

    def get_extra_info(self, _name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closing


def test_connections_that_cannot_be_referenced_weakly_are_known_until_they_close() -> None:
    """A page over TLS on uvloop is served; those that are closed are forgotten once there are many."""
    pacer = Pacer()
    for _ in range(1_000):
        transport = _Unreferenced()
        assert pacer.watch(transport) is None  # type: ignore[arg-type] # as much of one as is needed
        transport.closing = True
    assert len(pacer._known) <= 257
