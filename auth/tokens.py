# SPDX-License-Identifier: Apache-2.0
"""Issue and verify JSON Web Tokens (RFC 7519), signed with Ed25519 (RFC 8037) by PyJWT.

Only PyJWT's signature layer is used (``PyJWS``): its claim checks read the clock, ours take
``now``. The header is decoded into a closed type *before* anything else looks at the token: ``alg``
other than ``EdDSA``, a missing ``kid``, or any further header (``jwk``, ``jku``, ``crit``, ``b64``)
is refused, as RFC 8725 §3.1 asks.

What this doesn't do: remember tokens. That a ``jti`` is used once only is an atomic step of the
store.
"""

from __future__ import annotations

import base64
import math
from enum import StrEnum
from typing import Annotated, Final, Literal

import jwt
import msgspec

from auth.errors import TokenExpired, TokenInvalid
from auth.keys import MAX_TOKEN_LIFETIME_S, KeyRing
from auth.roles import Role

MAX_TOKEN_BYTES: Final = 2048
"""Longer texts are refused unread. Our longest token is a third of it; half of a browser's cookie
limit (4,096 bytes, RFC 6265 §6.1)."""

LEEWAY_S: Final = 30.0
"""How far the clocks of two nodes may be apart. RFC 7519 §4.1.4 allows "no more than a few
minutes"; all our tokens are both issued and verified by our own machines, which ``selat check``
asks to run NTP."""

_ALGORITHM: Final = "EdDSA"


class Audience(StrEnum):
    """What a token is good for: the ``aud`` claim. A token for one door opens no other.

    The values are short because one of them travels in an SMS.
    """

    INVITATION = "inv"
    """Redeemed once by whoever was invited into a consult."""
    SESSION = "ses"
    """Shown in the first message of a WebSocket."""
    WEB = "web"
    """The account cookie of a specialist or operator."""
    RELAY = "rly"
    """A media relay that dials in."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says. Instants are UTC epoch seconds; on the wire they are whole seconds."""

    sub: str
    """Whom it is about: participant, account or relay id. Of an invitation, the invitation itself
    (its ``jti``)."""
    role: Role
    """What its bearer may do (``auth.roles``)."""
    audience: Audience
    """Which door it opens."""
    jti: str
    """The token's own id, never given twice."""
    expires_at: float
    """It is refused from then on."""
    consult_id: str | None = None
    """The one consult that it is for; None where there is none."""
    issued_at: float | None = None
    """When it was issued; ``issue`` writes its ``now`` when this is None. Always None in an
    invitation read back: it carries no ``iat``, for that would cost 23 of an SMS's 160
    characters."""


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Instant = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # whole seconds that a float holds exactly


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["EdDSA"]
    kid: str


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    sub: _Text
    role: Role
    aud: Audience
    jti: _Text
    iat: _Instant
    exp: _Instant
    consult: _Text | None = None


class _InvitationPayload(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The same with what an SMS can spare left out or shortened."""

    aud: Literal["inv"]
    jti: _Text
    exp: _Instant
    consult: _Text = msgspec.field(name="c")
    role: Role = msgspec.field(name="r", default=Role.PATIENT)


_jws: Final = jwt.PyJWS(algorithms=[_ALGORITHM])
_header_decoder: Final = msgspec.json.Decoder(_Header)
_payload_decoder: Final = msgspec.json.Decoder(_Payload)
_invitation_decoder: Final = msgspec.json.Decoder(_InvitationPayload)


def issue(ring: KeyRing, claims: Claims, now: float) -> str:
    """Return a signed token with these claims.

    The ``typ`` header is left out (RFC 7519 §5.1 makes it optional): the audience tells our tokens
    apart.

    Raises:
        ValueError: the claims can't be kept or break their own rules (lifetime not within
            ``MAX_TOKEN_LIFETIME_S``, an invitation without a consult, an id that is empty or too
            long): our bug.
        KeysUnusable: no key of the ring may sign now.
    """
    issued_at = now if claims.issued_at is None else claims.issued_at
    if not 0 < claims.expires_at - issued_at <= MAX_TOKEN_LIFETIME_S:
        raise ValueError("a token's lifetime must be positive and at most MAX_TOKEN_LIFETIME_S")
    texts = (claims.sub, claims.jti, "-" if claims.consult_id is None else claims.consult_id)
    if not all(1 <= len(text) <= 128 for text in texts):
        raise ValueError("ids in a token have 1 to 128 characters")
    payload: _Payload | _InvitationPayload
    if claims.audience is Audience.INVITATION:
        if claims.consult_id is None:
            raise ValueError("an invitation is for one consult")
        payload = _InvitationPayload(
            "inv", claims.jti, math.ceil(claims.expires_at), claims.consult_id, claims.role
        )
    else:
        payload = _Payload(
            claims.sub,
            claims.role,
            claims.audience,
            claims.jti,
            math.floor(issued_at),
            math.ceil(claims.expires_at),
            claims.consult_id,
        )
    key = ring.signing_key(now)
    return _jws.encode(
        msgspec.json.encode(payload),
        key.private_key,
        algorithm=_ALGORITHM,
        headers={"kid": key.kid, "typ": ""},
    )


def verify(
    ring: KeyRing,
    token: str,
    *,
    audience: Audience,
    now: float,
    or_audience: Audience | None = None,
) -> Claims:
    """Return what a token says, when it is genuine, meant for ``audience`` and in its time.

    ``or_audience`` is for a door that two kinds of visitors come through; neither is an invitation.

    Costs one Ed25519 verification and little more; a text that can't be a token is refused before
    that.

    Raises:
        TokenInvalid: it is too long, malformed, signed otherwise or by an unknown key, altered, for
            another audience, misses a claim, or was issued in the future.
        TokenExpired: all is well with it, but its time is over.
    """
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise TokenInvalid("not a token")
    key = ring.find(_read_kid(token), now)
    try:
        payload_bytes = _jws.decode_complete(token, key.public_key, algorithms=[_ALGORITHM])[
            "payload"
        ]
    except jwt.PyJWTError:
        # Causes are cut off here and below: the libraries' messages may quote the token.
        raise TokenInvalid("malformed or not signed by us") from None
    try:
        claims = _read_claims(payload_bytes, audience)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise TokenInvalid("claims are missing or malformed") from None
    if claims.audience is not audience and claims.audience is not or_audience:
        raise TokenInvalid("meant for another audience")
    if claims.issued_at is not None and claims.issued_at > now + LEEWAY_S:
        raise TokenInvalid("issued in the future")
    if now >= claims.expires_at + LEEWAY_S:
        raise TokenExpired("the token's time is over")
    return claims


def _read_kid(token: str) -> str:
    segment = token.partition(".")[0]
    try:
        header = _header_decoder.decode(
            base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        )
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise TokenInvalid("malformed, or not signed the way we sign") from None
    return header.kid


def _read_claims(payload_bytes: bytes, audience: Audience) -> Claims:
    if audience is Audience.INVITATION:
        invitation = _invitation_decoder.decode(payload_bytes)
        return Claims(
            sub=invitation.jti,
            role=invitation.role,
            audience=Audience.INVITATION,
            jti=invitation.jti,
            expires_at=float(invitation.exp),
            consult_id=invitation.consult,
        )
    payload = _payload_decoder.decode(payload_bytes)
    return Claims(
        sub=payload.sub,
        role=payload.role,
        audience=payload.aud,
        jti=payload.jti,
        expires_at=float(payload.exp),
        consult_id=payload.consult,
        issued_at=float(payload.iat),
    )
