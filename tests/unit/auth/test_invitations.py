# SPDX-License-Identifier: Apache-2.0
"""Invitations and resume secrets."""

import hashlib
import secrets

import pytest

from auth.errors import TokenExpired, TokenInvalid
from auth.invitations import (
    INVITED_ROLES,
    SECRET_LENGTH,
    mint_invitation,
    new_secret,
    open_invitation,
    secret_hash,
    secret_matches,
)
from auth.keys import Key, KeyRing
from auth.roles import Role
from auth.tokens import LEEWAY_S, Audience, Claims, issue, verify

NOW = 1_790_000_000.0
RING = KeyRing((Key.from_seed(bytes(range(32)), created_at=NOW),))
CONSULT, JTI = "c_9f3k2m8x7q1a5b", "4h7d0s5w2p6"


def mint(role: Role = Role.PATIENT, lifetime_s: float = 3600.0) -> str:
    return mint_invitation(RING, CONSULT, jti=JTI, now=NOW, lifetime_s=lifetime_s, role=role)


@pytest.mark.parametrize("role", sorted(INVITED_ROLES))
def test_an_invitation_says_who_may_join_what(role: Role) -> None:
    """Consult, role, id and expiry are read back; the patient's role is the default."""
    assert open_invitation(RING, mint(role), NOW) == Claims(
        sub=JTI,
        role=role,
        audience=Audience.INVITATION,
        jti=JTI,
        expires_at=NOW + 3600,
        consult_id=CONSULT,
        issued_at=None,
    )


@pytest.mark.parametrize("role", sorted(set(Role) - INVITED_ROLES))
def test_a_leaked_link_makes_no_specialist(role: Role) -> None:
    """Nobody can be invited as a specialist, operator or relay."""
    with pytest.raises(ValueError, match="nobody is invited"):
        mint(role)


def test_an_invitation_fits_an_sms() -> None:
    """With an address of 30 characters and a sentence of 52 it fits two messages of 153."""
    length, guest = len(mint()), len(mint(Role.INTERPRETER))
    print(f"invitation: {length} characters; an interpreter's: {guest}")
    assert guest == length + 24
    assert (len(CONSULT), len(JTI)) == (16, 11)
    assert 30 + 52 + length <= 2 * 153


def test_an_invitation_needs_no_escaping() -> None:
    """It stands in a URL's fragment as it is (RFC 3986 §3.5)."""
    assert set(mint()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_an_invitation_expires() -> None:
    """After its time, and the leeway for clocks, it is refused as expired."""
    token = mint(lifetime_s=60)
    assert open_invitation(RING, token, NOW + 60 + LEEWAY_S - 0.001).jti == JTI
    with pytest.raises(TokenExpired):
        open_invitation(RING, token, NOW + 60 + LEEWAY_S)


def test_an_invitation_opens_nothing_else() -> None:
    """It is no session, and a session token is no invitation."""
    with pytest.raises(TokenInvalid):
        verify(RING, mint(), audience=Audience.SESSION, now=NOW)
    session = Claims(
        sub="p",
        role=Role.PATIENT,
        audience=Audience.SESSION,
        jti="t",
        expires_at=NOW + 9,
        consult_id=CONSULT,
    )
    with pytest.raises(TokenInvalid):
        open_invitation(RING, issue(RING, session, NOW), NOW)


def test_a_forged_invitation_is_refused() -> None:
    """One that was signed by somebody else's key opens nothing."""
    stranger = KeyRing((Key.from_seed(b"s" * 32, created_at=NOW),))
    token = mint_invitation(stranger, CONSULT, jti=JTI, now=NOW, lifetime_s=60)
    with pytest.raises(TokenInvalid):
        open_invitation(RING, token, NOW)


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, 91 * 86_400.0])
def test_lifetimes_have_bounds(lifetime_s: float) -> None:
    """An invitation that is dead already, or outlives its key, isn't made."""
    with pytest.raises(ValueError, match="lifetime"):
        mint(lifetime_s=lifetime_s)


def test_secrets_are_long_random_and_url_safe() -> None:
    """A resume secret has 256 bits from the source that it was given."""
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return b"\xff" * size

    assert new_secret(source) == "_" * 42 + "8"
    assert asked == [32]
    made = {new_secret(secrets.token_bytes) for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {SECRET_LENGTH}


def test_secrets_are_kept_as_hashes() -> None:
    """The hash is SHA-256 of the text; only the very same secret matches."""
    secret = new_secret(secrets.token_bytes)
    kept = secret_hash(secret)
    assert kept == hashlib.sha256(secret.encode()).hexdigest()
    assert secret_matches(secret, kept)
    assert not secret_matches(secret + "A", kept)
    assert not secret_matches(secret[:-1], kept)
    assert not secret_matches("", kept)
    assert not secret_matches(secret, "")
    assert not secret_matches(secret, kept.upper())


@pytest.mark.parametrize("text", ["\ud800", "é" * 1000, "\x00"])
def test_any_text_may_be_compared(text: str) -> None:
    """Hostile text on either side is a mismatch, not an exception."""
    assert not secret_matches(text, secret_hash("other"))
    assert not secret_matches("other", text)
