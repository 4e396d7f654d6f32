# SPDX-License-Identifier: Apache-2.0
"""`selat relay` as a process, controlled by a node of the test: pool, seats, forwarding, outage, draining, nonsense."""

import asyncio
import json
import signal
import socket
import time

import msgspec
import pytest

from signalling.wire.ids import LegId
from signalling.wire.legs import LegSeated, LegsMinted, RelayStatus, Seat
from signalling.wire.messages import Error
from tests.support.fake_node import FakeNode
from tests.support.relay_peer import rtp
from tests.support.relay_process import TOKEN, Call, RelayProcess
from tests.support.until import until


@pytest.fixture
async def node():
    """A node of the test."""
    async with FakeNode() as node:
        yield node


@pytest.fixture
async def relay(node, tmp_path):
    """A relay that has said hello to it and minted its pool."""
    async with RelayProcess(tmp_path, node.url) as relay:
        await until(lambda: node.pool)
        yield relay


async def test_hello_then_status_census_and_pool(node, relay):
    """It says who it is, then at once what it can take, that nobody sits, and eight legs; then its status every second."""
    (hello,) = node.hellos
    assert (hello.token, hello.instance) == (TOKEN, relay.ready["instance"])
    kinds = [type(each).__name__ for each in node.heard[:4]]
    assert kinds == ["Hello", "RelayStatus", "LegsSeated", "LegsMinted"]
    assert node.status.legs == 0
    assert node.status.legs_max == 480
    assert not node.status.draining
    assert (node.seated.legs, node.seated.forwarding, node.seated.more) == ([], [], False)
    assert len(node.pool) == 8
    offer = next(iter(node.pool.values())).offer
    assert {(each.transport, each.port) for each in offer.candidates} == {
        ("udp", relay.ready["udp_port"]), ("tcp", relay.ready["tcp_port"])
    }  # fmt: skip
    assert len(msgspec.json.encode(offer)) < 2_500
    before = len(node.of(RelayStatus))
    await until(lambda: len(node.of(RelayStatus)) >= before + 2, 4.0)


async def test_two_people_talk(node, relay):
    """Seats, answers, forwarding: voice arrives both ways, and the node hears of every step and of the limits."""
    call = await Call(node).begin()
    await call.talk()
    for leg in call.legs:
        await until(lambda leg=leg: "flowing" in node.states(leg))
        assert node.states(leg)[0] == "connected"
        assert node.limits(leg)
    connected = next(each for each in node.heard if getattr(each, "state", "") == "connected")
    assert connected.ice_ms is not None
    assert connected.dtls_ms is not None
    await until(lambda: node.status.legs == 2)
    assert len(node.pool) == 8
    figures = await relay.metrics()
    assert figures["selat_relay_legs_seated"] == 2
    assert figures["selat_relay_consults_forwarding"] == 1
    assert figures['selat_relay_legs{state="connected"}'] == 2
    assert figures['selat_relay_rtp_packets_total{direction="sent"}'] >= 2
    assert figures["selat_relay_dtls_setup_seconds_count"] == 2
    await call.end()
    for leg in call.legs:
        await until(lambda leg=leg: node.states(leg)[-1] == "closed")
    await until(lambda: node.status.legs == 0)
    figures = await relay.metrics()
    assert figures['selat_relay_legs_ended_total{reason="peer"}'] == 2
    assert figures['selat_relay_rtp_packets_total{direction="sent"}'] >= 2


async def test_nothing_passes_before_and_after_forwarding(node, relay):
    """Without the node's word nothing is forwarded; after it took it back, nothing any more."""
    call = await Call(node).begin()
    await call.talk()
    await node.forward(call.consult)
    one, other = call.peers
    await until(lambda: node.connected)
    await asyncio.sleep(0.2)
    heard = len(other.rtp_in)
    received = (await relay.metrics())['selat_relay_rtp_packets_total{direction="received"}']
    for number in range(10):
        one.rtp(rtp(one.ssrcs[0], 5_000 + number))
    after = received
    while after < received + 10:
        after = (await relay.metrics())['selat_relay_rtp_packets_total{direction="received"}']
    await asyncio.sleep(0.2)
    assert len(other.rtp_in) == heard
    await call.end()


