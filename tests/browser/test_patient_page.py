# SPDX-License-Identifier: Apache-2.0
"""The patient's page in a real browser, against a scripted server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from playwright.async_api import BrowserContext, Page, Route, async_playwright, expect

from signalling.edge.pages import Pages
from signalling.wire import messages as m
from tests.browser import fake_patient as fp
from tests.browser import patient_screenshots as scenes
from tests.browser.fake_patient import FakePatient, serving

pytestmark = pytest.mark.browser

PAGES = Pages()


class Stage:
    """A browser window on the page, with the scripted server behind it."""

    def __init__(self, context: BrowserContext, stack: AsyncExitStack) -> None:
        self.context = context
        self._stack = stack
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def open(
        self,
        fake: FakePatient,
        fragment: str = scenes.BACK,
        before: str = "",
        instead: Sequence[web.RouteDef] = (),
    ) -> Page:
        """Load the page in English; with routes ``instead`` of its own, only begin to."""
        origin = await self._stack.enter_async_context(serving(PAGES, fake, instead=instead))
        await self.context.grant_permissions(["camera", "microphone"], origin=origin)
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url.removeprefix(origin)))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        if before:
            await page.add_init_script(before)
        await page.goto(f"{origin}/en{fragment}", wait_until="commit" if instead else "load")
        return page


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(
            executable_path=scenes.CHROMIUM, args=scenes.FLAGS
        )
        stack.push_async_callback(browser.close)
        context = await browser.new_context(viewport={"width": 360, "height": 740}, locale="en")
        stage = Stage(context, stack)
        yield stage
    assert stage.errors == []


async def state(page: Page, name: str) -> None:
    await expect(page.locator("body")).to_have_attribute("data-state", name, timeout=8_000)


async def test_before_the_tap_nothing_is_fetched_but_the_page_in_two_parts(stage: Stage) -> None:
    """The page, then by itself what calls need; all else after the tap, for previews load pages too."""
    page = await stage.open(FakePatient(script=fp.waiting), scenes.LINK)
    await state(page, "join")
    await page.wait_for_load_state("networkidle")
    assert [url.split("?")[0] for url in stage.requests] == ["/en", "/static/call-en.js"]
    await page.click("#join")
    await state(page, "waiting")
    await page.click("#both")
    await expect(page.locator("#selfview")).to_be_visible()
    await page.wait_for_load_state("networkidle")
    later = [url.split("?")[0].rsplit("/", 1)[-1] for url in stage.requests[2:]]
    assert later[:2] == ["join", "ws"]
    assert sorted(later[2:]) == ["patient_status-en.js", "voice_worker.js"]
    content = "patient_content-en.js"  # not beside the measurement of the link, if there is one
    async with page.expect_request(lambda request: content in request.url, timeout=15_000):
        pass


@pytest.mark.parametrize("taps", ["before", "after"])
async def test_the_first_screen_can_be_tapped_before_the_rest_has_come(
    stage: Stage, taps: str
) -> None:
    """On a thin link the page's first fifth is there seconds before the rest: a tap counts, and nothing is fetched by it yet."""
    first, rest = PAGES.patient["en"].bodies[""]
    goes_on = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        page = web.StreamResponse(headers=PAGES.patient["en"].headers)
        page.content_length = len(first) + len(rest)
        await page.prepare(request)
        await page.write(first)
        await goes_on.wait()
        await page.write(rest)
        return page

    fake = FakePatient(script=fp.waiting)
    page = await stage.open(fake, scenes.LINK, instead=[web.get("/en", slowly)])
    await state(page, "join")
    await expect(page.locator("#join")).to_be_visible()
    if taps == "before":
        await page.click("#join")
        await state(page, "joining")
        assert stage.requests == ["/en"]
    goes_on.set()
    if taps == "after":
        await expect(page.locator("body[data-whole]")).to_be_attached()
        await state(page, "join")
        await page.click("#join")
    await state(page, "waiting")
    assert [url.rsplit("/", 1)[-1] for url in stage.requests].count("join") == 1


