# SPDX-License-Identifier: Apache-2.0
"""Every private name of aiortc, aioice and pylibsrtp that the relay stands on, used once for real."""

import asyncio
import datetime
from importlib.metadata import version

import pytest
from aiortc.rtcdtlstransport import SRTP_AES128_CM_SHA1_80

from media.relay import dtls, srtp
from media.relay.drops import Drop
from tests.support.relay_peer import rtp


def certificate() -> dtls.Certificate:
    return dtls.Certificate.make(datetime.datetime.now(datetime.UTC))


class Wire:
    """Two associations, each other's peer; ``lost``: how many of the first records of the client get lost."""

    def __init__(self, lost: int = 0) -> None:
        self.certificates = {"client": certificate(), "server": certificate()}
        self.client = dtls.Association(self.certificates["client"], self._from_client)
        self.server = dtls.Association(self.certificates["server"], self._from_server)
        self.lost = lost
        self.records = 0

    def _from_client(self, data: bytes) -> None:
        self.records += 1
        if self.lost:
            self.lost -= 1
        else:
            self.server.feed(data)

    def _from_server(self, data: bytes) -> None:
        self.client.feed(data)

    def expecting(self, fingerprint: str) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        future.set_result([fingerprint])
        return future

    async def shake(self, deadline_s: float = 10.0) -> tuple[dtls.Keys, dtls.Keys]:
        return await asyncio.gather(
            self.client.handshake(
                self.expecting(self.certificates["server"].fingerprint), deadline_s=deadline_s
            ),
            self.server.handshake(
                self.expecting(self.certificates["client"].fingerprint),
                role="server",
                deadline_s=deadline_s,
            ),
        )

    async def stop(self) -> None:
        await self.client.stop()
        await self.server.stop()


@pytest.fixture
async def wire():
    before = asyncio.all_tasks()
    made = Wire()
    yield made
    await made.stop()
    await made.stop()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not {task for task in left if not task.done()}


def test_the_version_is_the_one_that_was_looked_at():
    """The names below were read in aiortc 1.16 and aioice 0.13; another minor version is looked at first."""
    assert version("aiortc").startswith("1.16.")
    assert version("aioice").startswith("0.13.")
    assert version("pylibsrtp").startswith("1.0.")


async def test_a_handshake_with_itself_and_a_packet_each_way(wire):
    """Both ends get keys for AES-256-GCM that fit: one RTP and one RTCP packet go each way."""
    client, server = await wire.shake()
    assert client.profile == server.profile == "SRTP_AEAD_AES_256_GCM"
    one, other = srtp.Srtp(client), srtp.Srtp(server)
    report = bytes.fromhex("81c90007") + bytes(28)
    for sender, receiver in ((one, other), (other, one)):
        packet = rtp(0x1234, 1)
        assert receiver.unprotect_rtp(sender.protect_rtp(packet)) == packet
        assert receiver.unprotect_rtcp(sender.protect_rtcp(report)) == report


async def test_replays_and_forgeries_are_told_apart(wire):
    """A packet twice is a replay, a changed one unauthentic, an endless one refused: each by its reason."""
    client, server = (srtp.Srtp(keys) for keys in await wire.shake())
    data = client.protect_rtp(rtp(0x1234, 1))
    server.unprotect_rtp(data)
    for broken, why in (
        (data, Drop.SRTP_REPLAYED),
        (data[:-1] + bytes([data[-1] ^ 1]), None),
        (client.protect_rtp(rtp(0x1234, 2))[:-1] + b"\0", Drop.SRTP_UNAUTHENTIC),
        (b"\x80", Drop.SRTP_UNAUTHENTIC),
        (bytes(3_000), Drop.SRTP_UNAUTHENTIC),
    ):
        with pytest.raises(srtp.SRTP_ERRORS) as error:
            server.unprotect_rtp(broken)
        if why is not None:
            assert srtp.reason(error.value) is why


async def test_the_first_flight_leaves_before_the_peer_is_known(wire):
    """The handshake runs while the answer is still on its way, and gives keys only when it came and fitted."""
    answer = asyncio.get_running_loop().create_future()
    shaking = asyncio.create_task(wire.client.handshake(answer, deadline_s=10.0))
    await wire.server.handshake(
        wire.expecting(wire.certificates["client"].fingerprint), role="server", deadline_s=10.0
    )
    await asyncio.sleep(0.05)
    assert not shaking.done()
    answer.set_result([wire.certificates["server"].fingerprint])
    assert (await shaking).profile == "SRTP_AEAD_AES_256_GCM"