async def test_a_closed_leg_is_closed_for_its_browser(node, relay):
    """The node's word ends a leg: its place is free and the node hears of it once at most."""
    call = await Call(node).begin()
    await node.close_leg(call.legs[1])
    await until(lambda: node.status.legs == 1)
    await node.close_leg("no-such-leg")
    await call.end()


async def test_calls_go_on_without_control(node, relay):
    """The node is away for a while: the call does not notice; back again, the node is told of both seats."""
    call = await Call(node).begin()
    await call.talk()
    await node.close()
    for _ in range(5):
        await call.talk()
        await asyncio.sleep(0.1)
    node.heard.clear()
    await node.open()
    await until(lambda: node.of(LegsMinted))
    await call.talk()
    assert {each.leg for each in node.seated.legs} == set(call.legs)
    assert all(each.connected for each in node.seated.legs)
    assert {(each.participant, each.role) for each in node.seated.legs} == {
        ("patient-c1", "patient"), ("specialist-c1", "specialist")
    }  # fmt: skip
    assert node.seated.forwarding == ["c1"]
    assert len({each.instance for each in node.hellos}) == 1
    await call.end()


async def test_a_leg_of_an_earlier_connection_can_still_be_seated(node, relay):
    """A page that was given a leg while the connection broke finds its leg there."""
    old = next(iter(node.pool))
    await node.cut()
    await until(lambda: len(node.hellos) == 2 and len(node.pool) == 8)
    assert old not in node.pool
    await node.say(LegSeated(Seat(old, "c1", "p_c1", "page-instance", "patient")))
    await until(lambda: node.status.legs == 1)


async def test_an_unknown_leg_is_said_to_be_closed(node, relay):
    """A seat or an answer for a leg that is not there is answered, so that the node gives another one."""
    await node.say(LegSeated(Seat("gone", "c1", "p_c1", "page-instance", "patient")))
    await until(lambda: node.states("gone") == ["closed"])


async def test_draining_lets_calls_end_first(node, relay):
    """After SIGTERM it says so and mints nothing; it leaves when the last seat is empty."""
    call = await Call(node).begin()
    minted = len(node.of(LegsMinted))
    relay.signal(signal.SIGTERM)
    await until(lambda: node.status.draining)
    await call.talk()
    assert len(node.of(LegsMinted)) == minted
    for leg in call.legs:
        await node.close_leg(leg)
    assert await relay.ended(within_s=5.0) == 0
    await call.end()


async def test_an_idle_relay_leaves_at_once(node, relay):
    """Nobody sits: SIGTERM ends it within two seconds."""
    relay.signal(signal.SIGTERM)
    assert await relay.ended(within_s=2.0) == 0


async def test_the_second_signal_ends_it(node, relay):
    """Whoever insists is obeyed."""
    call = await Call(node).begin()
    relay.signal(signal.SIGTERM)
    await until(lambda: node.status.draining)
    relay.signal(signal.SIGTERM)
    assert await relay.ended(within_s=3.0) == 0
    await call.end()


async def test_draining_has_an_end(node, tmp_path):
    """A call that nobody moves is given up after media.drain_s."""
    async with RelayProcess(tmp_path, node.url, SELAT_MEDIA_DRAIN_S="1") as relay:
        call = await Call(node).begin()
        relay.signal(signal.SIGTERM)
        assert await relay.ended(within_s=5.0) == 0
        await call.end()


