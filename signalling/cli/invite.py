# SPDX-License-Identifier: Apache-2.0
"""`selat invite`: a link and a code for one consult."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Annotated

import segno
import typer

from signalling.cli import desk
from signalling.cli.shell import AsJson, fail, run, settings, show_json
from signalling.edge import control
from signalling.wire.terms import Specialty


def invite(
    context: typer.Context,
    specialty: Annotated[
        Specialty, typer.Option(help="Which specialists are rung.")
    ] = Specialty.GENERAL,
    language: Annotated[str, typer.Option(help="Language of the page, e.g. id or en.")] = "",
    post: Annotated[str, typer.Option(help="Code of the health post where the patient is.")] = "",
    qr: Annotated[bool, typer.Option(help="Show the link as a QR code as well.")] = True,
    as_json: AsJson = False,
) -> None:
    """Make a consult with a link and a short code for its patient."""
    config = settings(context)
    if not config.server.public_url and config.server.port == 0:
        fail("the address of links is not known: set SELAT_PUBLIC_URL or SELAT_HTTP_PORT", 2)
    request = control.Invite(specialty=specialty, language=language, post=post)
    made = run(desk.ask(config, request, control.InvitationMade))
    if as_json:
        show_json(made)
        return
    typer.echo(f"Link   {made.url}")
    typer.echo(f"Code   {made.code}")
    typer.echo(f"Valid  until {datetime.fromtimestamp(made.expires_at, UTC):%Y-%m-%d %H:%M} UTC")
    if qr:
        typer.echo(qr_text(made.url))


def qr_text(url: str) -> str:
    """Return a link as a QR code of block characters, two modules to a character."""
    out = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(out, compact=True)
    return out.getvalue()
