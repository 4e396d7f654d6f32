# SPDX-License-Identifier: Apache-2.0
"""A node's own media relays: processes in sessions of their own, so that calls outlive the node.

Each relay has a slot, which numbers its ports, and holds the lock on the slot's file as long as it lives. A new node finds
the relays of the one before by these locks: the kernel lets go of a lock when its process ends, so a process id in a file
is believed only while the lock is held. A relay that drains keeps its slot, and its successor takes the next free one.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from signalling.edge.clock import now
from signalling.edge.keyfile import KeyFile, SecretsUnusable
from signalling.edge.relay_token import relay_token, write_private

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25
PAUSE_MIN_S: Final = 0.25
PAUSE_MAX_S: Final = 30.0
"""Before a relay that ended is started again; doubled each time."""
PAUSE_SAME_S: Final = 1.0
"""Up to this the same slot is waited for."""
STEADY_S: Final = 60.0
"""A relay that lived so long did not fail at its start: the next pause is the shortest again."""
TOKEN_S: Final = 7 * 86_400.0
TOKEN_RENEWED_S: Final = 86_400.0
"""Renewed daily, good for a week: a relay reads it when it dials, also after a node's long weekend."""
IDLE_END_S: Final = 3.0
"""How long a stopping node waits for relays that nobody uses, so that their ports are free for its successor."""
LOCK_TAKEN: Final = 75
"""Exit code of a relay that found its slot taken."""
NAME: Final = "own"
"""What own relays are called in their token; a node tells them apart by their instances."""
PLACES_MAX: Final = 64
"""Nodes of one machine with one data directory and one port."""


class Facts(msgspec.Struct, frozen=True):
    """What a relay wrote into its slot's file; the rest of it is not for us."""

    pid: int
    server: str
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which relays a node wants."""

    count: int
    server: str
    """What they dial: this node's own listener."""
    origin: str
    """What this node calls itself."""
    certificate: Path | None
    """The node's certificate; None = plain HTTP."""


