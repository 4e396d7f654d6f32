# SPDX-License-Identifier: Apache-2.0
"""Two nodes on one Redis: who sits on which must not matter."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from signalling.edge import connections, keys
from signalling.store.base import Recorded
from signalling.wire.ids import ConsultId
from tests.support import content
from tests.support.clinic import QUICK, Call, Clinic, config, form, open_clinic
from tests.support.fake_relay import FakeRelay, Page, first_legs, standby_legs
from tests.support.graces import Graces
from tests.support.peer import SDP, Peer
from tests.support.redis_server import RedisServer
from tests.support.until import until

pytestmark = pytest.mark.redis


@pytest.fixture
def store_url(redis_server: RedisServer) -> str:
    redis_server.command("FLUSHALL")
    return redis_server.url


@dataclass
class Nodes:
    """Node ``a`` and node ``b``; ``close_b`` ends the second as an operator would."""

    a: Clinic
    b: Clinic
    _b: AsyncExitStack

    async def close_b(self) -> None:
        await self._b.aclose()


POLICY = replace(QUICK, presence_s=3.0, call_check_s=1.0)
"""Leases short enough for a test to wait for their end."""


@pytest.fixture
async def nodes(
    no_leaks: None, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(connections, "RENEW_S", 0.5)
    settings = config(tmp_path, store_url, consult=POLICY)
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        a = await first.enter_async_context(open_clinic(settings))
        b = await second.enter_async_context(open_clinic(settings))
        yield Nodes(a, b, second)


def at(node: Clinic, peer: Peer) -> Peer:
    """Let a peer's next connection go to this node, as a load balancer would."""
    peer.url, peer.http = node.url, node.http
    node.peers.append(peer)
    return peer


def lag(node: Clinic, seconds: float) -> None:
    """Let a node hear late of what others write, as it does behind a slow network."""
    ledger = node.node.ledger
    take = ledger._take

    async def late(recorded: Recorded) -> None:
        await asyncio.sleep(seconds)
        await take(recorded)

    ledger._take = late  # type: ignore[method-assign]


async def test_whole_call_across_nodes(nodes: Nodes) -> None:
    """Rung, accepted, negotiated, talked and ended with the patient on one node and the specialist on the other."""
    call = await nodes.a.call(elsewhere=nodes.b)
    patient, specialist = call.patient, call.specialist
    description = {"type": "offer", "sdp": SDP}
    await specialist.send("description", consult=call.consult, description=description)
    offer = await patient.wait_for(lambda m: m["type"] == "description")
    assert (offer["sender"], offer["instance"]) == (specialist.account, specialist.instance)
    answer = {"type": "answer", "sdp": SDP}
    await patient.send("description", consult=call.consult, description=answer)
    got = await specialist.wait_for(lambda m: m["type"] == "description")
    assert got["sender"] == f"p_{call.consult}"
    for i in range(20):
        await asyncio.gather(patient.chat(f"p{i}"), specialist.chat(f"s{i}"))
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: len(s.said) >= 40)
        assert sorted(side.said) == sorted(f"{who}{i}" for who in "ps" for i in range(20))
    assert patient.said == specialist.said
    await specialist.done("end", consult=call.consult, outcome="advice", summary="Minum air")
    assert (await patient.until_state("ended"))["summary"] == "Minum air"


async def test_descriptions_wait_for_the_view(nodes: Nodes) -> None:
    """However late the patient's node hears of the call, its page knows of it before the first description comes."""
    specialist = await nodes.b.specialist()
    lag(nodes.a, 0.05)
    for _ in range(3):
        patient = await nodes.a.patient()
        await specialist.wait_until(
            lambda p=patient: specialist.desk.get("ring", {}).get("consult") == p.consult
        )
        await specialist.done("accept", consult=patient.consult)
        await specialist.wait_until(
            lambda p=patient: specialist.view.get("peer", {}).get("instance") == p.instance
        )
        description = {"type": "offer", "sdp": SDP}
        await specialist.send("description", consult=patient.consult, description=description)
        await patient.wait_for(lambda m: m["type"] == "description")
        kinds = [
            m["type"]
            for m in patient.messages
            if m["type"] == "description" or m.get("state") == "in_call"
        ]
        assert kinds[0] == "consult"
        await specialist.done("end", consult=patient.consult, outcome="advice")
        await specialist.until_desk("available")


