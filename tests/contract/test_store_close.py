# SPDX-License-Identifier: Apache-2.0
"""The store contract: round trips, shutdown, and opening by URL."""

import asyncio
from pathlib import Path

import pytest

from signalling.store.base import Append, InboxId, OwnerId, Store, StoreUnavailable, StreamId
from signalling.store.embedded import EmbeddedStore
from signalling.store.open import open_store
from signalling.store.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import MASTER_KEY, Place

A = StreamId("consult:a")


async def test_ping_tells_how_long_a_round_trip_takes(store: Store) -> None:
    """A positive number of seconds, no longer than the call itself."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    took_s = await store.ping()
    assert 0 < took_s <= loop.time() - started


async def test_close_flushes_what_was_accepted(store: Store, place: Place) -> None:
    """Appends that were called before close are answered and kept."""
    appends = [
        asyncio.create_task(store.append(Append(StreamId(f"consult:{n}"), 0, (b"x",))))
        for n in range(50)
    ]
    await asyncio.sleep(0)
    await store.close()
    assert len(set(await asyncio.gather(*appends))) == 50
    store = await place.open()
    assert len(await store.recent(99)) == 50
    await store.close()


async def test_close_is_idempotent(store: Store) -> None:
    """Twice at once and once more afterwards."""
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_close_releases_whoever_waits(store: Store) -> None:
    """Tails and the inbox consumer that wait end without an error."""
    await store.append(Append(A, 0, (b"x",)))
    tails = [
        asyncio.create_task(anext(store.tail(1), None)),
        asyncio.create_task(anext(store.tail(1), None)),
    ]
    items = asyncio.create_task(anext(store.inbox_items(), None))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):  # below the time for which a tail's question may wait
        await store.close()
        assert await asyncio.gather(*tails, items) == [None, None, None]


async def test_a_closed_store_says_so(store: Store) -> None:
    """Every call after close is StoreUnavailable."""
    await store.close()
    for call in (
        store.append(Append(A, 0, (b"x",))),
        store.read(A),
        store.head(),
        store.recent(1),
        store.due(1),
        store.acquire("name", "owner", 1),
        store.holders(["name"]),
        store.open_inbox(InboxId("i")),
        store.post(InboxId("i"), b"x"),
        store.content(OwnerId("o")),
        store.erase(OwnerId("o")),
        store.ping(),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await store.close_inbox(InboxId("i"))


async def test_a_url_names_the_store(tmp_path: Path, redis_server: RedisServer) -> None:
    """A path, sqlite:, redis: and unix: open the store they name; anything else is a ValueError."""
    for url in (f"{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"):
        store: Store = await open_store(url, MASTER_KEY)
        assert isinstance(store, EmbeddedStore)
        await store.close()
    assert (tmp_path / "a.db").exists()
    assert (tmp_path / "b.db").exists()
    for url in (redis_server.url, redis_server.socket_url):
        store = await open_store(url, MASTER_KEY, prefix="by-url:")
        assert isinstance(store, RedisStore)
        await store.close()
    for url in ("postgres://host/db", "sqlite:///", ""):
        with pytest.raises(ValueError, match=r"scheme|file"):
            await open_store(url, MASTER_KEY)
    for url in (f"{tmp_path}/c.db", redis_server.url):
        with pytest.raises(ValueError, match="master key"):
            await open_store(url, b"short")


async def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """No such folder, no database, nobody at the address: StoreUnavailable, and nothing is left behind."""
    (tmp_path / "text.db").write_text("this is no database " * 100)
    for url in (
        f"{tmp_path}/none/selat.db",
        f"{tmp_path}/text.db",
        "redis://127.0.0.1:1/0",
        f"unix://{tmp_path}/no.sock",
    ):
        with pytest.raises(StoreUnavailable):
            await open_store(url, MASTER_KEY)
