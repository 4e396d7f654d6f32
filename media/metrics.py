# SPDX-License-Identifier: Apache-2.0
"""Every metric of a relay process, and the listener that shows them.

What packets count is counted in plain integers where it happens and read when scraped; nothing of it names a consult, a
person or an address. ``docs/metrics.md`` is generated from a live instance.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

from media.core.ladder import Reason
from media.core.rungs import Rung
from media.relay.counts import TOTALS, LegCounts
from media.relay.drops import Drop
from media.relay.leg import Ending, Leg, LegState

SETUP_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""A handshake takes two round trips: 0.1 s in a city, 1.3 s over a satellite; 30 s is its deadline."""
FORWARDING_S = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""99 of 100 packets are to stay below 5 ms at 70 % load."""

RTT_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0)
"""A city, a country, a geostationary satellite (0.6), and a queue that is too long."""
JITTER_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
ESTIMATE_BPS = (
    20_000, 30_000, 48_000, 64_000, 100_000, 150_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
)  # fmt: skip
"""The rungs of the ladder, and what the estimators can tell apart."""

LABELS: Mapping[str, tuple[str, ...]] = {
    "legs": ("state",),
    "legs_ended": ("reason",),
    "rtp_packets": ("direction",),
    "rtp_bytes": ("direction",),
    "transport_packets": ("transport", "direction"),
    "drops": ("reason",),
    "estimate_bps": ("way",),
    "ladder_moves": ("rung", "reason"),
    "directions": ("rung",),
}
"""The labels of each metric that has some, without its prefix."""
RUNGS = tuple(rung.label for rung in Rung)
MOVES = tuple(reason.value for reason in Reason if reason is not Reason.START)
LEG_STATES = (LegState.NEW, LegState.SECURING, LegState.CONNECTED)
LABEL_VALUES: Mapping[str, tuple[str, ...]] = {
    "state": LEG_STATES,
    "way": ("up", "down"),
    "direction": ("received", "sent"),
    "transport": ("udp", "tcp"),
    "rung": RUNGS,
}
REASONS: Mapping[str, tuple[str, ...]] = {
    "legs_ended": tuple(Ending),
    "drops": tuple(Drop),
    "ladder_moves": MOVES,
}
"""The values of ``reason`` differ from metric to metric."""


class Figures(Protocol):
    """What a relay process says of itself when asked; ``media.app`` collects it."""

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return name: (what it is, value)."""
        ...

    def counters(self) -> dict[str, tuple[str, float]]:
        """Return the same of what only grows."""
        ...

    def legs(self) -> Counter[str]:
        """Return the legs in each state."""
        ...

    def endings(self) -> Counter[str]:
        """Return the legs that ended, by reason."""
        ...

    def drops(self) -> Counter[Drop]:
        """Return the packets thrown away, by reason."""
        ...

    def rtp(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by direction."""
        ...

    def ladder_moves(self) -> Counter[tuple[str, str]]:
        """Return the ladder's moves by the rung that was moved to, and why."""
        ...

    def directions(self) -> Counter[str]:
        """Return how many directions of forwarded calls are on each rung."""
        ...

    def rooms(self) -> Mapping[str, int]:
        """Return what the rooms have counted, by the names in ``media.relay.counts.TOTALS``."""
        ...

    def transports(self) -> dict[tuple[str, str], int]:
        """Return packets by transport and direction."""
        ...


class Metrics(Collector):
    """The metrics of one relay process."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.ice_setup = self._histogram(
            "ice_setup_seconds", "From handing a leg out to its browser's first check.", SETUP_S
        )
        self.dtls_setup = self._histogram(
            "dtls_setup_seconds", "From the first check of a leg to its keys.", SETUP_S
        )
        self.forwarding = self._histogram(
            "forwarding_delay_seconds",
            "From the kernel's receipt of a packet to the end of its handling; one packet in some is looked at. What is "
            "held back on purpose, for packets that are missing before it, is not in it.",
            FORWARDING_S,
        )
        self.rtt = self._histogram(
            "rtt_seconds",
            "Round trip between relay and browser; of each leg in a call, every 5 s.",
            RTT_S,
        )
        self.jitter = self._histogram(
            "jitter_seconds",
            "Jitter of what comes from a browser (RFC 3550 §6.4.1), of each stream in a call, every 5 s.",
            JITTER_S,
        )
        self.estimate = Histogram(
            "selat_relay_estimate_bps",
            "What a way is known to carry; of each leg in a call, every 5 s.",
            ["way"],
            buckets=ESTIMATE_BPS,
            registry=self.registry,
        )
        self.registry.register(self)

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(f"selat_relay_{name}", text, buckets=bounds, registry=self.registry)

    def connected(self, leg: Leg) -> None:
        """Take note of how long a leg's set-up took."""
        timing = leg.timing
        if timing.ice_s is not None:
            self.ice_setup.observe(max(0.0, timing.ice_s))
        if timing.dtls_s is not None:
            self.dtls_setup.observe(timing.dtls_s)

    def leg_observed(self, leg: LegCounts) -> None:
        """Take a sample of a leg whose call is forwarded."""
        if leg.rtt_s is not None:
            self.rtt.observe(leg.rtt_s)
        for stream in leg.received:
            self.jitter.observe(stream.jitter_s)
        self.estimate.labels("up").observe(leg.up.rate_bps)
        self.estimate.labels("down").observe(leg.down.rate_bps)

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield what there is now."""
        figures = self._figures
        for name, (text, value) in figures.gauges().items():
            yield GaugeMetricFamily(f"selat_relay_{name}", text, value=value)
        for name, (text, value) in figures.counters().items():
            yield CounterMetricFamily(f"selat_relay_{name}", text, value=value)
        rooms = figures.rooms()
        for name, text in TOTALS.items():
            yield CounterMetricFamily(f"selat_relay_{name}", text, value=rooms[name])
        legs = GaugeMetricFamily(
            "selat_relay_legs",
            "Legs by how far they have come; `new` ones wait in the pool.",
            labels=["state"],
        )
        found = figures.legs()
        for state in LEG_STATES:
            legs.add_metric([state], found[state])
        yield legs
        yield _counted("legs_ended", "Legs that ended, by reason.", Ending, figures.endings())
        yield _counted("drops", "Packets thrown away, by reason.", Drop, figures.drops())
        yield from self._ladder()
        packets = _family("rtp_packets", "RTP packets of authenticated legs.", "direction")
        size = _family("rtp_bytes", "Bytes of RTP packets, before protection.", "direction")
        for direction, (count, total) in figures.rtp().items():
            packets.add_metric([direction], count)
            size.add_metric([direction], total)
        yield packets
        yield size
        travelled = _family(
            "transport_packets", "Datagrams and frames of all kinds.", "transport", "direction"
        )
        for labels, count in figures.transports().items():
            travelled.add_metric(labels, count)
        yield travelled

    def _ladder(self) -> Iterator[Metric]:
        moves = _family(
            "ladder_moves",
            "Moves of the ladder by the rung that was moved to, or stayed on with other settings, and why.",
            "rung",
            "reason",
        )
        found = self._figures.ladder_moves()
        for rung in RUNGS:
            for reason in MOVES:
                if found[rung, reason]:
                    moves.add_metric([rung, reason], found[rung, reason])
        yield moves
        directions = GaugeMetricFamily(
            "selat_relay_directions",
            "Legs in forwarded calls by the rung of what they send.",
            labels=["rung"],
        )
        sending = self._figures.directions()
        for rung in RUNGS:
            directions.add_metric([rung], sending[rung])
        yield directions


def _family(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"selat_relay_{name}", text, labels=labels)


def _counted(
    name: str, text: str, values: type[Drop] | type[Ending], counts: Counter[str] | Counter[Drop]
) -> CounterMetricFamily:
    family = _family(name, text, "reason")
    found: Mapping[str, int] = counts  # type: ignore[assignment] # a StrEnum is its text
    for value in values:
        family.add_metric([value], found.get(value, 0))
    return family


@contextlib.asynccontextmanager
async def serving(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Serve ``/metrics`` until the block ends; give the port.

    Raises:
        OSError: the address is not ours or the port is taken.
    """

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
