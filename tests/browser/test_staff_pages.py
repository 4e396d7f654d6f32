# SPDX-License-Identifier: Apache-2.0
"""The staff pages in a real browser against a scripted server: what a person at the desk can rely on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from playwright.async_api import Page, async_playwright

from signalling.edge.pages import Pages
from signalling.wire import messages as m
from signalling.wire.terms import SpecialistState
from tests.browser import fake_staff as fs
from tests.browser.fake_staff import FakeStaff, serving
from tests.browser.staff_screenshots import CHROMIUM, FLAGS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]


WATCH_TRACKS = """{
    window.live = [];
    const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await get(wanted);
        window.live.push(...stream.getTracks());
        return stream;
    };
}"""
BOTH_KINDS = (
    "() => ['audio', 'video'].every(kind => window.live.some(track => track.kind === kind))"
)
ALL_ENDED = (
    "() => window.live.length > 0 && window.live.every(track => track.readyState === 'ended')"
)


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages()


@dataclass
class Desk:
    """A page and the server that it talks to."""

    page: Page
    fake: FakeStaff
    errors: list[str]

    async def state(self, state: str) -> None:
        await self.page.wait_for_selector(f'body[data-state="{state}"]', timeout=8_000)

    async def asked(self, kind: str, times: int = 1) -> dict[str, object]:
        """Wait until the page has sent this ``times`` times; return the last."""
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            found = [each for each in self.fake.asked if each["type"] == kind]
            if len(found) >= times:
                return found[-1]
            await asyncio.sleep(0.02)
        raise AssertionError(f"{kind} was not asked {times} times: {self.fake.asked}")


@asynccontextmanager
async def at_desk(
    pages: Pages, fake: FakeStaff, path: str = "specialist", *, width: int = 1280
) -> AsyncIterator[Desk]:
    """Open a staff page on a scripted server."""
    async with serving(pages, fake) as origin, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await browser.new_context(
            viewport={"width": width, "height": 800}, locale="en-GB"
        )
        await context.grant_permissions(["camera", "microphone", "notifications"], origin=origin)
        await context.add_init_script(WATCH_TRACKS)
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{origin}/{path}?lang=en")
        try:
            yield Desk(page, fake, errors)
            assert errors == []
        finally:
            await context.close()
            await browser.close()


def scripted(make: Callable[[], list[m.FromServer]]) -> FakeStaff:
    return FakeStaff(script=make)


def free() -> list[m.FromServer]:
    return [fs.desk(SpecialistState.AVAILABLE)]


def ringing() -> list[m.FromServer]:
    return [fs.desk(SpecialistState.RINGING, ring=fs.ring())]


def calling() -> list[m.FromServer]:
    return [fs.desk(SpecialistState.IN_CALL, consult="c_red"), fs.call_view(note=""), *fs.entries()]


async def test_signing_in_and_out(pages):
    """A wrong password is said, the right one opens the desk, signing out closes it."""
    async with at_desk(pages, FakeStaff(signed_in=False, script=free)) as desk:
        await desk.state("signed_out")
        await desk.page.fill("#login", "sari")
        await desk.page.fill("#password", "wrong")
        await desk.page.press("#password", "Enter")
        await desk.page.wait_for_selector("text=Name or password is wrong.")
        await desk.page.fill("#password", "right")
        await desk.page.press("#password", "Enter")
        await desk.state("available")
        await desk.page.click("#sign-out")
        await desk.state("signed_out")
        assert await desk.page.input_value("#password") == ""


async def test_changing_the_password(pages):
    """A wrong old password is said and nothing is lost; the right one closes the dialog and empties it."""
    async with at_desk(pages, scripted(free)) as desk:
        await desk.state("available")
        await desk.page.click("#password-open")
        await desk.page.fill("#password-old", "wrong")
        await desk.page.fill("#password-new", "a better one 27")
        await desk.page.press("#password-new", "Enter")
        await desk.page.wait_for_selector("text=The old password is wrong.")
        await desk.page.fill("#password-old", "right")
        await desk.page.press("#password-old", "Enter")
        await desk.page.wait_for_selector("#change-password", state="hidden")
        assert await desk.page.input_value("#password-new") == ""


async def test_a_ring_is_answered_with_one_tap(pages):
    """A ring shows above everything, flashes the title, and one click on Accept is all it takes."""
    async with at_desk(pages, scripted(free)) as desk:
        await desk.state("available")
        await desk.page.click("#invite-open")  # whatever is open, the ring is above it
        await desk.fake.tell(ringing()[0])
        await desk.state("ringing")
        assert "A patient is calling" in await desk.page.title()
        assert await desk.page.evaluate("document.activeElement.id") == "ring-title"
        await desk.page.keyboard.press("Escape")
        await desk.page.keyboard.press("Enter")  # typing into the void must not answer
        assert await desk.page.is_visible("#accept")
        assert not [each for each in desk.fake.asked if each["type"] == "accept"]
        await desk.page.click("#accept")
        assert (await desk.asked("accept"))["consult"] == "c_red"
        for message in calling():
            await desk.fake.tell(message)
        await desk.state("in_call")
        assert not await desk.page.is_visible("#ring")
        assert not await desk.page.is_visible("#invite")
        assert "calling" not in await desk.page.title()


async def test_a_ring_is_declined_with_its_reason(pages):
    """Declining asks for the reason and sends it; it works from the keyboard alone."""
    async with at_desk(pages, scripted(ringing)) as desk:
        await desk.state("ringing")
        await desk.page.keyboard.press("Tab")
        await desk.page.keyboard.press("Tab")
        await desk.page.keyboard.press("Enter")
        await desk.page.keyboard.press("Tab")
        await desk.page.keyboard.press("Tab")
        await desk.page.keyboard.press("Enter")
        assert (await desk.asked("decline"))["reason"] == "not_my_field"
        await desk.fake.tell(free()[0])
        await desk.state("available")
        assert not await desk.page.is_visible("#ring")


async def test_a_ring_that_is_over_is_said(pages):
    """Accepting too late tells what happened, and no camera stays on."""
    async with at_desk(pages, FakeStaff(script=ringing, refuse={"accept": "ring_over"})) as desk:
        await desk.state("ringing")
        await desk.page.click("#accept")
        await desk.page.wait_for_selector("#ring-error >> text=The ring is over")
        await desk.page.wait_for_function(BOTH_KINDS)
        await desk.fake.tell(free()[0])
        await desk.state("available")
        await desk.page.wait_for_function(ALL_ENDED)


async def test_going_on_call_asks_for_what_a_ring_needs(pages):
    """The switch opens sound, tries camera and microphone, lets them go, and then tells the server."""
    async with at_desk(pages, scripted(lambda: [fs.desk(SpecialistState.OFF_CALL)])) as desk:
        await desk.state("off_call")
        await desk.page.click("#oncall")
        assert (await desk.asked("on_call"))["on"] is True
        states = await desk.page.evaluate("window.live.map(track => track.readyState)")
        assert states == ["ended", "ended"]
        await desk.fake.tell(free()[0])
        await desk.state("available")
        assert await desk.page.inner_text("#desk-notices") == ""


async def test_the_note_survives_an_outage_and_a_reload(pages):
    """A note written without a connection is kept in the tab, comes back after a reload, and is saved then."""
    async with at_desk(pages, scripted(calling)) as desk:
        await desk.state("in_call")
        desk.fake.refuse["note"] = "unavailable"
        await desk.page.fill("#note", "Batuk tiga hari")
        await desk.page.wait_for_selector('#note-state[data-note="kept"]')
        await desk.page.reload()
        await desk.state("in_call")
        assert await desk.page.input_value("#note") == "Batuk tiga hari"
        desk.fake.refuse.clear()
        await desk.page.locator("#note").focus()
        await desk.page.locator("#note").blur()
        await desk.page.wait_for_selector('#note-state[data-note="saved"]')
        assert (await desk.asked("note"))["text"] == "Batuk tiga hari"


async def test_ending_needs_an_outcome(pages):
    """Without an outcome nothing is sent; with one, the summary goes along."""
    async with at_desk(pages, scripted(calling)) as desk:
        await desk.state("in_call")
        await desk.page.click("#end-open")
        await desk.page.click("#end .danger")
        assert await desk.page.is_visible("#end")
        assert not [each for each in desk.fake.asked if each["type"] == "end"]
        await desk.page.check("#end input[value=advice]")
        await desk.page.fill("#end-summary", "Minum air hangat.")
        await desk.page.click("#end .danger")
        end = await desk.asked("end")
        assert (end["outcome"], end["summary"]) == ("advice", "Minum air hangat.")
        await desk.fake.tell(fs.call_view(state="ended", version=10, outcome="advice"))
        await desk.fake.tell(free()[0])
        await desk.state("available")


async def test_a_takeover_is_decided_by_a_person(pages):
    """A request of another device is shown in the call, and both answers go to the server."""
    asked = [m.TakeoverView(request="tk_12345678", at=time.time())]
    async with at_desk(pages, scripted(calling)) as desk:
        await desk.state("in_call")
        for allow, version in ((False, 10), (True, 11)):
            await desk.fake.tell(fs.call_view(takeovers=asked, version=version))
            await desk.page.click(f"[data-request] button >> text={'Allow' if allow else 'Refuse'}")
            decision = await desk.asked("decide_takeover", times=version - 9)
            assert decision["allow"] is allow
            await desk.fake.tell(fs.call_view(version=version))
            await desk.page.wait_for_selector("[data-request]", state="detached")


async def test_chat_shows_markup_as_text(pages):
    """What a patient writes is text: nothing of it becomes part of the page."""
    async with at_desk(pages, scripted(calling)) as desk:
        await desk.state("in_call")
        evil = '<img src=x onerror="document.title=1"><b>halo</b>'
        await desk.fake.tell(
            m.Entry(
                consult="c_red",
                cursor=99,
                at=0.0,
                kind="chat",
                author="patient",
                text=evil,
                key="k_evil_123",
            )
        )
        await desk.page.wait_for_selector("#lines .text >> text=halo")
        assert await desk.page.locator("#lines .text").last.inner_text() == evil
        assert await desk.page.locator("#lines img, #lines b").count() == 0


async def test_a_displaced_tab_says_so_and_stays_quiet(pages):
    """Close code 4010 leads to a page that says so and doesn't reconnect."""
    async with at_desk(pages, FakeStaff(close_code=4010)) as desk:
        await desk.state("displaced")
        before = len(desk.fake.asked)
        await desk.page.evaluate("dispatchEvent(new Event('online'))")
        await desk.page.wait_for_timeout(1_500)
        assert len(desk.fake.asked) == before == 1


