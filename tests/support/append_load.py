# SPDX-License-Identifier: Apache-2.0
"""A process that appends as fast as it is answered and tells each acknowledgement, until it is killed.

Run as ``python -m tests.support.append_load <store url> <key prefix> <round>``. Each of its writers owns two streams and
appends to both at once, with content beside. A line on stdout is one acknowledgement: stream, version, body. What was
printed must be in the store afterwards, whoever was killed.
"""

from __future__ import annotations

import asyncio
import os
import sys

from signalling.store.base import Append, Content, ContentId, OwnerId, StoreUnavailable, StreamId
from signalling.store.embedded import EmbeddedStore
from signalling.store.open import open_store
from signalling.store.redis import RedisStore
from tests.support.stores import MASTER_KEY

WRITERS = 8


def pair(round_: int, writer: int) -> tuple[StreamId, StreamId]:
    """Return the two streams that one writer owns in one round."""
    return StreamId(f"consult:{round_}/{writer}"), StreamId(f"specialist:{round_}/{writer}")


def owner_of(round_: int, writer: int) -> OwnerId:
    """Return whose content one writer adds to."""
    return OwnerId(f"consult:{round_}/{writer}")


async def write(store: EmbeddedStore | RedisStore, round_: int, writer: int) -> None:
    """Append for ever; the due time is the version, the content's id and body are the event's."""
    first, second = pair(round_, writer)
    version = 0
    while True:
        body = f"{round_}/{writer}/{version + 1}".encode()
        events = (body, body + b"+") if version % 3 == 0 else (body,)
        try:
            await store.append(
                Append(first, version, events, due_at=float(version + len(events))),
                Append(second, version, events, due_at=None),
                content=[Content(owner_of(round_, writer), ContentId(body.decode()), body)],
            )
        except StoreUnavailable:
            return  # the server was killed: what this call did is unknown
        version += len(events)
        os.write(1, f"{first} {version} {events[-1].decode()}\n".encode())


async def main() -> None:
    """Open the store, write with all writers."""
    url, prefix, round_ = sys.argv[1:]
    store = await open_store(url, MASTER_KEY, prefix=prefix)
    os.write(1, b"ready\n")
    await asyncio.gather(*(write(store, int(round_), writer) for writer in range(WRITERS)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main())
