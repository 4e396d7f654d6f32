# SPDX-License-Identifier: Apache-2.0
"""What a relay gets that lies, and that no leg is left over whatever happens."""

import random
from typing import Any

import pytest

from signalling.wire.legs import POOL_MAX
from tests.support.clinic import Clinic, form
from tests.support.fake_relay import (
    ANSWER,
    OFFER,
    POOL,
    FakeRelay,
    Pages,
    first_legs,
    relay_token,
    relayed_call,
)
from tests.support.peer import Peer
from tests.support.until import until


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
