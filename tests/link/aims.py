# SPDX-License-Identifier: Apache-2.0
"""What a call over each link is to be like: the aims, by the name of the link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Pair = tuple[float, float]
"""(down, up): what the island hears and sees, what the city does."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Bounds for the medians of one link; None: nothing is asked."""

    good_percent: Pair | None = None
    """At least so much unconcealed audio."""
    fps: Pair | None = None
    """At least so many frames per second."""
    frozen_percent: Pair | None = None
    """At most so much of the call in gaps over a second."""
    mouth_to_ear_ms: Pair | None = None
    """At most."""
    drops_percent: Pair | None = None
    """At most so many packets refused by the link's full queue, once the call stands."""
    height: Pair | None = None
    """At least so many lines of the picture."""
    voice_back_s: Pair | None = None
    """After an outage, at most."""
    picture_back_s: Pair | None = None
    """After an outage, at most."""
    former_s: Pair | None = None
    """After a squeeze, as much picture as before it, at most."""


_EDGE = Aim(
    good_percent=(96.5, 95), fps=(3.5, 3.5), frozen_percent=(15, 15), mouth_to_ear_ms=(800, 900), drops_percent=(1, 1)
)  # fmt: skip
_BACK = Aim(voice_back_s=(1, 1), picture_back_s=(2, 2))

AIMS: Mapping[str, Aim] = {
    "island_256": Aim((99.5, 99.5), (12, 10), (1, 2), (500, 540)),
    "vsat_congested": Aim((98.5, 98), (5, 5), (10, 12), (800, 900), (1, 1)),
    "edge": _EDGE,
    "edge_deep": _EDGE,
    "voice_only": Aim(good_percent=(94, 94), mouth_to_ear_ms=(950, 950)),
    "hspa": Aim((99, 99), (12, 12), (1, 1)),
    "starlink": Aim((99, 99), (15, 15), (1, 1), height=(240, 240)),
    "blackout_20": _BACK,
    "blackout_300": _BACK,
    "blackouts": _BACK,
    "new_address": Aim(voice_back_s=(0.8, 0.8), picture_back_s=(1.8, 1.8)),
    "new_address_remembered": Aim(voice_back_s=(2.2, 2.2), picture_back_s=(3.2, 3.2)),
    # Audio and frozen are of the squeeze itself here, frozen after its first 3 s.
    "squeeze": Aim(good_percent=(98, 98), frozen_percent=(10, 10), former_s=(30, 30)),
    # And no worse than PeerJS; the height is what every peer has, 10 s after the start.
    "city": Aim((99, 99), (14, 14), (1, 1), height=(480, 480)),
}

MARGIN = 0.98
"""PeerJS is matched by so much of its frame rate: the sampling's own error."""

_AT_LEAST = {"good_percent", "fps", "height"}


def judged(name: str, aim: Aim, figures: Mapping[str, Any]) -> tuple[bool | None, bool | None]:
    """Return, for each direction, whether a figure keeps its aim; None: nothing is asked, or it does not exist there.

    A figure that could not be had (no picture ever, never back) misses its aim.
    """
    wanted: Pair | None = getattr(aim, name, None)
    if wanted is None:
        return None, None
    found = figures.get(name) or (None, None)

    def keeps(value: float | None, bound: float) -> bool:
        if value is None:
            return False
        return value >= bound if name in _AT_LEAST else value <= bound

    return keeps(found[0], wanted[0]), keeps(found[1], wanted[1])
