# SPDX-License-Identifier: Apache-2.0
"""The patient's and the specialist's page on relay legs, in real browsers: warm before the call, mended by themselves."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import async_playwright, expect

from media.core.descriptor import VideoCodec, describe
from media.relay import tcp, udp
from media.relay.description import PAYLOAD_TYPES
from media.relay.leg import Leg
from media.relay.port import PortSettings
from signalling.edge.pages import Pages
from signalling.wire import legs as wire
from signalling.wire.terms import SpecialistState
from tests.browser import fake_patient as fp
from tests.browser import fake_staff as fs
from tests.browser import relay_scene as scene
from tests.browser.firefox import ADDRESS, firefox, one_network
from tests.browser.relay_page import CHROMIUM
from tests.browser.relay_scene import Party, Relay, Seated
from tests.link import namespaces
from tests.link.lab import chromium_flags
from tests.support.processes import free_port
from tests.support.rtp_packets import parsed
from tests.support.until import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

PAGES = Pages()


class Stage:
    """Two people and the relays between them."""

    def __init__(self, stack: AsyncExitStack, relay: Relay, patient: Party, doctor: Party) -> None:
        self.stack = stack
        self.relay = relay
        self.patient = patient
        self.doctor = doctor
        self.legs: dict[str, Seated] = {}

    @property
    def people(self) -> tuple[Party, Party]:
        return self.patient, self.doctor

    async def ring(self) -> None:
        """Both have a leg that stands; the specialist's phone rings."""
        await self.patient.state("waiting")
        self.legs["patient"] = await self.patient.warm(self.relay)
        await self.doctor.tell(scene.ringing())
        self.legs["specialist"] = await self.doctor.warm(self.relay)
        await self.doctor.state("ringing")

    async def accept(self) -> None:
        """The specialist accepts; the relay forwards; both pages are told."""
        await self.doctor.page.click("#accept")
        await until(lambda: self.doctor.said("accept"))
        self.relay.room.forward({"patient", "specialist"})
        for person in self.people:
            await person.tell(*person.call())

    async def call(self) -> None:
        """A call that both see and hear."""
        await self.ring()
        await self.patient.page.click("#both")
        await expect(self.patient.page.locator("#selfview")).to_be_visible(timeout=15_000)
        await self.accept()
        await self.meet()

    async def meet(self) -> None:
        for person in self.people:
            await person.hears()
            await person.sees()

    async def second(self) -> Relay:
        """Another relay, forwarding the same consult."""
        relay = await Relay.of(self.stack)
        relay.room.forward({"patient", "specialist"})
        return relay


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        flags = [
            *chromium_flags(),
            "--disable-background-timer-throttling",
            "--disable-renderer-backgrounding",
        ]
        relay = await Relay.of(stack)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        stack.push_async_callback(browser.close)
        patient = await scene.patient(browser, stack, PAGES, scene.waiting)
        doctor = await scene.specialist(browser, stack, PAGES)
        yield Stage(stack, relay, patient, doctor)


async def test_a_leg_is_warm_before_anything_is_asked_for_and_costs_little(stage: Stage) -> None:
    """The connection stands before camera and microphone are asked for, sends no RTP, and costs 100 octets a second at most."""
    patient = stage.patient
    await patient.state("waiting")
    seated = await patient.warm(stage.relay)
    assert await patient.page.evaluate("asked") == []
    await patient.page.wait_for_function("() => peerConnections[0].connectionState === 'connected'")
    await asyncio.sleep(4)  # the pairs that are not needed are pruned
    sent, received = stage.relay.sent_bytes, stage.relay.received_bytes
    await asyncio.sleep(15)
    down, up = (stage.relay.sent_bytes - sent) / 15, (stage.relay.received_bytes - received) / 15
    print(f"a warm leg costs {up:.0f} up, {down:.0f} down, octets a second")
    assert up <= 100
    assert down <= 100
    await patient.page.click("#both")
    await expect(patient.page.locator("#selfview")).to_be_visible(timeout=15_000)
    assert [each["connections"] for each in await patient.page.evaluate("asked")] == [1]
    await asyncio.sleep(1)
    assert seated.leg.traffic.rtp_received == 0
    assert await patient.page.evaluate("document.body.dataset.media") == "none"


async def test_accepting_needs_no_negotiation(stage: Stage) -> None:
    """The ring opens the microphone without a question and says so; nothing is sent before accept, all of it after."""
    await stage.ring()
    doctor = stage.doctor
    words = doctor.page.locator("#ring-microphone")
    await expect(words).to_have_text("Your microphone is on. Nothing is sent before you accept.")
    assert [each["wanted"].get("video") for each in await doctor.page.evaluate("asked")] == [None]
    await stage.patient.page.click("#both")
    await expect(stage.patient.page.locator("#selfview")).to_be_visible(timeout=15_000)
    for seated in stage.legs.values():
        assert seated.leg.traffic.rtp_received == 0
    await stage.accept()
    await stage.meet()
    for person in stage.people:
        assert len(person.said("leg_answer")) == 1
        assert await person.page.evaluate("peerConnections.length") == 1
        await until(lambda person=person: person.said("setup_report"))
        [report] = person.said("setup_report")
        print(f"{person.role}: voice {report['firstAudioMs']} ms after the call was told")
        assert report["connectedMs"] < 300
        assert report["firstAudioMs"] < 1_000


