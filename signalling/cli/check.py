# SPDX-License-Identifier: Apache-2.0
"""`selat check`: what is wrong here, and how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from signalling.cli.checks import check_all
from signalling.cli.findings import Level
from signalling.cli.shell import AsJson, run, settings, show_json
from signalling.reference import in_force

MARKS = {Level.OK: "ok     ", Level.WARNING: "warning", Level.ERROR: "ERROR  "}


def check(
    context: typer.Context,
    print_settings: Annotated[
        bool,
        typer.Option(
            "--print", help="Show the settings in force, without secrets, and nothing else."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at settings, clock, keys, ports, certificate, store, TURN and pages; exit code 1 if something is wrong."""
    config = settings(context)
    if print_settings:
        typer.echo(in_force(config), nl=False)
        return
    findings = run(check_all(config))
    bad = any(finding.level is Level.ERROR for finding in findings)
    if as_json:
        show_json({"ok": not bad, "findings": findings})
    else:
        for finding in findings:
            typer.echo(f"{MARKS[finding.level]}  {finding.check}: {finding.text}")
            if finding.mend:
                typer.echo(f"         -> {finding.mend}")
    raise typer.Exit(1 if bad else 0)
