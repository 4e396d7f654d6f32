# SPDX-License-Identifier: Apache-2.0
"""The store contract: everything in one global order, exactly once."""

import asyncio

import pytest

from signalling.store.base import Append, Recorded, Store, StreamId, TailTruncated
from signalling.store.embedded import RECENT_KEPT
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisPlace, take

A = StreamId("consult:a")


async def write(node: Store, stream: StreamId, count: int) -> None:
    for n in range(count):
        await node.append(Append(stream, n, (f"{stream}/{n}".encode(),)))


def assert_whole(events: list[Recorded], streams: list[StreamId], count: int) -> None:
    """Positions rise; each stream is complete and in order; nothing is there twice."""
    positions = [e.position for e in events]
    assert positions == sorted(set(positions))
    assert len(events) == len(streams) * count
    for stream in streams:
        mine = [e for e in events if e.stream == stream]
        assert [e.version for e in mine] == list(range(1, count + 1))
        assert [e.data for e in mine] == [f"{stream}/{n}".encode() for n in range(count)]


async def test_tails_see_every_event_once_under_concurrent_writers(
    store: Store, second_node: Store
) -> None:
    """Tails on both nodes, begun before, give the whole in the same order while both nodes write."""
    streams = [StreamId(f"consult:{n}") for n in range(10)]
    tails = [
        asyncio.create_task(take(node.tail(0), 300)) for node in (store, second_node, second_node)
    ]
    writers = [write((store, second_node)[i % 2], stream, 30) for i, stream in enumerate(streams)]
    await asyncio.gather(*writers)
    first, second, third = await asyncio.gather(*tails)
    assert_whole(first, streams, 30)
    assert first == second == third


async def test_a_tail_begun_in_the_middle_of_writing_has_no_seam(
    store: Store, second_node: Store
) -> None:
    """What was there and what comes meanwhile join without a gap or a repetition."""
    streams = [StreamId(f"consult:{n}") for n in range(5)]
    writers = asyncio.gather(
        *(write((store, second_node)[i % 2], s, 100) for i, s in enumerate(streams))
    )
    tails = []
    while not writers.done():
        if len(tails) < 20:
            tails.append(asyncio.create_task(take(second_node.tail(0), 500)))
        await asyncio.sleep(0.01)
    await writers
    for events in await asyncio.gather(*tails):
        assert_whole(events, streams, 100)


async def test_a_tail_starts_above_the_position_given(store: Store) -> None:
    """Resuming from the last position seen gives the rest, from any place of the order."""
    await write(store, A, 20)
    everything = await take(store.tail(0), 20)
    assert len(everything) == 20
    for seen in (1, 10, 19):
        assert await take(store.tail(everything[seen - 1].position), 20 - seen) == everything[seen:]


async def test_a_tail_waits_for_news(store: Store, second_node: Store) -> None:
    """At the head it gives nothing until another node (or this one) appends, and then that alone."""
    await write(store, A, 3)
    tail = store.tail(await store.head())
    news = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.05)
    assert not news.done()
    await second_node.append(Append(A, 3, (b"news",)))
    assert [e.data for e in await asyncio.wait_for(news, 5)] == [b"news"]
    news = asyncio.ensure_future(anext(tail))
    await store.append(Append(A, 4, (b"more",)))
    assert [e.data for e in await asyncio.wait_for(news, 5)] == [b"more"]
    await tail.aclose()  # type: ignore[attr-defined]


async def test_a_slow_tail_loses_nothing(store: Store) -> None:
    """Far behind what is kept in memory it still gives everything, in batches."""
    count = RECENT_KEPT * 2 + 500
    tail = store.tail(0)
    await store.append(Append(A, 0, (b"0",)))
    events = list(await anext(tail))
    for n in range(1, count, 500):
        await store.append(
            Append(A, n, tuple(f"{i}".encode() for i in range(n, min(n + 500, count))))
        )
    events += await take(tail, count - 1)
    assert [e.data for e in events] == [f"{n}".encode() for n in range(count)]


async def test_a_cancelled_tail_leaves_the_others_alone(store: Store) -> None:
    """Cancelling one consumer while it waits doesn't end or disturb another."""
    one = asyncio.create_task(take(store.tail(0), 1))
    other = asyncio.create_task(take(store.tail(0), 1))
    await asyncio.sleep(0.05)
    one.cancel()
    await asyncio.wait({one})
    await store.append(Append(A, 0, (b"x",)))
    assert len(await other) == 1
    assert one.cancelled()


async def test_a_position_ahead_of_the_store_is_refused(store: Store) -> None:
    """It comes from another database, or from before a loss: waiting for it would miss what is written meanwhile."""
    await write(store, A, 2)
    with pytest.raises(TailTruncated):
        await anext(store.tail(await store.head() + 1))


async def test_tail_after_close_ends(store: Store) -> None:
    """A closed store gives no events, and no error."""
    await write(store, A, 1)
    await store.close()
    assert [batch async for batch in store.tail(0)] == []


@pytest.mark.redis
async def test_redis_refuses_what_it_trimmed(redis_server: RedisServer) -> None:
    """Redis alone trims the global order: a position before it is TailTruncated, streams are whole all the same."""
    place = RedisPlace(redis_server, log_length=10)
    store = await place.open()
    try:
        tail = store.tail(0)
        await store.append(Append(A, 0, (b"first",)))
        assert len(await anext(tail)) == 1
        for n in range(1, 2001, 200):
            await store.append(Append(A, n, tuple(b"x" * 50 for _ in range(200))))
        for late in (store.tail(0), store.tail(1), tail):
            with pytest.raises(TailTruncated):
                await anext(late)
        newest = (await store.recent(10))[0].position
        assert len(await take(store.tail(newest), 9)) == 9
        assert len(await store.read(A)) == 2001
    finally:
        await store.close()
