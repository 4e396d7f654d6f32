# SPDX-License-Identifier: Apache-2.0
"""What comes in beside the media of a call: content, on a WebSocket that shares the link with it.

Sans-I/O: sizes and times go in, now and then a rate comes out.
"""

from __future__ import annotations

from collections import deque

AROUND_BYTES = 83
"""TCP over IPv4, TLS and WebSocket around each piece: 40 + 29 + 14 bytes."""
SPAN_S = 2.0
"""Of a rate: a loss that TCP repairs on a satellite link holds pieces up for 0.7 s, and then they come at once."""
TOLD_S = 1.0
"""Between two rates."""


class Inflow:
    """Of one connection."""

    __slots__ = ("_began_at", "_came", "_told_at")

    def __init__(self, at: float) -> None:
        """Begin at ``at``."""
        self._came: deque[tuple[float, int]] = deque()
        self._began_at = self._told_at = at

    def came(self, size_bytes: int, at: float) -> int | None:
        """Take a frame's bytes; return what comes in, in bit/s on the wire, if that is to be told again."""
        came = self._came
        if came and at - came[-1][0] > SPAN_S:
            came.clear()
            self._began_at = self._told_at = at
        came.append((at, size_bytes + AROUND_BYTES))
        if at - self._told_at < TOLD_S:
            return None
        self._told_at = at
        while at - came[0][0] > SPAN_S:
            came.popleft()
        return round(sum(size for _, size in came) * 8 / min(SPAN_S, at - self._began_at))
