# SPDX-License-Identifier: Apache-2.0
"""Ed25519 signing keys in a ring, with rotation that never invalidates a token in use.

Life of a key::

    created_at ───── signs ───── retired_at ───── only verifies ───── expires_at

A ring is immutable: rotating makes a new ring, which the edge writes to the key file and swaps in.
The file is a JWK set (RFC 7517) with OKP keys (RFC 8037) plus our three instants. It holds private
keys: reading and writing it, with owner-only rights, is the edge's business.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from auth.errors import KeysUnusable, KeyUnknown

MAX_TOKEN_LIFETIME_S: Final = 90 * 86_400.0
"""No token lives longer (``tokens.issue`` refuses). The longest-lived ones are the credentials
which a person puts into a file for a relay or for Prometheus; 90 days is the renewal that people
know from Let's Encrypt certificates. A retired key verifies for this long, so rotation never cuts
off a token that was promised more."""

KID_LENGTH: Final = 4
"""Characters of a key id. It travels in every invitation, and so in an SMS: 24 bits tell the few
keys of a ring apart. It protects nothing: a wrong key fails at the signature."""

_SEED_BYTES: Final = 32  # RFC 8032 §5.1.5: an Ed25519 private key is 32 octets


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _thumbprint(public_bytes: bytes) -> str:
    """Return the shortened RFC 7638 thumbprint of an OKP key (RFC 8037 appendix A.3)."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(public_bytes)}"}}'
    return _base64url(hashlib.sha256(jwk.encode("ascii")).digest())[:KID_LENGTH]


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key. Neither its ``repr`` nor comparing it touches key material."""

    kid: str
    """Key id: the shortened RFC 7638 thumbprint of the public key."""
    created_at: float
    """When it was made."""
    retired_at: float | None
    """It signs until then; None while no successor was named."""
    expires_at: float | None
    """It verifies until then; None while it isn't retired."""
    private_key: Ed25519PrivateKey = field(repr=False, compare=False)
    """What signs."""
    public_key: Ed25519PublicKey = field(repr=False, compare=False)
    """What verifies; kept as an object, since rebuilding it for every token would cost more than
    parsing one."""

    @classmethod
    def from_seed(
        cls,
        seed: bytes,
        *,
        created_at: float,
        retired_at: float | None = None,
        expires_at: float | None = None,
    ) -> Self:
        """Build a key from its 32 secret bytes.

        Raises:
            ValueError: the seed has another length.
        """
        private_key = Ed25519PrivateKey.from_private_bytes(seed)
        public_key = private_key.public_key()
        kid = _thumbprint(public_key.public_bytes_raw())
        return cls(kid, created_at, retired_at, expires_at, private_key, public_key)

    def signs(self, now: float) -> bool:
        """Say whether tokens may be signed with it at ``now``."""
        return self.retired_at is None or now < self.retired_at

    def verifies(self, now: float) -> bool:
        """Say whether tokens signed with it are believed at ``now``."""
        return self.expires_at is None or now < self.expires_at


def generate(now: float) -> Key:
    """Make a new key from the operating system's randomness."""
    return Key.from_seed(secrets.token_bytes(_SEED_BYTES), created_at=now)


class _KeyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key as it is in the file: RFC 8037 §2 members, then ours."""

    kid: str
    d: str
    x: str
    created_at: float
    retired_at: float | None
    expires_at: float | None
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"


class _RingRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: Annotated[tuple[_KeyRecord, ...], msgspec.Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that this service signs and verifies with, oldest first. Immutable."""

    keys: tuple[Key, ...]
    """Oldest first."""
    _by_kid: dict[str, Key] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the keys.

        Raises:
            KeysUnusable: there is no key, or two have the same id.
        """
        by_kid = {key.kid: key for key in self.keys}
        if not by_kid or len(by_kid) != len(self.keys):
            raise KeysUnusable("a key ring needs keys, each with its own id")
        object.__setattr__(self, "_by_kid", by_kid)

    def signing_key(self, now: float) -> Key:
        """Return the key to sign with: the oldest that isn't retired.

        The oldest, so that during ``rotate``'s overlap the successor is already known to every node
        but not yet used.

        Raises:
            KeysUnusable: every key is retired.
        """
        for key in self.keys:
            if key.signs(now):
                return key
        raise KeysUnusable("every key in the ring is retired")

    def verifying_keys(self, now: float) -> tuple[Key, ...]:
        """Return the keys whose signatures are believed at ``now``, oldest first."""
        return tuple(key for key in self.keys if key.verifies(now))

    def find(self, kid: str, now: float) -> Key:
        """Return the key that a token names.

        Raises:
            KeyUnknown: there is none of that name, or it has expired.
        """
        key = self._by_kid.get(kid)
        if key is None or not key.verifies(now):
            raise KeyUnknown("signed with a key that is not in the ring")
        return key

    def rotate(self, now: float, new_key: Key, *, overlap_s: float = 0.0) -> KeyRing:
        """Return a ring in which ``new_key`` takes over the signing.

        The keys before it sign for ``overlap_s`` longer and verify for ``MAX_TOKEN_LIFETIME_S``
        after that; expired keys are dropped. With several nodes the overlap *should* be longer than
        they take to reload the key file: otherwise a node meets tokens of a key that it hasn't read
        yet.

        Raises:
            KeysUnusable: ``new_key`` is already in the ring.
        """
        retired_at = now + overlap_s
        kept = tuple(
            key
            if key.retired_at is not None and key.retired_at <= retired_at
            else replace(key, retired_at=retired_at, expires_at=retired_at + MAX_TOKEN_LIFETIME_S)
            for key in self.verifying_keys(now)
        )
        return KeyRing((*kept, new_key))

    def without(self, kid: str) -> KeyRing:
        """Return a ring without that key. For a stolen one: every token it signed is refused then.

        Raises:
            KeysUnusable: no key would be left.
        """
        return KeyRing(tuple(key for key in self.keys if key.kid != kid))

    def to_json(self) -> bytes:
        """Return the content of a key file. It holds the private keys."""
        records = tuple(
            _KeyRecord(
                kid=key.kid,
                d=_base64url(key.private_key.private_bytes_raw()),
                x=_base64url(key.public_key.public_bytes_raw()),
                created_at=key.created_at,
                retired_at=key.retired_at,
                expires_at=key.expires_at,
            )
            for key in self.keys
        )
        return msgspec.json.format(msgspec.json.encode(_RingRecord(records)), indent=1) + b"\n"

    @classmethod
    def from_json(cls, data: bytes | str) -> KeyRing:
        """Read the content of a key file.

        Raises:
            KeysUnusable: it is no key file, or a key's id or public half doesn't belong to its
                private half. The message never contains key material.
        """
        try:
            records = msgspec.json.decode(data, type=_RingRecord).keys
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # The cause is cut off: the library's messages may quote what they choked on.
            raise KeysUnusable("the key file is not a key ring") from None
        return cls(tuple(_read_key(record) for record in records))


def _read_key(record: _KeyRecord) -> Key:
    try:
        seed = base64.urlsafe_b64decode(record.d + "=" * (-len(record.d) % 4))
        key = Key.from_seed(
            seed,
            created_at=record.created_at,
            retired_at=record.retired_at,
            expires_at=record.expires_at,
        )
    except ValueError:
        raise KeysUnusable("a key in the key file is damaged") from None
    if key.kid != record.kid or _base64url(key.public_key.public_bytes_raw()) != record.x:
        raise KeysUnusable("a key in the key file doesn't belong to its id")
    return key
