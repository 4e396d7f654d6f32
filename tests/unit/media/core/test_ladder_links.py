# SPDX-License-Identifier: Apache-2.0
"""Ladder and estimator together over emulated links, in virtual time: what comes out in the end."""

import pytest

from media.core.rungs import Rung
from tests.support.bwe_link import Scenario, Side
from tests.support.ladder_link import climb

BOTH: tuple[Side, ...] = ("up", "down")


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize(
    ("rate_bps", "rtt_s", "loss", "burst", "jitter_ms", "rung"),
    [
        (24e3, 0.6, 0.02, 0, 0, Rung.VOICE_MIN),
        (48e3, 0.5, 0, 0.06, 80, Rung.GLIMPSE),
        (64e3, 0.8, 0.03, 0, 60, Rung.GLIMPSE),
        (128e3, 0.8, 0.03, 0, 60, Rung.SMALL),
        (256e3, 0.65, 0.01, 0, 20, Rung.MEDIUM),
        (384e3, 0.25, 0.02, 0, 0, Rung.MEDIUM),
    ],
)
def test_a_link_is_used_and_not_filled(
    side: Side,
    rate_bps: float,
    rtt_s: float,
    loss: float,
    burst: float,
    jitter_ms: float,
    rung: Rung,
) -> None:
    """Two minutes on a thin link: its rung most of the time, at most 2 % dropped, the queue empty."""
    done = climb(
        Scenario([(0.0, rate_bps)], rtt_s, side, loss_ratio=loss, burst_loss_ratio=burst,
                 jitter_ms=jitter_ms, start_bps=0.75 * rate_bps, duration_s=120)
    )  # fmt: skip
    assert sum(r >= rung for _, r in done.rungs) >= 0.8 * len(done.rungs)
    assert len(done.steps()) <= 6
    assert len(done.moves) <= 24
    assert done.queue_loss_ratio <= 0.02
    assert sorted(done.queue_s)[len(done.queue_s) // 2] <= 0.1
    assert done.probed_bytes <= 0.1 * done.sent_bytes


def test_a_deep_queue_is_not_filled_either() -> None:
    """With a queue of 4 s half of the time less than 100 ms wait in it, and never over 1.5 s."""
    done = climb(
        Scenario([(0.0, 48e3)], 0.5, burst_loss_ratio=0.06, jitter_ms=80, queue_ms=4000,
                 start_bps=36e3, duration_s=120)
    )  # fmt: skip
    assert sorted(done.queue_s)[len(done.queue_s) // 2] <= 0.1
    assert max(done.queue_s) <= 1.5


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("rtt_s", [0.12, 0.6])
def test_a_fall_to_a_tenth_and_back(side: Side, rtt_s: float) -> None:
    """1000 -> 100 -> 1000 kbit/s: in 2.5 s down, few drops (where no probe is under way), and the former rung 30 s after it."""
    fall_s = 34.0
    steps = [(0.0, 1e6), (fall_s, 1e5), (fall_s + 30, 1e6)]
    done = climb(Scenario(steps, rtt_s, side, start_bps=6e5, duration_s=fall_s + 65))
    before = done.rung_at(fall_s - 0.1)
    assert before is Rung.STANDARD
    assert done.rung_at(fall_s + 2.5) <= Rung.SMALL
    assert done.queue_loss_ratio <= 0.02
    assert done.rung_at(fall_s + 60) >= before
    assert len(done.steps(fall_s)) <= 6


def test_a_good_link_from_what_a_link_probe_says() -> None:
    """Started at 300 kbit/s on 50 Mbit/s: standard within 10 s, the open soon after."""
    done = climb(Scenario([(0.0, 5e7)], 0.02, start_bps=3e5, duration_s=20))
    assert done.rung_at(10) >= Rung.STANDARD
    assert done.rung_at(15) is Rung.OPEN
    assert not [m for m in done.steps() if m.after < m.before]


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("length_s", [5, 25, 84])
def test_an_outage_costs_its_own_time(side: Side, length_s: float) -> None:
    """After an outage a picture within 1.5 s of the link, the former rung within 3 s.

    The one whose link it is can't be told of it, and goes on as before; whom only a watcher doesn't hear sends voice meanwhile.
    """
    done = climb(
        Scenario([(0.0, 384e3)], 0.25, side, loss_ratio=0.02, start_bps=25e4,
                 blackout=(30, length_s), duration_s=30 + length_s + 15)
    )  # fmt: skip
    back = 30 + length_s
    before = done.rung_at(29.9)
    assert done.rung_at(back - 0.1) is (before if side == "up" else Rung.VOICE)
    assert done.rung_at(back + 1.5) >= Rung.GLIMPSE
    assert done.rung_at(back + 3) is before
