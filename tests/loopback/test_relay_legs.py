# SPDX-License-Identifier: Apache-2.0
"""Generated peers through a real relay port on loopback: connect, talk, move, fall silent, leave."""

import asyncio
import contextlib
import gc
import socket
import weakref

import pytest
from aioice import stun

from media.core import rtcp, rtcp_write
from media.relay import leg as legs
from media.relay.demux import LENGTH_MAX
from media.relay.drops import Drop
from media.relay.ice import TRIAL_S
from media.relay.leg import Ending, LegState
from media.relay.path import Weight
from media.relay.port import PortFull, PortSettings
from tests.support.relay_peer import Peer, check, connected, relay, rtp, ticking
from tests.support.rtp_packets import vp8
from tests.support.until import until

A = (0x1111, 0x2222, 0x3333)
B = (0x4444, 0x5555, 0x6666)


async def test_a_leg_connects_and_counts_its_set_up():
    """Check, handshake, keys for AES-256-GCM; the times of each are there."""
    async with relay() as port, connected(port) as (leg, _, peer):
        assert leg.state is LegState.CONNECTED
        assert leg.srtp_profile == peer.keys.profile == "SRTP_AEAD_AES_256_GCM"
        assert leg.timing.ice_s >= 0
        assert 0 < leg.timing.dtls_s < 5
        assert leg.path.transport == "udp"


async def test_the_handshake_takes_two_round_trips():
    """With 100 ms each way, keys are there 400 ms after the first check, not 600."""
    async with relay() as port:
        leg, offer = port.mint()
        peer = await Peer(offer).open()
        peer.delay_s = 0.1
        port.accept(leg, peer.answer())
        await peer.shake()
        await until(lambda: leg.srtp_profile)
        assert 0.4 <= leg.timing.dtls_s < 0.55
        await peer.close()


async def test_keys_wait_for_the_answer():
    """The handshake begins with the first check; media pass only after the answer proved who it was."""
    async with relay() as port:
        leg, offer = port.mint()
        peer = await Peer(offer).open()
        await peer.shake()
        peer.rtp(rtp(A[0], 1))
        await until(lambda: port.drops[Drop.UNKNOWN_SOURCE] or port.drops[Drop.SRTP_EARLY])
        assert leg.state is LegState.SECURING
        port.accept(leg, peer.answer())
        await until(lambda: leg.state is LegState.CONNECTED)
        await peer.close()


async def test_somebody_else_gets_no_keys():
    """A handshake made with another certificate than the answer's closes the leg."""
    async with relay() as port:
        leg, offer = port.mint()
        peer, stranger = await Peer(offer).open(), await Peer(offer).open()
        port.accept(leg, stranger.answer())
        await peer.shake()
        await until(lambda: leg.state is LegState.CLOSED)
        assert leg.ending is Ending.FINGERPRINT
        await peer.close()
        await stranger.close()


async def test_a_peer_that_never_shakes_hands_ends_at_the_deadline(monkeypatch):
    """Checks alone keep no handshake alive."""
    monkeypatch.setattr(legs, "HANDSHAKE_S", 0.3)
    async with relay() as port:
        leg, offer = port.mint()
        peer = await Peer(offer).open()
        peer.check()
        await until(lambda: leg.state is LegState.CLOSED)
        assert leg.ending is Ending.HANDSHAKE_FAILED
        await peer.close()


async def talk(one, other, number):
    """One packet of voice each way; return what arrived."""
    one.rtp(rtp(one.ssrcs[0], number))
    other.rtp(rtp(other.ssrcs[0], number))
    await until(lambda: one.rtp_in and other.rtp_in)
    return one.rtp_in.pop(), other.rtp_in.pop()


async def paired(port, stack):
    one = await stack.enter_async_context(connected(port, A))
    other = await stack.enter_async_context(connected(port, B))
    room = await stack.enter_async_context(ticking(port))
    for name, (leg, offer, peer) in (("one", one), ("other", other)):
        room.seat(name, leg, offer, "patient", name)
        room.answer(name, peer.answer())
    room.forward({"one", "other"})
    return room, one, other


@pytest.fixture
async def call():
    """Two connected legs that are forwarded to each other: (port, room, (leg, offer, peer), the same of the other)."""
    async with relay() as port, contextlib.AsyncExitStack() as stack:
        yield port, *await paired(port, stack)


