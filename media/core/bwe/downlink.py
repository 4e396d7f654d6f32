# SPDX-License-Identifier: Apache-2.0
"""The down-link of a leg, from what the browser says of what we sent: the send-side estimate.

With transport-wide feedback each packet's arrival is known, and the estimate is as good as the
up-link's. A browser that gives none leaves receiver reports: see `media.core.bwe.reported`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from media.core.bursts import BurstMeter
from media.core.bwe.watch import LinkWatch
from media.core.serial import HALF_16, MASK_16
from media.core.transport_cc import TICK_S, TICKS_PER_REFERENCE

if TYPE_CHECKING:
    from media.core.bwe.estimate import Estimate
    from media.core.bwe.probe import ProbePlan
    from media.core.transport_cc import TransportFeedback

MAX_SENT: Final = 4_096
"""Packets remembered: 7 s at 5 Mbit/s, more than a round trip with a queue of 4 s."""
REFERENCES: Final = 1 << 24
"""The reference time wraps after 12 days."""


class DownlinkEstimator:
    """One receiving leg whose browser gives transport-wide feedback."""

    __slots__ = (
        "_ahead_s", "_base", "_first", "_lost", "_next", "_reference", "_sent", "bursts", "watch",
    )  # fmt: skip

    watch: LinkWatch
    bursts: BurstMeter

    def __init__(self, start_bps: float, rtt_s: float, now: float, number: int = 0) -> None:
        """Start with what a probe or the last call on this link has told; `number`: of the next packet."""
        self.watch = LinkWatch(start_bps, rtt_s, now)
        self.bursts = BurstMeter()
        self._sent: deque[tuple[float, int] | None] = deque()
        self._first = number  # index of the oldest entry
        self._next = number  # index that the next packet sent has
        self._base = -1  # first index that no feedback has spoken of
        self._reference: int | None = None
        self._lost = False
        self._ahead_s: float | None = None

    def sent(self, size: int, now: float) -> int:
        """Note a packet that goes out; return its transport-wide number, 16 bits (hot path).

        Args:
            size: Octets on the wire, with IP and UDP.
            now: Seconds.
        """
        index = self._next
        self._next = index + 1
        self._sent.append((now, size))
        if len(self._sent) > MAX_SENT:
            self._sent.popleft()
            self._first += 1
        return index & MASK_16

    def feedback(self, feedback: TransportFeedback, now: float) -> None:
        """Take a feedback; older ones than the newest, and ones about unknown packets, are ignored."""
        if self._next == self._first or not feedback.arrivals:
            return
        newest = self._next - 1
        base = newest + ((feedback.base - newest + HALF_16) & MASK_16) - HALF_16
        if base < self._first or base < self._base or base + len(feedback.arrivals) > self._next:
            return
        offset = self._offset(feedback.reference)
        # Numbers that a lost feedback spoke of are neither received nor lost: unknown.
        if self._base >= 0 and base > self._base:
            self._lost = True
            self.bursts.unknown()
        arrived: list[tuple[float, float, int, bool]] = []
        for index, ticks in enumerate(feedback.arrivals, base - self._first):
            entry = self._sent[index]
            if entry is None:
                continue
            if ticks is None:
                self._lost = True
                self.bursts.lost(entry[0])
                continue
            self.bursts.arrived(entry[0])
            arrived.append((entry[0], (ticks + offset) * TICK_S, entry[1], self._lost))
            self._lost = False
        self._base = base + len(feedback.arrivals)
        for _ in range(self._base - self._first):
            self._sent.popleft()  # nothing speaks of them any more
        self._first = self._base
        if arrived:
            self._take(arrived, now)
        self.watch.counted(len(feedback.arrivals), len(arrived), now)

    def measured_rtt(self, rtt_s: float) -> None:
        """Take a round trip."""
        self.watch.measured_rtt(rtt_s)

    def estimate(self, now: float) -> Estimate:
        """Return what is known now; to be asked a few times a second."""
        return self.watch.estimate(now)

    def probe(self, wanted_bps: float, now: float, sending_bps: float = 0.0) -> ProbePlan | None:
        """Return what to send beside the media to learn whether more is possible."""
        return self.watch.probe(wanted_bps, now, sending_bps)

    def _offset(self, reference: int) -> int:
        """Return the ticks by which the receiver's clock has wrapped so far, less this reference's."""
        known = self._reference
        if known is None:
            self._reference = reference
            return 0
        moved = (reference - known + REFERENCES // 2) % REFERENCES - REFERENCES // 2
        self._reference = known + moved
        return (known + moved - reference) * TICKS_PER_REFERENCE

    def _take(self, arrived: list[tuple[float, float, int, bool]], now: float) -> None:
        """Shift the receiver's clock so that the newest arrival that came soonest is now."""
        arrived.sort(key=lambda entry: entry[1])
        ahead_s = now - arrived[-1][1]
        # The shortest way of a feedback maps its clock best; a jump is another clock (a reload).
        if self._ahead_s is None or ahead_s < self._ahead_s or ahead_s > self._ahead_s + 30:
            self._ahead_s = ahead_s
        else:
            self._ahead_s += min(0.0002, ahead_s - self._ahead_s)  # lets go of a drift
        shift = self._ahead_s
        self.watch.arrived(
            [(sent_at, at + shift, size, lost) for sent_at, at, size, lost in arrived]
        )