async def test_somebody_else_is_refused(wire):
    """A certificate that is not the one of the answer gives no keys."""
    stranger = certificate().fingerprint
    shaking = asyncio.create_task(wire.client.handshake(wire.expecting(stranger), deadline_s=10.0))
    await wire.server.handshake(
        wire.expecting(wire.certificates["client"].fingerprint), role="server", deadline_s=10.0
    )
    with pytest.raises(dtls.DtlsFailed) as failed:
        await shaking
    assert failed.value.code == "fingerprint"


async def test_a_peer_without_gcm_is_refused(wire):
    """Only AES-GCM is offered: a peer that knows nothing else gets no keys."""
    begin = wire.server._dtls.begin

    def old(role):
        begin(role)
        wire.server._dtls._srtp_profiles = [SRTP_AES128_CM_SHA1_80]

    wire.server._dtls.begin = old
    with pytest.raises(dtls.DtlsFailed) as failed:
        await wire.shake()
    assert failed.value.code == "profile"


async def test_fingerprints_of_unknown_kinds_prove_nothing():
    """Only a known digest counts, all known ones must fit, and there must be one."""
    made = certificate()
    sha = {each.algorithm: each.value for each in made.getFingerprints()}
    assert dtls.fits(made._cert, [f"SHA-256 {sha['sha-256'].lower()}"])
    assert dtls.fits(made._cert, [f"sha-512 {sha['sha-512']}", "md5 00:11"])
    assert not dtls.fits(made._cert, ["md5 00:11"])
    assert not dtls.fits(made._cert, [])
    assert not dtls.fits(made._cert, [f"sha-256 {sha['sha-256']}", "sha-512 00:11"])


async def test_a_silent_peer_ends_at_the_deadline():
    """No answer at all: an error at the deadline, and no task left."""
    before = asyncio.all_tasks()
    alone = dtls.Association(certificate(), lambda data: None)
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(dtls.DtlsFailed) as failed:
        await alone.handshake(future, deadline_s=0.2)
    assert failed.value.code == "deadline"
    await alone.stop()
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}


async def test_a_lost_flight_is_sent_again():
    """OpenSSL's timer is served: the first record lost costs a second, not the connection."""
    wire = Wire(lost=1)
    keys, _ = await wire.shake()
    assert keys.profile == "SRTP_AEAD_AES_256_GCM"
    assert wire.records >= 3
    await wire.stop()


async def test_garbage_does_not_stop_a_handshake(wire):
    """DTLS records of nonsense before and after the true ones change nothing, and their number is bounded."""
    assert wire.client.feed(b"\x16\xfe\xfd" + bytes(40))
    await wire.shake()
    fed = [wire.client.feed(b"\x17\xfe\xfd" + bytes(40)) for _ in range(40)]
    assert fed.count(True) == dtls.INBOX_MAX


async def test_the_peers_goodbye_is_heard(wire):
    """close_notify of the other end is told once."""
    await wire.shake()
    heard = asyncio.Event()
    wire.client.on_end(heard.set)
    await wire.server.stop()
    async with asyncio.timeout(2.0):
        await heard.wait()
    assert wire.client.closed_by_peer


async def test_one_context_serves_many_associations():
    """Two handshakes on the same certificate object use one OpenSSL context and get different keys."""
    shared = certificate()
    profiles = []
    for _ in range(2):
        wire = Wire()
        wire.certificates["client"] = shared
        wire.client = dtls.Association(shared, wire._from_client)
        keys, _ = await wire.shake()
        profiles.append(srtp.Srtp(keys).protect_rtp(rtp(1, 1)))
        await wire.stop()
    assert profiles[0] != profiles[1]
    assert shared._create_ssl_context([]) is shared._create_ssl_context([])


async def test_what_is_left_of_an_association_says_goodbye(wire):
    """OpenSSL takes the goodbye of what stands for its peer, and ends; a server's association stays whole."""
    await wire.shake()
    assert await wire.server.reduce() is None
    left = await wire.client.reduce()
    heard = asyncio.Event()
    wire.server.on_end(heard.set)
    wire.server.feed(left.said())
    async with asyncio.timeout(5):
        await heard.wait()


async def test_what_is_left_of_an_association_hears_goodbye(wire, monkeypatch):
    """It knows OpenSSL's goodbye, also behind another record; anything else, and a goodbye with one bit changed, is none."""
    await wire.shake()
    left = await wire.client.reduce()
    said = []
    monkeypatch.setattr(wire.client, "feed", said.append)
    await wire.server.stop()
    (goodbye,) = said
    assert left.heard(goodbye)
    other = bytes.fromhex("16fefd0001000000000009000441424344")
    assert left.heard(other + goodbye)
    for place in range(len(goodbye)):
        forged = bytearray(goodbye)
        forged[place] ^= 1
        assert not left.heard(bytes(forged)), place
    assert not any(left.heard(goodbye[:size]) for size in range(len(goodbye)))
    assert not left.heard(left.said())
    assert not left.heard(other * 20)
