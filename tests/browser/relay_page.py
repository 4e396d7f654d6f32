# SPDX-License-Identifier: Apache-2.0
"""Minimal pages that speak with the relay's transport: the offer built from fields by sdp.js, the answer given back as fields.

Each page sends a picture of one colour and a tone of one pitch, so that a test knows whom a page sees and hears. Signalling
is the test itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from playwright.async_api import Browser, Page, Route, async_playwright

from media.relay.description import Answer, Offer, read_answer
from tests.link.lab import chromium_flags

CHROMIUM = "/usr/bin/chromium"
ORIGIN = "https://relay.test"
SCRIPTS = Path(__file__).parents[2] / "signalling/web/js"

PAGE = """<!doctype html><meta charset="utf-8"><title>relay</title>
<video id="remote" autoplay playsinline muted></video><audio id="sound" autoplay></audio>
<script type="module" src="/page.js"></script>"""

SCRIPT = """
import {answerFields, offerSdp} from "/sdp.js";
const facts = {};
let pc, offer, taken, version = 1, analyser;

window.begin = (colour, hertz) => {
  const canvas = document.createElement("canvas");
  canvas.width = 160; canvas.height = 120;
  const pen = canvas.getContext("2d");
  let frame = 0;
  setInterval(() => {
    pen.fillStyle = colour; pen.fillRect(0, 0, 160, 120);
    pen.fillStyle = "white"; pen.fillRect(frame++ * 7 % 160, 0, 6, 20);
  }, 100);
  const context = new AudioContext();
  const tone = context.createOscillator();
  const out = context.createMediaStreamDestination();
  tone.frequency.value = hertz; tone.connect(out); tone.start();
  analyser = context.createAnalyser(); analyser.fftSize = 4096;
  facts.tracks = {audio: out.stream.getAudioTracks()[0], video: canvas.captureStream(10).getVideoTracks()[0]};
  facts.context = context;
};

// Where no AudioContext runs without a sound card (Firefox): the fake microphone's tone.
window.speak = async () => {
  facts.tracks.audio = (await navigator.mediaDevices.getUserMedia({audio: true})).getAudioTracks()[0];
};

window.answer = async (fields) => {
  offer = fields;
  facts.begun = performance.now();
  pc = new RTCPeerConnection({bundlePolicy: "max-bundle"});
  window.pc = pc;
  pc.onconnectionstatechange = () => { facts[pc.connectionState] ??= performance.now() - facts.begun; };
  pc.ontrack = ({track}) => {
    const stream = new MediaStream([track]);
    if (track.kind === "video") { document.getElementById("remote").srcObject = stream; return; }
    document.getElementById("sound").srcObject = stream;
    facts.context.createMediaStreamSource(stream).connect(analyser);
  };
  await pc.setRemoteDescription({type: "offer", sdp: offerSdp(offer)});
  for (const transceiver of pc.getTransceivers()) {
    transceiver.direction = "sendrecv";
    const {kind} = transceiver.receiver.track;
    await transceiver.sender.replaceTrack(facts.tracks?.[kind] ?? null);
  }
  await pc.setLocalDescription();
  facts.set = performance.now() - facts.begun;
  return taken = answerFields(pc.localDescription.sdp);
};

// Zero-signalling ICE restart: nobody is told.
window.restart = async (pair) => {
  await pc.setLocalDescription(await pc.createOffer({iceRestart: true}));
  await pc.setRemoteDescription({type: "answer", sdp: offerSdp(offer, {pair, taken, version: ++version})});
};

// New codec parameters, applied by the page alone.
window.apply = async (audio) => {
  offer = {...offer, audio: {...offer.audio, ...audio}};
  await pc.setRemoteDescription({type: "offer", sdp: offerSdp(offer, {version: ++version})});
  await pc.setLocalDescription();
};

// What the description names first is what Firefox sends.
window.reorder = async (codecs) => {
  offer = {...offer, video: {...offer.video, codecs}};
  await pc.setRemoteDescription({type: "offer", sdp: offerSdp(offer, {version: ++version})});
  await pc.setLocalDescription();
};

window.facts = () => ({...facts, tracks: undefined, context: undefined, state: pc?.connectionState});

