# SPDX-License-Identifier: Apache-2.0
"""Nothing secret and nobody's address reaches a log: a list of what must go and what must stay."""

import io
import logging
import secrets
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from auth import codes, redact, turn
from auth.invitations import mint_invitation, new_secret
from auth.keys import Key, KeyRing
from auth.passwords import DUMMY_HASH
from auth.redact import MAX_DEPTH, MAX_TEXT_LENGTH, REDACTED, RedactingFilter, redact_fields

NOW = 1_790_000_000.0
RING = KeyRing((Key.from_seed(bytes(range(32)), created_at=NOW),))
TOKEN = mint_invitation(RING, "c_1", jti="i_1", now=NOW, lifetime_s=60)
CODE = codes.parse("3W5W-8KJ6")
SECRET = new_secret(lambda size: bytes(range(size)))
TURN = turn.credentials("north", "p_1", NOW)
CANDIDATE = (
    "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.17 rport 46154 "
    "generation 0 ufrag EsAw network-cost 999"
)
SDP = (
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\n"
    "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=fingerprint:sha-256 D2:FA:0E:C3\r\n"
)

MUST_GO = [
    (TOKEN, TOKEN),
    (f"bad token '{TOKEN}'.", TOKEN),
    (f"cut {TOKEN[:40]}", TOKEN[10:40]),
    (f"{{'token': '{TOKEN}'}}", TOKEN),
    ("Authorization: Bearer s3cr3t-and-more", "s3cr3t"),
    ("authorization:Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("sent bearer abcdef123456", "abcdef123456"),
    ("Cookie: a=b; selat=opaque-session", "opaque"),
    ("Set-Cookie: selat=opaque; HttpOnly", "opaque"),
    (f"GET https://selat.example/j#{TOKEN}", TOKEN),
    ("opened https://selat.example/#opaque-fragment now", "opaque-fragment"),
    ("/join#opaque?x", "opaque"),
    (f"code {CODE}", CODE),
    (f"code={CODE.lower()},", CODE.lower()),
    ("code 3W5W8KJ6 was typed", "3W5W8KJ6"),
    ("code 3w5w 8kj6 was typed", "3w5w 8kj6"),
    ("mistyped 3W5W-8KJ7", "3W5W-8KJ7"),
    (f"resume {SECRET}", SECRET),
    (f'"{SECRET}"', SECRET),
    (f"turn user {TURN.username}", TURN.username),
    (f"turn password {TURN.credential}", TURN.credential),
    (f"hash {DUMMY_HASH}", DUMMY_HASH[-20:]),
    ("redis://selat:hunter2@store.example:6379/0", "hunter2"),
    (SDP, "EsAw"),
    (SDP, "P2uYro0UCOQ4zxjKXaWCBui1"),
    (f"description {SDP!r} refused", "4611731400430051336"),
    ("failed on a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "P2uYro"),
    ("ice-ufrag:EsAw", "EsAw"),
    ("line o=- 46117 2 IN IP4 host", "46117"),
    ("line m=video 9 UDP/TLS/RTP/SAVPF 96", "SAVPF"),
    ("line a=fingerprint:sha-256 D2:FA:0E:C3", "D2:FA"),
    (CANDIDATE, "203.0.113.7"),
    (CANDIDATE, "10.0.0.17"),
    (f'{{"candidate": "{CANDIDATE}"}}', "46154"),
    ("a=" + CANDIDATE, "EsAw"),
    ("from 203.0.113.7", "203.0.113.7"),
    ("('203.0.113.7', 51234)", "203.0.113.7"),
    ("203.0.113.7:51234 refused.", "203.0.113.7"),
    ("peer 203.0.113.7.", "203.0.113.7"),
    ("from 2001:db8::7 now", "2001:db8::7"),
    ("from [2001:db8::7]:443", "2001:db8::7"),
    ("from 2001:db8:0:1:2:3:4:5, too", "2001:db8:0:1"),
    ("from fe80::1%eth0", "fe80::1"),
    ("from 2001:db8::7: refused", "2001:db8::7"),
    ("from ::ffff:203.0.113.7", "203.0.113.7"),
    ("prefix 2001:db8::", "2001:db8"),
    ("host 0a1b2c3d-0001-4002-8003-00112233aabb.local", "0a1b2c3d"),
    ("mail to siti.rahma@puskesmas.example", "siti"),
    ("call +62 812-3456-7890", "3456"),
    ("call +6281234567890.", "8123"),
]

MUST_STAY = [
    "",
    "consult_ended",
    "consult c_9Q2mX7 rolled over to s_2",
    "listening on 127.0.0.1:8443 and [::1]:8443",
    "listening on 0.0.0.0:8443",
    "took 12:34:56, code 1008, ratio 0.25, at 1790000000.123",
    "2026-11-21T21:01:00.123Z",
    "aiohttp 3.14.5 on Python 3.11.7",
    'File "signalling/app.py", line 12, in serve',
    "error throttled, retry after 2.5 s",
    "sha256 " + "0123456789abcdef" * 4,
    "candidate pair failed",
    "version 300.1.2.3 of 4.5",
    "count 23456789 of 98765432",
    "#1 in the queue, urgency red",
    "a=b&c=d",
    "::",
    "std::vector of std::string",
    "deadbeef:cafe:",
    "2 + 2 = 4",
]


@pytest.mark.parametrize(("text", "secret"), MUST_GO)
def test_what_must_go(text: str, secret: str) -> None:
    """The secret is in the text before, and no longer afterwards."""
    assert secret in text
    assert secret not in redact.redact(text)


@pytest.mark.parametrize("text", MUST_STAY)
def test_what_must_stay(text: str) -> None:
    """A log that is needed stays readable."""
    assert redact.redact(text) == text


def test_the_rest_of_the_sentence_stays() -> None:
    """Only the secret is replaced, by a word that says what it was."""
    text = f"peer 203.0.113.7: token {TOKEN} and code {CODE} at https://selat.example/j#{TOKEN}, 3 left"
    assert redact.redact(text) == (
        "peer [address]: token [token] and code [code] at https://selat.example/j#[fragment] 3 left"
    )


def test_every_generated_code_and_secret_goes() -> None:
    """Not only the samples: whatever our own generators make is found, in all its spellings."""
    for _ in range(300):
        code = codes.generate(secrets.randbelow)
        for spelled in (code, code.lower(), code.replace("-", ""), code.replace("-", " ")):
            assert redact.redact(f"x {spelled} y") == "x [code] y"
        secret = new_secret(secrets.token_bytes)
        assert secret not in redact.redact(f"x {secret} y")
        made = turn.credentials(secrets.token_bytes(16), "p_1", NOW)
        assert made.credential not in redact.redact(f"x {made.credential} y")


@settings(deadline=None)  # the machine may be busy
@given(before=st.text(max_size=200), after=st.text(max_size=200))
def test_secrets_go_from_between_anything(before: str, after: str) -> None:
    """Whatever stands before and after, a secret between blanks is found, and no text breaks it."""
    for secret in (TOKEN, CODE, SECRET, TURN.credential, "203.0.113.7", "2001:db8::7"):
        assert secret not in redact.redact(f"{before} {secret} {after}")


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "1.", "a:", "::", "eyJ.", "x@", "a.", "#", "+1 ", "A-", "v=0 ", "://", "candidate:"],
)
def test_no_text_takes_long(piece: str) -> None:
    """A long hostile text costs less than a quarter of a second, and is cut."""
    text = piece * (1_000_000 // len(piece))
    start_s = time.perf_counter()
    result = redact.redact(text)
    assert time.perf_counter() - start_s < 0.25
    assert len(result) < 4 * MAX_TEXT_LENGTH


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "Authorization",
        "Set-Cookie",
        "x-forwarded-for",
        "resume_secret",
        "sdp",
        "TURN_CREDENTIAL",
        "session_token",
        "signing_key",
        "remote_address",
        "complaint",
        "display-name",
    ],
)
def test_fields_that_are_dropped(name: str) -> None:
    """A field with such a name loses its value, whatever its type and however it is written."""
    for value in ("harmless", 7, ["harmless"], None):
        assert redact_fields({name: value}) == {name: REDACTED}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("code", "token_invalid", True),
        ("code", "throttled", True),
        ("code", 1008, True),
        ("code", "3W5W-8KJ6", False),
        ("code", "3w5w8kj6", False),
        ("close_code", 1013, True),
        ("error-code", "not_found", True),
        ("takeover_code", "3W5W-8KJ6", False),
        ("code", "wkcwjtrx", False),
        ("code", "", False),
    ],
)
def test_codes_of_two_kinds(name: str, value: object, kept: bool) -> None:
    """The stable code of an error stays, a code that was typed goes, also one without digits."""
    assert redact_fields({name: value})[name] == (value if kept else REDACTED)


