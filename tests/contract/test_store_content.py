# SPDX-License-Identifier: Apache-2.0
"""The store contract: personal data beside events, sealed, and erased for good."""

import asyncio

import pytest

from signalling.store.base import (
    Append,
    Content,
    ContentErased,
    ContentId,
    OwnerId,
    Store,
    StoreError,
    StoreUnavailable,
    StreamId,
)
from signalling.store.embedded import EmbeddedStore
from signalling.store.redis import RedisStore
from tests.support.stores import Place, RedisPlace
from tests.support.until import until

STREAM = StreamId("consult:a")
OWNER = OwnerId("consult:a")
OTHER = OwnerId("consult:b")
NAME = ContentId("name")
NOTE = ContentId("note/1")
SECRET = b"Ibu Kartini binti Rahasia"


def name(body: bytes = SECRET, owner: OwnerId = OWNER, content_id: ContentId = NAME) -> Content:
    return Content(owner, content_id, body)


async def test_content_comes_back_as_it_was(store: Store, second_node: Store) -> None:
    """All of an owner's, or those asked for that exist; of the owner alone; on every node."""
    photo = bytes(range(256)) * 2000
    await store.append(
        Append(STREAM, 0, (b"1",)),
        content=[name(), name(b"", content_id=NOTE), name(photo, OTHER, ContentId("photo"))],
    )
    for node in (store, second_node):
        assert await node.content(OWNER) == {NAME: SECRET, NOTE: b""}
        assert await node.content(OWNER, [NOTE, ContentId("none"), NOTE]) == {NOTE: b""}
        assert await node.content(OWNER, []) == {}
        assert await node.content(OTHER) == {"photo": photo}
        assert await node.content(OwnerId("consult:unknown")) == {}


async def test_content_is_added_to_over_time_by_any_node(store: Store, second_node: Store) -> None:
    """Later appends of either node join what is there; the same id again replaces the body."""
    await store.append(Append(STREAM, 0, (b"1",)), content=[name()])
    await second_node.append(Append(STREAM, 1, (b"2",)), content=[name(b"old", content_id=NOTE)])
    await store.append(Append(STREAM, 2, ()), content=[name(b"new", content_id=NOTE)])
    assert await second_node.content(OWNER) == {NAME: SECRET, NOTE: b"new"}


async def test_nodes_that_invent_a_key_at_once_agree(store: Store, second_node: Store) -> None:
    """First content of one owner from two nodes at the same time: all of it opens afterwards, on both."""
    for n in range(10):
        owner = OwnerId(f"consult:{n}")
        await asyncio.gather(
            *(
                node.append(
                    Append(StreamId(f"{n}/{i}"), 0, (b"x",)),
                    content=[name(f"{i}".encode(), owner, ContentId(f"{i}"))],
                )
                for i, node in enumerate((store, second_node, store, second_node))
            )
        )
        for node in (store, second_node):
            assert await node.content(owner) == {f"{i}": f"{i}".encode() for i in range(4)}


async def test_content_of_a_refused_append_is_not_kept(store: Store) -> None:
    """A conflict keeps the content out as well, and the next try with the same content succeeds."""
    with pytest.raises(StoreError):
        await store.append(Append(STREAM, 7, (b"1",)), content=[name()])
    assert await store.content(OWNER) == {}
    await store.append(Append(STREAM, 0, (b"1",)), content=[name()])
    assert await store.content(OWNER) == {NAME: SECRET}


async def test_content_is_sealed_on_disk(store: Store, place: Place) -> None:
    """In the database's files the event can be found as it is, the content can't."""
    await store.append(Append(STREAM, 0, (b"an event in plain text",)), content=[name()])
    disk = place.bytes_on_disk()
    assert b"an event in plain text" in disk
    assert SECRET not in disk
    assert SECRET[:8] not in disk


async def test_erase_destroys_content_and_key_but_no_event(store: Store, place: Place) -> None:
    """Afterwards there is no content, other owners keep theirs, streams are whole, and no trace is left after reopening."""
    await store.append(Append(STREAM, 0, (b"1",), due_at=9.0), content=[name(), name(owner=OTHER)])
    assert await store.erase(OWNER)
    assert await store.content(OWNER) == {}
    assert await store.content(OTHER) == {NAME: SECRET}
    assert [e.data for e in await store.read(STREAM)] == [b"1"]
    assert not await store.erase(OWNER)
    await store.close()
    store = await place.open()
    try:
        assert await store.content(OWNER) == {}
        assert await store.content(OTHER) == {NAME: SECRET}
        with pytest.raises(ContentErased):
            await store.append(Append(STREAM, 1, (b"2",)), content=[name()])
    finally:
        await store.close()


async def test_content_for_an_erased_owner_is_refused_with_the_whole_append(store: Store) -> None:
    """ContentErased, and neither stream nor other owners got anything; without content the streams go on."""
    await store.append(Append(STREAM, 0, (b"1",), due_at=9.0), content=[name()])
    await store.erase(OWNER)
    head = await store.head()
    with pytest.raises(ContentErased):
        await store.append(
            Append(STREAM, 1, (b"2",)),
            Append(StreamId("specialist:b"), 0, (b"1",)),
            content=[name(owner=OTHER), name(content_id=NOTE)],
        )
    assert await store.head() == head
    assert await store.content(OTHER) == {}
    assert [(d.stream, d.due_at) for d in await store.due(99)] == [(STREAM, 9.0)]
    await store.append(Append(STREAM, 1, (b"2",)))


