# SPDX-License-Identifier: Apache-2.0
"""One step, two machines: what goes into which stream, all or nothing."""

import pytest
from msgspec.structs import replace

from signalling.core import coordinator, presence
from signalling.core import events as ev
from signalling.core.lifecycle import InvalidTransition
from signalling.core.presence import Presence
from signalling.wire.codes import Code
from signalling.wire.terms import ConsultState, SpecialistState
from tests.support.consults import (
    ABANDONED,
    ACCEPTED,
    AYU,
    BUDI,
    C2,
    POLICY,
    RUNG,
    STORIES,
    T0,
    consult_in,
    replace_event,
    samples,
)

LATER = T0 + 100
ON = ev.WentOnCall(at=T0, specialist=AYU)
OFF = ev.WentOffCall(at=LATER, specialist=AYU)


def on_call(*events: ev.Event, name: str = AYU) -> Presence:
    who = presence.apply(Presence(AYU if name == AYU else BUDI), replace_event(ON, specialist=name))
    for event in events:
        who = presence.apply(who, event)
    return who


def test_a_ring_is_one_fact_for_both() -> None:
    """A ring goes into both streams, the same event, each with its own version."""
    plan = coordinator.plan(consult_in("waiting"), on_call(), [RUNG])
    assert plan.consult_events == plan.presence_events == (RUNG,)
    assert plan.consult is not None
    assert plan.presence is not None
    assert (plan.consult.state, plan.consult.version) == (ConsultState.RINGING, 5)
    assert (plan.presence.state, plan.presence.version) == (SpecialistState.RINGING, 2)
    assert plan.presence.consult == plan.consult.id


def test_who_goes_off_call_during_a_ring_ends_it_too() -> None:
    """The ring rolls over with the switch: two events for the specialist, one for the consult, in one step."""
    timed_out = ev.RingTimedOut(at=LATER, consult=RUNG.consult, specialist=AYU)
    plan = coordinator.plan(consult_in("ringing"), on_call(RUNG), [timed_out, OFF])
    assert plan.consult_events == (timed_out,)
    assert plan.presence_events == (timed_out, OFF)
    assert plan.consult is not None
    assert plan.presence is not None
    assert plan.consult.state is ConsultState.WAITING
    assert plan.presence.state is SpecialistState.OFF_CALL


def test_what_concerns_one_is_in_one_stream() -> None:
    """A switch is the specialist's alone; a lost side, and leaving while nobody is rung, the consult's alone."""
    plan = coordinator.plan(None, on_call(), [OFF])
    assert (plan.consult, plan.consult_events, plan.presence_events) == (None, (), (OFF,))
    lost = ev.SideLost(at=LATER, consult=RUNG.consult, role=ev.PATIENT)
    left = replace_event(ABANDONED, specialist=None)
    for event in (lost, left):
        plan = coordinator.plan(consult_in("waiting"), None, [event])
        assert (plan.presence, plan.consult_events, plan.presence_events) == (None, (event,), ())


JOINT = [
    ev.Rung, ev.RingDeclined, ev.RingTimedOut, ev.Accepted, ev.Transferred, ev.Held, ev.Ended,
    ev.Abandoned,
]  # fmt: skip
"""What concerns a consult and a specialist, by what the words mean."""


@pytest.mark.parametrize("kind", JOINT, ids=lambda kind: kind.__name__)
def test_each_joint_event_moves_both(kind: type[ev.Event]) -> None:
    """Every event of both streams is folded by both machines."""
    story = {
        ev.Rung: "waiting",
        ev.Transferred: "in_call",
        ev.Held: "interrupted",
        ev.Ended: "in_call",
    }.get(kind, "ringing")
    consult = consult_in(story)
    shared = [e for e in STORIES[story] if type(e) in JOINT]
    who = on_call(*shared)
    event = samples(consult, LATER)[kind]
    plan = coordinator.plan(consult, who, [event])
    assert plan.consult is not None
    assert plan.presence is not None
    assert (plan.consult.version, plan.presence.version) == (consult.version + 1, who.version + 1)


def test_all_or_nothing() -> None:
    """If one machine refuses one of the events, neither is changed, whichever it is and wherever it stands."""
    consult, who = consult_in("ringing"), on_call(RUNG)
    before = replace(consult), replace(who)
    for events in (
        [replace_event(ACCEPTED, specialist=BUDI)],
        [ACCEPTED, ACCEPTED],
        [ACCEPTED, replace_event(OFF, specialist=BUDI)],
        [replace_event(ON, at=LATER), ACCEPTED],
    ):
        with pytest.raises(InvalidTransition):
            coordinator.plan(consult, who, events)
        assert (consult, who) == before


def test_a_busy_specialist_can_not_be_rung_twice() -> None:
    """A specialist who rings for one consult can't be rung for another: the second ring is refused as a whole."""
    with pytest.raises(InvalidTransition) as refused:
        coordinator.plan(
            replace(consult_in("waiting"), id=C2), on_call(RUNG), [replace_event(RUNG, consult=C2)]
        )
    assert refused.value.code is Code.WRONG_STATE


def test_an_acceptance_by_somebody_else_is_refused_by_both() -> None:
    """Neither the wrong specialist nor the wrong consult's ring can be accepted."""
    other = presence.apply(on_call(name=BUDI), replace_event(RUNG, specialist=BUDI, consult=C2))
    with pytest.raises(InvalidTransition):
        coordinator.plan(consult_in("ringing"), other, [replace_event(ACCEPTED, specialist=BUDI)])


def test_a_step_concerns_one_specialist() -> None:
    """Two specialists in one step are a mistake of ours, and found."""
    assert coordinator.specialist_among([RUNG, ACCEPTED]) == AYU
    assert coordinator.specialist_among([replace_event(ABANDONED, specialist=None)]) is None
    with pytest.raises(AssertionError):
        coordinator.specialist_among([RUNG, replace_event(ACCEPTED, specialist=BUDI)])


def test_whose_stream_an_event_belongs_in() -> None:
    """Events with a specialist's name that aren't the specialist's go to nobody's stream; those that are, to theirs."""
    for kind, event in samples(consult_in("ringing"), LATER).items():
        own = kind in {ev.WentOnCall, ev.WentOffCall, ev.Answered}
        expected = AYU if own or kind in JOINT else None
        assert coordinator.specialist_of(event) == expected, kind


@pytest.mark.parametrize(
    ("story", "due"),
    [
        ("waiting", T0 + 3 + 900),
        ("ringing", RUNG.until),
        ("in_call", LATER + 60),
        ("interrupted", LATER + 60),
        ("ended", None),
    ],
)
def test_attention(story: str, due: float | None) -> None:
    """A consult is looked at when its state runs out, a call's sides sooner; one that is over never."""
    assert coordinator.attention_at(consult_in(story), LATER, POLICY) == due


def test_attention_is_not_later_than_the_deadline() -> None:
    """Shortly before an interrupted call runs out, its deadline comes first."""
    consult = consult_in("interrupted")
    due = T0 + 6 + POLICY.keep_s
    assert coordinator.attention_at(consult, due - 10, POLICY) == due
