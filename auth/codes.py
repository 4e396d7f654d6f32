# SPDX-License-Identifier: Apache-2.0
"""Short codes that are read out over the phone and typed on an old one: ``XXXX-XXXX``.

**Alphabet**, 19 symbols: ``23456789CFHJKMRTWXY``. Left out, because two symbols

- *look* alike: ``0 O Q`` / ``1 I L`` go altogether (neither side is safe); of
  ``2 Z``, ``5 S``, ``6 G``, ``8 B`` the digit stays, and a typed letter is read as its digit;
  ``U V`` go;
- *sound* alike on a telephone, which carries 300-3,400 Hz: in both languages ``M N`` (em/en) and
  ``P T D B``; across them ``A E I`` (English A is Indonesian E, English E is Indonesian I, English
  I is Indonesian AI). ``P D N`` go, the less often misheard ``T M`` stay;
- spell *words*: there is no vowel left, so no code says anything rude in either language.

Digits are safe to say in both languages, and eight of them are in. What is still confusable
(Indonesian *ha/ka* for ``H K``, *we/ye* for ``W Y``; English *jay/kay* for ``J K``) is confusable
one symbol at a time, and every such mistake is caught by the check symbol.

**Check symbol.** With each symbol's index in the alphabet as its value ``v``, a code ``v1 … v8`` is
right when ``8·v1 + 7·v2 + 6·v3 + 5·v4 + 4·v5 + 3·v6 + 2·v7 + 1·v8 ≡ 0 (mod 19)``; ``v8`` is the
check symbol. This is ISBN-10's scheme on a larger prime. 19 is prime and the weights 1 … 8 are
distinct, non-zero, and no two of them add up to a multiple of 19, so *every* wrong single symbol,
*every* exchange of two symbols (adjacent or not) and *every* twin error (``33`` heard as ``77``) is
caught; of all other mistakes 18 in 19. The page does the same sum before it asks the server.

**Strength.** 7 random symbols are 19^7 = 894 million codes (29.7 bits). That is no secret to hold
against a computer by itself; it holds because wrong tries are slowed down (``auth.throttle``),
because a code lives as long as its invitation, and because taking over a running consult also needs
a person's confirmation.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, NewType

from auth.errors import CodeInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ShortCode = NewType("ShortCode", str)
"""A checked code in its one canonical form ``XXXX-XXXX``."""

ALPHABET: Final = "23456789CFHJKMRTWXY"
"""The symbols; a symbol's value is its index. The reasons are in the module's docstring."""

WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 1)
"""Weight of each symbol in the sum that must be a multiple of ``len(ALPHABET)``."""

LENGTH: Final = len(WEIGHTS)
"""Symbols of a code, the check symbol (the last one) included, the hyphen not."""

GROUP_LENGTH: Final = 4
"""Symbols before the hyphen: groups of four are what people keep in mind while they write."""

PREFIX_LENGTH: Final = 3
"""Symbols by which wrong tries are counted together (``throttle.CODE_BY_PREFIX``). 19^3 = 6,859
prefixes: few enough that the whole table is kept and no flood of tries can push a counter out of
memory, and enough that slowing all of them down takes thousands of addresses at once."""

SEPARATORS: Final = " \t\r\n\u00a0\u2009\u202f-\u2010\u2011\u2012\u2013\u2014\u2212_./,"
"""Characters which are dropped wherever they stand: blanks, and the dashes that keyboards put for a
hyphen."""

LOOK_ALIKES: Final[Mapping[str, str]] = {"S": "5", "Z": "2", "G": "6", "B": "8", "N": "M"}
"""Symbols outside the alphabet that are read as the one inside it which was surely meant. If it
wasn't, the check symbol says so. ``0 O Q 1 I L`` have no such counterpart and stay wrong."""

MAX_TYPED_LENGTH: Final = 64
"""Longer texts are refused unread: a code with a blank between all symbols has 16 characters."""

_VALUES: Final = {symbol: value for value, symbol in enumerate(ALPHABET)}

_TYPED: Final = str.maketrans(
    dict.fromkeys(SEPARATORS, "")
    | {symbol.lower(): symbol for symbol in ALPHABET if symbol.isalpha()}
    | dict(LOOK_ALIKES)
    | {typed.lower(): meant for typed, meant in LOOK_ALIKES.items()}
)


def _syndrome(symbols: str) -> int:
    """Return the weighted sum modulo 19, 0 for a right code; of 7 symbols, without the check."""
    return sum(
        weight * _VALUES[symbol] for weight, symbol in zip(WEIGHTS, symbols, strict=False)
    ) % len(ALPHABET)


def normalise(text: str) -> str:
    """Return what was typed in canonical symbols, without separators; the unknown stays as it is.

    Nothing is checked here: while someone types, the page shows the half of a code.
    """
    return text.translate(_TYPED)


def parse(text: str) -> ShortCode:
    """Return the code that was typed.

    Raises:
        CodeInvalid: it has another length, a symbol that no code has, or a wrong check symbol. The
            message doesn't repeat the text.
    """
    if len(text) > MAX_TYPED_LENGTH:
        raise CodeInvalid("too long for a short code")
    symbols = normalise(text)
    if len(symbols) != LENGTH or not _VALUES.keys() >= set(symbols):
        raise CodeInvalid("not a short code")
    if _syndrome(symbols) != 0:
        raise CodeInvalid("the check symbol is wrong")
    return _grouped(symbols)


def generate(randbelow: Callable[[int], int]) -> ShortCode:
    """Return a new code; ``randbelow`` *must* be a cryptographic source (``secrets.randbelow``).

    The caller makes another one when the code is in use already.
    """
    symbols = "".join(ALPHABET[randbelow(len(ALPHABET))] for _ in range(LENGTH - 1))
    return _grouped(symbols + ALPHABET[-_syndrome(symbols) % len(ALPHABET)])


def _grouped(symbols: str) -> ShortCode:
    return ShortCode(f"{symbols[:GROUP_LENGTH]}-{symbols[GROUP_LENGTH:]}")


def prefix(code: ShortCode) -> str:
    """Return the first ``PREFIX_LENGTH`` symbols: wrong tries are counted together by them."""
    return code[:PREFIX_LENGTH]


def code_hash(code: ShortCode, pepper: bytes) -> str:
    """Return the key under which a code is kept: HMAC-SHA256 in hex.

    With the pepper, because 894 million plain hashes are computed in seconds by whoever gets hold
    of the store.
    """
    return hmac.new(pepper, code.encode("ascii"), hashlib.sha256).hexdigest()
