# SPDX-License-Identifier: Apache-2.0
"""A database that refuses or goes away is StoreUnavailable, and the same store object goes on afterwards.

What can go wrong differs between the two databases, so each test here is about one of them and says so in its name.
"""

import asyncio
import resource
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from signalling.store import redis as redis_store
from signalling.store.base import (
    Append,
    Content,
    ContentId,
    InboxId,
    OwnerId,
    StoreError,
    StoreUnavailable,
    StreamId,
    TailTruncated,
)
from signalling.store.embedded import EmbeddedStore
from signalling.store.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import MASTER_KEY, assert_nothing_leaked, take
from tests.support.until import until

pytestmark = pytest.mark.fault

A = StreamId("consult:a")
B = StreamId("consult:b")


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """After each test no task and no store thread is left."""
    yield
    await assert_nothing_leaked()


@pytest.fixture
async def embedded(no_leaks: None, tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    store = await EmbeddedStore.open(tmp_path / "selat.db", MASTER_KEY)
    await store.append(Append(A, 0, (b"1",), due_at=5.0))
    yield store
    await store.close()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of its own: it is paused, killed and filled."""
    server = RedisServer()
    yield server
    server.resume()
    server.stop()


@pytest.fixture
async def redis(no_leaks: None, server: RedisServer) -> AsyncIterator[RedisStore]:
    store = await RedisStore.open(server.url, MASTER_KEY)
    await store.append(Append(A, 0, (b"1",), due_at=5.0))
    yield store
    await store.close()


async def assert_untouched(store: EmbeddedStore | RedisStore) -> None:
    """Nothing of a refused append is there, and the next one succeeds, with the tail unbroken."""
    assert [e.data for e in await store.read(A)] == [b"1"]
    assert await store.read(B) == []
    head = await store.head()
    await store.append(Append(A, 1, (b"2",)), Append(B, 0, (b"b",)))
    assert [e.data for e in await store.read(A)] == [b"1", b"2"]
    assert [e.data for e in await take(store.tail(head), 2)] == [b"2", b"b"]


# -- embedded ------------------------------------------------------------------------------------


async def test_embedded_one_process_per_file(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """A second opening, in this process or another, fails with a sentence; the first one is not disturbed."""
    with pytest.raises(StoreUnavailable, match="another process has this database open"):
        await EmbeddedStore.open(tmp_path / "selat.db", MASTER_KEY)
    program = (
        "import asyncio, sys\n"
        "from signalling.store.embedded import EmbeddedStore\n"
        "asyncio.run(EmbeddedStore.open(sys.argv[1], bytes(range(32))))\n"
    )
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path / "selat.db")),
        cwd=Path(__file__).parents[2],
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await other.communicate()
    assert other.returncode == 1
    assert b"StoreUnavailable: another process has this database open" in said
    await assert_untouched(embedded)


async def test_embedded_files_are_for_their_user_only(
    embedded: EmbeddedStore, tmp_path: Path
) -> None:
    """Nobody else on the machine may read the database, its log or its lock."""
    assert {path.name for path in tmp_path.iterdir()} == {
        *("selat.db", "selat.db-wal", "selat.db-shm", "selat.db.lock")
    }
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


async def test_embedded_refuses_a_newer_schema(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """A file of a later Selat is left alone, and the text names both versions."""
    await embedded.close()
    with closing(sqlite3.connect(tmp_path / "selat.db")) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
        connection.commit()
    with pytest.raises(StoreUnavailable, match=r"schema 99.* up to 1"):
        await EmbeddedStore.open(tmp_path / "selat.db", MASTER_KEY)


async def test_embedded_busy(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """While somebody else's program holds the file, appends are refused after a while and reads go on."""
    embedded._file.writer.execute("PRAGMA busy_timeout = 100")
    with closing(sqlite3.connect(tmp_path / "selat.db", isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            await embedded.append(Append(A, 1, (b"no",)), Append(B, 0, (b"no",)))
        assert [e.data for e in await embedded.read(A)] == [b"1"]
        intruder.execute("ROLLBACK")
    await assert_untouched(embedded)


async def test_embedded_disk_full(embedded: EmbeddedStore) -> None:
    """When no page can be added, the whole batch is refused; when there is room again, the store goes on."""
    embedded._file.writer.execute("PRAGMA max_page_count = 1")  # as full as the file is now
    embedded._gather_until = time.monotonic() + 0.1  # so that both are in one batch
    results = await asyncio.gather(
        embedded.append(Append(A, 1, (b"x" * 100_000,))),
        embedded.append(
            Append(B, 0, (b"small",)), content=[Content(OwnerId("o"), ContentId("c"), b"x")]
        ),
        return_exceptions=True,
    )
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert "SQLITE_FULL" in str(results[0])
    embedded._file.writer.execute("PRAGMA max_page_count = 1000000")
    await assert_untouched(embedded)
    assert await embedded.content(OwnerId("o")) == {}


async def test_embedded_io_error(embedded: EmbeddedStore) -> None:
    """A write that the kernel refuses is reported, nothing half-written is read later, and the store goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # EFBIG, since Python ignores SIGXFSZ
    try:
        with pytest.raises(StoreUnavailable, match=r"SQLITE_(IOERR|FULL)"):
            await embedded.append(Append(A, 1, (b"x" * 200_000,)), Append(B, 0, (b"no",)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await assert_untouched(embedded)


async def test_embedded_lost_connection(embedded: EmbeddedStore) -> None:
    """A connection that broke for good is replaced: one refusal, then the store goes on."""
    embedded._file.writer.close()
    with pytest.raises(StoreUnavailable):
        await embedded.append(Append(A, 1, (b"no",)))
    await assert_untouched(embedded)


async def test_embedded_says_what_normal_may_cost(tmp_path: Path) -> None:
    """The setting that a power cut can hurt has a warning, the default has none."""
    for synchronous, warned in (("FULL", False), ("NORMAL", True)):
        store = await EmbeddedStore.open(tmp_path / "s.db", MASTER_KEY, synchronous=synchronous)  # type: ignore[arg-type]
        pragma = store._file.writer.execute("PRAGMA synchronous").fetchone()[0]
        assert pragma == {"FULL": 2, "NORMAL": 1}[synchronous]
        assert (await store.durability() is not None) is warned
        await store.close()


async def test_embedded_altered_content_is_no_content(
    embedded: EmbeddedStore, tmp_path: Path
) -> None:
    """Sealed content that was changed or moved to another owner in the file doesn't open, and says nothing else."""
    for owner in ("o1", "o2"):
        await embedded.append(
            Append(StreamId(owner), 0, (b"x",)),
            content=[Content(OwnerId(owner), ContentId("c"), b"secret of " + owner.encode())],
        )
    await embedded.close()
    with closing(sqlite3.connect(tmp_path / "selat.db")) as connection:
        connection.execute(
            "UPDATE content SET sealed = (SELECT sealed FROM content WHERE owner = 'o2') WHERE owner = 'o1'"
        )
        connection.execute(
            "UPDATE owners SET wrapped = (SELECT wrapped FROM owners WHERE owner = 'o1') WHERE owner = 'o2'"
        )
        connection.commit()
    store = await EmbeddedStore.open(tmp_path / "selat.db", MASTER_KEY)
    for owner in ("o1", "o2"):
        with pytest.raises(StoreError) as caught:
            await store.content(OwnerId(owner))
        assert "secret" not in str(caught.value)
    await store.close()


# -- Redis ---------------------------------------------------------------------------------------


@pytest.mark.redis
async def test_redis_killed_and_started(redis: RedisStore, server: RedisServer) -> None:
    """Meanwhile every call and the tail are refused; afterwards the same object goes on, inboxes included."""
    inbox = InboxId("participant:one")
    await redis.open_inbox(inbox)
    tail = redis.tail(await redis.head())
    waiting = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.05)
    server.kill()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(waiting, 5)
    for call in (redis.append(Append(A, 1, (b"no",))), redis.read(A), redis.post(inbox, b"no")):
        with pytest.raises(StoreUnavailable):
            await call
    await asyncio.to_thread(server.start)
    await assert_untouched(redis)
    # The inbox comes back by itself, with the subscriber's connection.
    items: list[bytes] = []

    async def listen() -> None:
        async for _, body in redis.inbox_items():
            items.append(body)

    listener = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        while not await redis.post(inbox, b"back"):  # noqa: ASYNC110 - only Redis knows
            await asyncio.sleep(0.02)
    await until(lambda: items == [b"back"])
    await redis.open_inbox(InboxId("participant:new"))
    assert await redis.post(InboxId("participant:new"), b"new")
    listener.cancel()
    await asyncio.wait({listener})


@pytest.mark.redis
async def test_redis_restarted_while_nobody_called(redis: RedisStore, server: RedisServer) -> None:
    """A restart between two calls goes unnoticed: the stale connection is found before it is used."""
    server.kill()
    await asyncio.to_thread(server.start)
    await asyncio.sleep(0.05)
    await assert_untouched(redis)


@pytest.mark.redis
async def test_redis_that_hangs(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and doesn't answer is given up after the time-out, and used again when it answers."""
    monkeypatch.setattr(redis_store, "TIMEOUT_S", 0.2)
    store = await RedisStore.open(server.url, MASTER_KEY)
    await store.append(Append(A, 0, (b"1",)))
    server.pause()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for call in (store.append(Append(A, 1, ())), store.ping(), store.open_inbox(InboxId("i"))):
        with pytest.raises(StoreUnavailable):
            await call
    assert loop.time() - started < 2
    server.resume()
    await assert_untouched(store)
    await store.close()


@pytest.mark.redis
async def test_redis_out_of_memory(redis: RedisStore, server: RedisServer) -> None:
    """A server at its memory limit refuses the whole append, and takes it when the limit is raised."""
    server.command("CONFIG SET maxmemory 1")
    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        await redis.append(Append(A, 1, (b"no",)), Append(B, 0, (b"no",)))
    assert [e.data for e in await redis.read(A)] == [b"1"]
    server.command("CONFIG SET maxmemory 0")
    await assert_untouched(redis)


@pytest.mark.redis
async def test_redis_forgot_the_scripts(redis: RedisStore, server: RedisServer) -> None:
    """An emptied script cache goes unnoticed."""
    assert server.command("SCRIPT FLUSH") == b"+OK\r\n"
    await assert_untouched(redis)


@pytest.mark.redis
async def test_redis_that_lost_everything_is_noticed_by_tails(
    redis: RedisStore, server: RedisServer
) -> None:
    """After a loss on the server's side a tail that resumes ahead of it is told, instead of waiting in vain."""
    for n in range(1, 5):
        await redis.append(Append(A, n, (b"x",)))
    seen = await redis.head()
    server.command("FLUSHALL")
    with pytest.raises(TailTruncated):
        await anext(redis.tail(seen))
    assert len(await take(redis.tail(0), await redis.append(Append(A, 0, (b"new",))))) == 1


@pytest.mark.redis
async def test_redis_refuses_a_newer_layout(redis: RedisStore, server: RedisServer) -> None:
    """Keys of a later Selat are left alone, and the text names both versions."""
    server.command("SET selat:schema 99")
    with pytest.raises(StoreUnavailable, match=r"layout 99.* up to 1"):
        await RedisStore.open(server.url, MASTER_KEY)


@pytest.mark.redis
async def test_redis_settings_that_cost_durability_are_named(
    redis: RedisStore, server: RedisServer
) -> None:
    """Each setting that may lose acknowledged events has its words; the right ones have none."""
    assert await redis.durability() is None
    for setting, restore, word in (
        ("appendfsync everysec", "appendfsync always", "everysec"),
        ("appendfsync no", "appendfsync always", "30 seconds"),
        ("appendonly no", "appendonly yes", "appendonly is off"),
        ("maxmemory-policy allkeys-lru", "maxmemory-policy noeviction", "noeviction"),
    ):
        server.command(f"CONFIG SET {setting}")
        assert word in (await redis.durability() or "")
        server.command(f"CONFIG SET {restore}")
    assert await redis.durability() is None


@pytest.mark.redis
async def test_redis_behind_a_password(server: RedisServer) -> None:
    """The URL's password is used; a wrong one is StoreUnavailable and isn't repeated in the text."""
    server.command("CONFIG SET requirepass correct-horse")
    url = f"redis://:correct-horse@127.0.0.1:{server.port}/0"
    store = await RedisStore.open(url, MASTER_KEY)
    await store.append(Append(A, 0, (b"1",)))
    await store.close()
    for wrong in (server.url, url.replace("correct", "wrong")):
        with pytest.raises(StoreUnavailable) as caught:
            await RedisStore.open(wrong, MASTER_KEY)
        assert "horse" not in str(caught.value)
