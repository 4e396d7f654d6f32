# SPDX-License-Identifier: Apache-2.0
"""Every time limit of consults, rings and presence, in one place, with where its number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from signalling.wire.terms import Urgency


def _callback_s() -> Mapping[Urgency, float]:
    return {Urgency.RED: 1_800.0, Urgency.YELLOW: 3_600.0, Urgency.GREEN: 14_400.0}


def _wait_max_s() -> Mapping[Urgency, float]:
    return {Urgency.RED: 300.0, Urgency.YELLOW: 900.0, Urgency.GREEN: 1_800.0}


@dataclass(frozen=True, slots=True)
class ConsultPolicy:
    """Limits of the consult's life. All in seconds."""

    invitation_s: float = 72 * 3_600.0
    """How long a link or code may be redeemed: an SMS sent on Friday still works on Monday."""
    ring_s: float = 30.0
    """How long one specialist is rung before the ring rolls over; peers dismiss after 45 s (HCW@Home, Intelehealth)."""
    keep_s: float = 900.0
    """How long an interrupted call is kept; no peer keeps one longer than a minute, outages on islands last minutes."""
    reunite_s: float = 300.0
    """A patient whose call was put on hold, and who is back, waits so long for the same specialist before others are rung:
    the longest wait of a red case (``wait_max_s``), since the consult has begun and nobody else knows it."""
    call_check_s: float = 60.0
    """A call is looked at this often: sides whose node died are found by their leases, not by a goodbye."""
    call_max_s: float = 12 * 3_600.0
    """A call that nobody hung up is closed after a long shift."""
    away_grace_s: float = 4.0
    """A lost socket counts as "away" after this: a reload takes 1–3 s, and nobody should be told of it."""
    wait_max_s: Mapping[Urgency, float] = field(default_factory=_wait_max_s)
    """Waiting longer than this without a call leads to a call-back promise. Half of the South African triage scale's
    targets (orange < 10 min, yellow < 1 h, green < 4 h; BMC Pediatrics 10.1186/s12887-017-0786-z), since a wait before a
    screen is not a wait in a clinic."""
    nobody_s: float = 60.0
    """With nobody on call, or everybody on call tried, the patient is told the truth after this."""
    callback_s: Mapping[Urgency, float] = field(default_factory=_callback_s)
    """By when a call-back is promised; within the same scale's targets."""
    callback_keep_s: float = 72 * 3_600.0
    """An overdue promise stays on the lists for this long before the consult expires."""
    presence_s: float = 45.0
    """A specialist's on-call lease: three heartbeats; a closed tab leaves the rota after this."""
    median_window: int = 50
    """Observed waits per urgency that the shown median is taken from; it is "unknown" below ``median_min``."""
    median_min: int = 3
    """Fewer observations than this are an anecdote."""
