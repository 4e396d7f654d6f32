# SPDX-License-Identifier: Apache-2.0
"""`selat posts`: the list of health posts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signalling.cli import desk
from signalling.cli.shell import AsJson, fail, run, settings, show_json, show_table
from signalling.core.posts import Post, PostsInvalid, open_now, parse_posts
from signalling.edge import control
from signalling.edge.clock import now

posts = typer.Typer(no_args_is_help=True, help="Health posts.")


@posts.command("import")
def import_posts(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="CSV; see deploy/posts.example.csv."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Put the posts of a CSV file on the list; a post of the same code is replaced."""
    try:
        found = parse_posts(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8; save it as CSV UTF-8")
    except PostsInvalid as invalid:
        if as_json:
            show_json(
                [{"line": e.line, "column": e.column, "problem": e.problem} for e in invalid.errors]
            )
        for error in invalid.errors:
            typer.echo(f"{file}: {error}", err=True)
        fail(f"nothing was imported: {len(invalid.errors)} mistakes")
    done = run(desk.ask(settings(context), control.ImportPosts(found), control.PostsImported))
    if as_json:
        show_json(done)
    else:
        typer.echo(f"{done.changed} posts are new or changed; {done.total} are on the list")


@posts.command("list")
def list_posts(context: typer.Context, as_json: AsJson = False) -> None:
    """List all posts."""
    found = run(desk.ask(settings(context), control.ListPosts(), list[Post]))
    if as_json:
        show_json(found)
        return
    words = {True: "open", False: "closed", None: ""}
    at = now()
    rows = [
        (
            p.code,
            p.name,
            p.region,
            p.time_zone,
            p.emergency_line,
            p.link_type,
            words[open_now(p, at)],
        )
        for p in found
    ]
    show_table(("CODE", "NAME", "REGION", "TIME ZONE", "EMERGENCY", "LINK", "NOW"), rows)