def picture(ssrc, number, *, key=False, size=200):
    """A frame of one packet, with its marker."""
    data = bytearray(rtp(ssrc, number, payload_type=96, timestamp=number * 3_000,
                         payload=vp8(number & 0x7FFF, key=key, body=bytes(size))))  # fmt: skip
    data[1] |= 0x80
    return bytes(data)


async def test_packets_go_through_with_the_ssrc_that_was_offered(call):
    """Voice, RED, and a picture arrive whole under the SSRC of the receiver's own offer; then nothing any more."""
    port, room, (leg, _, a), (_, offer_b, b) = call
    for number, (data, theirs, payload) in enumerate(
        [
            (rtp(A[0], 1), offer_b.audio.ssrc, b"voice"),
            (rtp(A[0], 2, payload_type=63, payload=b"\x6fvoice"), offer_b.audio.ssrc, b"voice"),
            (sent := picture(A[1], 5, key=True), offer_b.video.ssrc, sent[12:]),
        ]
    ):
        a.rtp(data)
        await until(lambda: b.rtp_in)
        got = b.rtp_in.pop()
        assert int.from_bytes(got[8:12], "big") == theirs, number
        assert got.endswith(payload)
    a.rtp(rtp(A[0], 50, payload_type=120))
    await until(lambda: port.drops[Drop.NO_ROUTE])
    room.forward(set())
    before = leg.traffic.rtp_received
    a.rtp(rtp(A[0], 51))
    await until(lambda: leg.traffic.rtp_received > before)
    assert not b.rtp_in


async def test_what_a_sender_lost_is_asked_for_and_what_a_watcher_lost_is_repeated(call):
    """One NACK to A for its lost packet, its repetition on RTX; B's own NACK is answered by the relay alone."""
    _, _, (_, _, a), (_, offer_b, b) = call
    a.rtp(picture(A[1], 1, key=True))
    a.rtp(picture(A[1], 3))
    await until(
        lambda: [p for each in a.rtcp_in for p in rtcp.parse(each) if isinstance(p, rtcp.Nack)]
    )
    (lost,) = [p for each in a.rtcp_in for p in rtcp.parse(each) if isinstance(p, rtcp.Nack)]
    assert (lost.media_ssrc, lost.numbers) == (A[1], (2,))
    again = picture(A[1], 2)
    a.rtp(rtp(A[2], 1, payload_type=97, timestamp=6_000, payload=b"\x00\x02" + again[12:]))
    await until(lambda: len(b.rtp_in) == 3)
    first = b.rtp_in[0]
    b.rtcp(rtcp_write.nack(B[1], offer_b.video.ssrc, [(first[2] << 8) | first[3]]))
    await until(lambda: len(b.rtp_in) == 4)
    repeated = b.rtp_in[3]
    assert repeated[1] & 0x7F == 97
    assert repeated[-200:] == first[-200:]
    assert not [
        p for each in a.rtcp_in for p in rtcp.parse(each) if p != lost and isinstance(p, rtcp.Nack)
    ]


async def test_reports_reach_both_sides_within_two_seconds(call):
    """A is told how its voice arrives, B gets a sender report under the SSRC that it knows."""
    _, _, (_, _, a), (_, offer_b, b) = call
    a.rtp(rtp(A[0], 1))
    a.rtcp(rtcp_write.sender_report(rtcp.SenderReport(A[0], 5 << 32, 90, 3, 300)))

    def blocks(peer):
        return [block for data in peer.rtcp_in for part in rtcp.parse(data)
                if isinstance(part, rtcp.ReceiverReport | rtcp.SenderReport) for block in part.reports]  # fmt: skip

    def senders(peer):
        return [part.ssrc for data in peer.rtcp_in for part in rtcp.parse(data) if isinstance(part, rtcp.SenderReport)]  # fmt: skip

    a.rtp(rtp(A[0], 2))
    await until(lambda: blocks(a) and senders(b), 2.0)
    assert {block.ssrc for block in blocks(a)} == {A[0]}
    assert set(senders(b)) == {offer_b.audio.ssrc}


async def test_a_restart_with_a_spare_pair_needs_nobody(call):
    """A check with a spare from a new address: answered, followed, counted; keys and media go on."""
    _, _, (leg, _, a), (_, _, b) = call
    keys = leg.srtp_profile, leg._srtp
    await a.open()
    a.check(pair=3, nominated=True)
    await until(lambda: leg.traffic.restarts == 1)
    assert (leg.srtp_profile, leg._srtp) == keys
    await talk(a, b, 10)
    dtls = a.dtls_in
    a.check(pair=0)
    await until(lambda: leg.traffic.restarts == 2)
    assert a.dtls_in == dtls


