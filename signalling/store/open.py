# SPDX-License-Identifier: Apache-2.0
"""From a store's URL to an open store."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from signalling.store.embedded import EmbeddedStore
from signalling.store.redis import RedisStore
from signalling.store.sqlite_file import Synchronous

REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


async def open_store(
    url: str, master_key: bytes, *, synchronous: Synchronous = "FULL", prefix: str = "selat:"
) -> EmbeddedStore | RedisStore:
    """Open the store that a URL names.

    Args:
        url: A file path or ``sqlite:///path`` (with ``sqlite:////path`` for an absolute one) for the embedded store;
            ``redis://…``, ``rediss://…`` or ``unix:///path`` for Redis.
        master_key: At least 32 random bytes, the same each time and on each node.
        synchronous: Of the embedded store; see there.
        prefix: Of the Redis store's keys.

    Raises:
        StoreUnavailable: it can't be opened; the text says why.
        ValueError: the URL names no store, or the master key is too short.
    """
    parts = urlsplit(url)
    if parts.scheme in REDIS_SCHEMES:
        return await RedisStore.open(url, master_key, prefix=prefix)
    if parts.scheme == "sqlite":
        path = unquote(parts.path).removeprefix("/")
    elif "://" in url:
        raise ValueError(f"no store has the scheme {parts.scheme!r}")
    else:
        path = url
    if not path:
        raise ValueError("the store's URL names no file")
    return await EmbeddedStore.open(Path(path), master_key, synchronous=synchronous)
