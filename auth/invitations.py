# SPDX-License-Identifier: Apache-2.0
"""Invitations into one consult, and the secret that brings someone back into it.

An invitation is a signed token that travels in a URL's *fragment*, in an SMS or a QR code: no
server, proxy or log on the way sees a fragment. It is redeemed when the person taps Join, never
when the page loads, for previews of links load pages too. Redeeming gives a *resume secret*, kept
by that browser alone, of which the server keeps a
hash. Coming back with it is free; any other device needs the spoken code and a confirmation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from auth.roles import Role
from auth.tokens import Audience, Claims, issue, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from auth.keys import KeyRing

SECRET_BYTES: Final = 32
"""256 bits, so that a plain hash protects it: there is nothing to guess, unlike with a password."""

SECRET_LENGTH: Final = 43
"""Characters of a resume secret: 32 bytes in base64url without padding."""

INVITED_ROLES: Final = frozenset({Role.PATIENT, Role.INTERPRETER, Role.RELATIVE})
"""Who comes by invitation. Specialists, operators and relays never do: a leaked link must not make
one."""


def mint_invitation(
    ring: KeyRing,
    consult_id: str,
    *,
    jti: str,
    now: float,
    lifetime_s: float,
    role: Role = Role.PATIENT,
) -> str:
    """Return an invitation into ``consult_id``, good for ``lifetime_s`` seconds.

    It is kept short, since the SMS is paid for by length: with a consult id of 16 characters and a
    ``jti`` of 11 (64 bits) it has 224, which with an address of 30 and a sentence of 52 fills two
    messages (2 x 153 characters, 3GPP TS 23.040 §9.2.3.24.1). A guest's role costs 24 more.

    Args:
        ring: signs it.
        consult_id: the one consult that it is good for.
        jti: its own id; the store lets it be redeemed once.
        now: UTC epoch seconds.
        lifetime_s: how long it is good for.
        role: as whom the person is invited.

    Raises:
        ValueError: lifetime or ids are out of range, or the role isn't invited into consults: our
            bug.
        KeysUnusable: no key of the ring may sign now.
    """
    if role not in INVITED_ROLES:
        raise ValueError(f"nobody is invited as {role}")
    claims = Claims(
        sub=jti,
        role=role,
        audience=Audience.INVITATION,
        jti=jti,
        expires_at=now + lifetime_s,
        consult_id=consult_id,
    )
    return issue(ring, claims, now)


def open_invitation(ring: KeyRing, token: str, now: float) -> Claims:
    """Return what an invitation says; its ``consult_id`` is never None.

    Opening isn't redeeming: whether its ``jti`` was used already only the store knows.

    Raises:
        TokenInvalid: it isn't an invitation of ours.
        TokenExpired: its time is over.
    """
    return verify(ring, token, audience=Audience.INVITATION, now=now)


def new_secret(rng_bytes: Callable[[int], bytes]) -> str:
    """Return a new resume secret.

    ``rng_bytes`` *must* be a cryptographic source (``secrets.token_bytes``).
    """
    return base64.urlsafe_b64encode(rng_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")


def secret_hash(secret: str) -> str:
    """Return the SHA-256 of a secret in hex: what is kept, and what it is looked up by."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def secret_matches(secret: str, expected_hash: str) -> bool:
    """Say whether the secret has that hash, in a time that doesn't depend on where they differ."""
    return hmac.compare_digest(
        secret_hash(secret).encode("ascii"), expected_hash.encode("utf-8", "surrogatepass")
    )
