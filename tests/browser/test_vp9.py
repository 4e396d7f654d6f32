# SPDX-License-Identifier: Apache-2.0
"""VP9 in real pages: sent where both have it, from the first frame; VP8 as soon as somebody lacks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import async_playwright

from media.core.limits import Limits
from signalling.wire import legs as wire
from tests.browser import relay_scene as scene
from tests.browser.relay_page import CHROMIUM
from tests.browser.relay_scene import Party, Relay
from tests.browser.test_relay_pages import PAGES, Stage
from tests.link.lab import chromium_flags
from tests.support.relay_peer import Peer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

EIGHT_CORES = """
Object.defineProperty(Navigator.prototype, "hardwareConcurrency", {get: () => 8});
globalThis.sentIn = async () => {
  for (const pc of peerConnections) {
    if (pc.connectionState === "closed") continue;
    const stats = await pc.getStats();
    for (const each of stats.values())
      if (each.type === "outbound-rtp" && each.kind === "video" && each.framesEncoded) return stats.get(each.codecId)?.mimeType ?? "";
  }
  return "";
};
"""


class Told:
    """Passes on what the room says that pages may send, as a node would."""

    def __init__(self, stage: Stage) -> None:
        self.codecs: dict[str, list[str]] = {"patient": [], "specialist": []}
        self._stage = stage
        self._telling: set[asyncio.Task[None]] = set()

    def __call__(self, leg: str, limits: Limits) -> None:
        for party in self._stage.people:
            if any(seated.name == leg for seated in party.legs):
                self.codecs[party.role].append(limits.codec)
                said = wire.Limits(video_max_bps=limits.video_max_bps, codec=limits.codec)
                told = asyncio.create_task(party.tell(wire.LegLimits(party.consult, leg, said)))
                self._telling.add(told)
                told.add_done_callback(self._telling.discard)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        relay = await Relay.of(stack)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=chromium_flags())
        stack.push_async_callback(browser.close)
        people = [
            await scene.patient(browser, stack, PAGES, scene.waiting),
            await scene.specialist(browser, stack, PAGES),
        ]
        for party in people:
            await party.page.add_init_script(EIGHT_CORES)
            await party.page.reload()
        yield Stage(stack, relay, *people)


async def sends(party: Party, codec: str) -> None:
    """Wait until a page sends its picture in a codec."""

    async def does() -> bool:
        return bool(await party.page.evaluate("sentIn()") == f"video/{codec}")

    await scene.comes(does, 5.0)


async def test_vp9_between_two_and_vp8_while_a_third_lacks_it(stage: Stage) -> None:
    """Both pages are told VP9 before the call and send it; a third without it brings both to VP8, its end back to VP9.

    The pictures go on all the time.
    """
    told = Told(stage)
    room = stage.relay.room
    room._on_limits = told
    await stage.call()
    assert {codecs[0] for codecs in told.codecs.values()} == {"VP9"}
    for party in stage.people:
        await sends(party, "VP9")
    name, leg, offer = stage.relay.mint()
    room.seat(name, leg, offer, "specialist", "third")
    room.answer(name, Peer(offer).answer())
    for party in stage.people:
        await sends(party, "VP8")
        await party.sees(3.0)
    room.unseat(name)
    for party in stage.people:
        await sends(party, "VP9")
        await party.sees(3.0)
