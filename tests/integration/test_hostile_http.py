# SPDX-License-Identifier: Apache-2.0
"""Hostile input over HTTP, for each route of the application.

``ROUTES`` says of each route who may use it and what a good request is; a route that is missing there fails here.
"""

import asyncio
import copy
import json
import time
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import pytest

from auth import tokens
from auth.roles import Role
from auth.tokens import Audience, Claims
from signalling.config import LimitsConfig
from signalling.edge.clock import now
from tests.integration.conftest import OpenNode
from tests.support.clinic import Clinic

SECRET = "rahasia-besar"


@dataclass(frozen=True)
class Route:
    """What a route expects."""

    body: dict[str, Any] | None = None
    """A good body; None = the route reads none."""
    account: Role | None = None
    """The cookie that it needs."""
    guarded: bool = True
    """Whether requests from other sites are refused."""
    required: tuple[str, ...] = ()
    """Fields without which the body is none."""
    parts: dict[str, str] = field(default_factory=dict)
    """Values for the path."""


PAGE = Route(guarded=False)
ROUTES: dict[str, Route] = {
    "POST /api/join": Route({"token": "t" * 64}),
    "POST /api/resume": Route(
        {"consult": "c1", "resume": "s" * 43}, required=("consult", "resume")
    ),
    "POST /api/takeover": Route({"token": "t" * 64}),
    "POST /api/takeover/poll": Route(
        {"consult": "c1", "request": "r1234567", "secret": "s" * 43},
        required=("consult", "request", "secret"),
    ),
    "POST /api/sign-in": Route(
        {"login": "nobody", "password": SECRET}, required=("login", "password")
    ),
    "POST /api/sign-out": Route(),
    "POST /api/session": Route(account=Role.SPECIALIST),
    "POST /api/password": Route(
        {"old": SECRET, "new": SECRET + "-2"}, Role.SPECIALIST, required=("old", "new")
    ),
    "GET /api/accounts": Route(account=Role.OPERATOR, guarded=False),
    "POST /api/accounts": Route(
        {"login": "new.one", "name": SECRET, "role": "specialist"},
        Role.OPERATOR,
        required=("login", "name", "role"),
    ),
    "POST /api/accounts/{account}": Route(
        {"name": SECRET}, Role.OPERATOR, parts={"account": "a_nobody"}
    ),
    "POST /api/consults/{consult}/erase": Route(
        account=Role.OPERATOR, parts={"consult": "no-such"}
    ),
    "GET /healthz": PAGE,
    "GET /readyz": PAGE,
    "GET /ws": Route(),
    "GET /": PAGE,
    "GET /id": PAGE,
    "GET /en": PAGE,
    "GET /specialist": PAGE,
    "GET /operator": PAGE,
    "GET /static/{name}": Route(guarded=False, parts={"name": "no-such.js"}),
}
POSTS = [name for name in ROUTES if name.startswith("POST")]
WITH_BODY = [name for name, route in ROUTES.items() if route.body is not None]
OURS = "https://selat.example"


@pytest.fixture
def store_url() -> str:
    """What is refused never reaches a store, so one is enough."""
    return ""


@dataclass
class Scene:
    """A node with one account of each role, and a call going on."""

    clinic: Clinic
    cookies: dict[Role, str]

    async def send(
        self, name: str, body: object = None, *, cookie: str | None = None, **given: Any
    ) -> Any:
        route, (method, path) = ROUTES[name], name.split(" ")
        if cookie is None:
            cookie = self.cookies[route.account] if route.account else ""
        if body is None and route.body is not None:
            body = route.body
        given.setdefault("method", method)
        path = path.format(**route.parts)
        return await self.clinic.api(path, body if body is not None else {}, cookie=cookie, **given)


@pytest.fixture
async def scene(open_node: OpenNode) -> Scene:
    clinic = await open_node(limits=LimitsConfig(hello_timeout_s=0.5))
    cookies = {}
    for role in (Role.SPECIALIST, Role.OPERATOR):
        _, login, password = await clinic.account(role)
        cookies[role] = await clinic.sign_in(login, password)
    return Scene(clinic, cookies)


