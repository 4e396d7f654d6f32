# SPDX-License-Identifier: Apache-2.0
"""What the command line asks of a running node, and the Unix socket on which it asks.

A running node owns its store, so `selat invite`, `account` and `posts` go through it. Whoever may open the socket may do
everything: it lies in the data directory with rights for its owner only, and the kernel checks them. Without a running
node the command line makes a ``Desk`` of its own on the store; both ways meet in ``Desk.perform``.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from auth.roles import Role
from signalling.core.posts import Post
from signalling.edge.commands import patient_url
from signalling.edge.consults import Consults
from signalling.edge.house import Account, House
from signalling.errors import Refused, refusal
from signalling.wire.codes import CODES, Code
from signalling.wire.ids import AccountId, ConsultId, PostCode
from signalling.wire.terms import Specialty

log = logging.getLogger(__name__)

PATH = "/control"
MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""The longest list of posts (20,000) at its widest."""
MAX_SOCKET_PATH = 100
"""sun_path holds 108 bytes (unix(7)); longer paths are opened by way of their directory."""


# -- What can be asked -----------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    """Something that an operator asks at the command line."""


class Invite(Request, frozen=True, tag="invite"):
    """A consult with a link and a code; answered by ``InvitationMade``."""

    specialty: Specialty = Specialty.GENERAL
    language: str = ""
    post: str = ""


class AddAccount(Request, frozen=True, tag="add_account"):
    """A new account; without a password one is made. Answered by ``PasswordMade``."""

    login: str
    role: Role
    name: str = ""
    specialties: list[Specialty] = []
    languages: list[str] = []
    password: str | None = None


class ListAccounts(Request, frozen=True, tag="list_accounts"):
    """All accounts; answered by a list of ``AccountView``."""


class SetDisabled(Request, frozen=True, tag="set_disabled"):
    """Close an account, or open it again; answered by ``AccountView``."""

    login: str
    disabled: bool


class ResetPassword(Request, frozen=True, tag="reset_password"):
    """A new password; without one given, one is made. Answered by ``PasswordMade``."""

    login: str
    password: str | None = None


class ImportPosts(Request, frozen=True, tag="import_posts"):
    """Put posts on the list; one of the same code is replaced. Answered by ``PostsImported``."""

    posts: list[Post]


class ListPosts(Request, frozen=True, tag="list_posts"):
    """All posts; answered by a list of ``Post``."""


AnyRequest = (
    Invite | AddAccount | ListAccounts | SetDisabled | ResetPassword | ImportPosts | ListPosts
)


class InvitationMade(msgspec.Struct, frozen=True):
    """A consult's way in. The URL's fragment is the secret: print it, never log it."""

    consult: ConsultId
    url: str
    code: str
    expires_at: float


class AccountView(msgspec.Struct, frozen=True):
    """An account, as an operator sees it."""

    account: AccountId
    login: str
    role: Role
    name: str
    specialties: list[Specialty]
    languages: list[str]
    disabled: bool


class PasswordMade(msgspec.Struct, frozen=True):
    """An account's new password, shown this once."""

    account: AccountId
    login: str
    password: str


class PostsImported(msgspec.Struct, frozen=True):
    """What an import did."""

    changed: int
    """Posts that are new or differ from before."""
    total: int
    """Posts on the list now."""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why something was refused."""

    code: str
    ref: str | None = None


_decode = msgspec.json.Decoder(AnyRequest).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Desk:
    """Does what is asked, on the parts of a node."""

    house: House
    consults: Consults
    public_url: str

    async def perform(self, request: Request) -> object:
        """Do it and return the answer.

        Raises:
            Refused: with the code that says why; nothing was changed.
        """
        match request:
            case Invite():
                return await self._invite(request)
            case AddAccount():
                account, password = await self.house.create_account(
                    request.login,
                    request.name,
                    request.role,
                    request.specialties,
                    request.languages,
                    request.password,
                )
                return PasswordMade(account, request.login, password)
            case ListAccounts():
                return [account_view(account) for account in self.house.accounts()]
            case SetDisabled():
                account_id = self._by_login(request.login).id
                return account_view(
                    await self.house.set_account(account_id, disabled=request.disabled)
                )
            case ResetPassword():
                account_id = self._by_login(request.login).id
                password = await self.house.set_password(account_id, request.password)
                return PasswordMade(account_id, request.login, password)
            case ImportPosts():
                changed = await self.house.import_posts(request.posts)
                return PostsImported(changed, len(self.house.posts()))
            case ListPosts():
                return self.house.posts()
            case _:
                raise Refused(Code.MALFORMED)

    async def _invite(self, request: Invite) -> InvitationMade:
        post = self.house.post(PostCode(request.post)) if request.post else None
        if request.post and post is None:
            raise Refused(Code.NOT_FOUND)
        made = await self.consults.invite(
            specialty=request.specialty,
            language=request.language,
            post=post.code if post else None,
        )
        url = patient_url(self.public_url, made.token, request.language)
        return InvitationMade(made.consult, url, made.code, made.expires_at)

    def _by_login(self, login: str) -> Account:
        wanted = login.strip().casefold()
        for account in self.house.accounts():
            if account.login == wanted:
                return account
        raise Refused(Code.NOT_FOUND)


def account_view(account: Account) -> AccountView:
    """Return an account without its password's hash."""
    return AccountView(
        account=account.id,
        login=account.login,
        role=account.role,
        name=account.name,
        specialties=list(account.specialties),
        languages=list(account.languages),
        disabled=account.disabled,
    )


