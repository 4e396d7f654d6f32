# SPDX-License-Identifier: Apache-2.0
"""The systems that are measured: how each brings a person on the island and one in the city into a call.

All have two Chromium browsers with the same voices and pictures, on the same emulated link, and servers in the city. They
differ in what they are. What is measured is the same program for all (`tests.link.meter`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from playwright.async_api import BrowserContext, Page, Playwright, WebSocket

from tests import media_files
from tests.browser.scene import Scene, Server
from tests.link import meter
from tests.link.lab import Lab, Permission, Place, chromium_flags
from tests.load import peerjs

PAGES = Path(__file__).parent / "pages"
PATIENCE_S = 120.0
"""What a person on an island waits for a page; on 24 kbit/s some need it."""
RINGS_S = 6.0
"""From the ring to the click that accepts: a person's, and as long as a measurement of the link may take."""
PORT = 9_000
"""Of a peer's page; its server listens on the next one."""


@dataclass(slots=True)
class Opened:
    """The page on the island, as it was opened."""

    usable_s: float
    """From the start of the navigation to a button that can be tapped."""
    loaded_bytes: int
    """What was loaded for it, headers of HTTP and all; of the document all, also what came after that."""
    dropped_packets: int = 0
    """Towards the island, by the link's full queue, meanwhile."""
    whole_s: float = 0.0
    """From the start of the navigation until all of the document was there, and its scripts had run."""


@dataclass(slots=True)
class Ends:
    """A call that somebody has just clicked for."""

    island: Page
    city: Page
    clicked_at: float
    opened: Opened
    told: list[tuple[float, Any]] = field(default_factory=list)
    """What a server has told the island's page of limits, for the diary of a run."""


class System(Protocol):
    """Something to talk with."""

    name: str

    def missing(self) -> str:
        """Return what is not installed, in words; empty: it can be measured."""

    def call(
        self, lab: Lab, playwright: Playwright, folder: Path, permission: Permission
    ) -> AbstractAsyncContextManager[Ends]:
        """Start servers and browsers, and call; everything ends with the block."""


_WHOLE_JS = """() => performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd"""
_LOADED_JS = """usable => performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
  .filter(entry => entry.entryType === "navigation" || entry.responseEnd <= usable).reduce((sum, entry) => sum + entry.transferSize, 0)"""


async def _opened(lab: Lab, page: Page, url: str) -> Opened:
    """Open the page on the island and wait until its button can be tapped."""
    before = lab.report()["down"]["lost_packets"]["queue"]
    await page.goto(url, timeout=PATIENCE_S * 1_000, wait_until="commit")
    await page.wait_for_function("() => meter.usable", timeout=PATIENCE_S * 1_000)
    dropped = lab.report()["down"]["lost_packets"]["queue"] - before
    usable_ms = await page.evaluate("meter.usable")
    await page.wait_for_function(_WHOLE_JS, timeout=PATIENCE_S * 1_000)
    whole_ms = max(usable_ms, await page.evaluate(_WHOLE_JS))
    loaded = int(await page.evaluate(_LOADED_JS, usable_ms))
    return Opened(usable_ms / 1_000, loaded, dropped, round(whole_ms / 1_000, 3))


# -- Selat -----------------------------------------------------------------------------------------


class Selat:
    """`selat serve` with its relay, the patient's page and the specialist's."""

    name = "Selat"

    def missing(self) -> str:
        """It is here."""
        return ""

    @asynccontextmanager
    async def call(
        self, lab: Lab, playwright: Playwright, folder: Path, permission: Permission
    ) -> AsyncIterator[Ends]:
        """A patient fills the form in, waits, and is accepted."""
        data = Path(tempfile.mkdtemp(dir=folder))
        server = Server(data, port=8_443, host=lab.city_address, lab=lab)
        await asyncio.to_thread(server.start)
        stage = Scene(playwright, server, folder, lab)
        try:
            desk = await stage.browser("city")
            await meter.put(desk.context)
            await desk.page.goto(f"{server.url}/specialist?lang=en")
            await stage.sign_in(desk)
            await desk.page.click("#oncall")
            await desk.page.wait_for_selector("#oncall[aria-checked=true]", timeout=10_000)

            patient = await stage.browser("island", permission=permission)
            patient.page.set_default_timeout(PATIENCE_S * 1_000)
            await meter.put(patient.context)
            told: list[tuple[float, Any]] = []
            patient.page.on("websocket", lambda socket: _diary(socket, told))
            opened = await _opened(lab, patient.page, server.facts["patient_url"])
            await _join(patient.page)
            await desk.state("ringing", within_s=PATIENCE_S)
            await asyncio.sleep(RINGS_S)
            await asyncio.gather(meter.begin(patient.page), meter.begin(desk.page))
            clicked_at = time.time()
            await desk.page.click("#accept")
            yield Ends(patient.page, desk.page, clicked_at, opened, told)
        finally:
            await stage.close()


