# SPDX-License-Identifier: Apache-2.0
"""The HTTP surface beside the WebSocket and the pages: joining, signing in, accounts, health.

JSON bodies in, JSON bodies out, every refusal a code. Cross-site requests are kept out three ways: the cookie is
``SameSite=Strict``, the ``Origin`` is checked on everything but safe methods, and only ``application/json`` is taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, TypeVar

import msgspec
from aiohttp import hdrs, web

from auth import tokens
from auth.errors import AuthError, Throttled
from auth.origins import require_own_site
from auth.roles import Action, Role, require
from auth.tokens import Audience, Claims
from signalling.edge import keys
from signalling.edge.clock import now
from signalling.edge.house import Account
from signalling.edge.proxies import client_address
from signalling.errors import Refused, refusal
from signalling.store.base import StoreError
from signalling.wire.base import Id, Key, Language
from signalling.wire.codes import CODES, Code
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import Specialty

log = logging.getLogger(__name__)

COOKIE = "__Host-selat"
"""The prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis §4.1.3.2)."""
_T = TypeVar("_T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Secret = Annotated[str, msgspec.Meta(min_length=16, max_length=128)]
Token = Annotated[str, msgspec.Meta(min_length=16, max_length=2_048)]
TypedCode = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Login = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\s\x00-\x1f]+$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Body(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A request's body."""


class Door(Body, frozen=True):
    """The link's token or the spoken code: one of them."""

    token: Token | None = None
    code: TypedCode | None = None


class Join(Door, frozen=True):
    """Redeeming it."""

    resume: Secret | None = None
    """The secret that this page will come back with, made by the page: asked again after an answer that got lost on the
    way, it is let in again. Without one the server makes it."""


_D = TypeVar("_D", bound=Door)


class Resume(Body, frozen=True):
    """Coming back to a consult."""

    consult: Id
    resume: Secret


class Poll(Body, frozen=True):
    """Asking what became of a take-over request."""

    consult: Id
    request: Key
    secret: Secret


class SignIn(Body, frozen=True):
    """Credentials of an account."""

    login: Login
    password: Password


class NewPassword(Body, frozen=True):
    """Changing one's own password."""

    old: Password
    new: Password


class NewAccount(Body, frozen=True):
    """An operator makes an account; its password is made here and shown once."""

    login: Login
    name: Name
    role: Role
    specialties: Annotated[list[Specialty], msgspec.Meta(max_length=8)] = []
    languages: Annotated[list[Language], msgspec.Meta(max_length=16)] = []


class AccountChange(Body, frozen=True):
    """An operator changes an account; what is missing stays as it is."""

    name: Name | None = None
    specialties: Annotated[list[Specialty], msgspec.Meta(max_length=8)] | None = None
    languages: Annotated[list[Language], msgspec.Meta(max_length=16)] | None = None
    disabled: bool | None = None
    reset_password: bool = False


def reply(body: object = None, status: int = 200) -> web.Response:
    """Return a JSON response that nobody keeps."""
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def refuse(refused: Refused) -> web.Response:
    """Return a refusal as JSON, with ``Retry-After`` where there is one."""
    body: dict[str, object] = {"code": refused.code}
    if refused.ref is not None:
        body["ref"] = refused.ref
    response = None
    if refused.retry_after_s is not None:
        body["retryAfterMs"] = int(refused.retry_after_s * 1_000) + 1
    response = reply(body, CODES[refused.code].status)
    if refused.retry_after_s is not None:
        response.headers[hdrs.RETRY_AFTER] = str(int(refused.retry_after_s) + 1)
    return response


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into its code; aiohttp's own answers (404, 405 …) keep their status."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status == 413:  # the body limit
            return _refused(request, Refused(Code.TOO_LARGE))
        if error.status == 404:
            return _refused(request, Refused(Code.NOT_FOUND))
        if error.status >= 400:
            error.text = error.reason  # aiohttp's texts repeat parts of the request
        raise
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - the one place for HTTP
        return _refused(request, refusal(error))


def _refused(request: web.Request, refused: Refused) -> web.Response:
    request.app[keys.METRICS].refused(refused.code)
    return refuse(refused)


