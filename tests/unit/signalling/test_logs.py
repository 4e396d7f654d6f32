# SPDX-License-Identifier: Apache-2.0
"""Log lines: shape, context, and nothing personal."""

import asyncio
import io
import json
import logging
import warnings

import pytest

from signalling import logs
from signalling.config import LogConfig, LogFormat


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored():
    """Put the test run's own logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in logs.QUIET}
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, its_level in quiet.items():
        logging.getLogger(name).setLevel(its_level)


def configured(log_format: LogFormat = LogFormat.JSON, stream=None, level="info") -> io.StringIO:
    stream = stream or io.StringIO()
    logs.configure(LogConfig(format=log_format, level=level), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


log = logging.getLogger("signalling.test")


def fail(error: Exception) -> None:
    raise error


def test_a_line_is_one_json_object() -> None:
    """Each record is one line of JSON: instant, level, logger, event, fields."""
    stream = configured()
    log.info("ring", extra={"outcome": "declined", "after_s": 3.5})
    (line,) = lines(stream)
    assert str(line.pop("at")).endswith("Z")
    assert line == {
        "level": "info",
        "logger": "signalling.test",
        "event": "ring",
        "outcome": "declined",
        "after_s": 3.5,
    }


def test_the_context_reaches_every_line_and_task_inside() -> None:
    """Lines within a context carry its fields, also in tasks begun there; lines outside do not."""
    stream = configured()

    async def child() -> None:
        log.info("child")

    async def main() -> None:
        with logs.context(connection="w1", role="patient"):
            with logs.context(consult="c1"):
                await asyncio.create_task(child())
            log.info("inner", extra={"role": "operator"})
        log.info("outer")

    asyncio.run(main())
    inside, own, outside = lines(stream)
    assert (inside["connection"], inside["role"], inside["consult"]) == ("w1", "patient", "c1")
    assert own["role"] == "operator"
    assert "consult" not in own
    assert "connection" not in outside


SECRETS = {
    "token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
    "address": "203.0.113.77",
    "candidate": "candidate:1 1 udp 2122 203.0.113.77 5000 typ host",
    "fragment": "https://selat.example/id#secret-part",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.TEXT])
def test_secrets_reach_no_line(secret: str, log_format: LogFormat) -> None:
    """A token, address, candidate or fragment is redacted in messages, arguments, fields, context and tracebacks."""
    stream = configured(log_format)
    log.warning("saw %s", secret)
    log.warning(secret, extra={"detail": secret, "token": secret})
    with logs.context(consult=secret):
        log.warning("inside")
    try:
        fail(ValueError(secret))
    except ValueError:
        log.exception("failed")
    logging.getLogger("some.library").error("lost %s", secret)
    text = stream.getvalue()
    assert text.count("\n") >= 5
    for part in ("203.0.113", "c2lnbmF0dXJl", "secret-part"):
        assert part not in text


def test_a_traceback_stays_in_its_line() -> None:
    """A traceback is part of its JSON line, and its last line is there."""
    stream = configured()
    try:
        fail(KeyError("specialist"))
    except KeyError:
        log.exception("failed")
    (line,) = lines(stream)
    assert str(line["trace"]).startswith("Traceback")
    assert "KeyError: 'specialist'" in str(line["trace"])


def test_text_for_people() -> None:
    """At a terminal a record is one readable line; a line break inside it can't fake another one."""
    stream = configured(LogFormat.AUTO, Terminal())
    log.info("ring", extra={"outcome": "a\nb"})
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "INFO    ring outcome=a\\nb  [signalling.test]" in line


def test_auto_is_json_where_no_terminal_is() -> None:
    """Sent to a file or collector, lines are JSON."""
    stream = configured(LogFormat.AUTO)
    log.info("ring")
    assert lines(stream)[0]["event"] == "ring"


def test_level_and_chatty_libraries() -> None:
    """Lines below the level are left out, and so is what libraries say at INFO; their warnings come."""
    stream = configured(level="warning")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]
    stream = configured()
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("aioice").warning("odd")
    assert [line["event"] for line in lines(stream)] == ["odd"]


def test_warnings_are_log_lines() -> None:
    """A Python warning becomes a record instead of loose text."""
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old API", DeprecationWarning, stacklevel=1)
    assert lines(stream)[0]["logger"] == "py.warnings"


def test_odd_values_do_not_break_a_line() -> None:
    """Whatever is put into a field, the line is still JSON."""
    stream = configured()
    log.info("odd", extra={"thing": object(), "many": {1, 2}, "bytes": b"x", "nan": float("nan")})
    assert lines(stream)[0]["event"] == "odd"
