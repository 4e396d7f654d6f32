# SPDX-License-Identifier: Apache-2.0
"""Whom a consult is shown to, and whom not: the moments in which a view could reach the wrong desk."""

import asyncio
from pathlib import Path

import pytest

from signalling.edge import ledger
from signalling.edge.connections import Gone, encode_notice
from signalling.store.base import InboxId
from tests.support.clinic import Clinic, config, open_clinic


@pytest.fixture
def store_url() -> str:
    """One store is enough: nothing here depends on it."""
    return ""


async def test_ring_shows_no_consult(clinic: Clinic) -> None:
    """A patient whose page goes while it rings is not shown to the desk that rings: no name, no chat, no view."""
    specialist = await clinic.specialist()
    patient = await clinic.patient(intake={"name": "Ibu Wati", "contact": "0812000111"})
    await patient.chat("hanya untuk dokter saya")
    await specialist.wait_until(lambda: "ring" in specialist.desk)
    await patient.lose()
    await specialist.wait_until(
        lambda: any(item.get("present") is False for item in specialist.desk.get("queue", ()))
    )
    await specialist.done("history")
    seen = str(specialist.messages)
    assert "Ibu Wati" not in seen
    assert "hanya untuk" not in seen


async def test_earlier_patient_does_not_disturb_a_call(clinic: Clinic) -> None:
    """When the patient of an ended consult closes the page, the desk stays with the call that it is in now."""
    first = await clinic.call()
    specialist = first.specialist
    await specialist.done("end", consult=first.consult, outcome="advice")
    await first.patient.until_state("ended")
    second = await clinic.connect(await clinic.patient(), specialist)
    await second.patient.chat("satu")
    await specialist.wait_until(lambda: specialist.said == ["satu"])
    mark = len(specialist.messages)
    await first.patient.close()
    await second.patient.chat("dua")
    await specialist.wait_until(lambda: specialist.said == ["satu", "dua"])
    assert {m["consult"] for m in specialist.messages[mark:] if "consult" in m} == {second.consult}
    await specialist.lose()
    view = await second.patient.until_state("interrupted")
    assert view["away"] == ["specialist"]


async def test_late_notice_shows_nothing(clinic: Clinic) -> None:
    """A notice of another node about a consult that was handed over meanwhile shows it to nobody."""
    call = await clinic.call()
    await call.specialist.done("transfer", consult=call.consult, specialty="paediatrics")
    await call.patient.until_state("waiting")
    await call.patient.chat("for the next one only")
    mark = len(call.specialist.messages)
    gone = Gone(call.consult, f"p_{call.consult}")
    await clinic.node.store.post(InboxId(call.specialist.account), encode_notice(gone))
    for _ in range(3):
        await call.specialist.done("history")
    assert "for the next one" not in str(call.specialist.messages[mark:])


async def test_history_is_no_news(tmp_path: Path) -> None:
    """Past consults that are read from the store after a restart are not shown as if they ended now."""
    settings = config(tmp_path)
    async with open_clinic(settings) as before:
        call = await before.call()
        await call.patient.chat("lama")
        await call.specialist.done("end", consult=call.consult, outcome="advice")
        account, cookie = call.specialist.account, call.specialist.cookie
    async with open_clinic(settings) as after:
        specialist = await after.desk_of(account, cookie)
        (past,) = (await specialist.done("history"))["consults"]
        assert past["consult"] == call.consult
        await specialist.done("ping")
        await asyncio.sleep(0)
        assert not specialist.entries
        assert not [m for m in specialist.messages if m["type"] == "consult"]


async def test_opened_content_in_memory_is_bounded(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many long notes are written, the node keeps a bounded part of them in memory, and loses none."""
    monkeypatch.setattr(ledger, "CONTENT_KEPT_BYTES", 50_000)
    call = await clinic.call()
    for n in range(5):
        await call.specialist.done("note", consult=call.consult, text=f"{n}" * 20_000)
    kept = clinic.node.ledger._content
    assert 0 < sum(map(len, kept.values())) == clinic.node.ledger._content_bytes <= 50_000
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    (past,) = (await call.specialist.done("history"))["consults"]
    assert past["note"] == "4" * 20_000


async def test_note_after_a_hand_over_is_the_next_ones(clinic: Clinic) -> None:
    """Who handed a patient over keeps their own note in their history; what was written later is not theirs to read."""
    first = await clinic.specialist()
    call = await clinic.connect(await clinic.patient(), first)
    await first.done("note", consult=call.consult, text="from the first")
    await first.done("on_call", on=False)
    await first.done("transfer", consult=call.consult, specialty="emergency")
    second = await clinic.specialist()
    await clinic.connect(call.patient, second)
    await second.done("note", consult=call.consult, text="from the second")
    for specialist, note in ((first, "from the first"), (second, "from the second")):
        (past,) = (await specialist.done("history"))["consults"]
        assert past["note"] == note
