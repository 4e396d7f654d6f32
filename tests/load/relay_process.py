# SPDX-License-Identifier: Apache-2.0
"""The relay under load: a port and its rooms as ``media.app`` runs them, without a node. Takes JSON lines on its input."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from media.core.limits import Limits
from media.relay import seat as seats
from media.relay.description import Answer
from media.relay.leg import Leg
from media.relay.port import PortSettings, RelayPort
from media.relay.room import Room
from media.relay.seat import Seat
from media.relay.ticker import Ticker
from signalling import collector

# Flat out one voice is a thousand: the most that a leg may send of it is another test's (`test_room_floods.py`).
seats.VOICE_BPS = 10**10  # type: ignore[misc]
START_BPS = 1_000_000.0
"""Links are known to be good: what is measured is forwarding, not finding out."""


class Relay:
    """One port, its legs by number, its rooms."""

    def __init__(self, port: RelayPort) -> None:
        self._port = port
        self._legs: list[Any] = []
        self._rooms: list[Room] = []
        self._ticker = Ticker(port.udp, lambda: self._rooms, clock=time.monotonic, on_fault=_raised)

    def handle(self, request: dict[str, Any]) -> Any:
        """Answer one request."""
        return getattr(self, request.pop("do"))(**request)

    def mint(self) -> Any:
        """Make a leg."""
        self._legs.append(self._port.mint())
        return {"leg": len(self._legs) - 1, "offer": msgspec.to_builtins(self._legs[-1][1])}

    def answer(self, leg: int, answer: Any) -> Any:
        """Take a leg's answer."""
        self._port.accept(self._legs[leg][0], msgspec.convert(answer, Answer))
        return {}

    def call(self, legs: list[int], answers: list[Any]) -> Any:
        """Forward between two legs."""
        room = Room(
            "call", clock=time.monotonic, drops=self._port.drops,
            on_limits=self._told, on_flowing=self._flowing, start_bps=START_BPS,
        )  # fmt: skip
        for number, answer in zip(legs, answers, strict=True):
            leg, offer = self._legs[number]
            room.seat(str(number), leg, offer, "patient", str(number))
            room.answer(str(number), msgspec.convert(answer, Answer))
        room.forward({str(number) for number in legs})
        self._rooms.append(room)
        self._ticker.start()
        return {}

    def connected(self) -> Any:
        """Count the legs that have keys."""
        return sum(1 for leg, _ in self._legs if leg.srtp_profile is not None)

    def counts(self) -> Any:
        """Return what was forwarded, and why anything was not."""
        gc.collect()
        return {
            "sent": sum(leg.traffic.rtp_sent for leg, _ in self._legs),
            "received": sum(leg.traffic.rtp_received for leg, _ in self._legs),
            "drops": {str(reason): count for reason, count in self._port.drops.items()},
            "withheld": sum(room.metrics().totals["withheld"] for room in self._rooms),
        }

    def left(self) -> Any:
        """Count what lives: after all calls have ended, as much as before the first."""
        gc.collect()
        ufrags, ssrcs = self._port.demux.sizes()
        return {
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "legs": len(self._port.legs),
            "ufrags": ufrags,
            "ssrcs": ssrcs,
            "addresses": self._port.udp.addresses,
            "rooms": sum(isinstance(each, Room | Leg | Seat) for each in gc.get_objects()),
        }

    async def clear(self) -> None:
        """Close all."""
        self._rooms.clear()
        for leg, _ in self._legs:
            await self._port.release(leg)
        self._legs.clear()

    def _told(self, leg: str, limits: Limits) -> None:
        pass

    def _flowing(self, leg: str) -> None:
        pass


def _raised(error: Exception) -> None:
    raise error


async def main() -> None:
    """Serve until the input ends."""
    port = RelayPort(PortSettings(host="127.0.0.1", tcp_port=None, legs_max=5_000))
    await port.open()
    collector.settle()
    relay = Relay(port)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"port": port.udp_port}), flush=True)
    while line := await reader.readline():
        request = json.loads(line)
        done = relay.clear() if request["do"] == "clear" else relay.handle(request)
        print(json.dumps(await done or {} if asyncio.iscoroutine(done) else done), flush=True)
    await port.close()


if __name__ == "__main__":
    uvloop.run(main())
