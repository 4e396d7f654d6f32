# SPDX-License-Identifier: Apache-2.0
"""Relays at a node: who is given a leg when, what is forwarded, and that no leg is left over. Also what a liar gets."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from signalling.config import MediaConfig
from signalling.core import routes
from signalling.wire.legs import POOL_MAX
from tests.integration.conftest import OpenNode
from tests.support.clinic import Call, Clinic, config, form, open_clinic
from tests.support.fake_relay import (
    ANSWER,
    OFFER,
    POOL,
    FakeRelay,
    Page,
    first_legs,
    relay_token,
    standby_legs,
)
from tests.support.peer import Peer


async def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    """Wait until something holds that no one message says."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what a relay has, no message says
            await asyncio.sleep(0.005)


@pytest.fixture
async def pages() -> AsyncIterator[Callable[[Peer], Page]]:
    """Make pages that answer their legs."""
    async with AsyncExitStack() as stack:

        def make(peer: Peer, **given: Any) -> Page:
            page = Page(peer, **given)
            stack.push_async_callback(page.stop)
            return page

        yield make


Pages = Callable[..., Page]


async def relayed_call(clinic: Clinic, pages: Pages, specialist: Peer | None = None) -> Call:
    """Bring up a call whose legs are connected."""
    specialist = specialist or await clinic.specialist()
    pages(specialist)
    patient = await clinic.patient()
    pages(patient)
    call = await clinic.connect(patient, specialist)
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: first_legs(s))
    return call


def events_of(clinic: Clinic, consult: str) -> int:
    return int(clinic.consult(consult).version)


# -- who is given a leg when ---------------------------------------------------------------------------------------


async def test_the_next_in_line_is_warmed(clinic: Clinic) -> None:
    """With the intake the patient's view says `relayed`, in one view, and a leg comes; the relay knows whose it is."""
    relay = await FakeRelay.start(clinic)
    await clinic.specialist()
    patient = await clinic.patient()
    await patient.wait_until(lambda: first_legs(patient))
    (leg,) = first_legs(patient)
    assert leg["offer"] == OFFER
    assert leg["consult"] == patient.consult
    waiting = [v for v in patient.of("consult") if v["state"] in ("waiting", "ringing")]
    assert {v["route"] for v in waiting} == {"relayed"}
    await until(lambda: relay.seats)
    seat = relay.seats[leg["leg"]]
    assert (seat["participant"], seat["role"]) == (f"p_{patient.consult}", "patient")
    assert seat["instance"] == patient.instance


async def test_only_those_next_in_line_are_warmed(clinic: Clinic) -> None:
    """One specialist on call: three patients are warm, the fourth is not; when the first is answered, the fourth is."""
    relay = await FakeRelay.start(clinic)
    specialist = await clinic.specialist()
    patients = [await clinic.patient() for _ in range(4)]
    for patient in patients[:3]:
        await patient.wait_until(lambda p=patient: first_legs(p))
    await patients[3].until_state("waiting")
    await asyncio.sleep(0.7)  # a look or two later
    assert not first_legs(patients[3])
    await clinic.connect(patients[0], specialist)
    await patients[3].wait_until(lambda: first_legs(patients[3]))
    assert routes.WARM_PER_SPECIALIST == 3
    await until(lambda: all(relay.has(f"p_{p.consult}") for p in patients))


async def test_at_the_latest_when_it_rings(clinic: Clinic) -> None:
    """Nobody on call: nobody is warm. The ring binds the consult, and both have a leg before anybody accepts."""
    relay = await FakeRelay.start(clinic)
    patient = await clinic.patient()
    await patient.until_state("waiting")
    assert not patient.of("leg")
    specialist = await clinic.specialist()
    await specialist.wait_until(lambda: first_legs(specialist))
    await patient.wait_until(lambda: first_legs(patient))
    assert patient.view["state"] == "ringing"
    assert relay.seat_of(specialist.account)["role"] == "specialist"