async def test_a_declined_ring_leaves_nothing_open(stage: Stage) -> None:
    """Connection closed, microphone off."""
    await stage.ring()
    page = stage.doctor.page
    await expect(page.locator("#ring-microphone")).not_to_be_empty()
    await page.click("#decline summary")
    await page.click("#decline-reasons button >> nth=0")
    await stage.doctor.tell(fs.desk(SpecialistState.AVAILABLE))
    await stage.doctor.state("available")
    await page.wait_for_function("() => peerConnections[0].connectionState === 'closed'")
    assert await page.evaluate("document.getElementById('ring-microphone').textContent") == ""
    assert stage.legs["specialist"].leg.traffic.rtp_received == 0


async def test_a_blackout_is_mended_without_a_message(stage: Stage) -> None:
    """12 s without a packet: the pages restart ICE by themselves, and hear each other a second after the relay is back."""
    await stage.call()
    stage.relay.dark = True
    for person in stage.people:
        await person.page.wait_for_selector('body[data-state="interrupted"]', timeout=5_000)
    await asyncio.sleep(9)
    before = [len(person.said("leg_answer")) for person in stage.people]
    stage.relay.dark = False
    took = await asyncio.gather(*(person.hears() for person in stage.people))
    print(f"voice back after {took[0]:.2f} and {took[1]:.2f} s")
    assert max(took) < 2.6  # until the next restart, 2 s at most, and a busy machine
    await stage.meet()
    for person in stage.people:
        await person.state("in_call")
        await until(lambda person=person: person.said("restart_report"))
        assert person.said("restart_report")[0]["trigger"] == "no_media"
        assert await person.page.evaluate("peerConnections.length") == 1
    assert [len(person.said("leg_answer")) for person in stage.people] == before
    for seated in stage.legs.values():
        await until(lambda seated=seated: seated.leg.traffic.restarts >= 1)


async def test_a_new_leg_takes_over_without_a_gap(stage: Stage) -> None:
    """Both move to another relay, as in a drain: no 500 ms without voice, and the old connections are closed."""
    await stage.call()
    for person in stage.people:
        await person.page.evaluate("watchGaps()")
    relay = await stage.second()
    for person in stage.people:
        seated = await person.give(relay)
        await person.answered(seated)
    for person in stage.people:
        await person.page.wait_for_function(
            "() => peerConnections[0].connectionState === 'closed'", timeout=15_000
        )
    await stage.meet()
    gaps = [await person.page.evaluate("gaps.longest") for person in stage.people]
    print(f"longest time without voice {gaps[0]:.0f} and {gaps[1]:.0f} ms")
    assert max(gaps) < 500
    for person in stage.people:
        assert (await person.look())["open"] == 1


async def test_the_standby_takes_over_from_a_dead_relay(stage: Stage) -> None:
    """The relay is gone: told within 3 s with the standby being connected; the switch brings voice and picture back."""
    await stage.call()
    relay = await stage.second()
    standby = [await person.give(relay, standby=True) for person in stage.people]
    await asyncio.sleep(0.5)
    assert await stage.patient.page.evaluate("peerConnections.length") == 1
    stage.relay.dark = True
    begun = time.monotonic()
    await until(lambda: all(person.said("leg_trouble") for person in stage.people), 8.0)
    noticed_s = time.monotonic() - begun
    for person, seated in zip(stage.people, standby, strict=True):
        await person.answered(seated)
        assert person.said("leg_trouble")[0]["leg"] != seated.name
        assert person.said("leg_trouble")[0]["silentMs"] >= 2_000
        await person.tell(wire.LegSwitch(person.consult, seated.name))
    await asyncio.gather(*(person.hears() for person in stage.people))
    print(f"noticed after {noticed_s:.2f} s, voice after {time.monotonic() - begun:.2f} s")
    assert noticed_s < 3.5  # 3 s, and a busy machine
    await stage.meet()
    for person in stage.people:
        await person.state("in_call")
        assert (await person.look())["open"] == 1


async def test_limits_hold_at_once(stage: Stage) -> None:
    """A picture of 120 lines, voice in frames of 60 ms with redundancy; then no picture; the voice never stops."""
    await stage.call()
    doctor, patient = stage.doctor, stage.patient
    voice = listen(stage.legs["patient"])
    thin = wire.Limits(
        video_max_bps=20_000, video_max_height=120, video_max_fps=4, audio_max_bps=8_000, ptime_ms=60, red="first"
    )  # fmt: skip
    leg = patient.legs[0].name
    await patient.tell(wire.LegLimits(patient.consult, leg, thin))

    async def small() -> bool:
        return bool((await patient.look())["height"] == 120)

    await scene.comes(small)
    begun, before = time.monotonic(), await patient.look()
    await asyncio.sleep(2)
    spent_s, after = time.monotonic() - begun, await patient.look()
    rate = (after["sentVoice"] - before["sentVoice"]) / spent_s
    print(f"{rate:.1f} voice packets a second")
    assert 12 < rate < 22
    await doctor.sees()
    none = wire.Limits(video_max_bps=0, audio_max_bps=8_000, ptime_ms=60, red="first")
    await patient.tell(wire.LegLimits(patient.consult, leg, none))
    await asyncio.sleep(0.5)
    before = await patient.look()
    await asyncio.sleep(1.5)
    assert (await patient.look())["sentPicture"] - before["sentPicture"] <= 2
    await doctor.hears()
    longest_s = max(later - sooner for sooner, later in itertools.pairwise(voice))
    print(f"longest time without voice {longest_s * 1_000:.0f} ms")
    assert longest_s < 0.5


