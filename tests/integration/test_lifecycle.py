# SPDX-License-Identifier: Apache-2.0
"""The consult's life over real sockets: rings that roll over, promises, interruptions, hand-overs."""

import asyncio
from dataclasses import replace
from io import StringIO

import pytest

from auth.throttle import INVITE_BY_ACCOUNT
from signalling.edge.ledger import Ledger
from signalling.store.base import Append, StreamId
from signalling.wire.terms import Specialty
from tests.integration.conftest import OpenNode
from tests.support.clinic import QUICK, Clinic, form
from tests.support.peer import Peer


async def rung_first(*specialists: Peer) -> tuple[Peer, Peer]:
    """Return who is rung, then who is not."""
    first = specialists[0]
    for _ in range(2_000):
        for who in specialists:
            if who.desk.get("ring"):
                return who, next(s for s in specialists if s is not who)
        await asyncio.sleep(0.005)
    raise AssertionError(f"nobody was rung: {first.desk}")


async def test_decline_rolls_over(clinic: Clinic) -> None:
    """Who declines is free again at once; the other one is rung; the first is not rung again."""
    a, b = await clinic.specialist(), await clinic.specialist()
    patient = await clinic.patient()
    first, second = await rung_first(a, b)
    await first.done("decline", consult=patient.consult, reason="busy")
    await second.wait_until(lambda: second.desk.get("ring"))
    await first.until_desk("available")
    assert await first.refused("accept", consult=patient.consult) == "ring_over"
    await clinic.connect(patient, second)
    assert clinic.metric("rings_total", outcome="declined") == 1


async def test_no_answer_rolls_over(open_node: OpenNode) -> None:
    """A ring that nobody answers goes on to the next specialist when its time is over."""
    clinic = await open_node(consult=replace(QUICK, ring_s=0.5))
    a, b = await clinic.specialist(), await clinic.specialist()
    patient = await clinic.patient()
    first, second = await rung_first(a, b)
    await second.wait_until(lambda: second.desk.get("ring"))
    assert not first.desk.get("ring")
    await second.done("accept", consult=patient.consult)
    await patient.until_state("in_call")
    assert patient.view["peer"]["participant"] == second.account
    assert clinic.metric("rings_total", outcome="timed_out") == 1


async def test_ring_of_a_page_that_is_gone_rolls_over(clinic: Clinic) -> None:
    """A specialist who closes the page while it rings is passed over after the grace of a reload."""
    a, b = await clinic.specialist(), await clinic.specialist()
    patient = await clinic.patient()
    first, second = await rung_first(a, b)
    await first.close()
    await clinic.connect(patient, second)


async def test_nobody_answers_and_a_call_is_promised(open_node: OpenNode) -> None:
    """With nobody left to ring the patient is told so, with a deadline; a specialist keeps the promise by hand."""
    clinic = await open_node(consult=replace(QUICK, nobody_s=0.3, ring_s=0.3))
    await clinic.specialist()
    patient = await clinic.patient(intake={"contact": "0812 0000 0000", "name": "Pak Budi"})
    view = await patient.until_state("callback")
    assert view["callbackReason"] in ("nobody_answered", "nobody_on_call")
    assert view["callbackBy"] > view["since"]
    later = await clinic.specialist(on_call=False)
    await later.wait_until(
        lambda: any(c.get("contact") == "0812 0000 0000" for c in later.desk.get("callbacks", []))
    )
    assert clinic.metric("callbacks_total", stage="promised") == 1
    await later.done("on_call", on=True)
    await clinic.connect(patient, later)
    assert clinic.metric("callbacks_total", stage="kept") == 1


async def test_nobody_on_call(open_node: OpenNode) -> None:
    """With nobody on call at all the promise says just that."""
    clinic = await open_node(consult=replace(QUICK, nobody_s=0.2))
    patient = await clinic.patient()
    view = await patient.until_state("callback")
    assert view["callbackReason"] == "nobody_on_call"


async def test_patient_is_interrupted_and_back(clinic: Clinic) -> None:
    """A patient whose socket stays away longer than a reload is away for both; back is back, and both are told once."""
    call = await clinic.call()
    await call.patient.lose()
    view = await call.specialist.until_state("interrupted")
    assert view["away"] == ["patient"]
    assert view["deadlineAt"] > 0
    await call.patient.reconnect()
    await call.specialist.until_state("in_call")
    await call.patient.wait_until(lambda: call.patient.entries[-1]["kind"] == "back")
    for side in (call.patient, call.specialist):
        kinds = [e["kind"] for e in side.entries]
        assert kinds.count("lost") == kinds.count("back") == 1


async def test_specialist_is_interrupted_and_back(clinic: Clinic) -> None:
    """The same for the specialist; both away and both back works too."""
    call = await clinic.call()
    await call.specialist.lose()
    await call.patient.until_state("interrupted")
    await call.patient.lose()
    await call.specialist.reconnect()
    await call.specialist.wait_until(lambda: call.specialist.view.get("away") == ["patient"])
    await call.patient.reconnect()
    for side in (call.patient, call.specialist):
        await side.until_state("in_call")


