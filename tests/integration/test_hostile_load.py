# SPDX-License-Identifier: Apache-2.0
"""Floods, slow readers and strangers that say nothing: each costs itself, and nobody else."""

import asyncio
import dataclasses
import json
import os
import time
from statistics import quantiles
from typing import Any

import pytest

from auth.throttle import CHAT_BY_PERSON, Throttle
from signalling.config import LimitsConfig
from signalling.edge import keys
from signalling.edge.gate import MAX_PENDING, Gate
from tests.integration.conftest import OpenNode
from tests.support.clinic import Clinic
from tests.support.peer import Peer
from tests.support.raw_socket import PING, RawSocket, frame
from tests.support.until import until

CALM_S = 0.25
"""An answer on a test machine that others use too; undisturbed it takes a millisecond."""


@pytest.fixture
def store_url() -> str:
    """One store is enough here."""
    return ""


def gate_of(clinic: Clinic) -> Gate:
    gate: Gate = clinic.node.app[keys.GATE]
    return gate


async def calm(peer: Peer, task: asyncio.Task[Any]) -> None:
    """Ask again and again until ``task`` is done; the answers must come as they do on a quiet node."""
    waits = [await peer.ping()]
    while not task.done() or len(waits) < 20:
        await asyncio.sleep(0.025)  # within the rate that a connection may send at
        waits.append(await peer.ping())
    await task
    assert quantiles(waits, n=20)[-1] < CALM_S, max(waits)


async def test_flood_of_messages(clinic: Clinic) -> None:
    """Above burst and rate a connection is closed with 4029; what came within them was answered; others feel nothing."""
    call = await clinic.call()
    bystander = await clinic.patient()
    limits = clinic.node.config.limits

    async def flood() -> None:
        first = call.patient._id + 1
        for i in range(first, first + 5_000):
            try:
                await call.patient.send_text(json.dumps({"type": "ping", "id": i}))
            except ConnectionError:
                break

    task = asyncio.create_task(flood())
    await calm(bystander, task)
    assert await call.patient.until_closed() == 4029
    answered = sum(m["type"] == "ok" for m in call.patient.messages)
    assert limits.message_burst * 0.8 < answered < limits.message_burst * 2
    assert call.patient.messages[-1]["code"] == "rate_limited"
    assert clinic.refusals("rate_limited") == 1
    await call.specialist.ping()
    await call.patient.reconnect()
    await call.patient.ping()


async def test_allowance_comes_back(open_node: OpenNode) -> None:
    """Within the rate a connection may go on for ever."""
    clinic = await open_node(limits=LimitsConfig(messages_per_s=200.0, message_burst=5))
    patient = await clinic.patient(intake=False)
    for _ in range(60):
        await asyncio.sleep(0.01)
        await patient.ping()


async def test_flood_of_pings(clinic: Clinic) -> None:
    """Control frames count too: a flood of pings is closed like any other."""
    bystander = await clinic.patient()
    stranger = await RawSocket.connect(clinic.node.port, Origin=clinic.url)
    stranger.write(frame(PING, b"x" * 125) * 2_000)
    assert await stranger.close_code() == 4029
    await stranger.close()
    await bystander.ping()


async def test_flood_of_durable_requests(clinic: Clinic) -> None:
    """Requests that wait for the store are bounded per connection; each that was acknowledged is recorded once."""
    call = await clinic.call()
    quick = dataclasses.replace(CHAT_BY_PERSON, free_tries=10_000)
    gate_of(clinic).commands.paces.lines = Throttle(quick)  # the pace of lines is another limit
    for i in range(MAX_PENDING * 2):
        await call.patient.send("chat", consult=call.consult, key=f"flood-{i:05}", text=f"line {i}")
    await call.patient.wait_until(
        lambda: call.patient.close_code is not None or len(call.patient.said) == MAX_PENDING * 2
    )
    said = list(call.patient.said)
    acknowledged = len(call.patient.of("ok"))
    await call.patient.reconnect()
    await call.patient.chat("end")
    await call.specialist.wait_until(lambda: call.specialist.said[-1] == "end")
    assert len(call.specialist.said) == len(set(call.specialist.said))
    assert set(said) <= set(call.specialist.said)
    assert len(call.specialist.said) >= acknowledged - 3


async def test_nobody_writes_without_end(clinic: Clinic) -> None:
    """Lines of chat have a pace of their own, far below the connection's: the next is refused with when, and written then."""
    call = await clinic.call()
    texts = [f"line {i}" for i in range(CHAT_BY_PERSON.free_tries + 1)]
    for text in texts:
        await call.patient.chat(text)
    line = {"consult": call.consult, "key": "k-too-many", "text": "too many"}
    answer = await call.patient.request("chat", **line)
    assert (answer["type"], answer["code"]) == ("error", "throttled")
    assert 0 < answer["retryAfterMs"] <= 1_001 * CHAT_BY_PERSON.max_delay_s
    assert clinic.refusals("throttled") == 1
    await call.specialist.chat("still heard")
    async with asyncio.timeout(10):
        while (await call.patient.request("chat", **line))["type"] != "ok":  # noqa: ASYNC110 - its own clock
            await asyncio.sleep(0.2)
    await call.specialist.wait_until(lambda: "too many" in call.specialist.said)
    assert call.specialist.said.count("too many") == 1
    assert [t for t in call.specialist.said if t in texts] == texts


