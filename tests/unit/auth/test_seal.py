# SPDX-License-Identifier: Apache-2.0
"""Sealed content opens with its key and at its place, and nowhere else."""

import secrets

import pytest

from auth.errors import SealBroken
from auth.seal import (
    KEY_BYTES,
    NONCE_BYTES,
    SEAL_OVERHEAD_BYTES,
    ContentKey,
    new_content_key,
    open_sealed,
    seal,
    unwrap,
    wrap,
)

MASTER, OTHER_MASTER = b"m" * 32, b"n" * 32
KEY, OTHER_KEY = ContentKey(b"k" * 32), ContentKey(b"l" * 32)
NONCE = bytes(range(NONCE_BYTES))
HERE, THERE = "consult/c_1/note/1", "consult/c_1/note/2"


def altered(data: bytes) -> list[bytes]:
    """Return the data with each of its bytes changed, cut anywhere, and with a byte more."""
    flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    return flipped + [data[:at] for at in range(len(data))] + [data + b"\0"]


def test_new_keys_come_from_the_source() -> None:
    """A content key is as long as AES-256 wants, straight from the random source."""
    assert new_content_key(lambda size: b"r" * size) == b"r" * KEY_BYTES
    assert new_content_key(secrets.token_bytes) != new_content_key(secrets.token_bytes)


@pytest.mark.parametrize("plaintext", [b"", b"x", b"batuk darah", bytes(100_000)])
def test_content_is_read_back(plaintext: bytes) -> None:
    """What was sealed is read back, it isn't visible, and it grew by the stated overhead."""
    sealed = seal(KEY, plaintext, HERE, NONCE)
    assert open_sealed(KEY, sealed, HERE) == plaintext
    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD_BYTES
    assert len(plaintext) < 2 or plaintext not in sealed


def test_content_opens_nowhere_else() -> None:
    """With another key, at another place, or altered in any byte, content doesn't open."""
    sealed = seal(KEY, b"batuk darah", HERE, NONCE)
    attempts = [(OTHER_KEY, sealed, HERE), (KEY, sealed, THERE), (KEY, sealed, "")]
    attempts += [(KEY, wrong, HERE) for wrong in altered(sealed)]
    for key, data, context in attempts:
        with pytest.raises(SealBroken):
            open_sealed(key, data, context)


def test_a_damaged_key_is_a_broken_seal() -> None:
    """A key of the wrong length opens nothing, in the same way."""
    with pytest.raises(SealBroken):
        open_sealed(ContentKey(b"short"), seal(KEY, b"x", HERE, NONCE), HERE)


def test_another_nonce_gives_another_text() -> None:
    """The nonce is used as it is given, and kept with the content."""
    assert seal(KEY, b"x", HERE, NONCE)[1 : 1 + NONCE_BYTES] == NONCE
    assert seal(KEY, b"x", HERE, NONCE) != seal(KEY, b"x", HERE, bytes(NONCE_BYTES))


@pytest.mark.parametrize(
    ("key", "nonce"), [(KEY, b""), (KEY, b"n" * 11), (KEY, b"n" * 13), (b"k" * 16, NONCE)]
)
def test_sealing_refuses_weaker_parameters(key: bytes, nonce: bytes) -> None:
    """No shorter key and no other nonce length slips in."""
    with pytest.raises(ValueError, match="length"):
        seal(ContentKey(key), b"x", HERE, nonce)


def test_keys_are_wrapped() -> None:
    """A wrapped key is read back, shows nothing of the key, and wrapping is deterministic."""
    wrapped = wrap(MASTER, KEY, "consult/c_1")
    assert unwrap(MASTER, wrapped, "consult/c_1") == KEY
    assert wrap(MASTER, KEY, "consult/c_1") == wrapped
    assert bytes(KEY) not in wrapped
    assert wrap(MASTER, OTHER_KEY, "consult/c_1") != wrapped


def test_keys_unwrap_nowhere_else() -> None:
    """With another master key, for another consult, or altered, a key doesn't come out."""
    wrapped = wrap(MASTER, KEY, "consult/c_1")
    attempts = [(OTHER_MASTER, wrapped, "consult/c_1"), (MASTER, wrapped, "consult/c_2")]
    attempts += [(MASTER, wrong, "consult/c_1") for wrong in altered(wrapped)]
    for master, data, context in attempts:
        with pytest.raises(SealBroken):
            unwrap(master, data, context)


def test_a_short_master_key_is_refused() -> None:
    """A master key below 256 bits is a configuration error, in both directions."""
    with pytest.raises(ValueError, match="master key"):
        wrap(b"m" * 31, KEY, HERE)
    with pytest.raises(ValueError, match="master key"):
        unwrap(b"m" * 31, wrap(MASTER, KEY, HERE), HERE)


def test_destroying_the_key_destroys_the_content() -> None:
    """Erasing works: with the wrapped key gone, the master key alone opens nothing."""
    key = new_content_key(secrets.token_bytes)
    sealed = seal(key, b"batuk darah", HERE, secrets.token_bytes(NONCE_BYTES))
    with pytest.raises(SealBroken):
        open_sealed(ContentKey(MASTER), sealed, HERE)
