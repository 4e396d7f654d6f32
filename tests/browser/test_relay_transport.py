# SPDX-License-Identifier: Apache-2.0
"""Real Chromium against the relay's transport: the offer from fields, two round trips, restarts without signalling, TCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from aiohttp import web

from media.relay import tcp, udp
from media.relay.description import Answer, Candidate, Offer
from media.relay.leg import Leg
from media.relay.path import Path
from media.relay.port import MediaWanted, PortSettings, RelayPort
from media.relay.room import Room
from tests.browser.firefox import ADDRESS, Firefox, firefox, one_network
from tests.browser.relay_page import RelayPage, chromium, content, hears, relay_page, sees
from tests.link import namespaces
from tests.support.processes import free_port
from tests.support.relay_peer import relay, ticking
from tests.support.until import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

CONNECTED_S = 20.0
OPEN_BPS = 2_000_000.0
"""Of the links, as the room takes them: these pages are told no limits."""


@dataclass
class Side:
    """One page with its leg."""

    page: RelayPage
    leg: Leg
    offer: Offer
    answer: Answer


@pytest.fixture
async def port() -> AsyncIterator[RelayPort]:
    async with relay() as made:
        yield made


async def join(
    page: RelayPage,
    port: RelayPort,
    *,
    wanted: MediaWanted | None = None,
    change: Callable[[Offer], Offer] = lambda offer: offer,
) -> Side:
    """Connect a page to a leg of its own."""
    leg, offer = port.mint(wanted)
    offer = change(offer)
    answer = await page.answer(offer)
    port.accept(leg, answer)
    await until(lambda: leg.srtp_profile, CONNECTED_S)
    return Side(page, leg, offer, answer)


def sit(room: Room, name: str, leg: Leg, offer: Offer, answer: Answer) -> None:
    """Give a leg its place in a room."""
    room.seat(name, leg, offer, "patient", name)
    room.answer(name, answer)


@contextlib.asynccontextmanager
async def call(port: RelayPort, **wanted: Any) -> AsyncIterator[tuple[Side, Side]]:
    """Two pages that are forwarded to each other: a red one of 440 Hz and a blue one of 880."""
    async with chromium() as browser:
        red, blue = await relay_page(browser), await relay_page(browser)
        await red.begin("red", 440)
        await blue.begin("blue", 880)
        one, other = await join(red, port, **wanted), await join(blue, port, **wanted)
        async with ticking(port, start_bps=OPEN_BPS) as room:
            for name, side in (("red", one), ("blue", other)):
                sit(room, name, side.leg, side.offer, side.answer)
            room.forward({"red", "blue"})
            yield one, other


async def meet(one: Side, other: Side) -> None:
    """Each sees the other's colour move and hears the other's tone."""
    await asyncio.gather(one.page.sees("blue"), other.page.sees("red"))
    await asyncio.gather(one.page.hears(880), other.page.hears(440))


async def test_two_browsers_see_and_hear_each_other(port: RelayPort) -> None:
    """Offer from fields, answer as fields, AES-256-GCM with the browser as DTLS server; restarts keep all of it.

    The page restarts ICE by itself with a spare pair and with the first again: no message, no DTLS packet, the same keys,
    picture and sound go on, and no key frame was needed.
    """
    async with call(port) as (one, other):
        await meet(one, other)
        for side in (one, other):
            report = await side.page.look()
            assert report["srtp"] == side.leg.srtp_profile == "SRTP_AEAD_AES_256_GCM"
            assert report["role"] == "server"
            assert report["protocol"] == "udp"
            assert len(msgspec.json.encode(side.offer)) < 1_000
        before = await one.page.look()
        fed: list[bytes] = []
        real = one.leg.receive_dtls
        one.leg.receive_dtls = lambda data: (fed.append(data), real(data))[1]  # type: ignore[method-assign]
        for restarts, pair in enumerate((2, 0), 1):
            await one.page.restart(pair)
            await until(lambda restarts=restarts: one.leg.traffic.restarts == restarts)
            await meet(one, other)
        after = await one.page.look()
        assert after["changes"] > before["changes"]
        assert (after["dtls"], after["keyFrames"]) == ("connected", before["keyFrames"])
        assert not fed
        assert not any(name.startswith("srtp_unauth") for name in port.drops)


async def test_parameters_change_by_the_page_alone(port: RelayPort) -> None:
    """The frame length goes from 20 to 60 ms by re-applying the description: a third of the packets, nobody told."""

    async def voices(page: RelayPage) -> float:
        begun, before = time.monotonic(), (await page.look())["voiceSent"]
        await asyncio.sleep(1.5)
        return float(((await page.look())["voiceSent"] - before) / (time.monotonic() - begun))

    async with chromium() as browser:
        page = await relay_page(browser)
        await page.begin("red", 440)
        await join(page, port)
        await asyncio.sleep(0.5)
        assert await voices(page) > 30
        await page.page.evaluate("apply({ptimeMs: 60, maxAverageBps: 12000})")
        await asyncio.sleep(0.5)
        assert await voices(page) < 25


def delayed(port: RelayPort, one_way_s: float) -> None:
    """Delay everything that the UDP port sends and receives."""
    loop = asyncio.get_running_loop()
    send, receive = port.udp.sendto, port.demux.receive

    def later(data: bytes, address: udp.Address) -> int:
        loop.call_later(one_way_s, send, data, address)
        return len(data)

    def arrived(data: bytes, path: Path, now: float) -> None:
        loop.call_later(one_way_s, lambda: receive(data, path, time.monotonic()))

    port.udp.sendto = later
    port.demux.receive = arrived  # type: ignore[method-assign]


async def test_connecting_takes_two_round_trips(port: RelayPort) -> None:
    """At 600 ms of round trip: keys at the relay two round trips after the first check, at the page after its answer."""
    round_trip_s = 0.6
    delayed(port, round_trip_s / 2)
    async with chromium() as browser:
        page = await relay_page(browser)
        side = await join(page, port)
        assert side.leg.timing.dtls_s is not None
        assert 2 * round_trip_s <= side.leg.timing.dtls_s < 2.6 * round_trip_s
        await page.page.wait_for_function("() => pc.connectionState === 'connected'")
        facts = await page.facts()
        assert facts["connected"] - facts["set"] < 2.6 * round_trip_s * 1_000


async def test_where_udp_is_blocked_tcp_carries_the_call(port: RelayPort) -> None:
    """The UDP candidate leads nowhere: the browsers find the TCP one by themselves, and see and hear each other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nowhere:
        nowhere.bind(("127.0.0.1", 0))
        hole = nowhere.getsockname()[1]

        def blocked(offer: Offer) -> Offer:
            assert port.tcp_port is not None
            candidates = [
                Candidate("udp", "127.0.0.1", hole),
                Candidate("tcp", "127.0.0.1", port.tcp_port),
            ]
            return msgspec.structs.replace(offer, candidates=candidates)

        async with call(port, change=blocked) as (one, other):
            await meet(one, other)
            for side in (one, other):
                assert side.leg.path is not None
                assert side.leg.path.transport == "tcp"
                assert (await side.page.look())["protocol"] == "tcp"


