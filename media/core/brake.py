# SPDX-License-Identifier: Apache-2.0
"""What the page may decide without anybody: when to stop its own picture. Data for the page.

The way to the server may be the very thing that has failed. So the page watches what it can see, the
reports on what it sends (webrtc-stats `remote-inbound-rtp`), and stops its picture by itself. It never
raises: it reports, and the ladder decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from media.core.rungs import Rung

if TYPE_CHECKING:
    from media.core.fit import Path
    from media.core.ladder import State

REPORT_S: Final = 1.0
"""Between two receiver reports on a picture, at most one and a half of it (RFC 3550 §6.2, halved)."""
LOST_REPORTS: Final = 2
"""One report lost is chance, at 6 % of loss every 17 s; two in a row every five minutes."""
EXCESS_S: Final = 0.7
"""A full queue of a thin link (600 ms) and its jitter (80 ms): the queue is not being drained."""
EXCESS_RATIO: Final = 2.0
"""Of the shortest round trip: on a way of 800 ms, 700 ms more is one late report."""
POLLS: Final = 2
POLL_S: Final = 0.5
"""The excess must be in two reports that follow each other: one that was late, or lost and old by an interval, is chance. (The
same report seen twice stopped the picture within the first seconds of calls on 64/48 kbit/s, by its own key frame.)"""


@dataclass(frozen=True, slots=True)
class Brake:
    """Thresholds of one page at this moment; sent with every move."""

    no_report_s: float
    """Without a new report for so long: stop."""
    round_trip_s: float
    """A round trip above this in `polls` reports in a row: stop."""
    polls: int
    poll_s: float
    rung: Rung
    """Where the page goes by itself."""


def brake(state: State, path: Path, base_rtt_s: float) -> Brake | None:
    """Return the brake for a direction as it is; None if it sends no picture.

    Args:
        state: Of the direction.
        path: Its links; only the sender's own counts here.
        base_rtt_s: The shortest round trip of that link (`media.core.reports.RoundTrip.base_s`).
    """
    if state.rung <= Rung.VOICE:
        return None
    # A round trip that has been long from the start is the link's own.
    base_s = min(base_rtt_s, path[0].rtt_s)
    return Brake(
        no_report_s=LOST_REPORTS * 1.5 * REPORT_S + base_s / 2,
        round_trip_s=max(base_s + EXCESS_S, base_s * EXCESS_RATIO),
        polls=POLLS,
        poll_s=POLL_S,
        rung=Rung.VOICE,
    )