# -- The node's side -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serve_control(desk: Desk, path: Path) -> AsyncIterator[bool]:
    """Serve ``desk`` on the socket ``path`` while inside; yield whether it is served.

    It is not when another node that lives listens there already: nodes that share a data directory share a store, so it
    does not matter which of them does what is asked. A socket that a killed node left behind is replaced.
    """
    listener = _bind(path)
    if listener is None:
        log.info("control_socket_taken")
        yield False
        return

    async def handle(request: web.Request) -> web.Response:
        return await _answer(desk, await request.read())

    inode = _inode(path)
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.add_routes([web.post(PATH, handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield True
    finally:
        await runner.cleanup()
        if _inode(path) == inode:
            _remove(path)


async def _answer(desk: Desk, body: bytes) -> web.Response:
    try:
        try:
            request = _decode(body)
        except msgspec.DecodeError:
            raise Refused(Code.MALFORMED) from None
        answer = await desk.perform(request)
    except Exception as error:  # noqa: BLE001 - every exception becomes a code
        refused = refusal(error)
        return web.Response(
            body=_encode(Refusal(refused.code, refused.ref)),
            status=CODES[refused.code].status,
            content_type="application/json",
        )
    return web.Response(body=_encode(answer), content_type="application/json")


def _bind(path: Path) -> socket.socket | None:
    """Return a listener on ``path``, or None if somebody listens there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _is_alive(path):
                listener.close()
                return None
            path.unlink()
        # The rights must be right from the first moment on, so not by chmod afterwards.
        before = os.umask(0o177)
        try:
            with _reachable(path) as name:
                listener.bind(name)
        finally:
            os.umask(before)
    except OSError:
        listener.close()
        raise
    return listener


def _inode(path: Path) -> int | None:
    """Return which socket lies there, None if none does."""
    try:
        return path.stat().st_ino if path.is_socket() else None
    except OSError:
        return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, _reachable(path) as name:
        probe.settimeout(2.0)
        try:
            probe.connect(name)
        except OSError as error:
            # EAGAIN: it lives, with a full backlog.
            return error.errno == errno.EAGAIN
        return True


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Yield a name of ``path`` that is short enough for a socket's address."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


# -- The command line's side -----------------------------------------------------------------------


class Unreachable(Exception):
    """No node listens on the socket."""


async def ask(path: Path, request: Request, timeout_s: float = 60.0) -> bytes:
    """Ask the running node; return its answer as JSON.

    Raises:
        Unreachable: no node listens there.
        Refused: it refused, with the code.
    """
    if _inode(path) is None:
        raise Unreachable
    with _reachable(path) as name:
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(name),
                    timeout=aiohttp.ClientTimeout(total=timeout_s),
                ) as session,
                session.post(f"http://selat{PATH}", data=_encode(request)) as response,
            ):
                body = await response.read()
        except (aiohttp.ClientConnectorError, FileNotFoundError):
            raise Unreachable from None
        except (aiohttp.ClientError, TimeoutError):
            raise Refused(Code.UNAVAILABLE) from None
    if response.status != web.HTTPOk.status_code:
        refused = msgspec.json.decode(body, type=Refusal)
        raise Refused(Code(refused.code), ref=refused.ref)
    return body
