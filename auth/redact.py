# SPDX-License-Identifier: Apache-2.0
"""What must never reach a log: a filter for log records, and the function that it uses.

Two nets. Structured fields with a name in ``DROPPED_FIELDS`` lose their value, whatever it is. All
other text goes through ``redact``, which finds what has the *shape* of a secret or of an address.
The second net is for accidents (a library's error message, a traceback): code *must not* log such
things in the first place. Names and free text have no shape; only the first net catches them.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from auth import codes
from auth.errors import CodeInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

REDACTED: Final = "[redacted]"
"""What a dropped field's value becomes."""

MAX_TEXT_LENGTH: Final = 16_384
"""A longer text is cut, so that looking through it can't hold up the service. Our records have some
hundred characters, a traceback some thousand."""

MAX_DEPTH: Final = 8
"""Fields nested more deeply are dropped whole."""

DROPPED_FIELDS: Final = frozenset(
    {
        # who can act as somebody
        "authorization",
        "bearer",
        "cookie",
        "credential",
        "credentials",
        "invitation",
        "jwt",
        "passphrase",
        "password",
        "pepper",
        "resume",
        "secret",
        "set_cookie",
        "short_code",
        "token",
        # where somebody is
        "address",
        "candidate",
        "candidates",
        "client_address",
        "description",
        "fingerprint",
        "forwarded",
        "host_candidate",
        "ice_pwd",
        "ice_ufrag",
        "ip",
        "peername",
        "pwd",
        "remote",
        "remote_address",
        "sdp",
        "ufrag",
        "x_forwarded_for",
        "x_real_ip",
        # where a link leads
        "fragment",
        "href",
        "link",
        "query",
        "query_string",
        "referer",
        "referrer",
        "url",
        # who somebody is, and what they said
        "age",
        "age_months",
        "age_years",
        "body",
        "chat",
        "complaint",
        "display_name",
        "email",
        "full_name",
        "given_name",
        "intake",
        "line",
        "login",
        "note",
        "patient",
        "person_name",
        "phone",
        "photograph",
        "pregnancy",
        "pregnant",
        "sex",
        "summary",
        "text",
        "username",
    }
)
"""Names of fields whose values are dropped, in lower case with ``_`` for ``-``."""

DROPPED_SUFFIXES: Final = (
    "_address",
    "_cookie",
    "_credential",
    "_key",
    "_password",
    "_pepper",
    "_secret",
    "_token",
)
"""Endings of such names."""

# A field called "code" (or "..._code") may hold a short code or the stable code of an error, which
# is what one looks for in a log: numbers stay, and lower-case identifiers with a vowel, which no
# short code has.
_STABLE_CODE: Final = re.compile(r"(?=[a-z_]*[aeiou])[a-z]+(?:_[a-z]+)*", re.ASCII)

_SYMBOLS: Final = f"[{re.escape(codes.ALPHABET + codes.ALPHABET.lower())}]"


def _hide_address(match: re.Match[str]) -> str:
    text = match.group()
    # The text around an address may bring a colon or full stop with it.
    for bare in (text, text.rstrip("."), text.rstrip(".:")):
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            continue
        # Nobody is found by these, and an operator needs "listening on 127.0.0.1" readable.
        if address.is_loopback or address.is_unspecified:
            return text
        return "[address]" + text[len(bare) :]
    return text


def _is_short_code(text: str) -> bool:
    try:
        codes.parse(text)
    except CodeInvalid:
        return False
    return True


def _hide_code(match: re.Match[str]) -> str:
    text = match.group()
    # Without the hyphen many a number has this shape; only one in 19 of them also has a right check
    # symbol.
    return "[code]" if "-" in text or _is_short_code(text) else text


