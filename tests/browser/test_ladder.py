# SPDX-License-Identifier: Apache-2.0
"""The link probe and the ladder in real browsers, over an emulated link and a real server with its relay."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.scene import Actor, scene
from tests.link.lab import Lab
from tests.link.profiles import link

pytestmark = [
    pytest.mark.browser, pytest.mark.link, pytest.mark.slow, pytest.mark.timeout(180)
]  # fmt: skip

HEAR = """
(() => {
  const Socket = WebSocket;
  globalThis.told = [];
  globalThis.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({data}) => {
        const message = JSON.parse(data);
        if (["limits", "outlook", "peer_link"].includes(message.type)) told.push({at: Date.now(), ...message});
      });
    }
  };
})();
"""
SENT = """
async () => {
  let sent = 0, checks = 0;
  for (const pc of peerConnections) {
    for (const each of (await pc.getStats()).values()) {
      if (each.type === "outbound-rtp") sent += each.packetsSent;
      if (each.type === "candidate-pair") checks += each.requestsReceived ?? 0;
    }
  }
  return [sent, checks];
}
"""
SHOWN = """
async () => {
  let frames = 0;
  for (const pc of peerConnections) {
    for (const each of (await pc.getStats()).values()) {
      if (each.type === "inbound-rtp" && each.kind === "video") frames += each.framesDecoded ?? 0;
    }
  }
  return frames;
}
"""
OUTLOOK_S = 25.0
"""Page, leg and 6 s of asking, on a link where a round trip is 0.8 s."""


async def told(actor: Actor, kind: str) -> list[dict[str, Any]]:
    """Return what the page was told of one kind."""
    found: str = await actor.page.evaluate(
        "kind => JSON.stringify(told.filter(each => each.type === kind))", kind
    )
    return list(json.loads(found))


@dataclass
class Watched:
    """A call that was watched for a while."""

    outlook: dict[str, Any]
    checks: int
    """Of the patient's link, while waiting."""
    limits: list[dict[str, Any]]
    """The patient's."""
    drops: dict[str, float]
    """What share the queue dropped since the accept, each way."""
    lines: int
    """Of the picture in the city."""
    fps: dict[str, float]
    """Pictures a second that were decoded, each way."""


async def measured_call(tmp_path: Path, lab: Lab, watched_s: float) -> Watched:
    """Wait for the patient's outlook, accept, and watch."""
    async with scene(tmp_path, lab=lab, script=HEAR) as stage:
        specialist = await stage.specialist()
        patient = await stage.patient()
        await patient.page.wait_for_function(
            "() => told.some(each => each.type === 'outlook')", timeout=OUTLOOK_S * 1_000
        )
        (outlook,) = await told(patient, "outlook")
        sent, checks = await patient.page.evaluate(SENT)
        assert sent == 0, "camera or microphone was sent before the call"
        assert await patient.page.locator("#outlook").inner_text()
        before = lab.report()  # the page's own first flights fill a thin queue
        await specialist.page.click("#accept")
        await asyncio.gather(patient.state("in_call"), specialist.state("in_call"))
        await asyncio.gather(patient.sees(10), specialist.sees(10))
        ends = {"down": patient, "up": specialist}
        shown = {way: await end.page.evaluate(SHOWN) for way, end in ends.items()}
        began = time.monotonic()
        await asyncio.sleep(watched_s)
        passed_s = time.monotonic() - began
        fps = {
            way: (await end.page.evaluate(SHOWN) - shown[way]) / passed_s
            for way, end in ends.items()
        }
        await asyncio.gather(patient.sees(10), specialist.sees(10))
        limits = await told(patient, "limits")
        assert await told(specialist, "peer_link")
        lines = int(await specialist.page.evaluate("document.getElementById('remote').videoHeight"))
        return Watched(outlook, checks, limits, dropped(before, lab.report()), lines, fps)


def dropped(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Return the share of packets that the queue dropped between two reports, each way."""
    ratios = {}
    for way in ("up", "down"):
        old, new = before[way], after[way]
        offered = new["offered_packets"] - old["offered_packets"]
        ratios[way] = (new["lost_packets"]["queue"] - old["lost_packets"]["queue"]) / offered
    return ratios


async def test_a_thin_link_is_measured_before_the_call_and_not_filled_in_it(tmp_path: Path) -> None:
    """128/64 kbit/s, 800 ms, 3 %: measured while waiting, begun with what was found, a moving picture both ways, hardly a drop."""
    profile = link("ladder", 128, 64, 800, "the aims", loss_ratio=0.03)
    with Lab(profile, seed=5) as lab:
        call = await measured_call(tmp_path, lab, 20)
    outlook = call.outlook
    assert call.checks >= 12  # four trains
    assert 30_000 <= outlook["upBps"] <= 70_000
    assert 40_000 <= outlook["downBps"] <= 140_000
    assert outlook["rttMs"] == pytest.approx(850, abs=120)
    started = next(each for each in call.limits if each["at"] >= outlook["at"])["limits"]
    assert started["rung"] in ("voice", "glimpse")
    assert started["videoMaxBps"] < outlook["upBps"]
    assert max(call.drops.values()) <= 0.01, call.drops


async def test_the_thinnest_link_keeps_a_picture_that_moves_both_ways(tmp_path: Path) -> None:
    """64/48 kbit/s, 500 ms, jitter of 80, bursts of 6 %: three pictures a second each way, at most 1 % dropped by a queue."""
    with Lab("edge", seed=1) as lab:
        call = await measured_call(tmp_path, lab, 40)
    assert min(call.fps.values()) >= 3, call.fps
    assert max(call.drops.values()) <= 0.01, call.drops


async def test_a_good_link_looks_good_within_ten_seconds(tmp_path: Path) -> None:
    """50/50 Mbit/s, 20 ms: the outlook is good, the open is reached and 640x480 or more is seen ten seconds after the accept."""
    profile = link("good", 50_000, 50_000, 20, "the aims")
    with Lab(profile, seed=5) as lab:
        call = await measured_call(tmp_path, lab, 8)
    assert call.outlook["outlook"] == "good-picture"
    assert call.limits[-1]["limits"]["rung"] == "open"
    assert call.lines >= 480
    assert max(call.drops.values()) == 0