async def body_of(request: web.Request, kind: type[_T]) -> _T:
    """Return the request's body; raises Refused ``malformed`` or ``too_large``, 408 for one that comes too slowly."""
    if request.content_type != "application/json":
        raise Refused(Code.MALFORMED)
    try:
        async with asyncio.timeout(request.app[keys.CONFIG].limits.hello_timeout_s):
            data = await request.read()
        return msgspec.json.decode(data, type=kind)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(Code.MALFORMED) from None


class Http:
    """The handlers. One per node."""

    def __init__(self, app: web.Application, origins: Collection[str]) -> None:
        """``origins`` are the canonical origins of our own pages."""
        self._consults = app[keys.CONSULTS]
        self._gate = app[keys.GATE]
        self._house = app[keys.HOUSE]
        self._ledger = app[keys.LEDGER]
        self._metrics = app[keys.METRICS]
        self._config = app[keys.CONFIG]
        self._origins = origins

    def routes(self) -> list[web.RouteDef]:
        """Return what to add to the application's router."""
        own = self._own_site
        return [
            web.post("/api/join", own(self.join)),
            web.post("/api/resume", own(self.resume)),
            web.post("/api/takeover", own(self.takeover)),
            web.post("/api/takeover/poll", own(self.poll)),
            web.post("/api/sign-in", own(self.sign_in)),
            web.post("/api/sign-out", own(self.sign_out)),
            web.post("/api/session", own(self.session)),
            web.post("/api/password", own(self.password)),
            web.get("/api/accounts", own(self.accounts)),
            web.post("/api/accounts", own(self.add_account)),
            web.post("/api/accounts/{account}", own(self.change_account)),
            web.post("/api/consults/{consult}/erase", own(self.erase)),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
        ]

    def _own_site(self, handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            require_own_site(
                request.method,
                request.headers.get(hdrs.ORIGIN),
                request.headers.get("Sec-Fetch-Site"),
                self._origins,
            )
            return await handler(request)

        return checked

    def _address(self, request: web.Request) -> str:
        return client_address(
            request.remote or "",
            request.headers.get("X-Forwarded-For", ""),
            self._config.server.trusted_proxies,
        )

    # -- patients ----------------------------------------------------------------------------------------------------

    async def join(self, request: web.Request) -> web.Response:
        """Redeem an invitation."""
        door = await self._door(request, Join)
        got = await self._consults.join(
            token=door.token, code=door.code, address=self._address(request), resume=door.resume
        )
        return reply({"consult": got.consult, "session": got.session, "resume": got.resume})

    async def resume(self, request: web.Request) -> web.Response:
        """Give a new session for a resume secret."""
        body = await body_of(request, Resume)
        return reply({"session": await self._consults.resume(ConsultId(body.consult), body.resume)})

    async def takeover(self, request: web.Request) -> web.Response:
        """Ask to take the patient's place from another device."""
        door = await self._door(request, Door)
        consult, asked, secret = await self._consults.ask_takeover(
            token=door.token, code=door.code, address=self._address(request)
        )
        return reply({"consult": consult, "request": asked, "secret": secret}, 202)

    async def poll(self, request: web.Request) -> web.Response:
        """Say what became of the request."""
        body = await body_of(request, Poll)
        got = await self._consults.poll_takeover(ConsultId(body.consult), body.request, body.secret)
        if got is None:
            return reply({}, 202)
        return reply({"consult": got.consult, "session": got.session, "resume": got.resume})

    @staticmethod
    async def _door(request: web.Request, kind: type[_D]) -> _D:
        door = await body_of(request, kind)
        if (door.token is None) == (door.code is None):
            raise Refused(Code.MALFORMED)
        return door

    # -- accounts ----------------------------------------------------------------------------------------------------

    async def sign_in(self, request: web.Request) -> web.Response:
        """Check credentials and set the cookie."""
        body = await body_of(request, SignIn)
        try:
            account = await self._house.sign_in(body.login, body.password, self._address(request))
        except Throttled:
            self._metrics.sign_in("throttled")
            raise
        except Refused:
            self._metrics.sign_in("failed")
            raise
        self._metrics.sign_in("ok")
        at = now()
        claims = Claims(
            sub=account.id,
            role=account.role,
            audience=Audience.WEB,
            jti=account.binding,
            expires_at=at + self._config.identity.web_s,
        )
        response = reply({"role": account.role, "name": account.name})
        response.set_cookie(
            COOKIE,
            tokens.issue(self._consults.ring, claims, at),
            max_age=int(self._config.identity.web_s),
            httponly=True,
            secure=True,
            samesite="Strict",
            path="/",
        )
        return response

    async def sign_out(self, _request: web.Request) -> web.Response:
        """Take the cookie back."""
        response = reply(status=204)
        response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
        return response

    async def session(self, request: web.Request) -> web.Response:
        """Give a session token for the WebSocket to whoever is signed in."""
        account = self._signed_in(request)
        at = now()
        claims = Claims(
            sub=account.id,
            role=account.role,
            audience=Audience.SESSION,
            jti=account.binding,
            expires_at=at + self._config.identity.session_s,
        )
        return reply(
            {
                "session": tokens.issue(self._consults.ring, claims, at),
                "role": account.role,
                "name": account.name,
                "expiresAt": claims.expires_at,
            }
        )

    async def password(self, request: web.Request) -> web.Response:
        """Change one's own password; the cookie ends with the old one."""
        account = self._signed_in(request)
        body = await body_of(request, NewPassword)
        await self._house.change_password(account.id, body.old, body.new)
        return reply(status=204)

    def _signed_in(self, request: web.Request) -> Account:
        """Return the account of the cookie; raises Refused ``unauthenticated``."""
        try:
            claims = tokens.verify(
                self._consults.ring,
                request.cookies.get(COOKIE, ""),
                audience=Audience.WEB,
                now=now(),
            )
        except AuthError:
            raise Refused(Code.UNAUTHENTICATED) from None
        account = self._house.account(AccountId(claims.sub))
        if account is None or not account.lets_in(claims):
            raise Refused(Code.UNAUTHENTICATED)
        return account

    def _managing(self, request: web.Request) -> Account:
        account = self._signed_in(request)
        require(account.role, Action.MANAGE_ACCOUNTS)
        return account

    async def accounts(self, request: web.Request) -> web.Response:
        """List the accounts."""
        self._managing(request)
        return reply({"accounts": [_public(a) for a in self._house.accounts()]})

    async def add_account(self, request: web.Request) -> web.Response:
        """Make an account."""
        self._managing(request)
        body = await body_of(request, NewAccount)
        account, password = await self._house.create_account(
            body.login, body.name, body.role, body.specialties, body.languages
        )
        return reply({"account": account, "password": password}, 201)

    async def change_account(self, request: web.Request) -> web.Response:
        """Change an account; a disabled one is off call and disconnected at once."""
        self._managing(request)
        body = await body_of(request, AccountChange)
        account_id = AccountId(request.match_info["account"])
        account = await self._house.set_account(
            account_id,
            name=body.name,
            specialties=body.specialties,
            languages=body.languages,
            disabled=body.disabled,
        )
        answer: dict[str, object] = {"account": account.id}
        if body.reset_password:
            answer["password"] = await self._house.set_password(account_id)
        return reply(answer)

    async def erase(self, request: web.Request) -> web.Response:
        """Destroy what was said in a consult that is over: names, complaint, chat, note, summary."""
        account = self._signed_in(request)
        require(account.role, Action.ERASE)
        await self._ledger.erase(ConsultId(request.match_info["consult"]), account.id)
        return reply(status=204)

    # -- health ------------------------------------------------------------------------------------------------------

    async def healthz(self, _request: web.Request) -> web.Response:
        """Say that the process answers."""
        return reply({"ok": True})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Say whether to send people here: not while the store is away, nor to a node that is going down."""
        if self._gate.draining:
            raise Refused(Code.RESTARTING, retry_after_s=1.0)
        try:
            await self._ledger.store.ping()
        except StoreError:
            return refuse(Refused(Code.UNAVAILABLE, retry_after_s=1.0))
        return reply({"ok": True})


def _public(account: Account) -> dict[str, object]:
    """Return an account as an operator sees it: no hash."""
    return {
        "account": account.id,
        "login": account.login,
        "name": account.name,
        "role": account.role,
        "specialties": account.specialties,
        "languages": account.languages,
        "disabled": account.disabled,
    }
