# SPDX-License-Identifier: Apache-2.0
"""What a relay decides about people's links reaches whom it concerns, and what pages say of it reaches the relay."""

from typing import Any

import pytest

from tests.support import content
from tests.support.clinic import Call, Clinic
from tests.support.fake_relay import FakeRelay, Page, Pages, first_legs, relayed_call
from tests.support.peer import Peer
from tests.support.until import until

LIMITS: dict[str, Any] = {"videoMaxBps": 60_000, "ptimeMs": 60, "rung": "small", "reason": "rate"}


@pytest.fixture
async def relayed(clinic: Clinic, pages: Pages) -> tuple[FakeRelay, Call]:
    """A relay, and a call over it."""
    relay = await FakeRelay.start(clinic)
    call = await relayed_call(clinic, pages)
    await until(lambda: len(relay.seats) == 2 and relay.forwarding.get(call.consult))
    return relay, call


def leg_of(relay: FakeRelay, peer: Peer) -> str:
    """Return a page's leg."""
    (leg,) = (m["leg"] for m in first_legs(peer))
    assert leg in relay.seats
    return str(leg)


async def test_the_other_side_learns_the_rung(relayed: tuple[FakeRelay, Call]) -> None:
    """Limits go to the leg's page with rung and reason; the other side hears of a rung once, not of rates within it.

    And when the rung is another one's fault than was said.
    """
    relay, call = relayed
    leg = leg_of(relay, call.patient)
    await relay.send("limit_leg", leg=leg, limits=LIMITS)
    await relay.send("limit_leg", leg=leg, limits={**LIMITS, "videoMaxBps": 70_000})
    voice = {**LIMITS, "rung": "voice", "reason": "brake", "whose": "sender"}
    await relay.send("limit_leg", leg=leg, limits=voice)
    await relay.send("limit_leg", leg=leg, limits={**voice, "reason": "proved"})
    await relay.send("limit_leg", leg=leg, limits={**voice, "reason": "rate", "whose": "receiver"})
    await call.specialist.wait_until(lambda: len(call.specialist.of("peer_link")) == 3)
    said = [(m["rung"], m["reason"], m.get("whose")) for m in call.specialist.of("peer_link")]
    assert said == [
        ("small", "rate", None), ("voice", "brake", "sender"), ("voice", "rate", "receiver")
    ]  # fmt: skip
    await call.patient.wait_until(lambda: len(call.patient.of("limits")) == 5)
    assert call.patient.of("limits")[0]["limits"]["rung"] == "small"
    assert not call.patient.of("peer_link")


async def test_a_wish_and_a_brake_reach_the_relay(relayed: tuple[FakeRelay, Call]) -> None:
    """The wish comes with who wishes, and again when the relay is back; a brake only for a leg of one's own."""
    relay, call = relayed
    await call.specialist.send("wish", consult=call.consult, wish="detail")
    await until(lambda: relay.of("wish"))
    said = relay.of("wish")[-1]
    assert (said["wish"], said["participant"]) == (
        "detail",
        relay.seats[leg_of(relay, call.specialist)]["participant"],
    )
    leg = leg_of(relay, call.patient)
    refused = await call.specialist.refused("braked", consult=call.consult, leg=leg)
    assert refused == "not_found"
    await call.patient.send("braked", consult=call.consult, leg=leg)
    await until(lambda: relay.of("braked"))
    assert relay.of("braked")[-1]["leg"] == leg
    assert len(relay.of("braked")) == 1


async def test_what_content_takes_of_a_link_reaches_the_relay(
    relayed: tuple[FakeRelay, Call],
) -> None:
    """Each second while pieces come, with whose link it is; without a call's relay nobody is told."""
    relay, call = relayed
    await content.trickle(call.patient, 12_000)
    await until(lambda: relay.of("carried_beside"))
    said = relay.of("carried_beside")[-1]
    assert said["consult"] == call.consult
    assert said["participant"] == relay.seats[leg_of(relay, call.patient)]["participant"]
    assert 30_000 < said["bps"] < 90_000  # 77 kbit/s on a machine that is not busy
    assert len(relay.of("carried_beside")) <= 3


async def test_what_a_link_promises(clinic: Clinic) -> None:
    """Told to the waiting patient with its figures, and shown in the ring; of a specialist's own link nothing is said."""
    relay = await FakeRelay.start(clinic)
    specialist = await clinic.specialist()
    patient = await clinic.patient()
    pages = [Page(patient), Page(specialist)]
    await specialist.wait_until(lambda: specialist.desk.get("ring"))
    await patient.wait_until(lambda: first_legs(patient))
    await specialist.wait_until(lambda: first_legs(specialist))
    figures = {"outlook": "slow-picture", "upBps": 48_000, "downBps": 64_000, "rttMs": 510}
    await until(lambda: len(relay.seats) == 2)
    await relay.send("leg_probed", leg=leg_of(relay, specialist), **{**figures, "outlook": "voice"})
    await relay.send("leg_probed", leg=leg_of(relay, patient), **figures)
    told = await patient.wait_for(lambda m: m["type"] == "outlook")
    assert {name: told[name] for name in figures} == figures
    await specialist.wait_until(
        lambda: (specialist.desk.get("ring") or {}).get("outlook") == "slow-picture"
    )
    assert len(patient.of("outlook")) == 1
    assert not specialist.of("outlook")
    for page in pages:
        await page.stop()
