# SPDX-License-Identifier: Apache-2.0
"""Which way media goes: the choices, without a node."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.core import events as ev
from signalling.core import lifecycle, routes
from signalling.core.lifecycle import Consult
from signalling.core.routes import RelayLoad
from signalling.wire.ids import ParticipantId
from tests.support.consults import AYU, STORIES, consult_in

NOW = 1_000.0


def load(name: str, **changes: object) -> RelayLoad:
    given = {"heard_at": NOW, "legs": 0, "legs_max": 100, "ready": True, **changes}
    return RelayLoad(ParticipantId(name), **given)  # type: ignore[arg-type]


def routed(state: str, relay: str = "r_one") -> Consult:
    consult = consult_in(state)
    return lifecycle.apply(consult, ev.Routed(at=NOW, consult=consult.id, relay=relay))


def test_the_least_full_one_is_chosen() -> None:
    """By its legs or its processor, whichever is fuller; the name decides only between equals."""
    assert routes.choose([load("b", legs=10), load("a", legs=20)], NOW) == "b"
    assert routes.choose([load("b", load_ratio=0.5), load("a", legs=40)], NOW) == "a"
    assert routes.choose([load("b"), load("a")], NOW) == "a"
    assert routes.choose([], NOW) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"draining": True},
        {"ready": False},
        {"legs": 99},
        {"legs_max": 1},
        {"heard_at": -inf},
        {"heard_at": NOW - routes.STATUS_LATE_S - 0.01},
    ],
)
def test_who_has_no_room(changes: dict[str, object]) -> None:
    """One that drains, has not said what it has, is full, or is out of control is given nobody."""
    assert routes.choose([load("a", **changes)], NOW) is None


def test_a_standby_comes_first() -> None:
    """A relay whose offers are in the pages comes before emptier ones, full or not, unless it is of no use."""
    relays = [load("empty"), load("known", legs=100)]
    known = {ParticipantId("known"): 2, ParticipantId("empty"): 0}
    assert routes.choose(relays, NOW, known_to=known) == "known"
    assert routes.choose(relays, NOW, known_to=known, without=("known",)) == "empty"
    dead = [load("empty"), load("known", heard_at=-inf)]
    assert routes.choose(dead, NOW, known_to=known) == "empty"


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.floats(0, 2)), max_size=6))
def test_who_is_chosen_has_room(found: list[tuple[int, bool, float]]) -> None:
    """Whoever is chosen has room, and nobody with room is emptier; None only when nobody has room."""
    relays = [
        load(f"r{n}", legs=legs, draining=draining, load_ratio=ratio)
        for n, (legs, draining, ratio) in enumerate(found)
    ]
    free = [r for r in relays if routes.has_room(r, NOW)]
    chosen = next((r for r in relays if r.id == routes.choose(relays, NOW)), None)
    assert (chosen in free) if free else chosen is None
    if chosen is not None:
        assert routes.fullness(chosen) == min(map(routes.fullness, free))


def test_three_for_each_specialist() -> None:
    """Three patients next in line for each specialist on call are warm; with nobody on call nobody is."""
    assert [routes.in_reach(place, 2) for place in (1, 6, 7)] == [True, True, False]
    assert not routes.in_reach(1, 0)


@pytest.mark.parametrize("state", STORIES)
def test_who_has_a_leg(state: str) -> None:
    """The patient from the intake on, the specialist who is rung or in the call, and nobody else ever."""
    consult = consult_in(state)
    before_or_over = {"invited", "joined", "ended", "abandoned", "expired"}
    assert routes.has_leg(consult, ev.PATIENT, None) is (state not in before_or_over)
    engaged = state in {"ringing", "in_call", "interrupted"}
    assert consult.specialist is not None or not engaged
    assert routes.has_leg(consult, ev.SPECIALIST, consult.specialist or AYU) is engaged
    for account in (None, "a_other"):
        assert not routes.has_leg(consult, ev.SPECIALIST, account)  # type: ignore[arg-type]
    assert not routes.has_leg(consult, "operator", consult.specialist)


@pytest.mark.parametrize("state", STORIES)
def test_when_a_consult_is_bound(state: str) -> None:
    """While it waits or rings, once; a call is not moved because a relay has room."""
    consult = consult_in(state)
    assert routes.may_bind(consult) is (state in {"waiting", "ringing"})
    if state in {"waiting", "ringing"}:
        assert not routes.may_bind(routed(state))


def test_when_a_relay_is_lost() -> None:
    """Out of control alone is not enough, nor is a page's word alone; an old word doesn't count."""
    well, ill = load("a"), load("a", heard_at=NOW - 3)
    old = NOW - routes.TROUBLE_S - 0.1
    assert not routes.is_lost(well, [NOW], NOW)
    assert not routes.is_lost(well, [NOW, old], NOW)
    assert routes.is_lost(well, [NOW, NOW - 1], NOW)
    assert routes.is_lost(ill, [NOW], NOW)
    assert routes.is_lost(None, [NOW - 1], NOW)
    assert not routes.is_lost(ill, [-inf], NOW)
    assert not routes.is_lost(None, [old], NOW)


def test_who_gives_up_waiting_for_a_leg() -> None:
    """After 5 s; in a call only a page that is new, since any other one has its media."""
    for state in ("waiting", "ringing", "callback"):
        assert routes.gives_up(routed(state), 5.1, new_page=False)
        assert not routes.gives_up(routed(state), 4.9, new_page=True)
    for state in ("in_call", "interrupted"):
        assert routes.gives_up(routed(state), 5.1, new_page=True)
        assert not routes.gives_up(routed(state), 500.0, new_page=False)


def test_the_order_of_a_drain() -> None:
    """Those who wait are handed on before those who talk; others' consults not at all."""
    waits, talks = routed("waiting"), routed("in_call")
    assert routes.drains_next([talks, waits], "r_one") is waits
    assert routes.drains_next([talks], "r_one") is talks
    assert routes.drains_next([talks, waits], "r_two") is None
    step = routes.Step(talks.id, NOW)
    assert routes.goes_on(None, False, NOW)
    assert not routes.goes_on(step, False, NOW + 9)
    assert routes.goes_on(step, True, NOW)
    assert routes.goes_on(step, False, NOW + 10.1)


def test_when_old_legs_end() -> None:
    """5 s after voice comes the new way; 15 s after the move if it never does."""
    assert not routes.ends_old_leg(NOW, NOW + 1, NOW + 6)
    assert routes.ends_old_leg(NOW, NOW + 1, NOW + 6.1)
    assert not routes.ends_old_leg(NOW, None, NOW + 15)
    assert routes.ends_old_leg(NOW, None, NOW + 15.1)


def test_every_live_state_can_be_routed() -> None:
    """The way can change in each state after the intake, to another one only, and nothing else changes."""
    for state in ("waiting", "ringing", "in_call", "interrupted", "callback"):
        consult = routed(state)
        assert (consult.relay, consult.state) == ("r_one", consult_in(state).state)
        with pytest.raises(lifecycle.InvalidTransition):
            lifecycle.apply(consult, ev.Routed(at=NOW, consult=consult.id, relay="r_one"))
