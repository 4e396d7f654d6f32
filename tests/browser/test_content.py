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
