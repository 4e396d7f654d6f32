# SPDX-License-Identifier: Apache-2.0
"""What a socket writes when: at once, or together with the rest of this turn of the event loop."""

import asyncio

from signalling.edge.socket import Socket
from signalling.wire.codes import CODES, Code


class Transport:
    """Remembers each write."""

    def __init__(self, buffered_bytes: int = 0) -> None:
        self.writes: list[bytes] = []
        self.buffered_bytes = buffered_bytes

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.buffered_bytes


def connected(transport: Transport) -> Socket:
    socket = Socket(lambda _data: None, max_buffered_bytes=1_000)
    socket._transport = transport  # type: ignore[assignment]
    return socket


def text(payload: bytes) -> bytes:
    return bytes((0x81, len(payload))) + payload


async def test_a_forwarded_message_is_written_at_once() -> None:
    """``send`` is one write, before anything else happens."""
    transport = Transport()
    connected(transport).send(b"one")
    assert transport.writes == [text(b"one")]


async def test_what_one_step_sends_is_one_write() -> None:
    """``send_soon`` waits for the end of this turn of the loop, and no longer; then nothing is left to write."""
    transport = Transport()
    socket = connected(transport)
    socket.send_soon(b"line")
    socket.send_soon(b"view")
    assert transport.writes == []
    await asyncio.sleep(0)
    assert transport.writes == [text(b"line") + text(b"view")]
    await asyncio.sleep(0)
    assert len(transport.writes) == 1


async def test_a_forwarded_message_does_not_overtake() -> None:
    """The order on the wire is the order of the calls, whichever of the two ways was taken."""
    transport = Transport()
    socket = connected(transport)
    socket.send_soon(b"view")
    socket.send(b"offer")
    socket.send_soon(b"ok")
    await asyncio.sleep(0)
    assert b"".join(transport.writes) == text(b"view") + text(b"offer") + text(b"ok")
    assert len(transport.writes) == 2


async def test_what_was_said_is_sent_before_the_close() -> None:
    """A close takes along what waited; nothing follows it."""
    transport = Transport()
    socket = connected(transport)
    socket.send_soon(b"last")
    socket.close(Code.RESTARTING)
    socket.send_soon(b"never")
    await asyncio.sleep(0)
    code = CODES[Code.RESTARTING].close
    assert code is not None
    assert transport.writes[0] == text(b"last")
    assert transport.writes[1][:1] == b"\x88"
    assert transport.writes[1][2:4] == code.to_bytes(2, "big")
    assert len(transport.writes) == 2
    socket.cut()


async def test_a_reader_that_takes_nothing_is_closed_once() -> None:
    """What waited counts against the limit too: the close is the slow reader's, not the one that came after."""
    transport = Transport(buffered_bytes=2_000)
    socket = connected(transport)
    socket.send_soon(b"much")
    socket.close(Code.RESTARTING)
    assert socket.close_code == CODES[Code.SLOW_READER].close
    assert sum(write[:1] == b"\x88" for write in transport.writes) == 1
    socket.cut()
