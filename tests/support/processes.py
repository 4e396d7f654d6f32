# SPDX-License-Identifier: Apache-2.0
"""Real programs as plain processes on free ports of 127.0.0.1, ended by their own process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

DEADLINE_S = 60.0
"""The slowest of them needs two seconds on a quiet machine, and twenty on one that is ten times overloaded."""


def program(name: str) -> str:
    """Return the path of a program; `make setup-test` installs what is missing."""
    path = shutil.which(
        name, path=os.environ["PATH"] + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"
    )
    assert path is not None, f"{name} is missing: make setup-test"
    return path


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Tell whether something accepts TCP connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return when ``condition`` holds.

    Raises:
        TimeoutError: it did not in ``deadline_s`` seconds; the text says ``what`` was waited for.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s} s: {what}")
        time.sleep(0.05)


@contextmanager
def running(
    command: Sequence[str | Path],
    ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; enter the block when ``ready`` says so.

    What it prints goes to ``log``, and into the error's text when it does not come up.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env={**os.environ, **(environment or {})},
        )

    def up_or_dead() -> bool:
        return process.poll() is not None or ready()

    try:
        wait_for(up_or_dead, f"{command[0]} is ready")
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
