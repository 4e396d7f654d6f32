# SPDX-License-Identifier: Apache-2.0
"""Pool, seats and rooms at a clock of the test; the port's sockets stay closed."""

from types import SimpleNamespace

import pytest

from media.core.link_probe import Confidence, Mode, Reading
from media.relay.drops import Drop
from media.relay.leg import SILENT_S
from media.relay.leg import LegState as Stage
from media.relay.port import PortSettings, RelayPort
from media.seating import (
    CONSULTS_MAX,
    CONTROL_LOST_S,
    LINKS_S,
    POOL,
    RETIRED_S,
    SURVEYED_S,
    Seating,
)
from signalling.wire.legs import (
    CloseLeg,
    Forwarding,
    LegAnswer,
    LegKnown,
    LegProbed,
    LegSeated,
    LegsMinted,
    LegsSeated,
    LegState,
    LimitLeg,
    MediaAnswer,
    RelayAnswer,
    Seat,
)
from signalling.wire.quality import LegLinks
from tests.support.stun import reply


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


ANSWER = LegAnswer(
    ice="u:password",
    fingerprints=["sha-256 00"],
    setup="passive",
    audio=MediaAnswer(payload_types=[111, 63], ssrcs=[1], extensions=[], direction="sendrecv"),
    video=MediaAnswer(payload_types=[96, 97], ssrcs=[2, 3], extensions=[], direction="sendrecv"),
)


@pytest.mark.parametrize("answered_first", [False, True])
async def test_a_call_that_is_taken_over_begins_where_it_was(bench, answered_first):
    """What another relay knew of both links decides the first limits; the link is not measured again meanwhile.

    The patient's 110 kbit/s up and 300 down, of a rung `small`, the specialist's 2 Mbit/s.
    """
    legs = bench.pool()[:2]
    words = [
        LegKnown(legs[0], "small", 110_000, 300_000, 700),
        LegKnown(legs[1], "standard", 2_000_000, 2_000_000, 20),
    ]
    for leg, participant in zip(legs, ("p_c1", "a_1"), strict=True):
        bench.seat(leg, participant=participant)
    steps = [lambda: [bench.seating.ordered(word) for word in words]]
    steps.insert(
        0 if answered_first else 1,
        lambda: [bench.seating.ordered(RelayAnswer(leg, ANSWER)) for leg in legs],
    )
    for step in steps:
        step()
    bench.seating.ordered(Forwarding("c1", ["p_c1", "a_1"]))
    told = {each.leg: each.limits for each in bench.of(LimitLeg)}
    assert [told[leg].rung for leg in legs] == ["small", "medium"]
    assert told[legs[0]].video_max_bps > 10_000
    assert told[legs[1]].video_max_bps > 100_000
    for leg in legs:
        bench.seating._survey(leg, Mode.FULL)
        assert bench.seating.seats[leg].survey is None


async def test_what_a_survey_found_counts_before_it_is_over(bench):
    """After `SURVEYED_S` the page is told what 2 Mbit/s allow, once; before, what an unknown link does."""
    leg = bench.pool()[0]
    bench.seat(leg)
    bench.seating.ordered(RelayAnswer(leg, ANSWER))
    found = Reading(2e6, 2e6, Confidence.FAIR, 0.0, 30, 0.05, 9_000)
    bench.seating.seats[leg].survey = SimpleNamespace(
        begun_at=bench.now,
        told=False,
        is_thin=False,
        tick=lambda now: True,
        reading=lambda now: (found, found),
    )
    bench.seating._surveying.add(leg)
    bench.now += SURVEYED_S - 0.1
    bench.seating._tick_surveys(bench.now)
    (before,) = bench.of(LimitLeg)
    for _ in range(3):
        bench.now += 0.2
        bench.seating._tick_surveys(bench.now)
    _, after = bench.of(LimitLeg)
    assert after.limits.video_max_bps > 5 * before.limits.video_max_bps


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


ICE_PASSWORD = "p" * 24