async def test_udp_that_dies_in_mid_call_is_replaced_by_tcp(port: RelayPort) -> None:
    """UDP goes dark for one page: its own restart finds the TCP candidate, with the same keys, and nobody was told."""
    async with call(port) as (one, other):
        await meet(one, other)
        receive = port.demux.receive

        def dark(data: bytes, path: Path, now: float) -> None:
            if path.transport == "tcp" or path.leg is other.leg:
                receive(data, path, now)

        port.demux.receive = dark  # type: ignore[method-assign]
        await one.page.restart(1)
        await until(lambda: one.leg.path is not None and one.leg.path.transport == "tcp", 20.0)
        await meet(one, other)
        assert one.leg.traffic.restarts == 1


async def firefox_page(tab: Firefox, answering: int) -> None:
    await tab.goto(f"http://127.0.0.1:{answering}/")
    await tab.evaluate("begin('red', 440)")
    await tab.evaluate("speak()")


async def until_tab(tab: Firefox, fact: Any, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        before = await tab.evaluate("look()")
        while True:
            await asyncio.sleep(0.3)
            now = await tab.evaluate("look()")
            if fact(before, now):
                return
            before = now


@pytest.mark.link
@pytest.mark.timeout(300)
async def test_firefox_and_chromium_see_and_hear_each_other(
    port: RelayPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Firefox ESR answers the same offer (AES-128-GCM, all it has), meets Chromium, and restarts ICE the same way.

    It sends VP9, and VP8 again, when the description names that first.
    """

    async def serve(request: web.Request) -> web.Response:
        body, kind = content(request.path.lstrip("/"))
        return web.Response(text=body, content_type=kind)

    application = web.Application()
    application.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        namespace = stack.enter_context(one_network())
        real = udp.bound

        def inside(*arguments: Any) -> socket.socket:
            return namespaces.inside(namespace, lambda: real(*arguments))

        pages = inside("127.0.0.1", free_port(), socket.SOCK_STREAM)
        await web.SockSite(runner, pages).start()
        for module in (udp, tcp):
            monkeypatch.setattr(module, "bound", inside)
        theirs = RelayPort(PortSettings(host=ADDRESS, public_addresses=(ADDRESS,)))
        await theirs.open()
        monkeypatch.undo()
        stack.push_async_callback(theirs.close)
        tab = await stack.enter_async_context(firefox(namespace))
        browser = await stack.enter_async_context(chromium())
        blue = await relay_page(browser)
        await blue.begin("blue", 880)
        other = await join(blue, port)
        await firefox_page(tab, pages.getsockname()[1])
        leg, offer = theirs.mint(MediaWanted(video={"codecs": ["VP8", "VP9"]}))
        fields = json.dumps(msgspec.to_builtins(offer))
        answer = msgspec.convert(await tab.evaluate(f"answer({fields})"), Answer)
        theirs.accept(leg, answer)
        await until(lambda: leg.srtp_profile, CONNECTED_S)
        assert leg.srtp_profile == "SRTP_AEAD_AES_128_GCM"
        room = await stack.enter_async_context(ticking(port, start_bps=OPEN_BPS))
        sit(room, "red", leg, offer, answer)
        sit(room, "blue", other.leg, other.offer, other.answer)
        room.forward({"red", "blue"})
        await until_tab(tab, sees("blue"))
        await until_tab(tab, lambda before, now: now["energy"] > before["energy"] + 0.05)
        await blue.sees("red")
        await blue.hears(440)
        for codec in ("VP9", "VP8"):
            others = [each for each in ("VP8", "VP9") if each != codec]
            await tab.evaluate(f"reorder({json.dumps([codec, *others])})")
            await until_tab(tab, lambda _, now, codec=codec: now["codec"] == f"video/{codec}")
            await blue.sees("red")
            await until_tab(tab, sees("blue"))
        await tab.evaluate("restart(1)")
        await until(lambda: leg.traffic.restarts == 1, CONNECTED_S)
        await until_tab(tab, sees("blue"))
        await blue.sees("red")
        assert not hears(440)({"packets": 1}, {"packets": 1, "hertz": 440}), "silence is not heard"
