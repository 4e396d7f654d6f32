# SPDX-License-Identifier: Apache-2.0
"""Pages that don't overfill a thin link: the kernel paces each connection, and the bound follows the link.

Linux only, as the socket's option is; elsewhere, and behind a proxy, which is a short way from here, nothing is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter
from typing_extensions import override

from signalling.core.pacing import Bound, Path, first_bound_bps

SO_MAX_PACING_RATE = 47
"""Linux, include/uapi/asm-generic/socket.h; Python has no name for it."""
UNBOUNDED = 125_000_000
"""Octets a second: the kernel then spreads each window over half a round trip, and this bounds nobody."""
SEGMENT_BYTES = 536
"""Of TCP, both ways (the default of RFC 9293 §3.7.1). Where pages are small it costs no round trip, and a segment delays a
voice behind it by a third of what a full one does."""
PIECE_BYTES = SEGMENT_BYTES - 12 - 22
"""One segment: without TCP's timestamps, and what TLS puts around a record (RFC 8446 §5.2, AES-GCM)."""
UNPACED_BYTES = 10 * PIECE_BYTES
"""Linux doesn't pace the first ten segments of a connection (tcp_update_skb_after_send in net/ipv4/tcp_output.c)."""
WATCHED_S = 30.0
"""From a connection's first response on: the page, what calls need and what comes after that are 2 s apart and 45 kB."""
_WITH_HEADERS = (SEGMENT_BYTES + 40) / PIECE_BYTES
_STEP_S = (0.02, 0.05)
"""Between two looks, within these a 16th of the round trip."""
_INFO_BYTES = 200
_KNOWN_FEW = 256
"""Connections among which nobody looks for closed ones."""

# struct tcp_info, include/uapi/linux/tcp.h; all of this is there since Linux 4.18.
_SEGMENT = struct.Struct("=16xI")
_FLIGHT = struct.Struct("=24x3I")
"""Segments unacknowledged, of these known to have arrived, known to be lost."""
_RETRANSMITTED = struct.Struct("=36xI")
"""Of these still under way."""
_REPEATED = struct.Struct("=100xI")
_ACKNOWLEDGED = struct.Struct("=120xQ")
_WAITING = struct.Struct("=144xI")
_LEAST_ROUND_TRIP = struct.Struct("=148xI")
_DELIVERY_RATE = struct.Struct("=160xQ")
_DELIVERED = struct.Struct("=192xI")


def path_of(info: bytes) -> Path:
    """Read a ``tcp_info``.

    Raises:
        struct.error: it is too short: an older kernel.
    """
    unacknowledged, arrived, lost = _FLIGHT.unpack_from(info)
    (again,) = _RETRANSMITTED.unpack_from(info)
    return Path(
        least_round_trip_s=_LEAST_ROUND_TRIP.unpack_from(info)[0] / 1e6,
        segment_bytes=max(1, _SEGMENT.unpack_from(info)[0]),
        acknowledged_bytes=_ACKNOWLEDGED.unpack_from(info)[0],
        arrived_segments=_DELIVERED.unpack_from(info)[0],
        flying_segments=max(0, unacknowledged - arrived - lost + again),
        waiting_bytes=_WAITING.unpack_from(info)[0],
        repeated_segments=_REPEATED.unpack_from(info)[0],
        delivery_bps=_DELIVERY_RATE.unpack_from(info)[0] * 8,
    )


class Pacer:
    """Bounds connections while pages go over them. One per node; belongs to the event loop's thread."""

    def __init__(self) -> None:
        # uvloop's transports of TLS can't be referenced weakly: closed ones are thrown out when there are many.
        self._known: set[asyncio.BaseTransport] = set()
        self._look_at = _KNOWN_FEW
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, transport: asyncio.BaseTransport | None) -> float | None:
        """Bound a connection, from before its first response on.

        Returns:
            For the first response over a thin link, the bound in bit/s: its beginning must be written no faster, see
            ``InPieces``. Otherwise None.
        """
        if transport is None or transport in self._known:
            return None
        if len(self._known) >= self._look_at:
            self._known = {each for each in self._known if not each.is_closing()}
            self._look_at = max(_KNOWN_FEW, 2 * len(self._known))
        self._known.add(transport)
        sock = transport.get_extra_info("socket")
        if sock is None or not hasattr(socket, "TCP_INFO"):
            return None
        try:
            path = _look(sock)
            bps = first_bound_bps(path)
            if bps is not None:
                _bind(sock, bps)
        except (OSError, struct.error):
            return None  # no TCP, or no such kernel
        if bps is not None:
            task = asyncio.create_task(_follow(transport, sock, Bound(bps, path)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bps


class InPieces(payload.Payload):
    """A body whose parts are written one by one: each becomes TLS records of its own.

    A record can't be read before its last octet is there, and 16 KB, the most that one holds (RFC 8446 §5.1), are 5 s on
    24 kbit/s. With ``bps``, the beginning is written in segments, and these no faster.
    """

    def __init__(self, parts: tuple[bytes, ...], bps: float | None = None) -> None:
        super().__init__(parts)
        self._size = sum(map(len, parts))
        self._bps = bps

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text."""
        return b"".join(self._value).decode(encoding, errors)

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write one part after the other."""
        written = 0
        for part in self._value:
            at = 0
            while self._bps and at < len(part) and written < UNPACED_BYTES:
                before = writer.output_size
                await writer.write(part[at : at + PIECE_BYTES])
                at += PIECE_BYTES
                size = writer.output_size - before  # the first one is sent with HTTP's headers
                written += size
                await asyncio.sleep(size * 8 * _WITH_HEADERS / self._bps)
            if at < len(part):
                await writer.write(part[at:])


async def _follow(transport: asyncio.BaseTransport, sock: socket.socket, bound: Bound) -> None:
    """Let the bound follow the link for a while; then the connection is TCP's own again."""
    until = time.monotonic() + WATCHED_S
    shortest_s, longest_s = _STEP_S
    with contextlib.suppress(OSError, struct.error):
        path, bps = _look(sock), bound.bps
        while time.monotonic() < until and not transport.is_closing():
            await asyncio.sleep(min(longest_s, max(shortest_s, path.least_round_trip_s / 16)))
            path = _look(sock)
            if bound.step(path, time.monotonic()) != bps:
                bps = bound.bps
                _bind(sock, bps)
        _bind(sock, 8 * UNBOUNDED)


def _look(sock: socket.socket) -> Path:
    return path_of(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES))


def _bind(sock: socket.socket, bps: float) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(min(UNBOUNDED, bps / 8)))
