# SPDX-License-Identifier: Apache-2.0
"""A patient and a specialist in real browsers: they see each other move and hear each other's voice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser.scene import BACK_S, Actor, Scene, meet, scene
from tests.browser.turn import turn_server
from tests.support.processes import answers, running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


_OVER_A_RELAY = "peerConnections.map((each) => each.remoteDescription.sdp.includes('a=ice-lite'))"


async def chat(patient: Actor, specialist: Actor, number: int) -> None:
    """One line each way; both pages show both, once."""
    asked, answered = f"Pertanyaan {number}.", f"Jawaban {number}."
    await patient.page.fill("#text", asked)
    await patient.page.press("#text", "Enter")
    await specialist.wait_line(asked)
    await specialist.page.fill("#chat-text", answered)
    await specialist.page.press("#chat-text", "Enter")
    await patient.wait_line(answered)
    for actor in (patient, specialist):
        assert await actor.count_lines(asked) == 1
        assert await actor.count_lines(answered) == 1


@pytest.mark.parametrize("route", ["relayed", "direct"])
async def test_a_patient_and_a_specialist_talk(tmp_path: Path, route: str) -> None:
    """From the link to picture and voice both ways, chat, note, and a summary that the patient keeps; on either route."""
    async with scene(tmp_path, settings={"SELAT_MEDIA_ROUTE": route}) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        for actor in (patient, specialist):
            assert await actor.page.evaluate(_OVER_A_RELAY) == [route == "relayed"]
        await chat(patient, specialist, 1)
        await specialist.page.fill("#note", "Observasi.")
        await specialist.page.click("#end-open")
        await specialist.page.click("#end-outcomes label >> nth=0")
        await specialist.page.fill("#end-summary", "Minum air hangat.")
        await specialist.page.click("#end-form button.danger")
        await patient.state("ended")
        assert "Minum air hangat." in await patient.page.inner_text("#summary")
        await specialist.state("available")
        assert [line for line in patient.said if "401" not in line] == []


@pytest.fixture(
    params=[*(pytest.param(each, marks=pytest.mark.slow) for each in ("udp", "tcp")), "tls"]
)
def turn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A coturn of its own on loopback; gives the node's settings for one way to it and nothing but it."""
    command, settings = turn_server(tmp_path, "localhost", transport=request.param)
    ports = [int(each.partition("=")[2]) for each in command if "listening-port=" in each]
    with running(command, lambda: all(map(answers, ports)), tmp_path / "turn.log"):
        yield {**settings, "SELAT_TURN_ICE_TRANSPORT_POLICY": "relay"}


async def test_a_call_by_turn_alone(tmp_path: Path, turn: dict[str, str]) -> None:
    """With nothing but a TURN server between them, over UDP, TCP and TLS, they talk, and the metrics say how."""
    async with scene(tmp_path, settings=turn) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        kinds = await specialist.candidate_types()
        assert kinds == {"relay"}, kinds


async def test_reloads_come_back_by_themselves(tmp_path: Path) -> None:
    """The specialist reloads the tab, then the patient reloads the page: each time both talk again within 5 s."""
    async with scene(tmp_path) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        for reloading in (specialist, patient):
            assert await back(reloading.page, patient, specialist) <= BACK_S
            await meet(patient, specialist)
        await chat(patient, specialist, 2)


async def back(page: Page, patient: Actor, specialist: Actor) -> float:
    """Reload a page in the call; return how long it took until both see each other again."""
    begun = time.monotonic()
    await page.reload(wait_until="commit")
    await asyncio.gather(patient.state("in_call"), specialist.state("in_call"))
    await asyncio.gather(patient.sees(), specialist.sees())
    return time.monotonic() - begun


async def second_specialist(stage: Scene) -> Actor:
    """Another specialist signs in and goes on call."""
    made = stage.server.cli(
        "account",
        "add",
        "dokter.dua",
        "--role",
        "specialist",
        "--specialty",
        "general",
        "--language",
        "id",
    )
    return await stage.specialist("dokter.dua", made["password"])


async def test_declining_rolls_over(tmp_path: Path) -> None:
    """Who declines passes the ring on to the next specialist, who gets the call."""
    async with scene(tmp_path) as stage:
        first = await stage.specialist()
        second = await second_specialist(stage)
        patient = await stage.patient()
        rung, other = await whose_ring(first, second)
        await rung.page.click("#decline summary")
        await rung.page.click("#decline-reasons button >> nth=0")
        await other.state("ringing")
        await rung.state("available")
        await other.page.click("#accept")
        await meet(patient, other)


async def test_no_answer_rolls_over(tmp_path: Path) -> None:
    """Who doesn't answer in time passes the ring on, and stays on call."""
    async with scene(tmp_path, settings={"SELAT_CONSULT_RING_S": "4"}) as stage:
        first = await stage.specialist()
        second = await second_specialist(stage)
        patient = await stage.patient()
        rung, other = await whose_ring(first, second)
        await other.state("ringing", within_s=10)
        await rung.state("available")
        await other.page.click("#accept")
        await patient.state("in_call")
        await meet(patient, other)


async def whose_ring(first: Actor, second: Actor) -> tuple[Actor, Actor]:
    """Wait for the ring; return who is rung, and the other."""
    waits = {asyncio.ensure_future(a.state("ringing", within_s=15)): a for a in (first, second)}
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    rung = waits[done.pop()]
    return rung, second if rung is first else first


async def test_the_server_is_killed_in_a_call(tmp_path: Path) -> None:
    """SIGKILL in mid-call: media goes on, both are in the same consult afterwards, no line is lost or doubled."""
    async with scene(tmp_path) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        await chat(patient, specialist, 1)
        stage.server.kill()
        # While nobody is there to forward anything: still seen and heard, and what is typed now is kept.
        await patient.page.fill("#text", "Masih di sini.")
        await patient.page.press("#text", "Enter")
        await meet(patient, specialist)
        stage.server.start()
        await specialist.wait_line("Masih di sini.", within_s=30)
        for actor in (patient, specialist):
            await actor.state("in_call")
            assert await actor.count_lines("Masih di sini.") == 1
            assert await actor.count_lines("Pertanyaan 1.") == 1
        await chat(patient, specialist, 2)
        await meet(patient, specialist)
