# SPDX-License-Identifier: Apache-2.0
"""The error tree: stable codes, and a drawing that tells the truth."""

from collections.abc import Iterator

import pytest

from auth import errors
from auth.errors import AuthError


def family(root: type[AuthError]) -> Iterator[type[AuthError]]:
    for child in root.__subclasses__():
        yield child
        yield from family(child)


def test_the_drawing_is_complete() -> None:
    """The module's docstring draws every error beside the code that it has."""
    drawn = {
        tuple(line.lstrip("│├└─ ").split()[:2])
        for line in (errors.__doc__ or "").splitlines()
        if "──" in line
    }
    assert drawn == {(error.__name__, error.code) for error in family(AuthError)}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TokenInvalid(), "token_invalid"),
        (errors.KeyUnknown(), "token_invalid"),
        (errors.TokenExpired(), "token_expired"),
        (errors.CodeInvalid(), "code_invalid"),
        (errors.Throttled(1.5), "throttled"),
        (errors.PermissionDenied(), "forbidden"),
        (errors.OriginRefused(), "origin_forbidden"),
        (errors.PasswordWrong(), "credentials_invalid"),
        (errors.PasswordRefused("too_short"), "password_weak"),
    ],
)
def test_codes_are_stable(error: AuthError, code: str) -> None:
    """Clients match on these codes: they never change."""
    assert error.code == code


def test_our_own_faults_have_no_code_of_their_own() -> None:
    """What a client can do nothing about is ``internal`` to it."""
    ours = {errors.PasswordHashBroken, errors.SealBroken, errors.KeysUnusable}
    assert {error.code for error in ours} == {AuthError.code} == {"internal"}


def test_errors_carry_what_the_caller_needs() -> None:
    """A throttled caller learns how long to wait, a refused password which rule it broke."""
    assert errors.Throttled(2.5).retry_after_s == 2.5
    assert errors.PasswordRefused("too_common").rule == "too_common"