async def test_an_erase_before_the_first_content_counts(store: Store) -> None:
    """An owner without content has nothing to destroy, but what comes later is refused all the same."""
    assert not await store.erase(OWNER)
    with pytest.raises(ContentErased):
        await store.append(Append(STREAM, 0, (b"1",)), content=[name()])


async def test_a_warm_cache_does_not_outlive_an_erase(store: Store, second_node: Store) -> None:
    """A node that used the owner's key a moment ago can't add after another node erased it, nor read."""
    await store.append(Append(STREAM, 0, (b"1",)), content=[name()])
    await second_node.append(Append(STREAM, 1, (b"2",)), content=[name(content_id=NOTE)])
    assert await second_node.content(OWNER) == {NAME: SECRET, NOTE: SECRET}
    assert await store.erase(OWNER)
    for _ in range(2):
        with pytest.raises(ContentErased):
            await second_node.append(Append(STREAM, 2, (b"3",)), content=[name()])
    assert await second_node.content(OWNER) == {}
    assert len(await store.read(STREAM)) == 2


async def test_erase_wins_or_loses_against_appends_as_a_whole(
    store: Store, second_node: Store
) -> None:
    """Whatever the order of an erase among concurrent appends, no content is left at the end."""
    results = await asyncio.gather(
        *(
            (store, second_node)[n % 2].append(
                Append(StreamId(f"s{n}"), 0, (b"x",)), content=[name(content_id=ContentId(f"{n}"))]
            )
            for n in range(20)
        ),
        second_node.erase(OWNER),
        *(
            (store, second_node)[n % 2].append(
                Append(StreamId(f"s{n}"), 0, (b"x",)), content=[name(content_id=ContentId(f"{n}"))]
            )
            for n in range(20, 40)
        ),
        return_exceptions=True,
    )
    assert await store.content(OWNER) == {}
    for n in range(40):
        result = results[n if n < 20 else n + 1]
        assert isinstance(result, int | ContentErased)
        assert len(await store.read(StreamId(f"s{n}"))) == isinstance(result, int)


async def test_another_master_key_is_refused_at_opening(store: Store, place: Place) -> None:
    """A store made with one key doesn't open with another: half-readable content would be found out too late."""
    await store.close()
    with pytest.raises(StoreUnavailable, match="master key"):
        await place.open(b"w" * 32)
    await (await place.open()).close()


@pytest.mark.parametrize(
    "content",
    [name(owner=OwnerId("")), name(content_id=ContentId("")), name("text")],  # type: ignore[arg-type]
    ids=["no-owner", "no-id", "text"],
)
async def test_content_that_no_store_can_write_is_a_value_error(
    store: Store, content: Content
) -> None:
    """A wrong argument is refused and nothing is written."""
    with pytest.raises(ValueError, match=r"id|bytes"):
        await store.append(Append(STREAM, 0, (b"1",)), content=[content])
    assert await store.read(STREAM) == []


async def test_a_restarted_node_goes_on_with_the_key_on_record(store: Store, place: Place) -> None:
    """A node that doesn't know an owner's key yet adds content to what is there, and both open."""
    await store.append(Append(STREAM, 0, (b"1",)), content=[name()])
    await store.close()
    store = await place.open()
    try:
        await store.append(Append(STREAM, 1, (b"2",)), content=[name(b"later", content_id=NOTE)])
        assert await store.content(OWNER) == {NAME: SECRET, NOTE: b"later"}
    finally:
        await store.close()


async def sealed_of(store: Store) -> bytes:
    """Look up how the note lies in the database, past the contract."""
    if isinstance(store, EmbeddedStore):
        rows = store._file.reader.execute("SELECT sealed FROM content").fetchall()
        return bytes(rows[0][0])
    assert isinstance(store, RedisStore)
    return bytes(await store._reads.call("HGET", store._key("c:", OWNER), NAME))


async def test_erased_bytes_leave_the_disk(store: Store, place: Place) -> None:
    """Neither the sealed content nor the wrapped key of an erased owner is left in the database's files.

    At once in the embedded store; in Redis when the append-only file was rewritten, which closing brings about.
    """
    await store.append(Append(STREAM, 0, (b"1",)), content=[name(b"x" * 50)])
    wrapped = store._vault._keys[OWNER][1]  # type: ignore[attr-defined]
    sealed = await sealed_of(store)
    disk = place.bytes_on_disk()
    assert wrapped in disk
    assert sealed in disk
    await store.erase(OWNER)
    if isinstance(place, RedisPlace):
        await store.close()
        await until(lambda: wrapped not in place.bytes_on_disk())
    disk = place.bytes_on_disk()
    assert wrapped not in disk
    assert sealed not in disk
