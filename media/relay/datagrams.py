# SPDX-License-Identifier: Apache-2.0
"""Datagrams read and sent in batches: one system call for all that has come, one for all that goes.

Linux has ``recvmmsg`` and ``sendmmsg``; Python does not, so they are called through cffi (which pylibsrtp brings), on arrays
that are made once. One by one, each datagram would also cost an address as a string and its parts, both ways. Where they are
missing, ``Singles`` does the same with Python's own socket.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from array import array
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from media.relay.drops import Drop, Drops

if TYPE_CHECKING:
    from collections.abc import Sequence

Address: TypeAlias = bytes | tuple[Any, ...]
"""As the wire gives and takes it, to be looked up and handed back: what is in it is the wire's affair."""

BATCH: Final = 32
"""Datagrams per call: half a millisecond of work, after which what was written goes out."""
SLOT_BYTES: Final = 2_048
_CONTROL_BYTES: Final = 64
SO_TIMESTAMPNS: Final = 35
"""Linux, not in ``socket``: the kernel says when a packet came, as a timespec on CLOCK_REALTIME."""
_STAMP = struct.Struct("Niiqq")
"""A cmsghdr (cmsg(3)) with its timespec."""
_ROOMS = memoryview(array("L", [_CONTROL_BYTES] * BATCH))
_NO_ROOMS = memoryview(array("L", [0] * BATCH))
_MAPPED: Final = "::ffff:"
_C = """
struct iovec { void *iov_base; size_t iov_len; };
struct msghdr { void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
                void *msg_control; size_t msg_controllen; int msg_flags; };
struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
int sendmmsg(int, struct mmsghdr *, unsigned int, int);
int recvmmsg(int, struct mmsghdr *, unsigned int, int, void *);
"""


class Wire(Protocol):
    """A bound, non-blocking datagram socket."""

    held: bool
    """While it is, what is sent may wait for ``flush``."""
    stamps: Sequence[float]
    """CLOCK_REALTIME at which the kernel got each datagram of the last ``receive``, if it was timed and the kernel says so."""
    packets_sent: int

    def receive(self, *, timed: bool = False) -> Sequence[tuple[bytes, Address]]:
        """Take up to ``BATCH`` of the datagrams that have come, none if there are none."""
        ...

    def send(self, data: bytes, address: Address) -> None:
        """Send now, or with the next flush; what the kernel does not take is dropped and counted."""
        ...

    def flush(self) -> None:
        """Send what waits."""
        ...

    def close(self) -> None:
        """Forget the socket, which is closed by whoever made it, and what waits."""
        ...

    def source(self, address: Address) -> tuple[str, int]:
        """Return an address as text and port; IPv4 is never written as IPv6."""
        ...


def wire(made: socket.socket, drops: Drops) -> Wire:
    """Return the best there is for this system."""
    if sys.platform == "linux" and sys.maxsize > 2**32:  # the views below are of 64 bits
        try:
            return Batches(made, drops)
        except (ImportError, AttributeError, OSError):  # another C library
            pass
    return Singles(made, drops)


