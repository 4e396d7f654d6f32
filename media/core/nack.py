# SPDX-License-Identifier: Apache-2.0
"""When to ask a sender for lost packets again (RFC 4585 §6.2).

At most two requests per packet, the second 1.25 round trips after the first, none that can't be
answered before the hold gives the gap up, and each paid from the link's budget: a request makes the
other side send. Repeats that *we* receive are filtered in `media.core.cache`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.serial import MASK_16

if TYPE_CHECKING:
    from media.core.budget import Budget

MAX_REQUESTS: Final = 2
"""Measured on 64/48 kbit/s with bursts: 14 packets asked for in 40 s, no key frame; a third request
would come after the hold of 2.5 round trips."""
SPACING_ROUND_TRIPS: Final = 1.25
"""A quarter of a round trip for the queue on the way."""
MIN_SPACING_S: Final = 0.02
MIN_REORDER_S: Final = 0.01
MAX_REORDER_S: Final = 0.1
"""How long a packet may be overtaken before it counts as lost: learned from packets that came by
themselves; jitter on the links this is for is 60-80 ms."""
REORDER_DECAY: Final = 0.95
"""Per gap, towards the minimum: forgotten after some fifty gaps."""

MAX_GAP: Final = 64
"""A longer gap is an outage: a second of a 600 kbit/s picture. A key frame costs less."""
MAX_MISSING: Final = 256
"""Bound of what is remembered."""


class _Missing:
    __slots__ = ("noticed_at", "requested_at", "requests")

    def __init__(self, noticed_at: float) -> None:
        self.noticed_at = noticed_at
        self.requested_at = 0.0
        self.requests = 0


class NackScheduler:
    """What is missing of one received stream and when to ask for it."""

    __slots__ = ("_missing", "guessed", "next_index", "reorder_s", "requested")

    guessed: dict[int, _Missing]
    """From `next_index` on: said to be lost by `lacks`, if they were sent at all."""
    next_index: int
    """Of the packet that comes next if nothing is missing; -1 before the first."""
    reorder_s: float
    """Tolerance for reordering, learned."""
    requested: int
    """Requests made for single packets."""

    def __init__(self) -> None:
        self._missing: dict[int, _Missing] = {}
        self.guessed: dict[int, _Missing] = {}
        self.next_index = -1
        self.reorder_s = MIN_REORDER_S
        self.requested = 0

    def __len__(self) -> int:
        return len(self._missing) + len(self.guessed)

    def received(self, index: int, now: float) -> None:
        """Note that a packet came, by whatever way (hot path)."""
        guessed = self.guessed
        if index == self.next_index:
            self.next_index = index + 1
            if guessed:
                guessed.pop(index, None)
            return
        expected = self.next_index
        if index < expected:
            missing = self._missing.pop(index, None)
            if missing is not None and not missing.requests:
                late_s = now - missing.noticed_at
                self.reorder_s = min(MAX_REORDER_S, max(self.reorder_s, 1.25 * late_s))
            return
        self.next_index = index + 1
        if expected < 0 or index - expected > MAX_GAP:
            guessed.clear()
            return
        self.reorder_s = max(MIN_REORDER_S, self.reorder_s * REORDER_DECAY)
        for lost in range(expected, index):
            self._missing[lost] = found = _Missing(now)
            if guessed and (asked := guessed.pop(lost, None)) is not None:
                # A guess may have been asked for before it was sent: once more, when an answer should have come.
                found.requests, found.requested_at = min(1, asked.requests), asked.requested_at
        guessed.clear()
        while len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]

    def lacks(self, count: int, now: float) -> None:
        """Take it that so many packets after the newest were sent and haven't come (`media.core.absent`)."""
        if self.next_index < 0:
            return
        first = max(self.guessed, default=self.next_index - 1) + 1
        for index in range(first, min(first + count, self.next_index + MAX_GAP)):
            self.guessed[index] = _Missing(now)

    def restart(self) -> None:
        """Ask for nothing that was sent until now."""
        self._missing.clear()
        self.guessed.clear()
        self.next_index = -1

    def settle(self, index: int) -> None:
        """Forget all below `index`: the hold no longer waits for it."""
        missing = self._missing
        while missing and (lost := next(iter(missing))) < index:
            del missing[lost]

    def due(
        self, now: float, rtt_s: float, wait_s: float, budget: Budget, packet_bytes: float
    ) -> list[int]:
        """Return the sequence numbers (16 bits) to ask for now; they count as asked for.

        Args:
            now: Seconds.
            rtt_s: Round trip to the sender.
            wait_s: How long the hold waits for a gap.
            budget: Of the link from the sender, which each answer costs `packet_bytes` of.
            packet_bytes: Mean size of the stream's packets on the wire.
        """
        numbers: list[int] = []
        spacing = max(MIN_SPACING_S, SPACING_ROUND_TRIPS * rtt_s)
        gone: list[int] = []
        for index, missing in (*self._missing.items(), *self.guessed.items()):
            if missing.requests == MAX_REQUESTS:
                ready_at = missing.noticed_at + wait_s  # a guess is remembered so long
            elif missing.requests:
                ready_at = missing.requested_at + spacing
            else:
                ready_at = missing.noticed_at + self.reorder_s
            if now < ready_at:
                continue
            if now + rtt_s > missing.noticed_at + wait_s:
                gone.append(index)  # no answer could come in time
                continue
            if not budget.invite(packet_bytes, now):
                break
            missing.requests += 1
            missing.requested_at = now
            numbers.append(index & MASK_16)
            if missing.requests == MAX_REQUESTS and index in self._missing:
                gone.append(index)
        for index in gone:
            if self._missing.pop(index, None) is None:
                del self.guessed[index]
        self.requested += len(numbers)
        return numbers
