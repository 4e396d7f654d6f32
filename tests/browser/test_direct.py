# SPDX-License-Identifier: Apache-2.0
"""Route direct in real browsers over an emulated link: the node's ladder holds both pages, and a page's brake needs nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.browser.scene import Actor, scene
from tests.browser.test_ladder import HEAR, dropped, told
from tests.link.lab import Lab
from tests.link.profiles import link

pytestmark = [
    pytest.mark.browser, pytest.mark.link, pytest.mark.slow, pytest.mark.timeout(180)
]  # fmt: skip

SETTINGS = {"SELAT_MEDIA_ROUTE": "direct"}
SETTLED_S = 5.0
WATCHED_S = 30.0
COUNTED = """
async () => {
  const sum = {frames: 0, frozen: 0, heard: 0, concealed: 0};
  for (const pc of peerConnections) {
    for (const each of (await pc.getStats()).values()) {
      if (each.type !== "inbound-rtp") continue;
      sum.frames += each.framesDecoded ?? 0;
      sum.frozen += each.totalFreezesDuration ?? 0;
      sum.heard += each.totalSamplesReceived ?? 0;
      sum.concealed += (each.concealedSamples ?? 0) - (each.silentConcealedSamples ?? 0);
    }
  }
  return sum;
}
"""


async def received(actor: Actor, seconds: float) -> dict[str, float]:
    """Return pictures a second, and the shares of the voice that was good and of the time that stood still."""
    before: dict[str, float] = await actor.page.evaluate(COUNTED)
    await asyncio.sleep(seconds)
    after: dict[str, float] = await actor.page.evaluate(COUNTED)
    got = {name: after[name] - before[name] for name in after}
    return {
        "fps": got["frames"] / seconds,
        "good": 1 - got["concealed"] / max(1, got["heard"]),
        "frozen": got["frozen"] / seconds,
    }


async def direct_call(tmp_path: Path, lab: Lab) -> dict[str, Any]:
    """Make a call over the link; return what both received, what the queue dropped, and what both were told."""
    async with scene(tmp_path, lab=lab, settings=SETTINGS, script=HEAR) as stage:
        specialist = await stage.specialist()
        patient = await stage.patient()
        await specialist.state("ringing")
        await asyncio.sleep(3)  # what the page itself has filled is gone
        before = lab.report()
        await specialist.page.click("#accept")
        await asyncio.gather(patient.state("in_call"), specialist.state("in_call"))
        await asyncio.sleep(SETTLED_S)
        island, city = await asyncio.gather(
            received(patient, WATCHED_S), received(specialist, WATCHED_S)
        )
        found = {
            "island": island,
            "city": city,
            "dropped": dropped(before, lab.report()),
            "patient": await told(patient, "limits"),
            "specialist": await told(specialist, "limits"),
            "peer_links": len(await told(patient, "peer_link")),
        }
        for name in ("island", "city", "dropped"):
            print(name, {each: round(value, 3) for each, value in found[name].items()})
        for name in ("patient", "specialist"):
            begun = found[name][0]["at"] if found[name] else 0
            print(
                name,
                [
                    (
                        round((each["at"] - begun) / 1_000, 1),
                        each["limits"].get("rung", "voice"),
                        each["limits"].get("reason", "start"),
                        each["limits"]["videoMaxBps"],
                    )
                    for each in found[name]
                ],
            )
        return found


async def test_a_thin_link_is_not_filled(tmp_path: Path) -> None:
    """128/64 kbit/s, 800 ms, 3 %: a moving picture and a whole voice both ways, hardly a drop, each side told by its node."""
    profile = link("direct", 128, 64, 800, "the aims", jitter_ms=60, loss_ratio=0.03)
    with Lab(profile, seed=5) as lab:
        found = await direct_call(tmp_path, lab)
    assert found["peer_links"]
    for name in ("patient", "specialist"):
        assert found[name][0]["leg"] == ""
    assert max(found["dropped"].values()) <= 0.03
    assert found["island"]["fps"] >= 4
    assert found["city"]["fps"] >= 2.5
    assert min(found["island"]["good"], found["city"]["good"]) >= 0.93
