# SPDX-License-Identifier: Apache-2.0
"""Who is rung for whom: order, choice, rounds, promises."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalling.core import events as ev
from signalling.core import lifecycle, matching
from signalling.core.lifecycle import Consult
from signalling.core.matching import Candidate, match
from signalling.wire.terms import (
    CallbackReason,
    ConsultState,
    DeclineReason,
    SpecialistState,
    Specialty,
    Urgency,
)
from tests.support.consults import AYU, BUDI, C1, POLICY, T0, specialist, waiting

RED, YELLOW, GREEN = Urgency.RED, Urgency.YELLOW, Urgency.GREEN
NOW = T0 + 10
GENERAL, SURGERY = Specialty.GENERAL, Specialty.SURGERY
BUSY = (SpecialistState.RINGING, SpecialistState.IN_CALL)


def rings(
    consults: list[Consult], rota: list[Candidate], now: float = NOW
) -> list[tuple[str, str]]:
    """Return (consult, specialist) of the rings that are due."""
    return [
        (d.consult, d.specialist)
        for d in match(consults, rota, now, POLICY)
        if isinstance(d, ev.Rung)
    ]


def promises(
    consults: list[Consult], rota: list[Candidate], now: float
) -> list[tuple[str, CallbackReason]]:
    """Return (consult, reason) of the promises that are due."""
    return [
        (d.consult, d.reason)
        for d in match(consults, rota, now, POLICY)
        if isinstance(d, ev.CallbackPromised)
    ]


# -- order -----------------------------------------------------------------------------------------


def test_urgency_comes_before_waiting_time() -> None:
    """Red before yellow before green, and within a colour who waits longest."""
    consults = [
        waiting("green-old", urgency=GREEN, since=T0 - 900),
        waiting("red-new", urgency=RED, since=T0 + 1),
        waiting("yellow", urgency=YELLOW, since=T0 - 300),
        waiting("red-old", urgency=RED, since=T0 - 5),
    ]
    order = ["red-old", "red-new", "yellow", "green-old"]
    assert [c.id for c in matching.queue(consults)] == order
    rota = [specialist(f"dr-{n}") for n in range(2)]
    assert [c for c, _ in rings(consults, rota)] == order[:2]


def test_the_queue_holds_who_waits_or_is_being_rung_for() -> None:
    """Consults in other states have no place in the queue; a ring doesn't cost the place."""
    consults = [waiting(state, state=state, since=T0 - n) for n, state in enumerate(ConsultState)]
    assert [c.id for c in matching.queue(consults)] == ["ringing", "waiting"]


def test_the_wait_counts_from_the_intake_also_after_a_transfer() -> None:
    """Who was transferred goes before newcomers of the same colour."""
    moved = waiting("moved", since=T0 - 600, state_since=T0 + 9, search_since=T0 + 9)
    assert rings([waiting("new", since=T0), moved], [specialist()]) == [("moved", AYU)]


def kept(name: str = C1, **changes: Any) -> Consult:
    """Return a consult that Ayu put on hold and whose patient is back."""
    return waiting(name, **({"keeper": AYU, "search_since": NOW} | changes))


def busy(who: Candidate) -> Candidate:
    state = SpecialistState.IN_CALL
    return replace(who, presence=msgspec.structs.replace(who.presence, state=state))


def test_who_is_back_comes_before_all_but_red() -> None:
    """A patient whose call was on hold is rung for ahead of earlier yellow and green ones; an emergency goes first."""
    back = kept(urgency=GREEN, since=T0 + 5)
    others = [waiting("yellow", urgency=YELLOW), waiting("green", urgency=GREEN)]
    assert rings([*others, back], [specialist(AYU)]) == [(C1, AYU)]
    red = waiting("red", urgency=RED, since=T0 + 9)
    assert rings([*others, back, red], [specialist(AYU)]) == [("red", AYU)]


