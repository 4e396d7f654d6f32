# SPDX-License-Identifier: Apache-2.0
"""Call set-ups as a load: an offer and an answer of 3 KB and eight candidates each way, one after the other.

A pair of clients plays the script again and again. Each of its 18 messages is answered by the next one as soon as it
has arrived, so a message is always one frame, one write here, one receive and one send in the server.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.load.client import FIRST_ID, Client

CANDIDATES = 8
"""Each way; what a browser with two interfaces, STUN and TURN gathers."""
MESSAGES = 2 + 2 * CANDIDATES
SDP_BYTES = 3_000
"""A browser's offer of sound and picture with its codecs cut to those in use; a full one of Chromium is 8 KB."""
DRAIN_S = 20.0
WARMING = 16


def description(kind: str) -> dict[str, str]:
    """Return an RTCSessionDescriptionInit of about 3 KB."""
    lines = [
        "v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1",
        "a=extmap-allow-mixed", "a=msid-semantic: WMS", "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110",
        "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0", "a=ice-ufrag:Zk3p", "a=ice-pwd:Jq1u0ZpYbM4x6sWc2dRtGhKe",
        "a=fingerprint:sha-256 " + ":".join(["7B"] * 32), f"a=setup:{'actpass' if kind == 'offer' else 'active'}",
    ]  # fmt: skip
    number = 0
    while sum(map(len, lines)) + 2 * len(lines) < SDP_BYTES:
        number += 1
        lines.append(f"a=rtpmap:{96 + number % 32} VP8/90000")
        lines.append(f"a=fmtp:{96 + number % 32} level-asymmetry-allowed=1;packetization-mode=1")
    return {"type": kind, "sdp": "\r\n".join(lines) + "\r\n"}


def candidate(number: int) -> dict[str, Any]:
    """Return an RTCIceCandidateInit."""
    text = (
        f"candidate:{842163049 + number} 1 udp {1677729535 - number} 198.51.100.{number} {50_000 + number} typ srflx"
        f" raddr 192.0.2.{number} rport {40_000 + number} generation 0 ufrag Zk3p network-cost 999"
    )
    return {
        "candidate": text,
        "sdpMid": "0",
        "sdpMLineIndex": 0,
        "usernameFragment": "Zk3p",
    }


class Outgoing(Protocol):
    """A message that is ready to be sent."""

    def frame(self, request_id: int) -> bytes:
        """Return its frame."""


@dataclass(slots=True)
class Side:
    """One end of a pair: its socket and the nine messages that it sends."""

    client: Client
    messages: Sequence[Outgoing]
    next_id: int = FIRST_ID


@dataclass(eq=False)
class Pair:
    """Two clients in a call with each other."""

    offerer: Side
    answerer: Side
    field: Field
    step: int = MESSAGES
    began: float = 0.0

    def __post_init__(self) -> None:
        self.offerer.client.on_message = self._received
        self.answerer.client.on_message = self._received

    def start(self) -> None:
        """Play the script once."""
        self.step = 0
        self.began = time.perf_counter()
        self._send(0)

    def _send(self, step: int) -> None:
        side = self.answerer if step & 1 else self.offerer
        side.next_id += 1
        side.client.write(side.messages[step >> 1].frame(side.next_id))

    def _received(self, payload: bytes) -> None:
        field = self.field
        if not payload.startswith(field.forwarded_as):
            field.other(payload)
            return
        step = self.step
        if field.check is not None:
            field.check(payload, step)
        field.messages += 1
        if step == 1:
            field.latencies_s.append(time.perf_counter() - self.began)
        self.step = step = step + 1
        if step < MESSAGES:
            self._send(step)
        else:
            field.finished(self)


@dataclass
class Field:
    """The pairs of one server, and what they have done."""

    forwarded_as: tuple[bytes, ...]
    """How forwarded messages begin; anything else is looked at by ``other``."""
    refused_as: tuple[bytes, ...]
    """How the server's complaints begin."""
    messages: int = 0
    calls: int = 0
    latencies_s: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    idle: deque[Pair] = field(default_factory=deque)
    check: Checker | None = None
    _again: bool = False
    _active: int = 0
    _drained: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, offerer: Side, answerer: Side) -> Pair:
        """Take in a pair that is in a call."""
        pair = Pair(offerer, answerer, self)
        self.idle.append(pair)
        return pair

    def other(self, payload: bytes) -> None:
        """A message that is not forwarded: a view or a pong is fine, a refusal is not, and ends the wait of ``drain``."""
        if payload.startswith(self.refused_as):
            self.refusals.append(payload[:200].decode())
            self._drained.set()

    def finished(self, pair: Pair) -> None:
        """A pair has played its script."""
        self.calls += 1
        self.idle.append(pair)
        if self._again:
            self.idle.popleft().start()
            return
        self._active -= 1
        if not self._active:
            self._drained.set()

    def _launch(self) -> None:
        if not self.idle:
            self.refusals.append("no pair is idle: the server is behind")
            return
        self._active += 1
        self._drained.clear()
        self.idle.popleft().start()

    async def flat_out(self, at_a_time: int) -> None:
        """Keep so many calls under way, until ``drain``."""
        self._again = True
        for _ in range(min(at_a_time, len(self.idle))):
            self._launch()

    async def paced(self, calls_per_s: float, duration_s: float, seed: int) -> None:
        """Start calls at random instants (Poisson) at a mean rate."""
        chance = random.Random(seed)
        loop = asyncio.get_running_loop()
        at = loop.time()
        end = at + duration_s
        while (at := at + chance.expovariate(calls_per_s)) < end:
            if (wait := at - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._launch()

    async def drain(self) -> None:
        """Let the calls under way end.

        Raises:
            RuntimeError: the server refused something, or calls didn't end: no figure of this run counts.
        """
        self._again = False
        if self._active and not self.refusals:
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._drained.wait()
            except TimeoutError:
                self.refusals.append(f"{self._active} calls did not end")
        if self.refusals:
            raise RuntimeError(f"{len(self.refusals)} failures, the first: {self.refusals[0]}")

    async def once_each(self) -> None:
        """Let every pair play once, some at a time; connections that never forwarded are cold."""
        for first in range(0, len(self.idle), WARMING):
            for _ in range(min(WARMING, len(self.idle) - first)):
                self._launch()
            await self.drain()


async def crowd(count: int, at_a_time: int, one: Callable[[], Awaitable[None]]) -> None:
    """Do ``one()`` so often, so many at a time: the next begins when any has ended."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await one()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_a_time):
            tasks.create_task(worker())


class Checker(Protocol):
    """Looks at each forwarded message."""

    def __call__(self, payload: bytes, step: int) -> None:
        """Raise if it isn't what the other side sent as this step."""


def expected(step: int) -> dict[str, Any]:
    """Return what is forwarded in a step, as a browser would hand it to ``RTCPeerConnection``."""
    if step < 2:
        return description(("offer", "answer")[step])
    return candidate(step // 2)


def contains(payload: bytes, wanted: dict[str, Any]) -> bool:
    """Return whether a JSON text has an object with exactly these members somewhere in it."""

    def search(value: object) -> bool:
        if isinstance(value, dict):
            return value == wanted or any(map(search, value.values()))
        return False

    return search(json.loads(payload))