async def _join(page: Page) -> None:
    """Tap through the intake, as a patient with a camera."""
    await page.click("#join")
    await page.fill("#complaint", "Batuk dan demam tiga hari")
    await page.fill("#age", "34")
    await page.click("label:has(input[name=sex][value=female])")
    await page.click("#tosigns")
    await page.click("#toconsent")
    await page.check("#consent")
    await page.click("#send")
    await page.wait_for_function(
        "() => ['waiting', 'ringing', 'in_call'].includes(document.body.dataset.state)"
    )
    with contextlib.suppress(Exception):  # a remembered permission is not asked for
        await page.click("#both", timeout=8_000)


_TOLD = {"limits", "outlook", "peer_link"}


def _diary(socket: WebSocket, told: list[tuple[float, Any]]) -> None:
    def keep(frame: str | bytes) -> None:
        with contextlib.suppress(ValueError):
            message = json.loads(frame)
            if isinstance(message, dict) and message.get("type") in _TOLD:
                told.append((time.time(), message))

    socket.on("framereceived", keep)


# -- the peers' two pages --------------------------------------------------------------------------


async def _browser(
    playwright: Playwright, lab: Lab, place: Place, folder: Path, permission: Permission
) -> tuple[BrowserContext, Page]:
    """A browser as Selat's people have it, for a page over plain HTTP."""
    flags = chromium_flags(
        origins=[lab.origin(PORT)],
        speech=media_files.speech(place),
        picture=media_files.picture(place),
        permission=permission,
    )
    context = await playwright.chromium.launch_persistent_context(
        tempfile.mkdtemp(dir=folder),
        executable_path=lab.chromium_wrapper(place),
        args=flags,
        ignore_default_args=["--mute-audio"],
        viewport={"width": 360, "height": 740}
        if place == "island"
        else {"width": 1280, "height": 800},
    )
    page = context.pages[0] if context.pages else await context.new_page()
    page.set_default_timeout(PATIENCE_S * 1_000)
    await meter.put(context)
    return context, page


@asynccontextmanager
async def _served(lab: Lab, files: dict[str, Path]) -> AsyncIterator[None]:
    """Serve a peer's page in the city, compressed, as its operator would."""

    async def answer(request: web.Request) -> web.StreamResponse:
        path = files[request.path]
        kind = "text/html" if path.suffix == ".html" else "text/javascript"
        response = web.Response(body=path.read_bytes(), content_type=kind, charset="utf-8")
        response.enable_compression()
        return response

    app = web.Application()
    app.add_routes([web.get(path, answer) for path in files])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, lab.listen_city(PORT)).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def _up(lab: Lab, process: Any, port: int) -> None:
    """Wait until a server of the city takes connections."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"a server ended with {process.returncode}")
        with lab.open_socket("city") as probe, contextlib.suppress(OSError):
            probe.connect((lab.city_address, port))
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("a server does not come up")


class PeerJS:
    """PeerJS's server, and its client in two plain pages: media from browser to browser."""

    name = "PeerJS"

    def missing(self) -> str:
        """Installed from npm at the first use."""
        return "" if shutil.which("npm") and shutil.which("node") else "node and npm"

    @asynccontextmanager
    async def call(
        self, lab: Lab, playwright: Playwright, folder: Path, permission: Permission
    ) -> AsyncIterator[Ends]:
        """The island's page calls the city's.

        Browsers that were never given the microphone would know each other's addresses as multicast names only, and this pair
        would need a STUN server: so its browsers have been here before, whatever was asked.
        """
        await asyncio.to_thread(peerjs.install)
        with (folder / "peerjs.log").open("ab") as log:
            server = lab.popen_city(
                ["node", str(peerjs.PROGRAM), "--port", str(PORT + 1), "--host", lab.city_address],
                stdout=log, stderr=log,
            )  # fmt: skip
        await _up(lab, server, PORT + 1)
        files = {"/": PAGES / "peerjs.html", "/peerjs.min.js": peerjs.CLIENT}
        async with _served(lab, files), contextlib.AsyncExitStack() as stack:
            pages: dict[Place, Page] = {}
            opened = Opened(0, 0)
            for place in ("city", "island"):
                context, page = await _browser(playwright, lab, place, folder, "remembered")
                stack.push_async_callback(context.close)
                opened = await _opened(lab, page, f"{lab.origin(PORT)}/?name={place}")
                await page.evaluate("ready")
                pages[place] = page
            await asyncio.gather(*(meter.begin(page) for page in pages.values()))
            clicked_at = time.time()
            await pages["island"].evaluate("dial('city')")
            yield Ends(pages["island"], pages["city"], clicked_at, opened)


