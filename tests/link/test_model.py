# SPDX-License-Identifier: Apache-2.0
"""The link model in virtual time."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from tests.link.model import DropCause, LinkModel, LinkParameters
from tests.link.profiles import PROFILES, Step, load_trace, profile_from_dict


def drain(model: LinkModel, until_s: float = math.inf) -> list[tuple[float, bytes]]:
    """Step through virtual time; return (arrival, packet)."""
    arrived: list[tuple[float, bytes]] = []
    for _ in range(1_000_000):
        at_s = model.next_at_s()
        if at_s > until_s or at_s == math.inf:
            return arrived
        arrived += [(at_s, packet) for packet in model.poll(at_s)]
    raise AssertionError("the model never comes to rest")


def constant(
    parameters: LinkParameters, *, seed: int = 1, size: int = 200, every_s: float, count: int
) -> tuple[LinkModel, list[tuple[float, bytes]]]:
    """Offer `count` numbered packets evenly spaced and return what arrived."""
    model = LinkModel(parameters, seed)
    arrived: list[tuple[float, bytes]] = []
    for number in range(count):
        at_s = number * every_s
        arrived += drain(model, at_s)
        model.offer(at_s, number.to_bytes(4, "big"), size)
    return model, arrived + drain(model)


@pytest.mark.parametrize("rate_bps", [24_000, 256_000, 50_000_000])
def test_rate(rate_bps: int) -> None:
    """A link offered twice its rate carries its rate within 1 %."""
    every_s = 1000 * 8 / rate_bps / 2
    _, arrived = constant(LinkParameters(rate_bps=rate_bps), size=1000, every_s=every_s, count=4000)
    carried_bps = (len(arrived) - 1) * 8000 / (arrived[-1][0] - arrived[0][0])
    assert carried_bps == pytest.approx(rate_bps, rel=0.01)


def test_delay_of_a_lone_packet() -> None:
    """A packet on an idle link takes its own sending time and the propagation, nothing else."""
    _, arrived = constant(
        LinkParameters(rate_bps=128_000, delay_ms=325), size=1600, every_s=1, count=3
    )
    assert [at_s for at_s, _ in arrived] == pytest.approx([0.425, 1.425, 2.425])


@pytest.mark.parametrize(
    ("changes", "cause", "low", "high"),
    [
        ({"loss_ratio": 0.02}, DropCause.RANDOM, 0.018, 0.022),
        ({"burst_loss_ratio": 0.06}, DropCause.BURST, 0.05, 0.07),
        ({"packet_burst_loss_ratio": 0.05}, DropCause.BURST, 0.045, 0.055),
    ],
)
def test_loss(changes: dict[str, Any], cause: DropCause, low: float, high: float) -> None:
    """Each kind of loss has the share that was asked for, and only its own cause is counted."""
    model, arrived = constant(
        LinkParameters(rate_bps=1e6, **changes), size=100, every_s=0.02, count=50_000
    )
    lost = model.tally.lost_packets
    assert low <= lost[cause] / 50_000 <= high
    assert sum(lost.values()) == lost[cause] == 50_000 - len(arrived)


def runs(arrived: list[tuple[float, bytes]], count: int) -> list[int]:
    """Return the lengths of the runs of lost packets."""
    numbers = [-1, *(int.from_bytes(packet, "big") for _, packet in arrived), count]
    return [b - a - 1 for a, b in pairwise(numbers) if b - a > 1]


def test_bursts_in_time_have_their_length() -> None:
    """A bad period lasts 180 ms on average however densely packets are sent."""
    for every_s in (0.002, 0.01):
        _, arrived = constant(
            LinkParameters(rate_bps=1e6, burst_loss_ratio=0.1), size=20, every_s=every_s,
            count=100_000,
        )  # fmt: skip
        assert mean(runs(arrived, 100_000)) * every_s == pytest.approx(0.18, rel=0.2)


def test_bursts_per_packet_have_their_length() -> None:
    """A run of lost packets is as long as asked for, however sparsely packets are sent."""
    for every_s in (0.002, 1.0):
        _, arrived = constant(
            LinkParameters(rate_bps=1e6, packet_burst_loss_ratio=0.1, packet_burst_mean=4),
            size=20, every_s=every_s, count=40_000,
        )  # fmt: skip
        assert mean(runs(arrived, 40_000)) == pytest.approx(4, rel=0.1)


def test_seed() -> None:
    """Equal seeds give equal fates to the microsecond; another seed gives others."""
    parameters = LinkParameters(
        rate_bps=64_000, delay_ms=250, jitter_ms=80, loss_ratio=0.03, burst_loss_ratio=0.06
    )
    first, again, other = (
        constant(parameters, seed=seed, every_s=0.03, count=2000)[1] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_queue_bound() -> None:
    """The queue never holds more than its bound, and the drops of a full queue are counted."""
    parameters = LinkParameters(rate_bps=64_000, queue_ms=600)
    model = LinkModel(parameters)
    refused = 0
    for number in range(3000):
        at_s = number * 0.01  # 160 kbit/s offered
        model.poll(at_s)
        refused += model.offer(at_s, bytes(200)) is DropCause.QUEUE
        assert model.queue_delay_s(at_s) <= 0.6 + 1e-9
    assert refused == model.tally.lost_packets[DropCause.QUEUE]
    assert refused / 3000 == pytest.approx(0.6, abs=0.02)
    drain(model)
    assert 550 <= model.tally.queue_delay.percentiles_ms()["p50"] <= 600


def test_full_packet_passes_a_short_queue() -> None:
    """A packet larger than the whole queue still passes an idle link."""
    model = LinkModel(LinkParameters(rate_bps=24_000, queue_ms=100))
    assert model.offer(0, bytes(1500)) is None
    assert model.offer(0, bytes(1500)) is DropCause.QUEUE
    assert len(drain(model)) == 1


def test_jitter_keeps_the_order_and_its_bounds() -> None:
    """Without `reordering` packets arrive in order, spread over delay ± jitter."""
    parameters = LinkParameters(rate_bps=1e6, delay_ms=250, jitter_ms=80)
    _, arrived = constant(parameters, size=20, every_s=0.05, count=4000)
    numbers = [int.from_bytes(packet, "big") for _, packet in arrived]
    assert numbers == sorted(numbers)
    delays_s = [at_s - number * 0.05 for number, (at_s, _) in enumerate(arrived)]
    assert 0.170 <= min(delays_s) < 0.175
    assert 0.325 < max(delays_s) <= 0.3302
    assert mean(delays_s) == pytest.approx(0.25, abs=0.02)


def test_reordering_on_request() -> None:
    """With `reordering` jitter makes packets overtake each other."""
    parameters = LinkParameters(rate_bps=1e6, delay_ms=250, jitter_ms=80, reordering=True)
    _, arrived = constant(parameters, size=20, every_s=0.02, count=400)
    numbers = [int.from_bytes(packet, "big") for _, packet in arrived]
    assert numbers != sorted(numbers)
    assert len(numbers) == 400


def test_blackout() -> None:
    """A blackout takes what is offered in it and what it finds in the queue, and then it is over."""
    model = LinkModel(LinkParameters(rate_bps=8000, delay_ms=1000))  # 1 kB/s
    model.offer(0.0, b"sent before", 100)
    model.offer(0.0, b"in the queue", 400)
    model.blackout(0.2, 2.0)
    assert model.offer(1.0, b"in it", 100) is DropCause.BLACKOUT
    assert model.offer(2.2, b"after", 100) is None
    assert [packet for _, packet in drain(model)] == [b"sent before", b"after"]
    assert model.tally.lost_packets == {DropCause.BLACKOUT: 2}


def test_rate_step_in_the_middle_of_a_packet() -> None:
    """A packet that is half sent takes the other half's time at the new rate."""
    model = LinkModel(LinkParameters(rate_bps=8000))
    model.offer(0.0, b"a", 1000)
    model.change(0.5, rate_bps=4000)
    assert [at_s for at_s, _ in drain(model)] == pytest.approx([1.5])


