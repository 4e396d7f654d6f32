# SPDX-License-Identifier: Apache-2.0
"""How much arrives: the rate of the last moments, over the time that the packets really took.

What is lost in the air took its time on the link like any other packet. So intervals that span a
loss are left out, with their packet: what remains has the link's pace whether packets were lost
after the bottleneck (the interval is long) or dropped before it (it is not).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

Arrival: TypeAlias = tuple[float, float, int, bool]
"""Time of sending on the sender's clock, time of arrival, octets on the wire, whether packets before it are missing."""

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
"""Nobody looks back further."""
SILENCE_S: Final = 2.0
"""No packet for so long is an outage or a sender that has stopped: nothing is concluded from it."""
_FIELDS: Final = 3


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
        # Time of sending, of arrival, and octets of each packet, octets negative where packets before it are missing:
        # 24 octets for what would be 150 as a tuple.
        self._kept = array("d")

    def add_all(self, arrivals: Iterable[Arrival]) -> None:
        """Note packets in the order of their arrival."""
        kept = self._kept
        before = kept[-2] if kept else float("inf")
        for sent_at, at, size, after_loss in arrivals:
            if at - before > SILENCE_S:
                del kept[:]  # what came before an outage has no interval to what comes after
            before = at
            kept.extend((sent_at, at, -size if after_loss else size))
        first = max(0, len(kept) - _FIELDS * MAX_KEPT)
        while first < len(kept) and before - kept[first + 1] > KEPT_S:
            first += _FIELDS
        del kept[:first]

    def silence_s(self, now: float) -> float:
        """Return how long nothing has arrived; infinity if nothing ever did."""
        return now - self._kept[-2] if self._kept else float("inf")

    def pace(self, now: float, noise_s: float = 0.0) -> Pace | None:
        """Return the rate of what arrived lately; None if that is too little to tell.

        Args:
            now: Seconds.
            noise_s: `media.core.bwe.delay.DelayTracker.noise_s`: jitter makes the look back longer.
        """
        found = self.paces(now, noise_s)
        return found[0] if found is not None else None

    def paces(self, now: float, noise_s: float = 0.0) -> tuple[Pace, Pace] | None:
        """Return the same, and the rate over a third of the packets only: noisy, but soon true after a step."""
        kept = self._kept
        if not kept or now - kept[-2] > MAX_SPAN_S:
            return None
        least_s = max(MIN_SPAN_S, noise_s * NOISE_SPANS)
        before_sent, before_at, size = newest_sent, newest_at, _ = kept[-_FIELDS:]
        octets = broken = 0.0
        count = 0
        broken_s = broken_sent_s = 0.0
        longest = 0.0, 0.0, 0.0
        quick: Pace | None = None
        sent_at, at = newest_sent, newest_at
        for index in range(len(kept) - 2 * _FIELDS, -1, -_FIELDS):
            sent_at, at = kept[index], kept[index + 1]
            # A packet belongs to the interval that ends with its arrival.
            count += 1
            if size < 0:
                size = -size
                broken += size
                broken_s += before_at - at
                broken_sent_s += before_sent - sent_at
                if before_at - at > longest[0]:
                    longest = before_at - at, before_sent - sent_at, size
            octets += size
            before_sent, before_at, size = sent_at, at, kept[index + 2]
            span = newest_at - at
            if span >= MAX_SPAN_S:
                break
            if count < QUICK_PACKETS or span < MIN_SPAN_S:
                continue
            if quick is None:
                broken_off = broken_s, broken_sent_s, broken
                quick = _pace(count, octets, span, newest_sent - sent_at, broken_off, longest)
            if count >= MIN_PACKETS and span >= least_s:
                break
        broken_off = broken_s, broken_sent_s, broken
        pace = _pace(count, octets, newest_at - at, newest_sent - sent_at, broken_off, longest)
        return None if pace is None else (pace, quick or pace)


def _pace(
    count: int,
    octets: float,
    span: float,
    sent_span: float,
    broken: tuple[float, float, float],
    longest: tuple[float, float, float],
) -> Pace | None:
    """Return the rate of so many packets; ``broken``: time, time of sending and octets behind losses; ``longest`` of them."""
    if count < LEAST_PACKETS or span < MIN_SPAN_S / 2:
        return None
    if span - broken[0] < MIN_CLEAN_RATIO * span:
        broken = longest if longest[0] >= BURST_S else (0.0, 0.0, 0.0)
    if span - broken[0] >= MIN_SPAN_S / 4:
        span -= broken[0]
        sent_span -= broken[1]
        octets -= broken[2]
    bits = octets * 8
    arrived_bps, sent_bps = bits / max(span, 0.05), bits / max(sent_span, 0.05)
    return Pace(arrived_bps, min(arrived_bps, sent_bps), sent_bps)