class Mirror:
    """A path to a browser that answers each check at once."""

    def __init__(self, leg, bench, each_s=0.0):
        self.leg, self.bench = leg, bench
        self.asked = []
        self.each_s = each_s

    def send(self, data, weight):
        self.asked.append(self.bench.now)
        later_s = 0.05 + self.asked.count(self.bench.now) * self.each_s
        self.leg.receive_stun_answer(reply(data, ICE_PASSWORD), self.bench.now + later_s)


def joined(bench, consult="c1", each_s=0.0):
    """Seat somebody, with an answer and a connection; return the leg's name and its path."""
    name = bench.pool()[0]
    bench.seat(name, consult, f"p_{consult}")
    seated = bench.seating.seats[name]
    media = MediaAnswer(payload_types=[111], ssrcs=[7], extensions=[], direction="sendrecv")
    video = MediaAnswer(payload_types=[96, 97], ssrcs=[8, 9], extensions=[], direction="sendrecv")
    answer = LegAnswer(ice=f"theirs:{ICE_PASSWORD}", fingerprints=["sha-256 00"], setup="passive", audio=media, video=video)  # fmt: skip
    bench.seating.ordered(RelayAnswer(name, answer))
    path = Mirror(seated.leg, bench, each_s)
    seated.leg._rule.current = path
    seated.leg.state = Stage.CONNECTED
    bench.seating._connected(name, seated.leg)
    return name, path


def wait(bench, seconds):
    for _ in range(int(seconds * 100)):
        bench.now += 0.01
        bench.seating._tick_surveys(bench.now)


async def test_the_link_of_who_waits_is_measured(bench):
    """From the connection on; the node is told once, and limits follow what was found, not the guess."""
    name, path = joined(bench)
    wait(bench, 10)
    (probed,) = bench.of(LegProbed)
    assert (probed.leg, probed.outlook) == (name, "good-picture")
    assert probed.up_bps > 300_000
    assert max(path.asked) - min(path.asked) <= 6
    told = [each.limits.rung for each in bench.of(LimitLeg)]
    assert told[0] == "glimpse"
    assert told[-1] == "standard"


async def test_a_call_that_begins_early_is_measured_on_where_that_harms_nobody(bench):
    """What the first trains told is taken at once, and what the others prove, within 4 s; the node is told once."""
    name, path = joined(bench)
    wait(bench, 0.5)
    bench.seating.ordered(Forwarding("c1", ["p_c1", "s1"]))
    assert bench.seating.rooms["c1"].talks(name)
    (seat,) = bench.seating.rooms["c1"]._open
    assert seat.up.estimate(bench.now).rate_bps < 200_000
    wait(bench, 3.5)
    assert seat.up.estimate(bench.now).rate_bps > 1_000_000
    wait(bench, 4)
    assert max(path.asked) - min(path.asked) <= 6
    assert bench.seating.seats[name].survey is None
    assert [each.leg for each in bench.of(LegProbed)] == [name]


async def test_a_thin_link_is_not_measured_in_a_call(bench):
    """Where the first trains were slow, forwarding ends the asking; what they told is taken."""
    name, path = joined(bench, each_s=0.02)
    wait(bench, 3)
    bench.seating.ordered(Forwarding("c1", ["p_c1", "s1"]))
    asked = len(path.asked)
    assert asked >= 6
    assert [each.leg for each in bench.of(LegProbed)] == [name]
    wait(bench, 5)
    assert len(path.asked) == asked
    assert bench.seating.rooms["c1"].talks(name)


async def test_after_an_outage_it_is_looked_at_again_lightly(bench):
    """Silence for three checks, then a check: a few trains; not during a call, and not without a reason."""
    name, path = joined(bench)
    leg = bench.seating.seats[name].leg
    wait(bench, 10)
    first = len(path.asked)
    leg.heard_at = bench.now
    await bench.sweep(1)
    assert bench.seating.seats[name].survey is None
    await bench.sweep(7)
    leg.heard_at = bench.now
    await bench.sweep(0.5)
    wait(bench, 10)
    assert 0 < len(path.asked) - first <= 2 * 6 * 3
    assert len(bench.of(LegProbed)) == 2
    bench.seating.ordered(Forwarding("c1", ["p_c1", "s1"]))
    bench.seating.seats[name].dark = True
    leg.heard_at = bench.now
    await bench.sweep(0.5)
    assert bench.seating.seats[name].survey is None
