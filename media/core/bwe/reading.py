# SPDX-License-Identifier: Apache-2.0
"""What was measured at one moment, and what it says of the link by itself."""

from __future__ import annotations

from typing import Final

import msgspec

from media.core.bwe.arrivals import Pace

STEP_RATIO: Final = 0.7
"""Eight packets this far below 24 are a step, not noise."""
GROWING_RATIO: Final = 0.93
SHRINKING_RATIO: Final = 1.08
"""Arrived over sent: jitter of 80 ms makes 5 % of noise over the window (`ArrivalMeter`)."""
REPORTS_THRESHOLD_S: Final = 0.1
"""Jitter of 80 ms moves one delay by 160 ms and the smallest of two by 50 ms, half of the time; each way, one round trip
by 320 ms and the smallest of three by 100 ms."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What was measured at one moment."""

    pace: Pace
    quick: Pace
    """The same over fewer packets."""
    queue_s: float
    threshold_s: float
    """Above this it is a queue, not jitter."""
    overflow: bool
    """More is lost than links lose by themselves."""
    response_s: float
    """How long it takes until a change of what may be sent is seen in what arrives."""


def quickest(reading: Reading) -> float:
    """Return what arrives; soon after a step down the long window still has the old rate."""
    quick = reading.quick.arrived_bps
    slow = reading.pace.arrived_bps
    return quick if quick < STEP_RATIO * slow else slow


def is_pace_of_link(pace: Pace) -> bool:
    """Tell whether more or less arrives than is sent: the link sets the pace, not the sender."""
    if pace.sent_bps <= 0:
        return False
    return not GROWING_RATIO < pace.arrived_bps / pace.sent_bps < SHRINKING_RATIO


def of_reports(
    octets: float,
    span_s: float,
    queue_s: float,
    before_s: float,
    response_s: float,
    *,
    overflow: bool,
) -> Reading:
    """Return what sums over a span say: what was sent follows from how the queue has grown.

    Args:
        octets: That arrived in the span.
        span_s: Since the last report.
        queue_s: Now.
        before_s: The queue at the last report.
        response_s: As in `Reading`.
        overflow: As in `Reading`.
    """
    arrived_bps = octets * 8 / span_s
    slope = max(-0.5, (queue_s - before_s) / span_s)
    pace = Pace(arrived_bps, arrived_bps, arrived_bps * (1 + slope))
    return Reading(pace, pace, queue_s, REPORTS_THRESHOLD_S, overflow, response_s)
