# SPDX-License-Identifier: Apache-2.0
"""A browser's end of a relay leg, generated: checks, DTLS server, SRTP. Fast, and able to do what no browser would."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import Self

from aioice import stun

from media.core.limits import START_BPS
from media.relay.description import Answer, MediaAnswer, Offer, pairs_of
from media.relay.dtls import Association, Certificate, Keys
from media.relay.ice import Credentials
from media.relay.leg import Leg
from media.relay.port import MediaWanted, PortSettings, RelayPort
from media.relay.room import Room
from tests.support.until import until

LOOPBACK = PortSettings(host="127.0.0.1")
DEADLINE_S = 10.0


def check(
    pair: Credentials,
    *,
    nominated: bool = False,
    controlled: bool = False,
    key: bytes | None = None,
) -> stun.Message:
    """Return a connectivity check as a browser signs it; ``key``: with another password."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{pair.ufrag}:peer"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLED" if controlled else "ICE-CONTROLLING"] = 7
    if nominated:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(pair.pwd.encode() if key is None else key)
    return message


def rtp(
    ssrc: int,
    number: int,
    *,
    payload_type: int = 111,
    timestamp: int = 0,
    payload: bytes = b"voice",
) -> bytes:
    """Return an RTP packet without extensions."""
    return struct.pack("!BBHII", 0x80, payload_type, number & 0xFFFF, timestamp, ssrc) + payload


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._received(data)


class Peer:
    """One participant. ``rtp_in`` and ``rtcp_in`` collect what it was sent, decrypted."""

    def __init__(
        self, offer: Offer, *, ssrcs: tuple[int, int, int] = (0x1111, 0x2222, 0x3333)
    ) -> None:
        self.offer = offer
        self.pairs = pairs_of(offer)
        self.ssrcs = ssrcs
        self.certificate = Certificate.make(datetime.datetime.now(datetime.UTC))
        self.keys: Keys | None = None
        self.rtp_in: list[bytes] = []
        self.rtcp_in: list[bytes] = []
        self.responses: list[stun.Message] = []
        self.dtls_in = 0
        self.dtls_out = 0
        self.answers = True
        """Whether checks of a relay are answered."""
        self.delay_s = 0.0
        """One way, on both."""
        self._socket: asyncio.DatagramTransport | None = None
        self._association = Association(self.certificate, self._send_dtls)
        self._shaking: asyncio.Task[Keys] | None = None

    async def open(self) -> Self:
        """Bind a socket; again for another address."""
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            self._socket.close()
        relay = next(each for each in self.offer.candidates if each.transport == "udp")
        self._socket, _ = await loop.create_datagram_endpoint(
            lambda: _Socket(self._later), remote_addr=(relay.address, relay.port)
        )
        return self

    def point_to(self, offer: Offer) -> None:
        """Take another offer than it was made with."""
        self.offer = offer
        self.pairs = pairs_of(offer)

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        assert self._socket is not None
        return int(self._socket.get_extra_info("socket").fileno())

    def answer(self) -> Answer:
        """Return what it would answer."""
        voice, picture, again = self.ssrcs
        return Answer(
            ice="peer:passwordpasswordpassword",
            fingerprints=[self.certificate.fingerprint],
            setup="passive",
            audio=MediaAnswer(
                payload_types=[111, 63], ssrcs=[voice], extensions=[1], direction="sendrecv"
            ),
            video=MediaAnswer(
                payload_types=[96, 97], ssrcs=[picture, again], extensions=[1], direction="sendrecv"
            ),
        )

    def send(self, data: bytes) -> None:
        """Send a datagram as it is."""
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self._sendto, data)
        else:
            self._sendto(data)

    def check(self, *, pair: int = 0, nominated: bool = False, controlled: bool = False) -> None:
        """Send a check."""
        self.send(bytes(check(self.pairs[pair], nominated=nominated, controlled=controlled)))

    async def shake(self) -> None:
        """Send a check and shake hands as the DTLS server."""
        fingerprints = asyncio.get_running_loop().create_future()
        fingerprints.set_result([self.offer.fingerprint])
        self._shaking = asyncio.get_running_loop().create_task(
            self._association.handshake(fingerprints, role="server", deadline_s=DEADLINE_S)
        )
        await asyncio.sleep(0)
        self.check(nominated=True)
        self.keys = await self._shaking

    def rtp(self, packet: bytes) -> bytes:
        """Protect and send; return what was sent."""
        assert self.keys is not None
        data = self.keys.outbound.protect(packet)
        self.send(data)
        return data

    def rtcp(self, packet: bytes) -> None:
        """Protect and send."""
        assert self.keys is not None
        self.send(self.keys.outbound.protect_rtcp(packet))

    async def close(self) -> None:
        """Say goodbye and leave."""
        if self._shaking is not None:
            self._shaking.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._shaking
        await self._association.stop()
        if self._socket is not None:
            self._socket.close()

    def _sendto(self, data: bytes) -> None:
        if self._socket is not None and not self._socket.is_closing():
            self._socket.sendto(data)

    def _send_dtls(self, data: bytes) -> None:
        self.dtls_out += 1
        self.send(data)

    def _answer(self, check: stun.Message) -> None:
        """Answer a check: of a relay that wants a proof, or one that is not as lite as it says (Janus)."""
        found = next(each for each in self.offer.candidates if each.transport == "udp")
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, check.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = (found.address, found.port)
        answer.add_message_integrity(self.answer().ice.partition(":")[2].encode())
        self.send(bytes(answer))

    def _later(self, data: bytes) -> None:
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self._received, data)
        else:
            self._received(data)

    def _received(self, data: bytes) -> None:
        first = data[0]
        if first < 4:
            message = stun.parse_message(data)
            if message.message_class is stun.Class.REQUEST:
                if self.answers:
                    self._answer(message)
            else:
                self.responses.append(message)
        elif 20 <= first < 64:
            self.dtls_in += 1
            self._association.feed(data)
        elif self.keys is not None:
            if 192 <= data[1] < 224:
                self.rtcp_in.append(self.keys.inbound.unprotect_rtcp(data))
            else:
                self.rtp_in.append(self.keys.inbound.unprotect(data))


