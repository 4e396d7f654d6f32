# SPDX-License-Identifier: Apache-2.0
"""ICE-TCP, passive (RFC 6544), for networks that block UDP: RFC 4571 frames over connections that browsers open.

TCP delivers late what UDP would lose, so what waits is bounded in age: voice before picture, and what is older than a
listener would wait for is not sent at all. The kernel is told to hold little of its own (TCP_NOTSENT_LOWAT), or it would
hide seconds of picture in front of the voice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from media.relay.demux import LENGTH_MAX
from media.relay.drops import Drop, Drops
from media.relay.path import Transport, Weight
from media.relay.udp import bound

if TYPE_CHECKING:
    from media.relay.demux import Demultiplexer
    from media.relay.leg import Leg

CONNECTIONS_MAX = 1_024
CONNECTIONS_PER_ADDRESS_MAX = 64
"""A whole island may share one address behind carrier-grade NAT; each browser opens one to four. Of IPv6, per /64."""
FIRST_CHECK_S = 10.0
"""A connection that has sent nothing by then is closed; Chromium sends its first check at once."""
IDLE_S = 75.0
"""Chromium checks a pair that it keeps in reserve every 25 s: three missed."""
NOTSENT_BYTES = 4_096
"""What the kernel may hold unsent: half a second at 64 kbit/s."""

AGE_MAX_S = {Weight.CONTROL: 5.0, Weight.VOICE: 1.0, Weight.PICTURE: 1.5}
"""Older than this while waiting to be sent, it is dropped. Voice a second old is beyond any jitter buffer; a key frame of
12 kB needs 1.5 s at 64 kbit/s."""
WAITING_MAX_BYTES = {Weight.CONTROL: 8_192, Weight.VOICE: 16_384, Weight.PICTURE: 65_536}
"""Beyond this the oldest of its kind goes: memory stays bounded where the age does not bound it."""

_DROP = {
    Weight.CONTROL: Drop.TCP_CONTROL,
    Weight.VOICE: Drop.TCP_VOICE,
    Weight.PICTURE: Drop.TCP_PICTURE,
}
_MAPPED = "::ffff:"
_LENGTH = struct.Struct("!H")


class SendQueue:
    """Packets that wait for a connection to take them: control first, then voice, then picture. No I/O, no clock."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._waiting: dict[Weight, deque[tuple[float, bytes]]] = {each: deque() for each in Weight}
        self._bytes = dict.fromkeys(Weight, 0)

    def put(self, data: bytes, weight: Weight, now: float) -> None:
        """Add a packet; the oldest of its kind go where there are too many bytes of it."""
        waiting = self._waiting[weight]
        waiting.append((now, data))
        self._bytes[weight] += len(data)
        while self._bytes[weight] > WAITING_MAX_BYTES[weight]:
            self._drop(weight)

    def take(self, now: float) -> bytes | None:
        """Return the next packet that is worth sending, or None."""
        for weight, waiting in self._waiting.items():
            while waiting and now - waiting[0][0] > AGE_MAX_S[weight]:
                self._drop(weight)
            if waiting:
                data = waiting.popleft()[1]
                self._bytes[weight] -= len(data)
                return data
        return None

    def bytes_waiting(self, weight: Weight) -> int:
        """Return how much of one kind waits."""
        return self._bytes[weight]

    def _drop(self, weight: Weight) -> None:
        _, data = self._waiting[weight].popleft()
        self._bytes[weight] -= len(data)
        self._drops[_DROP[weight]] += 1


class Frames:
    """RFC 4571: packets out of a stream of bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets that are complete now.

        Raises:
            ValueError: a frame longer than a datagram may be; nothing after it can be trusted.
        """
        data = self._rest + data if self._rest else data
        packets = []
        at = 0
        while at + 2 <= len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            if length > LENGTH_MAX:
                raise ValueError("a frame is too long")
            if at + 2 + length > len(data):
                break
            if length:
                packets.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        self._rest = data[at:]
        return packets


