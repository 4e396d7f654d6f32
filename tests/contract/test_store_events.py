# SPDX-License-Identifier: Apache-2.0
"""The store contract: streams, versions, positions, due times."""

import asyncio
import math

import pytest

from signalling.store.base import (
    Append,
    Content,
    ContentId,
    Due,
    OwnerId,
    Recorded,
    Store,
    StreamId,
    VersionConflict,
)
from tests.support.stores import Place

A = StreamId("consult:a")
B = StreamId("specialist:b")
C = StreamId("consult:c")


async def test_an_unknown_stream_is_empty(store: Store) -> None:
    """Nothing was written: no events, head 0, nothing recent, nothing due."""
    assert await store.read(A) == []
    assert await store.head() == 0
    assert await store.recent(10) == []
    assert await store.due(math.inf) == []


async def test_events_are_versioned_from_one_and_read_in_order(store: Store) -> None:
    """A stream's events count 1, 2, 3 …; reading after a version gives those above it."""
    await store.append(Append(A, 0, (b"one", b"two")))
    await store.append(Append(A, 2, (b"three",)))
    events = await store.read(A)
    assert [(e.stream, e.version, e.data) for e in events] == [
        (A, 1, b"one"),
        (A, 2, b"two"),
        (A, 3, b"three"),
    ]
    assert await store.read(A, 2) == events[2:]
    assert await store.read(A, 3) == []
    assert await store.read(A, 99) == []


async def test_an_append_returns_the_position_of_its_last_event(store: Store) -> None:
    """Positions rise over all streams; head is the newest; what append returns is in both."""
    first = await store.append(Append(A, 0, (b"1", b"2")), Append(B, 0, (b"3",)))
    assert first == await store.head()
    second = await store.append(Append(C, 0, (b"4",)))
    assert second > first
    assert second == await store.head()
    events = await store.recent(10)
    assert [e.data for e in events] == [b"1", b"2", b"3", b"4"]
    positions = [e.position for e in events]
    assert positions == sorted(set(positions))
    assert positions[2:] == [first, second]


async def test_any_bytes_are_kept_as_they_are(store: Store) -> None:
    """Empty, binary and long events, and ids of any script, come back unchanged."""
    stream = StreamId("consult:pulau ∕ 岛 : ' \" * \r\n $")
    events = (b"", bytes(range(256)), b"\r\n$5\r\n:1\r\n", b"x" * 300_000)
    await store.append(Append(stream, 0, events, due_at=1.5))
    assert [e.data for e in await store.read(stream)] == list(events)
    assert [e.stream for e in await store.recent(1)] == [stream]
    assert await store.due(2) == [Due(stream, 1.5)]


async def test_a_wrong_version_writes_nothing(store: Store) -> None:
    """VersionConflict names the stream and both versions, and nothing changed: events, due time, position."""
    await store.append(Append(A, 0, (b"1",), due_at=50.0))
    head = await store.head()
    for expected in (0, 2, 99, -1):
        with pytest.raises(VersionConflict) as caught:
            await store.append(Append(A, expected, (b"no",), due_at=7.0))
        assert (caught.value.stream, caught.value.expected, caught.value.actual) == (A, expected, 1)
    assert [e.data for e in await store.read(A)] == [b"1"]
    assert await store.due(math.inf) == [Due(A, 50.0)]
    assert await store.head() == head


@pytest.mark.parametrize("stale", [0, 1])
async def test_two_streams_change_together_or_not_at_all(store: Store, stale: int) -> None:
    """If either stream has another version, neither gets its events, due time or content."""
    await store.append(Append(A, 0, (b"a1",), due_at=1.0), Append(B, 0, (b"b1",), due_at=2.0))
    head = await store.head()
    versions = [1, 1]
    versions[stale] = 0
    owner = OwnerId("consult:a")
    with pytest.raises(VersionConflict) as caught:
        await store.append(
            Append(A, versions[0], (b"a2",), due_at=8.0),
            Append(B, versions[1], (b"b2",), due_at=9.0),
            content=[Content(owner, ContentId("note"), b"text")],
        )
    assert caught.value.stream == (A, B)[stale]
    assert [e.data for e in await store.read(A)] == [b"a1"]
    assert [e.data for e in await store.read(B)] == [b"b1"]
    assert await store.due(math.inf) == [Due(A, 1.0), Due(B, 2.0)]
    assert await store.content(owner) == {}
    assert await store.head() == head


