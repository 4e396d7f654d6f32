# SPDX-License-Identifier: Apache-2.0
"""What a room has counted, for metrics: frozen pictures of one moment."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from media.core.bwe.estimate import Estimate
    from media.core.limits import Limits
    from media.relay.flow import Kind, Source

DELAY_BUCKETS_S: Final = (
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05
)  # fmt: skip
"""Upper bounds: a packet alone takes 20-60 µs; the aim for the 99th percentile is 5 ms."""


class DelayHistogram:
    """How long packets were in the relay, a sample of them."""

    __slots__ = ("counts", "total_s")

    counts: list[int]
    """One for each of `DELAY_BUCKETS_S`, and the rest."""

    def __init__(self) -> None:
        self.counts = [0] * (len(DELAY_BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, delay_s: float) -> None:
        """Count one packet."""
        self.counts[bisect_left(DELAY_BUCKETS_S, delay_s)] += 1
        self.total_s += delay_s


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


@dataclass(frozen=True, slots=True)
class RoomCounts:
    """One consult."""

    legs: tuple[LegCounts, ...]
