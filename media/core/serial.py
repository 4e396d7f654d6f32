# SPDX-License-Identifier: Apache-2.0
"""Numbers that wrap: RTP sequence numbers (16 bits) and timestamps (32 bits).

Differences follow serial number arithmetic (RFC 1982 §3.2), unwrapping RFC 3550 appendix A.1. A.1's
probation and its limit on forward jumps guard against stray packets of another sender; here every
packet has passed SRTP authentication first, and after a blackout of minutes a large jump is the
truth. A jump of less than half the space is therefore believed at once.
"""

from __future__ import annotations

HALF_16 = 1 << 15
MASK_16 = (1 << 16) - 1
HALF_32 = 1 << 31
MASK_32 = (1 << 32) - 1

MAX_MISORDER = 3_000
"""Packets behind the newest that may still be late ones: 2.5 round trips of 800 ms at 1,500 packets/s
(a key frame on an open link). RFC 3550 A.1 has 100, for LANs without retransmission."""


def difference_16(a: int, b: int) -> int:
    """Return how far `a` is ahead of `b`, -32768..32767 (RFC 1982 leaves exactly half undefined)."""
    return ((a - b + HALF_16) & MASK_16) - HALF_16


def difference_32(a: int, b: int) -> int:
    """Return how far `a` is ahead of `b`, -2**31..2**31-1."""
    return ((a - b + HALF_32) & MASK_32) - HALF_32


class Unwrapper:
    """Turns 16-bit sequence numbers into an index that never wraps.

    The first index is one cycle up, so that packets older than the first one stay positive.
    """

    __slots__ = ("_resume", "highest", "restarts")

    highest: int
    """The highest index so far; -1 before the first packet."""
    restarts: int
    """How often the sender began again at an unrelated number."""

    def __init__(self) -> None:
        self.highest = -1
        self.restarts = 0
        self._resume = -1

    def unwrap(self, number: int) -> int:
        """Return the index of the packet with this 16-bit sequence number, or -1 if it is unrelated.

        Args:
            number: 0..65535.

        Returns:
            The index nearest to the newest one. A packet more than `MAX_MISORDER` behind is refused
            (-1); when the one after it follows directly, the sender has begun again, and its
            packets continue above all earlier indices (RFC 3550 A.1, `bad_seq`).
        """
        highest = self.highest
        if highest < 0:
            self.highest = number + MASK_16 + 1
            return self.highest
        ahead = ((number - highest + HALF_16) & MASK_16) - HALF_16
        if ahead > 0:
            self.highest = highest + ahead
            return highest + ahead
        if ahead >= -MAX_MISORDER:
            return highest + ahead
        return self._unrelated(number, highest)

    def _unrelated(self, number: int, highest: int) -> int:
        if number != self._resume:
            self._resume = (number + 1) & MASK_16
            return -1
        self._resume = -1
        self.restarts += 1
        self.highest = highest + ((number - highest) & MASK_16)
        return self.highest
