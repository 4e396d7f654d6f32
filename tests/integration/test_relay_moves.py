# SPDX-License-Identifier: Apache-2.0
"""Calls that leave their relay: dead, cut off, drained, or with no other to go to."""

import asyncio

import pytest

from signalling.core import routes
from tests.support.clinic import Call, Clinic
from tests.support.fake_relay import (
    ANSWER,
    FakeRelay,
    Pages,
    first_legs,
    relayed_call,
    standby_legs,
)
from tests.support.until import until


def events_of(clinic: Clinic, consult: str) -> int:
    return int(clinic.consult(consult).version)


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