NONSENSE = [
    "", "{", "[]", "null", "1e999", '"x"', "{}", '{"type":"seat"}', '{"type":"nonsense","x":[[[]]]}',
    '{"type":"seat","seat":{"leg":"a b","consult":"c","participant":"p","instance":"i","role":"r"}}',
    '{"type":"leg_answer","leg":"x","answer":{}}', '{"type":"forwarding","consult":"","between":[1]}',
    '{"type":"forwarding","consult":"c","between":["a","a","a"]}', '{"type":"close_leg","leg":7}',
    '{"type":"welcome"}', '{"type":"error"}', '{"type":"ok"}', '{"type":"seat","seat":' + "[" * 5_000,
    '{"type":"forwarding","consult":"' + "x" * 60_000 + '","between":["p"]}', "\x00", "\udc80".encode("utf-8", "replace").decode(),
]  # fmt: skip


async def test_nonsense_is_passed_over(node, relay):
    """Whatever a node says, the relay stays, forwards on and counts what it could not read."""
    call = await Call(node).begin()
    for text in NONSENSE:
        await node.say_text(text)
    answer = call.peers[0].answer()
    for change in (
        {"fingerprints": ["sha-256 zz"]},
        {"ice": ""},
        {"audio": msgspec.structs.replace(answer.audio, payload_types=[], ssrcs=[])},
        {"video": msgspec.structs.replace(answer.video, ssrcs=[1, 1, 1, 1], payload_types=[0])},
    ):
        leg = await node.seat("c2", "p_c2", "patient", "page-instance")
        await node.answer(leg.leg, msgspec.structs.replace(answer, **change))
        await node.answer(leg.leg, answer)
        await node.say(LegSeated(Seat(leg.leg, "c3", "p_c3", "page-instance", "patient")))
    await node.forward("c2", "p_c2", "p_c2")
    await node.forward("c2", *[f"x{index}" for index in range(8)])
    for index in range(3_000):
        await node.forward(f"never{index}", "somebody")
    await call.talk()
    assert node.connected
    assert len(node.hellos) == 1
    figures = await relay.metrics()
    assert figures["selat_relay_control_unreadable_total"] >= 12
    assert figures["selat_relay_faults_total"] == 0
    await call.end()


async def test_a_refused_relay_tries_again(node, tmp_path):
    """A node that does not want it is asked again, ever more slowly, with the token as the file has it then."""
    node.refuses = Error(code="unauthenticated", re=1)
    async with RelayProcess(tmp_path, node.url) as relay:
        await until(lambda: len(node.hellos) >= 3)
        (tmp_path / "token").write_text("another-token-that-is-better")
        node.refuses = None
        await until(lambda: node.pool, 12.0)
        assert node.hellos[-1].token == "another-token-that-is-better"
        log = [json.loads(line) for line in relay.log.read_text().splitlines()]
        assert [each["event"] for each in log].count("control_unreachable") == 1
        assert TOKEN not in relay.log.read_text()


async def test_a_full_relay_says_no_more(node, tmp_path):
    """It mints as many legs as it may have, and goes on when one is free again."""
    async with RelayProcess(tmp_path, node.url, SELAT_MEDIA_LEGS_MAX="3") as relay:
        await until(lambda: len(node.pool) == 3)
        legs = [(await node.seat("c1", f"p{index}", "patient")).leg for index in range(3)]
        await until(lambda: node.status.legs == 3)
        assert node.status.legs_max == 3
        assert not node.pool
        await node.close_leg(LegId(legs[0]))
        await until(lambda: len(node.pool) == 1)
        assert relay.ready["pid"]


@pytest.mark.slow
async def test_a_node_that_hangs_is_left(node, tmp_path):
    """A server that accepts and never says a word is given up, and tried again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with RelayProcess(tmp_path, f"ws://127.0.0.1:{port}") as relay:
            began = time.monotonic()
            await until(lambda: b"TimeoutError" in relay.log.read_bytes(), 20.0)
            assert time.monotonic() - began < 15.0