def test_fields_are_redacted_in_depth() -> None:
    """Names and texts are looked at in nested fields too; numbers and truth values stay."""

    class Thing:
        @override
        def __str__(self) -> str:
            return f"thing at 203.0.113.7 with {CODE}"

    fields = {
        "consult": "c_1",
        "waited_s": 12.5,
        "tries": 3,
        "ok": True,
        "reason": None,
        "peer": {"token": "x", "inner": [f"at {CODE}", {"password": "y"}], 7: "seven"},
        "pair": (CODE, 1),
        "thing": Thing(),
        "raw": b"\x00",
    }
    assert redact_fields(fields) == {
        "consult": "c_1",
        "waited_s": 12.5,
        "tries": 3,
        "ok": True,
        "reason": None,
        "peer": {"token": REDACTED, "inner": ["at [code]", {"password": REDACTED}], "7": "seven"},
        "pair": ["[code]", 1],
        "thing": "thing at [address] with [code]",
        "raw": "b'\\x00'",
    }


def test_bottomless_fields_are_dropped() -> None:
    """A structure that contains itself ends at the limit."""
    loop: list[object] = []
    loop.append(loop)
    value = redact_fields({"loop": loop})["loop"]
    for _ in range(MAX_DEPTH):
        assert isinstance(value, list)
        (value,) = value
    assert value == REDACTED