class _Slots:
    """One direction's arrays, as the kernel wants them: headers, each with one vector, one address and room for one datagram."""

    def __init__(self, ffi: Any, name_bytes: int) -> None:  # noqa: ANN401 cffi has no types
        self._kept = (
            headers := ffi.new("struct mmsghdr[]", BATCH),
            vectors := ffi.new("struct iovec[]", BATCH),
            octets := ffi.new("char[]", BATCH * SLOT_BYTES),
            names := ffi.new("char[]", BATCH * name_bytes),
        )
        self.headers = headers
        self.octets = ffi.buffer(octets)
        self.names = ffi.buffer(names)
        for place in range(BATCH):
            vectors[place].iov_base = octets + place * SLOT_BYTES
            vectors[place].iov_len = SLOT_BYTES
            header = headers[place].msg_hdr
            header.msg_iov, header.msg_iovlen = vectors + place, 1
            header.msg_name, header.msg_namelen = names + place * name_bytes, name_bytes
        # Plain views: a field through cffi is three times as dear.
        step = ffi.sizeof("struct mmsghdr")
        every = memoryview(ffi.buffer(headers))
        self.taken = every.cast("I")[ffi.offsetof("struct mmsghdr", "msg_len") // 4 :: step // 4]
        room = ffi.offsetof("struct msghdr", "msg_controllen")
        self.rooms = every.cast("L")[room // 8 :: step // 8]
        self.lengths = memoryview(ffi.buffer(vectors)).cast("L")[1::2]


class Batches:
    """By ``recvmmsg`` and ``sendmmsg``."""

    def __init__(self, made: socket.socket, drops: Drops) -> None:
        """Take a bound socket.

        Raises:
            ImportError, AttributeError, OSError: this system has no such calls.
        """
        import cffi  # type: ignore[import-untyped] # noqa: PLC0415 only where it is used

        ffi = cffi.FFI()
        ffi.cdef(_C)
        library = ffi.dlopen(None)
        self._sendmmsg, self._recvmmsg = library.sendmmsg, library.recvmmsg
        self._ffi = ffi
        self._descriptor = made.fileno()
        self._is_6 = made.family == socket.AF_INET6
        self._name_bytes = 28 if self._is_6 else 16  # sockaddr_in6, sockaddr_in
        self._in = _Slots(ffi, self._name_bytes)
        self._out = _Slots(ffi, self._name_bytes)
        notes = self._kept = ffi.new("char[]", BATCH * _CONTROL_BYTES)
        self._notes = ffi.buffer(notes)
        for place in range(BATCH):
            self._in.headers[place].msg_hdr.msg_control = notes + place * _CONTROL_BYTES
        self._waiting = 0
        self._drops = drops
        self.held = False
        self.stamps: Sequence[float] = ()
        self.packets_sent = 0

    def receive(self, *, timed: bool = False) -> Sequence[tuple[bytes, Address]]:
        """See ``Wire``."""
        slots = self._in
        if timed:
            slots.rooms[:] = _ROOMS
        count: int = self._recvmmsg(
            self._descriptor, slots.headers, BATCH, socket.MSG_DONTWAIT, self._ffi.NULL
        )
        if timed:
            self.stamps = self._stamped(count)
            slots.rooms[:] = _NO_ROOMS
        if count <= 0:  # nothing, or an earlier datagram's ICMP error, which reading has cleared
            return ()
        octets, names, name_bytes = slots.octets, slots.names, self._name_bytes
        found = []
        at = name_at = 0
        for size in slots.taken[:count].tolist():
            found.append((octets[at : at + size], names[name_at : name_at + name_bytes]))
            at += SLOT_BYTES
            name_at += name_bytes
        return found

    def _stamped(self, count: int) -> Sequence[float]:
        stamps = []
        for place in range(count):
            if self._in.rooms[place] < _STAMP.size:
                return ()
            _, level, kind, whole, parts = _STAMP.unpack_from(self._notes, place * _CONTROL_BYTES)
            if level != socket.SOL_SOCKET or kind != SO_TIMESTAMPNS:
                return ()
            stamps.append(whole + parts / 1e9)
        return stamps

    def send(self, data: bytes, address: Address) -> None:
        """See ``Wire``."""
        slots, place, size = self._out, self._waiting, len(data)
        if size > SLOT_BYTES:
            self._drops[Drop.SEND_REFUSED] += 1
            return
        at = place * SLOT_BYTES
        slots.octets[at : at + size] = data
        slots.lengths[place] = size
        at = place * self._name_bytes
        slots.names[at : at + self._name_bytes] = address
        self._waiting = place + 1
        if not self.held or place + 1 == BATCH:
            self.flush()

    def flush(self) -> None:
        """See ``Wire``."""
        count, self._waiting = self._waiting, 0
        at = 0
        while at < count:
            sent: int = self._sendmmsg(self._descriptor, self._out.headers + at, count - at, 0)
            if sent > 0:
                self.packets_sent += sent
                at += sent
                continue
            self._drops[_refusal(self._ffi.errno)] += 1
            at += 1

    def close(self) -> None:
        """See ``Wire``."""
        self._descriptor = -1  # the number may soon be another file's
        self._waiting = 0

    def source(self, address: Address) -> tuple[str, int]:
        """See ``Wire``."""
        assert isinstance(address, bytes)
        port = int.from_bytes(address[2:4], "big")
        if self._is_6:
            text = socket.inet_ntop(socket.AF_INET6, address[8:24])
            return text.removeprefix(_MAPPED), port
        return socket.inet_ntop(socket.AF_INET, address[4:8]), port


class Singles:
    """One by one, by Python's own socket."""

    def __init__(self, made: socket.socket, drops: Drops) -> None:
        """Take a bound socket."""
        self._socket = made
        self._buffer = bytearray(SLOT_BYTES)
        self._view = memoryview(self._buffer)
        self._drops = drops
        self.held = False
        self.stamps: Sequence[float] = ()
        self.packets_sent = 0

    def receive(self, *, timed: bool = False) -> Sequence[tuple[bytes, Address]]:
        """See ``Wire``; never says when."""
        found: list[tuple[bytes, Address]] = []
        for _ in range(BATCH):
            try:
                size, address = self._socket.recvfrom_into(self._buffer)
            except OSError:
                break
            found.append((bytes(self._view[:size]), address))
        return found

    def send(self, data: bytes, address: Address) -> None:
        """See ``Wire``; nothing waits."""
        assert isinstance(address, tuple)
        try:
            self._socket.sendto(data, address)
        except OSError as refused:
            self._drops[_refusal(refused.errno)] += 1
        else:
            self.packets_sent += 1

    def flush(self) -> None:
        """See ``Wire``."""

    def close(self) -> None:
        """See ``Wire``; a closed socket says so itself."""

    def source(self, address: Address) -> tuple[str, int]:
        """See ``Wire``."""
        assert isinstance(address, tuple)
        return address[0].removeprefix(_MAPPED), address[1]


class Closed:
    """Before it is opened, and after."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self.held = False
        self.stamps: Sequence[float] = ()
        self.packets_sent = 0

    def receive(self, *, timed: bool = False) -> Sequence[tuple[bytes, Address]]:
        """See ``Wire``; nothing comes."""
        return ()

    def send(self, data: bytes, address: Address) -> None:
        """See ``Wire``; nothing goes."""
        self._drops[Drop.SEND_REFUSED] += 1

    def flush(self) -> None:
        """See ``Wire``."""

    def close(self) -> None:
        """See ``Wire``."""

    def source(self, address: Address) -> tuple[str, int]:
        """See ``Wire``."""
        return "0.0.0.0", 0


def _refusal(number: int | None) -> Drop:
    blocked = number in {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
    return Drop.SEND_BLOCKED if blocked else Drop.SEND_REFUSED
