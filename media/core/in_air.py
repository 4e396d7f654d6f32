# SPDX-License-Identifier: Apache-2.0
"""Which packets of a picture are on their way to one receiver, by what transport-wide feedback says of them.

Feedback names each packet that didn't come, repetitions too, a quarter of a second after it should have: so what is lost is
sent again before the browser asks for it, and what it asks for while the answer is still coming is not sent twice. On a thin
link those double answers filled the queue (43 of 64 kbit/s for a second, in virtual time).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.serial import MASK_16

if TYPE_CHECKING:
    from media.core.transport_cc import TransportFeedback

MAX_KEPT: Final = 1_024
"""Packets that no feedback has spoken of: 4 s at 2.5 Mbit/s."""
MAX_LOST: Final = 256
"""Lost and not sent again, for want of room on the link: a browser may ask for them. As many as `media.core.nack` remembers."""
SLACK_ROUND_TRIPS: Final = 1.5
SLACK_S: Final = 0.2
"""When a repetition that no feedback speaks of may be asked for again: a feedback interval more than its answer takes."""


class InAir:
    """The picture of one leg that gives feedback."""

    __slots__ = ("_again_at", "_lost", "_newest", "_picture")

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._picture: dict[int, int] = {}
        """Of each transport-wide number on its way, the picture's own."""
        self._newest: dict[int, int] = {}
        """Of each picture's number on its way, the transport-wide number that it was last sent with."""
        self._again_at: dict[int, float] = {}
        """Of those that were sent again, when."""
        self._lost: dict[int, None] = {}
        """Told to be lost, and not sent again since."""

    def sent(self, transport: int, number: int) -> None:
        """Note a packet that goes out for the first time (hot path)."""
        picture = self._picture
        picture[transport] = number
        self._newest[number] = transport
        if len(picture) > MAX_KEPT:
            self._forget(next(iter(picture)))

    def sent_again(self, transport: int, number: int, now: float) -> None:
        """Note a packet's repetition."""
        self.sent(transport, number)
        self._again_at[number] = now
        self._lost.pop(number, None)

    def told(self, feedback: TransportFeedback) -> list[int]:
        """Take a feedback; return the picture's numbers that are lost and not on their way again."""
        lost: list[int] = []
        for index, at in enumerate(feedback.arrivals):
            transport = feedback.base + index & MASK_16
            number = self._picture.get(transport)
            if number is None:
                continue
            if at is None and self._newest.get(number) == transport:
                lost.append(number)
                self._lost[number] = None
            self._forget(transport)
        while len(self._lost) > MAX_LOST:
            del self._lost[next(iter(self._lost))]
        return lost

    def asked(self, number: int, rtt_s: float, now: float) -> bool:
        """Return whether what a browser asks for is to be sent: not if it has come, or its repetition may still come."""
        if number not in self._newest:
            return number in self._lost  # there was no room to send it again
        again_at = self._again_at.get(number)
        return again_at is None or now - again_at >= SLACK_ROUND_TRIPS * rtt_s + SLACK_S

    def clear(self) -> None:
        """Forget all: a new picture begins."""
        self._picture.clear()
        self._newest.clear()
        self._again_at.clear()
        self._lost.clear()

    def _forget(self, transport: int) -> None:
        number = self._picture.pop(transport)
        if self._newest.get(number) == transport:
            del self._newest[number]
            self._again_at.pop(number, None)