def test_rate_step_keeps_the_queue_bound() -> None:
    """What no longer fits after a step down is dropped from the tail."""
    model = LinkModel(LinkParameters(rate_bps=1e6, queue_ms=600))
    for _ in range(50):
        model.offer(0.0, bytes(1250))
    model.change(0.0, rate_bps=1e5)
    assert model.queue_delay_s(0.0) <= 0.6
    assert model.tally.lost_packets[DropCause.QUEUE] == 44
    assert len(drain(model)) == 6


def test_stalled_link_keeps_its_queue() -> None:
    """Rate 0 is a stall, not a loss: the queue goes on where it stopped."""
    model = LinkModel(LinkParameters(rate_bps=8000))
    model.offer(0.0, b"a", 1000)
    model.change(0.25, rate_bps=0)
    assert model.next_at_s() == math.inf
    model.change(10.0, rate_bps=8000)
    assert [at_s for at_s, _ in drain(model)] == pytest.approx([10.75])


@pytest.mark.parametrize(
    "changes",
    [{"rate": 1}, {"loss_ratio": 1.5}, {"delay_ms": -1}, {"packet_burst_mean": 0}],
)
def test_wrong_parameters(changes: dict[str, Any]) -> None:
    """A name or value that makes no sense is refused and nothing changes."""
    model = LinkModel(LinkParameters(rate_bps=8000))
    before = model.parameters
    with pytest.raises(ValueError, match=next(iter(changes))):
        model.change(0.0, **changes)
    assert model.parameters == before