def test_the_one_who_knows_the_patient_is_rung_first() -> None:
    """Who put the call on hold is rung before who fits better or has rested longer."""
    better = specialist(BUDI, specialties=(SURGERY,), languages=("id",))
    keeper = specialist(AYU, languages=("en",), last_call_at=T0 + 9)
    assert rings([kept(specialty=SURGERY)], [better, keeper]) == [(C1, AYU)]


def test_others_are_rung_when_the_keeper_is_not_to_be_had() -> None:
    """While the keeper is in a call nobody else is rung for `reunite_s`; at once if the keeper is not on call."""
    other = specialist(BUDI)
    rota = [busy(specialist(AYU)), other]
    assert rings([kept()], rota) == []
    assert rings([kept()], rota, NOW + POLICY.reunite_s - 1) == []
    assert rings([kept()], rota, NOW + POLICY.reunite_s) == [(C1, BUDI)]
    assert rings([kept()], [other]) == [(C1, BUDI)]


def test_nobody_is_rung_and_nothing_promised_while_the_patient_of_a_kept_call_is_away() -> None:
    """On hold nothing happens before the time runs out that the consult is kept."""
    away = kept(away=frozenset({ev.PATIENT}), away_since=T0)
    late = NOW + POLICY.nobody_s + 1
    assert match([away], [specialist(AYU)], late, POLICY) == []
    assert match([away], [], late, POLICY) == []


# -- choice ----------------------------------------------------------------------------------------


def test_the_specialty_comes_first() -> None:
    """A specialist of the right field is rung before one who shares the language or has rested longer."""
    rota = [
        specialist(AYU, specialties=(GENERAL,), languages=("id",), last_call_at=0),
        specialist(BUDI, specialties=(SURGERY, GENERAL), languages=("en",), last_call_at=T0),
    ]
    assert rings([waiting(specialty=SURGERY)], rota) == [(C1, BUDI)]


def test_without_the_specialty_the_group_is_widened() -> None:
    """If nobody of the right field is free and untried, one of another field is rung rather than nobody."""
    surgeon = specialist(BUDI, specialties=(SURGERY,))
    assert rings([waiting(specialty=SURGERY)], [specialist(AYU)]) == [(C1, AYU)]
    rota = [specialist(AYU), surgeon]
    tried = waiting(specialty=SURGERY, tried=frozenset({BUDI}))
    assert rings([tried], rota) == [(C1, AYU)]
    for state in BUSY:
        busy = replace(surgeon, presence=msgspec.structs.replace(surgeon.presence, state=state))
        assert rings([waiting(specialty=SURGERY)], [specialist(AYU), busy]) == [(C1, AYU)]


def test_a_shared_language_is_preferred() -> None:
    """Among those of the field, who shares the language is rung first, and no interpreter is needed."""
    rota = [
        specialist(AYU, languages=("en",)),
        specialist(BUDI, languages=("en", "id"), last_call_at=T0),
    ]
    (ring,) = match([waiting(language="id")], rota, NOW, POLICY)
    assert isinstance(ring, ev.Rung)
    assert (ring.specialist, ring.interpreter_needed) == (BUDI, False)


def test_without_a_shared_language_an_interpreter_is_needed() -> None:
    """Nobody is refused for their language: the ring says that an interpreter is needed."""
    (ring,) = match([waiting(language="tet")], [specialist(AYU, languages=("id",))], NOW, POLICY)
    assert isinstance(ring, ev.Rung)
    assert ring.interpreter_needed


@pytest.mark.parametrize(
    ("wanted", "spoken", "shared"),
    [
        ("id", ("id",), True),
        ("id-ID", ("id",), True),
        ("id", ("en", "id-ID"), True),
        ("id", ("idx",), False),
        ("mad", ("id", "en"), False),
        ("", (), True),
        ("id", (), False),
    ],
)
def test_languages_are_compared_by_their_primary_subtag(
    wanted: str, spoken: tuple[str, ...], shared: bool
) -> None:
    """``id`` serves ``id-ID``; whoever asked for no language needs no interpreter."""
    candidate = specialist(languages=spoken)
    assert matching.shares_language(waiting(language=wanted), candidate) is shared


