# SPDX-License-Identifier: Apache-2.0
"""Pictures of every state of the specialist's and the operator's page: ``python -m tests.browser.staff_screenshots DIR``.

Two widths, two languages; a person looks at them. Fails if a page never reaches its state, if anything overflows the
page sideways, or if the console has an error.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import BrowserContext, Page, async_playwright

from signalling.edge.pages import Pages
from signalling.wire import messages as m
from signalling.wire.base import FromServer
from signalling.wire.quality import DirectionQuality, Quality
from signalling.wire.terms import SpecialistState
from tests.browser import fake_staff as fs
from tests.browser.fake_staff import FakeStaff, serving

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SIZES = {"phone": (360, 740), "desk": (1280, 800)}
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]  # fmt: skip

Act = Callable[[Page, FakeStaff], Awaitable[None]]


async def nothing(_page: Page, _fake: FakeStaff) -> None:
    """Leave the page as it is."""


@dataclass
class Scene:
    """One picture."""

    name: str
    state: str
    fake: Callable[[], FakeStaff]
    act: Act = nothing
    page: str = "specialist"
    sizes: tuple[str, ...] = tuple(SIZES)
    expected_errors: tuple[str, ...] = field(default=("401", "WebSocket"))


def specialist(
    *messages: Callable[[], list[FromServer]], **more: object
) -> Callable[[], FakeStaff]:
    """Return a maker of a specialist's server that tells these."""
    return lambda: FakeStaff(script=lambda: [each for make in messages for each in make()], **more)


def operator(**more: object) -> Callable[[], FakeStaff]:
    """Return a maker of an operator's server."""
    return lambda: FakeStaff(role="operator", script=lambda: [fs.board()], **more)


def click(selector: str, then: str = "") -> Act:
    """Return an act: click, and wait for something to be seen."""

    async def act(page: Page, _fake: FakeStaff) -> None:
        await page.click(selector)
        if then:
            await page.wait_for_selector(then, state="visible")

    return act


async def fill_end(page: Page, _fake: FakeStaff) -> None:
    await page.click("#end-open")
    await page.check("#end input[value=follow_up]")
    await page.fill(
        "#end-summary",
        "Minum oralit sedikit demi sedikit. Kembali besok pagi; segera bila anak makin mengantuk.",
    )


async def read_messages(page: Page, _fake: FakeStaff) -> None:
    await page.click("#callbacks .messages >> nth=0")
    await page.wait_for_selector("#messages-answered", state="visible")


async def make_invite(page: Page, _fake: FakeStaff) -> None:
    await page.click("#invite-open")
    await page.click("#invite-form .main")
    await page.wait_for_selector("#invite-result", state="visible")


async def wrong_password(page: Page, _fake: FakeStaff) -> None:
    await page.fill("#login", "sari")
    await page.fill("#password", "wrong")
    await page.click("#sign-in button")
    await page.wait_for_selector("#sign-in-error", state="visible")


async def lose_socket(page: Page, fake: FakeStaff) -> None:
    fake.silent = True
    await fake.drop()
    await page.wait_for_selector('#link[data-link="lost"]')


async def show_picture(page: Page, _fake: FakeStaff) -> None:
    """Put something to look at where the patient would be: there is no second browser here."""
    await page.evaluate("""() => {
        const canvas = document.createElement("canvas");
        canvas.width = 640; canvas.height = 480;
        const paint = canvas.getContext("2d");
        paint.fillStyle = "#7d9c86"; paint.fillRect(0, 0, 640, 480);
        paint.fillStyle = "#d9b08c"; paint.beginPath(); paint.arc(320, 200, 110, 0, 7); paint.fill();
        paint.fillStyle = "#3f5c8a"; paint.fillRect(160, 320, 320, 160);
        document.querySelector("#remote").srcObject = canvas.captureStream(5);
        setInterval(() => paint.fillRect(160, 320, 320, 160), 100);
    }""")
    await page.wait_for_selector('#pictures[data-seen="true"]')


async def poor_quality(page: Page, fake: FakeStaff) -> None:
    """What the service says of a call over a weak link."""
    await show_picture(page, fake)
    mine = DirectionQuality("fair", "delay", "other")
    theirs = DirectionQuality("poor", "loss", "other")
    await fake.tell(Quality("c_red", mine, theirs))
    await page.wait_for_function("document.getElementById('call-quality').textContent")


async def new_account(page: Page, _fake: FakeStaff) -> None:
    await page.click("#account-new")
    await page.fill("#account-name", "dr. Agnes Widyaningsih, Sp.KK")
    await page.check("#account-specialties input[value=dermatology]")


async def made_account(page: Page, fake: FakeStaff) -> None:
    await new_account(page, fake)
    await page.click("#account-form .main")
    await page.wait_for_selector("#password-once[open]")


async def open_accounts(page: Page, _fake: FakeStaff) -> None:
    await page.click("#show-accounts")
    await page.wait_for_selector("#accounts li")


def then(*acts: Act) -> Act:
    async def act(page: Page, fake: FakeStaff) -> None:
        for each in acts:
            await each(page, fake)

    return act


def desk_of(state: SpecialistState, **more: object) -> Callable[[], list[FromServer]]:
    return lambda: [fs.desk(state, **more)]


def empty_desk() -> list[FromServer]:
    return [m.Desk(state=SpecialistState.AVAILABLE)]


def ringing() -> list[FromServer]:
    return [fs.desk(SpecialistState.RINGING, ring=fs.ring())]


def in_call(**more: object) -> Callable[[], list[FromServer]]:
    return lambda: [
        fs.desk(SpecialistState.IN_CALL, consult="c_red"),
        fs.call_view(**more),
        *fs.entries(),
    ]