async def test_of_fifty_that_act_on_one_version_one_wins(store: Store, second_node: Store) -> None:
    """Concurrent appends, half of them from a second node: per version exactly one is written."""
    nodes = (store, second_node)
    for version in range(5):
        results = await asyncio.gather(
            *(
                nodes[n % 2].append(Append(A, version, (f"{version}/{n}".encode(),)))
                for n in range(50)
            ),
            return_exceptions=True,
        )
        winners = [n for n, result in enumerate(results) if isinstance(result, int)]
        assert len(winners) == 1
        assert all(isinstance(r, int | VersionConflict) for r in results)
        events = await second_node.read(A)
        assert len(events) == version + 1
        assert events[-1].data == f"{version}/{winners[0]}".encode()


async def test_many_streams_at_once_keep_their_own_order(store: Store, second_node: Store) -> None:
    """Writers of their own streams never conflict, whatever shares their commit; positions stay unique."""

    async def write(node: Store, stream: StreamId) -> list[int]:
        return [await node.append(Append(stream, n, (f"{n}".encode(),))) for n in range(20)]

    streams = [StreamId(f"consult:{n}") for n in range(20)]
    nodes = (store, second_node)
    positions = await asyncio.gather(*(write(nodes[i % 2], s) for i, s in enumerate(streams)))
    assert len({p for each in positions for p in each}) == 400
    for stream, mine in zip(streams, positions, strict=True):
        events = await store.read(stream)
        assert [e.position for e in events] == mine == sorted(mine)
        assert [e.data for e in events] == [f"{n}".encode() for n in range(20)]


async def test_several_appends_of_one_stream_in_one_commit(store: Store) -> None:
    """Appends that build on each other, sent without waiting, all succeed in order."""
    results = await asyncio.gather(
        *(store.append(Append(A, n, (f"{n}".encode(),), due_at=float(n))) for n in range(30))
    )
    assert results == sorted(results)
    assert [e.data for e in await store.read(A)] == [f"{n}".encode() for n in range(30)]
    assert await store.due(math.inf) == [Due(A, 29.0)]


async def test_an_append_without_events_sets_the_due_time_only(store: Store) -> None:
    """It returns the head, is guarded by the version, and may even give a due time to a stream without events."""
    position = await store.append(Append(A, 0, (b"1",)))
    assert await store.append(Append(A, 1, (), due_at=3.0)) == position
    with pytest.raises(VersionConflict):
        await store.append(Append(A, 0, (), due_at=4.0))
    assert await store.append(Append(B, 0, (), due_at=5.0)) == position
    assert await store.due(math.inf) == [Due(A, 3.0), Due(B, 5.0)]
    assert await store.read(B) == []
    assert await store.append(Append(B, 0, (b"first",))) > position
    assert await store.due(math.inf) == [Due(A, 3.0)]


async def test_due_gives_the_earliest_first_and_claims_nothing(store: Store) -> None:
    """At or before the moment asked for, at most as many as asked for, again and again until an append changes it."""
    for n, at in enumerate((30.0, 10.0, 20.0, 20.0)):
        await store.append(Append(StreamId(f"consult:{n}"), 0, (b"x",), due_at=at))
    await store.append(Append(StreamId("consult:ended"), 0, (b"x",)))

    def due(*numbers: int) -> list[Due]:
        return [Due(StreamId(f"consult:{n}"), (30.0, 10.0, 20.0, 20.0)[n]) for n in numbers]

    assert await store.due(9.999) == []
    assert await store.due(10.0) == due(1)
    assert await store.due(20.0) == due(1, 2, 3)
    assert await store.due(20.0) == due(1, 2, 3)
    assert await store.due(math.inf) == due(1, 2, 3, 0)
    assert await store.due(math.inf, 2) == due(1, 2)
    assert await store.due(math.inf, 0) == []
    assert await store.due(-math.inf) == []


