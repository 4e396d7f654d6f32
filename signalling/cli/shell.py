# SPDX-License-Identifier: Apache-2.0
"""What every command shares: settings, output for people or for scripts, and how errors end it.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or wrong settings (as typer's own).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import msgspec
import typer

from signalling.config import CONFIG_FILE_VARIABLE, Config, ConfigError, load
from signalling.edge.keyfile import SecretsUnusable
from signalling.errors import Refused
from signalling.store.base import StoreUnavailable
from signalling.wire.codes import Code

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON for scripts.")]

SENTENCES: Mapping[Code, str] = {
    Code.ACCOUNT_EXISTS: "there is an account with this login already",
    Code.NOT_FOUND: "no such account or post",
    Code.PASSWORD_WEAK: "the password is too short, too common or too like the login",
    Code.MALFORMED: "a value is not allowed here",
    Code.UNAVAILABLE: "the store did not answer; try again",
    Code.INTERNAL: "this failed inside Selat; the log has more",
}
"""What a refusal means at the command line."""


def fail(text: str, code: int = 1) -> NoReturn:
    """End with a sentence on standard error."""
    typer.echo(f"selat: {text}", err=True)
    raise typer.Exit(code)


def settings(context: typer.Context, overrides: Mapping[str, str] | None = None) -> Config:
    """Return the settings of this invocation; ``overrides`` are variables that win over the environment's."""
    given = _given(context)
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    path = given or (Path(named) if named else None)
    try:
        return load(path, {**os.environ, **(overrides or {})})
    except ConfigError as error:
        fail(str(error), 2)


def config_options(context: typer.Context) -> list[str]:
    """Return the options that give another `selat` the same settings file; variables it has by itself."""
    given = _given(context)
    return [] if given is None else ["--config", str(given)]


def _given(context: typer.Context) -> Path | None:
    given = context.find_root().params.get("config")
    return given if isinstance(given, Path) else None


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's coroutine; what refuses it ends the command with a sentence."""
    try:
        return asyncio.run(work)
    except Refused as refused:
        sentence = SENTENCES.get(refused.code, "refused")
        fail(
            f"{sentence} ({refused.code})"
            + (f", see {refused.ref} in the log" if refused.ref else "")
        )
    except (StoreUnavailable, SecretsUnusable) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def show_json(answer: object) -> None:
    """Print an answer as one line of JSON."""
    typer.echo(msgspec.json.encode(answer).decode())
    sys.stdout.flush()


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())


def password_from_stdin(wanted: bool) -> str | None:
    """Return the first line of standard input if it is wanted: a password on the command line would be seen by others."""
    if not wanted:
        return None
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        fail("no password on standard input", 2)
    return line
