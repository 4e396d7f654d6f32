# SPDX-License-Identifier: Apache-2.0
"""The process that carries packets between an island's namespace and the city's.

It is started by `tests.link.lab.Lab`; it reads one JSON line with what to build, answers with one
line, and then takes commands, one JSON line each, on standard input and answers each with one line
on standard output. When its input ends it ends. What it does and carries it writes as JSON lines
into a log: an `event` of "step" (whatever changed, replayable with `profiles.load_trace`), "second"
(what was carried in each second in which there was anything) and "report" (the whole, at the end).

Packets whose addresses are not both in the lab's networks (name servers, multicast) are dropped
before the link and counted as strangers: there is no Internet behind this link.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import math
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.link import namespaces
from tests.link.model import MTU_BYTES, Histogram, LinkModel
from tests.link.profiles import DIRECTIONS, Direction, Step, profile_from_dict

FIRST_NETWORK = 77
NETWORKS = 16
"""The lab's addresses are 10.77.0.0/16 to 10.92.0.0/16, one network per link."""

_CITY_SIDE: Direction = "down"  # what the city sends goes down
_ISLAND_SIDE: Direction = "up"
_READ_BATCH = 64  # packets taken from one device before the other one has its turn
_SHORTEST_SLEEP_S = 0.0003  # finer than Python's own jitter; bounds wake-ups on fast links
_DEVICE_QUEUE = 2000  # packets the kernel keeps for us; the link's real queue is the model's