async def test_each_append_replaces_the_due_time(store: Store) -> None:
    """Later, earlier, or none: the last append decides; a due time keeps its full precision."""
    at = 1_795_000_000.123456
    await store.append(Append(A, 0, (b"1",), due_at=at))
    assert await store.due(at) == [Due(A, at)]
    await store.append(Append(A, 1, (b"2",), due_at=at + 60))
    assert await store.due(at) == []
    assert await store.due(at + 60) == [Due(A, at + 60)]
    await store.append(Append(A, 2, (b"3",), due_at=0.25))
    assert await store.due(at) == [Due(A, 0.25)]
    await store.append(Append(A, 3, (b"4",), due_at=math.inf))
    assert await store.due(math.inf) == [Due(A, math.inf)]
    await store.append(Append(A, 4, (b"5",)))
    assert await store.due(math.inf) == []


async def test_recent_gives_the_newest_oldest_first(store: Store) -> None:
    """Of all streams, at most as many as asked for."""
    for n in range(5):
        await store.append(Append(StreamId(f"consult:{n % 2}"), n // 2, (f"{n}".encode(),)))
    assert [e.data for e in await store.recent(3)] == [b"2", b"3", b"4"]
    assert [e.data for e in await store.recent(99)] == [b"0", b"1", b"2", b"3", b"4"]
    assert await store.recent(0) == []


async def test_a_long_stream_is_read_whole(store: Store) -> None:
    """Thousands of events in one stream come back complete, from the start and from the middle."""
    for n in range(0, 5000, 500):
        await store.append(Append(A, n, tuple(f"{n + i}".encode() for i in range(500))))
    events = await store.read(A)
    assert [(e.version, e.data) for e in events] == [(n + 1, f"{n}".encode()) for n in range(5000)]
    assert await store.read(A, 2500) == events[2500:]
    assert await store.read(A, 4999) == events[4999:]


@pytest.mark.parametrize(
    "appends",
    [
        (),
        (Append(A, 0), Append(B, 0), Append(C, 0)),
        (Append(A, 0, (b"1",)), Append(A, 0, (b"2",))),
        (Append(StreamId(""), 0, (b"1",)),),
        (Append(StreamId("a\0b"), 0, (b"1",)),),
        (Append(StreamId("\ud800"), 0, (b"1",)),),
        (Append(A, 0, (b"1",), due_at=math.nan),),
        (Append(A, 0, ("text",)),),
    ],
    ids=["none", "three", "twice", "no-id", "nul", "surrogate", "nan", "text"],
)
async def test_what_no_store_can_write_is_a_value_error(
    store: Store, appends: tuple[Append, ...]
) -> None:
    """A wrong argument is refused before anything is written, and spoils nothing for those beside it."""
    good, bad = await asyncio.gather(
        store.append(Append(C, 0, (b"good",))), store.append(*appends), return_exceptions=True
    )
    assert isinstance(bad, ValueError)
    assert good == await store.head()
    assert await store.read(A) == []


async def test_everything_is_there_after_reopening(store: Store, place: Place) -> None:
    """Events, versions, positions, due times and what follows from them survive a close."""
    await store.append(Append(A, 0, (b"1", b"2"), due_at=5.0), Append(B, 0, (b"3",)))
    before: list[Recorded] = await store.recent(10)
    head = await store.head()
    await store.close()
    store = await place.open()
    try:
        assert await store.recent(10) == before
        assert await store.head() == head
        assert await store.due(math.inf) == [Due(A, 5.0)]
        with pytest.raises(VersionConflict):
            await store.append(Append(A, 1, (b"no",)))
        assert await store.append(Append(A, 2, (b"4",))) > head
        assert [e.data for e in await store.read(A)] == [b"1", b"2", b"4"]
    finally:
        await store.close()


async def test_a_cancelled_caller_disturbs_nobody(store: Store) -> None:
    """An append whose caller goes away is written or not, but those beside it are answered."""
    tasks = [
        asyncio.create_task(store.append(Append(StreamId(f"consult:{n}"), 0, (b"x",))))
        for n in range(20)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, int) for result in results[1::2])
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert await store.append(Append(A, 0, (b"after",))) == await store.head()
