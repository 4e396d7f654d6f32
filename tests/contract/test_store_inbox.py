# SPDX-License-Identifier: Apache-2.0
"""The store contract: live messages to wherever somebody listens."""

import asyncio

from signalling.store.base import InboxId, Store
from tests.support.until import until

ONE = InboxId("participant:one")
TWO = InboxId("participant:two / 岛")


class Listener:
    """Collects what arrives at a store object."""

    def __init__(self, store: Store) -> None:
        self.items: list[tuple[InboxId, bytes]] = []
        self._task = asyncio.create_task(self._run(store))

    async def _run(self, store: Store) -> None:
        async for item in store.inbox_items():
            self.items.append(item)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


async def test_a_post_reaches_the_node_that_has_the_inbox_open(
    store: Store, second_node: Store
) -> None:
    """From the other node and from the same one; the post says that somebody had it open."""
    listener = Listener(second_node)
    await second_node.open_inbox(ONE)
    assert await store.post(ONE, b"from afar")
    assert await second_node.post(ONE, b"from here\0\xff")
    await until(lambda: len(listener.items) == 2)
    assert sorted(listener.items) == [(ONE, b"from afar"), (ONE, b"from here\0\xff")]
    await listener.stop()


async def test_nobody_listens(store: Store) -> None:
    """A post to an inbox that nobody has open says so, and isn't kept for whoever opens it later."""
    assert not await store.post(ONE, b"lost")
    await store.open_inbox(ONE)
    listener = Listener(store)
    assert await store.post(ONE, b"heard")
    await until(lambda: listener.items)
    assert listener.items == [(ONE, b"heard")]
    await listener.stop()


async def test_posts_arrive_in_the_order_of_their_sender(store: Store, second_node: Store) -> None:
    """Five hundred messages, sent without waiting for each other, to two inboxes: each in order, each once."""
    listener = Listener(second_node)
    await second_node.open_inbox(ONE)
    await second_node.open_inbox(TWO)
    told = await asyncio.gather(
        *(store.post((ONE, TWO)[n % 2], n.to_bytes(2, "big")) for n in range(500))
    )
    assert all(told)
    await until(lambda: len(listener.items) == 500)
    for rest, inbox in enumerate((ONE, TWO)):
        mine = [int.from_bytes(body, "big") for to, body in listener.items if to == inbox]
        assert mine == list(range(rest, 500, 2))
    await listener.stop()


async def test_a_closed_inbox_receives_nothing(store: Store, second_node: Store) -> None:
    """After closing, posts find nobody; what had not been taken out yet is gone; other inboxes go on."""
    await store.open_inbox(ONE)
    await store.open_inbox(TWO)
    await second_node.post(ONE, b"never taken out")
    await store.close_inbox(ONE)
    listener = Listener(store)
    assert await second_node.post(TWO, b"still open")
    await until(lambda: listener.items)
    assert not await second_node.post(ONE, b"too late")
    assert listener.items == [(TWO, b"still open")]
    await listener.stop()


async def test_opening_and_closing_twice_is_harmless(store: Store) -> None:
    """Twice opened delivers once; unknown or twice closed is no error; it can be opened again."""
    await store.close_inbox(ONE)
    await asyncio.gather(store.open_inbox(ONE), store.open_inbox(ONE))
    await store.open_inbox(ONE)
    listener = Listener(store)
    assert await store.post(ONE, b"once")
    await store.post(ONE, b"end")
    await until(lambda: (ONE, b"end") in listener.items)
    assert listener.items == [(ONE, b"once"), (ONE, b"end")]
    await store.close_inbox(ONE)
    await store.close_inbox(ONE)
    assert not await store.post(ONE, b"closed")
    await store.open_inbox(ONE)
    assert await store.post(ONE, b"again")
    await until(lambda: (ONE, b"again") in listener.items)
    await listener.stop()


async def test_an_inbox_opened_in_a_hurry_misses_nothing(store: Store, second_node: Store) -> None:
    """Opened, closed and opened again at once: what is posted after the last opening returned arrives."""
    listener = Listener(store)
    for n in range(20):
        opening = asyncio.create_task(store.open_inbox(ONE))
        await asyncio.sleep(0)
        await store.close_inbox(ONE)
        await asyncio.wait({opening})
        opening.exception()  # it may say that the inbox was closed meanwhile
        await store.open_inbox(ONE)
        assert await second_node.post(ONE, f"{n}".encode())
        await until(lambda n=n: (ONE, f"{n}".encode()) in listener.items)
        await store.close_inbox(ONE)
    await listener.stop()


async def test_inbox_items_end_with_the_store(store: Store) -> None:
    """A consumer that waits is released by close, without an error."""
    consumer = asyncio.create_task(anext(store.inbox_items(), None))
    await store.open_inbox(ONE)
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.wait_for(consumer, 5) is None
