# SPDX-License-Identifier: Apache-2.0
"""What a page gets that comes back: every durable line once and in order, nothing ephemeral."""

import asyncio
import dataclasses
import random

import pytest

from auth.throttle import HELLO_BY_PERSON, Throttle
from signalling.edge import keys
from signalling.store.base import Recorded, StreamId
from tests.integration.conftest import OpenNode
from tests.support.clinic import Call, Clinic, form
from tests.support.graces import Graces
from tests.support.peer import SDP, Peer
from tests.support.talker import Talker, assert_all_heard_all


def lines(peer: Peer) -> list[int]:
    return [e["cursor"] for e in peer.entries]


async def wreck(peer: Peer, chance: random.Random, stop: asyncio.Event) -> None:
    """Lose this peer's socket again and again."""
    while not stop.is_set():
        await asyncio.sleep(chance.uniform(0.01, 0.06))
        peer.abort()


async def chaos(call: Call, *clinics: Clinic) -> None:
    """Let both sides of a call talk while both lose their sockets, more often than a person may connect."""
    for clinic in clinics:
        quick = dataclasses.replace(HELLO_BY_PERSON, free_tries=10_000)
        clinic.node.app[keys.GATE]._hellos = Throttle(quick)
    chance, stop = random.Random(7), asyncio.Event()
    talkers = Talker(call.patient, "p"), Talker(call.specialist, "s")
    wreckers = [asyncio.create_task(wreck(t.peer, chance, stop)) for t in talkers]
    await asyncio.gather(*(talker.talk(asyncio.Event(), 30) for talker in talkers))
    stop.set()
    await asyncio.gather(*wreckers)
    await assert_all_heard_all(talkers)
    assert all(talker.reconnects > 2 for talker in talkers)


async def test_everything_once_under_interleaved_writes(clinic: Clinic) -> None:
    """Two sides talk while both lose their sockets again and again: each sees the whole chat once, in one order."""
    await chaos(await clinic.call(), clinic)


@pytest.mark.redis
@pytest.mark.parametrize("store_url", ["redis"], indirect=True)
async def test_everything_once_across_nodes(open_node: OpenNode) -> None:
    """The same with the two sides on two nodes, whose tails lag behind what the other wrote."""
    first, second = await open_node(), await open_node()
    await chaos(await first.call(elsewhere=second), first, second)


async def test_cursor_tells_what_is_missing(clinic: Clinic) -> None:
    """After the cursor exactly what came since follows; with no cursor, everything."""
    call = await clinic.call()
    await call.patient.chat("one")
    await call.patient.wait_until(lambda: call.patient.said == ["one"])
    await call.patient.lose()
    for text in ("two", "three"):
        await call.specialist.chat(text)
    mark = len(call.patient.messages)
    await call.patient.reconnect()
    await call.patient.wait_until(lambda: call.patient.said == ["one", "two", "three"])
    assert clinic.metric("sessions_resumed_total") == 1
    assert call.patient.messages[mark]["type"] == "welcome"
    fresh = clinic.peer(call.patient.token, call.consult)
    fresh.instance = call.patient.instance
    await fresh.open()
    await fresh.wait_until(lambda: fresh.said == ["one", "two", "three"])
    assert lines(fresh) == lines(call.patient)


@pytest.mark.parametrize("cursor", [10_000, 2**53 - 1])
async def test_cursor_of_the_future(clinic: Clinic, cursor: int) -> None:
    """A cursor beyond the end is taken as the end: what comes after it is not missed."""
    call = await clinic.call()
    await call.patient.reconnect(cursor=cursor)
    await call.specialist.chat("hello")
    await call.patient.wait_until(lambda: call.patient.said == ["hello"])


async def test_same_chat_key_is_one_line(clinic: Clinic) -> None:
    """A chat line that is sent again with its key is acknowledged again and recorded once."""
    call = await clinic.call()
    for _ in range(3):
        await call.patient.chat("halo", key="same-key-1")
    version = await clinic.version(call.consult)
    await call.patient.reconnect()
    await call.patient.chat("halo", key="same-key-1")
    assert await clinic.version(call.consult) == version
    assert call.specialist.said == ["halo"]


async def test_ephemeral_messages_are_not_replayed(clinic: Clinic) -> None:
    """A description sent while the other side is away is an error for the sender, and never comes later."""
    call = await clinic.call()
    await call.patient.lose()
    await call.specialist.wait_until(lambda: "instance" not in call.specialist.view["peer"])
    description = {"type": "offer", "sdp": SDP}
    code = await call.specialist.refused(
        "description", consult=call.consult, description=description
    )
    assert code == "peer_absent"
    await call.patient.reconnect()
    await call.specialist.chat("after")
    await call.patient.wait_until(lambda: call.patient.said == ["after"])
    assert call.patient.of("description") == []
    candidate = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"}
    await call.specialist.wait_until(lambda: call.specialist.view["peer"].get("instance"))
    await call.specialist.send("candidate", consult=call.consult, candidate=candidate)
    got = await call.patient.wait_for(lambda m: m["type"] == "candidate")
    assert got["candidate"] == candidate


