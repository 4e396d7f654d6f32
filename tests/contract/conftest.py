# SPDX-License-Identifier: Apache-2.0
"""The `store` fixture: each contract test runs on both stores, each on a database of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from signalling.store.base import Store
from tests.support.redis_server import RedisServer
from tests.support.stores import EmbeddedPlace, Place, RedisPlace, assert_nothing_leaked


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real redis-server for the whole session; each test has a key prefix of its own."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """After each test no task and no store thread is left. Autouse, so it is torn down last."""
    yield
    await assert_nothing_leaked()


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the store under test lives."""
    if request.param == "embedded":
        return EmbeddedPlace(tmp_path)
    return RedisPlace(request.getfixturevalue("redis_server"))


@pytest.fixture
async def store(no_leaks: None, place: Place) -> AsyncIterator[Store]:
    """An open store; closed after the test if the test didn't."""
    store = await place.open()
    yield store
    await store.close()


@pytest.fixture
async def second_node(place: Place, store: Store) -> AsyncIterator[Store]:
    """A second node on the same database; the embedded store allows but one, so there it is the same object."""
    if not place.nodes:
        yield store
        return
    second = await place.open()
    yield second
    await second.close()