def away() -> list[FromServer]:
    return in_call(state="interrupted", away=["patient"], deadline_at=time.time() + 780)()


def takeover() -> list[FromServer]:
    return in_call(takeovers=[m.TakeoverView(request="tk_12345678", at=time.time() - 8)])()


def operator_takeover() -> FakeStaff:
    asked = {"c_call": [m.TakeoverView(request="tk_12345678", at=time.time() - 8)]}
    return FakeStaff(role="operator", script=lambda: [fs.board(takeovers=asked)])


OFF, FREE = SpecialistState.OFF_CALL, SpecialistState.AVAILABLE
SCENES = [
    Scene("specialist-signed_out", "signed_out", lambda: FakeStaff(signed_in=False)),
    Scene("specialist-signed_out-wrong", "signed_out", lambda: FakeStaff(signed_in=False), wrong_password),
    Scene("specialist-connecting", "connecting", lambda: FakeStaff(silent=True)),
    Scene("specialist-off_call", "off_call", specialist(desk_of(OFF))),
    Scene("specialist-available", "available", specialist(desk_of(FREE)), click("#past-title")),
    Scene("specialist-available-empty", "available", specialist(empty_desk), click("#past-title")),
    Scene("specialist-available-lost", "available", specialist(desk_of(FREE)), then(click("#past-title"), lose_socket)),
    Scene("specialist-messages", "available", specialist(desk_of(FREE)), read_messages),
    Scene("specialist-invite", "available", specialist(desk_of(FREE)), click("#invite-open")),
    Scene("specialist-invited", "available", specialist(desk_of(FREE)), make_invite),
    Scene("specialist-devices", "available", specialist(desk_of(FREE)), click("#check-devices")),
    Scene("specialist-ringing", "ringing", specialist(ringing)),
    Scene("specialist-ringing-decline", "ringing", specialist(ringing), click("#decline summary", "#decline-reasons button")),
    Scene("specialist-ring-over", "ringing", lambda: FakeStaff(script=ringing, refuse={"accept": "ring_over"}),
          click("#accept", "#ring-error")),
    Scene("specialist-in_call-connecting", "in_call", specialist(in_call())),
    Scene("specialist-in_call", "in_call", specialist(in_call()), show_picture),
    Scene("specialist-in_call-weak", "in_call", specialist(in_call()), poor_quality),
    Scene("specialist-interrupted", "interrupted", specialist(away)),
    Scene("specialist-takeover", "in_call", specialist(takeover)),
    Scene("specialist-end", "in_call", specialist(in_call()), fill_end),
    Scene("specialist-transfer", "in_call", specialist(in_call()), click("#transfer-open")),
    Scene("specialist-displaced", "displaced", lambda: FakeStaff(close_code=4010)),
    Scene("specialist-stopped", "stopped", lambda: FakeStaff(close_code=4002)),
    Scene("operator-signed_out", "signed_out", lambda: FakeStaff(role="operator", signed_in=False), page="operator"),
    Scene("operator-connecting", "connecting", lambda: FakeStaff(role="operator", silent=True), page="operator"),
    Scene("operator-board", "board", operator(), page="operator"),
    Scene("operator-board-empty", "board", lambda: FakeStaff(role="operator", script=lambda: [m.Board(now=0.0)]),
          page="operator"),
    Scene("operator-takeover", "board", operator_takeover, page="operator"),
    Scene("operator-invited", "board", operator(), make_invite, page="operator"),
    Scene("operator-accounts", "accounts", operator(), open_accounts, page="operator"),
    Scene("operator-account-new", "accounts", operator(), then(open_accounts, new_account), page="operator"),
    Scene("operator-account-made", "accounts", operator(), then(open_accounts, made_account), page="operator"),
    Scene("operator-account-disable", "accounts", operator(),
          then(open_accounts, click("#accounts li:first-child .case-actions button:last-child", "#sure")), page="operator"),
    Scene("operator-displaced", "displaced", lambda: FakeStaff(role="operator", close_code=4010), page="operator"),
    Scene("operator-stopped", "stopped", lambda: FakeStaff(role="operator", close_code=4002), page="operator"),
]  # fmt: skip


async def shoot(
    context: BrowserContext, pages: Pages, scene: Scene, language: str, target: Path
) -> list[str]:
    """Bring one scene about, take its picture and return what is wrong with it."""
    problems: list[str] = []
    fake = scene.fake()
    async with serving(pages, fake) as origin:
        await context.grant_permissions(["camera", "microphone", "notifications"], origin=origin)
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{scene.name}: {error}"))
        page.on("console", lambda line: problems.append(f"{scene.name}: {line.text}")
                if line.type == "error" and not any(each in line.text for each in scene.expected_errors) else None)  # fmt: skip
        try:
            await page.goto(f"{origin}/{scene.page}?lang={language}")
            first = "board" if scene.state == "accounts" else scene.state
            await page.wait_for_selector(f'body[data-state="{first}"]', timeout=8_000)
            await scene.act(page, fake)
            await page.wait_for_selector(f'body[data-state="{scene.state}"]', timeout=8_000)
            await page.wait_for_timeout(350)  # the half-second tick and the dialogs' entrance
            wide = await page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if wide > 0:
                problems.append(f"{scene.name}: {wide} px too wide")
            # A modal dialog belongs to the window, not to the page below it.
            modal = await page.query_selector("dialog[open]")
            await page.screenshot(path=target, full_page=modal is None)
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
                viewport = {"width": width, "height": height}
                context = await browser.new_context(
                    viewport=viewport, locale=language, reduced_motion="reduce"
                )
                for scene in SCENES:
                    if only in scene.name and size in scene.sizes:
                        target = folder / f"{scene.name}.{language}.{size}.png"
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