class Emulator:
    """Two models, two TUN devices, one loop."""

    def __init__(self, plan: Mapping[str, Any], log: Path) -> None:
        """Build what `plan` (see `Lab._plan`) describes; the devices are up afterwards."""
        profile = profile_from_dict(plan["profile"])
        self._island: str = plan["island"]
        self._network: int = plan["network"]
        self._started_s = time.monotonic()
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._models = {
            direction: LinkModel(getattr(profile, direction), f"{plan['seed']}/{direction}")
            for direction in DIRECTIONS
        }
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_serial = 0
        self._generation = 0
        self._strangers = 0
        self._undeliverable = 0
        self._lateness = Histogram()
        self._commands = b""
        self._ended = False
        self._last_second: dict[str, dict[str, Any]] = {}
        # Where what a direction carries comes from: the far end of it is the other device.
        self._devices: dict[Direction, int] = {}
        index = self._network - FIRST_NETWORK
        self._attach(
            _CITY_SIDE, plan["city"], f"cty{index}", f"10.{self._network}.0.1", default=not index
        )
        self._attach_island()
        self._write_log({"event": "start", "profile": plan["profile"], "seed": plan["seed"]})
        self._play(profile.schedule)
        self._at(1.0, self._log_second)

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def run(self) -> None:
        """Carry packets and obey commands until told to end."""
        gc.disable()  # no cycles are made here, and a pause would be jitter
        while not self._ended:
            wake_s = min(
                self._timers[0][0], *(model.next_at_s() for model in self._models.values())
            )
            sleep_s = max(wake_s - self._now_s(), _SHORTEST_SLEEP_S)
            ready, _, _ = select.select([0, *self._devices.values()], [], [], sleep_s)
            for direction in DIRECTIONS:
                if self._devices.get(direction) in ready:
                    self._take(direction)
            if 0 in ready:
                self._obey()
            while self._timers and self._timers[0][0] <= self._now_s():
                heapq.heappop(self._timers)[2]()
            for direction in DIRECTIONS:
                self._hand_over(direction)
        self._write_log({"event": "report", **self._report()})

    def _take(self, direction: Direction) -> None:
        """Offer to the link what one side has sent."""
        model = self._models[direction]
        device = self._devices[direction]
        now_s = self._now_s()
        for _ in range(_READ_BATCH):
            try:
                packet = os.read(device, MTU_BYTES + 100)
            except BlockingIOError:
                return
            except OSError:  # the interface was taken down by somebody
                return
            if _in_lab(packet, 12) and _in_lab(packet, 16):
                model.offer(now_s, packet)
            else:
                self._strangers += 1

    def _hand_over(self, direction: Direction) -> None:
        """Give to the far side what has arrived there."""
        model = self._models[direction]
        due_s = model.next_at_s()
        now_s = self._now_s()
        if due_s > now_s:
            return
        self._lateness.add(now_s - due_s)
        device = self._devices.get(_ISLAND_SIDE if direction == _CITY_SIDE else _CITY_SIDE)
        for packet in model.poll(now_s):
            try:
                if device is None:
                    self._undeliverable += 1
                else:
                    os.write(device, packet)
            except OSError:  # an interface that is down takes nothing
                self._undeliverable += 1

    def _at(self, at_s: float, work: Callable[[], None]) -> None:
        self._timer_serial += 1
        heapq.heappush(self._timers, (at_s, self._timer_serial, work))

    def _attach(
        self, side: Direction, namespace: str, interface: str, address: str, *, default: bool
    ) -> None:
        """Make one side's interface and give it its address and its routes."""
        self._devices[side] = namespaces.open_tun(namespace, interface)
        batch = [
            f"link set {interface} mtu {MTU_BYTES} txqueuelen {_DEVICE_QUEUE}",
            f"addr add {address}/24 dev {interface}",
            f"link set {interface} up",
            f"route add 10.{self._network}.0.0/16 dev {interface} src {address}",
        ]
        if default:  # browsers look for the address that a default route would use
            batch.append(f"route add default dev {interface} src {address}")
        namespaces.ip(namespace=namespace, batch="\n".join(batch) + "\n")

    def _attach_island(self) -> None:
        self._attach(
            _ISLAND_SIDE,
            self._island,
            f"isl{self._generation}",
            self._island_address(),
            default=True,
        )

    def _island_address(self) -> str:
        return f"10.{self._network}.{self._generation % 250 + 1}.2"

    def _change_address(self, gap_s: float) -> None:
        """Remove the island's interface; another one with another address comes `gap_s` later."""
        device = self._devices.pop(_ISLAND_SIDE, None)
        if device is not None:
            os.close(device)
        self._generation += 1
        generation = self._generation

        def arrive() -> None:
            if generation == self._generation:  # else the next change overtook this one
                self._attach_island()

        self._at(self._now_s() + gap_s, arrive)

    def _check(self, step: Step) -> None:
        if step.direction not in (None, *DIRECTIONS):
            raise ValueError(f"no such direction: {step.direction}")
        for model in self._models.values():
            model.parameters.changed(**step.changes)

    def _do(self, step: Step) -> None:
        """Let one step of a schedule happen now; raises ValueError and changes nothing if wrong."""
        self._check(step)
        now_s = self._now_s()
        for direction in (step.direction,) if step.direction else DIRECTIONS:
            if step.changes:
                self._models[direction].change(now_s, **step.changes)
            if step.blackout_s is not None:
                self._models[direction].blackout(now_s, step.blackout_s)
        if step.change_address_gap_s is not None:
            self._change_address(step.change_address_gap_s)
        line: dict[str, Any] = {"event": "step", "at_s": round(now_s, 3)}
        for name in ("direction", "changes", "blackout_s", "change_address_gap_s"):
            if getattr(step, name) not in (None, {}):
                line[name] = getattr(step, name)
        self._write_log(line)

    def _play(self, schedule: tuple[Step, ...]) -> None:
        """Let a schedule happen from now on; raises ValueError, and plays nothing, if one is wrong."""
        now_s = self._now_s()
        for step in schedule:
            self._check(step)
        for step in schedule:
            self._at(now_s + step.at_s, lambda step=step: self._do(step))  # type: ignore[misc]

    def _obey(self) -> None:
        """Read commands and answer each."""
        data = os.read(0, 65536)
        if not data:
            self._ended = True
            return
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            try:
                extra = self._answer(json.loads(line))
                answer = {"ok": True, "island_address": self._island_address(), **extra}
            except (ValueError, TypeError, KeyError, RuntimeError) as error:
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            _say(answer)

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "play":
                self._play(tuple(Step(**step) for step in command["steps"]))
            case "step":
                self._do(Step(**command["step"]))
            case "report":
                return {"report": self._report()}
            case "quit":
                self._ended = True
            case other:
                raise ValueError(f"no such command: {other}")
        return {}

    def _report(self) -> dict[str, Any]:
        """Return what was carried, lost and delayed since the start."""
        used = os.times()
        lived_s = self._now_s()
        return {
            "lived_s": round(lived_s, 3),
            "cpu_s": round(used.user + used.system, 3),
            "lateness_ms": self._lateness.percentiles_ms(),
            "in_transit_packets": sum(model.in_transit() for model in self._models.values()),
            "stranger_packets": self._strangers,
            "undeliverable_packets": self._undeliverable,
            "down": self._models["down"].tally.as_dict(),
            "up": self._models["up"].tally.as_dict(),
        }

    def _log_second(self) -> None:
        """Log what this second has carried, unless it was silent."""
        now_s = self._now_s()
        self._at(math.floor(now_s) + 1.0, self._log_second)
        line: dict[str, Any] = {"event": "second", "at_s": round(now_s, 3)}
        busy = False
        for direction, model in self._models.items():
            tally = model.tally
            total = {
                "offered_bytes": tally.offered_bytes,
                "delivered_bytes": tally.delivered_bytes,
                **{cause.value: count for cause, count in tally.lost_packets.items()},
            }
            before = self._last_second.get(direction, {})
            self._last_second[direction] = total
            spent = {name: count - before.get(name, 0) for name, count in total.items()}
            busy = busy or spent["offered_bytes"] > 0 or spent["delivered_bytes"] > 0
            waiting_s = model.queue_delay_s(now_s)
            spent["queue_ms"] = round(waiting_s * 1000) if math.isfinite(waiting_s) else None
            line[direction] = spent
        if busy:
            self._write_log(line)

    def _write_log(self, line: dict[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")


def _in_lab(packet: bytes, offset: int) -> bool:
    """Tell whether the IPv4 address at `offset` is one of the lab's."""
    return (
        len(packet) >= 20
        and packet[0] >> 4 == 4
        and packet[offset] == 10
        and 0 <= packet[offset + 1] - FIRST_NETWORK < NETWORKS
    )


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the plan, build the link, run it."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # a late packet would be the emulator's jitter, not the link's
    log = Path(sys.argv[1])
    try:
        emulator = Emulator(json.loads(_first_line()), log)
    except (OSError, RuntimeError, ValueError) as error:
        _say({"ok": False, "error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    _say({"ok": True})
    emulator.run()


def _first_line() -> bytes:
    """Read one line from descriptor 0 without taking more: commands may follow it."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line


if __name__ == "__main__":
    main()