window.look = async () => {
  const report = {frames: 0, packets: 0, energy: 0};
  for (const each of (await pc.getStats()).values()) {
    if (each.type === "inbound-rtp" && each.kind === "video") { report.frames = each.framesDecoded ?? 0; report.nacks = each.nackCount; }
    if (each.type === "inbound-rtp" && each.kind === "audio") { report.packets = each.packetsReceived; report.energy = each.totalAudioEnergy; }
    if (each.type === "outbound-rtp" && each.kind === "video") { report.keyFrames = each.keyFramesEncoded; report.sent = each.framesEncoded; report.codec = each.codecId; }
    if (each.type === "outbound-rtp" && each.kind === "audio") report.voiceSent = each.packetsSent;
    if (each.type === "transport") Object.assign(report, {
      srtp: each.srtpCipher, dtls: each.dtlsState, role: each.dtlsRole, changes: each.selectedCandidatePairChanges, pair: each.selectedCandidatePairId, tls: each.tlsVersion});
  }
  const stats = await pc.getStats();
  const pair = stats.get(report.pair);
  report.codec = stats.get(report.codec)?.mimeType;
  report.protocol = pair && stats.get(pair.localCandidateId)?.protocol;
  const video = document.getElementById("remote");
  if (video.videoWidth) {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(video, 0, 0);
    report.colour = [...pen.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 3);
  }
  if (analyser) {
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    let best = 0;
    bins.forEach((level, index) => { if (level > bins[best]) best = index; });
    report.hertz = bins[best] > -70 ? best * facts.context.sampleRate / analyser.fftSize : 0;
  }
  return report;
};
"""


@dataclass(slots=True)
class RelayPage:
    """One page and its connection."""

    page: Page

    async def begin(self, colour: str, hertz: int) -> None:
        """Prepare a picture of this colour and a tone of this pitch."""
        await self.page.evaluate("([colour, hertz]) => begin(colour, hertz)", [colour, hertz])

    async def answer(self, offer: Offer) -> Answer:
        """Apply the relay's offer and return the browser's answer, both as they would travel."""
        fields = await self.page.evaluate("fields => answer(fields)", msgspec.to_builtins(offer))
        return read_answer(msgspec.json.encode(fields))

    async def restart(self, pair: int) -> None:
        """Restart ICE without a message to anyone."""
        await self.page.evaluate("pair => restart(pair)", pair)

    async def look(self) -> dict[str, Any]:
        """Return what is seen, heard and counted now."""
        report: dict[str, Any] = await self.page.evaluate("look()")
        return report

    async def facts(self) -> dict[str, Any]:
        """Return when the connection reached which state, ms."""
        facts: dict[str, Any] = await self.page.evaluate("facts()")
        return facts

    async def sees(self, colour: str, within_s: float = 20.0) -> None:
        """Wait until new frames of this colour arrive."""
        await self._until(sees(colour), within_s)

    async def hears(self, hertz: int, within_s: float = 20.0) -> None:
        """Wait until a tone of this pitch arrives in packets that arrive now."""
        await self._until(hears(hertz), within_s)

    async def _until(self, fact: Fact, within_s: float) -> None:
        # Not by wait_for_function: it takes the promise of an async predicate for its success, whatever it resolves to.
        async with asyncio.timeout(within_s):
            before = await self.look()
            while True:
                await asyncio.sleep(0.2)
                now = await self.look()
                if fact(before, now):
                    return
                before = now


Fact = Callable[[dict[str, Any], dict[str, Any]], bool]
"""Whether something holds, by two looks one after the other."""


def sees(colour: str) -> Fact:
    """New frames came, and they have this colour."""
    channel = {"red": 0, "blue": 2}[colour]

    def fact(before: dict[str, Any], now: dict[str, Any]) -> bool:
        shown = now.get("colour") or [0, 0, 0]
        return bool(
            now["frames"] > before["frames"] and shown[channel] > 150 and shown[2 - channel] < 100
        )

    return fact


def hears(hertz: int) -> Fact:
    """Packets came, and what is heard has this pitch."""

    def fact(before: dict[str, Any], now: dict[str, Any]) -> bool:
        return now["packets"] > before["packets"] and abs(now.get("hertz", 0) - hertz) < 30

    return fact


def content(path: str) -> tuple[str, str]:
    """Return a file of the page and its type; the path without a leading slash."""
    if path == "":
        return PAGE, "text/html"
    if path == "page.js":
        return SCRIPT, "text/javascript"
    if path in {"sdp.js", "sdp_template.js"}:
        return (SCRIPTS / path).read_text(encoding="utf-8"), "text/javascript"
    return "", "text/plain"


async def _serve(route: Route) -> None:
    body, kind = content(route.request.url.removeprefix(ORIGIN).lstrip("/"))
    await route.fulfill(body=body, content_type=kind)


async def relay_page(browser: Browser) -> RelayPage:
    """Open a page in a context of its own."""
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    await page.route(f"{ORIGIN}/**", _serve)
    await page.goto(f"{ORIGIN}/")
    await page.wait_for_function("() => Boolean(window.look)")
    return RelayPage(page)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless Chromium of our own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *chromium_flags(permission="refused"),
                "--disable-background-timer-throttling",
                "--disable-renderer-backgrounding",
            ],
        )
        try:
            yield browser
        finally:
            await browser.close()
