# SPDX-License-Identifier: Apache-2.0
"""Passwords: argon2id with the parameters that the RFC recommends, and rules for new ones."""

import argon2
import pytest

from auth.errors import PasswordHashBroken, PasswordRefused
from auth.passwords import (
    DUMMY_HASH,
    MAX_BYTES,
    MIN_BYTES,
    Rule,
    check_rules,
    hash_password,
    needs_rehash,
    verify_password,
)

GOOD = "kuda laut di teluk"


@pytest.fixture(scope="module")
def stored() -> str:
    return hash_password(GOOD)


def test_the_parameters_are_the_rfcs_second_choice(stored: str) -> None:
    """RFC 9106 §4: argon2id, t=3, 64 MiB, p=4, salt of 128 bits, tag of 256 bits."""
    used = argon2.extract_parameters(stored)
    recommended = argon2.profiles.RFC_9106_LOW_MEMORY
    assert used == recommended
    assert (used.time_cost, used.memory_cost, used.parallelism) == (3, 65_536, 4)


def test_only_the_right_password_fits(stored: str) -> None:
    """The right password verifies; another one, its beginning, or none at all doesn't."""
    assert verify_password(stored, GOOD)
    assert not verify_password(stored, GOOD + "x")
    assert not verify_password(stored, GOOD[:-1])
    assert not verify_password(stored, "")


def test_the_same_password_hashes_differently(stored: str) -> None:
    """Each hash has its own salt."""
    assert hash_password(GOOD) != stored


def test_keyboards_that_compose_differently_agree() -> None:
    """An é as one character and as e with an accent are the same password (RFC 8265)."""
    assert verify_password(hash_password("caf\u00e9 di dermaga"), "cafe\u0301 di dermaga")


def test_hostile_passwords_cost_no_hash(stored: str) -> None:
    """What is too long or no text is refused before the slow part, whatever is stored."""
    for hostile in ("x" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1), "\ud800" + GOOD):
        assert not verify_password(stored, hostile)
        assert not verify_password("not even a hash", hostile)


@pytest.mark.parametrize("broken", ["", "plain", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
def test_a_damaged_hash_is_our_fault_not_theirs(broken: str) -> None:
    """Damaged data raises, so that it doesn't look like a wrong password for ever."""
    with pytest.raises(PasswordHashBroken):
        verify_password(broken, GOOD)
    with pytest.raises(PasswordHashBroken):
        needs_rehash(broken)


def test_a_truncated_hash_is_damaged(stored: str) -> None:
    """A hash that lost its end is damaged, not merely unequal."""
    with pytest.raises(PasswordHashBroken):
        verify_password(stored[: stored.rindex("$") + 1] + "AA", GOOD)


def test_older_parameters_are_noticed(stored: str) -> None:
    """A hash with other parameters still verifies and asks to be made again; today's doesn't."""
    older = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD)
    assert verify_password(older, GOOD)
    assert needs_rehash(older)
    assert not needs_rehash(stored)


def test_unknown_accounts_take_as_long() -> None:
    """The dummy hash has today's parameters, so it takes as long, and nothing fits it."""
    assert not needs_rehash(DUMMY_HASH)
    for guess in ("", "password", DUMMY_HASH):
        assert not verify_password(DUMMY_HASH, guess)


@pytest.mark.parametrize(
    "password",
    [GOOD, "x1y2z3w4v5", "a" * 9 + "bc", "correct horse battery staple", "潮汐と海峡", "ab c" * 64],
)
def test_good_passwords_pass(password: str) -> None:
    """Length is what counts: no digit, sign or capital is demanded."""
    check_rules(password, "siti")


@pytest.mark.parametrize(
    ("password", "login", "rule"),
    [
        ("", "siti", Rule.TOO_SHORT),
        ("x" * (MIN_BYTES - 1), "siti", Rule.TOO_SHORT),
        ("abcdefgh" * 32 + "x", "siti", Rule.TOO_LONG),
        ("\ud800" + GOOD, "siti", Rule.NOT_TEXT),
        ("password123", "siti", Rule.TOO_COMMON),
        ("PASSWORD!!2026", "siti", Rule.TOO_COMMON),
        ("1234567890", "siti", Rule.TOO_COMMON),
        ("Puskesmas1", "siti", Rule.TOO_COMMON),
        ("aaaaaaaaaaaa", "siti", Rule.TOO_COMMON),
        ("abababababab", "siti", Rule.TOO_COMMON),
        ("Dr.SitiRahma", "dr.sitirahma", Rule.LIKE_LOGIN),
        ("dr.sitirahma2026", "dr.sitirahma", Rule.LIKE_LOGIN),
        ("sitirahma1234", "sitirahma@rs.example", Rule.LIKE_LOGIN),
        ("sitirahma@rs.example", "sitirahma@rs.example", Rule.LIKE_LOGIN),
        ("1122334455", "1122334455", Rule.LIKE_LOGIN),
    ],
)
def test_bad_passwords_break_a_rule(password: str, login: str, rule: Rule) -> None:
    """Too short, too long, known to every attacker, or the login again: each by its name."""
    with pytest.raises(PasswordRefused) as caught:
        check_rules(password, login)
    assert caught.value.rule is rule
    assert password == "" or password not in str(caught.value)


def test_an_empty_login_matches_nothing() -> None:
    """Before the login is typed, a password of digits is common, not like the login."""
    with pytest.raises(PasswordRefused) as caught:
        check_rules("9876543210", "")
    assert caught.value.rule == "too_common"