async def test_a_displaced_call_lets_go_of_everything(pages):
    """Displaced in a call, the tab stops camera, microphone and the connection to the patient."""
    async with at_desk(pages, scripted(calling)) as desk:
        await desk.state("in_call")
        await desk.page.wait_for_selector("#self", state="visible")
        await desk.page.evaluate(
            "window.live = document.getElementById('self').srcObject.getTracks()"
        )
        for socket in desk.fake.sockets:
            await socket.close(code=4010)
        await desk.state("displaced")
        await desk.page.wait_for_function(ALL_ENDED)


async def test_a_lost_socket_is_said_and_mended(pages):
    """Without a connection the desk doesn't claim that somebody could ring here; once it is back, it does."""
    async with at_desk(pages, scripted(free)) as desk:
        await desk.state("available")
        desk.fake.silent = True
        await desk.fake.drop()
        await desk.page.wait_for_selector('#link[data-link="lost"]')
        assert await desk.page.inner_text("#oncall-words") == "On call, but not connected"
        desk.fake.silent = False
        await desk.page.evaluate("dispatchEvent(new Event('online'))")
        await desk.page.wait_for_selector('#link[data-link="up"]')
        await desk.page.wait_for_selector("#oncall-words >> text=You are on call")


async def test_an_operator_makes_an_account(pages):
    """A generated password is shown once and is gone from the page when the dialog closes."""
    fake = FakeStaff(role="operator", script=lambda: [fs.board()])
    async with at_desk(pages, fake, "operator", width=360) as desk:
        await desk.state("board")
        await desk.page.click("#show-accounts")
        await desk.state("accounts")
        await desk.page.click("#account-new")
        await desk.page.fill("#account-name", "dr. Agnes Widya, Sp.B")
        assert await desk.page.input_value("#account-login") == "agnes.widya"
        await desk.page.click("#account-form .main")
        await desk.page.wait_for_selector("#account-error >> text=at least one specialty")
        await desk.page.check("#account-specialties input[value=surgery]")
        await desk.page.click("#account-form .main")
        await desk.page.wait_for_selector("#password-once[open]")
        assert await desk.page.inner_text("#password-text") == "kp7R-tq2m-Wx4c"
        await desk.page.click("#password-once [data-close]")
        # A dialog's close event comes a task later than the click.
        await desk.page.wait_for_selector("#password-text:empty", state="attached", timeout=2_000)


@pytest.mark.parametrize("width", [320, 360])
async def test_large_text_fits_a_narrow_screen(pages, width):
    """At 200 % text on 320 px nothing overflows sideways, on desk, call and board."""
    scenes = [("specialist", scripted(free), "available"), ("specialist", scripted(calling), "in_call"),
              ("operator", FakeStaff(role="operator", script=lambda: [fs.board()]), "board")]  # fmt: skip
    for path, fake, state in scenes:
        async with at_desk(pages, fake, path, width=width) as desk:
            await desk.state(state)
            await desk.page.evaluate("document.documentElement.style.fontSize = '200%'")
            wide = await desk.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, (path, state, wide)
