# SPDX-License-Identifier: Apache-2.0
"""Every refusal that a client can meet, once: a stable code and what goes with it.

The code is the identifier that programs read. The sentence that a person reads is the page's, in the person's language,
found by the code. WebSocket close codes are of the private range 4000–4999 (RFC 6455 §7.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Why something was refused or a connection ended."""

    # The peer broke the protocol.
    MALFORMED = "malformed"
    """Not JSON, not UTF-8, a wrong type, an unknown field or message type, nested too deep, or a value out of bounds."""
    TOO_LARGE = "too_large"
    OUT_OF_ORDER = "out_of_order"
    """A request id that is not above the last one, a second hello, or anything before the hello."""
    VERSION_UNSUPPORTED = "version_unsupported"
    BINARY_UNSUPPORTED = "binary_unsupported"
    # Who are you?
    HELLO_TIMEOUT = "hello_timeout"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a code, no secret
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, no secret
    ORIGIN_FORBIDDEN = "origin_forbidden"
    CREDENTIALS_INVALID = "credentials_invalid"
    CODE_INVALID = "code_invalid"
    INVITATION_USED = "invitation_used"
    """Redeemed already, on another device: take over with the code and a confirmation instead."""
    RESUME_INVALID = "resume_invalid"
    TAKEOVER_REFUSED = "takeover_refused"
    # Refused by policy.
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    WRONG_STATE = "wrong_state"
    """The consult, ring or desk is not in a state in which this may happen; nothing was changed."""
    RING_OVER = "ring_over"
    """The ring was answered, declined, timed out or withdrawn before this reached us."""
    CONSULT_OVER = "consult_over"
    CONSENT_MISSING = "consent_missing"
    ACCOUNT_EXISTS = "account_exists"
    PASSWORD_WEAK = "password_weak"  # noqa: S105 - a code, no secret
    RATE_LIMITED = "rate_limited"
    CONTENT_TYPE = "content_type"
    """Not a type that content of this kind may have, or the bytes are no such thing."""
    CONTENT_METADATA = "content_metadata"
    """The picture carries more than the picture (EXIF, place, comments): it must be re-encoded on the device first."""
    CONTENT_SIZE = "content_size"
    """Larger or longer than its kind may be, a piece larger or smaller than a piece, or more bytes than were announced."""
    CONTENT_OFFSET = "content_offset"
    """No such handle, or the piece does not follow on the one before: begin again, at the durable offset."""
    CONTENT_HASH = "content_hash"
    """All bytes came, and they are not those that were announced."""
    CONTENT_QUOTA = "content_quota"
    """Too much is open at a time, or the consult holds all that it may."""
    THROTTLED = "throttled"
    """Too many wrong tries; ``retryAfterMs`` says when the next one is looked at."""
    TOO_MANY_CONNECTIONS = "too_many_connections"
    PEER_ABSENT = "peer_absent"
    """Nobody is connected on the other side; descriptions and candidates are not kept."""
    SLOW_READER = "slow_reader"
    DISPLACED = "displaced"
    """Another device or tab took this participant's place."""
    SIGNED_OUT = "signed_out"
    # Something we depend on, or we ourselves.
    RESTARTING = "restarting"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What goes with a code."""

    status: int
    """HTTP status (RFC 9110 §15, RFC 6585) when the refusal answers a request over HTTP."""
    close: int | None = None
    """WebSocket close code if the connection ends with it; None = the connection goes on."""
    retry: bool = False
    """Whether the client may try the same again by itself, after ``retryAfterMs`` or its own backoff."""


CODES: dict[Code, CodeInfo] = {
    Code.MALFORMED: CodeInfo(400),
    Code.TOO_LARGE: CodeInfo(413, 4009),
    Code.OUT_OF_ORDER: CodeInfo(409),
    Code.VERSION_UNSUPPORTED: CodeInfo(426, 4002),
    Code.BINARY_UNSUPPORTED: CodeInfo(415, 4003),
    Code.HELLO_TIMEOUT: CodeInfo(408, 4004, retry=True),
    Code.UNAUTHENTICATED: CodeInfo(401, 4001),
    Code.TOKEN_INVALID: CodeInfo(401, 4001),
    Code.TOKEN_EXPIRED: CodeInfo(401, 4005),
    Code.ORIGIN_FORBIDDEN: CodeInfo(403),
    Code.CREDENTIALS_INVALID: CodeInfo(401),
    Code.CODE_INVALID: CodeInfo(404),
    Code.INVITATION_USED: CodeInfo(409),
    Code.RESUME_INVALID: CodeInfo(401),
    Code.TAKEOVER_REFUSED: CodeInfo(403),
    Code.FORBIDDEN: CodeInfo(403),
    Code.NOT_FOUND: CodeInfo(404),
    Code.WRONG_STATE: CodeInfo(409),
    Code.RING_OVER: CodeInfo(409),
    Code.CONSULT_OVER: CodeInfo(410),
    Code.CONSENT_MISSING: CodeInfo(422),
    Code.ACCOUNT_EXISTS: CodeInfo(409),
    Code.PASSWORD_WEAK: CodeInfo(422),
    Code.RATE_LIMITED: CodeInfo(429, 4029, retry=True),
    Code.CONTENT_TYPE: CodeInfo(415),
    Code.CONTENT_METADATA: CodeInfo(422),
    Code.CONTENT_SIZE: CodeInfo(413),
    Code.CONTENT_OFFSET: CodeInfo(409, retry=True),
    Code.CONTENT_HASH: CodeInfo(422),
    Code.CONTENT_QUOTA: CodeInfo(429),
    Code.THROTTLED: CodeInfo(429, retry=True),
    Code.TOO_MANY_CONNECTIONS: CodeInfo(503, 4013, retry=True),
    Code.PEER_ABSENT: CodeInfo(409, retry=True),
    Code.SLOW_READER: CodeInfo(408, 4008, retry=True),
    Code.DISPLACED: CodeInfo(409, 4010),
    Code.SIGNED_OUT: CodeInfo(401, 4011),
    Code.RESTARTING: CodeInfo(503, 4012, retry=True),
    Code.UNAVAILABLE: CodeInfo(503, retry=True),
    Code.INTERNAL: CodeInfo(500, retry=True),
}
