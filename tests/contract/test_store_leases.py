# SPDX-License-Identifier: Apache-2.0
"""The store contract: names held by one owner until they expire, with a token that only grows."""

import asyncio
import math
import time

import pytest

from signalling.store.base import Lease, Store
from tests.support.stores import DEADLINE_S, Place

NAME = "presence:dr-sari"
LONG_S = 60.0
SHORT_S = 0.15


async def acquire_when_free(store: Store, name: str, owner: str) -> Lease:
    """Ask until the lease is given."""
    deadline = time.monotonic() + DEADLINE_S
    while (lease := await store.acquire(name, owner, LONG_S)) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return lease


async def test_a_free_name_is_taken_by_one_of_many(store: Store, second_node: Store) -> None:
    """Of fifty owners that ask at once, on two nodes, exactly one gets the lease."""
    nodes = (store, second_node)
    leases = await asyncio.gather(
        *(nodes[n % 2].acquire(NAME, f"node-{n}", LONG_S) for n in range(50))
    )
    [winner] = [lease for lease in leases if lease is not None]
    assert winner.name == NAME
    assert await second_node.holders([NAME, "other"]) == {NAME: winner}
    assert await store.holders([]) == {}


async def test_the_owner_extends_with_the_same_token(store: Store, second_node: Store) -> None:
    """Asking again is no second lease: same token, longer life; others go on being refused."""
    lease = await store.acquire(NAME, "one", SHORT_S)
    assert lease is not None
    assert await second_node.acquire(NAME, "two", LONG_S) is None
    assert await second_node.acquire(NAME, "one", LONG_S) == lease
    await asyncio.sleep(SHORT_S * 1.5)
    assert await store.acquire(NAME, "two", LONG_S) is None
    assert await store.holders([NAME]) == {NAME: lease}


async def test_an_expired_lease_is_free_and_its_successor_has_a_greater_token(store: Store) -> None:
    """After its time a lease is nobody's; the next holder's token is greater; the old holder can't come back."""
    old = await store.acquire(NAME, "one", SHORT_S)
    assert old is not None
    started = time.monotonic()
    new = await acquire_when_free(store, NAME, "two")
    assert time.monotonic() - started > SHORT_S / 2
    assert new.token > old.token
    assert await store.renew([old], LONG_S) == {NAME}
    await store.release(old)
    assert await store.holders([NAME]) == {NAME: new}


async def test_nobody_holds_an_expired_lease(store: Store) -> None:
    """It disappears from the holders by itself, and renewing it says that it is lost."""
    lease = await store.acquire(NAME, "one", SHORT_S)
    assert lease is not None
    deadline = time.monotonic() + DEADLINE_S
    while await store.holders([NAME]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await store.renew([lease], LONG_S) == {NAME}
    assert await store.holders([NAME]) == {}


async def test_renew_extends_what_is_held_and_names_what_is_lost(store: Store) -> None:
    """Several at once; a lost one doesn't keep the others from being extended."""
    held = [await store.acquire(f"consult:{n}", "one", SHORT_S) for n in range(3)]
    leases = [lease for lease in held if lease is not None]
    stranger = Lease("consult:9", "one", 1)
    stale = Lease("consult:1", "one", leases[1].token - 1)
    assert await store.renew([leases[0], stale, leases[2], stranger], LONG_S) == {
        "consult:1",
        "consult:9",
    }
    await asyncio.sleep(SHORT_S * 1.5)
    assert set(await store.holders([f"consult:{n}" for n in range(3)])) == {
        "consult:0",
        "consult:2",
    }
    assert await store.renew([], LONG_S) == set()


async def test_a_released_lease_is_free_at_once(store: Store, second_node: Store) -> None:
    """Release frees it for another owner, whose token is greater; releasing twice does nothing."""
    old = await store.acquire(NAME, "one", LONG_S)
    assert old is not None
    await store.release(old)
    new = await second_node.acquire(NAME, "two", LONG_S)
    assert new is not None
    assert new.token > old.token
    await store.release(old)
    assert await second_node.holders([NAME]) == {NAME: new}


async def test_the_same_owner_gets_a_greater_token_after_a_loss(store: Store) -> None:
    """Holding again after a release is a new tenure: what was done under the old token can be told apart."""
    old = await store.acquire(NAME, "one", LONG_S)
    assert old is not None
    await store.release(old)
    new = await store.acquire(NAME, "one", LONG_S)
    assert new is not None
    assert new.token > old.token


async def test_leases_and_tokens_survive_reopening(store: Store, place: Place) -> None:
    """A restart neither frees a name before its time nor hands out a token again."""
    lease = await store.acquire(NAME, "one", LONG_S)
    gone = await store.acquire("other", "one", LONG_S)
    assert lease is not None
    assert gone is not None
    await store.release(gone)
    await store.close()
    store = await place.open()
    try:
        assert await store.holders([NAME]) == {NAME: lease}
        assert await store.acquire(NAME, "two", LONG_S) is None
        assert await store.renew([lease], LONG_S) == set()
        again = await store.acquire("other", "one", LONG_S)
        assert again is not None
        assert again.token > gone.token
    finally:
        await store.close()


@pytest.mark.parametrize("ttl_s", [0, -1, math.nan, math.inf])
async def test_a_lease_lasts_longer_than_nothing_and_not_for_ever(
    store: Store, ttl_s: float
) -> None:
    """A time to live that is no positive, finite span is a ValueError."""
    with pytest.raises(ValueError, match="lease"):
        await store.acquire(NAME, "one", ttl_s)
    with pytest.raises(ValueError, match="lease"):
        await store.renew([], ttl_s)
