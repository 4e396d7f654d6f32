# SPDX-License-Identifier: Apache-2.0
"""Sealing of content under a key per owner."""

import secrets

import pytest

from signalling.store.base import Content, ContentId, OwnerId, StoreError, StoreUnavailable
from signalling.store.vault import SealedItem, Vault

MASTER_KEY = bytes(range(32))
ONE, TWO = OwnerId("consult:1"), OwnerId("consult:2")
NAME, NOTE = ContentId("name"), ContentId("note")


def contents(owner: OwnerId, *ids: ContentId) -> list[Content]:
    return [Content(owner, content_id, f"{owner}/{content_id}".encode()) for content_id in ids]


def test_what_one_vault_seals_another_opens() -> None:
    """The master key and what is stored are enough: owners are grouped, each under its own key."""
    one, two = Vault(MASTER_KEY).seal(contents(ONE, NAME, NOTE) + contents(TWO, NAME))
    assert (one.owner, two.owner) == (ONE, TWO)
    assert one.wrapped != two.wrapped
    opened = Vault(MASTER_KEY).open(ONE, one.wrapped, one.items)
    assert opened == {NAME: b"consult:1/name", NOTE: b"consult:1/note"}


def test_the_same_content_is_sealed_differently_each_time() -> None:
    """Nonces are fresh, the owner's key stays."""
    vault = Vault(MASTER_KEY)
    [first], [second] = (vault.seal(contents(ONE, NAME)) for _ in range(2))
    assert first.wrapped == second.wrapped
    assert first.items[0].sealed != second.items[0].sealed


def test_content_moved_to_another_id_does_not_open() -> None:
    """A sealed body is bound to its id, under the right key as well."""
    vault = Vault(MASTER_KEY)
    [one] = vault.seal(contents(ONE, NAME))
    with pytest.raises(StoreError):
        vault.open(ONE, one.wrapped, [SealedItem(NOTE, one.items[0].sealed)])


def test_content_moved_with_its_key_to_another_owner_does_not_open() -> None:
    """A wrapped key is bound to its owner, with a cold cache and a warm one."""
    vault = Vault(MASTER_KEY)
    [one] = vault.seal(contents(ONE, NAME))
    for each in (vault, Vault(MASTER_KEY)):
        with pytest.raises(StoreError):
            each.open(TWO, one.wrapped, one.items)
        with pytest.raises(StoreError):
            each.adopt(TWO, one.wrapped)


def test_a_body_is_bound_to_its_owner() -> None:
    """Two owners that were given the same key by force still can't swap bodies."""
    vault = Vault(MASTER_KEY, random_bytes=bytes)  # every key, and every nonce, is zeros
    one, two = vault.seal(contents(ONE, NAME) + contents(TWO, NAME))
    with pytest.raises(StoreError):
        vault.open(TWO, two.wrapped, one.items)


def test_a_key_under_another_master_key_is_refused() -> None:
    """Neither the content nor the check token of another master key is taken."""
    [one] = Vault(MASTER_KEY).seal(contents(ONE, NAME))
    other = Vault(bytes(32))
    with pytest.raises(StoreError):
        other.open(ONE, one.wrapped, one.items)
    Vault(MASTER_KEY).verify(Vault(MASTER_KEY).key_check())
    with pytest.raises(StoreUnavailable):
        other.verify(Vault(MASTER_KEY).key_check())


def test_the_cache_is_bounded_and_forgets_the_least_used() -> None:
    """Beyond its size the owner that was not used for longest gets a new key; the used one keeps its own."""
    vault = Vault(MASTER_KEY, max_keys=2)
    [one], [two] = vault.seal(contents(ONE, NAME)), vault.seal(contents(TWO, NAME))
    [one_again] = vault.seal(contents(ONE, NOTE))
    vault.seal(contents(OwnerId("consult:3"), NAME))
    assert one_again.wrapped == one.wrapped == vault.seal(contents(ONE, NAME))[0].wrapped
    assert vault.seal(contents(TWO, NAME))[0].wrapped != two.wrapped


def test_a_key_on_record_replaces_one_that_lost() -> None:
    """After `adopt` content is sealed under the other node's key; after `forget` under a new one."""
    [theirs] = Vault(MASTER_KEY).seal(contents(ONE, NAME))
    vault = Vault(MASTER_KEY)
    [ours] = vault.seal(contents(ONE, NOTE))
    assert ours.wrapped != theirs.wrapped
    vault.adopt(ONE, theirs.wrapped)
    [again] = vault.seal(contents(ONE, NOTE))
    assert again.wrapped == theirs.wrapped
    assert Vault(MASTER_KEY).open(ONE, theirs.wrapped, again.items) == {NOTE: b"consult:1/note"}
    vault.forget(ONE)
    assert vault.seal(contents(ONE, NOTE))[0].wrapped != theirs.wrapped


def test_a_short_master_key_is_refused() -> None:
    """Fewer than 32 bytes are a ValueError at once, not at the first content."""
    with pytest.raises(ValueError, match="32"):
        Vault(secrets.token_bytes(31))