async def test_an_address_that_changes_under_a_browser_is_followed_by_its_media(call):
    """The first packet from the new address already turns the way back."""
    _, _, (leg, _, a), (_, _, b) = call
    await talk(a, b, 1)
    old = leg.path
    await a.open()
    await talk(a, b, 2)
    assert leg.path is not old
    assert leg.traffic.moves == 2


async def test_a_stolen_packet_diverts_for_five_seconds_at_most(call):
    """Somebody else's address with a true packet: media go there until the trial ends, then back for good."""
    port, _, (leg, _, a), (_, _, b) = call
    await talk(a, b, 1)
    true = leg.path
    data = a.keys.outbound.protect(rtp(A[0], 2))
    thief = await Peer(a.offer).open()
    thief.answers = False  # he has no password
    thief.send(data)
    await until(lambda: leg.path != true)
    assert port.udp.addresses == 3
    now = port._clock()
    leg.sweep(now + TRIAL_S - 0.1)
    assert leg.path != true
    leg.sweep(now + TRIAL_S + 0.1)
    assert leg.path is true
    assert port.udp.addresses == 2
    thief.send(a.keys.outbound.protect(rtp(A[0], 3)))
    await until(lambda: leg.traffic.rtp_received == 3)
    assert leg.path is true
    await thief.close()


async def test_a_check_with_a_stranger_s_address_sends_him_five_seconds_at_most(call):
    """One who was named and is silent gets a few checks beside the media; then nothing any more."""
    port, _, (leg, _, a), (_, _, b) = call
    await talk(a, b, 1)
    true = leg.path
    victim = await Peer(a.offer).open()
    victim.answers = False
    victim.send(bytes(check(a.pairs[0], nominated=True)))
    await until(lambda: leg.path != true)
    b.rtp(rtp(B[0], 2))
    now = port._clock()
    leg.sweep(now + TRIAL_S - 0.1)
    assert leg.path != true
    leg.sweep(now + TRIAL_S + 0.1)
    assert leg.path is true
    assert port.udp.addresses == 2
    await victim.close()


async def test_a_browser_at_a_new_address_proves_itself_by_an_answer(call):
    """A move by a check is followed at once; one answer, and it stays for good, silent as it may be."""
    port, _, (leg, _, a), (_, _, b) = call
    await talk(a, b, 1)
    old = leg.path
    await a.open()
    a.check(pair=3, nominated=True)
    await until(lambda: leg.path != old and leg._rule.unproved is None)
    new = leg.path
    leg.sweep(port._clock() + 2 * TRIAL_S)
    assert leg.path is new
    await talk(a, b, 2)


async def test_a_path_that_never_answers_gets_the_voice_alone(call):
    """Heard from there, but no answer: after the trial pictures are withheld and counted, voices are not."""
    port, _, (leg, _, a), (_, _, b) = call
    await talk(a, b, 1)
    old = leg.path
    await a.open()
    a.answers = False
    a.check(nominated=True)
    await until(lambda: leg.path != old)
    await talk(a, b, 2)
    leg.sweep(port._clock() + TRIAL_S + 0.1)
    assert leg.path != old
    await talk(a, b, 3)
    b.rtp(picture(B[1], 1, key=True))
    await until(lambda: port.drops[Drop.PATH_UNPROVED])
    assert not a.rtp_in


async def test_a_replayed_packet_from_elsewhere_moves_nothing(call):
    """The same bytes again, and an older number that never arrived: refused, or taken without a move."""
    port, _, (leg, _, a), (_, _, b) = call
    older = a.keys.outbound.protect(rtp(A[0], 1))
    newer = a.rtp(rtp(A[0], 5))
    await until(lambda: b.rtp_in)
    thief, path = await Peer(a.offer).open(), leg.path
    thief.send(newer)
    await until(lambda: port.drops[Drop.SRTP_REPLAYED] == 1)
    thief.send(older)
    await until(lambda: leg.traffic.rtp_received == 2)
    assert leg.path is path
    await thief.close()


