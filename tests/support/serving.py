# SPDX-License-Identifier: Apache-2.0
"""`selat serve` as a process of its own, as an operator runs it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

READY_S = 50.0
"""A start takes about two seconds of one core; a busy machine gets more."""
SELAT = Path(sys.executable).parent / "selat"


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment without settings of Selat, with those given."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("SELAT_")}
    return kept | {
        "SELAT_DATA_DIR": str(data_dir),
        "SELAT_HTTP_HOST": "127.0.0.1",
        "SELAT_HTTP_PORT": "0",
        "SELAT_METRICS_PORT": "0",
        # Own relays are for the tests that ask for them: each is a process that takes two seconds to start.
        "SELAT_MEDIA_RELAYS": "0",
        "SELAT_MEDIA_UDP_PORT": "0",
        "SELAT_MEDIA_TCP_PORT": "0",
        "SELAT_MEDIA_METRICS_PORT": "0",
        **variables,
    }


class Serving:
    """One node. Can be killed and started again on its data; ends with the block."""

    def __init__(self, data_dir: Path, *options: str, **variables: str) -> None:
        """Give options of `selat serve` and settings as variables; ``start`` runs it."""
        self.data_dir = data_dir
        self.environment = environment(data_dir, **variables)
        self.log = data_dir.with_name(data_dir.name + ".log")
        self.ready: dict[str, Any] = {}
        """What `serve --json` printed."""
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, Any]:
        """Run it until it takes visitors; return what it says of itself.

        Raises:
            RuntimeError: it ended, or was not ready in time; the text is its log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(SELAT), "serve", "--json", *self._options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._first_line()
        if not line.endswith(b"\n"):
            self.stop()
            raise RuntimeError(self.log.read_text(errors="replace")[-4000:])
        self.ready = json.loads(line)
        return self.ready

    def _first_line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        line, end = b"", time.monotonic() + READY_S
        descriptor = self._process.stdout.fileno()
        while not line.endswith(b"\n") and (left := end - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left)[0]:
                break
            if not (chunk := os.read(descriptor, 65_536)):
                break
            line += chunk
        return line

    @property
    def pid(self) -> int:
        """Of the running node."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it by SIGKILL, as a power cut of the process would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end by SIGTERM; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return code

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, however it stands."""
        if self._process is not None:
            self.stop()
