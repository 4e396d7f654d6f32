# SPDX-License-Identifier: Apache-2.0
"""A picture over a lossy link of 500 ms, in virtual time: order, bounds, budgets, no storm."""

import itertools
from collections import Counter

import pytest

from media.core.budget import MIN_REPAIR_BURST_BYTES, REPAIR_BURST_S, REPAIR_SHARE
from media.core.cache import DEFAULT_CAPACITY
from tests.unit.media.core.lossy_link import BURSTS, Call, call

SECONDS = 60.0


def check_order(run: Call) -> None:
    """In order, without repeats, decodable, contiguous: what every run must keep."""
    indices = [packet.index for packet in run.forwarded]
    assert indices == sorted(set(indices))
    shown = sorted(run.watcher.got.values(), key=lambda packet: packet.number)
    numbers = [packet.number for packet in shown]
    assert [packet.timestamp for packet in shown] == sorted(packet.timestamp for packet in shown)
    if not run.down.lost and not run.down.dropped:
        assert numbers == list(range(10, 10 + len(numbers)))
        assert run.watcher.duplicates == 0
        last = -1
        for packet in shown:
            if packet.piece == 0 and not packet.key:
                assert packet.picture == last + 1
            last = packet.picture


def check_bounds(run: Call) -> None:
    """Two requests per packet, held and cached packets bounded, key frames a second apart."""
    assert max(Counter(run.asked).values(), default=0) <= 2
    assert run.most_held <= 12
    assert len(run.cache) <= DEFAULT_CAPACITY
    assert len(run.inbound.nacks) <= 20
    times = run.asked_for_key_frames
    assert all(b - a >= 1.0 - 1e-9 for a, b in itertools.pairwise(times))


def gaps(run: Call, seconds: float) -> list[float]:
    """Return the times between pictures."""
    times = [0.0, *(at for _, at in run.watcher.pictures()), seconds]
    return [b - a for a, b in itertools.pairwise(times)]


def frozen_share(run: Call, seconds: float) -> float:
    """Return the share of time in gaps of more than a second between pictures."""
    return sum(gap for gap in gaps(run, seconds) if gap > 1.0) / seconds


def test_a_lossless_link_needs_nothing() -> None:
    """Without losses there is no request, no gap, and every picture is shown."""
    run = call(bursts=())
    run.run(20.0)
    check_order(run)
    assert (run.asked, run.asked_for_key_frames) == ([], [])
    assert len(run.watcher.pictures()) == pytest.approx(80, abs=4)
    assert run.inbound.hold.given_up == 0


def test_bursts_are_repaired_in_order() -> None:
    """6 % of bursts at 48 kbit/s: over three pictures a second of four, hardly a key frame."""
    run = call()
    run.run(SECONDS)
    check_order(run)
    check_bounds(run)
    assert run.up.lost >= 8
    assert run.up.dropped == 0
    assert len(run.watcher.pictures()) >= 3.4 * SECONDS
    # A loss shows with the next frame, 250 ms on, and its answer takes a round trip: 1.1 s per loss.
    assert frozen_share(run, SECONDS) <= 0.3
    assert max(gaps(run, SECONDS)) < 2.0
    assert run.sender.key_frames == 1
    assert run.inbound.hold.given_up == 0
    assert run.sender.retransmitted <= 2 * run.up.lost


def test_the_storm_does_not_start() -> None:
    """On a link that the picture nearly fills, repairs stay in their share and the queue holds.

    48 kbit/s, 40 of them picture, key frames of 3 kB, the sender answering every request at once: the
    case in which a browser left to itself sends six times the link's rate. The same call with repairs
    unpaid overfills the queue and shows a third fewer pictures: it is the budget that holds it.
    """
    held, free = (call(frame_bytes=1_150, key_bytes=3_000) for _ in range(2))
    free.up_budget.set_rate(1e9, 0.0)
    for run in (held, free):
        run.run(SECONDS)
        check_order(run)
        check_bounds(run)
    rate = 48_000 / 8
    saved = max(MIN_REPAIR_BURST_BYTES, rate * REPAIR_SHARE * REPAIR_BURST_S)
    invited = held.sender.retransmitted * 1_210 + len(held.asked_for_key_frames) * 3_000
    assert invited <= rate * REPAIR_SHARE * SECONDS + saved
    assert held.up.dropped <= 0.01 * held.up.offered
    assert len(held.watcher.pictures()) >= 2.8 * SECONDS
    assert free.up.dropped > 0.1 * free.up.offered
    assert free.sender.key_frames > 3 * held.sender.key_frames
    assert len(free.watcher.pictures()) < 0.67 * len(held.watcher.pictures())


def test_the_watchers_repeats_are_paid_and_filtered() -> None:
    """A watcher that asks every 20 ms gets each packet once a round trip, within the share."""
    run = call(bursts=(), down_bps=64_000, down_bursts=BURSTS)
    run.run(SECONDS)
    check_order(run)
    assert run.down.lost >= 8
    assert run.cache.repeats > 100
    assert run.outbound.resent <= 2 * run.down.lost
    saved = max(MIN_REPAIR_BURST_BYTES, 8_000 * REPAIR_SHARE * REPAIR_BURST_S)
    assert run.resent_bytes <= 8_000 * REPAIR_SHARE * SECONDS + saved
    assert run.down.dropped == 0
    assert len(run.watcher.pictures()) >= 3.8 * SECONDS
    assert run.watcher.missing() == []


def test_an_outage_ends_with_a_key_frame() -> None:
    """After ten seconds of nothing the picture is back within a round trip and a frame or two."""
    run = call(bursts=((5.0, 10.0), (1e6, 0.0)))
    run.run(30.0)
    check_order(run)
    check_bounds(run)
    back = [at for _, at in run.watcher.pictures() if at > 15.0]
    # 0.25 s up, the request 0.25 s down, up to a frame of waiting, 0.5 s over both ways, serialisation.
    assert back[0] <= 15.0 + 2.2
    assert run.sender.key_frames <= 3


def test_memory_stays_flat_over_a_long_call() -> None:
    """Ten minutes: what is held, missing, cached and remembered is as little as after one."""
    run = call(fps=2.0)
    run.run(600.0)
    check_order(run)
    check_bounds(run)
    assert len(run.inbound.hold) <= 12
    assert len(run.cache) <= 12
    assert len(run.cache._resent_at) <= DEFAULT_CAPACITY
