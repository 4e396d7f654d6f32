# SPDX-License-Identifier: Apache-2.0
"""The servers under load: their processes, what they cost, and how busy the machine was with other things."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 60.0
PRIORITY = -15
"""Nice value of servers and load, where we may: whatever else runs here waits."""
FILES = 30_000
"""Descriptors: two for each of 5,000 connections, three times over."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves and which one makes the load."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether there is only one."""
        return self.server == self.load


def split_cores(*, first: bool) -> Cores:
    """Pin this process to the last core and keep the first for the servers; raise the limit of open files.

    ``first``: go before whatever else runs here, as far as may be: like a server's own machine. The servers inherit it.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    if first:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
            # Where the kernel groups processes by session (sched(7)), the group's nice value is the one that counts.
            Path("/proc/self/autogroup").write_text(str(PRIORITY))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return Cores(cores[0], cores[-1])


class Server:
    """A server's process, with a line of JSON each way."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, port: int) -> None:
        self.name = name
        self.port = port
        self._process = process
        # clock_getcpuclockid(3): the CPU time of another process, all its threads, in nanoseconds.
        self._clock = (~process.pid << 3) | 2

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU seconds that the process has used, in user space and for it in the kernel."""
        return time.clock_gettime(self._clock)

    def rss_bytes(self) -> int:
        """Resident memory."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    async def ask(self, request: dict[str, Any]) -> Any:
        """Send a request to a process that takes them, and return its answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(START_S):
            line = await stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended")
        return json.loads(line)


@asynccontextmanager
async def serving(
    name: str, command: Sequence[str], core: int, ready: bytes, port: int = 0
) -> AsyncIterator[Server]:
    """Run a server on one core until the block ends; it is up when a line of its output begins with ``ready``.

    That line is JSON with the port where ``port`` isn't given.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            while not (line := await process.stdout.readline()).startswith(ready):
                if not line:
                    raise RuntimeError(f"{name} did not start")
        yield Server(name, process, port or json.loads(line)["port"])
    finally:
        # Nothing of theirs is kept, so they need not end in order.
        if process.returncode is None:
            process.kill()
        await process.wait()


def python(module: str, *arguments: str) -> list[str]:
    """Return the command of one of our own modules."""
    return [sys.executable, "-m", module, *arguments]


@contextmanager
def ahead_of_others(server: Server) -> Iterator[None]:
    """Schedule a server and this process before everything else (sched(7), SCHED_RR), where we may.

    For latencies: on a machine that does other things, they would say how long those had the core. Only for a load that
    leaves most of the cores free.
    """
    threads = [0, *(int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir())]

    def schedule(policy: int, priority: int) -> None:
        with contextlib.suppress(PermissionError, ProcessLookupError):
            for thread in threads:
                os.sched_setscheduler(thread, policy, os.sched_param(priority))

    try:
        schedule(os.SCHED_RR, 1)
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


class Meter:
    """Server CPU, own CPU, wall time, and the CPU that everybody else used, between two marks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._read()

    def _read(self) -> tuple[float, float, float, float]:
        busy = sum(map(int, Path("/proc/stat").read_text().split()[1:4]))  # user, nice, system
        return (
            self._server.cpu_s(),
            time.process_time(),
            time.perf_counter(),
            busy / os.sysconf("SC_CLK_TCK"),
        )

    def stop(self) -> Cost:
        """Return what was used since this was made."""
        server, load, wall, busy = (
            after - before for after, before in zip(self._read(), self._before, strict=True)
        )
        cores = os.cpu_count() or 1
        return Cost(server, load, wall, max(0.0, busy - server - load) / wall / cores)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a window took."""

    server_s: float
    load_s: float
    wall_s: float
    others_ratio: float
    """Share of the machine that neither server nor load had."""
