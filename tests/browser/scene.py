# SPDX-License-Identifier: Apache-2.0
"""The stage of the browser tests: a real server, real Chromium browsers, and what people do in them.

A ``Scene`` starts ``selat serve`` as its own process and browsers with fake cameras and microphones that show and say
different things, so that a test knows who is seen and heard. ``patient`` and ``specialist`` are pages driven as a person
would: by tapping and typing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page, Playwright, async_playwright

from tests import media_files
from tests.link.hearing import Heard, heard
from tests.link.lab import Lab, Permission, chromium_flags
from tests.media_files import End
from tests.support.processes import free_port

CHROMIUM = "/usr/bin/chromium"
SELAT = str(Path(sys.executable).with_name("selat"))
STARTED_S = 60.0
"""A start costs 2 s of CPU; on a machine that builds and measures meanwhile it took 30."""


class Server:
    """``selat serve`` as a process, on a data directory that outlives it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int,
        host: str = "127.0.0.1",
        lab: Lab | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self._host = host
        self._lab = lab
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[Any] | None = None
        # Off the loopback, browsers give camera, microphone and Secure cookies to HTTPS only.
        self.url = f"{'https' if lab is not None else 'http'}://{host}:{port}"
        self.facts: dict[str, Any] = {}
        """What ``serve --json`` printed when it was ready."""

    def start(self) -> None:
        """Start and wait until it says that it is ready."""
        env = os.environ | {
            "SELAT_DATA_DIR": str(self.data_dir),
            "SELAT_HTTP_HOST": self._host,
            "SELAT_HTTP_PORT": str(self.port),
            "SELAT_TLS": "off" if self._lab is None else "on",
            "SELAT_PUBLIC_URL": self.url,
            "SELAT_METRICS_PORT": "0",
            "SELAT_MEDIA_HOST": self._host,
            "SELAT_MEDIA_PUBLIC_ADDRESSES": self._host,
            "SELAT_MEDIA_UDP_PORT": "0",
            "SELAT_MEDIA_TCP_PORT": "0",
            "SELAT_MEDIA_METRICS_PORT": "0",
            "SELAT_MEDIA_DRAIN_S": "2",
            **self._settings,
        }
        command = [SELAT, "serve", "--json", "--demo"]
        popen = self._lab.popen_city if self._lab is not None else subprocess.Popen
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = popen(command, stdout=subprocess.PIPE, stderr=log, env=env)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], STARTED_S)
        line = self._process.stdout.readline() if ready else b""
        assert line, (self.data_dir / "server.log").read_text()[-2_000:]
        facts = json.loads(line)
        self.facts = {**facts, "accounts": facts.get("accounts") or self.facts.get("accounts", [])}

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as systemd does."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        if process.stdout is not None:
            process.stdout.close()

    def relays(self) -> list[int]:
        """Return the process ids of the server's own relays that live; they may outlive it."""
        written = [
            json.loads(path.read_text() or "{}") for path in self.data_dir.glob("relays/*/*.json")
        ]
        return [pid for facts in written if (pid := facts.get("pid")) and _is_relay(pid)]

    def cli(self, *words: str) -> Any:
        """Run ``selat WORDS --json`` beside the running server; return what it printed."""
        env = os.environ | {"SELAT_DATA_DIR": str(self.data_dir), "SELAT_PUBLIC_URL": self.url}
        done = subprocess.run(
            [SELAT, *words, "--json"],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return json.loads(done.stdout)


def _is_relay(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"relay" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@dataclass(slots=True)
class Actor:
    """A person at a page."""

    page: Page
    context: BrowserContext
    said: list[str] = field(default_factory=list)
    """What the page wrote to its console as errors."""

    async def state(self, *states: str, within_s: float = 20.0) -> str:
        """Wait until the page is in one of these states; return which."""
        handle = await self.page.wait_for_function(
            "states => states.includes(document.body.dataset.state) && document.body.dataset.state",
            arg=states,
            timeout=within_s * 1_000,
        )
        return str(await handle.json_value())

    async def sees(self, within_s: float = 20.0, frames: int = 5) -> float:
        """Wait until the other side's picture moves: ``frames`` new frames; return how long that took."""
        begun = time.monotonic()
        deadline = begun + within_s
        first: int | None = None
        while True:
            shown = int(await self.page.evaluate(_FRAMES_SHOWN))
            first = shown if first is None or shown < first else first
            if shown >= first + frames:
                return time.monotonic() - begun
            assert time.monotonic() < deadline, f"{shown - first} frames in {within_s} s"
            await asyncio.sleep(0.1)

    async def hears(self, seconds: float = 3.0) -> Heard:
        """Listen to the other side for a while."""
        remote = "document.getElementById('remote').srcObject"
        async with asyncio.timeout(3 * seconds + 10):
            return await heard(self.page, remote, seconds)

    async def hears_voice(self, voice: End, within_s: float = 20.0) -> float:
        """Wait until this voice is heard; return how long that took."""
        begun = time.monotonic()
        last: Heard | None = None
        while time.monotonic() - begun < within_s:
            with contextlib.suppress(Exception):  # no stream yet
                last = await self.hears(3.0)
                if last.voice() == voice:
                    return time.monotonic() - begun
            await asyncio.sleep(0.1)
        raise AssertionError(f"{voice} not heard within {within_s} s: {last}")

    async def candidate_types(self) -> set[str]:
        """Return the types of the local candidates that media uses now, as the browser's statistics say."""
        found = await self.page.evaluate(
            """async () => {
              const types = [];
              for (const pc of globalThis.peerConnections) {
                if (pc.connectionState !== "connected") continue;
                const report = await pc.getStats();
                for (const stat of report.values()) {
                  if (stat.type !== "transport") continue;
                  const pair = report.get(stat.selectedCandidatePairId);
                  types.push(report.get(pair.localCandidateId).candidateType);
                }
              }
              return types;
            }"""
        )
        return set(found)

    async def count_lines(self, text: str) -> int:
        """Return how many lines of the chat hold this text."""
        return int(await self.page.evaluate(_COUNT_LINES, text))

    async def wait_line(self, text: str, within_s: float = 10.0) -> None:
        """Wait until the chat shows a line."""
        await self.page.wait_for_function(_COUNT_LINES, arg=text, timeout=within_s * 1_000)


_FRAMES_SHOWN = """
() => {
  const video = document.getElementById("remote");
  return video.srcObject && video.videoWidth ? video.getVideoPlaybackQuality().totalVideoFrames : 0;
}
"""

_WATCH_CONNECTIONS = """
globalThis.peerConnections = [];
const RealPeerConnection = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends RealPeerConnection {
  constructor(...args) { super(...args); globalThis.peerConnections.push(this); }
};
"""

_COUNT_LINES = """
text => [...document.querySelectorAll("#lines li")].filter(li => li.textContent.includes(text)).length
"""


class Scene:
    """A server and the people around it."""

    def __init__(
        self,
        playwright: Playwright,
        server: Server,
        folder: Path,
        lab: Lab | None,
        script: str = "",
    ) -> None:
        self._playwright = playwright
        self.server = server
        self._folder = folder
        self.lab = lab
        self._script = script
        self._contexts: list[BrowserContext] = []

    async def browser(
        self, end: End, *, permission: Permission = "remembered", phone: bool | None = None
    ) -> Actor:
        """Open a browser whose camera and microphone are those of ``end``."""
        phone = end == "island" if phone is None else phone
        size = {"width": 360, "height": 740} if phone else {"width": 1280, "height": 800}
        profile = tempfile.mkdtemp(dir=self._folder)
        context = await self._playwright.chromium.launch_persistent_context(
            profile,
            executable_path=self.lab.chromium_wrapper(end) if self.lab else CHROMIUM,
            args=[
                "--ignore-certificate-errors",  # HTTPS and TURN over TLS with a test's own certificate
                *chromium_flags(
                    speech=media_files.speech(end),
                    picture=media_files.picture(end),
                    permission=permission,
                ),
            ],
            ignore_default_args=["--mute-audio"],
            viewport=size,
            locale="id-ID" if end == "island" else "en-GB",
        )
        self._contexts.append(context)
        page = context.pages[0] if context.pages else await context.new_page()
        actor = Actor(page, context)
        for script in (_WATCH_CONNECTIONS, self._script):
            await context.add_init_script(script)
        page.on(
            "console",
            lambda m: actor.said.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: actor.said.append(str(error)))
        return actor

    async def specialist(
        self, login: str = "", password: str = "", *, permission: Permission = "remembered"
    ) -> Actor:
        """A specialist signs in and goes on call."""
        actor = await self.browser("city", permission=permission)
        await actor.page.goto(f"{self.server.url}/specialist?lang=en")
        await self.sign_in(actor, login, password)
        await actor.page.click("#oncall")
        await actor.page.wait_for_selector("#oncall[aria-checked=true]", timeout=10_000)
        return actor

    async def sign_in(self, actor: Actor, login: str = "", password: str = "") -> None:
        """Sign in; by default as the specialist of the first start."""
        first = next(a for a in self.server.facts["accounts"] if a["role"] == "specialist")
        await actor.page.fill("#login", login or first["login"])
        await actor.page.fill("#password", password or first["password"])
        await actor.page.press("#password", "Enter")
        await actor.state("off_call", "available", "ringing", "in_call")

    async def patient(
        self, url: str = "", *, camera: bool = True, permission: Permission = "remembered"
    ) -> Actor:
        """A patient opens the link, joins, and fills the intake in; then waits."""
        actor = await self.browser("island", permission=permission)
        await actor.page.goto(url or self.server.facts["patient_url"])
        await self.join(actor, camera=camera)
        return actor

    async def join(self, actor: Actor, *, camera: bool = True) -> None:
        """Tap Join and go through the intake."""
        page = actor.page
        await page.click("#join")
        await page.fill("#complaint", "Batuk dan demam tiga hari")
        await page.fill("#age", "34")
        await page.click("label:has(input[name=sex][value=female])")
        await page.click("#tosigns")
        await page.click("#toconsent")
        await page.check("#consent")
        await page.click("#send")
        await actor.state("waiting", "ringing", "in_call", "callback")
        if camera:
            button = page.locator("#both")
            with contextlib.suppress(Exception):
                await button.click(timeout=3_000)

    async def call(self, *, camera: bool = True) -> tuple[Actor, Actor]:
        """Bring a patient and a specialist together; return both, in the call."""
        specialist = await self.specialist()
        patient = await self.patient(camera=camera)
        await specialist.state("ringing", within_s=15)
        await specialist.page.click("#accept")
        await specialist.state("in_call")
        await patient.state("in_call")
        return patient, specialist

    async def close(self) -> None:
        """Close the browsers and the server."""
        for context in self._contexts:
            with contextlib.suppress(Exception):
                await context.close()
        self.server.stop()
        for pid in (
            self.server.relays()
        ):  # a test's call may have been cut off: its relay waits for people
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def meet(patient: Actor, specialist: Actor, within_s: float = 20.0) -> None:
    """Both see the other's picture move and hear the other's voice."""
    await asyncio.gather(patient.sees(within_s), specialist.sees(within_s))
    await asyncio.gather(
        patient.hears_voice("city", within_s), specialist.hears_voice("island", within_s)
    )


BACK_S = 5.0
"""A reload or a new address may cost this long."""


@contextlib.asynccontextmanager
async def scene(
    folder: Path,
    *,
    lab: Lab | None = None,
    settings: Mapping[str, str] | None = None,
    script: str = "",
) -> AsyncIterator[Scene]:
    """Start a server (in the lab's city, if there is a lab) and yield a scene around it; pages run ``script`` first."""
    data_dir = folder / "data"
    data_dir.mkdir()
    host = lab.city_address if lab is not None else "127.0.0.1"
    server = Server(
        data_dir, port=8_443 if lab else free_port(), host=host, lab=lab, settings=settings
    )
    server.start()
    async with async_playwright() as playwright:
        stage = Scene(playwright, server, folder, lab, script)
        try:
            yield stage
        finally:
            await stage.close()