async def test_same_page_load_keeps_its_instance(clinic: Clinic) -> None:
    """After a lost socket the same instance comes back in the other side's view; a reload brings a new one."""
    call = await clinic.call()
    before = call.patient.instance
    await call.patient.reconnect()
    await call.specialist.wait_until(lambda: call.specialist.view["peer"].get("instance") == before)
    call.patient.instance = "reloaded-1"
    await call.patient.reconnect()
    await call.specialist.wait_until(
        lambda: call.specialist.view["peer"].get("instance") == "reloaded-1"
    )
    assert call.specialist.view["state"] == "in_call"


async def test_second_tab_displaces_the_first(clinic: Clinic) -> None:
    """A new page load with the same session closes the older one with 4010; the same page load with 4012."""
    patient = await clinic.patient()
    tab = clinic.peer(patient.token, patient.consult)
    await tab.open()
    assert await patient.until_closed() == 4010
    again = clinic.peer(patient.token, patient.consult)
    again.instance = tab.instance
    await again.open()
    assert await tab.until_closed() == 4012
    await again.ping()


async def test_specialist_reloads(clinic: Clinic) -> None:
    """A specialist's new page gets the desk, the call, the intake and the chat by itself; the call was never away."""
    call = await clinic.call()
    await call.patient.chat("halo")
    await call.specialist.lose()
    tab = await clinic.desk_of(call.specialist.account, call.specialist.cookie, call.consult)
    await tab.until_state("in_call")
    assert tab.view["intake"]["complaint"] == "batuk sudah tiga hari"
    assert tab.said == ["halo"]
    assert tab.desk["consult"] == call.consult
    await call.patient.wait_until(lambda: call.patient.view["peer"].get("instance") == tab.instance)
    assert "lost" not in [e["kind"] for e in call.patient.entries]


async def test_specialist_learns_of_an_end_that_was_missed(clinic: Clinic) -> None:
    """The patient leaves while the specialist's socket is down: the page is told when it is back."""
    call = await clinic.call()
    await call.specialist.lose()
    await call.patient.chat("terima kasih")
    await call.patient.done("leave")
    await call.specialist.reconnect()
    view = await call.specialist.until_state("ended")
    assert view["outcome"] == "patient_left"
    await call.specialist.wait_until(lambda: call.specialist.said == ["terima kasih"])
    assert call.specialist.entries[-1]["kind"] == "ended"


async def test_summary_after_the_end(clinic: Clinic) -> None:
    """After the end the patient's resume secret still opens the summary, on a page that was closed meanwhile."""
    call = await clinic.call()
    await call.specialist.done(
        "end", consult=call.consult, outcome="referral", summary="Ke puskesmas"
    )
    await call.patient.until_state("ended")
    await call.patient.close()
    secret = {"consult": call.consult, "resume": call.patient.resume}
    page = clinic.peer((await clinic.ok("/api/resume", secret))["session"], call.consult)
    await page.open()
    view = await page.until_state("ended")
    assert (view["summary"], view["outcome"]) == ("Ke puskesmas", "referral")
    assert (
        await page.refused("chat", consult=call.consult, key="k1234567", text="x") == "consult_over"
    )


async def test_resume_secret(clinic: Clinic) -> None:
    """The secret given at the join opens new sessions again and again; another one, or for another consult, none."""
    patient, other = await clinic.patient(), await clinic.patient()
    for _ in range(2):
        body = {"consult": patient.consult, "resume": patient.resume}
        page = clinic.peer((await clinic.ok("/api/resume", body))["session"], patient.consult)
        assert (await page.open())["type"] == "welcome"
    for consult, secret in (
        (patient.consult, other.resume),
        (patient.consult, "x" * 43),
        ("no-such-consult", patient.resume),
    ):
        reply = await clinic.api("/api/resume", {"consult": consult, "resume": secret})
        assert (reply.status, reply.code) == (401, "resume_invalid")


async def test_view_is_never_older_than_the_timeline(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens while a page is being brought up to date is in the view that it gets then."""
    store = clinic.node.ledger.store
    read = store.read

    async def slow(stream: StreamId, after_version: int = 0) -> list[Recorded]:
        await asyncio.sleep(0.1)
        return await read(stream, after_version)

    monkeypatch.setattr(store, "read", slow)
    patient = await clinic.patient(intake=False)
    await patient.done("intake", form=form())
    monkeypatch.setattr(store, "read", read)
    await patient.until_state("waiting", "ringing")


async def test_each_absence_is_judged_by_itself(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back and gone again: the time of the first absence ends during the second one, and that is nobody's loss."""
    call = await clinic.call()
    graces = Graces(monkeypatch)
    await call.patient.lose()
    await graces.began(1)
    await call.patient.reconnect()
    await call.patient.lose()
    await graces.began(2)
    graces.end(0)
    await call.specialist.chat("are you there?")
    assert clinic.consult(call.consult).state == "in_call"
    await call.patient.reconnect()
    graces.end(1)
    await call.patient.chat("always")
    await call.specialist.wait_until(lambda: call.specialist.said[-1:] == ["always"])
    assert "lost" not in [e["kind"] for e in call.specialist.entries]
    await call.patient.lose()
    await graces.began(3)
    graces.end(2)
    await call.specialist.until_state("interrupted")
    graces.end_all()
