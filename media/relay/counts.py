# SPDX-License-Identifier: Apache-2.0
"""What a room has counted, for metrics: frozen pictures of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from media.core.bwe.estimate import Estimate
    from media.core.limits import Limits
    from media.relay.flow import Kind, Source

TOTALS = {
    "packets": "RTP packets that came, without retransmissions.",
    "lost": "RTP packets that senders sent and that did not come by themselves.",
    "repaired": "Of these, brought back by retransmission or redundancy.",
    "recovered": "Of these, by redundancy.",
    "given_up": "RTP packets that were waited for in vain.",
    "undecodable": "Packets of pictures held back because nobody could have decoded them.",
    "late": "RTP packets that came when nobody waited any more.",
    "nacks_sent": "Packets asked for at their sender.",
    "key_frames_asked": "Requests for a key frame that went to a sender.",
    "outages": "Times that a stream came back after a silence.",
    "nacks_received": "Packets that a browser asked for.",
    "key_frame_requests": "Requests for a key frame that came from a watcher.",
    "voice_sent": "Voice packets forwarded.",
    "picture_sent": "Packets of pictures forwarded.",
    "resent": "Retransmissions sent.",
    "repeats_ignored": "Requests whose answer was still on its way.",
    "withheld": "Packets of pictures that a watcher's way could not take, or that had no key frame before them.",
}
"""What a room counts, and what it means."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """One stream that comes from a leg, since its first packet."""

    kind: Kind
    packets: int
    octets: int
    lost: int
    repaired: int
    """Brought back by retransmission or redundancy."""
    recovered: int
    """Of these, by redundancy."""
    given_up: int
    withheld: int
    """Not decodable, so not forwarded."""
    late: int
    jitter_s: float
    nacks: int
    """Packets asked for."""
    key_frames_asked: int
    outages: int

    @classmethod
    def of(cls, source: Source) -> StreamCounts:
        """Count a source."""
        stream = source.stream
        reception, hold = stream.reception, stream.hold
        return cls(
            kind=source.kind,
            packets=reception.received,
            octets=reception.octets,
            lost=reception.lost,
            repaired=reception.repaired,
            recovered=stream.recovered,
            given_up=hold.given_up,
            withheld=hold.withheld,
            late=hold.late,
            jitter_s=reception.jitter_s,
            nacks=stream.nacks.requested,
            key_frames_asked=stream.key_frames.sent,
            outages=source.outages,
        )


@dataclass(frozen=True, slots=True)
class LegCounts:
    """One leg."""

    leg_id: str
    role: str
    rtt_s: float | None
    """Latest; None before the first."""
    up: Estimate
    down: Estimate
    received: tuple[StreamCounts, ...]
    nacks: int
    """Packets that its browser asked for."""
    key_frame_requests: int
    voice_sent: int
    picture_sent: int
    resent: int
    repeats: int
    """Requests ignored because the answer was on its way."""
    withheld: int
    """Packets of the picture that its way could not take, or that it could not have decoded."""
    redundancy: tuple[int, ...]
    """How many packets back its voice is repeated now."""
    limits: Limits | None
    """What its page was told last."""


def of_source(source: Source) -> dict[str, int]:
    """Return a source's part of `TOTALS`."""
    counts = StreamCounts.of(source)
    return {
        "packets": counts.packets,
        "lost": max(0, counts.lost),
        "repaired": counts.repaired,
        "recovered": counts.recovered,
        "given_up": counts.given_up,
        "undecodable": counts.withheld,
        "late": counts.late,
        "nacks_sent": counts.nacks,
        "key_frames_asked": counts.key_frames_asked,
        "outages": counts.outages,
    }


def of_leg(leg: LegCounts) -> dict[str, int]:
    """Return what a leg adds to `TOTALS` beside its sources."""
    return {
        "nacks_received": leg.nacks,
        "key_frame_requests": leg.key_frame_requests,
        "voice_sent": leg.voice_sent,
        "picture_sent": leg.picture_sent,
        "resent": leg.resent,
        "repeats_ignored": leg.repeats,
        "withheld": leg.withheld,
    }


@dataclass(frozen=True, slots=True)
class RoomCounts:
    """One consult."""

    legs: tuple[LegCounts, ...]
    """The living."""
    totals: Mapping[str, int]
    """By the names in `TOTALS`; they only grow, whatever legs and streams come and go."""
