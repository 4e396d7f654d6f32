# SPDX-License-Identifier: Apache-2.0
"""A page that says one line after the other, through every outage, and never gives a line up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.support.peer import Peer

OUTAGES = (AssertionError, ConnectionError, aiohttp.ClientError)
"""What a lost socket is, to whoever waits for an answer on it."""
TRIES = 600
PAUSE_S = 0.05


@dataclass
class Talker:
    """``name`` begins each of its lines."""

    peer: Peer
    name: str
    acknowledged: list[str] = field(default_factory=list)
    reconnects: int = 0

    async def talk(self, stop: asyncio.Event, lines: int | None = None) -> None:
        """Talk until ``stop`` is set, or this many lines."""
        for number in itertools.count() if lines is None else range(lines):
            if stop.is_set():
                return
            await self.say(f"{self.name} {number}", f"{self.name}-line-{number:05}")
            await asyncio.sleep(0.005)

    async def say(self, text: str, key: str) -> None:
        """Send a line, always with the same key, until it is acknowledged."""
        for _ in range(TRIES):
            try:
                answer = await self.peer.request(
                    "chat", consult=self.peer.consult, key=key, text=text
                )
                if answer["type"] == "ok":
                    self.acknowledged.append(text)
                    return
            except OUTAGES:
                await self.come_back()
                continue
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("never acknowledged")

    async def come_back(self) -> None:
        """Reconnect, until it is done, with the cursor of what came."""
        for _ in range(TRIES):
            with contextlib.suppress(*OUTAGES):
                if (await self.peer.reconnect())["type"] == "welcome":
                    self.reconnects += 1
                    return
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("never back")


async def assert_all_heard_all(talkers: Sequence[Talker]) -> None:
    """Each has every acknowledged line once, each speaker's in order, and all the same order."""
    said = [line for talker in talkers for line in talker.acknowledged]
    for talker in talkers:
        await talker.come_back()
    for talker in talkers:
        peer = talker.peer
        await peer.wait_until(lambda p=peer: len(set(p.said)) >= len(said))  # type: ignore[misc]
        assert sorted(peer.said) == sorted(said), "lost or doubled"
        for who in talkers:
            own = [line for line in peer.said if line.startswith(f"{who.name} ")]
            assert own == who.acknowledged, "out of order"
        cursors = [e["cursor"] for e in peer.entries]
        assert cursors == sorted(set(cursors)), "a line came twice, or late"
        assert peer.said == talkers[0].peer.said