async def test_each_route_is_attacked(scene: Scene) -> None:
    """No route is without hostile cases; the languages' pages follow the catalogues."""
    routes = scene.clinic.node.app.router.routes()
    names = {
        f"{r.method} {r.resource.canonical}" for r in routes if r.method != "HEAD" and r.resource
    }
    assert names == set(ROUTES)


def rubbish(route: Route) -> list[bytes]:
    """Return bodies that are no body of this route."""
    assert route.body is not None
    good = route.body
    made: list[Any] = [[], 1, "x", None, True, [good], {**good, "extra": 1}]
    made += [{k: v for k, v in good.items() if k != name} for name in route.required]
    for name in good:
        made += [
            {**good, name: bad}
            for bad in ([], {}, 1.5, -1, True, "x" * 5_000, "", {"$ne": None}, ["x"])
        ]
    texts = [json.dumps(m).encode() for m in made]
    whole = json.dumps(good).encode()
    return [
        *texts,
        whole[:-1],
        whole + b"x",
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + whole,
        whole.replace(b"{", b'{"deep":' + b"[" * 9_000 + b"]" * 9_000 + b",", 1),
        whole.replace(b"{", b'{"n":NaN,', 1),
        json.dumps(dict.fromkeys(good, "@")).replace("@", "\\ud800").encode(),
    ]


def allowed_empty(name: str, body: bytes) -> bool:
    """An account change may leave everything out, or say null for "as it is"."""
    return name == "POST /api/accounts/{account}" and body == b"{}"


@pytest.mark.parametrize("name", WITH_BODY)
async def test_malformed_bodies(scene: Scene, log: StringIO, name: str) -> None:
    """Whatever is no body of the route is 400 `malformed`, counted, without effect, and says nothing else."""
    clinic, route = scene.clinic, ROUTES[name]
    head, counted = await clinic.head(), clinic.refusals("malformed")
    bodies = [b for b in rubbish(route) if not allowed_empty(name, b)]
    for body in bodies:
        headers = {"Content-Type": "application/json"}
        reply = await scene.send(name, body, headers=headers)
        assert (reply.status, reply.body) == (400, {"code": "malformed"}), body[:100]
    assert clinic.refusals("malformed") - counted == len(bodies)
    assert await clinic.head() == head
    assert SECRET not in log.getvalue()


@pytest.mark.parametrize("name", WITH_BODY)
async def test_content_types(scene: Scene, name: str) -> None:
    """Only JSON is taken: what a form on another site could send is refused without being read."""
    body = json.dumps(ROUTES[name].body).encode()
    head = await scene.clinic.head()
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "nonsense",
        "text/plain; application/json",
    ):
        reply = await scene.send(name, body, headers={"Content-Type": kind})
        assert (reply.status, reply.code) == (400, "malformed"), kind
    assert await scene.clinic.head() == head


@pytest.mark.parametrize("name", WITH_BODY)
async def test_oversized_bodies(scene: Scene, name: str) -> None:
    """A body above the limit is 413 `too_large`, also when it is sent in chunks without a length."""
    size = scene.clinic.node.config.limits.max_body_bytes + 1
    body = json.dumps({**(ROUTES[name].body or {}), "x": "y" * size}).encode()
    headers = {"Content-Type": "application/json"}
    reply = await scene.send(name, body, headers=headers)
    assert (reply.status, reply.code) == (413, "too_large")

    route, (method, path) = ROUTES[name], name.split(" ")
    cookie = scene.cookies[route.account] if route.account else ""

    async def chunks() -> Any:
        for start in range(0, len(body), 8_192):
            yield body[start : start + 8_192]

    async with scene.clinic.http.request(
        method,
        scene.clinic.url + path.format(**route.parts),
        data=chunks(),
        headers={**headers, "Origin": scene.clinic.url, "Cookie": f"__Host-selat={cookie}"},
    ) as response:
        assert response.status == 413