def test_profiles_survive_the_pipe() -> None:
    """Every profile is the same after it was sent to the emulator as plain data."""
    assert {profile_from_dict(p.as_dict()) == p for p in PROFILES.values()} == {True}
    assert PROFILES["island_256"].down.rate_bps == 256_000
    assert PROFILES["island_256"].up.rate_bps == 128_000


def test_trace(tmp_path: Path) -> None:
    """The log of a run is read back as the schedule of another; a broken line is named."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        '{"event": "start", "seed": 1}\n'
        '{"event": "step", "at_s": 3.5, "direction": "up", "changes": {"rate_bps": 1e5}}\n'
        '{"at_s": 1, "blackout_s": 20}\n'
    )
    assert load_trace(trace) == (
        Step(1, blackout_s=20),
        Step(3.5, "up", {"rate_bps": 1e5}),
    )
    trace.write_text('{"at_s": 1, "blackout": 20}\n')
    with pytest.raises(ValueError, match=r"trace\.jsonl:1:"):
        load_trace(trace)


@pytest.mark.parametrize(
    ("parameters", "passing"),
    [
        ({}, {"udp 5000", "tcp 80", "tcp 443"}),
        ({"udp_blocked": True}, {"tcp 80", "tcp 443"}),
        ({"tcp_ports_only": (443,)}, {"tcp 443"}),
    ],
)
def test_a_firewall_lets_through_what_it_should(
    parameters: dict[str, Any], passing: set[str]
) -> None:
    """Without UDP, TCP passes; with one TCP port left, nothing else does; what is refused is counted."""
    model = LinkModel(LinkParameters(rate_bps=1_000_000).changed(**parameters), 1)
    packets = {
        name: bytes([0x45, *[0] * 8, 6 if name.startswith("tcp") else 17, *[0] * 10])
        + (40_000).to_bytes(2, "big")
        + int(name.split()[1]).to_bytes(2, "big")
        for name in ("udp 5000", "tcp 80", "tcp 443")
    }
    for packet in packets.values():
        model.offer(0.0, packet)
    arrived = {packet for _, packet in drain(model)}
    assert {name for name, packet in packets.items() if packet in arrived} == passing
    assert model.tally.lost_packets[DropCause.FIREWALL] == 3 - len(passing)