async def test_strangers_cost_nothing(call):
    """Noise, foreign checks, DTLS and SRTP from unknown addresses: no answer, no entry, no leg disturbed."""
    port, _, (_leg, _, a), (_, _, b) = call
    await talk(a, b, 1)
    stranger = await Peer(a.offer).open()
    unknown = Peer(port.mint()[1])
    before = port.demux.sizes(), port.udp.addresses
    for data in (
        bytes(check(a.pairs[0], key=b"guess")),
        bytes(check(unknown.pairs[0], key=b"guess")),
        b"\x16\xfe\xfd" + bytes(40),
        rtp(0x9999, 1),
        rtp(A[0], 9) + bytes(16),
        bytes(40),
        b"\xff" * 40,
        rtp(A[0], 9) + bytes(LENGTH_MAX),
    ):
        count = sum(port.drops.values())
        stranger.send(data)
        await until(lambda count=count: sum(port.drops.values()) > count)
    assert (port.demux.sizes(), port.udp.addresses) == before
    assert not stranger.responses
    assert not stranger.dtls_in
    await talk(a, b, 2)
    await stranger.close()


async def test_one_leg_may_not_fill_libsrtp_with_ssrcs(call):
    """Each SSRC costs memory in libsrtp for good: after 16 no more are taken."""
    port, _, (leg, _, a), _ = call
    for number in range(40):
        a.rtp(rtp(0x7000 + number, 1))
    await until(lambda: port.drops[Drop.SSRC_LIMIT])
    await until(lambda: leg.traffic.rtp_received + port.drops[Drop.SSRC_LIMIT] == 40)
    refused = port.drops[Drop.SSRC_LIMIT]
    for number in range(10):
        a.rtcp(rtcp_write.receiver_report(0x8000 + number))
    await until(lambda: port.drops[Drop.SSRC_LIMIT] == refused + 10)
    assert len(leg._ssrcs) == legs.SSRCS_MAX
    assert port.demux.sizes()[1] <= 2 * legs.SSRCS_MAX


async def test_silence_keeps_a_leg_for_15_minutes(call):
    """Nothing for 14 minutes 59: still there, and it talks at once. After 15: gone, without a trace."""
    port, _, (leg, _, a), (_, _, b) = call
    heard = leg.heard_at
    assert not leg.sweep(heard + 15 * 60 - 1)
    await talk(a, b, 1)
    assert leg.sweep(leg.heard_at + 15 * 60 + 1)
    await port.release(leg, Ending.SILENT)
    assert leg.state is LegState.CLOSED
    assert leg.ending is Ending.SILENT
    assert port.demux.sizes()[0] == len(call[3][0].credentials)


async def test_a_goodbye_closes_the_leg():
    """A browser that closes its connection says so by DTLS, and the leg goes at once."""
    async with relay() as port:
        async with connected(port) as (leg, _, peer):
            await peer.close()
            await until(lambda: leg.state is LegState.CLOSED)
            assert leg.ending is Ending.PEER
        assert port.demux.sizes() == (0, 0)
        assert port.udp.addresses == 0


async def test_legs_are_bounded_and_nothing_is_left():
    """No more legs than settings allow; after they are released every table is empty."""
    async with relay(PortSettings(host="127.0.0.1", legs_max=3)) as port:
        made = [port.mint()[0] for _ in range(3)]
        with pytest.raises(PortFull):
            port.mint()
        for leg in made:
            await port.release(leg)
        assert port.demux.sizes() == (0, 0)
        port.mint()


async def test_connections_come_and_go_without_a_rest():
    """Thirty connections made and closed: no task, address, ufrag or SSRC stays, and the objects are freed."""
    gone = []
    async with relay() as port:
        for _ in range(30):
            async with connected(port) as (leg, _, peer):
                leg.send_rtp(rtp(1, 1), Weight.VOICE)
                await until(lambda peer=peer: peer.rtp_in)
            await port.release(leg)
            gone.append(weakref.ref(leg))
        del leg, peer
        gc.collect()
        assert (port.demux.sizes(), port.udp.addresses, len(port.legs)) == ((0, 0), 0, 0)
        assert not [each for each in gone if each() is not None]


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
async def test_one_socket_serves_ipv4_and_ipv6():
    """A check from each family to the same port is answered with the address as that family writes it."""
    async with relay(PortSettings()) as port:
        _leg, offer = port.mint()
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.bind((host, 0))
                client.setblocking(False)
                client.connect((host, port.udp_port))
                client.send(bytes(check(Peer(offer).pairs[0])))
                async with asyncio.timeout(5):
                    data = await asyncio.get_running_loop().sock_recv(client, 1_500)
                mapped = stun.parse_message(data).attributes["XOR-MAPPED-ADDRESS"]
                assert mapped == client.getsockname()[:2]
        assert port.udp.addresses == 2
