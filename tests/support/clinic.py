# SPDX-License-Identifier: Apache-2.0
"""A node in this process and the people who come to it: patients, specialists, operators, whole calls in one line."""

from __future__ import annotations

import functools
import io
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import argon2

from auth import passwords
from auth.roles import Role
from signalling import app, logs
from signalling.config import Config, LogConfig, LogFormat, ServerConfig, StoreConfig
from signalling.core.policy import ConsultPolicy
from signalling.edge.http import COOKIE
from signalling.edge.pages import Pages
from signalling.wire.ids import ConsultId
from signalling.wire.terms import Specialty
from tests.support.peer import Message, Peer

QUICK = ConsultPolicy(away_grace_s=0.3, nobody_s=30.0)
"""The policy of most tests: as in service, but a lost socket is "away" sooner."""

_pages = functools.cache(Pages)
_cheap = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@dataclass(slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: Any
    headers: Any
    cookie: str = ""

    @property
    def code(self) -> str:
        """The refusal's code, empty if it is none."""
        return self.body.get("code", "") if isinstance(self.body, dict) else ""


@dataclass(slots=True)
class Call:
    """A call that is up."""

    consult: str
    patient: Peer
    specialist: Peer


@dataclass(slots=True)
class Clinic:
    """A running node, and one HTTP client for everybody."""

    node: app.Node
    http: aiohttp.ClientSession
    peers: list[Peer] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the node is reached, and the origin of its pages."""
        return self.node.public_url

    # -- HTTP --------------------------------------------------------------------------------------------------------

    async def api(
        self,
        path: str,
        body: object = None,
        *,
        cookie: str = "",
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Ask the node; JSON unless ``body`` is bytes."""
        given = {"Origin": self.url, **(headers or {})}
        if cookie:
            given["Cookie"] = f"{COOKIE}={cookie}"
        given = {name: text for name, text in given.items() if text}
        payload = {"data": body} if isinstance(body, bytes) else {"json": body}
        if method == "GET":
            payload = {}
        async with self.http.request(method, self.url + path, headers=given, **payload) as response:  # type: ignore[arg-type]
            is_json = response.content_type == "application/json"
            got = await response.json() if is_json else await response.text()
            made = response.cookies.get(COOKIE)
            return Reply(response.status, got, response.headers, made.value if made else "")

    async def ok(self, path: str, body: object = None, **given: Any) -> Any:
        """Ask for something that must succeed; return the body."""
        reply = await self.api(path, body, **given)
        assert reply.status < 300, (path, reply)
        return reply.body

    # -- people ------------------------------------------------------------------------------------------------------

    def peer(self, token: str, consult: str | None = None) -> Peer:
        """Return a page with this session."""
        peer = Peer(self.http, self.url, token, consult)
        self.peers.append(peer)
        return peer

    async def patient(self, *, intake: bool | dict[str, Any] = True, **invitation: Any) -> Peer:
        """Invite a patient, let them join and, if ``intake`` is not False, wait."""
        made = await self.node.consults.invite(**invitation)
        joined = await self.ok("/api/join", {"token": made.token})
        patient = self.peer(joined["session"], joined["consult"])
        patient.resume = joined["resume"]
        await patient.open()
        if intake is not False:
            extra = intake if isinstance(intake, dict) else {}
            await patient.done("intake", form=form(**extra))
        return patient

    async def account(
        self, role: Role = Role.SPECIALIST, *, name: str = "Dr Sari", **extra: Any
    ) -> tuple[str, str, str]:
        """Make an account; return its id, its login and its password."""
        login = f"{name.rsplit(maxsplit=1)[-1].lower()}.{secrets.token_hex(3)}"
        account, password = await self.node.house.create_account(
            login,
            name,
            role,
            extra.get("specialties", [Specialty.GENERAL]),
            extra.get("languages", ["id", "en"]),
        )
        return account, login, password

    async def sign_in(self, login: str, password: str) -> str:
        """Sign in; return the cookie."""
        reply = await self.api("/api/sign-in", {"login": login, "password": password})
        assert reply.status == 200, reply
        return reply.cookie

    async def staff(self, role: Role, **extra: Any) -> Peer:
        """Make an account, sign in and connect."""
        account, login, password = await self.account(role, **extra)
        cookie = await self.sign_in(login, password)
        return await self.desk_of(account, cookie)

    async def desk_of(self, account: str, cookie: str, consult: str | None = None) -> Peer:
        """Connect an account that is signed in: another tab, or another node."""
        session = await self.ok("/api/session", {}, cookie=cookie)
        peer = self.peer(session["session"], consult)
        peer.account, peer.cookie = account, cookie
        welcome = await peer.open()
        assert welcome["type"] == "welcome", welcome
        return peer

    async def specialist(self, *, on_call: bool = True, **extra: Any) -> Peer:
        """Connect a new specialist."""
        specialist = await self.staff(Role.SPECIALIST, **extra)
        if on_call:
            await specialist.done("on_call", on=True)
        return specialist

    async def operator(self) -> Peer:
        """Connect a new operator."""
        return await self.staff(Role.OPERATOR, name="Ibu Ops")

    async def call(self, elsewhere: Clinic | None = None) -> Call:
        """Bring up a call; the specialist is on node ``elsewhere`` if that is given."""
        specialist = await (elsewhere or self).specialist()
        patient = await self.patient()
        return await self.connect(patient, specialist)

    async def connect(self, patient: Peer, specialist: Peer) -> Call:
        """Ring, accept, and wait until both see the call with each other in it."""
        specialist.consult = patient.consult
        assert patient.consult is not None
        await specialist.wait_until(
            lambda: specialist.desk.get("ring", {}).get("consult") == patient.consult
        )
        await specialist.done("accept", consult=patient.consult)
        for side, other in ((patient, specialist), (specialist, patient)):
            await side.wait_until(
                lambda s=side, o=other: (
                    s.view.get("state") == "in_call"  # type: ignore[misc]
                    and s.view.get("peer", {}).get("instance") == o.instance
                )
            )
        return Call(patient.consult, patient, specialist)

    # -- what the node knows -----------------------------------------------------------------------------------------

    async def version(self, consult: str) -> int:
        """Return the version of a consult's stream in the store."""
        recorded = await self.node.store.read(f"consult:{consult}")  # type: ignore[arg-type]
        return recorded[-1].version if recorded else 0

    async def head(self) -> int:
        """Return the position of the store's newest event."""
        return await self.node.store.head()

    def consult(self, consult: str) -> Any:
        """Return a consult as the node has it in memory."""
        return self.node.ledger.known(ConsultId(consult))

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.node.metrics.registry.get_sample_value(f"selat_{name}", labels) or 0.0

    def refusals(self, code: str) -> float:
        """Return how often this code was given."""
        return self.metric("refusals_total", code=code)


def form(**changes: Any) -> Message:
    """Return an intake."""
    return {
        "complaint": "batuk sudah tiga hari",
        "ageMonths": 400,
        "sex": "male",
        "assistant": "nobody",
        "language": "id",
        "consent": True,
        **changes,
    }


def config(data_dir: Path, store_url: str = "", **sections: Any) -> Config:
    """Return the settings of a node on a free port of the loopback address, without TLS."""
    server = {"host": "127.0.0.1", "port": 0, "metrics_port": 0, "tls": False}
    server |= sections.pop("server", {})
    return Config(
        server=ServerConfig(data_dir=data_dir, **server),
        store=StoreConfig(url=store_url),
        **{"consult": QUICK, **sections},
    )


@asynccontextmanager
async def open_clinic(settings: Config) -> AsyncIterator[Clinic]:
    """Start a node; end it and its peers afterwards. Pages are rendered once, passwords hashed quickly."""
    jar = aiohttp.DummyCookieJar()
    with (
        mock.patch.object(app, "Pages", _pages),
        mock.patch.object(passwords, "_hasher", _cheap),
        mock.patch.object(passwords, "DUMMY_HASH", _cheap.hash("nobody's")),
    ):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(cookie_jar=jar, connector=connector) as http:
            # The node ends first, with everybody still connected, as it does in service.
            async with app.open_node(settings, None) as node:
                clinic = Clinic(node, http)
                yield clinic
            for peer in clinic.peers:
                await peer.close()


def free_port() -> int:
    """Return a port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def captured_log() -> Iterator[io.StringIO]:
    """Collect the log as the server writes it: JSON lines, redacted, from DEBUG up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    logs.configure(LogConfig(format=LogFormat.JSON, level="debug"), out)
    try:
        yield out
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
