# SPDX-License-Identifier: Apache-2.0
"""A real redis-server for tests: on a free port of the loopback address, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_TIMEOUT_S = 10.0


class RedisServer:
    """One redis-server process with an append-only file; can be killed and started again on its data."""

    def __init__(self, appendfsync: str = "always", *options: str) -> None:
        """Start it and wait until it answers.

        Args:
            appendfsync: ``always`` keeps the store's contract in full; see ``signalling/store/redis.py``.
            options: Further settings, such as ``--maxmemory``, ``10mb``.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="selat-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket_url = f"unix://{self.folder}/redis.sock"
        self._options = ("--appendfsync", appendfsync, *options)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start on what is in the folder; returns when it answers, its data loaded."""
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "redis-server",
                    *("--bind", "127.0.0.1", "--port", str(self.port)),
                    *("--unixsocket", f"{self.folder}/redis.sock"),
                    *("--dir", str(self.folder), "--save", "", "--appendonly", "yes"),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "redis.log").read_text())
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(b"+PONG")
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Send one command without the library under test; return the first bytes of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536)

    def kill(self) -> None:
        """End it without a chance to write anything, as ``kill -9`` does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> None:
        """End it and remove its folder. Not by SIGTERM, which it may refuse while it writes its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self) -> None:
        """Stop its process: it accepts connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)

    def bytes_on_disk(self) -> bytes:
        """Return everything that lies in its folder."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())


def free_port() -> int:
    """Return a port of the loopback address that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
