# SPDX-License-Identifier: Apache-2.0
"""When a packet was sent, on its sender's clock: from abs-send-time or from RTP timestamps.

Only differences mean anything. abs-send-time (24 bits of 6.18 fixed point seconds, wraps each 64 s)
is written when the packet leaves the sender; an RTP timestamp tells when a frame was taken, which is
as good for voice, and for a picture only until its frames need several packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.serial import HALF_32, MASK_32

if TYPE_CHECKING:
    from collections.abc import Sequence

ABS_SEND_TIME_S: Final = 1 / (1 << 18)
"""One tick of abs-send-time (webrtc.org/experiments/rtp-hdrext/abs-send-time)."""
_MASK_24: Final = (1 << 24) - 1
_HALF_24: Final = 1 << 23


class SendClock:
    """Unwraps the send times of one sender."""

    __slots__ = ("_mask", "_newest", "_now", "_period_s", "_tick_s", "_value")

    def __init__(self, clock_rate: int = 0) -> None:
        """Read RTP timestamps of `clock_rate` Hz, or abs-send-time if it is 0."""
        self._tick_s = 1 / clock_rate if clock_rate else ABS_SEND_TIME_S
        self._mask = MASK_32 if clock_rate else _MASK_24
        self._period_s = (self._mask + 1) * self._tick_s
        self._newest = 0
        self._value = -1
        self._now = 0.0

    def sent_at(self, value: int, now: float) -> float:
        """Return when the packet was sent in seconds, on a clock with an unknown origin.

        Args:
            value: As written in the packet, 24 or 32 bits.
            now: Arrival: tells how many times the value wrapped in a long silence.
        """
        if self._value < 0:
            self._value = value
            self._now = now
            return self._newest * self._tick_s
        half = _HALF_24 if self._mask == _MASK_24 else HALF_32
        moved = ((value - self._value + half) & self._mask) - half
        newest = self._newest + moved
        off_s = now - self._now - moved * self._tick_s
        if abs(off_s) * 2 > self._period_s:
            newest += round(off_s / self._period_s) * (self._mask + 1)
        if newest > self._newest:
            self._newest = newest
            self._value = value
            self._now = now
        return newest * self._tick_s

    def sent_all(self, values: Sequence[int], arrived_at: Sequence[float]) -> list[float]:
        """Return the same for packets in the order of their arrival, at a third of the cost of one by one."""
        if self._value < 0 or not values or arrived_at[-1] - self._now > self._period_s / 4:
            return [self.sent_at(value, at) for value, at in zip(values, arrived_at, strict=True)]
        mask, tick_s = self._mask, self._tick_s
        half = (mask + 1) >> 1
        newest, before = self._newest, self._value
        found = []
        for value in values:
            moved = ((value - before + half) & mask) - half
            sent = newest + moved
            if moved > 0:
                newest, before = sent, value
            found.append(sent * tick_s)
        self._newest, self._value, self._now = newest, before, arrived_at[-1]
        return found
