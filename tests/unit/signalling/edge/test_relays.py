# SPDX-License-Identifier: Apache-2.0
"""What a node keeps of its relays, with connections and a ledger of paper."""

from types import SimpleNamespace

import pytest

from signalling.core.lifecycle import Consult
from signalling.edge.relays import Relays, Want, relay_of
from signalling.errors import Refused
from signalling.wire import legs as wire
from signalling.wire.codes import Code
from signalling.wire.terms import ConsultState
from tests.support.room import House

CONSULT = "c1"
PATIENT = "p_c1"
RELAY = relay_of("relay-process")


class Line:
    """A connection that keeps what is sent."""

    def __init__(self, participant, instance="relay-process"):
        self.participant = participant
        self.instance = instance
        self.binding = "own"
        self.sent = []

    def send(self, message):
        self.sent.append(message)

    def of(self, kind):
        return [each for each in self.sent if isinstance(each, kind)]


class Bench:
    """A node with one relay and one patient who waits."""

    def __init__(self):
        consult = Consult(id=CONSULT, state=ConsultState.WAITING, relay=RELAY)
        ledger = SimpleNamespace(consults={CONSULT: consult}, known={CONSULT: consult}.get)
        metrics = SimpleNamespace(leg_given=lambda standby: None, leg_closed=lambda: None)
        self.pages = {}
        self.relays = Relays(ledger, self.pages, metrics, spawn=None)
        self.minted = 0

    def connect(self):
        """Let the relay come (again)."""
        line = Line(RELAY)
        self.relays.came(line)
        self.relays.status(line, wire.RelayStatus(1, legs=0, legs_max=10, load_ratio=0.0))
        return line

    def mint(self, line, count=1):
        offer = House().person("ana").offer
        legs = [wire.MintedLeg(f"leg{self.minted + n}", offer) for n in range(count)]
        self.minted += count
        self.relays.legs_minted(line, wire.LegsMinted(2, legs))

    def load(self, instance):
        """Let the patient's page load; return its connection."""
        page = self.pages[PATIENT] = Line(PATIENT, instance)
        relay = self.relays.get(RELAY)
        self.relays.want(relay, Want(CONSULT, PATIENT, instance, "patient", False, since=0.0))
        return page


@pytest.fixture
async def bench():
    """A loop runs: its clock is asked."""
    return Bench()


async def test_a_page_that_was_reloaded_while_its_relay_was_away_gets_a_leg(bench):
    """The leg of the page before it, that the relay closed meanwhile, is not replaced in its stead."""
    line = bench.connect()
    bench.relays.legs_seated(line, wire.LegsSeated(2, []))
    bench.mint(line)
    assert bench.load("first-page").of(wire.LegGiven)
    bench.relays.gone(line)
    page = bench.load("second-page")
    line = bench.connect()
    bench.relays.legs_seated(line, wire.LegsSeated(2, []))
    bench.mint(line)
    assert [given.leg for given in page.of(wire.LegGiven)] == ["leg1"]
    assert [each.seat.instance for each in line.of(wire.LegSeated)] == ["second-page"]


async def test_a_lost_leg_is_replaced_for_the_same_page(bench):
    """Not at once, though: two seconds after the one before."""
    line = bench.connect()
    bench.relays.legs_seated(line, wire.LegsSeated(2, []))
    bench.mint(line, 2)
    page = bench.load("first-page")
    bench.relays.leg_state(line, wire.LegState(3, "leg0", "closed"))
    (want,) = bench.relays.get(RELAY).wanting.values()
    assert want.instance == "first-page"
    assert len(page.of(wire.LegGiven)) == 1


async def test_a_relay_that_tells_of_forwarding_without_end_is_refused(bench):
    """What is kept of one relay's words is bounded by the legs that it may have."""
    line = bench.connect()
    for turn in range(wire.LEGS_MAX // 50):
        names = [f"c{turn}-{n}" for n in range(50)]
        bench.relays.legs_seated(line, wire.LegsSeated(2, [], names, more=True))
    with pytest.raises(Refused) as refused:
        bench.relays.legs_seated(line, wire.LegsSeated(2, [], ["one-more"], more=True))
    assert refused.value.code == Code.WRONG_STATE