async def test_either_side_moves_to_the_other_node(nodes: Nodes) -> None:
    """A page that reconnects elsewhere keeps its call; the other side sees the same page load; the old socket is closed."""
    call = await nodes.a.call(elsewhere=nodes.b)
    await call.patient.chat("one")
    old_reader = call.patient
    tab = at(nodes.b, nodes.a.peer(call.patient.token, call.consult))
    tab.instance = old_reader.instance
    await tab.open(consult=call.consult, cursor=old_reader.cursor)
    assert await old_reader.until_closed() == 4012
    await call.specialist.chat("two")
    await tab.wait_until(lambda: tab.said == ["two"])
    await call.specialist.wait_until(
        lambda: call.specialist.view["peer"].get("instance") == tab.instance
    )
    other = at(nodes.a, nodes.b.peer(call.specialist.token, call.consult))
    await other.open()
    assert await call.specialist.until_closed() == 4010
    await tab.wait_until(lambda: tab.view["peer"].get("instance") == other.instance)
    await other.chat("three")
    await tab.wait_until(lambda: tab.said == ["two", "three"])


async def test_gone_is_told_across_nodes(nodes: Nodes) -> None:
    """A page that closes on one node is seen as gone on the other at once, as away after the grace, as back when back."""
    call = await nodes.a.call(elsewhere=nodes.b)
    await call.patient.lose()
    await call.specialist.wait_until(lambda: "instance" not in call.specialist.view["peer"])
    await call.specialist.until_state("interrupted")
    await call.patient.reconnect()
    await call.specialist.wait_until(
        lambda: call.specialist.view["peer"].get("instance") == call.patient.instance
    )
    await call.specialist.until_state("in_call")


async def test_node_closes(nodes: Nodes) -> None:
    """A node that stops sends its people away with 4012; on the other node the call goes on without a lost line."""
    call = await nodes.a.call(elsewhere=nodes.b)
    await call.specialist.chat("before")
    token, cursor = call.specialist.token, call.specialist.cursor
    closing = asyncio.create_task(nodes.close_b())
    assert await call.specialist.until_closed() == 4012
    moved = nodes.a.peer(token, call.consult)
    moved.instance = call.specialist.instance
    await moved.open(consult=call.consult, cursor=cursor)
    await moved.until_state("in_call")
    await call.patient.chat("after")
    await moved.wait_until(lambda: moved.said[-1:] == ["after"])
    await call.patient.wait_until(
        lambda: call.patient.view["peer"].get("instance") == moved.instance
    )
    await moved.done("end", consult=call.consult, outcome="advice")
    await call.patient.until_state("ended")
    await closing


async def test_node_dies_without_goodbye(nodes: Nodes) -> None:
    """A node that is suddenly dead: its specialist's lease runs out and the patient is told; coming back is possible."""
    call = await nodes.a.call(elsewhere=nodes.b)
    token = call.specialist.token
    # As SIGKILL leaves it: sockets gone, nothing said, nothing renewed.
    gate = nodes.b.node.app[keys.GATE]
    gate.draining = True  # no goodbye
    gate._connections._leases.clear()
    for connection in list(gate._connections):
        gate._connections._by_participant.pop(connection.participant)
        await nodes.b.node.store.close_inbox(connection.participant)
        connection.socket.cut()
    view = await call.patient.until_state("interrupted", deadline_s=15.0)
    assert view["away"] == ["specialist"]
    moved = nodes.a.peer(token, call.consult)
    await moved.open()
    await call.patient.until_state("in_call")


async def test_takeover_asked_on_one_node_allowed_on_the_other(nodes: Nodes) -> None:
    """Asked at one node, decided at the other, taken up at once at the first: nobody is called displaced wrongly."""
    specialist = await nodes.b.specialist()
    made = await nodes.a.node.consults.invite()
    joined = await nodes.b.ok("/api/join", {"token": made.token})
    patient = nodes.a.peer(joined["session"], joined["consult"])
    assert (await patient.open())["type"] == "welcome"
    await patient.done("intake", form=form())
    await nodes.a.connect(patient, specialist)
    asked = (await nodes.a.api("/api/takeover", {"token": made.token})).body
    await specialist.wait_until(lambda: specialist.view.get("takeovers"))
    await specialist.done(
        "decide_takeover", consult=joined["consult"], request=asked["request"], allow=True
    )
    reply = await nodes.a.api("/api/takeover/poll", asked)
    assert reply.status == 200
    page = nodes.a.peer(reply.body["session"], joined["consult"])
    assert (await page.open())["type"] == "welcome"
    assert await patient.until_closed() == 4010
    await page.until_state("in_call")


