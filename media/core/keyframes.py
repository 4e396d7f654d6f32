# SPDX-License-Identifier: Apache-2.0
"""When to ask a sender for a key frame (RFC 4585 §6.3.1).

Every watcher's request and the relay's own become one, at most one per second, paid from the budget.
A key frame on a thin link is 0.9-1.8 kB against 0.3-0.6 kB per frame (measured, 160x120), so one a
second is affordable and one per lost packet is the storm that freezes every picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from media.core.budget import Budget

MIN_SPACING_S: Final = 1.0
"""Browsers ask again every few hundred milliseconds; a key frame takes that long on a thin link."""
SPACING_ROUND_TRIPS: Final = 1.5
"""On a long way the answer to the last request is still coming."""
DEFAULT_BYTES: Final = 1_500.0
"""Cost of a key frame before the first one was seen: 160x120 in VP8, measured."""


class KeyFrameRequests:
    """The requests for one sender's picture."""

    __slots__ = (
        "_arrived_at",
        "_asked_at",
        "_measured",
        "_wanted",
        "key_frame_bytes",
        "merged",
        "sent",
    )

    key_frame_bytes: float
    """What a key frame of this sender costs, from the last ones."""
    merged: int
    """Requests that one on its way already answers."""
    sent: int

    def __init__(self) -> None:
        self._wanted = self._measured = False
        self._asked_at = -1e9
        self._arrived_at = -1e9
        self.key_frame_bytes = DEFAULT_BYTES
        self.merged = 0
        self.sent = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a key frame."""
        return self._wanted

    def want(self, now: float, rtt_s: float = 0.0) -> None:
        """Note that a key frame is needed.

        Args:
            now: Seconds.
            rtt_s: Round trip to the watcher who asks; 0 for the relay itself. A request that left
                the watcher before the last key frame can have reached it is stale.
        """
        if self._wanted or now - self._arrived_at < rtt_s:
            self.merged += 1
            return
        self._wanted = True

    def arrived(self, now: float) -> None:
        """Note that a key frame has begun to come."""
        self._wanted = False
        self._arrived_at = now

    def measured(self, frame_bytes: float) -> None:
        """Take the size of a key frame on the wire into the expected cost."""
        if not self._measured:
            self._measured = True
            self.key_frame_bytes = frame_bytes
        self.key_frame_bytes += (frame_bytes - self.key_frame_bytes) / 4

    def due(self, now: float, rtt_s: float, budget: Budget) -> bool:
        """Say whether to send a request now; it then counts as sent.

        Args:
            now: Seconds.
            rtt_s: Round trip to the sender.
            budget: Of the link from the sender.
        """
        if not self._wanted or now < self.ready_at(rtt_s):
            return False
        if not budget.invite_key_frame(self.key_frame_bytes, now):
            return False
        self._asked_at = now
        self.sent += 1
        return True

    def ready_at(self, rtt_s: float) -> float:
        """Return when the next request may go."""
        return self._asked_at + max(MIN_SPACING_S, SPACING_ROUND_TRIPS * rtt_s)