class TcpPath(asyncio.Protocol):
    """One connection of one browser."""

    transport: Transport = "tcp"

    def __init__(self, port: TcpPort) -> None:
        self._port = port
        self._frames = Frames()
        self._queue = SendQueue(port.drops)
        self._writable = True
        self._stream: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = time.monotonic()
        self.source: tuple[str, int] = ("0.0.0.0", 0)
        self.leg: Leg | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)
        self.source = (peer[0].removeprefix(_MAPPED), peer[1])
        if not self._port.admit(self):
            self._port.drops[Drop.TCP_REFUSED] += 1
            self._stream.abort()
            return
        self._stream.set_write_buffer_limits(
            high=0
        )  # told as soon as the kernel does not take it all
        made = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_BYTES)
        self._timer = asyncio.get_running_loop().call_later(FIRST_CHECK_S, self._look)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            packets = self._frames.feed(data)
        except ValueError:
            self._port.drops[Drop.TCP_FRAME] += 1
            self.abort()
            return
        if self.leg is None and not packets and len(data) > LENGTH_MAX + 2:
            # Empty frames by the thousand: RFC 4571 allows them, but a stranger has nothing to keep alive.
            self._port.drops[Drop.TCP_REFUSED] += 1
            self.abort()
            return
        now = self._heard_at = time.monotonic()
        self._port.packets_received += len(packets)
        for packet in packets:
            self._port.demux.receive(packet, self, now)
            if self.leg is None:  # the first frame must be a check that proves whose this is
                self._port.drops[Drop.TCP_REFUSED] += 1
                self.abort()
                return

    @override
    def pause_writing(self) -> None:
        self._writable = False

    @override
    def resume_writing(self) -> None:
        self._writable = True
        self._flush(time.monotonic())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stream = None
        if self._timer is not None:
            self._timer.cancel()
        self._port.released(self)
        leg, self.leg = self.leg, None
        if leg is not None:
            leg.path_lost(self)

    def send(self, data: bytes, weight: Weight) -> None:
        """Send when the connection takes it; what waits too long is dropped and counted."""
        if self._stream is None or self._stream.is_closing():
            self._port.drops[Drop.NO_PATH] += 1
            return
        now = time.monotonic()
        self._queue.put(data, weight, now)
        self._flush(now)

    def adopted(self, leg: Leg) -> None:
        """Belong to this leg."""
        self.leg = leg

    def forgotten(self) -> None:
        """Nobody wants the connection any more: close it."""
        self.leg = None
        self.abort()

    def abort(self) -> None:
        """Close at once, without sending what waits."""
        if self._stream is not None:
            self._stream.abort()

    def _flush(self, now: float) -> None:
        while self._writable and self._stream is not None:
            data = self._queue.take(now)
            if data is None:
                return
            self._port.packets_sent += 1
            self._stream.write(_LENGTH.pack(len(data)) + data)

    def _look(self) -> None:
        """Close a connection that nothing comes from, or that never proved to be a leg's."""
        idle_s = time.monotonic() - self._heard_at
        if self.leg is None or idle_s >= IDLE_S:
            if self.leg is None:
                self._port.drops[Drop.TCP_REFUSED] += 1
            self.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(IDLE_S - idle_s, self._look)


class TcpPort:
    """The listening socket and its connections."""

    def __init__(self, demux: Demultiplexer, drops: Drops) -> None:
        self.demux = demux
        self.drops = drops
        self._server: asyncio.Server | None = None
        self._connections: set[TcpPath] = set()
        self._per_address: Counter[str] = Counter()
        self.packets_received = 0
        self.packets_sent = 0

    async def open(self, host: str, port: int) -> int:
        """Listen; return the port, for ``port`` 0.

        Raises:
            OSError: the address is not ours or the port is taken.
        """
        listening = bound(host, port, socket.SOCK_STREAM)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: TcpPath(self), sock=listening)
        number: int = listening.getsockname()[1]
        return number

    async def close(self) -> None:
        """Stop listening and close every connection. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        if server is not None:
            await server.wait_closed()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def admit(self, path: TcpPath) -> bool:
        """Count a connection in; return False when there are too many, in all or from one address."""
        address = _household(path.source[0])
        if (
            len(self._connections) >= CONNECTIONS_MAX
            or self._per_address[address] >= CONNECTIONS_PER_ADDRESS_MAX
        ):
            return False
        self._connections.add(path)
        self._per_address[address] += 1
        return True

    def released(self, path: TcpPath) -> None:
        """Count a connection out."""
        if path not in self._connections:
            return
        self._connections.discard(path)
        address = _household(path.source[0])
        self._per_address[address] -= 1
        if self._per_address[address] <= 0:
            del self._per_address[address]


def _household(address: str) -> str:
    """Return what connections are counted by: an IPv6 host has a /64 to itself (RFC 6177), so 2**64 addresses."""
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return packed[:8].hex()