async def test_joined_on_one_node_connected_on_the_other(nodes: Nodes) -> None:
    """A session made by one node opens a socket on the other, however late that hears of it; so does a resume secret."""
    lag(nodes.b, 0.2)
    for _ in range(2):
        made = await nodes.b.node.consults.invite()
        joined = await nodes.a.ok("/api/join", {"token": made.token})
        body = {"consult": joined["consult"], "resume": joined["resume"]}
        assert (await nodes.b.api("/api/resume", body)).status == 200
        made = await nodes.b.node.consults.invite()
        joined = await nodes.a.ok("/api/join", {"token": made.token})
        page = nodes.b.peer(joined["session"], joined["consult"])
        assert (await page.open())["type"] == "welcome"


async def test_page_that_knows_more_than_its_node(nodes: Nodes) -> None:
    """A page that moves to a node which has not heard of its newest lines yet does not get them a second time."""
    call = await nodes.a.call(elsewhere=nodes.b)
    lag(nodes.a, 1.0)
    for i in range(4):
        await call.specialist.chat(f"s{i}")
    await call.specialist.wait_until(lambda: len(call.specialist.said) == 4)
    assert nodes.a.consult(call.consult).version < await nodes.a.version(call.consult)
    page = at(nodes.a, call.specialist)
    await page.reconnect()
    await call.patient.chat("last")
    for side in (page, call.patient):
        await side.wait_until(lambda s=side: s.said[-1:] == ["last"])
        await side.ping()
        assert side.said == ["s0", "s1", "s2", "s3", "last"]


async def test_one_ring_for_two_nodes(nodes: Nodes) -> None:
    """Specialists and patients spread over both nodes: each patient gets one specialist, each specialist one patient."""
    staff = [await (nodes.a if i % 2 else nodes.b).specialist() for i in range(4)]
    patients = [await (nodes.b if i % 2 else nodes.a).patient() for i in range(4)]
    for who in staff:
        await who.wait_until(lambda w=who: w.desk.get("ring"))
    rung = {who.desk["ring"]["consult"] for who in staff}
    assert rung == {p.consult for p in patients}
    await asyncio.gather(*(w.done("accept", consult=w.desk["ring"]["consult"]) for w in staff))
    for patient in patients:
        await patient.until_state("in_call")
    assert len({p.view["peer"]["participant"] for p in patients}) == 4


async def test_disabled_on_one_node_leaves_the_other(nodes: Nodes) -> None:
    """An account closed at one node is disconnected from the other."""
    specialist = await nodes.b.specialist()
    await nodes.a.node.ledger.presence(specialist.account)  # type: ignore[arg-type]
    await nodes.a.node.house.set_account(specialist.account, disabled=True)  # type: ignore[arg-type]
    assert await specialist.until_closed() == 4011


# -- relays ------------------------------------------------------------------------------------------------------------


async def relayed(nodes: Nodes, relays: Sequence[FakeRelay], pages: list[Page]) -> Call:
    """Return a relayed call with the patient on ``a``, where the relays are, and the specialist on ``b``."""
    specialist = await nodes.b.specialist()
    patient = await nodes.a.patient()
    pages += [Page(specialist), Page(patient)]
    call = await nodes.a.connect(patient, specialist)
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: first_legs(s))
    await until(lambda: sum(len(r.answers) for r in relays) == 2)
    return call


@pytest.fixture
async def pages() -> AsyncIterator[list[Page]]:
    """Pages that answer their legs; they end after the test."""
    made: list[Page] = []
    yield made
    for page in made:
        await page.stop()


async def test_a_relay_of_another_node(nodes: Nodes, pages: list[Page]) -> None:
    """The specialist's leg is of the relay of the patient's node: given, answered, limited and closed across nodes."""
    relay = await FakeRelay.start(nodes.a)
    call = await relayed(nodes, [relay], pages)
    sides = {f"p_{call.consult}", call.specialist.account}
    await until(lambda: set(relay.forwarding.get(call.consult, [])) == sides)
    leg = relay.seat_of(call.specialist.account)["leg"]
    assert leg == first_legs(call.specialist)[0]["leg"]
    await relay.send("limit_leg", leg=leg, limits={"videoMaxBps": 60_000})
    got = await call.specialist.wait_for(lambda m: m["type"] == "limits")
    assert got["leg"] == leg
    await call.specialist.reconnect()
    await call.specialist.ping()
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await until(lambda: not relay.seats)
    assert sorted(relay.closed) == sorted(relay.ever)
    assert len(relay.ever) == 2


