# SPDX-License-Identifier: Apache-2.0
"""Browsers at both ends of the lab's link, driven from outside of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from tests import media_files
from tests.link.hearing import heard
from tests.link.lab import Lab, Place, chromium_flags

pytestmark = [pytest.mark.link, pytest.mark.browser]

_PLACES: tuple[Place, ...] = ("island", "city")
_PAGE = """<!doctype html><title>lab</title><script>
const seen = [];
for (const name of ['online', 'offline']) addEventListener(name, () => seen.push(name));
const pc = new RTCPeerConnection();
const remote = new MediaStream();
pc.ontrack = event => remote.addTrack(event.track);
async function speak() {
  const own = await navigator.mediaDevices.getUserMedia({audio: true, video: false});
  own.getTracks().forEach(track => pc.addTrack(track, own));
}
async function gathered(description) {
  await pc.setLocalDescription(description);
  while (pc.iceGatheringState !== 'complete') await new Promise(r => setTimeout(r, 20));
  return pc.localDescription.toJSON();
}
async function roundTripS() {
  for (const report of (await pc.getStats()).values())
    if (report.type === 'candidate-pair' && report.nominated && report.responsesReceived > 1)
      return report.totalRoundTripTime / report.responsesReceived;
  return 0;
}
</script>"""
_BODY_BYTES = 40_000


@asynccontextmanager
async def served(lab: Lab) -> AsyncIterator[str]:
    """Serve the page and a body of 40 kB from this process in the city; yield the origin."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def body(_: web.Request) -> web.Response:
        return web.Response(body=bytes(_BODY_BYTES))

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/body", body)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = lab.listen_city()
    await web.SockSite(runner, listener).start()
    try:
        yield lab.origin(listener.getsockname()[1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def pages(lab: Lab, origin: str) -> AsyncIterator[dict[Place, Page]]:
    """Open one browser at each end."""
    async with async_playwright() as playwright, AsyncExitStack() as stack:
        opened: dict[Place, Page] = {}
        for place in _PLACES:
            browser = await playwright.chromium.launch(
                executable_path=lab.chromium_wrapper(place),
                args=chromium_flags(origins=[origin], speech=media_files.speech(place)),
            )
            stack.push_async_callback(browser.close)
            opened[place] = await browser.new_page()
        await asyncio.gather(*(page.goto(origin) for page in opened.values()))
        yield opened


async def test_call_over_the_island_link() -> None:
    """Two browsers talk over 256/128 kbit/s and 650 ms, and each hears the other one's voice."""
    async with Lab("island_256", seed=2) as lab, served(lab) as origin, pages(lab, origin) as ends:
        island, city = ends["island"], ends["city"]
        assert await island.evaluate("isSecureContext")
        fetch_s = await island.evaluate(
            "async () => { const t = performance.now(); await (await fetch('/body')).arrayBuffer();"
            " return (performance.now() - t) / 1000; }"
        )
        # One round trip and 41 kB at the rate; twice that when TCP has to repair a loss.
        assert 0.65 + _BODY_BYTES * 8 / 256_000 <= fetch_s <= 5
        for page in ends.values():
            await page.evaluate("speak()")
        offer = await island.evaluate("(async () => gathered(await pc.createOffer()))()")
        answer = await city.evaluate(
            "async offer => { await pc.setRemoteDescription(offer);"
            " return gathered(await pc.createAnswer()); }",
            offer,
        )
        await island.evaluate("answer => pc.setRemoteDescription(answer)", answer)
        for page in ends.values():
            await page.wait_for_function("pc.connectionState === 'connected'", timeout=10_000)
        island_hears, city_hears = await asyncio.gather(
            heard(island, "remote", 3), heard(city, "remote", 3)
        )
        for page in ends.values():
            await page.wait_for_function("roundTripS()", timeout=5_000)
            assert 0.6 <= await page.evaluate("roundTripS()") <= 0.8
        report = lab.report()
    assert island_hears.voice() == "city", island_hears
    assert city_hears.voice() == "island", city_hears
    assert report["up"]["lost_packets"]["queue"] == 0
    assert report["stranger_packets"] < 100


async def test_browser_notices_a_new_address() -> None:
    """A browser sees the interface go and the other one come, and loads pages over it."""
    async with Lab("hspa", seed=2) as lab, served(lab) as origin, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=lab.chromium_wrapper("island"), args=chromium_flags()
        )
        page = await browser.new_page()
        await page.goto(origin)
        assert not await page.evaluate("isSecureContext")
        lab.change_address(gap_s=1.0)
        await page.wait_for_function("seen.length > 1", timeout=5_000)
        assert await page.evaluate("seen") == ["offline", "online"]
        assert await asyncio.to_thread(lab.wait_address) == "10.77.2.2"
        assert await page.evaluate("fetch('/body').then(response => response.status)") == 200
        await browser.close()


async def test_first_visit_hides_addresses_until_the_microphone_is_given() -> None:
    """With permission "asked" a page gathers a multicast name at first, then speech and picture."""
    async with Lab("city", seed=2) as lab, served(lab) as origin, async_playwright() as playwright:
        flags = chromium_flags(
            origins=[origin],
            speech=media_files.speech("island"),
            picture=media_files.picture("island"),
            permission="asked",
        )
        browser = await playwright.chromium.launch(
            executable_path=lab.chromium_wrapper("island"), args=flags
        )
        page = await browser.new_page()
        await page.goto(origin)
        offer = await page.evaluate(
            "(async () => { pc.createDataChannel('x'); return gathered(await pc.createOffer()); })()"
        )
        assert ".local " in offer["sdp"]
        assert lab.island_address not in offer["sdp"]
        settings = await page.evaluate(
            "navigator.mediaDevices.getUserMedia({audio: true, video: true})"
            ".then(own => { window.own = own; return own.getVideoTracks()[0].getSettings(); })"
        )
        assert (settings["width"], settings["height"]) == media_files.PICTURE_SIZE
        assert settings["frameRate"] == media_files.PICTURE_FPS
        assert (await heard(page, "window.own", 3)).voice() == "island"
        await browser.close()
