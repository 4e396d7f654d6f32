# SPDX-License-Identifier: Apache-2.0
"""Sealing of content, the same for both stores: what they write of a person is unreadable without two keys.

Each owner (a consult, an account) has a random *content key*. It lies in the store wrapped under the operator's
*master key*, which never does. Erasing an owner destroys the wrapped key, so copies of the content that survive in a
backup or a log are noise to whoever doesn't also hold an old copy of that key *and* the master key.

Content keys are cached, bounded. A cached key is never proof that an owner may still be written to: every append
carries the wrapped key that it used, and the store compares it with the one on record in the same transaction. So a
node whose cache is warm can't add content after another node erased the owner, and of two nodes that invent a key for
a new owner at the same time one wins and the other seals again.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from auth.errors import SealBroken
from auth.seal import (
    KEY_BYTES,
    NONCE_BYTES,
    ContentKey,
    new_content_key,
    open_sealed,
    seal,
    unwrap,
    wrap,
)
from signalling.store.base import Content, ContentId, OwnerId, StoreError, StoreUnavailable

MAX_CACHED_KEYS = 4096
"""Owners whose keys are kept at hand, about 1 MB: more than the consults that one node carries at a time."""

MAX_RESEALS = 3
"""An append is sealed again when another node's key for a new owner won. A second time can't happen (the key on record
never changes), so this only bounds the loop."""

_CHECK_KEY = ContentKey(bytes(KEY_BYTES))
_CHECK_CONTEXT = "selat/master-key"


@dataclass(frozen=True, slots=True)
class SealedItem:
    """One piece of content as the store keeps it."""

    content_id: ContentId
    sealed: bytes


@dataclass(frozen=True, slots=True)
class SealedOwner:
    """An owner's part of an append: the wrapped key that was used, and what was sealed with it."""

    owner: OwnerId
    wrapped: bytes
    items: tuple[SealedItem, ...]


class KeyOutdated(StoreError):
    """Inside the stores only: another key is on record for the owner; ``Vault.adopt`` it and seal again."""

    def __init__(self, owner: OwnerId, wrapped: bytes) -> None:
        """Carry the owner and the wrapped key on record."""
        super().__init__("another key is on record for this owner")
        self.owner, self.wrapped = owner, wrapped


class Vault:
    """Seals and opens content under per-owner keys; holds the master key and a cache of content keys."""

    def __init__(
        self,
        master_key: bytes,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        max_keys: int = MAX_CACHED_KEYS,
    ) -> None:
        """Take the operator's master key.

        Raises:
            ValueError: the master key is shorter than 32 bytes.
        """
        self._key_check = wrap(master_key, _CHECK_KEY, _CHECK_CONTEXT)
        self._master_key = master_key
        self._random_bytes = random_bytes
        self._max_keys = max_keys
        self._keys: OrderedDict[OwnerId, tuple[ContentKey, bytes]] = (
            OrderedDict()
        )  # content key, wrapped

    def seal(self, content: Sequence[Content]) -> tuple[SealedOwner, ...]:
        """Seal the content of an append, by owner; an owner not in the cache gets a new key.

        The store must refuse with ``KeyOutdated`` if another key is on record.
        """
        by_owner: dict[OwnerId, list[Content]] = {}
        for item in content:
            by_owner.setdefault(item.owner, []).append(item)
        return tuple(self._seal_owner(owner, items) for owner, items in by_owner.items())

    def _seal_owner(self, owner: OwnerId, items: Iterable[Content]) -> SealedOwner:
        if (entry := self._cached(owner)) is None:
            key = new_content_key(self._random_bytes)
            entry = self._remember(owner, key, wrap(self._master_key, key, _key_context(owner)))
        key, wrapped = entry
        return SealedOwner(
            owner,
            wrapped,
            tuple(
                SealedItem(
                    item.content_id,
                    seal(
                        key,
                        item.body,
                        _context(owner, item.content_id),
                        self._random_bytes(NONCE_BYTES),
                    ),
                )
                for item in items
            ),
        )

    def open(
        self, owner: OwnerId, wrapped: bytes, items: Iterable[SealedItem]
    ) -> Mapping[ContentId, bytes]:
        """Open an owner's content with the wrapped key on record.

        Raises:
            StoreError: a piece was altered, moved to another owner or id, or sealed under another master key.
        """
        entry = self._cached(owner)
        if entry is None or entry[1] != wrapped:
            entry = self.adopt(owner, wrapped)
        try:
            return {
                item.content_id: open_sealed(
                    entry[0], item.sealed, _context(owner, item.content_id)
                )
                for item in items
            }
        except SealBroken:
            raise StoreError("content does not open with its owner's key") from None

    def adopt(self, owner: OwnerId, wrapped: bytes) -> tuple[ContentKey, bytes]:
        """Take over the key on record for an owner; return the content key and its wrapped form.

        Raises:
            StoreError: it was wrapped under another master key, or for another owner.
        """
        try:
            key = unwrap(self._master_key, wrapped, _key_context(owner))
        except SealBroken:
            raise StoreError("an owner's key does not open with this master key") from None
        return self._remember(owner, key, wrapped)

    def forget(self, owner: OwnerId) -> None:
        """Drop an owner's key from the cache, after an erase or when the store refused it."""
        self._keys.pop(owner, None)

    def key_check(self) -> bytes:
        """Return a token to keep in the store, by which ``verify`` recognises the master key later."""
        return self._key_check

    def verify(self, key_check: bytes) -> None:
        """Compare the master key with the one that the store was made with.

        Raises:
            StoreUnavailable: it is another one. Going on would make what was written so far unreadable, unnoticed.
        """
        if not hmac.compare_digest(key_check, self._key_check):  # wrapping is deterministic
            raise StoreUnavailable("this store was made with another master key")

    def _cached(self, owner: OwnerId) -> tuple[ContentKey, bytes] | None:
        entry = self._keys.get(owner)
        if entry is not None:
            self._keys.move_to_end(owner)
        return entry

    def _remember(
        self, owner: OwnerId, key: ContentKey, wrapped: bytes
    ) -> tuple[ContentKey, bytes]:
        self._keys[owner] = entry = (key, wrapped)
        self._keys.move_to_end(owner)
        while len(self._keys) > self._max_keys:
            self._keys.popitem(last=False)
        return entry


def _key_context(owner: OwnerId) -> str:
    """Bind a wrapped key to its owner, so that a copy under another owner doesn't open."""
    return f"selat/key\0{owner}"


def _context(owner: OwnerId, content_id: ContentId) -> str:
    """Bind a sealed body to its place. Ids hold no NUL, so no two places share a context."""
    return f"selat/content\0{owner}\0{content_id}"