def test_who_rested_longest_is_rung_first() -> None:
    """Of equals, the one whose last call ended longest ago; never having had one counts as longest."""
    rota = [
        specialist("dr-1", last_call_at=T0 - 10),
        specialist("dr-2", last_call_at=T0 - 500),
        specialist("dr-3", last_call_at=T0 - 20),
    ]
    assert rings([waiting()], rota) == [(C1, "dr-2")]
    assert rings([waiting()], [*rota, specialist("dr-4")]) == [(C1, "dr-4")]


def test_who_lets_it_ring_comes_after_who_answers() -> None:
    """Rings missed in a row cost the place before rest does, but not before the field or the language."""
    silent = specialist("dr-1", last_call_at=0)
    silent = replace(silent, presence=msgspec.structs.replace(silent.presence, missed=2))
    assert rings([waiting()], [silent, specialist("dr-2", last_call_at=T0)]) == [(C1, "dr-2")]
    assert rings([waiting()], [silent, specialist("dr-3", languages=("ko",))]) == [(C1, "dr-1")]


def test_a_ring_lasts_as_long_as_the_policy_says() -> None:
    """The ring carries its end, by the policy's ``ring_s``."""
    (ring,) = match([waiting()], [specialist()], NOW, POLICY)
    assert isinstance(ring, ev.Rung)
    assert (ring.at, ring.until) == (NOW, NOW + 30)


# -- rounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["declined", "timed_out"])
def test_a_ring_in_vain_rolls_over_to_the_next(how: str) -> None:
    """Whoever declined or didn't answer isn't rung again in this round; the next one is, until all were."""
    rota = [specialist(f"dr-{n}", last_call_at=float(n)) for n in range(3)]
    consult, rung, now = waiting(), [], NOW
    for _ in range(5):
        found = [d for d in match([consult], rota, now, POLICY) if isinstance(d, ev.Rung)]
        if not found:
            break
        rung.append(found[0].specialist)
        consult = lifecycle.apply(consult, found[0])
        now += 1
        over: ev.Event = ev.RingTimedOut(at=now, consult=C1, specialist=found[0].specialist)
        if how == "declined":
            over = ev.RingDeclined(
                at=now, consult=C1, specialist=found[0].specialist, reason=DeclineReason.BUSY
            )
        consult = lifecycle.apply(consult, over)
    assert rung == ["dr-0", "dr-1", "dr-2"]


def test_busy_specialists_keep_hope() -> None:
    """While somebody on call wasn't tried, though busy, no promise is made before the colour's limit."""
    for state in BUSY:
        rota = [specialist(AYU, state=state)]
        assert match([waiting()], rota, T0 + 1_700, POLICY) == []


@pytest.mark.parametrize(
    ("rota", "tried", "reason"),
    [
        ([], frozenset(), CallbackReason.NOBODY_ON_CALL),
        ([], frozenset({AYU}), CallbackReason.NOBODY_ON_CALL),
        ([specialist(AYU)], frozenset({AYU}), CallbackReason.NOBODY_ANSWERED),
        ([specialist(AYU, state=BUSY[1])], frozenset({AYU}), CallbackReason.NOBODY_ANSWERED),
    ],
)
def test_the_truth_is_told_after_a_minute(
    rota: list[Candidate], tried: frozenset[Any], reason: CallbackReason
) -> None:
    """With nobody on call, or all of them tried, a call-back is promised after ``nobody_s``, not before."""
    consult = waiting(tried=tried)
    assert match([consult], rota, T0 + 59.9, POLICY) == []
    assert promises([consult], rota, T0 + 60) == [(C1, reason)]


