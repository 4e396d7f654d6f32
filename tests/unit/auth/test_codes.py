# SPDX-License-Identifier: Apache-2.0
"""Short codes: the arithmetic is proven for every code, the typing by samples that the page shares."""

import hashlib
import hmac
import itertools
import json
import random
import secrets
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth import codes
from auth.codes import ALPHABET, LENGTH, PREFIX_LENGTH, WEIGHTS, ShortCode, generate, parse
from auth.errors import CodeInvalid

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "wire" / "golden" / "codes.json").read_text(encoding="utf-8")
)
SIZE = len(ALPHABET)


def seeded(seed: int) -> ShortCode:
    return generate(random.Random(seed).randrange)


def is_code(text: str) -> bool:
    try:
        parse(text)
    except CodeInvalid:
        return False
    return True


def test_the_samples_describe_the_algorithm() -> None:
    """The constants that the page mirrors are those of the server."""
    assert GOLDEN["alphabet"] == ALPHABET
    assert tuple(GOLDEN["weights"]) == WEIGHTS
    assert GOLDEN["modulus"] == SIZE
    assert GOLDEN["group_length"] == codes.GROUP_LENGTH
    assert GOLDEN["max_typed_length"] == codes.MAX_TYPED_LENGTH
    assert GOLDEN["separators"] == codes.SEPARATORS
    assert GOLDEN["look_alikes"] == codes.LOOK_ALIKES


@pytest.mark.parametrize("sample", GOLDEN["valid"], ids=lambda sample: ascii(sample["typed"]))
def test_valid_samples(sample: dict[str, str]) -> None:
    """Whatever the case, the separators and the look-alikes: the code that was meant is read."""
    assert parse(sample["typed"]) == sample["code"]


@pytest.mark.parametrize("sample", GOLDEN["invalid"], ids=lambda sample: ascii(sample["typed"]))
def test_invalid_samples(sample: dict[str, str]) -> None:
    """What isn't a code is refused for the reason that the sample names, without repeating it."""
    reasons = {
        "length": "not a short code",
        "symbol": "not a short code",
        "check": "check symbol",
        "too_long": "too long",
    }
    with pytest.raises(CodeInvalid, match=reasons[sample["why"]]) as caught:
        parse(sample["typed"])
    assert not sample["typed"] or sample["typed"] not in str(caught.value)


def contribution(position: int, value: int) -> int:
    return WEIGHTS[position] * value % SIZE


def test_every_wrong_symbol_is_caught() -> None:
    """Proof for all codes: at no position do two symbols contribute the same to the sum."""
    for position, (one, other) in itertools.product(
        range(LENGTH), itertools.combinations(range(SIZE), 2)
    ):
        assert contribution(position, one) != contribution(position, other)


def test_every_exchange_of_two_symbols_is_caught() -> None:
    """Proof for all codes: exchanging two different symbols, adjacent or not, changes the sum."""
    for (here, there), (one, other) in itertools.product(
        itertools.combinations(range(LENGTH), 2), itertools.combinations(range(SIZE), 2)
    ):
        meant = contribution(here, one) + contribution(there, other)
        typed = contribution(here, other) + contribution(there, one)
        assert (meant - typed) % SIZE


def test_every_twin_error_is_caught() -> None:
    """Proof for all codes: hearing one pair of equal symbols as another changes the sum."""
    for (here, there), (one, other) in itertools.product(
        itertools.combinations(range(LENGTH), 2), itertools.combinations(range(SIZE), 2)
    ):
        meant = contribution(here, one) + contribution(there, one)
        typed = contribution(here, other) + contribution(there, other)
        assert (meant - typed) % SIZE


@pytest.mark.parametrize("seed", range(20))
def test_the_parser_does_that_sum(seed: int) -> None:
    """Of a real code, all 144 wrong symbols and all exchanges of different symbols are refused."""
    symbols = seeded(seed).replace("-", "")
    assert is_code(symbols)
    for at, symbol in itertools.product(range(LENGTH), ALPHABET):
        altered = symbols[:at] + symbol + symbols[at + 1 :]
        assert is_code(altered) == (altered == symbols)
    for one, other in itertools.combinations(range(LENGTH), 2):
        swapped = list(symbols)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        assert is_code("".join(swapped)) == (swapped == list(symbols))


def test_one_text_in_nineteen_is_a_code() -> None:
    """Exactly one check symbol fits each beginning: over all last pairs a nineteenth is valid."""
    beginning = "2C4F6H"
    valid = [
        pair for pair in itertools.product(ALPHABET, repeat=2) if is_code(beginning + "".join(pair))
    ]
    assert len(valid) == SIZE
    assert len({first for first, _ in valid}) == SIZE


def test_the_alphabet_avoids_mistakes() -> None:
    """The size is prime, no vowel is in it, and of each look-alike pair one symbol at most."""
    assert all(SIZE % divisor for divisor in range(2, SIZE))
    assert len(set(ALPHABET)) == SIZE
    assert list(ALPHABET) == sorted(ALPHABET.upper())
    for pair in (
        "0O",
        "0Q",
        "OQ",
        "1I",
        "1L",
        "IL",
        "2Z",
        "5S",
        "6G",
        "8B",
        "UV",
        "MN",
        "PT",
        "DT",
        "BP",
        "AE",
    ):
        assert not set(pair) <= set(ALPHABET), pair
    assert not set("AEIOU") & set(ALPHABET)
    for typed, meant in codes.LOOK_ALIKES.items():
        assert typed not in ALPHABET
        assert meant in ALPHABET


def test_generated_codes_use_every_symbol_evenly() -> None:
    """The random symbols come straight from the source; a code is always valid and grouped."""
    drawn = iter([0, 18, 5, 9, 1, 2, 3])
    asked: list[int] = []

    def source(limit: int) -> int:
        asked.append(limit)
        return next(drawn)

    code = generate(source)
    assert code[:-1] == "2Y7F-345"
    assert asked == [SIZE] * (LENGTH - 1)
    assert parse(code) == code
    for _ in range(200):
        fresh = generate(secrets.randbelow)
        assert len(fresh) == LENGTH + 1
        assert parse(fresh) == fresh


def test_half_a_code_is_shown_while_it_is_typed() -> None:
    """Normalising checks nothing: the page calls it at every key."""
    assert codes.normalise("3w5-") == "3W5"
    assert codes.normalise("o0 il?") == "o0il?"
    assert codes.normalise("") == ""


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser raise anything but its own error; what it reads is canonical."""
    try:
        code = parse(text)
    except CodeInvalid:
        return
    assert parse(code) == code


def test_the_prefix_hides_most_of_the_code() -> None:
    """Wrong tries are counted by the first symbols, of which there are fewer than fit in memory."""
    code = seeded(1)
    assert codes.prefix(code) == code[:PREFIX_LENGTH]
    assert SIZE**PREFIX_LENGTH == 6859


def test_codes_are_kept_as_peppered_hashes() -> None:
    """The lookup key is HMAC-SHA256 of the canonical form: another pepper, another key."""
    code = parse("3w5w8kj6")
    kept = codes.code_hash(code, b"pepper")
    assert kept == hmac.new(b"pepper", b"3W5W-8KJ6", hashlib.sha256).hexdigest()
    assert kept != codes.code_hash(code, b"other")
