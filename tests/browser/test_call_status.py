# SPDX-License-Identifier: Apache-2.0
"""What both people are told of their call, in real browsers: quality, a phone call, a frozen page, an outage, a hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.scene import Actor, Scene, scene

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

_TAKE = """
globalThis.theirMicrophones = [];
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await open(wanted);
  theirMicrophones.push(...stream.getAudioTracks());
  return stream;
};
"""
"""A phone call as a page sees it: the system mutes the track (W3C mediacapture-main §4.3.1), and says so by an event. No
headless browser has a telephone, so the event is made here; what follows from it is real."""


_RECEIVED = """async () => {
  let packets = 0;
  for (const pc of peerConnections)
    for (const stat of (await pc.getStats()).values())
      if (stat.type === "inbound-rtp" && stat.kind === "audio") packets += stat.packetsReceived;
  return packets;
}"""
"""Packets of voice that ever came."""


_USE_UP = """() => {
  const kept = JSON.parse(sessionStorage.getItem("selat.usage"));
  sessionStorage.setItem("selat.usage", JSON.stringify({...kept, bytes: 1e7, cap: 1e7}));
}"""
"""A consult that has used all of its 10 MB when the page is loaded again."""


async def lifecycle(actor: Actor, state: str) -> None:
    """Freeze a page as a phone does with tabs in the background, or let it go on."""
    devtools = await actor.context.new_cdp_session(actor.page)
    await devtools.send("Page.setWebLifecycleState", {"state": state})


async def call(stage: Scene) -> tuple[Actor, Actor]:
    """Bring up a call in which the patient's microphones can be taken."""

    async def patients() -> Actor:
        actor = await stage.browser("island")
        await actor.context.add_init_script(_TAKE)
        await actor.page.goto(stage.server.facts["patient_url"])
        await stage.join(actor)
        return actor

    patient, specialist = await asyncio.gather(patients(), stage.specialist())
    await specialist.state("ringing")
    await specialist.page.click("#accept")
    await specialist.state("in_call")
    await patient.state("in_call")
    return patient, specialist


async def test_both_are_told_of_quality_cost_and_a_phone_call(tmp_path: Path) -> None:
    """A word for each direction, the data used; the system takes the patient's microphone, and both are told, in words."""
    async with scene(tmp_path) as stage:
        patient, specialist = await call(stage)
        said, told = specialist.page.locator("#call-words"), patient.page.locator("#callnote")
        await expect(specialist.page.locator("#call-quality")).to_contain_text(
            "The patient receives", timeout=15_000
        )
        await expect(patient.page.locator("#quality")).to_contain_text("Mutu")
        await expect(patient.page.locator("#used")).to_contain_text("MB")
        await patient.page.evaluate("theirMicrophones.at(-1).dispatchEvent(new Event('mute'))")
        await expect(told).to_contain_text("panggilan telepon")
        await expect(said).to_contain_text("perhaps by a phone call", timeout=10_000)


@pytest.mark.slow
async def test_a_frozen_page_a_lost_one_and_a_cap(tmp_path: Path) -> None:
    """A frozen page runs no script, but its voice goes on; a lost patient is brought back to the same desk.

    At the patient's limit of data both pictures stop, and the other one is back when the limit is raised.
    """
    async with scene(tmp_path, settings={"SELAT_CONSULT_AWAY_GRACE_S": "0.5"}) as stage:
        patient, specialist = await call(stage)
        said = specialist.page.locator("#call-words")
        await patient.sees()
        await lifecycle(patient, "frozen")
        before = await specialist.page.evaluate(_RECEIVED)
        await specialist.page.wait_for_function(
            f"async (before) => await ({_RECEIVED})() > before + 50", arg=before
        )
        await lifecycle(patient, "active")
        await patient.sees()
        link = patient.page.url
        await patient.page.goto("about:blank")
        await specialist.state("interrupted")
        await expect(said).to_contain_text("The patient’s link is down")
        await expect(specialist.page.locator("#call-lasts")).to_contain_text("0:")
        await specialist.page.click("#hold")
        await specialist.state("available")
        await patient.page.goto(link)
        await patient.state("waiting", "ringing")
        await specialist.state("ringing")
        await specialist.page.click("#accept")
        await specialist.state("in_call")
        await patient.state("in_call")
        await patient.sees()

        await patient.page.evaluate(_USE_UP)
        await patient.page.reload()
        await patient.state("in_call")
        await expect(patient.page.locator("#capnote")).to_contain_text("Batas data Anda tercapai")
        await expect(patient.page.locator("#selfview")).to_be_hidden()
        await expect(said).to_contain_text("Picture paused as wanted", timeout=10_000)
        await patient.page.click("#usage summary")
        await patient.page.select_option("#cap", "0")
        await expect(said).to_have_text("", timeout=15_000)
        await patient.sees()