async def test_joining_does_not_wait_for_what_calls_need(stage: Stage) -> None:
    """The second part of the page is late: intake and waiting go on, the page says what is missing, and then has it."""
    fake = FakePatient()
    asked: list[str] = []
    let_through = False

    async def hold(route: Route) -> None:
        asked.append(route.request.url)
        await (route.continue_() if let_through else route.abort())

    await stage.context.route("**/static/call-*", hold)
    page = await stage.open(fake, scenes.LINK)
    await page.click("#join")
    await scenes.to_signs(page, fake)
    await page.click("#toconsent")
    await page.check("#consent")
    await page.click("#send")
    await fake.heard("intake")
    await fake.tell(fp.waiting()[0])
    await state(page, "waiting")
    await expect(page.locator("#trouble")).to_contain_text("did not load")
    await expect(page.locator("#both")).to_be_hidden()
    let_through = True
    await page.click("#both", timeout=20_000)
    await expect(page.locator("#selfview")).to_be_visible()
    await expect(page.locator("#trouble")).to_be_empty()
    assert len(set(asked)) == len(asked) >= 2


async def test_the_link_leaves_the_address_for_a_way_back(stage: Stage) -> None:
    """After joining, reload, the first link and an empty address each lead back without another redemption."""
    fake = FakePatient(script=fp.waiting)
    page = await stage.open(fake, scenes.LINK)
    await page.click("#join")
    await state(page, "waiting")
    assert page.url.endswith("/en" + scenes.BACK)
    await page.reload()
    await state(page, "waiting")
    origin = page.url.split("/en")[0]
    again = await stage.context.new_page()
    await again.goto(origin + "/en" + scenes.LINK)
    await state(again, "waiting")
    third = await stage.context.new_page()
    await third.goto(origin + "/en")
    await state(third, "code")
    await third.click("#continue")
    await state(third, "waiting")
    assert [url.rsplit("/", 1)[-1] for url in stage.requests].count("join") == 1


async def test_the_end_leaves_nothing_on_the_device(stage: Stage) -> None:
    """A post's telephone is shared: who comes next finds no way into the consult before."""
    page = await stage.open(FakePatient(script=fp.ended))
    await state(page, "ended")
    assert await page.evaluate("localStorage.getItem('selat.consult')") is None
    await expect(page.locator("#summary")).to_contain_text("oralit")
    await page.click("#done")
    await state(page, "code")
    assert "#" not in page.url
    assert not await page.locator("#continue").is_visible()
    await expect(page.locator("body")).not_to_contain_text("oralit")


async def test_a_consult_that_is_over_is_forgotten_unseen(stage: Stage) -> None:
    """Who comes back too late is told so, and the telephone keeps no way into that consult."""
    page = await stage.open(FakePatient(refuse={"resume": "consult_over"}))
    await state(page, "expired")
    assert await page.evaluate("localStorage.getItem('selat.consult')") is None


async def test_an_app_without_camera_hands_over_to_chrome(stage: Stage) -> None:
    """The Android intent keeps the whole link, fragment and all; who stays can do without a camera."""
    page = await stage.open(FakePatient(), scenes.LINK, scenes.IN_APP)
    await state(page, "in_app")
    target = await page.get_attribute("#intent", "href")
    address = page.url.removeprefix("http://")
    assert target == f"intent://{address}#Intent;scheme=http;package=com.android.chrome;end"
    await page.click("#stay")
    await state(page, "join")


async def test_a_browser_that_cannot_call_is_told_so(stage: Stage) -> None:
    """No WebRTC, no consult: the page says what to do."""
    page = await stage.open(FakePatient(), scenes.LINK, scenes.TOO_OLD)
    await state(page, "unsupported")


async def test_nobody_needs_a_camera_to_wait_or_to_talk(stage: Stage) -> None:
    """Denied or missing devices are named in a sentence, and the rest goes on."""
    page = await stage.open(FakePatient(script=fp.waiting), before=scenes.DENIED)
    await state(page, "waiting")
    await page.click("#both")
    await expect(page.locator("#trouble")).to_contain_text("does not allow the microphone")
    await page.close()
    page = await stage.open(FakePatient(script=fp.waiting), before=scenes.NO_CAMERA)
    await page.click("#both")
    await expect(page.locator("#trouble")).to_contain_text("No camera is free")
    await expect(page.locator("#seen")).to_contain_text("nobody hears you yet")
    await expect(page.locator("#mute")).to_be_visible()


