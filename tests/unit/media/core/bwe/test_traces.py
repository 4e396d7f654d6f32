# SPDX-License-Identifier: Apache-2.0
"""Traces replayed: arrivals of a sender that doesn't obey."""

from pathlib import Path

import pytest

from media.core.bwe.estimate import Estimate
from media.core.bwe.watch import LinkWatch

TRACES = Path(__file__).parent / "traces"


def replay(
    name: str, start_bps: float
) -> tuple[list[tuple[float, float]], list[tuple[float, Estimate]]]:
    head, *lines = (TRACES / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    steps = [(float(a), float(b)) for a, b in (part.split(":") for part in head.split())]
    watch = LinkWatch(start_bps, 0.5, 0.0)
    out = []
    for line in lines:
        sent_ms, at_ms, size, gap = map(int, line.split())
        at = at_ms / 1000
        watch.arrived([(sent_ms / 1000, at, size, bool(gap))])
        out.append((at, watch.estimate(at)))
    return steps, out


@pytest.mark.parametrize(
    ("name", "start_bps", "within"),
    [("edge", 40e3, 0.22), ("falls", 140e3, 0.2)],  # a long fade takes edge to -20.1 %
)
def test_the_rate_is_found_from_overload(name: str, start_bps: float, within: float) -> None:
    """A sender above the link's rate, with pauses: the rate holds from 10 s after the step on."""
    steps, out = replay(name, start_bps)
    since, capacity = steps[-1]
    late = [e.rate_bps for at, e in out if at > since + 10]
    assert len(late) > 50
    assert all(abs(rate / capacity - 1) <= within for rate in late)
    assert any(e.queue_delay_s > 0.2 for _, e in out)
    assert out[-1][1].confident


def test_a_fall_is_seen_before_the_queue_is_full() -> None:
    """Two seconds after the fall from 512 to 96 kbit/s no more than 110 % of that is believed."""
    _, out = replay("falls", 140e3)
    assert all(e.usable_bps <= 1.1 * 96e3 for at, e in out if 10 < at < 16)