class Supervisor:
    """Starts relays, finds those that live, starts again those that died, and lets them drain at the end."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *,
        options: Sequence[str] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Take a place in the data directory, which nodes may share.

        Args:
            data_dir: of the node.
            port: as configured, to tell nodes of one machine apart.
            options: of `selat`, before the command: where its settings are.
            clock: monotonic seconds; the running loop's by default.

        Raises:
            OSError: the directory can't be made.
        """
        self._home, self._place = _take_place(data_dir, port)
        self._data_dir = data_dir
        self._options = list(options)
        self._clock = clock or asyncio.get_running_loop().time
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._began: dict[int, float] = {}
        self._pause: dict[int, float] = {}
        self._not_before: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._token_at = float("-inf")
        self.started = 0
        """Processes started by this node."""

    @property
    def token_file(self) -> Path:
        """Where the relays' token lies."""
        return self._home / "token"

    def begin(self, wanted: Wanted) -> None:
        """Keep the relays running from now on; the node listens already."""
        self._task = asyncio.create_task(self._keep(wanted))

    async def end(self) -> None:
        """Let all relays drain, once nobody is let into the node any more. Those in use outlive this."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            living = self.living()
            for facts in living.values():
                if not facts.draining:
                    _signal(facts.pid)
            for slot, child in self._children.items():
                if slot not in living and child.poll() is None:
                    child.terminate()  # so young that it has no lock yet
            until = self._clock() + IDLE_END_S
            while self._clock() < until and self._any_left():  # noqa: ASYNC110 a process sets no event
                await asyncio.sleep(0.05)
        os.close(self._place)

    def _any_left(self) -> bool:
        running = [child for child in self._children.values() if child.poll() is None]
        return bool(running or self.living())

    async def _keep(self, wanted: Wanted) -> None:
        while True:
            try:
                self._renew_token()
                self._look(wanted)
            except Exception:
                log.exception("relays_not_kept")
            await asyncio.sleep(LOOK_S)

    def _renew_token(self) -> None:
        at = now()
        if at - self._token_at < TOKEN_RENEWED_S:
            return
        try:
            ring = KeyFile(self._data_dir, at).ring
            write_private(self.token_file, relay_token(ring, NAME, at, TOKEN_S))
        except (SecretsUnusable, OSError):
            log.exception("relay_token_not_renewed")
        else:
            self._token_at = at

    def _look(self, wanted: Wanted) -> None:
        living = self.living()
        for slot, child in list(self._children.items()):
            if child.poll() is not None:
                self._buried(slot, child)
        good = [
            slot
            for slot, facts in living.items()
            if not facts.draining and facts.server == wanted.server
        ]
        for slot, facts in living.items():
            surplus = slot in good and good.index(slot) >= wanted.count
            if not facts.draining and (surplus or facts.server != wanted.server):
                # Of a node with other settings: it can't find us, or is one too many.
                _signal(facts.pid)
        coming = [slot for slot in self._children if slot not in living]
        resting = [slot for slot, until in self._not_before.items() if until > self._clock()]
        # One that fails again and again may have met a taken port: then another slot is tried besides.
        soon = [slot for slot in resting if self._pause[slot] <= PAUSE_SAME_S]
        missing = wanted.count - len(good) - len(coming) - len(soon)
        for slot in range(2 * wanted.count):
            if missing > 0 and not (slot in living or slot in coming or slot in resting):
                self._start(slot, wanted)
                missing -= 1

    def _buried(self, slot: int, child: subprocess.Popen[bytes]) -> None:
        """Note that a relay ended, and when its slot may be used again."""
        del self._children[slot]
        lived_s = self._clock() - self._began[slot]
        before = self._pause.get(slot, 0.0)
        pause_s = PAUSE_MIN_S
        if lived_s < STEADY_S and child.returncode not in (0, LOCK_TAKEN):
            pause_s = min(PAUSE_MAX_S, max(PAUSE_MIN_S, before * 2))
        self._pause[slot] = pause_s
        self._not_before[slot] = self._clock() + pause_s
        log.warning("relay_ended", extra={"slot": slot, "exit": child.returncode})

    def _start(self, slot: int, wanted: Wanted) -> None:
        command = [
            sys.executable, "-m", "signalling.cli", *self._options, "relay",
            "--server", wanted.server, "--origin", wanted.origin, "--slot", str(slot),
            "--token-file", str(self.token_file), "--lock-file", str(self._file(slot)), "--json",
        ]  # fmt: skip
        if wanted.certificate is not None:
            command += ["--certificate", str(wanted.certificate)]
        self._began[slot] = self._clock()
        self._children[slot] = subprocess.Popen(  # noqa: S603 our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started += 1
        log.info("relay_started", extra={"slot": slot, "relay_pid": self._children[slot].pid})

    def _file(self, slot: int) -> Path:
        return self._home / f"{slot}.json"

    def living(self) -> dict[int, Facts]:
        """Return the relays of this place that are alive, by slot, and have said who they are."""
        found = {}
        for path in sorted(self._home.glob("*.json")):
            facts = _read_if_locked(path)
            if facts is not None and path.stem.isdecimal():
                found[int(path.stem)] = facts
        return found


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:  # it ended by itself in this moment
        log.debug("relay_gone", extra={"relay_pid": pid})


def _take_place(data_dir: Path, port: int) -> tuple[Path, int]:
    """Return a directory that no other node holds, and the descriptor that holds it."""
    for number in range(PLACES_MAX):
        home = data_dir / "relays" / f"{socket.gethostname()}-{port}-{number}"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(home / "node.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return home, descriptor
    # Sixty-four nodes: whoever runs so many on one machine gives them data directories of their own.
    home = data_dir / "relays" / secrets.token_hex(6)
    home.mkdir(mode=0o700)
    return home, os.open(home / "node.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _read_if_locked(path: Path) -> Facts | None:
    """Return what a living relay wrote; None where nobody holds the lock, or it has not written yet."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return msgspec.json.decode(os.pread(descriptor, 4_096, 0), type=Facts)
        except msgspec.MsgspecError:
            return None
    else:
        return None
    finally:
        os.close(descriptor)
