# SPDX-License-Identifier: Apache-2.0
"""A file that is locked as long as its process lives, with what others need to know of it.

The kernel lets go of the lock when the process ends, however it ends: a process id that was given to somebody else since
can't be mistaken for a relay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

TAKE_S = 1.0
"""Whoever only looks whether the lock is held has it for a moment."""
_PAUSE_S = 0.02


class SlotTaken(Exception):
    """Another process holds the lock."""


class LockFile:
    """An open, locked file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    @contextlib.contextmanager
    def held(cls, path: Path) -> Iterator[LockFile]:
        """Hold the lock until the block ends.

        Raises:
            SlotTaken: another process holds it.
            OSError: the file can't be made.
        """
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor)
            os.ftruncate(descriptor, 0)  # what the one before wrote would be believed from now on
            yield cls(descriptor)
        finally:
            os.close(descriptor)

    def write(self, facts: object) -> None:
        """Replace what is in the file; a reader may see half of it, and reads again."""
        data = msgspec.json.encode(facts)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)


def _take(descriptor: int) -> None:
    end = time.monotonic() + TAKE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise SlotTaken from None
            time.sleep(_PAUSE_S)
        else:
            return
