# SPDX-License-Identifier: Apache-2.0
"""How much is lost: a smoothed share, and whether it says that a short queue overflows."""

from __future__ import annotations

from typing import Final

SLICE_S: Final = 2.0
MIN_PACKETS: Final = 20
"""Judged over less, one lost packet is 5 % (libwebrtc uses the same number)."""
MAX_SLICE_S: Final = 10.0
WEIGHT: Final = 0.3
"""Of the newest slice: a burst of 180 ms in 2 s of packets moves the ratio by 3 %."""
OVERFLOW_RATIO: Final = 0.2
OVERFLOWS: Final = 3
"""Bursts of 180 ms that take 6 % of the time take a fifth of one slice in ten, of three in a row in one
of a thousand; a sender that is a quarter too fast for a link whose queue is too short to be seen
loses as much always."""


class LossMeter:
    """Losses of one direction."""

    __slots__ = ("_began_at", "_expected", "_received", "overflows", "ratio")

    ratio: float
    """Smoothed, 0..1."""
    overflows: int
    """Slices in a row in which more was lost than links lose by themselves."""

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._expected = self._received = 0
        self.ratio = 0.0
        self.overflows = 0

    def counted(self, expected: int, received: int, now: float) -> None:
        """Add packets that should have arrived and that did; both are of the time since last called."""
        self._expected += max(0, expected)
        self._received += max(0, received)
        age = now - self._began_at
        if age < SLICE_S or (self._expected < MIN_PACKETS and age < MAX_SLICE_S):
            return
        if self._expected:
            lost = min(1.0, max(0.0, 1 - self._received / self._expected))
            self.ratio += (lost - self.ratio) * WEIGHT
            self.overflows = self.overflows + 1 if lost >= OVERFLOW_RATIO else 0
        self._began_at = now
        self._expected = self._received = 0

    def forgive(self, now: float) -> None:
        """Begin anew with what may be an overflow: it has been answered."""
        self.overflows = 0
        self._began_at = now
        self._expected = self._received = 0