@contextlib.asynccontextmanager
async def relay(settings: PortSettings = LOOPBACK) -> AsyncIterator[RelayPort]:
    """An open relay port; at the end no task of anybody is left."""
    before = asyncio.all_tasks()
    port = RelayPort(settings)
    await port.open()
    try:
        yield port
    finally:
        await port.close()
        await asyncio.sleep(0)
        left = {
            task
            for task in asyncio.all_tasks() - before - {asyncio.current_task()}
            if not task.done()
        }
        assert not left, left


@contextlib.asynccontextmanager
async def connected(
    port: RelayPort,
    ssrcs: tuple[int, int, int] = (0x1111, 0x2222, 0x3333),
    wanted: MediaWanted | None = None,
) -> AsyncIterator[tuple[Leg, Offer, Peer]]:
    """A leg and its peer with keys on both sides."""
    leg, offer = port.mint(wanted)
    peer = await Peer(offer, ssrcs=ssrcs).open()
    port.accept(leg, peer.answer())
    try:
        await peer.shake()
        await until(lambda: leg.srtp_profile)
        yield leg, offer, peer
    finally:
        await peer.close()


@contextlib.asynccontextmanager
async def ticking(port: RelayPort, *, start_bps: float = START_BPS) -> AsyncIterator[Room]:
    """A room that is ticked every 10 ms."""

    def nothing(*told: object) -> None:
        pass

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            room.tick(time.monotonic())

    room = Room(
        "consult", clock=time.monotonic, drops=port.drops,
        on_limits=nothing, on_flowing=nothing, start_bps=start_bps,
    )  # fmt: skip
    ticker = asyncio.get_running_loop().create_task(tick())
    try:
        yield room
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
