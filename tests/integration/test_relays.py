# SPDX-License-Identifier: Apache-2.0
"""Relays at a node: who is given a leg when, and what becomes of legs when control is cut."""

import asyncio
import json
from pathlib import Path

import pytest

from signalling.config import MediaConfig
from signalling.core import routes
from tests.integration.conftest import OpenNode
from tests.support.clinic import Clinic, config, open_clinic
from tests.support.fake_relay import (
    ANSWER,
    OFFER,
    FakeRelay,
    Pages,
    first_legs,
    relayed_call,
)
from tests.support.until import until


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