def fail(error: Exception) -> None:
    raise error


class JsonLike(logging.Formatter):
    """Writes message, traceback and all extra fields, as a structured log does."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        known = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}
        extra = {name: value for name, value in vars(record).items() if name not in known}
        return f"{super().format(record)} {extra}"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(JsonLike("%(levelname)s %(message)s"))
    logger = logging.Logger("redaction")  # noqa: LOG001 - not to be found by other tests
    logger.addHandler(handler)
    yield logger, written
    handler.close()


def test_messages_and_arguments_are_redacted(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    """A secret goes whether it was in the message or came as an argument; the rest is written."""
    logger, written = log
    logger.warning("refused %s from %s after %d tries", TOKEN, "203.0.113.7", 3)
    assert written.getvalue() == "WARNING refused [token] from [address] after 3 tries {}\n"


def test_extra_fields_are_redacted(log: tuple[logging.Logger, io.StringIO]) -> None:
    """Structured fields go through both nets."""
    logger, written = log
    logger.info("redeemed", extra={"consult": "c_1", "invitation": "x", "why": f"code {CODE}"})
    assert "'consult': 'c_1'" in written.getvalue()
    assert f"'invitation': '{REDACTED}'" in written.getvalue()
    assert "'why': 'code [code]'" in written.getvalue()


def test_tracebacks_are_redacted(log: tuple[logging.Logger, io.StringIO]) -> None:
    """A secret in an exception's text, or its cause's, doesn't get out; the place stays readable."""
    logger, written = log
    try:
        try:
            fail(ValueError(f"bad token {TOKEN}"))
        except ValueError as cause:
            raise RuntimeError("peer 203.0.113.7 failed") from cause
    except RuntimeError:
        logger.exception("handler_failed", stack_info=True)
    text = written.getvalue()
    assert TOKEN not in text
    assert "203.0.113.7" not in text
    assert "ValueError: bad token [token]" in text
    assert "RuntimeError: peer [address] failed" in text
    assert "test_redact.py" in text
    assert "Stack (most recent call last)" in text


def test_a_traceback_that_was_formatted_before_is_redacted() -> None:
    """What is on the record as text already, traceback or stack, is redacted too."""
    record = logging.makeLogRecord({"msg": "x"})
    try:
        fail(ValueError(TOKEN))
    except ValueError:
        record.exc_info = sys.exc_info()
    record.exc_text = f"cached {TOKEN}"
    record.stack_info = f"call({CODE})"
    assert RedactingFilter().filter(record)
    assert record.exc_text == "cached [token]"
    assert record.stack_info == "call([code])"


def test_exc_info_without_an_exception(log: tuple[logging.Logger, io.StringIO]) -> None:
    """Logging with ``exc_info`` outside of a handler writes the message and nothing odd."""
    logger, written = log
    logger.error("odd", exc_info=(None, None, None))
    assert written.getvalue().startswith("ERROR odd")


def test_a_wrong_format_string_lets_nothing_through(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    """When a message can't be formatted, its arguments aren't written at all."""
    logger, written = log
    logger.error("refused %d", TOKEN)
    assert written.getvalue() == "ERROR refused %d [unformattable] {}\n"