@pytest.mark.parametrize("name", POSTS)
async def test_other_sites(scene: Scene, name: str) -> None:
    """A request that another site could make a browser send is 403, with the cookie and all; nothing happens."""
    clinic = scene.clinic
    head, counted = await clinic.head(), clinic.refusals("origin_forbidden")
    attempts: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": clinic.url + ".evil.example"},
        {"Origin": clinic.url.replace("http://", "http://x@")},
        {"Origin": clinic.url.replace("http:", "https:")},
        {"Origin": ""},
        {"Origin": "", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Sec-Fetch-Site": "same-site"},
        {"Origin": "", "Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "", "Referer": clinic.url},
        {
            "Origin": "https://evil.example",
            "X-Forwarded-Host": "evil.example",
            "Host": "evil.example",
        },
    ]
    for headers in attempts:
        reply = await scene.send(name, headers=headers)
        assert (reply.status, reply.body) == (403, {"code": "origin_forbidden"}), headers
    assert clinic.refusals("origin_forbidden") - counted == len(attempts)
    assert await clinic.head() == head


@pytest.mark.parametrize("name", [n for n, route in ROUTES.items() if route.account])
async def test_cookies_that_open_nothing(scene: Scene, log: StringIO, name: str) -> None:
    """Without a cookie, with a forged, expired, foreign or misused one, a route for staff is 401 and does nothing."""
    clinic, at = scene.clinic, now()
    ring = clinic.node.consults.ring
    account = next(a for a in clinic.node.house.accounts() if a.role is ROUTES[name].account)

    def token(**changes: Any) -> str:
        given = {
            "sub": account.id,
            "role": account.role,
            "audience": Audience.WEB,
            "jti": account.binding,
            "expires_at": at + 600,
            **changes,
        }
        return tokens.issue(ring, Claims(**given), min(at, given["expires_at"] - 1))

    good = scene.cookies[account.role]
    head, payload, signature = good.split(".")
    cookies = {
        "": "none",
        "x": "rubbish",
        f"{head}.{payload}.": "unsigned",
        f"{head}.{payload}.{'A' * len(signature)}": "signed by nobody",
        good + "x": "longer",
        token(expires_at=at - 3_600): "expired",
        token(audience=Audience.SESSION): "a session token for a cookie",
        token(jti="0" * 16): "of an older password",
        token(sub="a_nobody"): "of nobody",
        token(role=Role.RELAY): "of another role",
        "é" * 50: "no ASCII",
        "a" * 7_000: "long",
    }
    before = await clinic.head()
    for cookie, why in cookies.items():
        reply = await scene.send(name, cookie=cookie)
        assert (reply.status, reply.body) == (401, {"code": "unauthenticated"}), why
    assert await clinic.head() == before
    assert payload not in log.getvalue()


@pytest.mark.parametrize("name", [n for n, r in ROUTES.items() if r.account is Role.OPERATOR])
async def test_wrong_role(scene: Scene, name: str) -> None:
    """What is an operator's is 403 for a specialist."""
    before = await scene.clinic.head()
    reply = await scene.send(name, cookie=scene.cookies[Role.SPECIALIST])
    assert (reply.status, reply.body) == (403, {"code": "forbidden"})
    assert await scene.clinic.head() == before


@pytest.mark.parametrize("name", ROUTES)
async def test_wrong_methods(scene: Scene, name: str) -> None:
    """Other methods are refused with their status and without a word about the request."""
    before = await scene.clinic.head()
    method = name.split(" ", maxsplit=1)[0]
    for other in {"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET", "POST"} - {method}:
        if f"{other} {name.split(' ')[1]}" in ROUTES:
            continue
        reply = await scene.send(name, method=other)
        assert reply.status in (403, 404, 405), other
        assert SECRET not in str(reply.body)
    assert await scene.clinic.head() == before


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/static/....//....//etc/passwd",
        "/static/%00",
        "/static//etc/passwd",
        "/static/",
        "/static/patient.html",
        "/static/%c0%ae%c0%ae/etc/passwd",
        "/.git/config",
        "/api",
        "/api/../healthz/x",
        "/%ff%fe",
        "/metrics",
        "/control",
        "/api/accounts/../../etc",
        "//evil.example/",
        "/id/..;/operator",
    ],
)
async def test_paths_lead_nowhere(scene: Scene, path: str) -> None:
    """A path that is no route is 404 and nothing else, however it is written: no file, no redirect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.clinic.node.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    status = int(answer.split(b" ")[1])
    assert status in (400, 404), answer[:200]
    assert b"root:" not in answer
    assert b"evil" not in answer.split(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n"
        + b"".join(b"X-%d: y\r\n" % i for i in range(2_000))
        + b"\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: __Host-selat="
        + b"rahasia-besar" * 2_000
        + b"\r\n\r\n",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nrahasia-besar",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 5_000,
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b: rahasia-besar\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header rahasia-besar\r\n\r\n",
        b"BREW /rahasia-besar HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda data: data[:24].decode(errors="replace").replace("\r\n", " "),
)
async def test_broken_http(scene: Scene, log: StringIO, request_bytes: bytes) -> None:
    """Bytes that are no good HTTP are answered with an error or the end, and nothing of them is logged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.clinic.node.port)
    writer.write(request_bytes)
    try:
        async with asyncio.timeout(3.0):
            answer = await reader.read(65_536)
    except TimeoutError:
        answer = b""
    except ConnectionError:
        answer = b""
    finally:
        writer.transport.abort()
    if answer:
        assert answer.split(b" ")[1][:1] in (b"4", b"5", b"2"), answer[:100]
        assert not answer.startswith(b"HTTP/1.1 500")
    await scene.clinic.ok("/healthz", method="GET")
    text = log.getvalue()
    assert SECRET not in text
    assert "127.0.0.1" not in text


