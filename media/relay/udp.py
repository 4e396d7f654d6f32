# SPDX-License-Identifier: Apache-2.0
"""The one UDP socket of a relay process, for all its legs, IPv4 and IPv6.

It is drained by hand: asyncio's own datagram transport reads one packet per turn of the loop into a fresh 256 KiB buffer
(a fifth of all samples went there). ``add_reader`` works the same on uvloop.

A quiet socket is read when a packet comes, a busy one every ``GATHER_S``: to be woken costs more than all that is done for
a packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

from typing_extensions import override

from media.relay.datagrams import BATCH, SO_TIMESTAMPNS, Address, Closed, Wire, wire
from media.relay.drops import Drops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from media.relay.demux import Demultiplexer
    from media.relay.leg import Leg
    from media.relay.path import Transport, Weight

DRAIN_BATCHES = 4
"""Per wake-up before timers and TCP get their turn: about 2 ms of work."""
GATHER_S = 0.002
"""A tenth of the time between two packets of a voice; half of it is what forwarding takes longer by, on average."""
WINDOW = 64
"""Wake-ups after which it is judged whether the socket is busy: more than one packet in ``GATHER_S``, or quiet again: less than
one in two of them."""
BUFFER_BYTES = 4 << 20
"""Asked of the kernel for each direction; it gives what net.core.rmem_max allows. 80 ms of 400 Mbit/s."""
STUN_ANSWER = b"\x01"
"""What success and error begin with (RFC 8489 §5); nothing else that a browser sends does."""
LATE_MAX_S = 2.0
"""A loop that is held up longer has other troubles."""
SAMPLE_EVERY = 32
"""Wake-ups between two packets whose delay is taken: several a second with one call."""


class UdpPath:
    """One address of one browser."""

    __slots__ = ("_address", "_port", "leg")

    transport: Transport = "udp"

    def __init__(self, port: UdpPort, address: Address) -> None:
        self._port = port
        self._address = address
        self.leg: Leg | None = None

    @property
    def source(self) -> tuple[str, int]:
        """The browser's address as seen from here."""
        return self._port.wire.source(self._address)

    @override
    def __eq__(self, other: object) -> bool:
        """The same address of the same port, also when it was forgotten in between."""
        return (
            isinstance(other, UdpPath)
            and self._address == other._address
            and self._port is other._port
        )

    @override
    def __hash__(self) -> int:
        return hash(self._address)

    def send(self, data: bytes, weight: Weight) -> None:
        """Send a datagram; drop and count it where the kernel does not take it."""
        self._port.sendto(data, self._address)

    def adopted(self, leg: Leg) -> None:
        """Remember the address as this leg's."""
        self.leg = leg
        self._port.remember(self._address, self)

    def forgotten(self) -> None:
        """Forget the address."""
        self.leg = None
        self._port.forget(self._address)


