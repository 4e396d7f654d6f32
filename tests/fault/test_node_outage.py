# SPDX-License-Identifier: Apache-2.0
"""A node whose store goes away, and a node that is killed: nothing acknowledged is lost, everybody comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from signalling.edge import connections, keys
from signalling.store import redis as redis_store
from tests.support.clinic import (
    QUICK,
    Clinic,
    captured_log,
    config,
    form,
    free_port,
    open_clinic,
)
from tests.support.peer import SDP, Peer
from tests.support.redis_server import RedisServer
from tests.support.serving import Serving
from tests.support.stores import assert_nothing_leaked
from tests.support.talker import Talker, assert_all_heard_all

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """After each test no task and no store thread is left."""
    yield
    await assert_nothing_leaked()


@pytest.fixture(autouse=True)
def log() -> Iterator[StringIO]:
    """The log of the test: an outage is a warning, never an error of ours."""
    with captured_log() as out:
        yield out
    assert '"level":"error"' not in out.getvalue(), out.getvalue()
    assert '"level":"critical"' not in out.getvalue(), out.getvalue()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of its own: it is paused and killed."""
    server = RedisServer()
    yield server
    server.resume()
    server.stop()


@pytest.fixture
async def clinic(
    no_leaks: None, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Clinic]:
    """A node on that server that gives up on an answer after half a second."""
    monkeypatch.setattr(redis_store, "TIMEOUT_S", 0.5)
    async with open_clinic(config(tmp_path, server.url)) as clinic:
        yield clinic


async def eventually_chats(peer: Peer, text: str, key: str) -> None:
    """Send a line until it is acknowledged, as a page does."""
    for _ in range(100):
        answer = await peer.request("chat", consult=peer.consult, key=key, text=text)
        if answer["type"] == "ok":
            return
        assert answer["code"] == "unavailable", answer
        await asyncio.sleep(0.1)
    raise AssertionError("the store did not come back")


@pytest.mark.redis
@pytest.mark.parametrize("how", ["hangs", "dies"])
async def test_store_away_and_back(clinic: Clinic, server: RedisServer, how: str) -> None:
    """While Redis hangs or is dead, requests are `unavailable` and the call goes on; afterwards all is as it was."""
    call = await clinic.call()
    await call.patient.chat("before")
    await call.specialist.wait_until(lambda: call.specialist.said == ["before"])
    if how == "hangs":
        server.pause()
    else:
        server.kill()

    answer = await call.patient.request("chat", consult=call.consult, key="during-1", text="during")
    assert answer["code"] == "unavailable"
    assert answer["retryAfterMs"] > 0
    description = {"type": "offer", "sdp": SDP}
    await call.specialist.send("description", consult=call.consult, description=description)
    await call.patient.wait_for(lambda m: m["type"] == "description")
    made = await clinic.api("/api/takeover", {"code": "2222-2222"})
    assert made.code in ("unavailable", "code_invalid")
    ready, alive = (
        await clinic.api("/readyz", method="GET"),
        await clinic.api("/healthz", method="GET"),
    )
    assert (ready.status, ready.code, alive.status) == (503, "unavailable", 200)
    late = clinic.peer(call.patient.token, call.consult)
    assert (await late.open())["code"] == "unavailable"
    assert await late.until_closed() == 4012
    assert call.patient.close_code is None, "who was connected stays so"

    if how == "hangs":
        server.resume()
    else:
        server.start()
    await eventually_chats(call.patient, "during", "during-1")
    await eventually_chats(call.specialist, "after", "after-01")
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: s.said == ["before", "during", "after"])
    for side in (call.patient, call.specialist):
        await side.reconnect()
        await side.chat(f"back {side.instance}")
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: len(s.said) == 5)
        assert side.said[:3] == ["before", "during", "after"]
    assert (await clinic.api("/readyz", method="GET")).status == 200
    # The rounds go on by themselves too: the next patient is rung.
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await clinic.connect(await clinic.patient(), call.specialist)