async def test_what_a_page_says_reaches_the_relay_of_another_node(
    nodes: Nodes, pages: list[Page]
) -> None:
    """A wish, a brake and what content takes of a link, from the page that is not on the relay's node."""
    relay = await FakeRelay.start(nodes.a)
    call = await relayed(nodes, [relay], pages)
    doctor = call.specialist
    await until(lambda: len(relay.forwarding.get(call.consult, [])) == 2)
    await doctor.send("wish", consult=call.consult, wish="detail")
    leg = relay.seat_of(doctor.account)["leg"]
    await doctor.send("braked", consult=call.consult, leg=leg)
    await until(lambda: relay.of("braked"))
    assert [said["leg"] for said in relay.of("braked")] == [leg]
    await content.trickle(doctor, 12_000)
    await until(lambda: relay.of("carried_beside"))
    for kind in ("wish", "carried_beside"):
        said = relay.of(kind)[-1]
        assert (said["consult"], said["participant"]) == (call.consult, doctor.account)


@pytest.mark.parametrize("way", ["killed", "stopped"])
async def test_a_relay_of_another_node_dies(nodes: Nodes, pages: list[Page], way: str) -> None:
    """Whichever node hears of the trouble, both pages come to the other relay, or to a direct call without one."""
    relays = [await FakeRelay.start(nodes.a, name) for name in ("one", "two")]
    call = await relayed(nodes, relays, pages)
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: standby_legs(s))
    on = next(r for r in relays if r.id == nodes.a.consult(call.consult).relay)
    other = next(r for r in relays if r is not on)
    await (on.lose() if way == "killed" else on.freeze())
    trouble = {
        "consult": call.consult,
        "leg": first_legs(call.patient)[0]["leg"],
        "silentMs": 2_000,
    }
    who = call.patient if way == "killed" else call.specialist
    for side in (call.patient, call.specialist):
        for _ in range(2 if side is who else 0):
            await side.send("leg_trouble", **trouble)
    for side in (call.patient, call.specialist):
        switch = await side.wait_for(lambda m: m["type"] == "leg_switch")
        assert switch["leg"] == standby_legs(side)[0]["leg"]
    await until(lambda: len(other.forwarding.get(call.consult, [])) == 2)
    await other.lose()
    await call.specialist.send("leg_trouble", **trouble)
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: s.view.get("route", "direct") == "direct")


async def test_a_relay_changes_its_node(nodes: Nodes, pages: list[Page]) -> None:
    """A relay that reconnects to another node is that one's: nobody notices, and its legs are closed there in the end."""
    relay = await FakeRelay.start(nodes.a)
    call = await relayed(nodes, [relay], pages)
    await until(lambda: relay.forwarding.get(call.consult))
    version = nodes.a.consult(call.consult).version
    await relay.lose()
    at(nodes.b, relay)
    await relay.connect()
    await until(lambda: nodes.b.metric("legs_seated") == 2)
    await call.patient.reconnect()
    await call.patient.ping()
    assert nodes.a.consult(call.consult).version == version
    assert len(relay.ever) == 2
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await until(lambda: not relay.seats)
    assert sorted(relay.closed) == sorted(relay.ever)
    assert not relay.carried()


async def test_absences_on_two_nodes_are_judged_each(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost here, back and lost there: the node that saw the first loss learns of the return and leaves the second to it."""
    call = await nodes.a.call(elsewhere=nodes.b)
    graces = Graces(monkeypatch)
    await call.patient.lose()
    await graces.began(1)
    tab = at(nodes.b, nodes.a.peer(call.patient.token, call.consult))
    tab.instance = call.patient.instance
    await tab.open()
    await tab.chat("here again")
    participant = connections.patient_of(ConsultId(call.consult))
    gate = nodes.a.node.app[keys.GATE]
    await until(lambda: participant not in gate._connections._left)
    await tab.lose()
    await graces.began(2)
    graces.end(0)
    await until(lambda: not gate._tasks)
    await call.specialist.chat("are you there?")
    assert "lost" not in [e["kind"] for e in call.specialist.entries]
    assert nodes.b.consult(call.consult).state == "in_call"
    graces.end(1)
    await call.specialist.until_state("interrupted")
    graces.end_all()
