# SPDX-License-Identifier: Apache-2.0
"""What a relay says to its node, at a rate that the node takes. Sans I/O but for the timer that it is given.

A node closes its ear to whoever sends more than its limits (50 messages a second for long, 200 at once, by default). A
thousand legs may have something to say in the same moment, so what is above the rate waits: states in their order, of
limits only the newest of each leg.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from signalling.wire.base import FromClient
from signalling.wire.legs import LimitLeg

RATE_PER_S = 40.0
BURST = 150.0
"""Both below a node's default limits for any client, pings included."""
PAUSE_MIN_S = 0.001
QUEUE_MAX = 8_192
"""Four messages for each of the most legs there can be; beyond that the connection is of no use any more."""


class OutboxFull(Exception):
    """More waits than a connection could ever take; it must be made anew."""


class Outbox:
    """Orders and paces the messages of one connection; made anew with it."""

    def __init__(self, write: Callable[[bytes], None], first_id: int, now: float) -> None:
        """``write`` takes one text message and does not wait; ``first_id``: above those of earlier messages."""
        self._write = write
        self._next_id = first_id
        self._allowance = BURST
        self._refilled_at = now
        self._waiting: dict[object, FromClient] = {}
        self._encoder = msgspec.json.Encoder()

    def put(self, message: FromClient, now: float) -> None:
        """Send a message now, or when its turn has come; its ``id`` is given to it then.

        Raises:
            OutboxFull: too many wait.
        """
        key: object = ("limits", message.leg) if isinstance(message, LimitLeg) else object()
        if len(self._waiting) >= QUEUE_MAX:
            raise OutboxFull
        self._waiting[key] = message
        self.pump(now)

    def pump(self, now: float) -> float | None:
        """Send what may be sent; return after how many seconds to call again, or None when nothing waits."""
        self._allowance = min(BURST, self._allowance + (now - self._refilled_at) * RATE_PER_S)
        self._refilled_at = now
        while self._waiting and self._allowance >= 1.0:
            message = self._waiting.pop(next(iter(self._waiting)))
            self._allowance -= 1.0
            numbered = msgspec.structs.replace(message, id=self._next_id)
            self._next_id += 1
            self._write(self._encoder.encode(numbered))
        if not self._waiting:
            return None
        # Never as little as rounding may leave: a clock that does not move on by it would be asked for ever.
        return max(PAUSE_MIN_S, (1.0 - self._allowance) / RATE_PER_S)
