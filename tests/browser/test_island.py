# SPDX-License-Identifier: Apache-2.0
"""The same call with the patient on an emulated island link."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.browser.scene import BACK_S, Actor, meet, scene
from tests.link.lab import Lab

pytestmark = [pytest.mark.browser, pytest.mark.link, pytest.mark.timeout(300)]

STAYS_S = 120.0
LISTENING_S = 1.0
"""The last second's listening belongs to the measurement, not to the outage."""
SILENT_RMS = 0.01
"""Below this nobody speaks; speech is at 0.02 and more (``tests.link.hearing``)."""


async def hears_again(actor: Actor, within_s: float = 20.0) -> None:
    """Wait until any voice is heard in a second's listening."""
    deadline = time.monotonic() + within_s
    while (heard := await actor.hears(1.0)).rms <= SILENT_RMS:
        assert time.monotonic() < deadline, f"still silent: {heard}"


@pytest.mark.slow
async def test_a_call_on_an_island_link_comes_up_and_stays(tmp_path: Path) -> None:
    """256/128 kbit/s, 650 ms round trip, 1 % loss: picture and voice both ways come, and are there two minutes later."""
    with Lab("island_256", seed=11) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, specialist = await stage.call()
            await meet(patient, specialist, within_s=40)
            begun = time.monotonic()
            while time.monotonic() - begun < STAYS_S:
                await asyncio.gather(patient.state("in_call"), specialist.state("in_call"))
                await asyncio.gather(patient.sees(10, 2), specialist.sees(10, 2))
                await asyncio.sleep(5)
            await meet(patient, specialist)
            await patient.page.fill("#text", "Masih jelas.")
            await patient.page.press("#text", "Enter")
            await specialist.wait_line("Masih jelas.")
        print(json.dumps(lab.report()["down"]), json.dumps(lab.report()["up"]))


async def test_a_new_address_in_mid_call(tmp_path: Path) -> None:
    """The patient's address changes (Wi-Fi to mobile): audio both ways again within 5 s of the new address."""
    with Lab("city", seed=3) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, specialist = await stage.call()
            await meet(patient, specialist)

            lab.change_address(gap_s=1.0)
            lab.wait_address()
            begun = time.monotonic()
            # Words spoken before the change may still be in a jitter buffer: two seconds are let pass.
            await asyncio.sleep(2.0)
            await asyncio.gather(hears_again(patient), hears_again(specialist))
            assert time.monotonic() - begun - LISTENING_S <= BACK_S
            await asyncio.gather(patient.state("in_call"), specialist.state("in_call"))
            await meet(patient, specialist)
