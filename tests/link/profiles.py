# SPDX-License-Identifier: Apache-2.0
"""Links as data: who has them, what they carry, and where the figures come from.

*down* is towards the island, *up* is from it. Round trips are without queueing and without the time
of sending. Unless said otherwise the queue is drop-tail and holds 600 ms of the rate, the middle of
what consumer modems are seen to hold; jitter and loss apply to each direction by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.link.model import LinkParameters

Direction = Literal["down", "up"]
DIRECTIONS: tuple[Direction, ...] = ("down", "up")


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to a link at a given time. Exactly what is set happens."""

    at_s: float
    """Seconds after the schedule was started."""
    direction: Direction | None = None
    """Which direction; None means both."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Link parameters and their new values."""
    blackout_s: float | None = None
    """Nothing gets through for so long."""
    change_address_gap_s: float | None = None
    """The island loses its interface; another one with another address comes so much later."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Both directions of a link, and what happens to it as time goes by."""

    name: str
    source: str
    """What the figures rest on."""
    down: LinkParameters
    up: LinkParameters
    schedule: tuple[Step, ...] = ()
    """Starts when the link does, unless whoever makes the lab takes it out and has `Lab.play` start it."""

    def ends_s(self) -> tuple[float, ...]:
        """Return when, in the schedule, the link can be used again after each outage of it."""
        ends = []
        for step in self.schedule:
            if step.blackout_s:
                ends.append(step.at_s + step.blackout_s)
            if step.change_address_gap_s is not None:
                ends.append(step.at_s + step.change_address_gap_s)
        return tuple(ends)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; `profile_from_dict` reads it back."""
        return asdict(self)


def profile_from_dict(data: Mapping[str, Any]) -> Profile:
    """Build a profile from plain data; raises TypeError or ValueError on anything unknown."""
    return Profile(
        name=data["name"],
        source=data["source"],
        down=LinkParameters(**data["down"]),
        up=LinkParameters(**data["up"]),
        schedule=tuple(Step(**step) for step in data["schedule"]),
    )


def load_trace(path: Path) -> tuple[Step, ...]:
    """Read a recorded trace: JSON lines of steps, as the emulator writes them into its log.

    A line needs `at_s` and any of `direction`, `changes`, `blackout_s`, `change_address_gap_s`.
    Lines of the log that are no steps (with an `event` other than "step") are skipped, so that the
    log of one run is the schedule of the next. Raises ValueError with the line's number.
    """
    steps = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            data = json.loads(line)
            if data.pop("event", "step") == "step":
                steps.append(Step(**data))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path.name}:{number}: {error}") from error
    return tuple(sorted(steps, key=lambda step: step.at_s))


def link(
    name: str,
    down_kbps: float,
    up_kbps: float,
    rtt_ms: float,
    source: str,
    schedule: tuple[Step, ...] = (),
    **both: Any,
) -> Profile:
    """Build a profile of half the round trip each way and the same `both` in each direction."""
    return Profile(
        name=name,
        source=source,
        schedule=schedule,
        down=LinkParameters(rate_bps=down_kbps * 1000, delay_ms=rtt_ms / 2, **both),
        up=LinkParameters(rate_bps=up_kbps * 1000, delay_ms=rtt_ms / 2, **both),
    )


_EDGE_SOURCE = (
    "2G remnant: 60-150 / 30-60 kbit/s, 300-1000 ms, fades that lose everything for a moment; "
    "our choice inside those bounds."
)

_OUTAGE_SOURCE = (
    "0 for 5-120 s, several times an hour: rain on a satellite's link, a base station's battery. 5, 25 and 84 s are the lengths "
    "of livekit's issue 4477."
)

CALM_S = 10.0
"""A call has settled before something happens to its link."""

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        link(
            "island_256", 256, 128, 650,
            "A shared geostationary point of a health post on a good day. APNIC 2022-05-02: the "
            "orbit adds 477 ms at least, 600 typical; CircleID: 650 ms.",
            jitter_ms=20, loss_ratio=0.01,
        ),
        link(
            "vsat_congested", 128, 64, 800,
            "The same point shared with a school in class hours: 100-500 kbit/s left, 600-800 ms.",
            jitter_ms=60, loss_ratio=0.03,
        ),
        link("edge", 64, 48, 500, _EDGE_SOURCE, jitter_ms=80, burst_loss_ratio=0.06),
        link(
            "edge_deep", 64, 48, 500, _EDGE_SOURCE + " With the deep buffer of an old base station.",
            jitter_ms=80, burst_loss_ratio=0.06, queue_ms=4000,
        ),
        link(
            "voice_only", 24, 24, 600,
            "The least that carries a voice: Opus 8 kbit/s at 60 ms is about 15 kbit/s on the wire.",
            loss_ratio=0.02,
        ),
        link(
            "hspa", 384, 128, 250,
            "Rural 3G: 300-2000 / 100-400 kbit/s, 100-300 ms, 1-3 %; PMC4704976: 23.5 % of 936 "
            "video calls over 3G failed.",
            loss_ratio=0.02,
        ),
        link(
            "starlink", 1000, 500, 120,
            "A low-orbit terminal shared by a village: short gaps at satellite hand-over.",
            burst_loss_ratio=0.05,
        ),
        link(
            "city", 50_000, 50_000, 20,
            "A city's fibre or cable: what must not be made worse for the island's sake.",
        ),
        link(
            "blackout_20", 384, 128, 250, _OUTAGE_SOURCE,
            (Step(at_s=CALM_S, blackout_s=20),),
        ),
        link(
            "blackout_300", 384, 128, 250, _OUTAGE_SOURCE,
            (Step(at_s=CALM_S, blackout_s=300),),
        ),
        link(
            "blackouts", 384, 128, 250, _OUTAGE_SOURCE,
            tuple(Step(at_s=at_s, blackout_s=dark_s) for at_s, dark_s in ((10, 5), (35, 25), (80, 84))),
        ),
        link(
            "new_address", 384, 128, 250,
            "From Wi-Fi to mobile: the interface goes, another one comes a second later.",
            (Step(at_s=CALM_S, change_address_gap_s=1.0),),
        ),
        link(
            "new_address_remembered", 384, 128, 250,
            "The same for a page that had the microphone from an earlier visit: its sockets are bound to the old address.",
            (Step(at_s=CALM_S, change_address_gap_s=1.0),),
        ),
        link(
            "squeeze", 1000, 1000, 120,
            "A village's link while somebody uploads a film: a tenth is left for half a minute.",
            (
                Step(at_s=20, changes={"rate_bps": 100_000}),
                Step(at_s=50, changes={"rate_bps": 1_000_000}),
            ),
        ),
    )
}  # fmt: skip
"""Those with a schedule are for a call that stands already: whoever uses them starts it."""
