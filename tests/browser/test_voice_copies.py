# SPDX-License-Identifier: Apache-2.0
"""Copies of the voice in a browser: written by a worker, as far behind as bursts of losses are long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.scene import meet, scene
from tests.link.lab import Lab
from tests.link.profiles import link

pytestmark = [pytest.mark.browser, pytest.mark.link, pytest.mark.timeout(150)]

BURSTS = link("bursts", 1000, 500, 120, "Losses that outlive a frame.", burst_loss_ratio=0.1)

WAITS = """() => globalThis.peerConnections.some(pc => pc.getReceivers().some(
    ({track, jitterBufferTarget}) => track.kind === "audio" && jitterBufferTarget >= 180))"""


async def test_copies_outlive_bursts(tmp_path: Path) -> None:
    """The city's own link loses nothing: it waits because the relay has seen copies that are far behind.

    And an error in the worker takes no voice with it.
    """
    with Lab(BURSTS, seed=1) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, doctor = await stage.call()
            await meet(patient, doctor, within_s=40)
            await doctor.page.wait_for_function(WAITS, timeout=40_000)
            (worker,) = patient.page.workers
            await worker.evaluate("() => { setTimeout(() => { throw new Error('over'); }); }")
            await meet(patient, doctor, within_s=10)