async def test_answers_repeat_nothing(scene: Scene, log: StringIO) -> None:
    """Refusals over HTTP hold a code: neither the path, nor the query, nor a header comes back."""
    for path in (
        f"/{SECRET}",
        f"/?{SECRET}=1&lang={SECRET}",
        f"/static/{SECRET}",
        f"/api/{SECRET}",
    ):
        reply = await scene.clinic.api(
            path, method="GET", headers={"X-Test": SECRET, "Accept-Language": SECRET}
        )
        assert SECRET not in str(reply.body)
        assert SECRET not in str(reply.headers)
    assert SECRET not in log.getvalue()


async def test_slow_body(scene: Scene) -> None:
    """A body that is announced and does not come is given up after the same time as a hello."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.clinic.node.port)
    head = (
        f"POST /api/join HTTP/1.1\r\nHost: x\r\nOrigin: {scene.clinic.url}\r\n"
        "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
    )
    writer.write(head.encode())
    began = time.monotonic()
    async with asyncio.timeout(5.0):
        answer = await reader.read()
    writer.transport.abort()
    assert b" 408 " in answer[:20]
    assert time.monotonic() - began < 3.0


async def test_used_up_secrets(scene: Scene) -> None:
    """A link, a code and an expired link open nothing a second time, whatever door they are tried at."""
    clinic = scene.clinic
    made = await clinic.node.consults.invite()
    await clinic.ok("/api/join", {"token": made.token})
    head = await clinic.head()
    for given in ({"token": made.token}, {"code": made.code}):
        reply = await clinic.api("/api/join", given)
        assert (reply.status, reply.code) == (409, "invitation_used")
    both = await clinic.api("/api/join", {"token": made.token, "code": made.code})
    assert both.code == "malformed"
    joined = clinic.consult(made.consult)
    expired = tokens.issue(
        clinic.node.consults.ring,
        Claims(
            sub=joined.jti,
            role=Role.PATIENT,
            audience=Audience.INVITATION,
            jti=joined.jti,
            expires_at=now() - 3_600,
            consult_id=made.consult,
        ),
        now() - 7_200,
    )
    reply = await clinic.api("/api/join", {"token": expired})
    assert (reply.status, reply.code) == (401, "token_expired")
    session = (await scene.send("POST /api/session")).body["session"]
    for door in ("/api/join", "/api/takeover"):
        reply = await clinic.api(door, {"token": session})
        assert (reply.status, reply.code) == (401, "token_invalid")
    assert await clinic.head() == head


async def test_own_site_without_origin(scene: Scene) -> None:
    """A browser that leaves the Origin out but says that the request is the page's own is served."""
    reply = await scene.send(
        "POST /api/session", headers={"Origin": "", "Sec-Fetch-Site": "same-origin"}
    )
    assert reply.status == 200


def test_samples_stay_as_they_are() -> None:
    """The table of routes is not changed by its tests."""
    assert copy.deepcopy(ROUTES) == ROUTES
