# SPDX-License-Identifier: Apache-2.0
"""What a leg has sent and what hasn't come, by the numbers that all its streams share (transport-wide, 16 bits).

A thin link carries four pictures a second. That one is missing shows in its own stream when the next one comes, a quarter of a
second later; but the voice's next packet comes after 60 ms at most, and the number that all share has jumped. What the voice
doesn't lack itself is then the picture's, and is asked for so much sooner.
"""

from __future__ import annotations

from typing import Final

from media.core.serial import MASK_16

MAX_ABSENT: Final = 8
"""A longer gap is an outage, or a burst of which the next picture tells more exactly."""


class Absent:
    """Of one leg that sends."""

    __slots__ = ("_absent", "_next")

    def __init__(self) -> None:
        """Begin before the first packet."""
        self._next = -1
        self._absent = 0

    def came(self, number: int) -> None:
        """Note a packet's transport-wide number (hot path)."""
        if number == self._next:
            self._next = number + 1 & MASK_16
            return
        if self._next >= 0:
            gap = number - self._next & MASK_16
            if gap >= 0x8000:
                return  # overtaken: it was counted as absent, and its own stream knows better
            self._absent += gap
        self._next = number + 1 & MASK_16

    @property
    def any(self) -> bool:
        """Whether a number is missing that no stream has explained (hot path)."""
        return self._absent > 0

    def explained(self, count: int) -> None:
        """Take off what a stream lacks by its own numbers."""
        self._absent = max(0, self._absent - count)

    def take(self) -> int:
        """Return how many packets another stream must lack after its newest, at a packet that explains all of its own."""
        absent, self._absent = self._absent, 0
        return absent if absent <= MAX_ABSENT else 0
