# SPDX-License-Identifier: Apache-2.0
"""The true pages on real legs: a scripted server behind each page, relays of this process between them.

What a node would say is said by the test; what a relay does is done by a real port and a real room.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec
from playwright.async_api import Browser, Page

from media.relay.description import Offer, read_answer
from media.relay.leg import Leg
from media.relay.port import MediaWanted, PortSettings, RelayPort
from media.relay.room import Room
from signalling.edge.pages import Pages
from signalling.wire import legs as wire
from signalling.wire import messages as m
from signalling.wire.base import FromServer
from signalling.wire.terms import Route, SpecialistState
from tests.browser import fake_patient as fp
from tests.browser import fake_staff as fs
from tests.support.relay_peer import LOOPBACK, relay, ticking
from tests.support.until import until

OPEN_BPS = 2_000_000.0
"""Of the links, as the room takes them: what it would tell the pages is not passed on."""
WITHIN_S = 20.0
RINGING = "c_red"
"""The consult as the specialist's server names it; the two servers know nothing of each other."""

WATCH = """
globalThis.peerConnections = [];
globalThis.asked = [];
const Real = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Real {
  constructor(...args) { super(...args); globalThis.peerConnections.push(this); }
};
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => {
  asked.push({wanted, connections: peerConnections.length});
  return open(wanted);
};
globalThis.look = async () => {
  const sum = {voice: 0, frames: 0, keyFrames: 0, sentVoice: 0, sentPicture: 0, height: 0, open: 0};
  for (const pc of peerConnections) {
    if (pc.connectionState === "closed") continue;
    sum.open++;
    for (const each of (await pc.getStats()).values()) {
      if (each.type === "inbound-rtp" && each.kind === "audio") sum.voice += each.packetsReceived;
      if (each.type === "inbound-rtp" && each.kind === "video") {
        sum.frames += each.framesDecoded ?? 0;
        sum.keyFrames += each.keyFramesDecoded ?? 0;
      }
      if (each.type === "outbound-rtp" && each.kind === "audio") sum.sentVoice += each.packetsSent;
      if (each.type === "outbound-rtp" && each.kind === "video") { sum.sentPicture += each.packetsSent; sum.height = each.frameHeight ?? 0; }
    }
  }
  return sum;
};
// The longest time in which no voice packet came of the track that is played.
globalThis.gaps = {longest: 0};
globalThis.watchGaps = () => {
  let last = "", at = performance.now();
  gaps.longest = 0;
  setInterval(async () => {
    const track = document.getElementById("remote").srcObject?.getAudioTracks()[0]?.id;
    for (const [number, pc] of peerConnections.entries()) {
      if (pc.connectionState === "closed") continue;
      for (const each of (await pc.getStats()).values()) {
        if (each.type !== "inbound-rtp" || each.kind !== "audio" || each.trackIdentifier !== track) continue;
        const now = `${number} ${each.packetsReceived}`;
        if (now !== last) { last = now; at = performance.now(); }
      }
    }
    gaps.longest = Math.max(gaps.longest, performance.now() - at);
  }, 20);
};
"""


@dataclass
class Relay:
    """A relay of this process with the room of the consult. ``dark``: nothing gets in or out."""

    port: RelayPort
    room: Room
    dark: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0
    _made: int = 0

    @classmethod
    async def of(cls, stack: AsyncExitStack, settings: PortSettings = LOOPBACK) -> Relay:
        """Open one, with its ticks."""
        port = await stack.enter_async_context(relay(settings))
        made = cls(port, await stack.enter_async_context(ticking(port, start_bps=OPEN_BPS)))
        send, receive = port.udp.sendto, port.demux.receive

        def out(data: bytes, address: Any) -> int:
            if made.dark:
                return len(data)
            made.sent_bytes += len(data) + 28  # IPv4 and UDP
            return send(data, address)

        def into(data: bytes, path: Any, now: float) -> None:
            if not made.dark:
                made.received_bytes += len(data) + 28
                receive(data, path, now)

        port.udp.sendto = out  # type: ignore[method-assign]
        port.demux.receive = into  # type: ignore[method-assign]
        return made

    def mint(self, wanted: MediaWanted | None = None) -> tuple[str, Leg, Offer]:
        """A leg that nobody has yet."""
        self._made += 1
        leg, offer = self.port.mint(wanted)
        return f"l_{id(self)}_{self._made}", leg, offer


@dataclass
class Seated:
    """A leg that a page has."""

    name: str
    leg: Leg
    offer: Offer
    relay: Relay