@pytest.mark.redis
async def test_two_nodes_hear_each_other_again(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Redis was killed and started, descriptions and chat cross between the nodes again, without a reconnect."""
    monkeypatch.setattr(redis_store, "TIMEOUT_S", 0.5)
    settings = config(tmp_path, server.url)
    async with open_clinic(settings) as a, open_clinic(settings) as b:
        call = await a.call(elsewhere=b)
        server.kill()
        await asyncio.sleep(0.2)
        server.start()
        await eventually_chats(call.patient, "from a", "from-a-01")
        await eventually_chats(call.specialist, "from b", "from-b-01")
        for side in (call.patient, call.specialist):
            await side.wait_until(lambda s=side: sorted(s.said) == ["from a", "from b"])
        for _ in range(100):  # a description is not kept: the page negotiates again
            description = {"type": "offer", "sdp": SDP}
            await call.specialist.send("description", consult=call.consult, description=description)
            with contextlib.suppress(AssertionError):
                await call.patient.wait_for(lambda m: m["type"] == "description", deadline_s=0.2)
                return
    raise AssertionError("descriptions never crossed again")


async def join(http: aiohttp.ClientSession, node: Serving) -> tuple[Peer, Peer]:
    """Return the patient and the specialist of the node's first start, in a call."""
    url = node.ready["public_url"].replace("localhost", "127.0.0.1")
    headers = {"Origin": url}

    async def api(path: str, body: object, **extra: str) -> dict[str, str]:
        async with http.post(url + path, json=body, headers={**headers, **extra}) as response:
            assert response.status == 200, await response.text()
            got: dict[str, str] = await response.json()
            got["cookie"] = response.headers.get("Set-Cookie", "").partition(";")[0]
            return got

    joined = await api("/api/join", {"token": node.ready["patient_url"].partition("#")[2]})
    patient = Peer(http, url, joined["session"], joined["consult"])
    await patient.open()
    await patient.done("intake", form=form())
    account = next(a for a in node.ready["accounts"] if a["role"] == "specialist")
    signed_in = await api(
        "/api/sign-in", {"login": account["login"], "password": account["password"]}
    )
    session = await api("/api/session", {}, Cookie=signed_in["cookie"])
    specialist = Peer(http, url, session["session"], joined["consult"])
    await specialist.open()
    await specialist.done("on_call", on=True)
    await specialist.wait_until(lambda: specialist.desk.get("ring"))
    await specialist.done("accept", consult=joined["consult"])
    await patient.until_state("in_call")
    return patient, specialist


@pytest.mark.parametrize("store", ["embedded", pytest.param("redis", marks=pytest.mark.redis)])
@pytest.mark.parametrize(
    "kills", [2, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
async def test_killed_in_a_call(
    tmp_path: Path, request: pytest.FixtureRequest, store: str, kills: int
) -> None:
    """A node killed by SIGKILL again and again while both talk: back in the same call, no line lost, doubled or moved."""
    options = []
    if store == "redis":
        server: RedisServer = request.getfixturevalue("server")
        options = ["--store", server.url]
    port = str(free_port())
    settings = {"SELAT_HTTP_PORT": port, "SELAT_TLS": "false", "SELAT_LOG_FORMAT": "json"}
    node = Serving(tmp_path / "data", *options, **settings)
    http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
    async with http:
        with node:
            patient, specialist = await join(http, node)
            talkers = Talker(patient, "p"), Talker(specialist, "s")
            stop = asyncio.Event()
            tasks = [asyncio.create_task(t.talk(stop)) for t in talkers]
            for _ in range(kills):
                heard = len(talkers[0].acknowledged)
                for _ in range(1_000):
                    if len(talkers[0].acknowledged) > heard + 20:
                        break
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)
            stop.set()
            await asyncio.gather(*tasks)
            await assert_all_heard_all(talkers)
            assert all(talker.reconnects > kills for talker in talkers)
            await patient.until_state("in_call")
            await specialist.done("end", consult=patient.consult, outcome="advice")
            await patient.until_state("ended")
            await patient.close()
            await specialist.close()
    text = node.log.read_text()
    assert '"level":"error"' not in text, text[-3_000:]
    assert "p 1" not in text


@pytest.mark.redis
async def test_one_of_two_nodes_is_killed(tmp_path: Path, server: RedisServer) -> None:
    """The node of the specialist dies by SIGKILL; on the other node the call is taken up again with every line."""
    settings = {"SELAT_TLS": "false"}
    first = Serving(tmp_path / "data", "--store", server.url, **settings)
    second = Serving(tmp_path / "data", "--store", server.url, **settings)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        with first, second:
            patient, specialist = await join(http, first)
            moved = Peer(
                http,
                second.ready["public_url"].replace("localhost", "127.0.0.1"),
                specialist.token,
                specialist.consult,
            )
            await moved.open()
            assert await specialist.until_closed() == 4010
            await patient.wait_until(lambda: patient.view["peer"].get("instance") == moved.instance)
            for i in range(10):
                await asyncio.gather(patient.chat(f"p{i}"), moved.chat(f"s{i}"))
            await asyncio.to_thread(second.kill)
            await patient.chat("still here?")
            moved.url = specialist.url
            await moved.reconnect()
            await moved.wait_until(lambda: moved.said[-1:] == ["still here?"])
            assert len(moved.said) == len(set(moved.said)) == 21
            await patient.wait_until(lambda: patient.view["peer"].get("instance") == moved.instance)
            await moved.chat("yes")
            await patient.wait_until(lambda: patient.said[-1:] == ["yes"])
            assert patient.said == moved.said
            await patient.close()
            await moved.close()
            await specialist.close()


@pytest.mark.redis
async def test_dead_side_is_found_by_its_lease(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that only stops renewing, its sockets silent, is noticed by the other node when its leases end."""
    policy = replace(QUICK, presence_s=1.5, call_check_s=0.5)
    monkeypatch.setattr(connections, "RENEW_S", 0.3)
    settings = config(tmp_path, server.url, consult=policy)
    async with open_clinic(settings) as a, open_clinic(settings) as b:
        call = await a.call(elsewhere=b)
        await asyncio.sleep(2.0)
        assert call.patient.view["state"] == "in_call", "renewed leases hold"
        b.node.app[keys.GATE]._connections._leases.clear()
        view = await call.patient.until_state("interrupted")
        assert view["away"] == ["specialist"]


@pytest.mark.redis
async def test_leases_that_ran_out_with_the_store_mean_nothing(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that was away for longer than leases live turns nobody who is still connected into somebody who left."""
    monkeypatch.setattr(redis_store, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(connections, "RENEW_S", 2.5)
    policy = replace(QUICK, presence_s=2.7, call_check_s=0.3)
    async with open_clinic(config(tmp_path, server.url, consult=policy)) as clinic:
        call = await clinic.call()
        free = await clinic.specialist()
        await call.patient.chat("before")
        await call.specialist.wait_until(lambda: call.specialist.said == ["before"])
        server.pause()
        await asyncio.sleep(3.2)  # longer than a lease lives
        server.resume()
        await eventually_chats(call.patient, "still here", "still-here")
        await asyncio.sleep(2.5)  # several looks at the call and at both specialists
        assert call.patient.view["state"] == "in_call"
        assert "lost" not in {entry["kind"] for entry in call.patient.entries}
        assert free.desk["state"] == "available"


async def test_back_while_being_counted_as_away(clinic: Clinic) -> None:
    """A page that comes back in the very moment in which its loss is written down doesn't stay away on the record."""
    call = await clinic.call()
    ledger = clinic.node.ledger
    commit = ledger.commit

    async def after_the_hello(*given: Any) -> Any:
        ledger.commit = commit  # type: ignore[method-assign]
        await call.patient.reconnect()
        await call.patient.done("chat", consult=call.consult, key="iam-back", text="back")
        return await commit(*given)

    await call.patient.lose()
    ledger.commit = after_the_hello  # type: ignore[method-assign]
    await call.specialist.wait_for(lambda m: m.get("kind") == "lost")
    await call.specialist.wait_for(lambda m: m.get("kind") == "back")
    assert not clinic.consult(call.consult).away
