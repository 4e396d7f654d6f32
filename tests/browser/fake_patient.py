# SPDX-License-Identifier: Apache-2.0
"""A scripted server behind the true patient page: what it tells is a scene, not a service.

For pictures of states that are hard to bring about for real. What the messages look like is held to the wire's types:
they are made from ``signalling.wire.messages``.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from signalling.edge.pages import Pages
from signalling.wire import codec
from signalling.wire import messages as m
from signalling.wire.base import FromServer
from signalling.wire.terms import CallbackReason, Outcome, Specialty, Urgency

CONSULT = "c_scene"
STARTED = time.time() - 60
"""When the call was accepted; the same in each view, for another value is another call."""
POST = m.PostView(
    code="NTT-014", name="Pustu Pulau Rinca", region="Manggarai Barat", emergency_line="+62 385 000 119",
)  # fmt: skip
DOCTOR = m.Person(
    participant="a_1", role="specialist", name="dr. Sari Wulandari, Sp.A", instance="i_doctor1"
)


def view(state: str, **more: object) -> m.ConsultView:
    """Return the consult as its patient sees it."""
    fields: dict[str, object] = {
        "consult": CONSULT, "version": 7, "state": state, "specialty": Specialty.GENERAL, "language": "id",
        "post": POST, "since": time.time() - 300, "polite": True, "urgency": Urgency.YELLOW,
    }  # fmt: skip
    return m.ConsultView(**(fields | more))


def waiting(**more: object) -> list[FromServer]:
    """Return somebody waiting, third in line."""
    return [view("waiting", **({"place": 3, "wait_s": 760.0, "on_call": 2} | more))]


def callback() -> list[FromServer]:
    """Return a promise."""
    return [
        view(
            "callback",
            callback_by=time.time() + 5_400,
            callback_reason=CallbackReason.NOBODY_ANSWERED,
        )
    ]


def answered() -> list[FromServer]:
    """Return a promise that an answer has closed."""
    at = time.time() - 300
    said = view("callback", callback_reason=CallbackReason.NOBODY_ANSWERED, answered_at=at)
    return [said, *entries()]


def in_call(state: str = "in_call", **more: object) -> list[FromServer]:
    """Return a call with something written."""
    return [view(state, **({"peer": DOCTOR, "accepted_at": STARTED} | more)), *entries()]


def ended() -> list[FromServer]:
    """Return what is left to keep."""
    summary = "Beri oralit sedikit demi sedikit, satu sendok tiap lima menit.\nZink 20 mg sekali sehari selama 10 hari.\n" \
        "Segera ke puskesmas bila anak makin mengantuk atau tidak mau minum."  # fmt: skip
    over = view("ended", outcome=Outcome.FOLLOW_UP, summary=summary, peer=DOCTOR, ended_at=time.time(),
                accepted_at=time.time() - 900)  # fmt: skip
    return [over, *entries(), entry(9, "ended", "specialist")]


def entry(cursor: int, kind: str, author: str, text: str = "", ago: float = 0) -> m.Entry:
    """Return a line of the timeline."""
    return m.Entry(consult=CONSULT, cursor=cursor, at=time.time() - ago, kind=kind, author=author, text=text,
                   key=f"k_{cursor:08}")  # fmt: skip


def entries() -> list[m.Entry]:
    """Return a short talk."""
    return [
        entry(1, "accepted", "specialist", ago=240),
        entry(2, "chat", "specialist", "Selamat pagi. Berapa kali anak buang air besar sejak tadi malam?", 170),
        entry(3, "chat", "patient", "Enam kali, cair.", 60),
    ]  # fmt: skip


@dataclass
class FakePatient:
    """The scripted server's state: what the page is told, and what it asked."""

    script: Callable[[], Sequence[FromServer]] = lambda: [view("invited")]
    refuse: dict[str, str] = field(default_factory=dict)
    """Codes of refusal by last part of the path, or by type of message."""
    close_code: int = 0
    silent: bool = False
    asked: list[dict[str, object]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Answer the hello with the script and everything else with ``ok``."""
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.sockets.append(ws)
        async for frame in ws:
            asked = json.loads(frame.data)
            self.asked.append(asked)
            self.changed.set()
            if self.silent:
                continue
            if asked["type"] == "hello" and self.close_code:
                await ws.close(code=self.close_code)
                break
            for message in self._answers(asked):
                await ws.send_str(codec.encode(message).decode())
        return ws

    def _answers(self, asked: dict[str, object]) -> list[FromServer]:
        re, kind = int(str(asked["id"])), str(asked["type"])
        if kind in self.refuse:
            return [m.Error(code=self.refuse[kind], re=re)]
        if kind == "hello":
            welcome = m.Welcome(re=re, protocol=1, now=time.time(), role="patient", participant="p:c_scene",
                                connection="w_1", heartbeat_s=20.0)  # fmt: skip
            return [welcome, *self.script()]
        return [] if kind in {"description", "candidate"} else [m.Ok(re=re)]

    async def api(self, request: web.Request) -> web.Response:
        """Let everybody in, unless told otherwise."""
        step = request.path.rsplit("/", 1)[-1]
        if step in self.refuse:
            return web.json_response({"code": self.refuse[step], "retryAfterMs": 8_000}, status=409)
        answer = {
            "consult": CONSULT,
            "session": "s" * 20,
            "resume": "r" * 43,
            "request": "t" * 8,
            "secret": "x",
        }
        return web.json_response(answer, status=202 if step in {"takeover", "poll"} else 200)

    async def drop(self) -> None:
        """Lose every socket, as a network does."""
        for ws in self.sockets:
            await ws.close(code=1001)
        self.sockets.clear()

    async def tell(self, message: FromServer) -> None:
        """Send to the page."""
        for ws in self.sockets:
            if not ws.closed:
                await ws.send_str(codec.encode(message).decode())

    async def heard(self, kind: str, seen: int = 0) -> dict[str, object]:
        """Wait for the page's next message of a type, after the first ``seen``."""
        async with asyncio.timeout(8):
            while len(found := [each for each in self.asked if each["type"] == kind]) <= seen:
                self.changed.clear()
                await self.changed.wait()
        return found[seen]


@asynccontextmanager
async def serving(
    pages: Pages,
    fake: FakePatient,
    listening: socket.socket | None = None,
    instead: Sequence[web.RouteDef] = (),
) -> AsyncIterator[str]:
    """Serve the pages and ``fake`` on a free port of the loopback, or on a socket; yields the origin.

    Routes that are given come before the pages' own.
    """
    app = web.Application()
    app.add_routes(
        [
            *instead,
            *pages.routes(),
            web.get("/ws", fake.socket),
            web.route("*", "/api/{rest:.*}", fake.api),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.SockSite(runner, listening) if listening else web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await asyncio.gather(*(ws.close() for ws in fake.sockets), return_exceptions=True)
        await runner.cleanup()
