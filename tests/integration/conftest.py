# SPDX-License-Identifier: Apache-2.0
"""Nodes under test: each test on both stores unless it asks for one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.clinic import Clinic, captured_log, config, open_clinic
from tests.support.fake_relay import Page, Pages
from tests.support.peer import Peer
from tests.support.redis_server import RedisServer
from tests.support.stores import assert_nothing_leaked

OpenNode = Callable[..., Awaitable[Clinic]]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real redis-server for the whole session; emptied for each test."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """After each test no task and no store thread is left."""
    yield
    await assert_nothing_leaked()


@pytest.fixture(autouse=True)
def log(request: pytest.FixtureRequest) -> Iterator[StringIO]:
    """The log of the test. A line of level error fails it unless it is marked ``logs_errors``."""
    with captured_log() as out:
        yield out
    lines = [line for line in out.getvalue().splitlines() if '"level":"error"' in line]
    lines += [line for line in out.getvalue().splitlines() if '"level":"critical"' in line]
    assert not lines or request.node.get_closest_marker("logs_errors"), lines


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def store_url(request: pytest.FixtureRequest) -> str:
    """Where the nodes keep what is durable; empty = embedded."""
    if request.param == "embedded":
        return ""
    server: RedisServer = request.getfixturevalue("redis_server")
    server.command("FLUSHALL")
    return server.url


@pytest.fixture
async def open_node(no_leaks: None, store_url: str, tmp_path: Path) -> AsyncIterator[OpenNode]:
    """Start nodes with settings of one's own, on one data directory; they end after the test."""
    async with AsyncExitStack() as stack:

        async def start(**sections: Any) -> Clinic:
            settings = config(tmp_path, store_url, **sections)
            return await stack.enter_async_context(open_clinic(settings))

        yield start


@pytest.fixture
async def clinic(open_node: OpenNode) -> Clinic:
    """A node with the usual settings."""
    return await open_node()


def pytest_configure(config: pytest.Config) -> None:
    """Name our own marker."""
    config.addinivalue_line("markers", "logs_errors: lines of level error are expected in the log")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop, as the server does; the socket's own tests also on asyncio's loop."""
    loops = {"uvloop": uvloop.new_event_loop}
    if item.path.name == "test_socket.py":
        loops["asyncio"] = asyncio.new_event_loop
    return loops


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    """Make pages that answer their legs."""
    async with AsyncExitStack() as stack:

        def make(peer: Peer, **given: Any) -> Page:
            page = Page(peer, **given)
            stack.push_async_callback(page.stop)
            return page

        yield make
