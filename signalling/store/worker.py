# SPDX-License-Identifier: Apache-2.0
"""A thread that works off jobs in batches for the event loop: one wake-up each way per batch, not per job.

``loop.run_in_executor`` costs a lock, a semaphore and a self-pipe write for each call. Here the jobs that arrived while
the thread was busy are taken together, and their outcomes go back in a single ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from signalling.store.base import StoreUnavailable

MAX_BATCH = 512
"""Jobs per batch: bounds how long the last waits for the first, and the memory of one transaction."""

JobT = TypeVar("JobT")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job."""

    future: asyncio.Future[object]
    value: object = None
    error: Exception | None = None

    def settle(self) -> None:
        """Hand it to whoever waits, if anybody still does. On the event loop only."""
        if self.future.done():  # the caller was cancelled
            return
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(self.error)


class Worker(Generic[JobT]):
    """The thread and its queue. ``process`` runs in the thread, what it returns runs on the loop; neither may raise."""

    def __init__(
        self,
        name: str,
        process: Callable[[Sequence[JobT]], Callable[[], None]],
        before_batch: Callable[[], None] | None = None,
    ) -> None:
        """Start the thread for the running loop.

        Args:
            name: Of the thread, for people who look at the process.
            process: Works off a batch in the thread and returns what the loop has to do about it.
            before_batch: Called in the thread when the first job of a batch is there; may wait for more to come.
        """
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._before_batch = before_batch
        self._jobs: queue.SimpleQueue[JobT | None] = queue.SimpleQueue()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        # Daemon: a loop that ends without `stop` (a crash) must not keep the process alive. Nothing acknowledged is
        # lost by that, acknowledgements come after the commit.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: JobT) -> None:
        """Queue a job.

        Raises:
            StoreUnavailable: ``stop`` was called.
        """
        if self._stopping:
            raise StoreUnavailable("the store is closed")
        self._jobs.put(job)

    async def stop(self) -> None:
        """Work off what was queued, then end the thread. Idempotent."""
        if not self._stopping:
            self._stopping = True
            self._jobs.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            first = self._jobs.get()
            if first is None:
                break
            if self._before_batch is not None:
                self._before_batch()
            batch = [first]
            while len(batch) < MAX_BATCH:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    running = False
                    break
                batch.append(job)
            if not self._tell(self._process(batch)):
                return
        self._tell(self._end)

    def _tell(self, callback: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop was closed without stopping us: nobody waits any more
            return False
        return True

    def _end(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)