async def test_reader_that_is_flooded_and_reads_nothing(open_node: OpenNode) -> None:
    """What waits for a peer that reads nothing is bounded at each write; it is closed with 4008, its sender goes on."""
    limits = LimitsConfig(
        messages_per_s=100_000.0, message_burst=100_000, outgoing_max_bytes=300_000
    )
    clinic = await open_node(limits=limits)
    call = await clinic.call()
    bystander = await clinic.patient()
    connection = next(
        c for c in gate_of(clinic)._connections if c.role == "patient" and c.consult == call.consult
    )
    call.patient.stop_reading()
    most = 0

    async def flood() -> None:
        nonlocal most
        for _ in range(200):  # of what only the node has for it: what others send it needs room
            connection.socket.send(b" " * 36_000)
            await call.specialist.ping()
            most = max(most, connection.socket.buffered_bytes)
            if not connection.socket.open:
                return

    await calm(bystander, asyncio.create_task(flood()))
    assert connection.socket.close_code == 4008
    assert 0 < most < 300_000 + 70_000
    await until(lambda: clinic.refusals("slow_reader") == 1)
    await until(lambda: gate_of(clinic)._connections.get(connection.participant) is None)
    assert connection.socket.buffered_bytes == 0
    await call.specialist.ping()


async def test_reader_that_is_too_slow_for_too_long(open_node: OpenNode) -> None:
    """A little waits for a peer that takes none of it: it is closed when the time for that is over."""
    limits = LimitsConfig(
        messages_per_s=100_000.0,
        message_burst=100_000,
        outgoing_high_bytes=10_000,
        outgoing_high_s=0.4,
        outgoing_max_bytes=50_000_000,
        heartbeat_s=60.0,
    )
    clinic = await open_node(limits=limits)
    call = await clinic.call()
    connection = next(c for c in gate_of(clinic)._connections if c.role == "patient")
    call.patient.stop_reading()
    began = full = time.monotonic()
    while connection.socket.open and time.monotonic() - began < 10:
        if connection.socket.buffered_bytes < 100_000:  # the kernel takes some, paced
            connection.socket.send(b" " * 36_000)
            await call.specialist.ping()
            full = time.monotonic()
        await asyncio.sleep(0.01)
    assert connection.socket.close_code == 4008
    assert 0.3 < time.monotonic() - full < 3.0
    await call.specialist.ping()


async def test_strangers_that_say_nothing(open_node: OpenNode) -> None:
    """Hundreds of sockets without a hello are closed when its time is over; meanwhile patients join and talk."""
    clinic = await open_node(limits=LimitsConfig(hello_timeout_s=1.0))
    bystander = await clinic.patient(intake=False)
    gate = gate_of(clinic)
    strangers = await asyncio.gather(
        *(RawSocket.connect(clinic.node.port, Origin=clinic.url) for _ in range(300))
    )
    assert len(gate._visitors) == 301

    async def life_goes_on() -> None:
        call = await clinic.call()
        await call.patient.chat("halo")

    await calm(bystander, asyncio.create_task(life_goes_on()))
    codes = await asyncio.gather(*(s.close_code() for s in strangers))
    assert set(codes) == {4004}
    for stranger in strangers:
        await stranger.close()
    await until(lambda: len(gate._visitors) == 3)
    assert clinic.refusals("hello_timeout") == 300


async def test_connections_that_never_ask(clinic: Clinic) -> None:
    """Bare TCP connections, and requests that stop in the middle, are in nobody's way."""
    bare = [await asyncio.open_connection("127.0.0.1", clinic.node.port) for _ in range(200)]
    for _, writer in bare[::2]:
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgr")
    patient = await clinic.patient()
    waits = [await patient.ping() for _ in range(20)]
    assert quantiles(waits, n=20)[-1] < CALM_S
    for _, writer in bare:
        writer.transport.abort()


async def test_half_a_frame(clinic: Clinic) -> None:
    """A frame that never ends holds no more memory than it has sent, and its sender is cut like any silent one."""
    bystander = await clinic.patient()
    strangers = [await RawSocket.connect(clinic.node.port, Origin=clinic.url) for _ in range(20)]
    for stranger in strangers:
        stranger.write(b"\x81\xfe\xff\xff" + os.urandom(4) + b"x" * 1_000)
    await bystander.ping()
    for stranger in strangers:
        await stranger.close()


async def test_many_sign_ins_at_once(clinic: Clinic) -> None:
    """Password hashing waits in a line of its own: while many sign in wrongly, messages are answered as ever."""
    bystander = await clinic.patient()

    async def guess() -> None:
        body = {"password": "wrong password"}
        await asyncio.gather(
            *(clinic.api("/api/sign-in", {**body, "login": f"nobody.{i}"}) for i in range(30))
        )

    await calm(bystander, asyncio.create_task(guess()))
    assert clinic.metric("sign_ins_total", result="throttled") >= 5
