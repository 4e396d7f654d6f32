# SPDX-License-Identifier: Apache-2.0
"""`selat account`: accounts of specialists and operators."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from auth.roles import Role
from signalling.cli import desk
from signalling.cli.shell import (
    AsJson,
    fail,
    password_from_stdin,
    run,
    settings,
    show_json,
    show_table,
)
from signalling.edge import control
from signalling.wire.terms import Specialty

accounts = typer.Typer(no_args_is_help=True, help="Accounts of specialists and operators.")


class Staff(StrEnum):
    """Roles that have accounts."""

    SPECIALIST = Role.SPECIALIST.value
    OPERATOR = Role.OPERATOR.value


Login = Annotated[str, typer.Argument(help="Name to sign in with.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@accounts.command()
def add(
    context: typer.Context,
    login: Login,
    role: Annotated[Staff, typer.Option(help="What the account may do.")] = Staff.SPECIALIST,
    name: Annotated[str, typer.Option(help="Name that patients see.")] = "",
    specialty: Annotated[
        list[Specialty] | None, typer.Option(help="Field of a specialist; may be repeated.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Spoken language, e.g. id; may be repeated.")
    ] = None,
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Create an account; its password is made, and shown this once."""
    if role is Staff.OPERATOR and specialty:
        fail("operators have no specialty", 2)
    specialties = specialty or ([] if role is Staff.OPERATOR else [Specialty.GENERAL])
    request = control.AddAccount(
        login=login,
        role=Role(role),
        name=name,
        specialties=specialties,
        languages=language or ["id"],
        password=password_from_stdin(password_stdin),
    )
    made = run(desk.ask(settings(context), request, control.PasswordMade))
    _show_password(made, as_json, given=password_stdin)


@accounts.command("list")
def list_accounts(context: typer.Context, as_json: AsJson = False) -> None:
    """List all accounts."""
    found = run(desk.ask(settings(context), control.ListAccounts(), list[control.AccountView]))
    if as_json:
        show_json(found)
        return
    rows = [
        (
            each.login,
            each.role.value,
            each.name,
            ", ".join(each.specialties),
            ", ".join(each.languages),
            "disabled" if each.disabled else "",
        )
        for each in found
    ]
    show_table(("LOGIN", "ROLE", "NAME", "SPECIALTIES", "LANGUAGES", ""), rows)


@accounts.command()
def disable(
    context: typer.Context,
    login: Login,
    undo: Annotated[bool, typer.Option("--undo", help="Open the account again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close an account: it can't sign in any more."""
    request = control.SetDisabled(login=login, disabled=not undo)
    view = run(desk.ask(settings(context), request, control.AccountView))
    if as_json:
        show_json(view)
    else:
        typer.echo(f"{view.login} is {'disabled' if view.disabled else 'open'}")


@accounts.command()
def reset(
    context: typer.Context,
    login: Login,
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Set a new password; everybody signed in with the old one is signed out."""
    request = control.ResetPassword(login=login, password=password_from_stdin(password_stdin))
    made = run(desk.ask(settings(context), request, control.PasswordMade))
    _show_password(made, as_json, given=password_stdin)


def _show_password(made: control.PasswordMade, as_json: bool, *, given: bool) -> None:
    if as_json:
        show_json({"account": made.account, "login": made.login} if given else made)
        return
    typer.echo(f"Login     {made.login}")
    if not given:
        typer.echo(f"Password  {made.password}   (shown this once, kept nowhere)")