async def test_a_microphone_that_gives_nothing_is_noticed(stage: Stage) -> None:
    """A telephone call takes the microphone: the track goes silent, and the page says what may be the reason."""
    silence = """const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async () => {
      const context = new AudioContext();
      const target = context.createMediaStreamDestination();
      return target.stream;
    };"""
    page = await stage.open(FakePatient(script=fp.waiting), before=silence)
    await state(page, "waiting")
    await page.click("#voice")
    await expect(page.locator("#mute")).to_be_visible()
    await expect(page.locator("#trouble")).to_contain_text("gives no sound", timeout=9_000)


async def test_a_device_that_is_unplugged_is_replaced(stage: Stage) -> None:
    """An ended track is opened anew, on whatever there is now."""
    keep = """const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    globalThis.opened = [];
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await real(wanted);
      opened.push(...stream.getTracks());
      return stream;
    };"""
    page = await stage.open(FakePatient(script=fp.waiting), before=keep)
    await state(page, "waiting")
    await page.click("#voice")
    await expect(page.locator("#mute")).to_be_visible()
    await page.evaluate("() => { opened[0].stop(); opened[0].dispatchEvent(new Event('ended')); }")
    await page.evaluate("""async () => {
        for (let tries = 0; tries < 100 && opened.length < 2; tries++) await new Promise((done) => setTimeout(done, 50));
    }""")
    assert await page.evaluate("opened[1].readyState") == "live"
    await expect(page.locator("#mute")).to_be_visible()


async def test_a_camera_that_was_off_stays_off_over_a_reload(stage: Stage) -> None:
    """Nobody is seen because a page was loaded again."""
    page = await stage.open(FakePatient(script=fp.in_call))
    await state(page, "in_call")
    await page.click("#camera")
    await expect(page.locator("#selfview")).to_be_hidden()
    await page.reload()
    await state(page, "in_call")
    await expect(page.locator("#seen")).to_contain_text("heard, not seen")
    await expect(page.locator("#selfview")).to_be_hidden()


async def test_red_signs_show_the_emergency_line_at_once(stage: Stage) -> None:
    """One red sign, or two of a group; with the post's number to dial, and the label that it is no diagnosis."""
    page = await stage.open(FakePatient())
    await state(page, "intake")
    await scenes.to_signs(page, FakePatient())
    alarm = page.locator("#emergency")
    await page.check("input[value=fever]")
    await expect(alarm).to_be_hidden()
    await page.check("input[value=headache]")
    await expect(alarm).to_be_visible()
    await expect(alarm).to_contain_text("no diagnosis")
    assert await page.get_attribute("#line", "href") == "tel:+62385000119"
    await page.uncheck("input[value=headache]")
    await expect(alarm).to_be_hidden()
    await page.check("input[value=snake_bite]")
    await expect(alarm).to_be_in_viewport()


async def test_the_questions_fit_the_patient(stage: Stage) -> None:
    """A man is not asked about pregnancy, a child has the children's chart, and what is not asked is not sent."""
    fake = FakePatient()
    page = await stage.open(fake)
    await scenes.to_signs(page, fake)
    await page.check("input[value=pregnant_bleeding]")
    await page.click("#backintake")
    await page.check("input[value=male]")
    await expect(page.locator("#pregnantrow")).to_be_hidden()
    await page.fill("#age", "14")
    await page.select_option("#unit", "1")
    await page.click("#tosigns")
    await expect(page.locator("input[value=pregnant_bleeding]")).to_be_hidden()
    await expect(page.locator("input[value=sunken_eyes]")).to_be_visible()
    await expect(page.locator("input[value=violent]")).to_be_hidden()
    await page.check("input[value=sunken_eyes]")
    await page.click("#toconsent")
    await page.click("#send")
    await expect(page.locator("#consenterror")).not_to_be_empty()
    await page.check("#consent")
    await page.click("#send")
    form = (await fake.heard("intake"))["form"]
    assert isinstance(form, dict)
    assert (form["ageMonths"], form["sex"], form["pregnant"], form["signs"]) == (
        14,
        "male",
        False,
        ["sunken_eyes"],
    )