async def test_interrupted_for_too_long(open_node: OpenNode) -> None:
    """A call that nobody comes back to ends as lost, and the specialist is free."""
    clinic = await open_node(consult=replace(QUICK, keep_s=0.5))
    call = await clinic.call()
    await call.patient.lose()
    view = await call.specialist.until_state("ended")
    assert view["outcome"] == "lost"
    await call.specialist.until_desk("available")
    await call.patient.reconnect()
    await call.patient.until_state("ended")


async def test_on_hold_and_brought_back_together(clinic: Clinic) -> None:
    """While a patient's link is down the specialist takes another one; back, the first is rung at that desk, and first."""
    call = await clinic.call()
    specialist, first = call.specialist, call.patient
    assert await specialist.refused("hold", consult=call.consult) == "wrong_state"
    assert await first.refused("hold", consult=call.consult) == "forbidden"
    await first.lose()
    await specialist.until_state("interrupted")
    await specialist.done("hold", consult=call.consult)
    await specialist.until_desk("available")
    second = await clinic.patient()
    other = await clinic.connect(second, specialist)
    third = await clinic.patient()
    await third.until_state("waiting")
    await first.reconnect()
    view = await first.until_state("waiting")
    assert (view["kept"], view["place"]) == (True, 1)
    await specialist.done("end", consult=other.consult, outcome="advice")
    again = await clinic.connect(first, specialist)
    assert again.consult == call.consult
    assert [e["kind"] for e in first.entries][-4:] == ["lost", "held", "back", "accepted"]
    assert third.view["state"] == "waiting"
    assert clinic.metric("holds_total", stage="put") == 1
    assert clinic.metric("holds_total", stage="reunited") == 1
    past = await specialist.request("history")
    assert [p["consult"] for p in past["consults"]].count(call.consult) == 1


async def test_a_call_on_hold_for_too_long_becomes_a_promise(open_node: OpenNode) -> None:
    """A patient who is not back while the consult is kept is called back: nobody is dismissed in silence."""
    clinic = await open_node(consult=replace(QUICK, keep_s=0.8))
    call = await clinic.call()
    await call.patient.lose()
    await call.specialist.until_state("interrupted")
    await call.specialist.done("hold", consult=call.consult)
    await call.specialist.wait_until(
        lambda: any(c["consult"] == call.consult for c in call.specialist.desk.get("callbacks", []))
    )
    await call.patient.reconnect()
    await call.patient.wait_until(lambda: call.patient.view.get("callbackReason") == "link_lost")
    await clinic.connect(call.patient, call.specialist)


async def test_transfer(clinic: Clinic) -> None:
    """Handed over, the patient waits again and is rung through to the other specialty; staff alone read the reason."""
    skin = await clinic.specialist(specialties=[Specialty.DERMATOLOGY], name="Dr Kulit")
    general = await clinic.specialist(name="Dr Umum")
    patient = await clinic.patient()
    # Two are on call: whoever has the matching specialty is rung.
    call = await clinic.connect(patient, general)
    await call.specialist.done(
        "transfer", consult=call.consult, specialty="dermatology", reason="ruam di lengan"
    )
    await call.specialist.until_desk("available")
    call = await clinic.connect(patient, skin)
    assert await general.refused("end", consult=call.consult, outcome="advice") in (
        "ring_over",
        "wrong_state",
    )
    line = next(e for e in skin.entries if e["kind"] == "transferred")
    assert line["text"] == "ruam di lengan"
    line = next(e for e in patient.entries if e["kind"] == "transferred")
    assert line.get("text", "") == ""
    await patient.chat("halo lagi")
    await skin.wait_until(lambda: skin.said == ["halo lagi"])
    assert general.said == []


async def test_patient_leaves(clinic: Clinic) -> None:
    """Leaving while waiting abandons, also while it rings: the ring goes off the desk; leaving in a call ends it."""
    specialist = await clinic.specialist()
    patient = await clinic.patient()
    await specialist.wait_until(lambda: specialist.desk.get("ring"))
    await patient.done("leave")
    await patient.until_state("abandoned")
    await specialist.until_desk("available")
    assert await specialist.refused("accept", consult=patient.consult) in (
        "ring_over",
        "consult_over",
    )
    assert clinic.metric("rings_total", outcome="withdrawn") == 1
    call = await clinic.connect(await clinic.patient(), specialist)
    await call.patient.done("leave")
    view = await call.specialist.until_state("ended")
    assert view["outcome"] == "patient_left"
    assert (await call.patient.request("leave"))["type"] == "ok"