def test_a_promise_is_told_to_an_empty_chair_too() -> None:
    """A patient who is away while nobody is on call is promised a call-back like anybody else."""
    gone = waiting(away=frozenset({ev.PATIENT}))
    assert promises([gone], [], T0 + 60) == [(C1, CallbackReason.NOBODY_ON_CALL)]


def test_nobody_is_rung_for_an_absent_patient() -> None:
    """A consult whose patient is away is passed over, and the next in line gets the specialist."""
    gone = waiting("gone", urgency=RED, away=frozenset({ev.PATIENT}))
    assert rings([gone, waiting("here")], [specialist()]) == [("here", AYU)]


def promised(**changes: Any) -> Consult:
    return waiting(state=ConsultState.CALLBACK, callback_by=T0 + 3_600, **changes)


def test_a_promised_call_back_rings_only_with_the_patient_present() -> None:
    """When somebody comes on call, a promised consult rings if its patient is there, and is left alone if not."""
    assert rings([promised()], [specialist()]) == [(C1, AYU)]
    assert rings([promised(away=frozenset({ev.PATIENT}))], [specialist()]) == []


def test_a_promise_is_made_once() -> None:
    """A consult that was promised a call-back gets no second promise, however long it takes."""
    assert match([promised()], [], T0 + 1e6, POLICY) == []


def test_rounds_of_a_call_back_have_pauses() -> None:
    """Who was tried is rung again for a promise, but not within ``nobody_s`` of the last ring; who wasn't, at once."""
    consult = promised(tried=frozenset({AYU}))
    assert rings([consult], [specialist(AYU)], T0 + 59.9) == []
    assert rings([consult], [specialist(AYU)], T0 + 60) == [(C1, AYU)]
    assert rings([consult], [specialist(AYU), specialist(BUDI)], T0 + 1) == [(C1, BUDI)]
    assert rings([consult], [specialist(AYU), specialist(BUDI)], T0 + 60) == [(C1, BUDI)]


def test_everybody_has_a_turn_in_each_round() -> None:
    """In the rounds of a call-back all on call are rung in turn, not the best-rested one again and again."""
    rota = [specialist(f"dr-{n}", last_call_at=float(n)) for n in range(3)]
    consult, now, rung = promised(), NOW, []
    for _ in range(2_000):
        for decision in match([consult], rota, now, POLICY):
            assert isinstance(decision, ev.Rung)
            rung.append(decision.specialist)
            consult = lifecycle.apply(consult, decision)
        now += 1
        over = lifecycle.on_deadline(consult, now, POLICY)
        if over is not None:
            consult = lifecycle.apply(consult, over)
        if len(rung) == 9:
            break
    assert rung == ["dr-0", "dr-1", "dr-2"] * 3
    assert now - NOW == 8 * 30 + 2 * 60 + 1


def test_a_waiting_consult_has_no_second_round() -> None:
    """Before the promise nobody is rung twice for the same search, however long they are free."""
    consult = waiting(tried=frozenset({AYU}))
    assert rings([consult], [specialist(AYU)], T0 + 1_000) == []


# -- properties ------------------------------------------------------------------------------------

names = st.sampled_from([f"dr-{n}" for n in range(4)])
languages = st.sampled_from(["id", "en", "tet", ""])
specialties = st.sampled_from([GENERAL, SURGERY, Specialty.OBSTETRICS])


