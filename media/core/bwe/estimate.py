# SPDX-License-Identifier: Apache-2.0
"""What is known about one direction of a link, in one shape for all who use it."""

from __future__ import annotations

import msgspec


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """One direction of one link, as of the moment that it was asked for.

    Rates are of IP packets: what `media.core.budget` counts.
    """

    rate_bps: float
    """What the link has been seen to carry. While nobody has filled it, a lower bound."""
    usable_bps: float
    """What may be sent now: below `rate_bps` while a queue drains, above it while it is being found
    out whether the link carries more. All that is sent shares it."""
    loss_ratio: float
    """Smoothed share of packets that did not arrive, whatever the cause."""
    queue_delay_s: float
    """How long packets wait in the link's queue, beyond the shortest way seen lately."""
    rtt_s: float
    """Smoothed round trip."""
    confident: bool
    """Whether `rate_bps` is the link's rate. False: a lower bound, or old, or nothing arrives."""
    calm_s: float = float("inf")
    """Since the link was last seen to be full."""