class UdpPort:
    """A bound socket, its known addresses, and the loop that drains it."""

    def __init__(self, demux: Demultiplexer, drops: Drops) -> None:
        self._demux = demux
        self.drops = drops
        self._paths: dict[Address, UdpPath] = {}
        self._socket: socket.socket | None = None
        self.wire: Wire = Closed(drops)
        self.sendto: Callable[[bytes, Address], object] = self.wire.send
        """The wire's own."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_delay: Callable[[float], None] = _unseen
        """Called now and then with the seconds from a packet's arrival in the kernel to the end of its handling."""
        self.on_gathered: Callable[[], None] = _nothing
        """Called after each reading in the rhythm: for what is done by time, together with what came."""
        self.exact = False
        """Whether answers to our checks are told with the time that the kernel got them, not that of being read: while a link is
        measured. A relay without a core of its own reads a whole train at once."""
        self._wake_ups = 0
        self._judged_at = 0.0
        self._judged_packets = 0
        self._gathering: asyncio.TimerHandle | asyncio.Handle | None = None
        self.packets_received = 0

    def open(self, host: str, port: int) -> int:
        """Bind and begin to read on the running loop; return the port, for ``port`` 0.

        Args:
            host: an address of this machine. ``::`` is all of them, IPv4 and IPv6. A machine with several addresses should
                name the one that it announces: answers leave by the address that the route chooses.
            port: 0 lets the kernel choose.

        Raises:
            OSError: the address is not ours or the port is taken.
        """
        self._socket = bound(host, port, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.wire = wire(self._socket, self.drops)
        self.sendto = self.wire.send
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)
        number: int = self._socket.getsockname()[1]
        return number

    def close(self) -> None:
        """Stop reading and close the socket. May be called twice."""
        if self._socket is not None and self._loop is not None:
            if self._gathering is None:
                self._loop.remove_reader(self._socket)
            else:
                self._gathering.cancel()
            self.wire.close()
            self._socket.close()
        self._socket = self._gathering = None
        self.wire = Closed(self.drops)
        self.sendto = self.wire.send
        self._paths.clear()

    @property
    def gathers(self) -> bool:
        """Whether it is busy: read in a rhythm."""
        return self._gathering is not None

    @property
    def packets_sent(self) -> int:
        """How many the kernel has taken."""
        return self.wire.packets_sent

    @property
    def addresses(self) -> int:
        """How many addresses are known."""
        return len(self._paths)

    def remember(self, address: Address, path: UdpPath) -> None:
        """From now on this address's packets come by this path."""
        self._paths[address] = path

    def forget(self, address: Address) -> None:
        """From now on this address is nobody's."""
        self._paths.pop(address, None)

    def _readable(self) -> None:
        """Read what has come; where that happens often, don't be called for each packet any more."""
        self._drain()
        if self._wake_ups % WINDOW or self._socket is None or self._loop is None:
            return
        now = time.monotonic()
        busy = now - self._judged_at < WINDOW * GATHER_S
        self._judged_at = now
        if busy:
            self._loop.remove_reader(self._socket)
            self._judged_packets = self.packets_received
            self._gathering = self._loop.call_later(GATHER_S, self._gather)

    def _gather(self) -> None:
        """Read what has come since the last time."""
        began_at = time.monotonic()
        self._drain()
        self.wire.held = True
        try:
            self.on_gathered()
        finally:
            self.wire.held = False
            self.wire.flush()
        loop = self._loop
        if self._socket is None or loop is None:
            return
        if self._wake_ups % WINDOW == 0:
            came = self.packets_received - self._judged_packets
            self._judged_packets = self.packets_received
            if came < WINDOW / 2:
                self._gathering = None
                loop.add_reader(self._socket, self._readable)
                return
        left_s = GATHER_S - (time.monotonic() - began_at)
        if left_s > 0:
            self._gathering = loop.call_later(left_s, self._gather)
        else:
            self._gathering = loop.call_soon(self._gather)

    def _drain(self) -> None:
        """Handle what has come; what is written meanwhile goes out together."""
        wire, paths, receive = self.wire, self._paths, self._demux.receive
        self._wake_ups += 1
        sampled = self._wake_ups % SAMPLE_EVERY == 0
        exact = self.exact
        timed = sampled or exact
        wire.held = True
        try:
            for _ in range(DRAIN_BATCHES):
                found = wire.receive(timed=timed)
                self.packets_received += len(found)
                now = time.monotonic()
                instants = self._instants(now) if exact else ()
                for place, (data, address) in enumerate(found):
                    path = paths.get(address)
                    if path is None:
                        # Nobody's, and gone after this packet unless it proves to be a leg's.
                        path = UdpPath(self, address)
                    came = instants and data[:1] == STUN_ANSWER
                    receive(data, path, instants[place] if came else now)
                wire.flush()
                if sampled and wire.stamps:
                    sampled = False
                    delay = time.clock_gettime(time.CLOCK_REALTIME) - wire.stamps[0]
                    self.on_delay(max(0.0, delay))  # the clock may have been set in between
                if len(found) < BATCH or self.wire is not wire:
                    return
        finally:
            wire.held = False

    def _instants(self, now: float) -> Sequence[float]:
        """Return when the kernel got what was just read, on our clock; nothing if it does not say."""
        behind = now - time.clock_gettime(time.CLOCK_REALTIME)
        # The clock may have been set in between: nothing comes from the future, or from long ago.
        return [max(now - LATE_MAX_S, min(now, at + behind)) for at in self.wire.stamps]


def _nothing() -> None:
    pass


def _unseen(delay_s: float) -> None:
    pass


def bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a non-blocking socket; ``::`` takes IPv4 as well, and falls back to IPv4 where there is no IPv6.

    Raises:
        OSError: the address is not ours or the port is taken.
    """
    if host == "::" and not has_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def has_ipv6() -> bool:
    """Tell whether this machine can open IPv6 sockets (containers often can't)."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
