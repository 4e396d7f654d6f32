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