class Janus:
    """Debian's Janus with the VideoRoom of its demonstration, in two plain pages: media over the server."""

    name = "Janus"

    def missing(self) -> str:
        """A package of Debian's."""
        return "" if shutil.which("janus") else "janus (Debian: apt install janus)"

    @asynccontextmanager
    async def call(
        self, lab: Lab, playwright: Playwright, folder: Path, permission: Permission
    ) -> AsyncIterator[Ends]:
        """The city's person is in the room, then the island's comes."""
        settings = Path(tempfile.mkdtemp(dir=folder))
        _write_settings(settings, lab.city_address)
        with (folder / "janus.log").open("ab") as log:
            server = lab.popen_city(
                ["janus", "-F", str(settings), "-C", str(settings / "janus.jcfg")],
                stdout=log, stderr=log,
            )  # fmt: skip
        await _up(lab, server, PORT + 1)
        async with _served(lab, {"/": PAGES / "janus.html"}), contextlib.AsyncExitStack() as stack:
            pages: dict[Place, Page] = {}
            opened = Opened(0, 0)
            for place in ("city", "island"):
                context, page = await _browser(playwright, lab, place, folder, permission)
                stack.push_async_callback(context.close)
                opened = await _opened(lab, page, f"{lab.origin(PORT)}/")
                pages[place] = page
            await pages["city"].evaluate("join()")
            await asyncio.gather(*(meter.begin(page) for page in pages.values()))
            clicked_at = time.time()
            # On a thin link it may take a minute, or never be done: that is a result.
            joining = asyncio.ensure_future(pages["island"].evaluate("join()"))
            try:
                yield Ends(pages["island"], pages["city"], clicked_at, opened)
            finally:
                joining.cancel()
                with contextlib.suppress(BaseException):
                    await joining


def _write_settings(folder: Path, address: str) -> None:
    """Debian's defaults but for the port; the room as in Janus's own demonstration."""
    triplet = next(path.parent.name for path in Path("/usr/lib").glob("*/janus"))
    libraries = f"/usr/lib/{triplet}/janus"
    (folder / "janus.jcfg").write_text(f"""
general: {{ configs_folder = "{folder}" plugins_folder = "{libraries}/plugins" transports_folder = "{libraries}/transports"
  debug_level = 3 }}
media: {{ ipv6 = false }}
nat: {{ }}
plugins: {{ disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,\
libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }}
transports: {{ disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }}
""")  # fmt: skip
    (folder / "janus.transport.websockets.jcfg").write_text(
        f'general: {{ ws = true ws_port = {PORT + 1} ws_ip = "{address}" }}\n'
    )
    (folder / "janus.plugin.videoroom.jcfg").write_text(
        'general: { }\nroom-1234: { description = "Demo" publishers = 6 bitrate = 128000 fir_freq = 10 }\n'
    )


SYSTEMS: dict[str, System] = {"selat": Selat(), "peerjs": PeerJS(), "janus": Janus()}
