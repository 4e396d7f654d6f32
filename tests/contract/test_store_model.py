# SPDX-License-Identifier: Apache-2.0
"""Both stores against a model of a few lines: any sequence of calls gives the same answers."""

import asyncio
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from signalling.store.base import (
    Append,
    Content,
    ContentErased,
    ContentId,
    Due,
    OwnerId,
    Store,
    StoreError,
    StreamId,
    VersionConflict,
)
from tests.support.redis_server import RedisServer
from tests.support.stores import EmbeddedPlace, Place, RedisPlace, take

STREAMS = [StreamId(f"s{n}") for n in range(3)]
OWNERS = [OwnerId(f"o{n}") for n in range(2)]
IDS = [ContentId(f"c{n}") for n in range(2)]


class Model:
    """What the contract says, in dictionaries."""

    def __init__(self) -> None:
        self.log: list[tuple[StreamId, bytes]] = []
        self.due: dict[StreamId, float] = {}
        self.content: dict[OwnerId, dict[ContentId, bytes]] = {}
        self.erased: set[OwnerId] = set()
        self.leases: dict[str, tuple[str, int]] = {}
        self.fence = 0

    def events(self, stream: StreamId) -> list[bytes]:
        return [data for name, data in self.log if name == stream]

    def append(self, appends: tuple[Append, ...], content: list[Content]) -> None:
        if not appends or len({a.stream for a in appends}) < len(appends):
            raise ValueError
        for each in appends:
            if (actual := len(self.events(each.stream))) != each.expected_version:
                raise VersionConflict(each.stream, each.expected_version, actual)
        if any(item.owner in self.erased for item in content):
            raise ContentErased
        for each in appends:
            self.log += [(each.stream, data) for data in each.events]
            self.due.pop(each.stream, None)
            if each.due_at is not None:
                self.due[each.stream] = each.due_at
        for item in content:
            self.content.setdefault(item.owner, {})[item.content_id] = item.body


class StoreMachine(RuleBasedStateMachine):
    """Drives a real store and the model side by side; `place` comes from the test."""

    make_place: Callable[[Path], Place]

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="selat-model-")
        self.place = type(self).make_place(Path(self.folder.name))
        self.model = Model()
        self.tokens: dict[str, int] = {}
        self.store: Store = self.run(self.place.open())

    def run(self, awaitable: Any) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return self.runner.run(awaited())

    @rule(
        streams=st.lists(st.sampled_from(STREAMS), min_size=0, max_size=2),
        slip=st.sampled_from([0, 0, 0, 1, -1]),
        events=st.lists(st.binary(max_size=5), max_size=3),
        due=st.none() | st.floats(allow_nan=False),
        content=st.lists(
            st.builds(
                Content, st.sampled_from(OWNERS), st.sampled_from(IDS), st.binary(max_size=5)
            ),
            max_size=2,
        ),
    )
    def append(
        self,
        streams: list[StreamId],
        slip: int,
        events: list[bytes],
        due: float | None,
        content: list[Content],
    ) -> None:
        appends = tuple(
            Append(
                stream,
                len(self.model.events(stream)) + (slip if n == len(streams) - 1 else 0),
                tuple(events),
                due,
            )
            for n, stream in enumerate(streams)
        )
        expected: type[Exception] | None = None
        try:
            self.model.append(appends, content)
        except (StoreError, ValueError) as error:
            expected = type(error)
        try:
            self.run(self.store.append(*appends, content=content))
            found = None
        except (StoreError, ValueError) as error:
            found = type(error)
        assert found is expected

    @rule(owner=st.sampled_from(OWNERS))
    def erase(self, owner: OwnerId) -> None:
        had_any = self.model.content.pop(owner, None) is not None
        self.model.erased.add(owner)
        assert self.run(self.store.erase(owner)) is had_any

    @rule(name=st.sampled_from(["l0", "l1"]), owner=st.sampled_from(["x", "y"]))
    def acquire(self, name: str, owner: str) -> None:
        lease = self.run(self.store.acquire(name, owner, 600.0))
        holder = self.model.leases.get(name)
        if holder is not None and holder[0] != owner:
            assert lease is None
            return
        if holder is None:
            assert lease.token > self.tokens.get(name, 0)
            self.model.leases[name] = (owner, lease.token)
            self.tokens[name] = lease.token
        assert (lease.name, lease.owner, lease.token) == (name, *self.model.leases[name])

    @rule(name=st.sampled_from(["l0", "l1"]))
    def release(self, name: str) -> None:
        held = self.run(self.store.holders([name]))
        if name in held:
            self.run(self.store.release(held[name]))
            del self.model.leases[name]

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.place.open())

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        model, store = self.model, self.store
        for stream in STREAMS:
            found = self.run(store.read(stream))
            assert [e.data for e in found] == model.events(stream)
            assert [e.version for e in found] == list(range(1, len(found) + 1))
        recent = self.run(store.recent(1000))
        assert [(e.stream, e.data) for e in recent] == model.log
        head = self.run(store.head())
        assert head == (recent[-1].position if recent else 0)
        if recent:
            middle = recent[len(recent) // 2].position - 1
            tail = self.run(take(store.tail(middle), len(recent) - len(recent) // 2))
            assert tail == recent[len(recent) // 2 :]
        due = sorted((at, stream) for stream, at in model.due.items())
        assert self.run(store.due(math.inf)) == [Due(stream, at) for at, stream in due]
        for owner in OWNERS:
            assert self.run(store.content(owner)) == model.content.get(owner, {})
        assert {
            name: (lease.owner, lease.token)
            for name, lease in self.run(store.holders(["l0", "l1"])).items()
        } == model.leases

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.runner.close()
            self.folder.cleanup()


SETTINGS = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def check(make_place: Callable[[Path], Place], examples: int) -> None:
    machine = type("Machine", (StoreMachine,), {"make_place": staticmethod(make_place)})
    case = machine.TestCase
    case.settings = settings(SETTINGS, max_examples=examples)
    case("runTest").runTest()


@pytest.mark.parametrize("examples", [12, pytest.param(150, marks=pytest.mark.slow)])
def test_the_embedded_store_agrees_with_the_model(examples: int) -> None:
    """Any sequence of appends, erasures, leases and restarts reads the same from SQLite as from the model."""
    check(EmbeddedPlace, examples)


@pytest.mark.redis
@pytest.mark.parametrize("examples", [12, pytest.param(150, marks=pytest.mark.slow)])
def test_the_redis_store_agrees_with_the_model(redis_server: RedisServer, examples: int) -> None:
    """Any sequence of appends, erasures, leases and restarts reads the same from Redis as from the model."""
    check(lambda _folder: RedisPlace(redis_server), examples)
