# SPDX-License-Identifier: Apache-2.0
"""What a relay says comes in order, numbered, no faster than a node takes it."""

import json

import pytest

from media.outbox import BURST, QUEUE_MAX, RATE_PER_S, Outbox, OutboxFull
from signalling.wire.legs import LegState, LimitLeg, Limits


def state(leg):
    return LegState(id=1, leg=leg, state="connected")


def limit(leg, bps):
    return LimitLeg(id=1, leg=leg, limits=Limits(video_max_bps=bps))


class Line:
    """Collects what was written."""

    def __init__(self):
        self.said = []
        self.outbox = Outbox(lambda data: self.said.append(json.loads(data)), 2, 0.0)


def test_messages_are_numbered_in_order():
    """Ids rise from the first one, whatever the messages carried."""
    line = Line()
    for leg in "abc":
        line.outbox.put(state(leg), 0.0)
    assert [(each["id"], each["leg"]) for each in line.said] == [(2, "a"), (3, "b"), (4, "c")]


def test_a_burst_then_a_rate():
    """A burst goes at once, the rest at the rate: in any ten seconds no more than both together."""
    line = Line()
    for index in range(1_000):
        line.outbox.put(state(str(index)), 0.0)
    assert len(line.said) == BURST
    now, after_s = 0.0, line.outbox.pump(0.0)
    while after_s is not None and now < 10.0:
        now += after_s
        after_s = line.outbox.pump(now)
    assert len(line.said) == pytest.approx(BURST + 10 * RATE_PER_S, abs=2)
    assert [each["leg"] for each in line.said] == [str(index) for index in range(len(line.said))]


def test_of_limits_that_wait_only_the_newest_is_said():
    """A leg's older limits are of no use when its newer ones are there; states are all said."""
    line = Line()
    for index in range(int(BURST)):
        line.outbox.put(state(f"s{index}"), 0.0)
    for bps in (1, 2, 3):
        line.outbox.put(limit("a", bps), 0.0)
        line.outbox.put(limit("b", bps * 10), 0.0)
    line.outbox.pump(60.0)
    said = [(each["leg"], each["limits"]["videoMaxBps"]) for each in line.said[int(BURST) :]]
    assert said == [("a", 3), ("b", 30)]


def test_a_connection_that_takes_nothing_is_given_up():
    """What waits is bounded."""
    line = Line()
    for index in range(QUEUE_MAX + int(BURST)):
        line.outbox.put(state(str(index)), 0.0)
    with pytest.raises(OutboxFull):
        line.outbox.put(state("one more"), 0.0)