async def test_a_picture_goes_on_without_its_upper_layer(stage: Stage) -> None:
    """Chromium sends every other frame so that none below needs it: lost for good, they cost half of the pictures and no key frame."""
    await stage.call()
    doctor, patient = stage.doctor, stage.patient
    thin = wire.Limits(video_max_bps=40_000, video_max_height=120, video_max_fps=8)
    await patient.tell(wire.LegLimits(patient.consult, patient.legs[0].name, thin))

    async def small() -> bool:
        return bool((await patient.look())["height"] == 120)

    await scene.comes(small)
    lost = lose_upper_layer(stage.legs["patient"])
    await asyncio.sleep(1)
    before = await doctor.look()
    await asyncio.sleep(4)
    after = await doctor.look()
    fps = (after["frames"] - before["frames"]) / 4
    print(f"{fps:.1f} pictures a second, {len(lost)} packets lost")
    assert len(lost) >= 10
    assert 3 <= fps <= 5
    assert after["keyFrames"] == before["keyFrames"]


def lose_upper_layer(seated: Seated) -> list[int]:
    """Lose what comes of the upper layer, and all that is repeated; return the numbers as they are lost."""
    lost: list[int] = []
    passed_on = seated.leg.on_rtp

    def lose(leg: Leg, data: bytes, now: float) -> None:
        kind = data[1] & 0x7F
        if kind == PAYLOAD_TYPES["VP8"]:
            packet = parsed(data, now)
            frame = describe(VideoCodec.VP8, packet)
            if frame is not None and frame.temporal:
                lost.append(packet.sequence_number)
                return
        if kind != PAYLOAD_TYPES["VP8/rtx"]:
            passed_on(leg, data, now)

    seated.leg.on_rtp = lose
    return lost


def listen(seated: Seated) -> list[float]:
    """Note when each voice packet of a page comes to its relay, from now on; monotonic seconds."""
    heard: list[float] = []
    passed_on = seated.leg.on_rtp

    def note(leg: Leg, packet: bytes, now: float) -> None:
        if packet[1] & 0x7F in {PAYLOAD_TYPES["opus"], PAYLOAD_TYPES["red"]}:
            heard.append(now)
        passed_on(leg, packet, now)

    seated.leg.on_rtp = note
    return heard


@pytest.mark.link
@pytest.mark.timeout(300)
async def test_firefox_connects_sends_and_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patient's page in Firefox ESR: warm without a packet of RTP, voice and picture in the call, a restart by itself."""
    async with AsyncExitStack() as stack:
        namespace = stack.enter_context(one_network())
        real = udp.bound

        def inside(*arguments: Any) -> socket.socket:
            return namespaces.inside(namespace, lambda: real(*arguments))

        listening = inside("127.0.0.1", free_port(), socket.SOCK_STREAM)
        for module in (udp, tcp):
            monkeypatch.setattr(module, "bound", inside)
        settings = PortSettings(host=ADDRESS, public_addresses=(ADDRESS,))
        relay = await Relay.of(stack, settings)
        monkeypatch.undo()
        fake = fp.FakePatient(script=scene.waiting)
        origin = await stack.enter_async_context(fp.serving(PAGES, fake, listening))
        tab = await stack.enter_async_context(firefox(namespace))
        await tab.goto(f"{origin}/en#r.{fp.CONSULT}.{'r' * 43}")
        patient = Party("patient", fp.CONSULT, fake, tab)  # type: ignore[arg-type]
        await until(lambda: patient.said("hello"), 20.0)
        seated = await patient.warm(relay)
        await tab.evaluate("document.getElementById('both').click()")
        await scene.comes(lambda: tab.evaluate("!document.getElementById('selfview').hidden"))
        traffic = seated.leg.traffic
        assert traffic.rtp_received == 0
        relay.room.forward({"patient", "specialist"})
        voice = listen(seated)
        await patient.tell(*patient.call())
        await until(lambda: len(voice) > 10, 20.0)
        await until(lambda: traffic.rtp_received > len(voice), 20.0)
        restarts = traffic.restarts
        await tab.evaluate("dispatchEvent(new Event('online'))")
        await until(lambda: traffic.restarts > restarts, 20.0)
        heard = len(voice)
        await until(lambda: len(voice) > heard + 20, 20.0)
        assert len({each["leg"] for each in patient.said("leg_answer")}) == 1
