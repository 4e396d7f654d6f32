# SPDX-License-Identifier: Apache-2.0
"""Photographs and voice messages between real pages, by way of a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.scene import scene

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PHOTO = ".photo-line[data-sharp=true]"


async def size_of(page: Page, selector: str) -> tuple[int, int]:
    """Return the real size of a picture that is shown."""
    found = await page.eval_on_selector(selector, "i => [i.naturalWidth, i.naturalHeight]")
    return found[0], found[1]


async def test_a_photograph_is_asked_for_agreed_to_and_seen_sharp(tmp_path: Path) -> None:
    """The specialist asks, the patient looks at it and agrees, the specialist has the same picture, with its hash."""
    async with scene(tmp_path) as stage:
        patient, doctor = await stage.call()
        await expect(patient.page.locator("#photo")).to_be_visible(timeout=15_000)
        await doctor.page.click("#ask-still")
        await patient.page.click("#shot-take", timeout=15_000)
        await expect(patient.page.locator("#shot-send")).to_be_visible(timeout=10_000)
        taken = await size_of(patient.page, "#shot img")
        await patient.page.click("#shot-send")
        await doctor.page.wait_for_selector(PHOTO, timeout=60_000)
        assert await size_of(doctor.page, f"{PHOTO} img") == taken
        digest = await doctor.page.get_attribute(PHOTO, "data-sha256")
        assert digest
        assert len(digest) == 64
        await expect(patient.page.locator("#lines img")).to_be_visible()
        await doctor.page.click(f"{PHOTO} .photo")
        await expect(doctor.page.locator("#picture img")).to_be_visible()
        await doctor.page.click("#picture [data-close]")
        await doctor.page.click("#ask-still")
        await patient.page.click("#shot-no", timeout=10_000)
        await expect(doctor.page.locator("#ask-still-state")).to_contain_text("doesn't want")
        assert not [line for line in patient.said + doctor.said if "status of 4" not in line]


async def record(page: Page, begin: str, stop: str, send: str) -> None:
    """Speak for a second, and send it."""
    await page.click(begin, timeout=15_000)
    await page.click(stop, timeout=10_000, delay=1_200)
    await page.click(send)


async def test_nobody_leaves_unheard(tmp_path: Path) -> None:
    """With nobody on call a message is left, and survives the page; it is heard, answered, collected with the code."""
    async with scene(tmp_path, settings={"SELAT_CONSULT_NOBODY_S": "1"}) as stage:
        made = stage.server.cli("invite")
        patient = await stage.patient(made["url"], camera=False)
        await patient.state("callback")
        await patient.page.evaluate("WebSocket.prototype.send = () => {}")  # nothing gets out
        await record(patient.page, "#speak", "#tape-stop", "#tape-send")
        await patient.page.wait_for_selector("#parcels li", timeout=10_000)
        await patient.page.reload()
        await patient.page.wait_for_selector("#lines [data-voice]", timeout=15_000)
        await patient.page.goto("about:blank")
        doctor = await stage.browser("city")
        await doctor.page.goto(f"{stage.server.url}/specialist?lang=en")
        await stage.sign_in(doctor)
        await expect(doctor.page.locator("#callbacks .messages")).to_contain_text("1 not answered")
        await doctor.page.click("#callbacks .messages")
        await doctor.page.click("#messages [data-voice]", timeout=10_000)
        await heard(doctor.page, "#messages .line:not(.mine) audio")
        tape = "#messages [data-tape] [data-act={}]"
        await record(doctor.page, tape.format("record"), tape.format("stop"), tape.format("send"))
        await doctor.page.wait_for_selector("#messages .line.mine", timeout=15_000)
        await patient.page.goto(stage.server.url)
        await patient.page.fill("#code", made["code"])
        await patient.page.click("#codejoin")
        await patient.state("callback")
        await patient.page.click("#lines li:not(.me) [data-voice]", timeout=15_000)
        await heard(patient.page, "#lines li:not(.me) audio")
        assert not [line for line in patient.said + doctor.said if "status of 4" not in line]


async def heard(page: Page, selector: str) -> None:
    """Wait until a message is being played."""
    await page.wait_for_selector(selector, timeout=15_000)
    await page.wait_for_function(
        "s => document.querySelector(s).currentTime > 0.3", arg=selector, timeout=10_000
    )


_LIMITS = """
globalThis.limits = {};
const WithoutEars = WebSocket;
globalThis.WebSocket = class extends WithoutEars {
  constructor(...args) {
    super(...args);
    this.addEventListener("message", ({data}) => {
      if (typeof data === "string" && data.startsWith('{"type":"limits"')) globalThis.limits = JSON.parse(data).limits;
    });
  }
};
"""


@pytest.mark.slow
async def test_what_the_specialist_wishes_reaches_the_relay(tmp_path: Path) -> None:
    """Detail, the voice alone, motion: each tap changes what the relay lets the patient's page send."""
    async with scene(tmp_path, script=_LIMITS) as stage:
        patient, doctor = await stage.call()

        async def sends(what: str) -> None:
            await patient.page.wait_for_function(f"() => {what}", timeout=15_000)

        await sends("limits.videoMaxBps > 0 && !limits.detail")
        for wish, effect in (
            ("detail", "limits.videoMaxBps > 0 && limits.detail"),
            ("voice", "limits.videoMaxBps === 0"),
            ("motion", "limits.videoMaxBps > 0 && !limits.detail"),
        ):
            await doctor.page.click(f"#wish button[value={wish}]")
            await sends(effect)
            pressed = doctor.page.locator("#wish button[aria-pressed=true]")
            await expect(pressed).to_have_attribute("value", wish)


@pytest.mark.slow
async def test_a_message_is_offered_while_nobody_can_be_reached(tmp_path: Path) -> None:
    """Who waits with nobody on call is asked to speak at once; after the message the page says that it is kept."""
    async with scene(tmp_path, settings={"SELAT_CONSULT_NOBODY_S": "3"}) as stage:
        patient = await stage.patient(stage.server.cli("invite")["url"], camera=False)
        offer = patient.page.locator("#word")
        await expect(offer).to_be_visible(timeout=15_000)
        await record(patient.page, "#speak", "#tape-stop", "#tape-send")
        await patient.page.wait_for_selector("#lines [data-voice]", timeout=15_000)
        await patient.state("callback")
        await expect(offer).to_contain_text(
            "tersimpan" if await in_indonesian(patient.page) else "kept"
        )
        doctor = await stage.browser("city")
        await doctor.page.goto(f"{stage.server.url}/specialist?lang=en")
        await stage.sign_in(doctor)
        await doctor.page.click("#callbacks .messages")
        await expect(doctor.page.locator("#messages-close")).to_be_hidden()
        await doctor.page.fill("#messages-text", "Minum air yang banyak")
        await doctor.page.press("#messages-text", "Enter")
        await doctor.page.click("#messages-answered", timeout=10_000)
        await expect(doctor.page.locator("#callbacks li")).to_have_count(0)
        await patient.page.wait_for_function(
            "() => !document.getElementById('place').textContent", timeout=10_000
        )
        await patient.page.fill("#text", "Masih demam")
        await patient.page.press("#text", "Enter")
        await expect(doctor.page.locator("#callbacks .messages")).to_contain_text("1 not answered")


async def in_indonesian(page: Page) -> bool:
    """Return the page's language."""
    return str(await page.get_attribute("html", "lang")) == "id"
