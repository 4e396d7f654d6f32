# SPDX-License-Identifier: Apache-2.0
"""The key ring: rotation, expiry and the key file."""

import base64
import json
import re
from dataclasses import FrozenInstanceError

import pytest

from auth import keys
from auth.errors import KeysUnusable, KeyUnknown
from auth.keys import MAX_TOKEN_LIFETIME_S, Key, KeyRing

NOW = 1_790_000_000.0
DAY_S = 86_400.0


def key(number: int, created_at: float = NOW) -> Key:
    return Key.from_seed(bytes([number]) * 32, created_at=created_at)


def test_generated_keys_differ() -> None:
    """Two generated keys have neither the same id nor the same secret."""
    one, other = keys.generate(NOW), keys.generate(NOW)
    assert one.kid != other.kid
    assert one.private_key.private_bytes_raw() != other.private_key.private_bytes_raw()
    assert one.created_at == NOW
    assert one.retired_at is one.expires_at is None


def test_kid_is_the_thumbprint_of_the_standard() -> None:
    """The id is the beginning of the thumbprint that RFC 8037 appendix A.3 prints for its key."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".startswith(
        Key.from_seed(seed, created_at=NOW).kid
    )
    assert len(key(1).kid) == keys.KID_LENGTH


def test_rotation_moves_signing_at_once() -> None:
    """After a rotation the new key signs, and the old one only verifies, until its expiry."""
    old, new = key(1), key(2)
    ring = KeyRing((old,)).rotate(NOW, new)
    assert ring.signing_key(NOW).kid == new.kid
    assert [each.kid for each in ring.verifying_keys(NOW)] == [old.kid, new.kid]
    retired = ring.find(old.kid, NOW)
    assert retired.retired_at == NOW
    assert retired.expires_at == NOW + MAX_TOKEN_LIFETIME_S
    last = NOW + MAX_TOKEN_LIFETIME_S
    assert ring.find(old.kid, last - 0.001) == retired
    with pytest.raises(KeyUnknown):
        ring.find(old.kid, last)
    assert ring.verifying_keys(last) == (new,)


def test_rotation_with_overlap_lets_other_nodes_read_the_file() -> None:
    """During the overlap the old key still signs, while the new one is already believed."""
    old, new = key(1), key(2)
    ring = KeyRing((old,)).rotate(NOW, new, overlap_s=60.0)
    assert ring.signing_key(NOW + 59.9).kid == old.kid
    assert ring.find(new.kid, NOW) == new
    assert ring.signing_key(NOW + 60.0).kid == new.kid
    assert ring.find(old.kid, NOW).expires_at == NOW + 60.0 + MAX_TOKEN_LIFETIME_S


def test_second_rotation_leaves_retired_keys_alone() -> None:
    """A key keeps the expiry that it got when it retired; after that it is dropped from the ring."""
    ring = KeyRing((key(1),)).rotate(NOW, key(2)).rotate(NOW + DAY_S, key(3))
    assert [each.retired_at for each in ring.keys] == [NOW, NOW + DAY_S, None]
    later = ring.rotate(NOW + MAX_TOKEN_LIFETIME_S, key(4))
    assert [each.kid for each in later.keys] == [key(n).kid for n in (2, 3, 4)]


def test_rotation_during_an_overlap_shortens_it() -> None:
    """A second rotation retires a key that was to retire later, so that a stolen key stops."""
    ring = KeyRing((key(1),)).rotate(NOW, key(2), overlap_s=DAY_S).rotate(NOW + 1.0, key(3))
    assert ring.signing_key(NOW + 1.0).kid == key(3).kid
    assert [each.retired_at for each in ring.keys] == [NOW + 1.0, NOW + 1.0, None]


def test_rotation_refuses_the_same_key() -> None:
    """Rotating to the key that is there already would retire nothing."""
    with pytest.raises(KeysUnusable):
        KeyRing((key(1),)).rotate(NOW, key(1))


def test_a_stolen_key_can_be_taken_out() -> None:
    """Without a key, its signatures are believed no more; the last key can't be taken out."""
    ring = KeyRing((key(1),)).rotate(NOW, key(2)).without(key(1).kid)
    with pytest.raises(KeyUnknown):
        ring.find(key(1).kid, NOW)
    with pytest.raises(KeysUnusable):
        ring.without(key(2).kid)


def test_no_key_that_may_sign() -> None:
    """A ring whose keys are all retired says so, and doesn't sign with one of them."""
    ring = KeyRing((Key.from_seed(b"1" * 32, created_at=0.0, retired_at=NOW, expires_at=NOW + 9),))
    assert ring.signing_key(NOW - 0.001).kid
    with pytest.raises(KeysUnusable):
        ring.signing_key(NOW)


def test_ring_is_immutable() -> None:
    """Rotation makes a new ring; the old one stays what it was."""
    ring = KeyRing((key(1),))
    ring.rotate(NOW, key(2))
    assert ring.keys == (key(1),)
    with pytest.raises(FrozenInstanceError):
        ring.keys = ()  # type: ignore[misc]


def test_file_keeps_everything() -> None:
    """What is written to a key file is read back: instants, and keys that sign alike."""
    ring = KeyRing((key(1),)).rotate(NOW, key(2), overlap_s=1.5)
    again = KeyRing.from_json(ring.to_json())
    assert again == ring
    for one, other in zip(ring.keys, again.keys, strict=True):
        assert one.private_key.sign(b"x") == other.private_key.sign(b"x")
    assert KeyRing.from_json(ring.to_json().decode()) == ring


def test_file_is_a_jwk_set() -> None:
    """The file's members are those of RFC 8037 §2, so that other tools can read it."""
    (jwk,) = json.loads(KeyRing((key(1),)).to_json())["keys"]
    assert (jwk["kty"], jwk["crv"]) == ("OKP", "Ed25519")
    assert base64.urlsafe_b64decode(jwk["d"] + "=") == bytes([1]) * 32
    assert len(jwk["x"]) == 43


def damaged(**changes: object) -> bytes:
    document = json.loads(KeyRing((key(1),)).to_json())
    document["keys"][0].update(changes)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"keys": []}',
        b'{"keys": [{}]}',
        b"[" * 100_000,
        damaged(kty="RSA"),
        damaged(crv="Ed448"),
        damaged(alg="none"),
        damaged(d="AAAA"),
        damaged(d="!"),
        damaged(d="\u00e9" * 43),
        damaged(kid="AAAA"),
        damaged(x="A" * 43),
        damaged(d=base64.urlsafe_b64encode(b"2" * 32).rstrip(b"=").decode()),
        damaged(created_at="yesterday"),
        json.dumps({"keys": json.loads(KeyRing((key(1),)).to_json())["keys"] * 2}).encode(),
    ],
)
def test_damaged_file_is_refused(data: bytes) -> None:
    """A file that isn't a whole key ring is refused, without its content in the message."""
    with pytest.raises(KeysUnusable) as caught:
        KeyRing.from_json(data)
    assert caught.value.__cause__ is None
    assert not re.search(r"[A-Za-z0-9_-]{20}", str(caught.value))


def test_repr_hides_the_key() -> None:
    """Neither a key's nor a ring's repr shows anything of the private key."""
    ring = KeyRing((key(1),))
    shown = repr(ring) + repr(ring.keys[0]) + str(ring)
    assert key(1).kid in shown
    secret = key(1).private_key.private_bytes_raw()
    for form in (secret.hex(), base64.urlsafe_b64encode(secret).decode()[:20], "Private"):
        assert form not in shown
