# SPDX-License-Identifier: Apache-2.0
"""`selat relay` as a process of its own, and two generated participants that talk through it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.fake_node import FakeNode
from tests.support.relay_peer import Peer, rtp
from tests.support.serving import environment
from tests.support.until import until

READY_S = 50.0
TOKEN = "not-a-token-that-any-node-would-take"


class RelayProcess:
    """One relay of a fake node; ends with the block."""

    def __init__(self, directory: Path, server: str, *options: str, **variables: str) -> None:
        """``variables``: settings, over free ports on the loopback."""
        self.directory = directory
        self.ready: dict[str, Any] = {}
        self.log = directory / "relay.log"
        self._options = ["--server", server, "--token-file", str(directory / "token"), *options]
        self._environment = environment(
            directory,
            **{
                "SELAT_MEDIA_HOST": "127.0.0.1",
                "SELAT_MEDIA_UDP_PORT": "0",
                "SELAT_MEDIA_TCP_PORT": "0",
                "SELAT_MEDIA_METRICS_PORT": "0",
                **variables,
            },
        )
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> Self:
        """Run it until its ports are open."""
        (self.directory / "token").write_text(TOKEN)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "signalling.cli", "relay", "--json", *self._options,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await self.process.stdout.readline()
        assert line, self.log.read_text()
        self.ready = json.loads(line)
        return self

    async def __aenter__(self) -> Self:
        """Start it."""
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        """End it, however it stands."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    async def ended(self, within_s: float) -> int:
        """Wait for its end; return its exit code."""
        assert self.process is not None
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    async def metrics(self) -> Mapping[str, float]:
        """Return what it says at /metrics, by series."""
        url = f"http://127.0.0.1:{self.ready['metrics_port']}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
        return series(text)


def series(text: str) -> Mapping[str, float]:
    """Return a scrape's values by series."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


class Call:
    """A patient and a specialist with legs at a relay that a fake node controls."""

    def __init__(self, node: FakeNode, consult: str = "c1") -> None:
        self.node = node
        self.consult = consult
        self.legs: list[str] = []
        self.peers: list[Peer] = []
        self._number = 100

    async def begin(self) -> Self:
        """Seat both, connect, forward."""
        for index, role in enumerate(("patient", "specialist")):
            who = f"{role}-{self.consult}"
            minted = await self.node.seat(self.consult, who, role)
            base = (index + 1) * 0x1111 + 0x10000 * int.from_bytes(os.urandom(1), "big")
            peer = await Peer(minted.offer, ssrcs=(base, base + 1, base + 2)).open()
            self.legs.append(minted.leg)
            self.peers.append(peer)
            await self.node.answer(minted.leg, peer.answer())
            await peer.shake()
        for leg in self.legs:
            await until(lambda leg=leg: "connected" in self.node.states(leg))
        await self.node.forward(
            self.consult, f"patient-{self.consult}", f"specialist-{self.consult}"
        )
        return self

    async def talk(self) -> None:
        """Voice goes both ways, and arrives."""
        for one, other in (self.peers, self.peers[::-1]):
            heard = len(other.rtp_in)

            def arrived(other: Peer = other, heard: int = heard) -> bool:
                return len(other.rtp_in) > heard

            for _ in range(200):
                self._number += 1
                one.rtp(rtp(one.ssrcs[0], self._number, timestamp=self._number * 960))
                await asyncio.sleep(0.02)
                if arrived():
                    break
            assert arrived()

    async def end(self) -> None:
        """Both leave."""
        for peer in self.peers:
            await peer.close()
