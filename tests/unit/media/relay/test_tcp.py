# SPDX-License-Identifier: Apache-2.0
"""RFC 4571 frames and the queue that gives up picture before voice; connections in tests/loopback."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.relay.demux import Demultiplexer
from media.relay.drops import Drop, Drops
from media.relay.path import Weight
from media.relay.tcp import (
    AGE_MAX_S,
    CONNECTIONS_PER_ADDRESS_MAX,
    WAITING_MAX_BYTES,
    Frames,
    SendQueue,
    TcpPath,
    TcpPort,
)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=10), st.integers(1, 50))
def test_packets_survive_any_cutting_of_the_stream(packets: list[bytes], step: int) -> None:
    """However the stream arrives in pieces, the packets come out whole and in order."""
    stream = b"".join(len(each).to_bytes(2, "big") + each for each in packets)
    frames = Frames()
    out = [
        each for at in range(0, len(stream), step) for each in frames.feed(stream[at : at + step])
    ]
    assert out == packets


def test_an_empty_frame_is_passed_over() -> None:
    """Length zero is allowed and says nothing."""
    assert Frames().feed(b"\0\0\0\1x") == [b"x"]


def test_a_frame_longer_than_a_datagram_is_an_error() -> None:
    """1,500 bytes are taken, 1,501 are refused before they are waited for."""
    assert Frames().feed((1_500).to_bytes(2, "big") + bytes(1_500)) == [bytes(1_500)]
    with pytest.raises(ValueError, match="too long"):
        Frames().feed((1_501).to_bytes(2, "big"))


class Stream:
    """A connection of paper."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def a_port() -> TcpPort:
    drops = Drops()
    return TcpPort(Demultiplexer(drops), drops)


@pytest.mark.parametrize(
    ("neighbours", "stranger"),
    [(["192.0.2.1"], "192.0.2.2"), ([f"2001:db8::{n:x}" for n in range(1, 99)], "2001:db8:0:1::1")],
)
def test_one_household_has_its_share_of_connections(neighbours: list[str], stranger: str) -> None:
    """An IPv4 address, or a /64 of IPv6 however many of its addresses are used, and what closes makes room again."""
    port = a_port()
    paths = [TcpPath(port) for _ in range(CONNECTIONS_PER_ADDRESS_MAX + 1)]
    for number, path in enumerate(paths):
        path.source = (neighbours[number % len(neighbours)], 1_000 + number)
    assert [port.admit(path) for path in paths].count(True) == CONNECTIONS_PER_ADDRESS_MAX
    other = TcpPath(port)
    other.source = (stranger, 5)
    assert port.admit(other)
    port.released(paths[0])
    assert port.admit(paths[-1])
    for path in [*paths[1:], other]:
        port.released(path)
    assert (port.connections, len(port._per_address)) == (0, 0)


def test_a_stranger_that_sends_empty_frames_is_closed() -> None:
    """A few say nothing; a flood of them costs a connection that proved nothing."""
    path = TcpPath(a_port())
    path._stream = stream = Stream()  # type: ignore[assignment]
    path.data_received(bytes(100))
    assert not stream.aborted
    path.data_received(bytes(65_536))
    assert stream.aborted


@pytest.fixture
def queue() -> SendQueue:
    return SendQueue(Drops())


def drain(queue: SendQueue, now: float) -> list[bytes]:
    return list(iter(lambda: queue.take(now), None))


def test_voice_overtakes_picture(queue: SendQueue) -> None:
    """What came last but matters most goes first."""
    queue.put(b"picture", Weight.PICTURE, 0.0)
    queue.put(b"voice", Weight.VOICE, 0.1)
    queue.put(b"check", Weight.CONTROL, 0.2)
    assert drain(queue, 0.3) == [b"check", b"voice", b"picture"]


def test_what_is_too_old_is_not_sent(queue: SendQueue) -> None:
    """Voice waits a second at most, picture a second and a half, control five."""
    for weight in Weight:
        queue.put(weight.name.encode(), weight, 0.0)
    assert AGE_MAX_S[Weight.VOICE] < AGE_MAX_S[Weight.PICTURE] < AGE_MAX_S[Weight.CONTROL]
    assert drain(queue, AGE_MAX_S[Weight.VOICE] + 0.01) == [b"CONTROL", b"PICTURE"]
    assert queue._drops == {Drop.TCP_VOICE: 1}


@pytest.mark.parametrize("weight", Weight)
def test_memory_is_bounded_and_the_oldest_goes(weight: Weight) -> None:
    """A thousand packets while nothing can be sent: the newest are kept, up to the bound, the rest is counted."""
    drops = Drops()
    queue = SendQueue(drops)
    for number in range(1_000):
        queue.put(number.to_bytes(2, "big") * 100, weight, 0.0)
    assert queue.bytes_waiting(weight) <= WAITING_MAX_BYTES[weight]
    kept = drain(queue, 0.1)
    assert kept[-1] == (999).to_bytes(2, "big") * 100
    assert len(kept) + sum(drops.values()) == 1_000
    assert queue.bytes_waiting(weight) == 0
