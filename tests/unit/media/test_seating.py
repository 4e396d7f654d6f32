# SPDX-License-Identifier: Apache-2.0
"""Pool, seats and rooms at a clock of the test; the port's sockets stay closed."""

import pytest

from media.relay.drops import Drop
from media.relay.leg import SILENT_S
from media.relay.port import PortSettings, RelayPort
from media.seating import CONSULTS_MAX, CONTROL_LOST_S, LINKS_S, POOL, RETIRED_S, Seating
from signalling.wire.legs import (
    CloseLeg,
    Forwarding,
    LegSeated,
    LegsMinted,
    LegsSeated,
    LegState,
    Seat,
)
from signalling.wire.quality import LegLinks


class Bench:
    """A seating with a node that hears all it says."""

    def __init__(self):
        self.now = 1_000.0
        self.said = []
        self.port = RelayPort(PortSettings(legs_max=500), clock=lambda: self.now)
        self.seating = Seating(self.port, self.said.append, clock=lambda: self.now)

    def pool(self):
        """Return the names of the newest pool."""
        return [each.leg for each in self.of(LegsMinted)[-1].legs]

    def of(self, kind):
        return [each for each in self.said if isinstance(each, kind)]

    def seat(self, leg, consult="c1", participant="p_c1"):
        self.seating.ordered(LegSeated(Seat(leg, consult, participant, "page-instance", "patient")))

    async def sweep(self, after_s):
        self.now += after_s
        self.seating.sweep()
        await self.seating.close()  # what is being released
        self.seating._minting = True


@pytest.fixture
async def bench():
    """A seating whose node has just said welcome."""
    bench = Bench()
    bench.seating.welcomed(minting=True)
    yield bench
    await bench.seating.close()
    await bench.port.close()


async def test_what_links_are_like_is_told_every_five_seconds(bench):
    """Of each leg in a forwarded call, once in five sweeps; of nobody while there is no call, or no node."""
    first, second = bench.pool()[:2]
    bench.seat(first)
    bench.seat(second, participant="a_1")
    for _ in range(LINKS_S):
        await bench.sweep(1)
    assert bench.of(LegLinks) == []
    bench.seating.ordered(Forwarding("c1", ["p_c1", "a_1"]))
    for _ in range(2 * LINKS_S):
        await bench.sweep(1)
    told = bench.of(LegLinks)
    assert [{each.leg for each in message.links} for message in told] == [{first, second}] * 2
    assert all(each.up_bps == each.down_bps == 0 for each in told[0].links), (
        "nobody has filled them"
    )
    bench.seating.lost()
    for _ in range(2 * LINKS_S):
        await bench.sweep(1)
    assert len(bench.of(LegLinks)) == 2


async def test_the_pool_is_filled_up(bench):
    """Each seat is followed by one more minted leg."""
    assert len(bench.pool()) == POOL
    bench.seat(bench.pool()[0])
    assert len(bench.pool()) == 1
    assert len(bench.port.legs) == POOL + 1


async def test_without_a_node_nothing_is_minted_and_seats_stay(bench):
    """Calls outlive control for a quarter of an hour, no longer."""
    leg = bench.pool()[0]
    bench.seat(leg)
    bench.seating.lost()
    said = len(bench.of(LegsMinted))
    await bench.sweep(CONTROL_LOST_S - 1)
    assert list(bench.seating.seats) == [leg]
    assert len(bench.of(LegsMinted)) == said
    await bench.sweep(2)
    assert not bench.seating.seats
    assert not bench.seating.rooms


async def test_a_new_connection_has_a_pool_of_its_own(bench):
    """Earlier legs are not offered again, can be seated for a minute, and are then let go."""
    old = bench.pool()
    bench.seating.lost()
    bench.seating.welcomed(minting=True)
    assert not set(old) & set(bench.pool())
    bench.seat(old[0])
    assert old[0] in bench.seating.seats
    await bench.sweep(RETIRED_S + 1)
    assert len(bench.port.legs) == POOL + 1
    bench.seat(old[1])
    assert bench.of(LegState)[-1].leg == old[1]
    assert bench.of(LegState)[-1].state == "closed"


async def test_the_census_has_everybody_once(bench):
    """More seats than a message holds come in several, the last of which says so."""
    for index in range(150):
        bench.seat(bench.pool()[-1], f"c{index}", f"p_c{index}")
        bench.seating.ordered(Forwarding(f"c{index}", [f"p_c{index}", "s"]))
    bench.said.clear()
    bench.seating.welcomed(minting=True)
    census = bench.of(LegsSeated)
    assert [each.more for each in census] == [True, True, False]
    seated = [seat.participant for each in census for seat in each.legs]
    assert sorted(seated) == sorted(f"p_c{index}" for index in range(150))
    assert len({consult for each in census for consult in each.forwarding}) == 150


async def test_the_last_who_leaves_closes_the_room(bench):
    """A consult without legs leaves nothing behind, its forwarding neither."""
    one, other = bench.pool()[:2]
    bench.seat(one)
    bench.seat(other, participant="s")
    bench.seating.ordered(Forwarding("c1", ["p_c1", "s"]))
    assert bench.seating.forwarding == 1
    bench.seating.ordered(CloseLeg(one))
    assert bench.seating.forwarding == 1
    bench.seating.ordered(CloseLeg(other))
    assert (bench.seating.rooms, bench.seating._between, bench.seating._members) == ({}, {}, {})
    await bench.sweep(1)
    assert bench.seating.totals.endings["asked"] == 2


async def test_forwarding_may_be_said_before_anybody_sits(bench):
    """A room that opens later begins with it; what nobody comes for does not grow."""
    bench.seating.ordered(Forwarding("c1", ["p_c1", "s"]))
    bench.seat(bench.pool()[0])
    assert bench.seating.forwarding == 1
    for index in range(2 * CONSULTS_MAX):
        bench.seating.ordered(Forwarding(f"x{index}", ["p"]))
    assert len(bench.seating._between) <= CONSULTS_MAX
    assert bench.seating.forwarding == 1


async def test_a_draining_relay_mints_nothing(bench):
    """Also for the next node that says welcome."""
    bench.seating.drain()
    said = len(bench.of(LegsMinted))
    bench.seat(bench.pool()[0])
    bench.seating.welcomed(minting=False)
    assert len(bench.of(LegsMinted)) == said


async def test_the_pool_does_not_age(bench):
    """After a night without calls a pooled leg can still be given out; a quarter of an hour of silence counts from then on."""
    leg, *_ = bench.pool()
    bench.now += 12 * 3_600
    await bench.port._look_after(bench.now)
    bench.seat(leg)
    assert not bench.of(LegState)
    assert len(bench.port.legs) == POOL + 1
    await bench.port._look_after(bench.now + SILENT_S - 1)
    assert leg in bench.seating.seats
    await bench.port._look_after(bench.now + SILENT_S)
    assert [each.state for each in bench.of(LegState)] == ["closed"]


async def test_one_broken_leg_does_not_end_the_looking_after_others(bench):
    """A defect in one leg's timer is counted, and the silent leg behind it is closed all the same."""
    for name in bench.pool():
        bench.seat(name)
    broken, *others = bench.port.legs
    for leg in others:
        leg.heard_at = bench.now
    broken.sweep = None
    await bench.port._look_after(bench.now + SILENT_S)
    assert bench.port.drops[Drop.FAULT] == 1
    assert not set(others) & bench.port.legs
