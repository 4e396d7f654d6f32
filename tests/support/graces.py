# SPDX-License-Identifier: Apache-2.0
"""The waits for people who left, ended by the test and not by the clock."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from signalling.edge import connections
from tests.support.until import until


class Graces:
    """The waits in the order in which people left, on all nodes of the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on none ends by itself."""
        self.waits: list[asyncio.Future[None]] = []
        monkeypatch.setattr(connections, "asyncio", SimpleNamespace(sleep=self._sleep))

    async def _sleep(self, _seconds: float) -> None:
        wait = asyncio.get_running_loop().create_future()
        self.waits.append(wait)
        await wait

    async def began(self, count: int) -> None:
        """Wait until so many have begun."""
        await until(lambda: len(self.waits) >= count)

    def end(self, index: int) -> None:
        """Let the time of one be over."""
        if not self.waits[index].done():
            self.waits[index].set_result(None)

    def end_all(self) -> None:
        """Let the time of all be over, so that the nodes can end."""
        for index in range(len(self.waits)):
            self.end(index)
