# SPDX-License-Identifier: Apache-2.0
"""Accounts and posts: what an operator sets up, folded from the house's own streams on every node."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from auth import passwords
from auth.errors import PasswordRefused
from auth.roles import Role
from auth.throttle import (
    SIGN_IN_BY_ACCOUNT,
    SIGN_IN_BY_ADDRESS,
    SIGN_IN_BY_LOGIN,
    Throttle,
    account_key,
    address_key,
)
from auth.tokens import Claims
from signalling.core import events as ev
from signalling.core.posts import Post
from signalling.edge.clock import now
from signalling.edge.ledger import ATTEMPTS, Ledger
from signalling.errors import Refused
from signalling.store.base import (
    Append,
    Content,
    ContentId,
    OwnerId,
    Recorded,
    StreamId,
    VersionConflict,
)
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, PostCode
from signalling.wire.terms import Specialty

ACCOUNTS, POSTS = StreamId("accounts"), StreamId("posts")
Change = tuple[Sequence[ev.Event], Sequence[Content]]
BINDING_CHARS = 16
"""Of the hash of a password's hash: 64 bits tell one password's sessions from another's and give nothing away."""
AT_HOME_MAX = 10_000
"""Accounts from addresses that are remembered, of about 200 bytes each: ten places of a thousand accounts."""
PASSWORD_BYTES = 9
"""Of a generated password: 72 bits as 12 characters, short enough to read out once."""


class Profile(msgspec.Struct, frozen=True):
    """The personal part of an account, kept as content."""

    login: str
    name: str
    languages: list[str]


@dataclass(frozen=True, slots=True)
class Account:
    """A specialist's or operator's account."""

    id: AccountId
    role: Role
    login: str
    name: str
    languages: tuple[str, ...]
    specialties: tuple[Specialty, ...]
    password_hash: str
    password_at: float
    """When the password was set."""
    disabled: bool = False

    @property
    def binding(self) -> str:
        """What tokens of this account carry as ``jti``: they end with the password that they were given for."""
        return hashlib.sha256(self.password_hash.encode()).hexdigest()[:BINDING_CHARS]

    def lets_in(self, claims: Claims) -> bool:
        """Return whether a token of this account is still good for anything."""
        return (
            not self.disabled
            and claims.role is self.role
            and hmac.compare_digest(claims.jti, self.binding)
        )


def account_owner(account: AccountId) -> OwnerId:
    """Return whose key seals an account's profile."""
    return OwnerId(f"account:{account}")


