# SPDX-License-Identifier: Apache-2.0
"""Redis only: its subscribing connection pings when nothing comes, and the answer looks otherwise without a subscription."""

import asyncio
import re

import pytest

from signalling.store import redis_inbox
from signalling.store.base import InboxId
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisPlace
from tests.support.until import until

pytestmark = pytest.mark.redis


def pings(server: RedisServer) -> int:
    """Return how many pings Redis has answered."""
    found = re.search(rb"cmdstat_ping:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(found[1]) if found else 0


async def test_redis_node_without_inboxes_stays_able_to_open_one(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After pings on a connection that has no subscription an inbox opens, and gets what is posted."""
    monkeypatch.setattr(redis_inbox, "PING_EVERY_S", 0.02)
    store = await RedisPlace(redis_server).open()
    try:
        before = pings(redis_server)
        await until(lambda: pings(redis_server) >= before + 3)
        inbox = InboxId("participant:late")
        await store.open_inbox(inbox)
        assert await store.post(inbox, b"heard")
        async with asyncio.timeout(5):
            async for item in store.inbox_items():
                assert item == (inbox, b"heard")
                break
    finally:
        await store.close()
