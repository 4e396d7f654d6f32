# SPDX-License-Identifier: Apache-2.0
"""What goes to one receiver behind its voice: let out at the rate of the link, not at that of the frames.

A frame's packets come together, a key frame's by the dozen. Sent on as they come, they stand in the link's queue before
the voice: on 256 kbit/s the 95th percentile of its wait was 350-470 ms, and the receiver's voice buffer grew to as much
(measured; a median of 40 ms). So the picture waits here, where the voice passes it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from media.core.rtp import RtpPacket

FACTOR: Final = 1.25
"""Over what the link is known to carry: an estimate is up to a fifth too low, and what is a fifth too high fills a queue by
50 ms in the 250 ms that a key frame takes."""
AHEAD_S: Final = 0.01
"""As much may be let out at once: whoever lets out looks every 10 ms."""


class Pacer:
    """The picture's way to one receiver."""

    __slots__ = ("_free_at", "_packets", "_rate", "_repeats", "octets")

    octets: int
    """What went out so far, on the wire."""

    def __init__(self, rate_bps: float) -> None:
        """Begin with a free link that carries ``rate_bps``."""
        self._packets: deque[RtpPacket] = deque()
        self._repeats: deque[int] = deque()
        self._free_at = 0.0
        self.octets = 0
        self.set_rate(rate_bps)

    def set_rate(self, rate_bps: float) -> None:
        """Take what the link is known to carry, in bits per second."""
        self._rate = FACTOR * max(1.0, rate_bps) / 8

    def __len__(self) -> int:
        """Return how many packets wait."""
        return len(self._packets) + len(self._repeats)

    def sent(self, size: int, now: float) -> None:
        """Note what went out, voice too: ``size`` octets on the wire (hot path)."""
        self._free_at = max(self._free_at, now) + size / self._rate
        self.octets += size

    def may(self, now: float) -> bool:
        """Return whether something may be let out now (hot path)."""
        return self._free_at <= now + AHEAD_S

    def wait(self, packet: RtpPacket) -> None:
        """Keep a packet of the picture, which is in order."""
        self._packets.append(packet)

    def wait_to_repeat(self, number: int) -> None:
        """Keep a request for a packet: somebody's picture stands still meanwhile, so it comes before all new ones."""
        if number not in self._repeats:
            self._repeats.append(number)

    def next(self) -> RtpPacket | int | None:
        """Take what is to be let out next: a packet, the number of one to be repeated, or nothing."""
        if self._repeats:
            return self._repeats.popleft()
        return self._packets.popleft() if self._packets else None

    def clear(self) -> int:
        """Forget all that waits; return how many packets that were new."""
        packets = len(self._packets)
        self._packets.clear()
        self._repeats.clear()
        return packets
