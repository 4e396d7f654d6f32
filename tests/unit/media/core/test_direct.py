# SPDX-License-Identifier: Apache-2.0
"""A direction from browser to browser over emulated links, in virtual time: the ladder with nothing but both pages' counts."""

import pytest

from media.core.direct import STALE_S, DirectWay
from media.core.ladder import Reason
from media.core.rungs import Rung
from tests.support.direct_link import Call

SEEDS = (1, 2, 3)
DELAYS = pytest.mark.parametrize("delays", [True, False], ids=["delays", "round-trips"])


@DELAYS
@pytest.mark.parametrize("seed", SEEDS)
def test_a_thin_link_is_not_filled(seed: int, delays: bool) -> None:
    """64 kbit/s, 800 ms, jitter 60, 3 %: a moving picture after ten seconds, and the queue drops under 2.5 %."""
    out = Call([(0, 64e3)], 0.8, loss_ratio=0.03, jitter_ms=60, seed=seed, delays=delays).run(60)
    assert out.fps(10, 60) >= 4
    assert out.queue_loss_ratio <= 0.025
    assert out.rung_at(55) is Rung.GLIMPSE


@DELAYS
@pytest.mark.parametrize("seed", SEEDS)
def test_bursts_of_losses(seed: int, delays: bool) -> None:
    """48 kbit/s, 500 ms, jitter 80, bursts of 6 %: 3.5 pictures a second, and hardly a drop."""
    out = Call([(0, 48e3)], 0.5, burst_loss_ratio=0.06, jitter_ms=80, seed=seed, delays=delays).run(
        60
    )
    assert out.fps(10, 60) >= 3.5
    assert out.queue_loss_ratio <= 0.01


@DELAYS
def test_a_link_that_carries_more_proves_it(delays: bool) -> None:
    """128 kbit/s and 800 ms: `small` within half a minute; 50 Mbit/s and 20 ms: the open in 40 s; nothing is dropped."""
    thin = Call([(0, 128e3)], 0.8, loss_ratio=0.03, jitter_ms=60, delays=delays).run(45)
    assert thin.rung_at(30) is Rung.SMALL
    assert thin.queue_loss_ratio <= 0.01
    good = Call([(0, 50e6)], 0.02, delays=delays).run(45)
    assert good.rung_at(40) is Rung.OPEN
    assert good.queue_loss_ratio == 0
    assert all(b.after - b.before <= 1 for b in good.moves), "one rung at a time"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_browser_that_finds_nothing_out_takes_longer(seed: int) -> None:
    """Without the browser's own finds time and use must do: 128 kbit/s has `small` within 40 s, with few drops."""
    out = Call(
        [(0, 128e3)], 0.8, loss_ratio=0.03, jitter_ms=60, probes=False, used_ratio=0.8, seed=seed
    ).run(60)
    assert max(rung for at, rung in out.rungs if at < 40) >= Rung.SMALL
    assert out.queue_loss_ratio <= 0.03


def test_a_deep_queue_is_not_filled() -> None:
    """128 kbit/s with a queue of 4 s: most of the time less than 100 ms of it are used."""
    out = Call([(0, 128e3)], 0.8, queue_ms=4_000).run(90)
    waits = sorted(out.queue_s)
    assert waits[len(waits) // 2] < 0.1
    assert waits[int(len(waits) * 0.9)] < 0.8
    assert out.queue_loss_ratio == 0


@DELAYS
def test_a_link_that_falls_is_followed_down_and_up(delays: bool) -> None:
    """1000 → 100 → 1000 kbit/s: in 5 s within what is left, half of the way up again 30 s after it."""
    out = Call([(0, 1e6), (40, 100e3), (70, 1e6)], 0.1, delays=delays).run(100)
    assert out.rung_at(39) >= Rung.STANDARD
    assert out.rung_at(45) <= Rung.SMALL
    assert max(out.rung_at(at) for at in range(46, 70)) <= Rung.SMALL
    assert out.rung_at(99) >= Rung.STANDARD


def test_an_outage_is_no_reason_to_go_down() -> None:
    """After 20 s without anything the direction is where it was, and what was lost in them says nothing of the link."""
    out = Call([(0, 128e3)], 0.3, blackout=(40.0, 20.0)).run(90)
    before = out.rung_at(39)
    assert before >= Rung.SMALL
    assert out.rung_at(62) >= Rung.VOICE
    assert out.rung_at(70) >= before


def test_without_reports_nothing_is_decided() -> None:
    """The receiver can't reach its node for 30 s: what flows goes on, and nothing is told to the sender."""
    out = Call([(0, 64e3)], 0.3, signalling_cut=(30.0, 60.0)).run(80)
    assert not [move for move in out.moves if 30 + STALE_S < move.at < 60]
    assert out.fps(36, 60) >= 3


def test_the_reports_are_less_than_a_kilobit() -> None:
    """On all rungs that thin links reach."""
    out = Call([(0, 128e3)], 0.8, loss_ratio=0.03).run(60)
    assert out.rung_at(59) is Rung.SMALL
    assert out.reported_bytes * 8 / 60 <= 1_000


def test_a_brake_is_obeyed_and_answered() -> None:
    """The page stopped its picture: only the ladder raises it, and not at once; the second time later."""
    call = Call([(0, 128e3)], 0.3)
    call.run(40)
    way = call.way
    assert way.direction.rung >= Rung.SMALL
    limits, move = way.braked(40.0)
    assert limits is not None
    assert move is not None
    assert (move.after, move.reason, limits.video_max_bps) == (Rung.VOICE, Reason.BRAKE, 0)
    assert way.braked(40.1) == (None, None)
    way.decide(40.4)
    assert way.direction.rung is Rung.VOICE
    for second in range(1, 3):
        way.counted(1.0, 2_000, 17, 17, 40.0 + second)
        way.decide(40.0 + second)
    assert Rung.VOICE < way.direction.rung <= Rung.SMALL
    way.braked(43.0)
    for second in range(1, 3):
        way.counted(1.0, 2_000, 17, 17, 43.0 + second)
        way.decide(43.0 + second)
        assert way.direction.rung is Rung.VOICE


def test_another_connection_forgets_delays_but_not_the_rate() -> None:
    """A page that was loaded anew has another clock's origin: the first delay after it is no queue."""
    way = DirectWay(0.0, 200_000)
    way.begin(0.0)
    for second in range(1, 10):
        way.estimator.measured_delay(0.1, second)
        way.counted(1.0, 20_000, 60, 60, second)
    rate = way.estimator.estimate(9.0).rate_bps
    way.estimator.anew(9.5)
    way.estimator.measured_delay(5.0, 10.0)
    way.counted(1.0, 20_000, 60, 60, 10.0)
    assert way.queue_s(10.0) == 0
    assert way.estimator.estimate(10.0).rate_bps == pytest.approx(rate, rel=0.05)
