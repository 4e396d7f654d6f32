# SPDX-License-Identifier: Apache-2.0
"""Passwords of specialists and operators: argon2id (RFC 9106), and the rules for new ones.

Hashing takes tens of milliseconds and 64 MiB: callers *must* do it in a thread, and *should* do one
at a time.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Final

import argon2

from auth.errors import PasswordHashBroken, PasswordRefused

MIN_BYTES: Final = 10
"""Longer than the 8 that NIST SP 800-63B §3.1.1.2 asks where a second factor exists; there is none
here, but wrong tries are slowed down. Its 15 would make specialists write it on the screen's
edge."""

MAX_BYTES: Final = 256
"""No passphrase is longer (NIST asks to accept 64 at least); a longer one is refused before it
costs a hash."""

# RFC 9106 §4, second recommended option: t=3, p=4, m=64 MiB, 128-bit salt, 256-bit tag. The first
# one (2 GiB) is not for a small server next to a call; OWASP's smaller ones (19 MiB) are for
# machines that hash all day, and a region's specialists sign in a few times an hour.
_hasher: Final = argon2.PasswordHasher(
    time_cost=3, memory_cost=65_536, parallelism=4, hash_len=32, salt_len=16, type=argon2.Type.ID
)

DUMMY_HASH: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$VrwvrFB8AcEQheCrtiKsZw$"
    "JzthIEwZHdmWPtf7SXO2z43rn/o/Fvyd9D8NTa7VSeQ"
)
"""The hash of random bytes that nobody kept. Verify against it when the account is unknown:
otherwise the quick answer would tell which accounts exist."""


class Rule(StrEnum):
    """What a new password may break: also the key of the sentence that the page shows."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TOO_COMMON = "too_common"
    LIKE_LOGIN = "like_login"
    NOT_TEXT = "not_text"


# The most used passwords of ten and more characters in published leaks, and what people here would
# type next: the service's own words. Compared in lower case, without digits or signs at the end.
_COMMON: Final = frozenset(
    {
        "",
        "administrator",
        "assalamualaikum",
        "basketball",
        "bismillah",
        "bismillahirrahmanirrahim",
        "changeme",
        "computer",
        "consultation",
        "dokterspesialis",
        "indonesia",
        "indonesiaraya",
        "kesehatan",
        "konsultasi",
        "letmein",
        "operator",
        "password",
        "passwordpassword",
        "puskesmas",
        "qwertyuiop",
        "qwertyuiopasdfghjkl",
        "rahasia",
        "rumahsakit",
        "sayangkamu",
        "selamatdatang",
        "selamatpagi",
        "selat",
        "specialist",
        "spesialis",
        "teleconsult",
        "telemedicine",
        "terserah",
        "welcome",
        "zxcvbnm",
    }
)

_ENDING: Final = "0123456789 !?.,-_*#@$%&+=~"


def _encoded(password: str) -> bytes:
    """Return the bytes that are hashed: NFC (RFC 8265 §4.2), so that all keyboards' é are one.

    Raises:
        UnicodeEncodeError: the text holds half a surrogate pair.
    """
    return unicodedata.normalize("NFC", password).encode("utf-8")


def check_rules(password: str, login: str) -> None:
    """Return when ``password`` may be the new password of the account ``login``.

    Raises:
        PasswordRefused: it may not; ``rule`` says why.
    """
    try:
        length = len(_encoded(password))
    except UnicodeEncodeError:
        raise PasswordRefused(Rule.NOT_TEXT) from None
    if length < MIN_BYTES:
        raise PasswordRefused(Rule.TOO_SHORT)
    if length > MAX_BYTES:
        raise PasswordRefused(Rule.TOO_LONG)
    folded = password.casefold()
    stem = folded.rstrip(_ENDING)
    own = login.casefold()
    if folded == own or stem in {own, own.partition("@")[0]} - {""}:
        raise PasswordRefused(Rule.LIKE_LOGIN)
    if stem in _COMMON or len(set(folded)) <= 2:  # "aaaaaaaaaa", "ababababab"
        raise PasswordRefused(Rule.TOO_COMMON)


def hash_password(password: str) -> str:
    """Return the argon2id hash, with its parameters and a fresh random salt in it. Slow on purpose.

    Callers *must* have asked ``check_rules`` first.
    """
    return _hasher.hash(_encoded(password))


def verify_password(stored_hash: str, password: str) -> bool:
    """Say whether the password belongs to the hash. Slow on purpose.

    Raises:
        PasswordHashBroken: what is stored is no argon2 hash.
    """
    try:
        encoded = _encoded(password)
    except UnicodeEncodeError:
        return False
    if len(encoded) > MAX_BYTES:
        return False
    try:
        return _hasher.verify(stored_hash, encoded)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        raise PasswordHashBroken("the stored hash can't be read") from None


def needs_rehash(stored_hash: str) -> bool:
    """Say whether the hash has other parameters than today's: hash again after a good sign-in.

    Raises:
        PasswordHashBroken: what is stored is no argon2 hash.
    """
    try:
        return _hasher.check_needs_rehash(stored_hash)
    except argon2.exceptions.InvalidHashError:
        raise PasswordHashBroken("the stored hash can't be read") from None
