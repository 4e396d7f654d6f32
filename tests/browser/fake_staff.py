# SPDX-License-Identifier: Apache-2.0
"""A scripted server behind the true pages: what it tells a staff page is a scene, not a service.

For pictures of states that are hard to bring about for real. What the messages look like is held to the wire's types:
they are made from ``signalling.wire.messages``.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from signalling.edge.pages import Pages
from signalling.wire import codec
from signalling.wire import messages as m
from signalling.wire.base import FromServer
from signalling.wire.content import MessageLine, Messages
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import Outcome, SpecialistState, Specialty, Urgency

POST = m.PostView(
    code="NTT-014", name="Pustu Pulau Rinca", region="Manggarai Barat", emergency_line="+62 385 000 119",
    open_now=True, link_type="satellite",
)  # fmt: skip
QR = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 21 21"><path d="M0 0h7v7H0zM14 0h7v7h-7zM0 14h7v7H0zM9 2h2v3H9z'
    'M8 8h3v2H8zM13 9h4v2h-4zM9 12h2v6H9zM13 14h3v2h-3zM17 17h4v4h-4zM12 18h2v2h-2z"/></svg>'
)


def item(name: str, urgency: Urgency, waited_s: float, **more: object) -> m.QueueItem:
    """Return a waiting consult."""
    fields = {
        "consult": name, "state": "waiting", "urgency": urgency, "specialty": Specialty.GENERAL, "language": "id",
        "since": time.time() - waited_s, "post": POST,
    }  # fmt: skip
    return m.QueueItem(**(fields | more))


def queue() -> list[m.QueueItem]:
    """Return a queue as of a busy morning."""
    return [
        item("c_red", Urgency.RED, 95, specialty=Specialty.PAEDIATRICS, state="ringing"),
        item(
            "c_yellow",
            Urgency.YELLOW,
            1_260,
            specialty=Specialty.OBSTETRICS,
            language="bug",
            present=False,
        ),
        item(
            "c_green",
            Urgency.GREEN,
            4_400,
            specialty=Specialty.DERMATOLOGY,
            language="en",
            post=None,
        ),
    ]


def callbacks() -> list[m.QueueItem]:
    """Return two promises, one of them broken."""
    return [
        item(
            "c_late",
            Urgency.YELLOW,
            9_000,
            callback_by=time.time() - 600,
            contact="+62 812 0000 0001",
            present=False,
        ),
        item(
            "c_soon",
            Urgency.GREEN,
            5_000,
            callback_by=time.time() + 2_700,
            contact="+62 813 0000 0002",
        ),
    ]


def ring() -> m.RingView:
    """Return a ring with everything that a ring can show."""
    return m.RingView(
        consult="c_red", until=time.time() + 24, urgency=Urgency.RED, specialty=Specialty.PAEDIATRICS, language="bug",
        since=time.time() - 95, complaint="Demam tinggi tiga hari, sejak pagi tidak mau minum dan sangat mengantuk",
        age_months=14, signs=["drinks_poorly", "lethargic"], interpreter_needed=True, post=POST,
    )  # fmt: skip


def desk(state: SpecialistState, **more: object) -> m.Desk:
    """Return a desk with a queue."""
    return m.Desk(state=state, queue=queue(), callbacks=callbacks(), **more)


def call_view(**more: object) -> m.ConsultView:
    """Return a call as its specialist sees it."""
    fields = {
        "consult": "c_red", "version": 9, "state": "in_call", "specialty": Specialty.PAEDIATRICS, "language": "bug",
        "urgency": Urgency.RED, "since": time.time() - 400, "accepted_at": time.time() - 240, "post": POST,
        "peer": m.Person(participant="p:c_red", role="patient", name="Ibu Maria", instance="i_patient1"),
        "interpreter_needed": True,
        "note": "Anak 14 bulan, demam 3 hari, dehidrasi sedang. Turgor menurun.",
        "intake": m.IntakeForm(
            complaint="Demam tinggi tiga hari, sejak pagi tidak mau minum dan sangat mengantuk", age_months=14,
            sex="female", assistant="health_worker", language="bug", consent=True, name="Ibu Maria",
            signs=["drinks_poorly", "lethargic"], contact="+62 812 0000 0001",
        ),
    }  # fmt: skip
    return m.ConsultView(**(fields | more))


def entries() -> list[m.Entry]:
    """Return a short talk."""
    now = time.time()
    said = [
        ("joined", "patient", "", 400), ("accepted", "specialist", "", 240),
        ("chat", "patient", "Dokter, suaranya putus-putus di sini.", 200),
        ("chat", "specialist", "Tidak apa-apa, tulis saja di sini. Berapa kali anak buang air besar sejak tadi malam?", 170),
        ("lost", "patient", "", 120), ("back", "patient", "", 100),
        ("chat", "patient", "Enam kali, cair.", 60),
    ]  # fmt: skip
    return [
        m.Entry(
            consult="c_red",
            cursor=n + 1,
            at=now - ago,
            kind=kind,
            author=author,
            text=text,
            key=f"k_{n}_abcdefg",
        )
        for n, (kind, author, text, ago) in enumerate(said)
    ]


def past() -> list[m.PastConsult]:
    """Return a history."""
    return [
        m.PastConsult(consult=f"c_p{n}", at=time.time() - 7_200 * (n + 1), state="ended", urgency=urgency,
                      specialty=Specialty.GENERAL, outcome=outcome, duration_s=700.0 + 60 * n, complaint=complaint,
                      note="Oralit, kontrol besok.")
        for n, (urgency, outcome, complaint) in enumerate([
            (Urgency.YELLOW, Outcome.PRESCRIPTION, "Batuk berdahak sejak dua minggu"),
            (Urgency.GREEN, Outcome.ADVICE, "Gatal di lengan"),
            (Urgency.RED, Outcome.LOST, "Nyeri dada"),
        ])
    ]  # fmt: skip


def board(**more: object) -> m.Board:
    """Return a board as of a busy morning."""
    doctor = [
        "dr. Sari Wulandari, Sp.A",
        "dr. Budi Santoso",
        "dr. Maria Goreti Bria, Sp.OG",
        "dr. Yohanes Lalu",
    ]
    states = [
        SpecialistState.IN_CALL,
        SpecialistState.AVAILABLE,
        SpecialistState.RINGING,
        SpecialistState.OFF_CALL,
    ]
    fields = {
        "now": time.time(), "waiting": queue(), "callbacks": callbacks(),
        "calls": [
            item("c_call", Urgency.YELLOW, 1_500, state="in_call", quality="poor", weak="patient"),
            item("c_cut", Urgency.RED, 700, state="interrupted", present=False),
        ],
        "specialists": [
            m.BoardSpecialist(account=f"a_{n}", name=doctor[n], state=states[n], languages=["id", "en"],
                              specialties=[Specialty.GENERAL, Specialty.PAEDIATRICS][: n % 2 + 1])
            for n in range(4)
        ],
        "posts": [
            m.BoardPost(post=POST, waiting=2, in_call=1, today=7),
            m.BoardPost(post=m.PostView(code="NTT-021", name="Puskesmas Pembantu Pulau Komodo", region="Manggarai Barat",
                                        open_now=False, link_type="4g", emergency_line="119")),
            m.BoardPost(post=m.PostView(code="MAL-003", name="Polindes Wetar", region="Maluku Barat Daya"), today=1),
        ],
        "wait_median_s": {"red": 48.0, "yellow": 760.0},
    }  # fmt: skip
    return m.Board(**(fields | more))


ACCOUNTS = [
    {"account": "a_0", "login": "sari", "name": "dr. Sari Wulandari, Sp.A", "role": "specialist",
     "specialties": ["paediatrics", "general"], "languages": ["id", "en"], "disabled": False},
    {"account": "a_1", "login": "operator", "name": "Ruang kendali", "role": "operator", "specialties": [],
     "languages": ["id"], "disabled": False},
    {"account": "a_2", "login": "yohanes.lalu", "name": "dr. Yohanes Lalu", "role": "specialist",
     "specialties": ["surgery"], "languages": ["id", "tet"], "disabled": True},
]  # fmt: skip


@dataclass
class FakeStaff:
    """The scripted server's state: what a page is told, and what it asked."""

    role: str = "specialist"
    signed_in: bool = True
    script: Callable[[], Sequence[FromServer]] = list
    """Made anew for each connection, since spans count from now."""
    close_code: int = 0
    """Close with this instead of the welcome."""
    silent: bool = False
    """Take connections and say nothing."""
    refuse: dict[str, str] = field(default_factory=dict)
    """Codes of refusal by type of request."""
    asked: list[dict[str, object]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Answer the hello with the script and each request with what fits it."""
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.sockets.append(ws)
        async for frame in ws:
            asked = json.loads(frame.data)
            self.asked.append(asked)
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
        match kind:
            case "hello":
                welcome = m.Welcome(
                    re=re, protocol=1, now=time.time(), role=self.role, participant="a_0", connection="w_1",
                    heartbeat_s=20.0,
                )  # fmt: skip
                return [welcome, *self.script()]
            case "invite":
                url = "https://selat.example.org/id#" + "eyJhbGciOiJFZERTQSJ9." * 4
                return [
                    m.Invited(
                        re=re,
                        consult="c_new",
                        url=url,
                        code="7HK4-M2XJ",
                        qr=QR,
                        expires_at=time.time() + 86_400,
                    )
                ]
            case "messages":
                at, doctor = time.time(), AccountId("a_0")
                said = "Luka di kaki anak saya bengkak.", "Bersihkan dengan air matang, lalu tutup."
                lines = [
                    MessageLine(at - 900, "patient", "k1", None, said[0]),
                    MessageLine(at - 60, "specialist", "k2", doctor, said[1]),
                ]
                return [Messages(re=re, consult=ConsultId(str(asked["consult"])), lines=lines)]
            case "history":
                return [m.Past(re=re, consults=past(), more=True)]
            case "description" | "candidate":
                return []
            case _:
                return [m.Ok(re=re)]

    async def api(self, request: web.Request) -> web.Response:
        """Answer what a staff page asks over HTTP."""
        if request.path.startswith("/api/accounts"):
            made = {"account": "a_9", "password": "kp7R-tq2m-Wx4c"}
            return web.json_response({"accounts": ACCOUNTS} if request.method == "GET" else made)
        if request.path == "/api/sign-in":
            right = (await request.json())["password"] == "right"
            self.signed_in = right
            return web.json_response(
                {} if right else {"code": "credentials_invalid"}, status=200 if right else 401
            )
        if request.path == "/api/password":
            if (await request.json())["old"] == "right":
                return web.Response(status=204)
            return web.json_response({"code": "credentials_invalid"}, status=401)
        if request.path == "/api/session" and self.signed_in:
            name = "dr. Sari Wulandari, Sp.A" if self.role == "specialist" else "Ruang kendali"
            return web.json_response(
                {
                    "session": "s" * 20,
                    "role": self.role,
                    "name": name,
                    "expiresAt": time.time() + 900,
                }
            )
        if request.path == "/api/sign-out":
            self.signed_in = False
            return web.Response(status=204)
        return web.json_response({"code": "unauthenticated"}, status=401)

    async def drop(self) -> None:
        """Lose every socket, as a network does."""
        for ws in self.sockets:
            await ws.close(code=1001)
        self.sockets.clear()

    async def tell(self, message: FromServer) -> None:
        """Send to every page."""
        for ws in self.sockets:
            if not ws.closed:
                await ws.send_str(codec.encode(message).decode())


@asynccontextmanager
async def serving(pages: Pages, fake: FakeStaff) -> AsyncIterator[str]:
    """Serve the pages and ``fake`` on a free port of the loopback; yields the origin."""
    app = web.Application()
    app.add_routes(
        [*pages.routes(), web.get("/ws", fake.socket), web.route("*", "/api/{rest:.*}", fake.api)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await asyncio.gather(*(ws.close() for ws in fake.sockets), return_exceptions=True)
        await runner.cleanup()
