# SPDX-License-Identifier: Apache-2.0
"""Personal content under one key per consult, so that destroying the key destroys the content.

::

    master key ── wrap ──▶ content key (one per consult, kept wrapped) ── seal ──▶ content

Content is sealed with AES-256-GCM (NIST SP 800-38D). The content key is wrapped with AES-SIV (RFC
5297), which is made for keys: it needs no nonce, so wrapping can't go wrong by repeating one. Both
bind a *context* (such as ``consult/<id>/note/3``) which *must* be the same again at opening: what
is moved to another place doesn't open there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from auth.errors import SealBroken

if TYPE_CHECKING:
    from collections.abc import Callable

ContentKey = NewType("ContentKey", bytes)
"""The key of one consult's content, in the clear: keep it in memory only."""

KEY_BYTES: Final = 32
"""AES-256; also the least length of the master key."""

NONCE_BYTES: Final = 12
"""SP 800-38D §5.2.1.1. Random nonces are safe for 2^32 contents under one key (§8.3): a consult has
hundreds."""

SEAL_OVERHEAD_BYTES: Final = 1 + NONCE_BYTES + 16
"""How much longer sealed content is: version, nonce, tag."""

_VERSION: Final = (
    b"\x01"  # the first byte of all that is wrapped or sealed, for the day when the cipher changes
)


def new_content_key(random_bytes: Callable[[int], bytes]) -> ContentKey:
    """Return a new content key.

    ``random_bytes`` *must* be a cryptographic source (``secrets.token_bytes``).
    """
    return ContentKey(random_bytes(KEY_BYTES))


def _wrapping(master_key: bytes) -> AESSIV:
    if len(master_key) < KEY_BYTES:
        raise ValueError(f"a master key has at least {KEY_BYTES} bytes")
    # AES-256-SIV takes two keys of 256 bits. Expanding alone is enough: the master key is random
    # (RFC 5869 §3.3).
    expand = HKDFExpand(algorithm=hashes.SHA256(), length=2 * KEY_BYTES, info=b"selat content key")
    return AESSIV(expand.derive(master_key))


def wrap(master_key: bytes, content_key: ContentKey, context: str) -> bytes:
    """Return the content key in the form in which it may be kept. Deterministic.

    Raises:
        ValueError: the master key is too short.
    """
    return _VERSION + _wrapping(master_key).encrypt(content_key, [context.encode("utf-8")])


def unwrap(master_key: bytes, wrapped: bytes, context: str) -> ContentKey:
    """Return the content key again.

    Raises:
        SealBroken: it was altered, wrapped by another master key or for another context.
        ValueError: the master key is too short.
    """
    cipher = _wrapping(master_key)
    if wrapped[:1] != _VERSION:
        raise SealBroken("not a wrapped key of ours")
    try:
        return ContentKey(cipher.decrypt(wrapped[1:], [context.encode("utf-8")]))
    except (InvalidTag, ValueError):
        raise SealBroken("the wrapped key can't be opened") from None


def seal(content_key: ContentKey, plaintext: bytes, context: str, nonce: bytes) -> bytes:
    """Return the content sealed.

    ``nonce`` *must* be new for each content under one key (``secrets.token_bytes``).

    Raises:
        ValueError: the nonce doesn't have ``NONCE_BYTES`` bytes, or the key not ``KEY_BYTES``.
    """
    if len(nonce) != NONCE_BYTES or len(content_key) != KEY_BYTES:
        raise ValueError("nonce or content key has the wrong length")
    sealed = AESGCM(content_key).encrypt(nonce, plaintext, context.encode("utf-8"))
    return _VERSION + nonce + sealed


def open_sealed(content_key: ContentKey, sealed: bytes, context: str) -> bytes:
    """Return the content again.

    Raises:
        SealBroken: it was altered, sealed with another key or for another context.
    """
    if len(sealed) < SEAL_OVERHEAD_BYTES or sealed[:1] != _VERSION:
        raise SealBroken("not sealed content of ours")
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return AESGCM(content_key).decrypt(nonce, ciphertext, context.encode("utf-8"))
    except (InvalidTag, ValueError):
        raise SealBroken("the content can't be opened") from None
