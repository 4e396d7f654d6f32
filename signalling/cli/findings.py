# SPDX-License-Identifier: Apache-2.0
"""One line of what `selat check` found."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something should be done."""
    ERROR = "error"
    """It does not work."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the result."""

    check: str
    level: Level
    text: str
    mend: str = ""
    """What to do about it."""


def ok(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, mend: str) -> Finding:
    """Return a finding that something should be done."""
    return Finding(check, Level.WARNING, text, mend)


def error(check: str, text: str, mend: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(check, Level.ERROR, text, mend)
