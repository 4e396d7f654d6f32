# SPDX-License-Identifier: Apache-2.0
"""How long a link loses everything: what decides how far behind its frame a copy of the voice must travel."""

from __future__ import annotations

from typing import Final

FORGET: Final = 0.9
"""Weight of what was known, at each new run of losses: some ten runs count, half a minute where 6 % of the time is lost
in bursts of 180 ms."""
OUTAGE_S: Final = 1.0
"""A longer run is an outage, which no copy outlives: RED reaches 341 ms."""
MAX_PENDING: Final = 256
"""Lost packets that wait for one that came: 1 s of 250 a second."""


class BurstMeter:
    """One direction of one link."""

    __slots__ = ("_packets", "_pending", "_reach")

    def __init__(self) -> None:
        self._packets = self._reach = 0.0
        self._pending: list[float] = []

    @property
    def reach_s(self) -> float:
        """By how much, on average, a lost packet was sent before the first one after it that arrived; 0: none was lost.

        It is how far behind a packet its copy must follow to have an even chance: for losses that know nothing of each
        other the distance of two packets, for bursts their mean length, if that is exponential (it has no memory).
        """
        return self._reach / self._packets if self._packets else 0.0

    def lost(self, sent_at: float) -> None:
        """Note a packet that did not arrive, in the order of sending."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append(sent_at)

    def arrived(self, sent_at: float) -> None:
        """Note the next one that did."""
        if self._pending:
            self.run([sent_at - each for each in self._pending])
            self._pending.clear()

    def unknown(self) -> None:
        """Forget what was lost last: nobody knows what came after it."""
        self._pending.clear()

    def run(self, reaches_s: list[float]) -> None:
        """Note the packets of a run of losses by how long before the next arrival each was sent."""
        if max(reaches_s) > OUTAGE_S:
            return
        self._packets = self._packets * FORGET + len(reaches_s)
        self._reach = self._reach * FORGET + sum(reaches_s)
