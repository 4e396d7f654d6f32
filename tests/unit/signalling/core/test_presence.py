# SPDX-License-Identifier: Apache-2.0
"""The specialist's table, cell by cell."""

import pytest
from msgspec.structs import replace

from signalling.core import events as ev
from signalling.core import presence
from signalling.core.lifecycle import InvalidTransition
from signalling.core.presence import TRANSITIONS, Presence
from signalling.wire.codes import Code
from signalling.wire.terms import SpecialistState
from tests.support.consults import (
    ACCEPTED,
    AYU,
    BUDI,
    C2,
    POLICY,
    RUNG,
    T0,
    consult_in,
    replace_event,
    samples,
)

P = SpecialistState
LATER = T0 + 100
ON = ev.WentOnCall(at=T0, specialist=AYU)
OFF = ev.WentOffCall(at=T0 + 6, specialist=AYU)

STORIES: dict[str, tuple[ev.Event, ...]] = {
    "off_call": (),
    "available": (ON,),
    "ringing": (ON, RUNG),
    "in_call": (ON, RUNG, ACCEPTED),
    "leaving": (ON, RUNG, ACCEPTED, OFF),
}
"""How a specialist comes to each state; ``leaving`` is in a call, off call afterwards."""

EXPECTED = """
event          | off_call  | available | ringing   | in_call   | leaving
went_on_call   | available | -         | -         | -         | in_call
went_off_call  | -         | off_call  | -         | in_call   | -
rung           | -         | ringing   | -         | -         | -
ring_declined  | over      | over      | available | over      | over
ring_timed_out | -         | -         | available | -         | -
accepted       | over      | over      | in_call   | over      | over
abandoned      | -         | -         | available | -         | -
transferred    | -         | -         | -         | available | off_call
held           | -         | -         | -         | available | off_call
ended          | -         | -         | -         | available | off_call
answered       | off_call  | available | ringing   | in_call   | in_call
"""
"""What each event makes of a specialist in each state; any other event is refused in every state."""

REFUSALS = {"-": Code.WRONG_STATE, "over": Code.RING_OVER}
SAMPLES = {k.__struct_config__.tag: e for k, e in samples(consult_in("ringing"), LATER).items()}


def cells() -> list[tuple[str, str, str]]:
    """Return (story, event's tag, expectation) for the whole product."""
    header, *rows = [[c.strip() for c in line.split("|")] for line in EXPECTED.strip().splitlines()]
    found = [(s, row[0], cell) for row in rows for s, cell in zip(header[1:], row[1:], strict=True)]
    others = SAMPLES.keys() - {row[0] for row in rows}
    return found + [(story, tag, "-") for tag in sorted(others) for story in STORIES]


def who_is(story: str) -> Presence:
    who = Presence(AYU)
    for event in STORIES[story]:
        who = presence.apply(who, event)
    return who


@pytest.mark.parametrize(("story", "tag", "expected"), cells())
def test_each_event_in_each_state(story: str, tag: str, expected: str) -> None:
    """Each event in each state leads where the table says or is refused by its code, the specialist being as before."""
    who = who_is(story)
    before = replace(who)
    if expected in REFUSALS:
        with pytest.raises(InvalidTransition) as refused:
            presence.apply(who, SAMPLES[tag])
        assert refused.value.code is REFUSALS[expected]
    else:
        after = presence.apply(who, SAMPLES[tag])
        assert after.state == expected
        assert after.version == who.version + 1
        assert after.since == (who.since if after.state == who.state else LATER)
        busy = after.state in (P.RINGING, P.IN_CALL)
        assert after.consult == (RUNG.consult if busy else None)
    assert who == before


def test_the_product_is_full() -> None:
    """Every state can be reached, and every event of the project was tried in each."""
    assert {who_is(story).state for story in STORIES} == set(P) == set(TRANSITIONS)
    assert len(cells()) == len(STORIES) * len(ev.AnyEvent.__args__)
    assert all(who_is(story).version == len(events) for story, events in STORIES.items())


@pytest.mark.parametrize(
    ("story", "tag"),
    [
        ("ringing", "accepted"),
        ("ringing", "ring_declined"),
        ("ringing", "ring_timed_out"),
        ("ringing", "abandoned"),
        ("in_call", "ended"),
        ("in_call", "transferred"),
        ("in_call", "held"),
    ],
)
def test_events_of_another_consult_or_specialist(story: str, tag: str) -> None:
    """What belongs to another consult, or to another specialist's stream, changes nothing here."""
    who = who_is(story)
    for changes in ({"consult": C2}, {"specialist": BUDI}):
        with pytest.raises(InvalidTransition) as refused:
            presence.apply(who, replace_event(SAMPLES[tag], **changes))
        assert refused.value.code is Code.RING_OVER
    assert presence.apply(who, SAMPLES[tag]).version == who.version + 1


def test_another_specialist_can_not_be_switched_or_rung_here() -> None:
    """Rings and switches of another specialist are refused too."""
    for who, event in ((Presence(AYU), ON), (who_is("available"), RUNG)):
        with pytest.raises(InvalidTransition):
            presence.apply(who, replace_event(event, specialist=BUDI))


def test_who_goes_off_call_in_a_call_is_off_call_after_it() -> None:
    """Being on call and being in a call are two facts: the switch used in a call counts after it."""
    assert who_is("leaving").on_call is False
    assert presence.apply(who_is("leaving"), SAMPLES["ended"]).state is P.OFF_CALL
    assert presence.apply(who_is("in_call"), SAMPLES["ended"]).state is P.AVAILABLE
    again = presence.apply(who_is("leaving"), replace_event(ON, at=LATER))
    assert presence.apply(again, SAMPLES["ended"]).state is P.AVAILABLE


def test_rest_counts_from_the_end_of_the_last_call() -> None:
    """A call that has just ended is not rest, however long ago it began; a ring in vain doesn't count."""
    assert who_is("available").last_call_at == 0
    assert who_is("ringing").last_call_at == 0
    assert who_is("in_call").last_call_at == ACCEPTED.at
    for tag in ("ended", "transferred", "held"):
        assert presence.apply(who_is("in_call"), SAMPLES[tag]).last_call_at == LATER
    declined = presence.apply(who_is("ringing"), SAMPLES["ring_declined"])
    assert declined.last_call_at == 0


def test_missed_rings_are_counted_until_a_sign_of_life() -> None:
    """Each ring that times out counts; a patient who leaves meanwhile doesn't, and answering begins the count again."""
    rung, late = SAMPLES["rung"], SAMPLES["ring_timed_out"]
    missed = presence.apply(presence.apply(presence.apply(who_is("ringing"), late), rung), late)
    assert missed.missed == 2
    again = presence.apply(missed, rung)
    assert presence.apply(again, SAMPLES["abandoned"]).missed == 2
    for tag in ("accepted", "ring_declined"):
        assert presence.apply(again, SAMPLES[tag]).missed == 0


def test_the_lease_is_looked_at_while_on_call() -> None:
    """Whoever is on call, in a call too, has a next look at the lease; nobody else."""
    looked_at = {s for s in STORIES if presence.next_check(who_is(s), LATER, POLICY) is not None}
    assert looked_at == {"available", "ringing", "in_call"}
    assert presence.next_check(who_is("available"), LATER, POLICY) == LATER + POLICY.presence_s