# In this order: what contains others comes first. No pattern nests repetitions, and each piece in
# one is bounded or delimited by what it may not contain, so that none of them can be made to take
# long.
_PATTERNS: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    # SDP (RFC 8866 §5): the whole from its first line on, with real or escaped line ends; then
    # single lines.
    (re.compile(r"\bv=0(?:\\r|\\n|\r|\n).*", re.DOTALL), "[sdp]"),
    (
        re.compile(
            r"(?<![\w/?&])(?:a=(?:candidate|fingerprint|ice-\w+|ssrc|msid|crypto|rtcp|remote-\w+)\b"
            r"|[co]=[^\r\n\\]{0,80}IN IP[46]|m=(?:audio|video|application) \d)[^\r\n\\]*"
        ),
        "[sdp]",
    ),
    # RFC 8839 §5.1, as RTCIceCandidate.candidate has it.
    (re.compile(r"\bcandidate:[^\r\n\"'\\]*"), "[candidate]"),
    (re.compile(r"(?i)\bice-(?:ufrag|pwd):\S+"), "[ice]"),
    (re.compile(r"(?i)\b((?:set-)?cookie)\s*:[^\r\n]*"), r"\1: [redacted]"),
    (re.compile(r"(?i)\b((?:proxy-)?authorization)\s*:[^\r\n]*"), r"\1: [redacted]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}"), r"\1 [redacted]"),
    # What follows a # in an address, or stands alone as a location's hash.
    (re.compile(r"(?<=[\w/?=&.-])#(?!\[fragment\])[^\s\"'<>)\]]+"), "#[fragment]"),
    # JWT (RFC 7519): "eyJ" is the base64 of '{"'.
    (re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*){0,4}", re.ASCII), "[token]"),
    (re.compile(r"\$argon2[a-z]{1,2}\$[^\s\"']*"), "[hash]"),
    # TURN (draft-uberti): username, and HMAC-SHA1 in base64.
    (re.compile(r"\b\d{10}:[\w-]{1,64}", re.ASCII), "[turn]"),
    (re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/]{27}=(?!=)"), "[turn]"),
    # Resume secrets, and any other 256 bits in base64url.
    (re.compile(r"(?<![\w-])[A-Za-z0-9_-]{43}(?![\w-])", re.ASCII), "[secret]"),
    # Passwords in the address of a store or proxy.
    (re.compile(r"://[^\s/@]{1,256}@"), "://[redacted]@"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}"), "[email]"),
    (re.compile(r"\+\d(?:[ .-]?\d){7,14}\b"), "[phone]"),
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"), _hide_address),
    (
        re.compile(
            r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:.]{2,45}(?![\w:])"
        ),
        _hide_address,
    ),
    # Host candidates' mDNS names.
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\.local\b"), "[address]"),
    (re.compile(rf"(?<![\w-]){_SYMBOLS}{{4}}[- ]?{_SYMBOLS}{{4}}(?![\w-])"), _hide_code),
)


def redact(text: str) -> str:
    """Return the text without what has the shape of a secret, an address or a description.

    Tokens, bearer headers, cookies, URL fragments, short codes, resume secrets, TURN credentials,
    password hashes, SDP, candidates, network addresses (all but loopback), e-mail addresses and
    telephone numbers.
    """
    if len(text) > MAX_TEXT_LENGTH:
        text = text[:MAX_TEXT_LENGTH] + " [cut]"
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def is_dropped(name: str) -> bool:
    """Say whether a field of that name loses its value, whatever it is."""
    folded = name.lower().replace("-", "_")
    return folded in DROPPED_FIELDS or folded.endswith(DROPPED_SUFFIXES)


def redact_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return fields that may be logged: dropped names emptied, all texts in them redacted."""
    return {name: _redact_field(name, value, 0) for name, value in fields.items()}


def _redact_field(name: str, value: object, depth: int) -> object:
    if is_dropped(name):
        return REDACTED
    folded = name.lower().replace("-", "_")
    if isinstance(value, str) and (folded == "code" or folded.endswith("_code")):
        return value if _STABLE_CODE.fullmatch(value) else REDACTED
    return _redact_value(value, depth)


def _redact_value(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if depth >= MAX_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        return {
            redact(str(name)): _redact_field(str(name), inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(inner, depth + 1) for inner in value]
    # Anything else reaches the log as its text.
    return redact(str(value))


# What the logging module itself puts on a record; everything else came in by "extra".
_RECORD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}


class RedactingFilter(logging.Filter):
    """Makes every record that passes safe to write. Never drops one.

    Attach it to the *handlers*: a logger's filters aren't asked for its children's records.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the message, the fields that came in by ``extra``, and the traceback."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a wrong format string must not let its arguments through
            message = f"{record.msg} [unformattable]"
        record.msg, record.args = redact(message), None
        for name in vars(record).keys() - _RECORD_ATTRIBUTES:
            setattr(record, name, _redact_field(name, getattr(record, name), 0))
        if record.exc_info and record.exc_info[0] is not None:
            # Formatters write exc_text when there is one; exc_info goes, so that none formats it
            # afresh.
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text, record.exc_info = text, None
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True
