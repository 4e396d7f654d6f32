# SPDX-License-Identifier: Apache-2.0
"""Datagrams in batches, and one by one where a system has no batches."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from media.relay.datagrams import BATCH, SLOT_BYTES, SO_TIMESTAMPNS, Batches, Singles, Wire, wire
from media.relay.drops import Drop, Drops
from media.relay.udp import bound, has_ipv6

Make = Callable[[socket.socket, Drops], Wire]
DEADLINE_S = 5.0


@contextmanager
def two(make: Make, host: str = "127.0.0.1") -> Iterator[tuple[Wire, socket.socket, Drops]]:
    """A wire, and somebody with a socket connected to it."""
    drops = Drops()
    with (
        bound(host, 0, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        theirs.settimeout(DEADLINE_S)
        theirs.connect(("127.0.0.1", ours.getsockname()[1]))
        yield make(ours, drops), theirs, drops


@pytest.mark.parametrize("make", [Batches, Singles])
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_what_comes_is_told_with_its_address_and_answered(make: Make, host: str) -> None:
    """In order, each with its own length; the address leads back, and is IPv4 as text on a socket of both kinds."""
    if host == "::" and not has_ipv6():
        pytest.skip("no IPv6 here")
    with two(make, host) as (ours, theirs, drops):
        assert ours.receive() in ((), [])
        sent = [bytes([number]) * (number * 40 + 1) for number in range(BATCH + 3)]
        for data in sent:
            theirs.send(data)
        first, rest = ours.receive(), ours.receive()
        assert [data for data, _ in first] == sent[:BATCH]
        assert [data for data, _ in rest] == sent[BATCH:]
        addresses = {address for _, address in [*first, *rest]}
        assert len(addresses) == 1
        address = addresses.pop()
        assert ours.source(address) == theirs.getsockname()
        ours.held = True
        for data in sent:
            ours.send(data, address)
        ours.held = False
        ours.flush()
        assert [theirs.recv(SLOT_BYTES) for _ in sent] == sent
        ours.send(b"at once", address)
        assert theirs.recv(SLOT_BYTES) == b"at once"
        assert ours.packets_sent == len(sent) + 1
        assert not drops.total()


def test_what_is_held_waits_and_no_longer_than_there_is_room() -> None:
    """Nothing goes before the flush but a full batch; a datagram after it overwrites none that waits."""
    with two(Batches) as (ours, theirs, _):
        theirs.send(b"who")
        ((_, address),) = ours.receive()
        theirs.setblocking(False)
        ours.held = True
        for number in range(BATCH - 1):
            ours.send(bytes([number]), address)
        with pytest.raises(BlockingIOError):
            theirs.recv(SLOT_BYTES)
        ours.send(b"last", address)
        ours.send(b"next", address)
        assert [theirs.recv(SLOT_BYTES) for _ in range(BATCH)][-2:] == [bytes([BATCH - 2]), b"last"]
        with pytest.raises(BlockingIOError):
            theirs.recv(SLOT_BYTES)
        ours.flush()
        assert theirs.recv(SLOT_BYTES) == b"next"


@pytest.mark.parametrize("make", [Batches, Singles])
def test_one_that_the_kernel_refuses_takes_none_with_it(make: Make) -> None:
    """Port 0 is nobody's: counted, and those before and behind it arrive."""
    with two(make) as (ours, theirs, drops):
        theirs.send(b"who")
        ((_, address),) = ours.receive()
        nobody = address[:2] + bytes(14) if isinstance(address, bytes) else ("127.0.0.1", 0)
        ours.held = True
        for data, to in ((b"before", address), (b"lost", nobody), (b"behind", address)):
            ours.send(data, to)
        ours.send(bytes(70_000), address)
        ours.held = False
        ours.flush()
        assert [theirs.recv(SLOT_BYTES) for _ in range(2)] == [b"before", b"behind"]
        assert drops[Drop.SEND_REFUSED] == 2
        assert ours.packets_sent == 2


def test_the_kernel_says_when_each_came() -> None:
    """Within the time that the test took, in order, however late they are read; nothing of none."""
    with two(Batches) as (ours, theirs, _):
        before = time.clock_gettime(time.CLOCK_REALTIME)
        theirs.send(b"one")
        between = time.clock_gettime(time.CLOCK_REALTIME)
        theirs.send(b"two")
        after = time.clock_gettime(time.CLOCK_REALTIME)
        assert len(ours.receive(timed=True)) == 2
        one, two_at = ours.stamps
        assert before <= one <= between <= two_at <= after
        ours.receive(timed=True)
        assert not ours.stamps


def test_a_closed_one_sends_nothing_over_a_descriptor_that_may_be_another_files() -> None:
    """What waited is forgotten; what is sent later is refused, though the number is in use again."""
    with two(Batches) as (ours, theirs, drops):
        theirs.send(b"who")
        ((_, address),) = ours.receive()
        theirs.setblocking(False)
        ours.held = True
        ours.send(b"waits", address)
        ours.close()
        ours.flush()
        ours.held = False
        ours.send(b"late", address)
        assert drops[Drop.SEND_REFUSED] == 1
        with pytest.raises(BlockingIOError):
            theirs.recv(SLOT_BYTES)


def test_linux_has_batches() -> None:
    """The calls are found in the C library; else nobody would notice that each packet is sent alone."""
    with two(wire) as (ours, _, _):
        assert isinstance(ours, Batches)