class House:
    """Accounts by id and by login, posts by code."""

    def __init__(self, ledger: Ledger) -> None:
        """``start`` must be awaited before anything else."""
        self._ledger = ledger
        self._store = ledger.store
        self._versions = {ACCOUNTS: 0, POSTS: 0}
        self._accounts: dict[AccountId, Account] = {}
        self._by_login: dict[str, AccountId] = {}
        self._posts: dict[PostCode, Post] = {}
        self._by_account = Throttle(SIGN_IN_BY_ACCOUNT)
        self._anywhere = Throttle(SIGN_IN_BY_LOGIN)
        self._at_home: OrderedDict[str, None] = OrderedDict()
        """Accounts from addresses where they signed in: guesses from everywhere at once don't concern them."""
        self._by_address = Throttle(SIGN_IN_BY_ADDRESS)
        self._reading = asyncio.Lock()
        self._hashing = asyncio.Semaphore(1)
        self._started = False
        self.on_account: Callable[[Account], None] = lambda _account: None
        """Called with each account that was made or changed since the start, by any node."""

    async def start(self) -> None:
        """Fold both streams and follow them."""
        self._ledger.listeners.other.append(self._arrived)
        self._ledger.listeners.reload.append(self._read_all)
        await self._read_all()
        self._started = True

    async def stop(self) -> None:
        """Stop following; what is being read is waited for, so that the store can be closed after this."""
        self._ledger.listeners.other.remove(self._arrived)
        self._ledger.listeners.reload.remove(self._read_all)
        async with self._reading:
            return

    async def _read_all(self) -> None:
        await self._read(ACCOUNTS)
        await self._read(POSTS)

    async def _arrived(self, recorded: Recorded) -> None:
        version = self._versions.get(recorded.stream)
        if version is not None and version < recorded.version:
            await self._read(recorded.stream)

    async def _read(self, stream: StreamId) -> None:
        async with self._reading:
            for recorded in await self._store.read(stream, self._versions[stream]):
                event = ev.decode(recorded.data)
                if isinstance(event, ev.PostImported):
                    self._posts[event.code] = post_of(event)
                else:
                    await self._fold_account(event)
                self._versions[stream] = recorded.version

    async def _fold_account(self, event: ev.Event) -> None:
        match event:
            case ev.AccountCreated():
                profile = await self._profile(event.account, event.content)
                self._put(
                    Account(
                        id=event.account,
                        role=Role(event.role),
                        login=profile.login,
                        name=profile.name,
                        languages=tuple(profile.languages),
                        specialties=tuple(event.specialties),
                        password_hash=event.password_hash,
                        password_at=event.at,
                    )
                )
            case ev.AccountChanged():
                profile = await self._profile(event.account, event.content)
                self._put(
                    replace(
                        self._accounts[event.account],
                        name=profile.name,
                        languages=tuple(profile.languages),
                        specialties=tuple(event.specialties),
                        disabled=event.disabled,
                    )
                )
            case ev.PasswordChanged():
                self._put(
                    replace(
                        self._accounts[event.account],
                        password_hash=event.password_hash,
                        password_at=event.at,
                    )
                )
            case _:
                pass

    async def _profile(self, account: AccountId, content_id: str) -> Profile:
        found = await self._store.content(account_owner(account), [ContentId(content_id)])
        body = found.get(ContentId(content_id))
        return msgspec.json.decode(body, type=Profile) if body else Profile("", "", [])

    def _put(self, account: Account) -> None:
        self._accounts[account.id] = account
        if account.login:
            self._by_login[account.login] = account.id
        if self._started:
            self.on_account(account)

    # -- accounts ----------------------------------------------------------------------------------------------------

    def account(self, account: AccountId) -> Account | None:
        """Return an account, disabled or not."""
        return self._accounts.get(account)

    def accounts(self) -> list[Account]:
        """Return all accounts, by login."""
        return sorted(self._accounts.values(), key=lambda a: a.login)

    async def create_account(
        self,
        login: str,
        name: str,
        role: Role,
        specialties: Sequence[Specialty],
        languages: Sequence[str],
        password: str | None = None,
    ) -> tuple[AccountId, str]:
        """Create an account; without a password one is made. Return the id and the password.

        Raises:
            Refused: ``account_exists``; ``password_weak`` for a given password; ``malformed`` for a role that has no
                accounts or an empty login.
        """
        login = login.strip().casefold()
        if role not in (Role.SPECIALIST, Role.OPERATOR) or not login:
            raise Refused(Code.MALFORMED)
        chosen = self._new_password(login, password)
        account = AccountId("a_" + secrets.token_hex(8))
        content_id = ContentId(secrets.token_hex(8))
        profile = Profile(login, name.strip() or login, list(languages))
        event = ev.AccountCreated(
            at=now(),
            account=account,
            role=role,
            specialties=list(specialties),
            content=content_id,
            password_hash=await self._hash(chosen),
        )

        def create() -> Change:
            if login in self._by_login:
                raise Refused(Code.ACCOUNT_EXISTS)
            return [event], [_sealed(account, content_id, profile)]

        await self._append(ACCOUNTS, create)
        return account, chosen

    async def set_account(
        self,
        account_id: AccountId,
        *,
        name: str | None = None,
        specialties: Sequence[Specialty] | None = None,
        languages: Sequence[str] | None = None,
        disabled: bool | None = None,
    ) -> Account:
        """Change what is given; raises Refused ``not_found``."""
        content_id = ContentId(secrets.token_hex(8))

        def change() -> Change:
            # Made again for each try: what isn't given must be as it is now, not as it was before somebody else's change.
            account = self._accounts.get(account_id)
            if account is None:
                raise Refused(Code.NOT_FOUND)
            profile = Profile(
                account.login,
                name if name is not None else account.name,
                list(languages if languages is not None else account.languages),
            )
            event = ev.AccountChanged(
                at=now(),
                account=account_id,
                specialties=list(specialties if specialties is not None else account.specialties),
                content=content_id,
                disabled=account.disabled if disabled is None else disabled,
            )
            return [event], [_sealed(account_id, content_id, profile)]

        await self._append(ACCOUNTS, change)
        return self._accounts[account_id]

    async def set_password(self, account_id: AccountId, password: str | None = None) -> str:
        """Set a password, or make one; return it. Raises Refused ``not_found`` or ``password_weak``."""
        account = self._accounts.get(account_id)
        if account is None:
            raise Refused(Code.NOT_FOUND)
        chosen = self._new_password(account.login, password)
        hashed = await self._hash(chosen)
        event = ev.PasswordChanged(at=now(), account=account_id, password_hash=hashed)
        await self._append(ACCOUNTS, lambda: ([event], ()))
        return chosen

    async def change_password(self, account_id: AccountId, old: str, new: str) -> None:
        """Change one's own password; raises Refused ``credentials_invalid``, ``password_weak``, ``throttled``."""
        account = self._accounts.get(account_id)
        if account is None:
            raise Refused(Code.NOT_FOUND)
        # Who is here is signed in: by a key of its own, which no stranger who knows the login can charge.
        charge = self._by_account.charge(account.id, now())
        if not await self._verify(account.password_hash, old):
            raise Refused(Code.CREDENTIALS_INVALID)
        self._by_account.refund(charge)
        await self.set_password(account_id, new)

    async def sign_in(self, login: str, password: str, address: str) -> Account:
        """Return the account of these credentials.

        Unknown logins take as long as wrong passwords. Both are throttled: strictly by login from one address and by
        address, and mildly by login from anywhere, so that guesses from elsewhere keep no owner out.

        Raises:
            Refused: ``credentials_invalid``.
            auth.errors.Throttled: too many wrong tries.
        """
        login, at = login.strip().casefold(), now()
        own = account_key(login, address)
        keys = [(self._by_account, own), (self._by_address, address_key(address))]
        if own not in self._at_home:
            keys.append((self._anywhere, login))
        for throttle, key in keys:
            throttle.check(key, at)
        # Charged before the slow check and refunded after it: parallel guesses don't get in free.
        charges = [(throttle, throttle.charge(key, at)) for throttle, key in keys]
        account = self._accounts.get(self._by_login.get(login, AccountId("")))
        stored = passwords.DUMMY_HASH if account is None else account.password_hash
        right = await self._verify(stored, password)
        if account is None or account.disabled or not right:
            raise Refused(Code.CREDENTIALS_INVALID)
        for throttle, charge in charges:
            throttle.refund(charge)
        self._by_account.succeed(own, at)
        self._at_home[own] = None
        self._at_home.move_to_end(own)
        if len(self._at_home) > AT_HOME_MAX:
            self._at_home.popitem(last=False)
        return account

    async def _hash(self, password: str) -> str:
        """argon2id takes 64 MiB and several threads: one at a time, off the event loop."""
        async with self._hashing:
            return await asyncio.to_thread(passwords.hash_password, password)

    async def _verify(self, stored: str, password: str) -> bool:
        async with self._hashing:
            return await asyncio.to_thread(passwords.verify_password, stored, password)

    @staticmethod
    def _new_password(login: str, password: str | None) -> str:
        if password is None:
            return secrets.token_urlsafe(PASSWORD_BYTES)
        try:
            passwords.check_rules(password, login)
        except PasswordRefused:
            raise Refused(Code.PASSWORD_WEAK) from None
        return password

    # -- posts -------------------------------------------------------------------------------------------------------

    def posts(self) -> list[Post]:
        """Return all posts, by region and name."""
        return sorted(self._posts.values(), key=lambda p: (p.region, p.name))

    def post(self, code: PostCode | None) -> Post | None:
        """Return a post by its code."""
        return None if code is None else self._posts.get(code)

    async def import_posts(self, posts: Iterable[Post]) -> int:
        """Record the posts that are new or changed; return how many those were."""
        changed = [p for p in posts if self._posts.get(p.code) != p]
        if changed:
            at = now()
            events = [event_of(p, at) for p in changed]
            await self._append(POSTS, lambda: (events, ()))
        return len(changed)

    async def _append(self, stream: StreamId, make: Callable[[], Change]) -> None:
        """Append what ``make`` makes and fold it; ``make`` is called before each try and may refuse."""
        for _ in range(ATTEMPTS):
            events, content = make()
            data = tuple(map(ev.encode, events))
            try:
                await self._store.append(
                    Append(stream, self._versions[stream], data), content=content
                )
            except VersionConflict:
                await self._read(stream)
                continue
            await self._read(stream)
            return
        raise Refused(Code.UNAVAILABLE)


def _sealed(account: AccountId, content_id: ContentId, profile: Profile) -> Content:
    return Content(account_owner(account), content_id, msgspec.json.encode(profile))


_POST_FIELDS = Post.__struct_fields__
"""Post and event have the same fields; the event adds when."""


def post_of(event: ev.PostImported) -> Post:
    """Return the post that an event describes."""
    return Post(**{name: getattr(event, name) for name in _POST_FIELDS})


def event_of(post: Post, at: float) -> ev.PostImported:
    """Return the event that records a post."""
    return ev.PostImported(at=at, **{name: getattr(post, name) for name in _POST_FIELDS})
