# SPDX-License-Identifier: Apache-2.0
"""Pictures of every state of the patient's page: ``python -m tests.browser.patient_screenshots DIR [NAME]``.

Two widths, two languages; a person looks at them. Fails if the page never reaches a state, if anything overflows it
sideways (also at 320 px), or if the console has an error.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import BrowserContext, Page, async_playwright

from signalling.edge.pages import Pages
from signalling.wire import messages as m
from signalling.wire.base import FromServer
from signalling.wire.quality import DirectionQuality, Quality
from signalling.wire.terms import Urgency
from tests.browser import fake_patient as fp
from tests.browser.fake_patient import FakePatient, serving
from tests.browser.staff_screenshots import CHROMIUM, FLAGS, SIZES

LINK = "#eyJhbGciOiJFZERTQSJ9.eyJjIjoiY19zY2VuZSJ9.c2lnbmF0dXJl"
BACK = "#r.c_scene." + "r" * 43
EXPECTED = ("401", "409", "WebSocket", "Unauthorized", "Conflict")
"""Parts of console lines that belong to the scene."""
DENIED = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); };"
NO_CAMERA = """const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  if (wanted.video) throw new DOMException('', 'NotFoundError');
  return real(wanted);
};"""
IN_APP = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
TOO_OLD = "delete globalThis.RTCPeerConnection;"

Act = Callable[[Page, FakePatient], Awaitable[None]]
Make = Callable[[], FakePatient]


async def nothing(_page: Page, _fake: FakePatient) -> None:
    """Leave the page as it is."""


@dataclass
class Scene:
    """One picture."""

    name: str
    state: str
    act: Act = nothing
    fake: Make = FakePatient
    fragment: str = BACK
    before: str = ""
    """A script for the page's world, before the page's own."""
    first: str = ""
    """The state in which the page begins, if it is another one."""


def telling(make: Callable[[], list[FromServer]], **more: object) -> Make:
    """Return a maker of a server that tells this."""
    return lambda: FakePatient(script=make, **more)


def then(*acts: Act) -> Act:
    async def act(page: Page, fake: FakePatient) -> None:
        for each in acts:
            await each(page, fake)

    return act


def click(*selectors: str) -> Act:
    async def act(page: Page, _fake: FakePatient) -> None:
        for selector in selectors:
            await page.click(selector)

    return act


async def fill_intake(page: Page, _fake: FakePatient) -> None:
    await page.fill("#complaint", "Demam tiga hari, sejak pagi tidak mau minum")
    await page.fill("#age", "26")
    await page.check("input[value=female]")
    await page.check("#pregnant")


async def to_signs(page: Page, fake: FakePatient) -> None:
    await fill_intake(page, fake)
    await page.click("#tosigns")


async def tick_red(page: Page, fake: FakePatient) -> None:
    await to_signs(page, fake)
    await page.check("input[value=heavy_bleeding]")
    await page.wait_for_selector("#emergency", state="visible")


async def type_code(page: Page, _fake: FakePatient) -> None:
    await page.fill("#code", "3w5w 8kj7")
    await page.wait_for_selector("#code[aria-invalid=true]")


async def right_code(page: Page, _fake: FakePatient) -> None:
    await page.fill("#code", "3w5w 8kj6")
    await page.wait_for_selector("#codejoin:enabled")


async def own_devices(page: Page, _fake: FakePatient) -> None:
    await page.click("#both")
    await page.wait_for_selector("#selfview", state="visible")
    await page.wait_for_timeout(600)  # a first picture and a level


async def lose_socket(page: Page, fake: FakePatient) -> None:
    fake.silent = True
    await fake.drop()
    await page.wait_for_selector("#link", state="visible")


async def write_offline(page: Page, fake: FakePatient) -> None:
    fake.silent = True
    await page.fill("#text", "Dokter, suaranya putus-putus")
    await page.press("#text", "Enter")


async def a_doctor(page: Page, fake: FakePatient) -> None:
    """Be the other browser: a second connection in the same page, with something to look at."""
    offer = await page.evaluate("""async () => {
        const canvas = document.createElement("canvas");
        canvas.width = 640; canvas.height = 480;
        const paint = canvas.getContext("2d");
        const draw = () => {
            paint.fillStyle = "#7d9c86"; paint.fillRect(0, 0, 640, 480);
            paint.fillStyle = "#d9b08c"; paint.beginPath(); paint.arc(320, 200, 110, 0, 7); paint.fill();
            paint.fillStyle = "#f4f6f6"; paint.fillRect(140, 320, 360, 160);
        };
        setInterval(draw, 100);
        const pc = globalThis.doctor = new RTCPeerConnection();
        pc.addTransceiver("audio");
        pc.addTransceiver(canvas.captureStream(10).getTracks()[0]);
        await pc.setLocalDescription();
        while (pc.iceGatheringState !== "complete") await new Promise((done) => setTimeout(done, 20));
        return pc.localDescription.sdp;
    }""")
    description = m.SessionDescription(type="offer", sdp=offer)
    await fake.tell(
        m.PeerDescription(
            consult=fp.CONSULT, sender="a_1", instance="i_doctor1", description=description
        )
    )
    answer = await fake.heard("description")
    await page.evaluate("(answer) => doctor.setRemoteDescription(answer)", answer["description"])
    candidate = await fake.heard("candidate")
    await page.evaluate("(candidate) => doctor.addIceCandidate(candidate)", candidate["candidate"])
    await page.wait_for_selector('body[data-media="connected"]', timeout=8_000)
    await page.wait_for_timeout(900)


async def weak_link(page: Page, fake: FakePatient) -> None:
    """A call with gaps, and the data that it has used so far."""
    mine = DirectionQuality("poor", "loss", "own")
    await fake.tell(Quality(fp.CONSULT, mine, DirectionQuality("good")))
    await page.wait_for_selector("#callnote.error", timeout=8_000)
    await page.click("#usage summary")


async def takeover_asked(page: Page, _fake: FakePatient) -> None:
    await page.wait_for_selector("#dialog[open]")


def takeover() -> list[FromServer]:
    return [fp.view("waiting", place=1, takeovers=[m.TakeoverView(request="t_1234567", at=1.0)])]


ring = telling(lambda: [fp.view("ringing", place=1)])
call = telling(fp.in_call)
wait = telling(fp.waiting)
away = telling(lambda: fp.in_call("interrupted", away=["specialist"]))
nobody = telling(lambda: fp.waiting(on_call=0, wait_s=None, place=1))
red = telling(lambda: fp.waiting(urgency=Urgency.RED, place=1))
used = lambda: FakePatient(refuse={"join": "invitation_used"})  # noqa: E731 - a maker, like the others

SCENES = [
    Scene("join", "join", fragment=LINK),
    Scene("join-refused", "join", click("#join"), lambda: FakePatient(refuse={"join": "token_invalid"}), LINK),
    Scene("join-expired", "expired", click("#join"), lambda: FakePatient(refuse={"join": "token_expired"}), LINK, first="join"),
    Scene("code", "code", fragment=""),
    Scene("code-wrong", "code", type_code, fragment=""),
    Scene("code-throttled", "code", then(right_code, click("#codejoin")), lambda: FakePatient(refuse={"join": "throttled"}), ""),
    Scene("unsupported", "unsupported", before=TOO_OLD),
    Scene("in_app", "in_app", fragment=LINK, before=IN_APP),
    Scene("takeover", "takeover", click("#join"), used, LINK, first="join"),
    Scene("takeover_wait", "takeover_wait", click("#join", "#takeover"), used, LINK, first="join"),
    Scene("intake", "intake", fill_intake),
    Scene("intake-empty", "intake", click("#tosigns")),
    Scene("signs", "signs", to_signs, first="intake"),
    Scene("signs-red", "signs", tick_red, first="intake"),
    Scene("consent", "consent", then(to_signs, click("#toconsent", "#send")), first="intake"),
    Scene("waiting", "waiting", fake=wait),
    Scene("waiting-devices", "waiting", own_devices, wait),
    Scene("waiting-denied", "waiting", click("#both"), wait, before=DENIED),
    Scene("waiting-no_camera", "waiting", click("#both"), wait, before=NO_CAMERA),
    Scene("waiting-nobody", "waiting", fake=nobody),
    Scene("waiting-red", "waiting", fake=red),
    Scene("waiting-lost", "waiting", lose_socket, wait),
    Scene("waiting-leave", "waiting", click("#leave"), wait),
    Scene("waiting-takeover", "waiting", takeover_asked, telling(takeover)),
    Scene("waiting-kept", "waiting", fake=telling(lambda: fp.waiting(place=1, kept=True))),
    Scene("ringing", "ringing", own_devices, ring),
    Scene("callback", "callback", fake=telling(fp.callback)),
    Scene("callback-answered", "callback", fake=telling(fp.answered)),
    Scene("in_call", "in_call", a_doctor, call),
    Scene("in_call-connecting", "in_call", fake=call),
    Scene("in_call-unsent", "in_call", then(a_doctor, write_offline), call),
    Scene("in_call-camera_off", "in_call", then(a_doctor, click("#camera", "#mute")), call),
    Scene("in_call-weak", "in_call", then(a_doctor, weak_link), call),
    Scene("in_call-choices", "in_call", then(a_doctor, click("#choices summary")), call),
    Scene("interrupted", "interrupted", fake=away),
    Scene("ended", "ended", fake=telling(fp.ended)),
    Scene("expired", "expired", fake=lambda: FakePatient(refuse={"resume": "consult_over"})),
    Scene("displaced", "displaced", fake=lambda: FakePatient(close_code=4010)),
    Scene("error", "error", fake=lambda: FakePatient(close_code=4002)),
]  # fmt: skip


async def shoot(
    context: BrowserContext, pages: Pages, scene: Scene, language: str, target: Path
) -> list[str]:
    """Bring one scene about, take its picture and return what is wrong with it."""
    problems: list[str] = []
    fake = scene.fake()
    async with serving(pages, fake) as origin:
        await context.grant_permissions(["camera", "microphone"], origin=origin)
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{scene.name}: {error}"))
        page.on("console", lambda line: problems.append(f"{scene.name}: {line.text}")
                if line.type == "error" and not any(each in line.text for each in EXPECTED) else None)  # fmt: skip
        if scene.before:
            await page.add_init_script(scene.before)
        try:
            await page.goto(f"{origin}/{language}{scene.fragment}")
            await page.wait_for_selector(
                f'body[data-state="{scene.first or scene.state}"]', timeout=8_000
            )
            await scene.act(page, fake)
            await page.wait_for_selector(f'body[data-state="{scene.state}"]', timeout=8_000)
            await page.wait_for_timeout(250)
            modal = await page.query_selector("dialog[open]")
            await page.screenshot(path=target, full_page=modal is None)
            for width in ({"phone": 320}.get(target.stem.rsplit(".", 1)[1], 1280),):
                await page.set_viewport_size({"width": width, "height": 740})
                wide = await page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                if wide > 0:
                    problems.append(f"{scene.name}: {wide} px too wide at {width}")
        except Exception as error:  # noqa: BLE001 - one scene's failure is reported, the others are still shot
            problems.append(f"{scene.name}: {str(error).splitlines()[0]}")
        finally:
            await page.close()
    return problems


async def shoot_all(
    folder: Path, only: str = "", languages: tuple[str, ...] = ("id", "en")
) -> list[str]:
    """Take every picture whose name contains ``only``; return all problems."""
    pages = Pages()
    problems: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for language in languages:
            for size, (width, height) in SIZES.items():
                for scene in SCENES:
                    if only not in scene.name:
                        continue
                    context = await browser.new_context(
                        viewport={"width": width, "height": height},
                        locale=language,
                        reduced_motion="reduce",
                    )
                    target = folder / f"patient-{scene.name}.{language}.{size}.png"
                    problems += await shoot(context, pages, scene, language, target)
                    await context.close()
        await browser.close()
    return problems


if __name__ == "__main__":
    arguments = [*sys.argv[1:], "screenshots", ""]
    out = Path(arguments[0])
    out.mkdir(parents=True, exist_ok=True)
    found = asyncio.run(shoot_all(out, arguments[1] if len(sys.argv) > 2 else ""))
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    sys.exit(1 if found else 0)
