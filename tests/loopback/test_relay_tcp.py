# SPDX-License-Identifier: Apache-2.0
"""ICE-TCP over real connections: who may stay, and what a reader that stalls gets."""

import asyncio
import struct

from aioice import stun

from media.relay import tcp
from media.relay.drops import Drop
from media.relay.path import Weight
from tests.support.relay_peer import Peer, check, connected, relay, rtp
from tests.support.until import until


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


async def frame(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)


async def test_a_check_makes_a_path_and_dtls_comes_back_over_it():
    """The first frame is an authenticated check: it is answered, and the handshake begins on the same connection."""
    async with relay() as port:
        leg, offer = port.mint()
        reader, writer = await asyncio.open_connection("127.0.0.1", port.tcp_port)
        writer.write(framed(bytes(check(Peer(offer).pairs[0], nominated=True))))
        response = stun.parse_message(await frame(reader))
        assert response.attributes["XOR-MAPPED-ADDRESS"] == writer.get_extra_info("sockname")
        assert 20 <= (await frame(reader))[0] < 64
        assert leg.path.transport == "tcp"
        writer.close()
        await until(lambda: leg.path is None and not port.tcp.connections)
        assert not leg.send_rtp(rtp(1, 1), Weight.VOICE)
        assert port.drops[Drop.NO_PATH]


async def test_whoever_proves_nothing_is_cut():
    """Noise, a foreign check, a frame too long: closed at once, answered with nothing."""
    async with relay() as port:
        _, offer = port.mint()
        stranger = bytes(check(Peer(offer).pairs[0], key=b"guess"))
        for data in (framed(bytes(40)), framed(stranger), b"\xff\xff", framed(rtp(5, 5))):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.tcp_port)
            writer.write(data)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
        await until(lambda: not port.tcp.connections)
        assert (port.drops[Drop.TCP_REFUSED], port.drops[Drop.TCP_FRAME]) == (3, 1)


async def test_a_connection_that_says_nothing_is_closed(monkeypatch):
    """Half a frame is nothing: after the deadline it is closed."""
    monkeypatch.setattr(tcp, "FIRST_CHECK_S", 0.2)
    async with relay() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.tcp_port)
        writer.write(b"\0")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_falls_silent_is_closed(monkeypatch):
    """A proven connection with nothing for the idle time goes, and its leg stays."""
    monkeypatch.setattr(tcp, "FIRST_CHECK_S", 0.1)
    monkeypatch.setattr(tcp, "IDLE_S", 0.3)
    async with relay() as port:
        leg, offer = port.mint()
        reader, writer = await asyncio.open_connection("127.0.0.1", port.tcp_port)
        writer.write(framed(bytes(check(Peer(offer).pairs[0]))))
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        await until(lambda: not port.tcp.connections)
        assert leg in port.legs


async def test_connections_are_bounded(monkeypatch):
    """One more than one address may have is refused; when one goes there is room again."""
    monkeypatch.setattr(tcp, "CONNECTIONS_PER_ADDRESS_MAX", 2)
    async with relay() as port:
        kept = [await asyncio.open_connection("127.0.0.1", port.tcp_port) for _ in range(2)]
        await until(lambda: port.tcp.connections == 2)
        reader, third = await asyncio.open_connection("127.0.0.1", port.tcp_port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        third.close()
        kept[0][1].close()
        await until(lambda: port.tcp.connections == 1)
        _, fourth = await asyncio.open_connection("127.0.0.1", port.tcp_port)
        await until(lambda: port.tcp.connections == 2)
        for _, writer in (*kept, (None, fourth)):
            writer.close()


async def test_a_reader_that_stalls_loses_picture_before_voice(monkeypatch):
    """While nothing can be sent, memory stays bounded; when it can again, all recent voice comes before the picture."""
    monkeypatch.setitem(tcp.WAITING_MAX_BYTES, Weight.PICTURE, 10_000)
    monkeypatch.setitem(tcp.AGE_MAX_S, Weight.VOICE, 60.0)  # a slow machine must not make it old
    monkeypatch.setitem(tcp.AGE_MAX_S, Weight.PICTURE, 60.0)
    async with relay() as port, connected(port) as (leg, offer, peer):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.tcp_port, limit=2_048)
        writer.write(framed(bytes(check(peer.pairs[0], nominated=True))))
        await frame(reader)
        await until(lambda: leg.path.transport == "tcp")
        path = leg.path
        number = 0
        while path._writable and number < 20_000:  # fill the kernel's buffers
            leg.send_rtp(rtp(offer.video.ssrc, number, payload=bytes(1_000)), Weight.PICTURE)
            number += 1
        assert not path._writable
        for each in range(100):
            leg.send_rtp(rtp(offer.video.ssrc, number + each, payload=bytes(1_000)), Weight.PICTURE)
        voices = [rtp(offer.audio.ssrc, each, payload=bytes(60)) for each in range(30)]
        for voice in voices:
            leg.send_rtp(voice, Weight.VOICE)
        assert port.drops[Drop.TCP_PICTURE] >= 90
        assert not port.drops[Drop.TCP_VOICE]
        assert path._queue.bytes_waiting(Weight.PICTURE) <= 10_000
        got = []
        while len([data for data in got if data[8:12] == voices[0][8:12]]) < 30:
            data = await frame(reader)
            if data[0] == 0x80:
                got.append(peer.keys.inbound.unprotect(data))
        first_voice = next(at for at, data in enumerate(got) if data[8:12] == voices[0][8:12])
        assert got[first_voice : first_voice + 30] == voices
        writer.close()