async def test_a_call(clinic: Clinic, pages: Pages) -> None:
    """Answers reach the relay; it forwards from the accept to the end; then every leg is closed, once."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.answers) == 2)
    assert set(map(json.dumps, relay.answers.values())) == {json.dumps(ANSWER)}
    sides = {f"p_{call.consult}", call.specialist.account}
    await until(lambda: set(relay.forwarding.get(call.consult, [])) == sides)
    for side in (call.patient, call.specialist):
        assert side.view["route"] == "relayed"
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await until(lambda: not relay.seats)
    assert sorted(relay.closed) == sorted(relay.ever)
    assert relay.forwarding[call.consult] == []
    assert clinic.metric("leg_ice_seconds_count") == 2
    assert clinic.metric("legs_closed_total") == 2


async def test_decline_closes_the_specialists_leg(clinic: Clinic) -> None:
    """Who declines loses the leg; the patient keeps theirs; the next one who is rung gets one of the same relay."""
    relay = await FakeRelay.start(clinic)
    first = await clinic.specialist()
    patient = await clinic.patient()
    await first.wait_until(lambda: first_legs(first))
    second = await clinic.specialist()
    await first.done("decline", consult=patient.consult, reason="busy")
    await second.wait_until(lambda: first_legs(second))
    await until(lambda: relay.closed == [first_legs(first)[0]["leg"]])
    assert len(first_legs(patient)) == 1
    assert relay.has(f"p_{patient.consult}")


async def test_a_transfer_keeps_the_patients_leg(clinic: Clinic, pages: Pages) -> None:
    """A hand-over stops the forwarding and closes the specialist's leg only; the next call begins on the same one."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: relay.forwarding.get(call.consult))
    second = await clinic.specialist()
    await call.specialist.done("transfer", consult=call.consult, specialty="general")
    await clinic.connect(call.patient, second)
    sides = {f"p_{call.consult}", second.account}
    await until(lambda: set(relay.forwarding[call.consult]) == sides)
    assert relay.closed == [first_legs(call.specialist)[0]["leg"]]
    assert len(first_legs(call.patient)) == 1
    said = [m["between"] for m in relay.of("forwarding")]
    assert [bool(between) for between in said] == [True, False, True]


async def test_reload_and_resume(clinic: Clinic, pages: Pages) -> None:
    """A lost socket keeps the leg; a reload gets another one, and the old one is closed."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.answers) == 2)
    before = len(call.patient.of("leg"))
    await call.patient.reconnect()
    await call.patient.ping()
    assert len(call.patient.of("leg")) == before
    assert not relay.closed
    old = first_legs(call.patient)[0]["leg"]
    await call.patient.lose()
    call.patient.instance = "reloaded-page-1"
    await call.patient.open()
    await call.patient.wait_until(lambda: len(first_legs(call.patient)) == before + 1)
    await until(lambda: relay.closed == [old])
    assert relay.seat_of(f"p_{call.consult}")["instance"] == "reloaded-page-1"
    await asyncio.sleep(0.1)
    assert len(relay.seats) == 2


async def test_a_leg_that_may_have_got_lost_is_sent_again(clinic: Clinic) -> None:
    """A page that lost its socket before it answered is sent the same leg, not a second one."""
    relay = await FakeRelay.start(clinic)
    await clinic.specialist()
    patient = await clinic.patient()
    await patient.wait_until(lambda: first_legs(patient))
    await patient.reconnect()
    await patient.wait_until(lambda: len(first_legs(patient)) == 2)
    assert len({m["leg"] for m in first_legs(patient)}) == 1
    assert len(relay.ever) == 2  # the specialist's is the other


async def test_limits_reach_the_page(clinic: Clinic, pages: Pages) -> None:
    """What the relay allows a leg is said to its page, and to nobody else."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    leg = relay.seat_of(f"p_{call.consult}")["leg"]
    await relay.send("limit_leg", leg=leg, limits={"videoMaxBps": 60_000, "ptimeMs": 60})
    got = await call.patient.wait_for(lambda m: m["type"] == "limits")
    assert (got["leg"], got["limits"]["videoMaxBps"]) == (leg, 60_000)
    await call.specialist.ping()
    assert not call.specialist.of("limits")


async def test_route_direct_by_setting(open_node: OpenNode) -> None:
    """With route `direct` a relay is let in and given nobody."""
    clinic = await open_node(media=MediaConfig(route="direct"))
    relay = await FakeRelay.start(clinic)
    call = await clinic.call()
    assert call.patient.view.get("route", "direct") == "direct"
    assert not call.patient.of("leg")
    assert not relay.of("seat")


