# SPDX-License-Identifier: Apache-2.0
"""How much arrives: the rate of the last moments, over the time that the packets really took.

What is lost in the air took its time on the link like any other packet. So intervals that span a
loss are left out, with their packet: what remains has the link's pace whether packets were lost
after the bottleneck (the interval is long) or dropped before it (it is not).
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

MIN_SPAN_S: Final = 0.5
MIN_PACKETS: Final = 24
MAX_SPAN_S: Final = 1.5
"""The rate is of the last half second, and of more until 24 packets are in it: jitter of 80 ms and
packets of 400 octets on 30 kbit/s are noise of 10 % then. 1.5 s bounds how long a step is hidden."""
QUICK_PACKETS: Final = 8
LEAST_PACKETS: Final = 4
NOISE_SPANS: Final = 20.0
"""Times the noise of delays, so that jitter at both ends of the window is 5 % of it."""
MIN_CLEAN_RATIO: Final = 0.4
BURST_S: Final = 0.2
"""With less than this share of time free of losses, a full queue is dropping: then only one interval is
left out, if it is so long that it must be a fade."""
MAX_KEPT: Final = 1_024
"""Packets: 2 s at 5 Mbit/s."""
KEPT_S: Final = 1.2 * MAX_SPAN_S
"""Nobody looks back further; a leg of 70 packets a second would keep 15 s otherwise, 80 KB."""


class Pace(NamedTuple):
    """Rates in bits per second."""

    arrived_bps: float
    """In the time of arrival: the link's own pace while it is busy, also when it carries in one
    second what was sent in two."""
    carried_bps: float
    """In the longer of the times of sending and arrival: what jitter has pushed together was not
    carried faster. Proof that the link carries as much, for as long as anybody sends."""
    sent_bps: float
    """In the time of sending. More than has arrived: a queue grows; less: it shrinks; as much:
    nothing says that the link is at its limit."""


class ArrivalMeter:
    """Arrivals of one direction."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float, int, bool]] = deque(maxlen=MAX_KEPT)

    def add(self, sent_at: float, at: float, size: int, *, after_loss: bool) -> None:
        """Note an arrival (hot path).

        Args:
            sent_at: On the sender's clock.
            at: Arrival, in order.
            size: Octets on the wire.
            after_loss: Whether packets before it are missing.
        """
        kept = self._kept
        kept.append((sent_at, at, size, after_loss))
        while at - kept[0][1] > KEPT_S:
            kept.popleft()

    def clear(self) -> None:
        """Forget all: what came before an outage has no interval to what comes after."""
        self._kept.clear()

    def silence_s(self, now: float) -> float:
        """Return how long nothing has arrived; infinity if nothing ever did."""
        return now - self._kept[-1][1] if self._kept else float("inf")

    def pace(self, now: float, noise_s: float = 0.0, *, quick: bool = False) -> Pace | None:
        """Return the rate of what arrived lately; None if that is too little to tell.

        Args:
            now: Seconds.
            noise_s: `media.core.bwe.delay.DelayTracker.noise_s`: jitter makes the look back longer.
            quick: Look back over a third of the packets only: noisy, but soon true after a step.
        """
        kept = self._kept
        if not kept or now - kept[-1][1] > MAX_SPAN_S:
            return None
        packets, least_s = QUICK_PACKETS, MIN_SPAN_S
        if not quick:
            packets, least_s = MIN_PACKETS, max(MIN_SPAN_S, noise_s * NOISE_SPANS)
        newest_sent, newest_at, size, after_loss = kept[-1]
        octets = count = broken = 0
        span = sent_span = broken_s = broken_sent_s = 0.0
        longest = 0.0, 0.0, 0
        before_sent, before_at = newest_sent, newest_at
        for index in range(len(kept) - 2, -1, -1):
            sent_at, at, next_size, next_after_loss = kept[index]
            # A packet belongs to the interval that ends with its arrival.
            octets += size
            count += 1
            if after_loss:
                broken += size
                broken_s += before_at - at
                broken_sent_s += before_sent - sent_at
                if before_at - at > longest[0]:
                    longest = before_at - at, before_sent - sent_at, size
            before_sent, before_at, size, after_loss = sent_at, at, next_size, next_after_loss
            span, sent_span = newest_at - at, newest_sent - sent_at
            if span >= MAX_SPAN_S or (count >= packets and span >= least_s):
                break
        if count < LEAST_PACKETS or span < MIN_SPAN_S / 2:
            return None
        if span - broken_s < MIN_CLEAN_RATIO * span:
            broken_s, broken_sent_s, broken = longest if longest[0] >= BURST_S else (0.0, 0.0, 0)
        if span - broken_s >= MIN_SPAN_S / 4:
            octets -= broken
            span -= broken_s
            sent_span -= broken_sent_s
        bits = octets * 8
        arrived_bps, sent_bps = bits / max(span, 0.05), bits / max(sent_span, 0.05)
        return Pace(arrived_bps, min(arrived_bps, sent_bps), sent_bps)