@st.composite
def consults(draw: st.DrawFn) -> list[Consult]:
    """Return consults in any state that a rota meets."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        state = draw(st.sampled_from(ConsultState))
        since = T0 + draw(st.integers(-300, 0))
        found.append(
            waiting(
                f"c-{number}",
                state=state,
                urgency=draw(st.sampled_from(Urgency)),
                since=since,
                specialty=draw(specialties),
                language=draw(languages),
                tried=frozenset(draw(st.sets(names))),
                away=frozenset(draw(st.sets(st.just(ev.PATIENT)))),
                callback_by=T0 + 3_600 if state is ConsultState.CALLBACK else None,
            )
        )
    return found


@st.composite
def rotas(draw: st.DrawFn) -> list[Candidate]:
    """Return specialists on call, free or busy."""
    return [
        specialist(
            name,
            state=draw(st.sampled_from([SpecialistState.AVAILABLE, *BUSY])),
            specialties=tuple(draw(st.sets(specialties, min_size=1))),
            languages=tuple(draw(st.sets(languages))),
            last_call_at=float(draw(st.integers(0, 3))),
        )
        for name in sorted(draw(st.sets(names)))
    ]


times = st.integers(0, 200).map(lambda s: T0 + s)


@settings(deadline=None)
@given(consults=consults(), rota=rotas(), now=times)
def test_one_ring_each(consults: list[Consult], rota: list[Candidate], now: float) -> None:
    """A pass rings each specialist at most once, decides about each consult at most once, and the table agrees."""
    decisions = match(consults, rota, now, POLICY)
    rung = [d.specialist for d in decisions if isinstance(d, ev.Rung)]
    assert len(set(rung)) == len(rung)
    assert {c.id for c in rota if c.free} >= set(rung)
    assert len({d.consult for d in decisions}) == len(decisions)
    by_id = {c.id: c for c in consults}
    for decision in decisions:
        lifecycle.apply(by_id[decision.consult], decision)


@settings(deadline=None)
@given(consults=consults(), rota=rotas(), now=times)
def test_the_more_urgent_never_waits_behind(
    consults: list[Consult], rota: list[Candidate], now: float
) -> None:
    """Whoever waits on, present, could not have been served by a specialist who went to one further back."""
    decisions = match(consults, rota, now, POLICY)
    ringing = {d.consult: d.specialist for d in decisions if isinstance(d, ev.Rung)}
    states = (ConsultState.WAITING, ConsultState.CALLBACK)
    line = sorted((c for c in consults if c.state in states), key=matching.order)
    for place, consult in enumerate(line):
        if consult.id in ringing or consult.away:
            continue
        went_behind = {ringing[c.id] for c in line[place + 1 :] if c.id in ringing}
        assert went_behind <= consult.tried
        free = {c.id for c in rota if c.free} - set(ringing.values())
        assert free <= consult.tried, "a free specialist is left while somebody waits for one"


@settings(deadline=None)
@given(consults=consults(), rota=rotas(), now=times, seed=st.randoms())
def test_the_answer_does_not_depend_on_the_order_of_asking(
    consults: list[Consult], rota: list[Candidate], now: float, seed: Any
) -> None:
    """Two nodes with the same facts decide the same, in whatever order they hold them."""
    expected = match(consults, rota, now, POLICY)
    shuffled, turned = list(consults), list(rota)
    seed.shuffle(shuffled)
    seed.shuffle(turned)
    assert match(shuffled, turned, now, POLICY) == expected


@settings(deadline=None)
@given(consults=consults(), rota=rotas(), now=times)
def test_the_right_field_is_never_passed_over(
    consults: list[Consult], rota: list[Candidate], now: float
) -> None:
    """Who is rung from another field, or without the language, is so because nobody better was free for this consult."""
    free = {c.id: c for c in rota if c.free}
    by_id = {c.id: c for c in consults}
    for decision in match(consults, rota, now, POLICY):
        if not isinstance(decision, ev.Rung):
            continue
        consult, chosen = by_id[decision.consult], free.pop(decision.specialist)
        left = [c for c in free.values() if c.id not in consult.tried]
        if consult.specialty not in chosen.specialties:
            assert not [c for c in left if consult.specialty in c.specialties]
        same_field = [
            c
            for c in left
            if (consult.specialty in c.specialties) == (consult.specialty in chosen.specialties)
        ]
        assert decision.interpreter_needed is not matching.shares_language(consult, chosen)
        if decision.interpreter_needed and chosen.id not in consult.tried:
            assert not [c for c in same_field if matching.shares_language(consult, c)]