async def test_it_works_by_keyboard_and_says_where_it_is(stage: Stage) -> None:
    """Each new state moves the focus to its heading; Tab and Space do the rest."""
    page = await stage.open(FakePatient(), scenes.LINK)
    await state(page, "join")
    focused = "document.activeElement.textContent.trim()"
    assert await page.evaluate(focused) == "Talk to a specialist"
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await state(page, "intake")
    assert await page.evaluate(focused) == "What is the problem?"
    await page.keyboard.press("Tab")
    await page.keyboard.type("Headache")
    await page.keyboard.press("Tab")
    await page.keyboard.type("40")
    await page.focus("#tosigns")
    await page.keyboard.press("Space")
    await state(page, "signs")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    assert await page.evaluate("document.activeElement.checked") is True


async def test_who_writes_is_not_interrupted_by_the_link(stage: Stage) -> None:
    """The call is interrupted and comes back: the focus stays in the message."""
    fake = FakePatient(script=fp.in_call)
    page = await stage.open(fake)
    await state(page, "in_call")
    await page.fill("#text", "half a sen")
    await fake.tell(
        fp.view(
            "interrupted", version=8, peer=fp.DOCTOR, accepted_at=fp.STARTED, away=["specialist"]
        )
    )
    await state(page, "interrupted")
    await expect(page.locator("#callnote")).to_contain_text("We keep the call for you")
    await page.keyboard.type("tence")
    assert await page.input_value("#text") == "half a sentence"


async def test_leaving_hangs_up_whatever_the_link_does(stage: Stage) -> None:
    """Devices go off at once; the server is told when it can be."""
    fake = FakePatient(script=fp.in_call)
    page = await stage.open(fake)
    await state(page, "in_call")
    await expect(page.locator("#selfview")).to_be_visible()
    fake.silent = True
    await fake.drop()
    await page.click("#leave")
    await page.click("#yes")
    await state(page, "ended")
    await expect(page.locator("#selfview")).to_be_hidden()
    fake.silent = False
    await fake.drop()
    await fake.heard("leave")


async def test_another_device_is_let_in_by_hand_only(stage: Stage) -> None:
    """The device in use is asked; what is focused is the refusal."""
    fake = FakePatient(script=scenes.takeover)
    page = await stage.open(fake)
    await expect(page.locator("#dialog")).to_be_visible()
    assert await page.evaluate("document.activeElement.id") == "no"
    await page.click("#no")
    assert (await fake.heard("decide_takeover"))["allow"] is False


@pytest.mark.parametrize("make", [FakePatient, scenes.wait, scenes.call, scenes.telling(fp.ended)])
async def test_large_text_on_a_narrow_screen_needs_no_sideways_scrolling(
    stage: Stage, make: scenes.Make
) -> None:
    """320 px with text at 200 % (WCAG 2.2, 1.4.4 and 1.4.10)."""
    page = await stage.open(make())
    await expect(page.locator("main section:visible h1").first).to_be_visible()
    await page.set_viewport_size({"width": 320, "height": 700})
    await page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert over <= 0


async def test_touch_targets_are_large_enough(stage: Stage) -> None:
    """What is tapped is at least 44 px high, in every state that a patient taps in."""
    small: list[str] = []
    for make, act in (
        (FakePatient, scenes.fill_intake),
        (FakePatient, scenes.to_signs),
        (scenes.wait, scenes.own_devices),
    ):
        fake = make()
        page = await stage.open(fake)
        await act(page, fake)
        small += await page.evaluate("""() => [...document.querySelectorAll("button, a, select, textarea, label.opt, input")]
          .filter((each) => each.checkVisibility() && !["checkbox", "radio"].includes(each.type))
          .filter((each) => each.getBoundingClientRect().height < 43.5).map((each) => each.outerHTML.slice(0, 60))""")
        await page.close()
    assert small == []


def test_the_fake_speaks_the_wire() -> None:
    """Views of the scenes are of the wire's types, so that a picture can't show what a server can't say."""
    for make in (fp.waiting, fp.callback, fp.in_call, fp.ended):
        assert all(isinstance(message, m.FromServer) for message in make())
