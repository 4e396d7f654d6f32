# SPDX-License-Identifier: Apache-2.0
"""Log lines: one event each, for a person at a terminal or for a machine that reads JSON.

The message is a short event name, facts are fields (``extra=``). Consult, connection and role come from ``context``. A
redacting filter stands in front of the handler, so that libraries' records pass it too. Lines go to standard error:
standard output is for what a command answers.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from auth.redact import RedactingFilter
from signalling.config import LogConfig, LogFormat

_EMPTY: Mapping[str, str] = {}
_context: ContextVar[Mapping[str, str]] = ContextVar("selat_log_context", default=_EMPTY)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all other attributes came in by ``extra``."""

QUIET = ("aiohttp.access", "aioice", "asyncio", "aiortc")
"""Libraries that tell at INFO what no operator acts on; an access log would hold addresses besides."""


@contextlib.contextmanager
def context(**names: str) -> Iterator[None]:
    """Add fields (``consult=``, ``connection=``, ``role=``) to every line that is logged inside, also by tasks begun there."""
    token = _context.set({**_context.get(), **names})
    try:
        yield
    finally:
        _context.reset(token)


def configure(settings: LogConfig, stream: TextIO | None = None) -> None:
    """Send all log lines to ``stream`` (standard error) in the wanted format, redacted. Replaces earlier handlers."""
    out = sys.stderr if stream is None else stream
    as_json = settings.format is LogFormat.JSON or (
        settings.format is LogFormat.AUTO and not out.isatty()
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(_ServerFilter())
    handler.addFilter(_ContextFilter())
    handler.addFilter(RedactingFilter())
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


class _ServerFilter(logging.Filter):
    """Takes out what aiohttp tells of requests: the client's address, and of broken ones the very bytes.

    A broken request is the business of who sent it, not of an operator: it is told at DEBUG only.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "aiohttp.server":
            return True
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        record.msg, record.args = "request_failed", ()
        if isinstance(error, HttpProcessingError):
            record.msg, record.exc_info, record.exc_text = "request_broken", None, None
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger().isEnabledFor(logging.DEBUG)
        return True


class _ContextFilter(logging.Filter):
    """Puts the context's fields on each record; a record's own field of the same name wins."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        for name, text in _context.get().items():
            if name not in vars(record):
                setattr(record, name, text)
        return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: fact for name, fact in vars(record).items() if name not in _STANDARD}


def _instant(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback; the redacting filter has turned it into text already."""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return "\n".join(text for text in (record.exc_text, record.stack_info) if text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``event``, then the fields, then ``trace``."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, fact in _fields(record).items():
            line.setdefault(name, fact)
        if trace := _trace(self, record):
            line["trace"] = trace
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level, event, fields, and where it comes from."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = "".join(f" {name}={fact}" for name, fact in _fields(record).items())
        # A line break in a field must not look like a line of ours.
        head = f"{_instant(record)[11:23]} {record.levelname:<7} {record.getMessage()}{facts}"
        head = head.replace("\r", "\\r").replace("\n", "\\n")
        trace = _trace(self, record)
        return f"{head}  [{record.name}]" + (f"\n{trace}" if trace else "")