async def test_no_room_is_direct(clinic: Clinic) -> None:
    """A relay without room is given nobody: the call goes directly, the view says so, and it is counted."""
    await FakeRelay.start(clinic, legs_max=1)
    call = await clinic.call()
    for side in (call.patient, call.specialist):
        assert side.view.get("route", "direct") == "direct"
    await until(lambda: clinic.metric("direct_fallbacks_total", reason="no_room") == 1)


async def test_the_emptier_one_is_chosen(clinic: Clinic) -> None:
    """Of two relays each next patient goes to the one that has fewer."""
    one, two = [await FakeRelay.start(clinic, name, legs_max=8) for name in ("one", "two")]
    for _ in range(2):
        await clinic.specialist()
    for n in range(4):
        patient = await clinic.patient()
        await patient.wait_until(lambda p=patient: first_legs(p))
        del n
    counts = [sum(s["role"] == "patient" for s in r.seats.values()) for r in (one, two)]
    assert counts == [2, 2]


# -- control comes and goes ------------------------------------------------------------------------------------------


async def test_control_is_cut(
    clinic: Clinic, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its control connection the relay keeps the call; when it is back, nothing has happened to anybody."""
    monkeypatch.setattr(routes, "RETURN_S", 0.3)
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.answers) == 2 and relay.forwarding.get(call.consult))
    version, heard = events_of(clinic, call.consult), len(call.patient.of("leg"))
    await relay.lose()
    await asyncio.sleep(1.0)
    await relay.connect()
    await until(lambda: clinic.metric("relays", state="ready") == 1)
    assert events_of(clinic, call.consult) == version
    assert len(call.patient.of("leg")) == heard
    assert not relay.closed
    assert len(relay.forwarding[call.consult]) == 2


async def test_answered_while_control_was_cut(clinic: Clinic) -> None:
    """What a page answers while the relay is away is said to it when it is back."""
    relay = await FakeRelay.start(clinic)
    await clinic.specialist()
    patient = await clinic.patient()
    await until(lambda: relay.has(f"p_{patient.consult}"))
    await patient.wait_until(lambda: first_legs(patient))
    leg = first_legs(patient)[0]["leg"]
    await relay.lose()
    await until(lambda: clinic.metric("relays", state="out_of_control") == 1)
    await patient.send("leg_answer", consult=patient.consult, leg=leg, answer=ANSWER)
    await patient.ping()
    await relay.connect()
    await until(lambda: leg in relay.answers)


async def test_ended_while_control_was_cut(clinic: Clinic, pages: Pages) -> None:
    """What ended meanwhile is put right when the relay is back: legs closed, forwarding off."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.answers) == 2 and relay.forwarding.get(call.consult))
    await relay.lose()
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    assert relay.seats
    await relay.connect()
    await until(lambda: not relay.seats)
    await until(lambda: relay.forwarding[call.consult] == [])
    assert sorted(relay.closed) == sorted(relay.ever)


async def test_node_restart(
    open_node: OpenNode, pages: Pages, store_url: str, tmp_path: Path
) -> None:
    """A node that goes down and is started again takes its relay's legs over: no new leg, no event, the call goes on."""
    async with open_clinic(config(tmp_path, store_url)) as first:
        relay = await FakeRelay.start(first)
        call = await relayed_call(first, pages)
        await until(lambda: len(relay.answers) == 2 and relay.forwarding.get(call.consult))
        people = (call.patient, call.specialist)
        legs = [len(p.of("leg")) for p in people]
        version = events_of(first, call.consult)
    second = await open_node()
    second.peers += [relay, *people]
    for peer in second.peers:
        peer.url, peer.http = second.url, second.http
    for side in people:  # pages may be faster than the relay
        await side.reconnect()
    await relay.connect()
    await until(lambda: second.metric("legs_seated") == 2)
    for side in people:
        await side.ping()
    assert [len(p.of("leg")) for p in people] == legs
    assert events_of(second, call.consult) == version
    assert not relay.closed
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await until(lambda: not relay.seats)
    assert sorted(relay.closed) == sorted(relay.ever)


async def test_a_relay_that_never_returns(
    open_node: OpenNode, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits goes to another relay when theirs stays away, or waits for a direct call; a call stays as it is."""
    monkeypatch.setattr(routes, "RETURN_S", 0.4)
    clinic = await open_node()
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await clinic.specialist()
    waiting = await clinic.patient()
    await waiting.wait_until(lambda: first_legs(waiting))
    version = events_of(clinic, call.consult)
    await relay.lose()
    await waiting.wait_until(lambda: waiting.view.get("route", "direct") == "direct")
    assert events_of(clinic, call.consult) == version
    other = await FakeRelay.start(clinic, "other")
    await waiting.wait_until(lambda: len(first_legs(waiting)) == 2)
    await until(lambda: other.has(f"p_{waiting.consult}"))
    assert waiting.view["route"] == "relayed"
    assert clinic.metric("route_moves_total", reason="unreachable") == 1


# -- another relay ---------------------------------------------------------------------------------------------------


async def two_relays(clinic: Clinic, pages: Pages) -> tuple[Call, FakeRelay, FakeRelay]:
    """Return a call with standby legs in both pages, the relay that it is on, and the other one."""
    relays = [await FakeRelay.start(clinic, name) for name in ("one", "two")]
    call = await relayed_call(clinic, pages)
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: standby_legs(s))
    on = next(r for r in relays if r.id == clinic.consult(call.consult).relay)
    await until(lambda: on.forwarding.get(call.consult))
    return call, on, next(r for r in relays if r is not on)


async def test_a_relay_that_is_stopped_while_people_wait(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that says nothing any more, with its connection open, loses those who wait, and is given nobody."""
    monkeypatch.setattr(routes, "RETURN_S", 0.4)
    monkeypatch.setattr(routes, "STATUS_LATE_S", 0.4)
    relay = await FakeRelay.start(clinic)
    await clinic.specialist()
    patient = await clinic.patient()
    await patient.wait_until(lambda: first_legs(patient))
    await relay.freeze()
    await patient.wait_until(lambda: patient.view.get("route", "direct") == "direct")
    await until(lambda: clinic.metric("relays", state="out_of_control") == 1)
    other = await FakeRelay.start(clinic, "other")
    await until(lambda: other.has(f"p_{patient.consult}"))


@pytest.mark.parametrize("way", ["killed", "stopped"])
async def test_a_dead_relay(clinic: Clinic, pages: Pages, way: str) -> None:
    """Gone or silent, and a page hears nothing: within 3 s both pages are told to use the leg that they have already."""
    call, on, other = await two_relays(clinic, pages)
    given = {s.instance: standby_legs(s)[0]["leg"] for s in (call.patient, call.specialist)}
    await (on.lose() if way == "killed" else on.freeze())
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        leg = first_legs(call.patient)[0]["leg"]
        await call.patient.send("leg_trouble", consult=call.consult, leg=leg, silentMs=2_000)
        await asyncio.sleep(0.01)
    for side in (call.patient, call.specialist):
        switch = await side.wait_for(lambda m: m["type"] == "leg_switch")
        assert switch["leg"] == given[side.instance]
        await side.wait_until(lambda s=side: s.view["route"] == "relayed")
    assert asyncio.get_running_loop().time() - began < 3.0
    await until(lambda: len(other.forwarding.get(call.consult, [])) == 2)
    assert clinic.metric("route_moves_total", reason="lost") == 1
    await call.patient.reconnect()  # the word of the switch may have got lost
    mark = len(call.patient.of("leg_switch"))
    await call.patient.wait_until(lambda: len(call.patient.of("leg_switch")) >= mark)
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await until(lambda: not other.seats)
    assert sorted(other.closed) == sorted(other.ever)


@pytest.mark.parametrize("way", ["standby", "drained"])
async def test_the_next_relay_is_told_what_is_known_of_the_links(
    clinic: Clinic, pages: Pages, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The last word of each link, of a relay that is dead or drained, goes to the next: to standby legs before forwarding."""
    if way == "drained":
        monkeypatch.setattr("signalling.edge.routing.STANDBY_S", 1e9)
        on = await FakeRelay.start(clinic, "one")
        call = await relayed_call(clinic, pages)
        await until(lambda: on.forwarding.get(call.consult))
        other = await FakeRelay.start(clinic, "two")
    else:
        call, on, other = await two_relays(clinic, pages)
    patient = f"p_{call.consult}"
    doctor = next(s["participant"] for s in on.seats.values() if s["participant"] != patient)
    people = {patient: 90_000, doctor: 1_500_000}
    links = [
        {"leg": on.seat_of(who)["leg"], "rttMs": 700, "upLoss": 0.0, "downLoss": 0.0, "upBps": 0, "downBps": 0}
        | {"upKnownBps": up_bps, "downKnownBps": 2 * up_bps}
        for who, up_bps in people.items()
    ]  # fmt: skip
    limits = {"videoMaxBps": 40_000, "rung": "small"}
    await on.send("limit_leg", leg=links[0]["leg"], limits=limits)
    await on.send("leg_links", links=links)
    await on.say_status()
    if way == "drained":
        on.draining = True
    else:
        await on.lose()
        leg = first_legs(call.patient)[0]["leg"]
        await call.patient.send("leg_trouble", consult=call.consult, leg=leg, silentMs=2_000)
    await until(lambda: len(other.of("leg_known")) >= 2)
    told = {message["leg"]: message for message in other.of("leg_known")}
    known = {who: told[other.seat_of(who)["leg"]] for who in people}
    for who, up_bps in people.items():
        assert (known[who]["upBps"], known[who]["downBps"]) == (up_bps, 2 * up_bps)
        assert known[who]["rttMs"] == 700
    assert [each["rung"] for each in known.values()] == ["small", "open"]
    kinds = [m["type"] for m in other.messages if m["type"] in {"leg_known", "forwarding"}]
    if way == "standby":
        assert kinds.index("forwarding") > max(i for i, k in enumerate(kinds) if k == "leg_known")


async def test_trouble_alone_moves_nothing(clinic: Clinic, pages: Pages) -> None:
    """A page whose own link is dead doesn't move a call off a relay that is well."""
    call, on, _ = await two_relays(clinic, pages)
    version = events_of(clinic, call.consult)
    leg = first_legs(call.patient)[0]["leg"]
    for _ in range(4):
        await call.patient.send("leg_trouble", consult=call.consult, leg=leg, silentMs=2_000)
        await asyncio.sleep(0.2)
    assert events_of(clinic, call.consult) == version
    assert clinic.consult(call.consult).relay == on.id


async def test_a_relay_that_is_cut_off(clinic: Clinic, pages: Pages) -> None:
    """It does what it is told, but both sides of a call hear nothing from it: the call leaves it."""
    call, on, other = await two_relays(clinic, pages)
    for side in (call.patient, call.specialist):
        leg = first_legs(side)[0]["leg"]
        await side.send("leg_trouble", consult=call.consult, leg=leg, silentMs=2_000)
    await until(lambda: len(other.forwarding.get(call.consult, [])) == 2)
    assert clinic.consult(call.consult).relay == other.id != on.id


async def test_standby_answers_reach_their_relay(clinic: Clinic, pages: Pages) -> None:
    """A page may warm its standby leg; closing it unused brings another one."""
    call, _, other = await two_relays(clinic, pages)
    standby = standby_legs(call.patient)[0]["leg"]
    await call.patient.send("leg_answer", consult=call.consult, leg=standby, answer=ANSWER)
    await until(lambda: standby in other.answers)
    other.seats.pop(standby)
    await other.send("leg_state", leg=standby, state="closed")
    await call.patient.wait_until(lambda: len(standby_legs(call.patient)) == 2)


async def test_without_another_relay_it_goes_directly(clinic: Clinic, pages: Pages) -> None:
    """The only relay dies: the view says `direct`, and the call goes on."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await relay.lose()
    leg = first_legs(call.specialist)[0]["leg"]
    await call.specialist.send("leg_trouble", consult=call.consult, leg=leg, silentMs=2_500)
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: s.view.get("route", "direct") == "direct")
        assert side.view["state"] == "in_call"
    assert clinic.metric("direct_fallbacks_total", reason="lost") == 1
    trouble = {"consult": call.consult, "leg": leg, "silentMs": 2_500}
    assert await call.specialist.refused("leg_trouble", **trouble) == "wrong_state"


async def test_draining_one_by_one(
    clinic: Clinic, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draining relay hands its calls on one after the other, each when the last one talks; old legs end after that."""
    monkeypatch.setattr(routes, "OLD_LEG_S", 0.3)
    one = await FakeRelay.start(clinic, "one")
    calls = [await relayed_call(clinic, pages) for _ in range(3)]
    await until(lambda: len(one.carried()) == 3)
    two = await FakeRelay.start(clinic, "two")
    one.draining = True
    moved: list[str] = []
    for n in range(3):
        await until(lambda n=n: len(two.carried()) == n + 1)
        await asyncio.sleep(1.2)
        assert len(two.carried()) == n + 1  # nothing more while it is silent
        (consult,) = set(two.carried()) - set(moved)
        moved.append(consult)
        assert len(one.forwarding[consult]) == 2  # until the new way carries
        await until(lambda: sum(s["consult"] == moved[-1] for s in two.seats.values()) == 2)
        await two.flow(consult)
    await until(lambda: not one.seats)
    assert sorted(one.closed) == sorted(one.ever)
    assert not one.carried()
    assert set(moved) == {c.consult for c in calls}
    assert clinic.metric("route_moves_total", reason="drained") == 3


# -- what a liar gets ------------------------------------------------------------------------------------------------


async def test_lies(clinic: Clinic, pages: Pages) -> None:
    """Legs that it never had, seats of nobody, a pool too large, a second tale of its seats: refused, nothing changed."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.answers) == 2)
    head = await clinic.head()
    liar = await FakeRelay.start(clinic, "liar")
    theirs = relay.seat_of(f"p_{call.consult}")["leg"]
    limits = {"videoMaxBps": 0}
    for leg in ("l_none", theirs, next(iter(liar.pool)), next(iter(relay.pool))):
        assert await liar.refused("leg_state", leg=leg, state="closed") == "not_found"
        assert await liar.refused("limit_leg", leg=leg, limits=limits) == "not_found"
    many = [{"leg": f"l_many_{n}", "offer": OFFER} for n in range(POOL_MAX - POOL + 1)]
    assert await liar.refused("legs_minted", legs=many) == "wrong_state"
    for leg in (theirs, next(iter(relay.pool)), next(iter(liar.pool))):
        twice = [{"leg": leg, "offer": OFFER}]
        assert await liar.refused("legs_minted", legs=twice) == "wrong_state"
    same = [{"leg": "l_same", "offer": OFFER}] * 2
    assert await liar.refused("legs_minted", legs=same) == "wrong_state"
    assert await liar.refused("legs_seated", legs=[], forwarding=[]) == "wrong_state"
    for tag in ("chat", "intake", "accept", "turn", "leg_answer", "setup_report"):
        fields: dict[str, dict[str, Any]] = {
            "chat": {"consult": call.consult, "key": "k1234567", "text": "x"},
            "intake": {"form": form()},
            "accept": {"consult": call.consult},
            "leg_answer": {"consult": call.consult, "leg": theirs, "answer": ANSWER},
            "setup_report": {"consult": call.consult, "connectedMs": 1},
        }
        assert await liar.refused(tag, **fields.get(tag, {})) == "forbidden"
    assert await clinic.head() == head
    assert relay.has(f"p_{call.consult}")
    assert not relay.closed
    assert not call.patient.of("limits")


async def test_seats_of_nobody(clinic: Clinic, pages: Pages) -> None:
    """Seats of consults and people that have none are closed again and given to nobody's knowledge."""
    honest = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(honest.answers) == 2)
    liar = FakeRelay(clinic.http, clinic.url, relay_token(clinic, "liar"))
    clinic.peers.append(liar)

    def seat(n: int, consult: str, participant: str, role: str) -> dict[str, Any]:
        return {
            "leg": f"l_lie_{n}", "consult": consult, "participant": participant,
            "instance": "i1234567", "role": role,
        }  # fmt: skip

    lies = [
        seat(1, "c_none", "p_c_none", "patient"),
        seat(2, call.consult, "p_other", "patient"),
        seat(3, call.consult, "a_other", "specialist"),
        seat(4, call.consult, f"p_{call.consult}", "operator"),
        seat(5, call.consult, call.specialist.account, "patient"),
    ]
    liar.seats = {s["leg"]: s for s in lies}
    liar.forwarding = {call.consult: ["x"], "c_none": ["x"]}
    await liar.connect()
    await until(lambda: sorted(liar.closed) == sorted(s["leg"] for s in lies))
    await until(lambda: not liar.carried())
    assert clinic.consult(call.consult).relay == honest.id
    assert len(honest.seats) == 2
    assert not honest.closed


async def test_anothers_name(clinic: Clinic) -> None:
    """With another token nobody takes a running relay's place; with its own token it may reconnect."""
    relay = await FakeRelay.start(clinic)
    thief = FakeRelay(clinic.http, clinic.url, relay_token(clinic, "thief"))
    clinic.peers.append(thief)
    thief.instance = relay.instance
    assert (await thief.open())["code"] == "token_invalid"
    assert await thief.until_closed() == 4001
    await relay.ping()
    again = FakeRelay(clinic.http, clinic.url, relay.token)
    clinic.peers.append(again)
    again.instance = relay.instance
    await again.connect()
    assert await relay.until_closed() == 4012


@pytest.mark.parametrize("message", ["leg_answer", "leg_trouble"])
async def test_legs_of_others(clinic: Clinic, pages: Pages, message: str) -> None:
    """A page can speak for its own leg only: another's, and one that does not exist, are `not_found`."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.answers) == 2)
    other = await clinic.patient()
    said = len(relay.of("leg_answer"))
    fields = {"answer": ANSWER} if message == "leg_answer" else {"silentMs": 2_000}
    theirs = first_legs(call.patient)[0]["leg"]
    assert await other.refused(message, consult=call.consult, leg=theirs, **fields) == "not_found"
    if message == "leg_answer":
        legs = [first_legs(call.specialist)[0]["leg"], "l_none"]
        for leg in legs:
            code = await call.patient.refused(message, consult=call.consult, leg=leg, **fields)
            assert code == "not_found"
    assert len(relay.of("leg_answer")) == said


# -- nothing is left over --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_every_leg_is_closed_once(clinic: Clinic, pages: Pages, seed: int) -> None:
    """Whatever happens to a dozen consults and their relays: in the end each leg was closed exactly once."""
    dice = random.Random(seed)
    relays = [await FakeRelay.start(clinic, name, legs_max=40) for name in ("one", "two")]
    specialists = [await clinic.specialist() for _ in range(2)]
    for who in specialists:
        pages(who)
    patients: list[Peer] = []
    for _ in range(12):
        patient = await clinic.patient()
        patients.append(patient)
        if dice.random() < 0.7:
            pages(patient)
        deed = dice.choice(["leave", "reload", "cut", "call", "decline", "nothing"])
        if deed == "leave":
            await patient.done("leave")
        elif deed == "reload":
            await patient.lose()
            patient.instance = f"reload-{len(patients)}-x"
            await patient.open()
        elif deed == "cut":
            relay = dice.choice(relays)
            await relay.lose()
            await relay.connect()
        for who in specialists:
            ring = who.desk.get("ring")
            if ring and deed in ("call", "decline"):
                if deed == "decline":
                    await who.request("decline", consult=ring["consult"], reason="busy")
                else:
                    await who.request("accept", consult=ring["consult"])
            elif who.desk.get("consult") and dice.random() < 0.5:
                await who.request("end", consult=who.desk["consult"], outcome="advice")
    for who in specialists:
        await who.done("on_call", on=False)
    for patient in patients:
        await patient.request("leave")
    await until(lambda: not any(r.seats for r in relays))
    for relay in relays:
        assert sorted(relay.closed) == sorted(relay.ever)
        assert not relay.carried()
    assert sum(len(r.ever) for r in relays) >= 10
    assert clinic.metric("legs_closed_total") == sum(len(r.ever) for r in relays)
    await until(lambda: clinic.metric("legs_seated") == 0)
