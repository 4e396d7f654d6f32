# SPDX-License-Identifier: Apache-2.0
"""Another device takes the patient's place: asked with the link or code, decided by a person, told to everybody."""

import secrets
from typing import Any

import pytest

from signalling.edge import consults
from signalling.wire.terms import Specialty
from tests.support.clinic import Clinic, form
from tests.support.peer import Peer


class Device:
    """A second device that holds the patient's link."""

    def __init__(self, clinic: Clinic, token: str) -> None:
        self.clinic, self.token = clinic, token
        self.asked: dict[str, Any] = {}

    async def ask(self) -> None:
        reply = await self.clinic.api("/api/takeover", {"token": self.token})
        assert reply.status == 202
        self.asked = reply.body

    async def poll(self) -> Any:
        return await self.clinic.api("/api/takeover/poll", self.asked)


async def waiting(clinic: Clinic) -> tuple[Peer, Device]:
    """Return a patient who joined and waits, and a device with the same link."""
    made = await clinic.node.consults.invite(specialty=Specialty.GENERAL)
    joined = await clinic.ok("/api/join", {"token": made.token})
    patient = clinic.peer(joined["session"], joined["consult"])
    patient.resume = joined["resume"]
    await patient.open()
    await patient.done("intake", form=form())
    return patient, Device(clinic, made.token)


async def in_call(clinic: Clinic) -> tuple[Peer, Peer, Device]:
    specialist = await clinic.specialist()
    patient, device = await waiting(clinic)
    await clinic.connect(patient, specialist)
    return patient, specialist, device


async def test_link_is_redeemed_once(clinic: Clinic) -> None:
    """A link that was used gets no second session, whatever is sent with it."""
    _, device = await waiting(clinic)
    reply = await clinic.api("/api/join", {"token": device.token})
    assert (reply.status, reply.code) == (409, "invitation_used")


async def test_lost_answer_to_joining(clinic: Clinic) -> None:
    """A page whose answer got lost on the way joins again with its own secret; another page does not."""
    made = await clinic.node.consults.invite()
    own, other = ({"token": made.token, "resume": secrets.token_urlsafe(32)} for _ in range(2))
    await clinic.ok("/api/join", own)
    again = await clinic.ok("/api/join", own)
    assert (again["consult"], again["resume"]) == (made.consult, own["resume"])
    assert await clinic.version(made.consult) == 2, "invited and joined, once"
    patient = clinic.peer(again["session"], made.consult)
    assert (await patient.open())["type"] == "welcome"
    assert (await clinic.api("/api/join", other)).code == "invitation_used"
    await patient.done("leave")
    assert (await clinic.api("/api/join", own)).code == "consult_over"


@pytest.mark.parametrize("decider", ["specialist", "operator", "device in use"])
async def test_allowed(clinic: Clinic, decider: str) -> None:
    """Specialist, operator and the device in use can each allow it; the new device is the patient from then on."""
    patient, specialist, device = await in_call(clinic)
    operator = await clinic.operator()
    await device.ask()
    assert (await device.poll()).status == 202
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: s.view.get("takeovers"))
    await operator.wait_until(
        lambda: patient.consult in (operator.of("board") or [{}])[-1].get("takeovers", {})
    )
    who = {"specialist": specialist, "operator": operator, "device in use": patient}[decider]
    await who.send(
        "decide_takeover", consult=patient.consult, request=device.asked["request"], allow=True
    )
    assert await patient.until_closed() == 4010
    reply = await device.poll()
    assert reply.status == 200
    page = clinic.peer(reply.body["session"], patient.consult)
    await page.open()
    await page.until_state("in_call")
    await specialist.wait_until(lambda: specialist.view["peer"].get("instance") == page.instance)
    assert [e["kind"] for e in page.entries].count("device_changed") == 1
    assert clinic.metric("takeovers_total", stage="allowed") == 1


async def test_displaced_device_can_not_come_back(clinic: Clinic) -> None:
    """After the take-over neither the old session, nor the old resume secret, nor the link open anything."""
    patient, specialist, device = await in_call(clinic)
    await device.ask()
    await specialist.done(
        "decide_takeover", consult=patient.consult, request=device.asked["request"], allow=True
    )
    assert await patient.until_closed() == 4010
    assert (await patient.open())["code"] == "displaced"
    assert await patient.until_closed() == 4010
    body = {"consult": patient.consult, "resume": patient.resume}
    assert (await clinic.api("/api/resume", body)).code == "resume_invalid"
    assert (await clinic.api("/api/join", {"token": device.token})).code == "invitation_used"
    # The new device's own secret opens again and again.
    reply = await device.poll()
    body = {"consult": patient.consult, "resume": reply.body["resume"]}
    assert (await clinic.api("/api/resume", body)).status == 200


async def test_refused(clinic: Clinic) -> None:
    """A refusal is told to the asking device; the device in use stays; the decision can't be made twice."""
    patient, specialist, device = await in_call(clinic)
    await device.ask()
    decision = {"consult": patient.consult, "request": device.asked["request"]}
    await specialist.done("decide_takeover", **decision, allow=False)
    assert (await device.poll()).code == "takeover_refused"
    assert await specialist.refused("decide_takeover", **decision, allow=True) == "not_found"
    await patient.ping()
    await patient.wait_until(lambda: not patient.view.get("takeovers"))


async def test_newer_request_replaces_the_older(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request is open at a time: a newer one has to wait a little, and then the older one is refused."""
    _, _, first = await in_call(clinic)
    second = Device(clinic, first.token)
    await first.ask()
    head = await clinic.head()
    reply = await clinic.api("/api/takeover", {"token": first.token})
    assert (reply.status, reply.code) == (429, "throttled")
    assert 0 < reply.body["retryAfterMs"] <= 5_001
    assert await clinic.head() == head
    monkeypatch.setattr(consults, "TAKEOVER_PAUSE_S", 0.0)
    await second.ask()
    assert (await first.poll()).code == "takeover_refused"
    assert (await second.poll()).status == 202


async def test_who_may_not_decide(clinic: Clinic) -> None:
    """A specialist who is not in the consult, and another patient, can't decide; nothing changes."""
    patient, _, device = await in_call(clinic)
    await device.ask()
    stranger, other = await clinic.specialist(), await clinic.patient()
    before = await clinic.version(patient.consult or "")
    for who in (stranger, other):
        code = await who.refused(
            "decide_takeover", consult=patient.consult, request=device.asked["request"], allow=True
        )
        assert code == "not_found"
    assert await clinic.version(patient.consult or "") == before
    assert (await device.poll()).status == 202


@pytest.mark.parametrize("wrong", ["secret", "request", "consult"])
async def test_poll_without_the_secret(clinic: Clinic, wrong: str) -> None:
    """Polling needs the request, its secret and its consult together."""
    _, _, device = await in_call(clinic)
    await device.ask()
    reply = await clinic.api("/api/takeover/poll", {**device.asked, wrong: "x" * 20})
    assert (reply.status, reply.code) == (401, "resume_invalid")


async def test_takeover_before_anybody_joined(clinic: Clinic) -> None:
    """A link that nobody used is joined, not taken over."""
    made = await clinic.node.consults.invite()
    reply = await clinic.api("/api/takeover", {"token": made.token})
    assert (reply.status, reply.code) == (409, "wrong_state")


async def test_takeover_by_code(clinic: Clinic) -> None:
    """The spoken code asks as well as the link."""
    made = await clinic.node.consults.invite()
    await clinic.ok("/api/join", {"code": made.code})
    assert (await clinic.api("/api/takeover", {"code": made.code.lower()})).status == 202
