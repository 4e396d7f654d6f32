# SPDX-License-Identifier: Apache-2.0
"""Accounts, sessions and throttles over HTTP, and what they do to connections that are open."""

import asyncio
import secrets
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from auth import codes
from auth.roles import Role
from auth.throttle import CODE_BY_ADDRESS, CODE_BY_PREFIX, SIGN_IN_BY_ACCOUNT
from signalling.edge.house import Account
from signalling.errors import Refused
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId
from tests.integration.conftest import OpenNode
from tests.support.clinic import QUICK, Clinic


@pytest.fixture
def store_url() -> str:
    """One store is enough here."""
    return ""


async def manager(clinic: Clinic) -> str:
    """Return the cookie of an operator."""
    _, login, password = await clinic.account(Role.OPERATOR, name="Ibu Ops")
    return await clinic.sign_in(login, password)


async def test_cookie_is_kept_from_scripts_and_other_sites(clinic: Clinic) -> None:
    """The cookie is HttpOnly, Secure, SameSite=Strict, for the whole host and no other."""
    _, login, password = await clinic.account()
    reply = await clinic.api("/api/sign-in", {"login": login, "password": password})
    header = reply.headers["Set-Cookie"]
    for part in ("__Host-selat=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
        assert part in header
    assert "Domain" not in header
    assert reply.headers["Cache-Control"] == "no-store"


async def test_unknown_account_and_wrong_password_look_the_same(clinic: Clinic) -> None:
    """Nobody learns from the answer whether an account exists."""
    _, login, _ = await clinic.account()
    answers = [
        await clinic.api("/api/sign-in", {"login": name, "password": "wrong password"})
        for name in (login, "nobody.here")
    ]
    assert [(a.status, a.body) for a in answers] == [(401, {"code": "credentials_invalid"})] * 2


async def test_password_change_ends_sessions(clinic: Clinic) -> None:
    """With the password end the cookie, the session tokens made from it, and the connection that is open."""
    account, login, password = await clinic.account()
    cookie = await clinic.sign_in(login, password)
    specialist = await clinic.desk_of(account, cookie)
    new = secrets.token_urlsafe(12)
    body = {"old": password, "new": new}
    assert (await clinic.api("/api/password", body, cookie=cookie)).status == 204
    assert await specialist.until_closed() == 4011
    assert (await clinic.api("/api/session", {}, cookie=cookie)).code == "unauthenticated"
    assert (await specialist.open())["code"] == "signed_out"
    assert await specialist.until_closed() == 4011
    old = await clinic.api("/api/sign-in", {"login": login, "password": password})
    assert old.code == "credentials_invalid"
    # At once, not a second later: a new session is told from an old one by its password.
    await (await clinic.desk_of(account, await clinic.sign_in(login, new))).ping()


async def test_password_change_needs_the_old_one(clinic: Clinic) -> None:
    """A wrong old password changes nothing and is throttled; a weak new one is refused by name."""
    _, login, password = await clinic.account()
    cookie = await clinic.sign_in(login, password)
    weak = await clinic.api("/api/password", {"old": password, "new": "short"}, cookie=cookie)
    assert (weak.status, weak.code) == (422, "password_weak")
    seen = [
        (await clinic.api("/api/password", {"old": "x" * 12, "new": "y" * 12}, cookie=cookie)).code
        for _ in range(SIGN_IN_BY_ACCOUNT.free_tries + 2)
    ]
    assert seen[0] == "credentials_invalid"
    assert seen[-1] == "throttled"
    assert (await clinic.api("/api/session", {}, cookie=cookie)).status == 200


async def test_old_password_can_not_be_guessed_in_parallel(clinic: Clinic) -> None:
    """Who holds a stolen cookie and tries many passwords at once gets no more tries than one after the other."""
    _, login, password = await clinic.account()
    cookie = await clinic.sign_in(login, password)
    guesses = [{"old": f"a guess {n}", "new": secrets.token_urlsafe(12)} for n in range(20)]
    replies = await asyncio.gather(
        *(clinic.api("/api/password", guess, cookie=cookie) for guess in guesses)
    )
    tried = [r.code for r in replies].count("credentials_invalid")
    assert tried == SIGN_IN_BY_ACCOUNT.free_tries + 1


async def test_change_of_a_name_does_not_open_a_closed_account(clinic: Clinic) -> None:
    """Two changes at the same time both hold: what one of them doesn't mention stays as the other made it."""
    account, _, _ = await clinic.account()
    cookie = await manager(clinic)
    path = f"/api/accounts/{account}"
    for _ in range(5):
        await asyncio.gather(
            clinic.ok(path, {"disabled": True}, cookie=cookie),
            clinic.ok(path, {"name": "Dr Sari Dewi"}, cookie=cookie),
        )
        found = clinic.node.house.account(AccountId(account))
        assert found is not None
        assert (found.disabled, found.name) == (True, "Dr Sari Dewi")
        await clinic.ok(path, {"disabled": False, "name": "Dr Sari"}, cookie=cookie)


async def test_disabled_account_leaves_at_once(clinic: Clinic) -> None:
    """An operator closes an account: connection, cookie and rota are gone, its patient waits for somebody else."""
    call = await clinic.call()
    operator = await manager(clinic)
    path = f"/api/accounts/{call.specialist.account}"
    await clinic.ok(path, {"disabled": True}, cookie=operator)
    assert await call.specialist.until_closed() == 4011
    await call.patient.until_state("waiting", "ringing")
    cookie = call.specialist.cookie
    assert (await clinic.api("/api/session", {}, cookie=cookie)).code == "unauthenticated"
    assert (await call.specialist.open())["code"] == "signed_out"
    other = await clinic.specialist()
    await clinic.connect(call.patient, other)
    await clinic.ok(path, {"disabled": False}, cookie=operator)
    back = await clinic.desk_of(call.specialist.account, cookie)
    assert back.desk["state"] == "off_call"


async def test_what_a_closed_account_asked_for_is_not_done(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that still wait for their turn when the account is closed are dropped with the connection."""
    specialist = await clinic.specialist()
    house, go_on, begun = clinic.node.house, asyncio.Event(), 0
    on_account = house.on_account

    def closes(account: Account) -> None:
        on_account(account)
        go_on.set()

    async def slow(**_given: Any) -> Any:
        nonlocal begun
        begun += 1
        await go_on.wait()
        raise Refused(Code.NOT_FOUND)

    monkeypatch.setattr(clinic.node.consults, "invite", slow)
    monkeypatch.setattr(house, "on_account", closes)
    for _ in range(3):
        await specialist.send("invite")
    for _ in range(200):
        if begun:
            break
        await asyncio.sleep(0.01)
    await house.set_account(AccountId(specialist.account), disabled=True)
    assert await specialist.until_closed() == 4011
    assert begun == 1


async def test_disabled_account_is_not_rung(open_node: OpenNode) -> None:
    """A closed account that was on call is on no rota: its ring rolls over."""
    clinic = await open_node(consult=replace(QUICK, nobody_s=0.3))
    specialist = await clinic.specialist()
    patient = await clinic.patient()
    await specialist.wait_until(lambda: specialist.desk.get("ring"))
    operator = await manager(clinic)
    await clinic.ok(f"/api/accounts/{specialist.account}", {"disabled": True}, cookie=operator)
    await patient.until_state("callback")


async def test_reset_password(clinic: Clinic) -> None:
    """An operator's reset ends the account's sessions; the new password is shown once and works."""
    account, login, password = await clinic.account()
    specialist = await clinic.desk_of(account, await clinic.sign_in(login, password))
    path = f"/api/accounts/{account}"
    made = await clinic.ok(path, {"resetPassword": True}, cookie=await manager(clinic))
    assert await specialist.until_closed() == 4011
    await clinic.sign_in(login, made["password"])


async def test_only_operators_manage_accounts(clinic: Clinic) -> None:
    """A specialist's cookie lists, makes and changes no account; without a cookie nobody does."""
    account, login, password = await clinic.account()
    cookie = await clinic.sign_in(login, password)
    new = {"login": "x", "name": "x", "role": "operator", "specialties": [], "languages": []}
    for path, body, method in (
        ("/api/accounts", None, "GET"),
        ("/api/accounts", new, "POST"),
        (f"/api/accounts/{account}", {"disabled": True}, "POST"),
        ("/api/consults/x/erase", {}, "POST"),
    ):
        for given, code in ((cookie, "forbidden"), ("", "unauthenticated")):
            reply = await clinic.api(path, body, cookie=given, method=method)
            assert reply.code == code, (path, given)
    assert len(clinic.node.house.accounts()) == 1


async def test_accounts_are_listed_without_secrets(clinic: Clinic) -> None:
    """The list holds no hash, and a login exists once."""
    cookie = await manager(clinic)
    new = {"login": "Dr.Ayu", "name": "Ayu", "role": "specialist"}
    made = await clinic.ok("/api/accounts", new, cookie=cookie)
    await clinic.sign_in("dr.ayu", made["password"])
    reply = await clinic.api("/api/accounts", {**new, "login": "dr.ayu"}, cookie=cookie)
    assert (reply.status, reply.code) == (409, "account_exists")
    listed = await clinic.ok("/api/accounts", method="GET", cookie=cookie)
    assert "argon2" not in str(listed)
    assert {a["login"] for a in listed["accounts"]} >= {"dr.ayu"}


async def test_sign_in_is_throttled_by_account(clinic: Clinic) -> None:
    """Wrong passwords for one account slow that account down; others sign in as before."""
    _, login, password = await clinic.account()
    _, other, others_password = await clinic.account()
    wrong = {"login": login, "password": "not this one"}
    seen = [(await clinic.api("/api/sign-in", wrong)).code for _ in range(7)]
    assert seen[:5] == ["credentials_invalid"] * 5
    assert seen[-1] == "throttled"
    reply = await clinic.api("/api/sign-in", {"login": login, "password": password})
    assert (reply.status, reply.code) == (429, "throttled")
    assert reply.body["retryAfterMs"] > 0
    assert int(reply.headers["Retry-After"]) >= 1
    await clinic.sign_in(other, others_password)
    assert clinic.metric("sign_ins_total", result="throttled") >= 1


def wrong_code(right: str) -> str:
    """Return another code with the same prefix, and a right check symbol."""
    for _ in range(1_000):
        made = codes.generate(secrets.randbelow)
        text = codes.parse(made)
        if codes.prefix(text) == codes.prefix(codes.parse(right)) and text != codes.parse(right):
            return made
    stem = codes.parse(right)
    for symbols in codes.ALPHABET:
        for check in codes.ALPHABET:
            guess = stem[:-2] + symbols + check
            try:
                if codes.parse(guess) != stem:
                    return guess
            except Exception:  # noqa: BLE001
                continue
    raise AssertionError("no such code")


def any_code() -> str:
    """Return a code that nobody has."""
    return codes.generate(secrets.randbelow)


async def test_codes_are_throttled_by_prefix_not_for_everybody(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guesses at one prefix slow down that prefix; every other code, and the link, work at once."""
    target, other = await clinic.node.consults.invite(), await clinic.node.consults.invite()
    while codes.prefix(codes.parse(other.code)) == codes.prefix(codes.parse(target.code)):
        other = await clinic.node.consults.invite()
    guess = wrong_code(target.code)
    seen = [
        (await clinic.api("/api/join", {"code": guess})).code
        for _ in range(CODE_BY_PREFIX.free_tries + 2)
    ]
    assert seen[0] == "code_invalid"
    assert seen[-1] == "throttled"
    assert (await clinic.api("/api/join", {"code": target.code})).code == "throttled"
    assert (await clinic.api("/api/join", {"token": target.token})).status == 200
    assert (await clinic.api("/api/join", {"code": other.code})).status == 200


async def test_codes_are_throttled_by_address(open_node: OpenNode) -> None:
    """Wrong codes slow down the address that they come from; another address, and right codes before, are free."""
    clinic = await open_node(server={"trusted_proxies": ("127.0.0.1",)})

    async def join(address: str, code: str) -> str:
        headers = {"X-Forwarded-For": address}
        reply = await clinic.api("/api/join", {"code": code}, headers=headers)
        return reply.code or str(reply.status)

    made = await clinic.node.consults.invite()
    seen = [await join("203.0.113.7", any_code()) for _ in range(CODE_BY_ADDRESS.free_tries + 2)]
    assert seen.count("code_invalid") >= CODE_BY_ADDRESS.free_tries
    assert seen[-1] == "throttled"
    assert await join("203.0.113.7", made.code) == "throttled"
    assert await join("198.51.100.9", made.code) == "200"


async def test_typing_slips_cost_no_try(clinic: Clinic) -> None:
    """A code whose check symbol is wrong is a slip, not a guess: it never leads to a wait."""
    made = await clinic.node.consults.invite()
    code = codes.parse(made.code)
    slip = code[:-1] + next(s for s in codes.ALPHABET if s != code[-1])
    for _ in range(40):
        assert (await clinic.api("/api/join", {"code": slip})).code == "code_invalid"
    assert (await clinic.api("/api/join", {"code": made.code})).status == 200


async def test_nothing_secret_is_logged(clinic: Clinic, log: StringIO) -> None:
    """A day's work with wrong tries in between leaves no token, code, password, name or address in the log."""
    made = await clinic.node.consults.invite()
    account, login, password = await clinic.account(name="Dr Unik")
    await clinic.api("/api/sign-in", {"login": login, "password": "wrong " + password})
    cookie = await clinic.sign_in(login, password)
    await clinic.api("/api/join", {"code": made.code, "token": made.token})
    await clinic.ok("/api/join", {"code": made.code})
    specialist = await clinic.desk_of(account, cookie)
    await specialist.send_text('{"type":"nonsense","token":"' + specialist.token + '"}')
    await specialist.wait_for(lambda m: m["type"] == "error")
    text = log.getvalue()
    for secret in (made.token, made.code, password, login, "Unik", cookie, specialist.token):
        assert secret not in text


async def test_pages_that_were_sent_are_counted(clinic: Clinic) -> None:
    """Each page that was sent counts, in whatever language; one that the browser has already doesn't."""
    first = await clinic.api("/id", method="GET")
    await clinic.api("/specialist", method="GET")
    headers = {"If-None-Match": first.headers["ETag"]}
    assert (await clinic.api("/id", method="GET", headers=headers)).status == 304
    assert clinic.metric("pages_served_total", page="patient") == 1
    assert clinic.metric("pages_served_total", page="specialist") == 1
