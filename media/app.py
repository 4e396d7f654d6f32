# SPDX-License-Identifier: Apache-2.0
"""The relay process: ports, seats, control connection, metrics, and how it ends.

The first SIGTERM drains: no new legs, and it leaves when nobody sits any more, or after ``drain_s``. The second ends it at
once. A process that was started by a node and hears of none for long leaves when nobody sits.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from media import metrics as exported
from media.control import Control, ControlSettings, Order, TokenUnusable, read_token
from media.lockfile import LockFile, SlotTaken
from media.relay.drops import Drop
from media.relay.leg import LegState
from media.relay.port import PortSettings, RelayPort
from media.relay.trace import Trace
from media.seating import COUNTED, Seating
from signalling.wire.legs import RelayStatus

__all__ = ["Ready", "RelaySettings", "SlotTaken", "described", "run"]

_log = logging.getLogger(__name__)

STATUS_S = 1.0
OBSERVE_EVERY = 5
"""Seconds between two looks at the legs' round trips, jitter and estimates: as often as Prometheus asks."""
LOAD_WINDOW_S = 3.0
"""Over which the load is averaged: shorter than any call, longer than a burst of set-ups."""
LOAD_MAX = 64.0
ORPHAN_S = 60.0
"""How long a process that a node started stays without one and without seats: nodes restart in seconds."""


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """All that a relay process needs to know."""

    control: ControlSettings
    port: PortSettings
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    drain_s: float = 900.0
    lock_file: Path | None = None
    """Held as long as the process lives; who started it finds it again by this. None: nobody's child."""
    trace_file: Path | None = None
    """Where the ladder's decisions are appended; None: nowhere."""


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a relay says when its ports are open; also what lies in its lock file."""

    pid: int
    instance: str
    server: str
    udp_port: int
    tcp_port: int
    metrics_port: int
    started_at: float
    """UTC epoch seconds."""
    draining: bool = False


class Relay:
    """The parts of one process, and what they say to each other."""

    def __init__(self, settings: RelaySettings, trace: Trace | None = None) -> None:
        """Make it in a running loop; ``trace`` takes what the ladders decide."""
        self.settings = settings
        self.port = RelayPort(settings.port)
        self.control = Control(settings.control)
        self.seating = Seating(self.port, self.control.tell, trace=trace)
        self.metrics = exported.Metrics(self)
        self.draining = False
        self._ended = asyncio.Event()
        self._drain_by = float("inf")
        self._rounds = 0
        self._load_ratio = 0.0
        self._cpu = (time.monotonic(), time.process_time())
        self.on_drain: Callable[[], None] = _nothing
        self.seating.on_connected = self.metrics.connected
        self.port.udp.on_delay = self.metrics.forwarding.observe

    # -- what the control connection says ----------------------------------------------------------------------------

    def welcomed(self) -> None:
        """Tell a node all there is."""
        self.control.tell(self.status())
        self.seating.welcomed(minting=not self.draining)

    def ordered(self, order: Order) -> None:
        """Do what the node says."""
        try:
            self.seating.ordered(order)
        except Exception:  # noqa: BLE001 a defect in one order must not cost the others their relay
            self.seating.faults += 1
            _log.exception("order_failed", extra={"order": type(order).__name__})

    def lost(self) -> None:
        """Go on alone."""
        self.seating.lost()

    def status(self) -> RelayStatus:
        """Return what a node is told each second."""
        return RelayStatus(
            id=1,
            legs=min(len(self.seating.seats), self.settings.port.legs_max),
            legs_max=self.settings.port.legs_max,
            load_ratio=min(LOAD_MAX, round(self._load_ratio, 3)),
            draining=self.draining,
        )

    # -- time and ending ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Say a status each second until it is time to leave."""
        control = asyncio.get_running_loop().create_task(self.control.run(self))
        try:
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STATUS_S):
                        await self._ended.wait()
                self._measure()
                self.seating.sweep()
                self._rounds += 1
                if self._rounds % OBSERVE_EVERY == 0:
                    self._observe()
                self.control.tell(self.status())
                if self._may_leave():
                    break
                if control.done():
                    control.result()
        finally:
            control.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await control

    def stop(self) -> None:
        """Drain; the second time, end."""
        if self.draining:
            self._ended.set()
            return
        _log.info("draining", extra={"legs": len(self.seating.seats)})
        self.draining = True
        self._drain_by = time.monotonic() + self.settings.drain_s
        self.seating.drain()
        self.control.tell(self.status())
        self.on_drain()
        if not self.seating.seats:
            self._ended.set()

    def _may_leave(self) -> bool:
        if self.draining:
            return not self.seating.seats or time.monotonic() >= self._drain_by
        child = self.settings.lock_file is not None
        return child and not self.seating.seats and self.seating.alone_s >= ORPHAN_S

    def _measure(self) -> None:
        """Take the load: an average whose memory is ``LOAD_WINDOW_S``."""
        before, spent = self._cpu
        self._cpu = now, cpu = time.monotonic(), time.process_time()
        span = now - before
        if span > 0:
            share = min(1.0, span / LOAD_WINDOW_S)
            self._load_ratio += share * ((cpu - spent) / span - self._load_ratio)

    # -- figures -----------------------------------------------------------------------------------------------------

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return name: (what it is, value)."""
        seating = self.seating
        forwarding = seating.forwarding
        return {
            "legs_seated": ("Legs that somebody has.", len(seating.seats)),
            "legs_max": ("Legs that this process may have (media.legs_max).", self.settings.port.legs_max),
            "consults": ("Consults with a leg here.", len(seating.rooms)),
            "consults_forwarding": ("Consults that are forwarded.", forwarding),
            "load_ratio": ("CPU time per time of the last seconds; 1 = a core is full.", self._load_ratio),
            "draining": ("1 = going down: takes nobody new.", self.draining),
            "control_connected": ("1 = a node has it.", self.control.connected),
            "token_expires_at_seconds": (
                "When its token runs out, UTC epoch seconds; 0 = can't be read.",
                token_expires_at(self.settings.control.token_file),
            ),
            "tcp_connections": ("Open TCP connections of browsers.", self.port.tcp.connections),
            "addresses": ("Addresses of browsers that are known.", self.port.udp.addresses),
        }  # fmt: skip

    def counters(self) -> dict[str, tuple[str, float]]:
        """Return the same of what only grows."""
        counted = self.counted()
        control = self.control
        return {
            "checks": ("Authenticated connectivity checks.", counted["checks"]),
            "ice_restarts": ("Checks with another credential pair than before.", counted["restarts"]),
            "moves": ("Changes of the address that a leg is sent to.", counted["moves"]),
            "control_connections": ("Control connections that were welcomed.", control.connections),
            "control_unreadable": ("Messages of a node that were passed over.", control.unreadable),
            "control_refusals": ("Messages that a node refused.", control.refusals),
            "faults": ("Errors of ours outside the packet path; always worth a look.", self.seating.faults),
        }  # fmt: skip

    def rooms(self) -> Counter[str]:
        """Return what all rooms have counted, the living and the gone."""
        totals = Counter(self.seating.room_totals)
        for room in self.seating.rooms.values():
            totals.update(room.metrics().totals)
        return totals

    def ladder_moves(self) -> Counter[tuple[str, str]]:
        """Return the ladder's moves by the rung that was moved to, and why."""
        moves = self.seating.moves.copy()
        for room in self.seating.rooms.values():
            moves.update(room.moves)
        return Counter({(rung.label, reason.value): n for (rung, reason), n in moves.items()})

    def directions(self) -> Counter[str]:
        """Return how many directions of forwarded calls are on each rung."""
        rooms = self.seating.rooms.values()
        return Counter(rung.label for room in rooms for rung in room.rungs())

    def _observe(self) -> None:
        """Take a sample of what is known of the legs whose calls are forwarded."""
        for room in self.seating.rooms.values():
            if not room.awake:
                continue
            try:
                for leg in room.metrics().legs:
                    self.metrics.leg_observed(leg)
            except Exception as error:  # noqa: BLE001 figures are not worth a call, let alone all of them
                self.seating.faults += 1
                _log.error("a room could not be observed: %s", type(error).__name__)

    def counted(self) -> dict[str, int]:
        """Return what all legs have counted, the living and the gone."""
        totals = self.seating.totals
        return {
            name: getattr(totals, name)
            + sum(getattr(leg.traffic, name) for leg in self.port.legs if leg.ending is None)
            for name in COUNTED
        }

    def legs(self) -> Counter[str]:
        """Return the legs in each state."""
        return Counter(
            leg.state.value for leg in self.port.legs if leg.state is not LegState.CLOSED
        )

    def endings(self) -> Counter[str]:
        """Return the legs that ended, by reason."""
        return self.seating.totals.endings

    def drops(self) -> Counter[Drop]:
        """Return the packets thrown away, by reason."""
        return self.port.drops

    def rtp(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by direction."""
        counted = self.counted()
        return {
            each: (counted[f"rtp_{each}"], counted[f"rtp_{each}_bytes"])
            for each in ("received", "sent")
        }

    def transports(self) -> dict[tuple[str, str], int]:
        """Return packets by transport and direction."""
        udp, tcp = self.port.udp, self.port.tcp
        return {
            ("udp", "received"): udp.packets_received,
            ("udp", "sent"): udp.packets_sent,
            ("tcp", "received"): tcp.packets_received,
            ("tcp", "sent"): tcp.packets_sent,
        }


async def run(settings: RelaySettings, on_ready: Callable[[Ready], None]) -> None:
    """Be a relay until told to end.

    Raises:
        OSError: a port is taken or an address not ours.
        SlotTaken: another process holds the lock file.
    """
    async with contextlib.AsyncExitStack() as stack:
        lock = None
        if settings.lock_file is not None:
            lock = stack.enter_context(LockFile.held(settings.lock_file))
        trace = None
        if settings.trace_file is not None:
            lines = stack.enter_context(settings.trace_file.open("a", encoding="utf-8"))
            trace = Trace(functools.partial(print, file=lines))
        relay = Relay(settings, trace)
        stack.push_async_callback(relay.port.close)
        stack.push_async_callback(relay.seating.close)
        await relay.port.open()
        metrics_port = await stack.enter_async_context(
            exported.serving(relay.metrics, settings.metrics_host, settings.metrics_port)
        )
        ready = Ready(
            pid=os.getpid(),
            instance=settings.control.instance,
            server=settings.control.server,
            udp_port=relay.port.udp_port or 0,
            tcp_port=relay.port.tcp_port or 0,
            metrics_port=metrics_port,
            started_at=time.clock_gettime(time.CLOCK_REALTIME),
        )
        if lock is not None:
            held = lock
            held.write(ready)
            relay.on_drain = lambda: held.write(msgspec.structs.replace(ready, draining=True))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, relay.stop)
        on_ready(ready)
        await relay.run()
        _log.info("relay_ends", extra={"legs": len(relay.seating.seats)})


def described() -> exported.Metrics:
    """Return the metrics of a process that never ran, for the reference."""
    nowhere = ControlSettings("wss://localhost", Path(), "described")
    return Relay(RelaySettings(nowhere, PortSettings())).metrics


def token_expires_at(path: Path) -> float:
    """Return when the token in a file runs out (its ``exp``, unverified: the node judges it), or 0."""
    try:
        claims = read_token(path).split(".")[1]
        padded = claims + "=" * (-len(claims) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Expiry).exp
    except (TokenUnusable, IndexError, binascii.Error, ValueError, msgspec.MsgspecError):
        return 0.0


class _Expiry(msgspec.Struct):
    exp: float = 0.0


def _nothing() -> None:
    pass
