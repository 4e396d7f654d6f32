# SPDX-License-Identifier: Apache-2.0
"""`selat keys`: the keys that sign tokens. They lie in a file that running nodes look at once a minute."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from auth.keys import MAX_TOKEN_LIFETIME_S, Key
from signalling.cli.shell import AsJson, fail, settings, show_json, show_table
from signalling.config import Config
from signalling.edge.clock import now
from signalling.edge.keyfile import KeyFile, SecretsUnusable, prepare_data_dir
from signalling.edge.relay_token import relay_token, write_private

DAY_S = 86_400.0
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

keys = typer.Typer(no_args_is_help=True, help="Keys that sign tokens.")


class KeyView(msgspec.Struct, frozen=True):
    """A signing key without its secret. Instants are UTC epoch seconds."""

    kid: str
    state: str
    """``signs``, ``waits`` (for its predecessor to stop), ``verifies`` or ``expired``."""
    created_at: float
    retired_at: float | None
    expires_at: float | None


@keys.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys and what each is good for now."""
    found = _views(_open(settings(context)))
    if as_json:
        show_json(found)
        return
    rows = [
        (each.kid, each.state, _day(each.created_at), _day(each.retired_at), _day(each.expires_at))
        for each in found
    ]
    show_table(("KEY", "NOW", "CREATED", "SIGNS UNTIL", "VERIFIES UNTIL"), rows)


@keys.command()
def rotate(context: typer.Context, as_json: AsJson = False) -> None:
    """Make a new signing key; it takes over in five minutes, and nobody is signed out."""
    file = _open(settings(context))
    try:
        key = file.rotate(now())
    except SecretsUnusable as error:
        fail(str(error))
    if as_json:
        show_json({"kid": key.kid})
    else:
        typer.echo(f"{key.kid} signs from five minutes on; older keys go on verifying")


@keys.command()
def relay(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the relay is called, e.g. jayapura-1.")],
    days: Annotated[
        float, typer.Option(min=0.01, max=MAX_TOKEN_LIFETIME_S / DAY_S, help="How long it holds.")
    ] = 90.0,
    out: Annotated[
        Path | None, typer.Option(help="Write it there, for its owner only; else it is printed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token for a media relay (`selat relay --token-file`); the file may be replaced while the relay runs."""
    if not NAME.fullmatch(name):
        fail("a relay's name has letters, digits, '.', '_' and '-', at most 64", 2)
    file = _open(settings(context))
    at = now()
    token = relay_token(file.ring, name, at, days * DAY_S)
    if out is not None:
        try:
            write_private(out, token)
        except OSError as error:
            fail(f"can't write {out} ({error.strerror})")
    if as_json:
        shown = {} if out is not None else {"token": token}
        show_json({"name": name, "expires_at": at + days * DAY_S, **shown})
    else:
        typer.echo(f"{out}: good until {_day(at + days * DAY_S)}" if out is not None else token)


def _open(config: Config) -> KeyFile:
    try:
        prepare_data_dir(config.server.data_dir)
        return KeyFile(config.server.data_dir, now())
    except SecretsUnusable as error:
        fail(str(error))


def _views(file: KeyFile) -> list[KeyView]:
    at = now()
    signing = file.ring.signing_key(at)

    def state(key: Key) -> str:
        if key.kid == signing.kid:
            return "signs"
        if not key.verifies(at):
            return "expired"
        return "waits" if key.signs(at) else "verifies"

    return [
        KeyView(key.kid, state(key), key.created_at, key.retired_at, key.expires_at)
        for key in file.ring.keys
    ]


def _day(instant: float | None) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M}" if instant is not None else ""
