# SPDX-License-Identifier: Apache-2.0
"""The command line's top: options of all commands, and the list of them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from signalling.cli.accounts import accounts
from signalling.cli.check import check
from signalling.cli.invite import invite
from signalling.cli.keys import keys
from signalling.cli.posts import posts
from signalling.cli.relay import relay
from signalling.cli.serve import serve

app = typer.Typer(
    name="selat",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("selat"))
        raise typer.Exit


@app.callback()
def selat(
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Settings, TOML; or its name in SELAT_CONFIG."
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """Selat: video teleconsults between patients on remote islands and specialists on call."""


app.command()(serve)
app.command()(relay)
app.command()(invite)
app.add_typer(accounts, name="account")
app.add_typer(posts, name="posts")
app.add_typer(keys, name="keys")
app.command()(check)


def main() -> None:
    """Run the command line; the entry point of `selat`."""
    app()