@dataclass
class Party:
    """One person's page with the server behind it."""

    role: str
    consult: str
    fake: fp.FakePatient | fs.FakeStaff
    page: Page
    version: int = 10
    legs: list[Seated] = field(default_factory=list)

    def said(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """What the page sent of one type, with these values."""
        return [
            each
            for each in self.fake.asked
            if each["type"] == kind and all(each.get(name) == fields[name] for name in fields)
        ]

    async def tell(self, *messages: FromServer) -> None:
        """Say something to the page."""
        for message in messages:
            await self.fake.tell(message)

    async def give(
        self, relay: Relay, wanted: MediaWanted | None = None, *, standby: bool = False
    ) -> Seated:
        """Seat the person at a relay and give the page its leg."""
        name, leg, offer = relay.mint(wanted)
        relay.room.seat(name, leg, offer, self.role, self.role)
        seated = Seated(name, leg, offer, relay)
        self.legs.append(seated)
        fields = msgspec.convert(msgspec.to_builtins(offer), wire.LegOffer)
        await self.tell(wire.LegGiven(self.consult, name, fields, standby))
        return seated

    async def answered(self, seated: Seated, within_s: float = WITHIN_S) -> None:
        """Wait for the page's answer and hand it to the relay, as a node does."""
        await until(lambda: self.said("leg_answer", leg=seated.name), within_s)
        answer = read_answer(
            msgspec.json.encode(self.said("leg_answer", leg=seated.name)[0]["answer"])
        )
        seated.relay.port.accept(seated.leg, answer)
        seated.relay.room.answer(seated.name, answer)

    async def warm(self, relay: Relay, wanted: MediaWanted | None = None) -> Seated:
        """Give a leg and wait until it stands."""
        seated = await self.give(relay, wanted)
        await self.answered(seated)
        await until(lambda: seated.leg.srtp_profile, WITHIN_S)
        return seated

    async def look(self) -> dict[str, Any]:
        """Counts of what was sent and came, over the connections that are open."""
        seen: dict[str, Any] = await self.page.evaluate("look()")
        return seen

    async def hears(self, within_s: float = WITHIN_S) -> float:
        """Wait until voice packets arrive; return how long it took."""
        begun = time.monotonic()
        before = (await self.look())["voice"]
        while (await self.look())["voice"] <= before:
            assert time.monotonic() - begun < within_s, "no voice"
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def sees(self, within_s: float = WITHIN_S) -> None:
        """Wait until new frames are decoded."""
        before = await self.look()

        async def more() -> bool:
            return bool((await self.look())["frames"] > before["frames"])

        await comes(more, within_s)

    async def state(self, name: str) -> None:
        """Wait until the page is in a state."""
        await self.page.wait_for_selector(f'body[data-state="{name}"]', timeout=10_000)

    def call(self, **more: object) -> list[FromServer]:
        """What the server says of the call now."""
        self.version += 1
        fields: dict[str, object] = {"version": self.version, "route": Route.RELAYED} | more
        if self.role == "patient":
            return [fp.in_call(**fields)[0]]
        return [
            fs.desk(SpecialistState.IN_CALL, consult=RINGING),
            fs.call_view(**fields, polite=False),
        ]


async def patient(
    browser: Browser, stack: AsyncExitStack, pages: Pages, script: Callable[[], list[FromServer]]
) -> Party:
    """Open the patient's page where ``script`` says."""
    fake = fp.FakePatient(script=script)
    origin = await stack.enter_async_context(fp.serving(pages, fake))
    page = await opened(browser)
    await page.goto(f"{origin}/en#r.{fp.CONSULT}.{'r' * 43}")
    return Party("patient", fp.CONSULT, fake, page)


async def specialist(browser: Browser, stack: AsyncExitStack, pages: Pages) -> Party:
    """Open the specialist's page, on call."""
    fake = fs.FakeStaff(script=lambda: [fs.desk(SpecialistState.AVAILABLE)])
    origin = await stack.enter_async_context(fs.serving(pages, fake))
    page = await opened(browser)
    await page.goto(f"{origin}/specialist?lang=en")
    return Party("specialist", RINGING, fake, page)


async def opened(browser: Browser) -> Page:
    """A page in a context of its own, with what a test watches."""
    context = await browser.new_context(viewport={"width": 360, "height": 740})
    page = await context.new_page()
    await page.add_init_script(WATCH)
    return page


async def comes(fact: Callable[[], Awaitable[object]], within_s: float = WITHIN_S) -> None:
    """Wait until a page says so."""
    async with asyncio.timeout(within_s):
        while True:
            if await fact():
                return
            await asyncio.sleep(0.05)


def waiting() -> list[FromServer]:
    """A patient next in line, whose media will go over a relay."""
    return [fp.view("waiting", place=1, wait_s=60.0, on_call=1, route=Route.RELAYED)]


def ringing() -> m.Desk:
    """The specialist's desk while the patient is put through."""
    return fs.desk(SpecialistState.RINGING, ring=fs.ring())