async def test_going_off_call_in_a_ring_and_in_a_call(clinic: Clinic) -> None:
    """Off call during a ring passes it on; off call during a call takes effect after it."""
    a, b = await clinic.specialist(), await clinic.specialist()
    patient = await clinic.patient()
    first, second = await rung_first(a, b)
    await first.done("on_call", on=False)
    call = await clinic.connect(patient, second)
    await second.done("on_call", on=False)
    assert second.desk["state"] == "in_call"
    await second.done("end", consult=call.consult, outcome="advice")
    await second.until_desk("off_call")
    await first.until_desk("off_call")


async def test_urgent_first(clinic: Clinic) -> None:
    """Of two who wait the more urgent one is rung first, though the other waited longer; each sees an honest place."""
    green = await clinic.patient()
    red = await clinic.patient(intake={"signs": ["unresponsive"]})
    await red.wait_until(lambda: red.view.get("place") == 1)
    await green.wait_until(lambda: green.view.get("place") == 2)
    specialist = await clinic.specialist()
    await specialist.wait_until(lambda: specialist.desk.get("ring"))
    assert specialist.desk["ring"]["consult"] == red.consult
    assert specialist.desk["ring"]["urgency"] == "red"


async def test_consent_is_needed(clinic: Clinic) -> None:
    """Without consent to the call nothing is recorded, and the patient does not wait."""
    patient = await clinic.patient(intake=False)
    before = await clinic.version(patient.consult or "")
    assert await patient.refused("intake", form=form(consent=False)) == "consent_missing"
    assert await clinic.version(patient.consult or "") == before
    await patient.until_state("invited")


async def test_operator_sees_and_reads_nothing_private(clinic: Clinic) -> None:
    """The board follows who waits and who talks, and never carries complaint, name, chat or note."""
    operator = await clinic.operator()
    specialist = await clinic.specialist()
    patient = await clinic.patient(intake={"name": "Ibu Rahasia", "complaint": "keluhan rahasia"})
    await clinic.connect(patient, specialist)
    await patient.chat("pesan rahasia")
    await specialist.done("note", consult=patient.consult, text="catatan rahasia")
    await operator.wait_until(lambda: (operator.of("board") or [{}])[-1].get("calls"))
    assert operator.of("board")[-1]["specialists"][0]["state"] == "in_call"
    assert "rahasia" not in str(operator.messages).lower()
    assert (
        await operator.refused("chat", consult=patient.consult, key="k1234567", text="x")
        == "forbidden"
    )


async def test_history_and_note(clinic: Clinic) -> None:
    """The note of a consult is with the specialist's past consults, and with nobody else's."""
    call = await clinic.call()
    await call.specialist.done("note", consult=call.consult, text="first")
    await call.specialist.done("note", consult=call.consult, text="batuk, bukan TB")
    await call.specialist.done("end", consult=call.consult, outcome="advice", summary="Minum air")
    (past,) = (await call.specialist.done("history"))["consults"]
    assert (past["consult"], past["note"]) == (call.consult, "batuk, bukan TB")
    other = await clinic.specialist()
    assert (await other.done("history")).get("consults", []) == []
    assert "bukan TB" not in str(call.patient.messages)


async def test_invited_by_staff(clinic: Clinic) -> None:
    """A specialist's new consult comes with a link, a code and a QR code; the patient gets in with either."""
    specialist = await clinic.specialist()
    for way in ("token", "code"):
        made = await specialist.done("invite", language="id", specialty="general")
        assert made["url"].startswith(f"{clinic.url}/id#")
        assert "<svg" in made["qr"]
        given = made["url"].partition("#")[2] if way == "token" else made["code"]
        joined = await clinic.ok("/api/join", {way: given})
        assert joined["consult"] == made["consult"]


async def test_invitations_have_a_pace(clinic: Clinic) -> None:
    """One account can't fill the store with consults; another one is not held up by it."""
    eager, other = await clinic.specialist(), await clinic.specialist()
    for _ in range(INVITE_BY_ACCOUNT.free_tries + 1):
        await eager.done("invite")
    head = await clinic.head()
    refused = await eager.request("invite")
    assert (refused["code"], refused["retryAfterMs"] > 0) == ("throttled", True)
    assert await clinic.head() == head
    await other.done("invite")


@pytest.mark.logs_errors
async def test_stream_that_cannot_be_read_stops_nobody(open_node: OpenNode, log: StringIO) -> None:
    """A live stream with an event that this version doesn't know, as after a downgrade, leaves everybody else served."""
    first = await open_node()
    unknown = Append(StreamId("consult:unreadable"), 0, (b'{"type":"not_yet_invented"}',), 1.0)
    await first.node.store.append(unknown)
    for _ in range(250):
        if "due_not_attended" in log.getvalue():
            break
        await asyncio.sleep(0.02)
    await first.connect(await first.patient(), await first.specialist())
    ledger = Ledger(first.node.store, QUICK)
    await ledger.start()
    await ledger.stop()
    assert len(ledger.consults) == 1
