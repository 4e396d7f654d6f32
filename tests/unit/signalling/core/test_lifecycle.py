# SPDX-License-Identifier: Apache-2.0
"""The consult's table, cell by cell, and what events write."""

import pytest
from msgspec.structs import replace

from signalling.core import audience, coordinator, lifecycle
from signalling.core import events as ev
from signalling.core.lifecycle import CALL, TERMINAL, TRANSITIONS, Consult, InvalidTransition
from signalling.core.policy import ConsultPolicy
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId
from signalling.wire.terms import (
    CallbackReason,
    ConsultState,
    ContentKind,
    Outcome,
    Specialty,
    Urgency,
)
from tests.support.consults import (
    ABANDONED,
    ACCEPTED,
    ASKED,
    AYU,
    BUDI,
    C1,
    ENDED,
    INTAKE,
    INVITED,
    JOINED,
    KEY,
    PATIENT_LOST,
    POLICY,
    PROMISED,
    REQUEST,
    RUNG,
    SPECIALIST_LOST,
    STORIES,
    T0,
    consult_in,
    fold,
    replace_event,
    samples,
)

S = ConsultState
LATER = T0 + 100

EXPECTED = """
event            | invited   | joined    | waiting   | ringing   | in_call     | interrupted | callback
invited          | -         | -         | -         | -         | -           | -           | -
patient_joined   | invited   | used      | -         | -         | -           | -           | -
takeover_asked   | -         | invited   | waiting   | ringing   | in_call     | interrupted | callback
takeover_decided | unknown   | invited   | waiting   | ringing   | in_call     | interrupted | callback
intake_given     | -         | waiting   | -         | -         | -           | -           | -
rung             | -         | -         | ringing   | -         | -           | -           | ringing
ring_declined    | over      | over      | over      | waiting   | over        | over        | over
ring_timed_out   | -         | -         | -         | waiting   | -           | -           | -
accepted         | over      | over      | over      | in_call   | over        | over        | over
side_lost        | -         | invited   | waiting   | ringing   | interrupted | -           | callback
side_back        | -         | -         | -         | -         | -           | in_call     | -
transferred      | -         | -         | -         | -         | waiting     | waiting     | -
held             | -         | -         | -         | -         | -           | waiting     | -
note_written     | -         | -         | -         | -         | in_call     | interrupted | -
chat_sent        | -         | -         | waiting   | ringing   | in_call     | interrupted | callback
content_added    | -         | -         | waiting   | ringing   | in_call     | interrupted | callback
messages_opened  | -         | -         | -         | -         | -           | -           | callback
routed           | -         | -         | waiting   | ringing   | in_call     | interrupted | callback
callback_promised| -         | -         | callback  | -         | -           | -           | -
callback_overdue | -         | -         | -         | -         | -           | -           | callback
answered         | -         | -         | -         | -         | -           | -           | -
abandoned        | -         | abandoned | abandoned | abandoned | -           | -           | abandoned
expired          | expired   | expired   | -         | -         | -           | -           | expired
ended            | -         | -         | -         | -         | ended       | ended       | -
went_on_call     | -         | -         | -         | -         | -           | -           | -
went_off_call    | -         | -         | -         | -         | -           | -           | -
account_created  | -         | -         | -         | -         | -           | -           | -
account_changed  | -         | -         | -         | -         | -           | -           | -
password_changed | -         | -         | -         | -         | -           | -           | -
post_imported    | -         | -         | -         | -         | -           | -           | -
erased           | -         | -         | -         | -         | -           | -           | -
content_begun    | -         | -         | -         | -         | -           | -           | -
content_stored   | -         | -         | -         | -         | -           | -           | -
content_dropped  | -         | -         | -         | -         | -           | -           | -
"""
"""What each event makes of a consult in each state: the state after it, or why it is refused. Written by hand from what
the service promises, never from the table that is tested. ``joined`` is invited, with a patient who fills in the form;
in ``interrupted`` the patient is away, everywhere else both sides are here."""

REFUSALS = {
    "-": Code.WRONG_STATE,
    "over": Code.RING_OVER,
    "used": Code.INVITATION_USED,
    "unknown": Code.NOT_FOUND,
}


def cells() -> list[tuple[str, str, str]]:
    """Return (story, event's tag, expectation) for each cell of the table above and for the states that are over."""
    header, *rows = [[c.strip() for c in line.split("|")] for line in EXPECTED.strip().splitlines()]
    found = [
        (story, row[0], cell)
        for row in rows
        for story, cell in zip(header[1:], row[1:], strict=True)
    ]
    return found + [(story, row[0], "gone") for row in rows for story in sorted(TERMINAL)]


def event_for(story: str, tag: str) -> tuple[Consult, ev.Event]:
    """Return a consult in a state, and an event to try on it."""
    consult = consult_in(story)
    event = next(e for k, e in samples(consult, LATER).items() if tag_of(k) == tag)
    return consult, event


def tag_of(kind: type[ev.Event]) -> str:
    return str(kind.__struct_config__.tag)


@pytest.mark.parametrize(("story", "tag", "expected"), cells())
def test_each_event_in_each_state(story: str, tag: str, expected: str) -> None:
    """Each event in each state leads where the table says or is refused by its code, the consult being as before."""
    consult, event = event_for(story, tag)
    before = replace(consult)
    if expected in {*REFUSALS, "gone"}:
        with pytest.raises(InvalidTransition) as refused:
            lifecycle.apply(consult, event)
        assert refused.value.code is REFUSALS.get(expected, Code.CONSULT_OVER)
        assert (refused.value.state, refused.value.event) == (consult.state, type(event))
        assert str(refused.value) == f"{type(event).__name__} in state {consult.state}"
    else:
        after = lifecycle.apply(consult, event)
        assert after.state == expected
        assert after.version == consult.version + 1
        assert after.state_since == (consult.state_since if after.state == consult.state else LATER)
    assert consult == before


def test_the_product_is_full() -> None:
    """The table above has every event of the project and every state."""
    tried = {(story, tag) for story, tag, _ in cells()}
    tags = {tag_of(kind) for kind in ev.AnyEvent.__args__}
    assert tried == {(story, tag) for story in STORIES for tag in tags}
    assert {consult_in(story).state for story in STORIES} == set(ConsultState)
    assert set(TRANSITIONS) == set(ConsultState)


def test_each_story_leads_to_its_state() -> None:
    """Every state can be reached from an invitation, and the version counts the events."""
    for story, events in STORIES.items():
        consult = fold(*events)
        assert consult.state == ("invited" if story == "joined" else story)
        assert consult.version == 1 + len(events)
        assert consult.over == (consult.state in TERMINAL)


def test_nothing_happens_after_the_end() -> None:
    """States that are over list no event at all."""
    assert {state for state in S if not TRANSITIONS[state]} == TERMINAL


# -- guards ----------------------------------------------------------------------------------------


def refused(consult: Consult, event: ev.Event) -> Code:
    """Return the code by which an event is refused."""
    before = replace(consult)
    with pytest.raises(InvalidTransition) as refusal:
        lifecycle.apply(consult, event)
    assert consult == before
    return refusal.value.code


@pytest.mark.parametrize(
    ("story", "tag"),
    [
        ("ringing", "accepted"),
        ("ringing", "ring_declined"),
        ("ringing", "ring_timed_out"),
        ("ringing", "abandoned"),
        ("in_call", "transferred"),
        ("in_call", "ended"),
        ("interrupted", "transferred"),
        ("interrupted", "ended"),
        ("interrupted", "held"),
    ],
)
def test_only_the_specialist_concerned(story: str, tag: str) -> None:
    """A specialist who isn't rung or in the call can't answer, hand over or end it."""
    consult, event = event_for(story, tag)
    assert refused(consult, replace_event(event, specialist=BUDI)) is Code.RING_OVER


def test_a_ring_can_not_be_given_up_without_its_specialist() -> None:
    """A patient who leaves during a ring takes it off that specialist's desk, never only off their own page."""
    assert (
        refused(consult_in("ringing"), replace_event(ABANDONED, specialist=None)) is Code.RING_OVER
    )


def test_an_invitation_is_redeemed_once() -> None:
    """A second redeem is refused and the first device stays."""
    consult = consult_in("joined")
    assert refused(consult, replace_event(JOINED, resume_hash="other")) is Code.INVITATION_USED
    assert consult.resume_hash == "hash-1"


def test_only_open_requests_are_decided() -> None:
    """A take-over that nobody asked for, or that was decided, can't be decided."""
    consult = consult_in("waiting")
    decided = ev.TakeoverDecided(at=LATER, consult=C1, request=REQUEST, allow=True, by=AYU)
    assert refused(consult, replace_event(decided, request="request-9")) is Code.NOT_FOUND
    assert refused(fold(decided, start=consult), decided) is Code.NOT_FOUND


def test_a_chat_line_is_recorded_once() -> None:
    """The same key again is refused, another key is not."""
    consult, line = event_for("in_call", "chat_sent")
    consult = fold(line, start=consult)
    assert refused(consult, line) is Code.WRONG_STATE
    consult = fold(replace_event(line, key="chat-key-2"), start=consult)
    assert consult.chat_keys == {KEY, "chat-key-2"}


@pytest.mark.parametrize("story", ["waiting", "ringing"])
@pytest.mark.parametrize("tag", ["chat_sent", "content_added"])
def test_only_the_patient_speaks_before_the_call(story: str, tag: str) -> None:
    """A specialist who is being rung has not been let in yet: a line or a message by anybody but the patient is refused."""
    consult, said = event_for(story, tag)
    theirs = replace_event(said, role=ev.SPECIALIST, by=AYU)
    if tag == "content_added":
        theirs = replace_event(theirs, kind=ContentKind.VOICE)
    assert refused(consult, theirs) is Code.WRONG_STATE
    assert fold(theirs, start=consult_in("in_call")).unanswered == 0
    by_a_colleague = replace_event(theirs, by=BUDI)
    assert refused(consult_in("in_call"), by_a_colleague) is Code.WRONG_STATE


def test_where_a_callback_is_owed_any_specialist_answers() -> None:
    """The promise is everybody's: any specialist writes and speaks there, until somebody accepts."""
    consult, line = event_for("callback", "chat_sent")
    asked = fold(line, start=consult)
    assert asked.unanswered == 1
    answer = replace_event(line, role=ev.SPECIALIST, by=BUDI, key="chat-key-9")
    assert fold(answer, start=asked).unanswered == 0
    ring = ev.Rung(at=LATER, consult=C1, specialist=AYU, until=LATER + 30)
    rung = fold(line, ring, start=consult)
    assert fold(answer, start=rung).unanswered == 0
    accepted = fold(ev.Accepted(at=LATER, consult=C1, specialist=AYU), start=rung)
    assert accepted.unanswered == 0
    assert refused(accepted, answer) is Code.WRONG_STATE


def test_content_is_there_once_and_a_consult_holds_so_much() -> None:
    """The same key, a photograph by a specialist, and what goes beyond the consult's share are refused by their codes."""
    consult, added = event_for("in_call", "content_added")
    after = fold(added, start=consult)
    assert (after.content_bytes, after.unanswered) == (40_000, 1)
    assert refused(after, added) is Code.WRONG_STATE
    assert refused(consult, replace_event(added, role=ev.SPECIALIST, by=AYU)) is Code.FORBIDDEN
    much = replace_event(added, key="still-key-2", bytes=audience.CONTENT_MAX_BYTES)
    assert refused(after, much) is Code.CONTENT_QUOTA
    preview = replace_event(added, key="still-key-3", preview_of="still-key-1")
    assert fold(preview, start=after).unanswered == 1


def test_who_opens_the_messages_is_recorded_once() -> None:
    """Each specialist's reading is one event; where no call-back is owed there is nothing to open."""
    consult, opened = event_for("callback", "messages_opened")
    after = fold(opened, start=consult)
    assert after.readers == {BUDI}
    assert refused(after, opened) is Code.WRONG_STATE
    assert fold(replace_event(opened, specialist=AYU), start=after).readers == {AYU, BUDI}


def test_a_side_is_lost_once_and_back_once() -> None:
    """Lost twice, and back without being lost, are refused."""
    consult = fold(PATIENT_LOST, start=consult_in("in_call"))
    assert refused(consult, PATIENT_LOST) is Code.WRONG_STATE
    back = ev.SideBack(at=LATER, consult=C1, role=ev.PATIENT)
    assert refused(consult, replace_event(back, role=ev.SPECIALIST)) is Code.WRONG_STATE
    assert refused(fold(back, start=consult), back) is Code.WRONG_STATE


@pytest.mark.parametrize("story", ["joined", "waiting", "ringing", "callback"])
def test_the_specialist_has_a_side_only_in_a_call(story: str) -> None:
    """Outside a call no specialist can be lost, and nobody but patient and specialist ever."""
    assert refused(consult_in(story), SPECIALIST_LOST) is Code.WRONG_STATE
    assert refused(consult_in("in_call"), replace_event(PATIENT_LOST, role="operator"))


@pytest.mark.parametrize("story", ["waiting", "callback"])
def test_nobody_is_rung_for_an_empty_chair(story: str) -> None:
    """While the patient is away the consult can't be rung, by the rota or by hand."""
    consult = fold(PATIENT_LOST, start=consult_in(story))
    assert refused(consult, RUNG) is Code.PEER_ABSENT
    back = ev.SideBack(at=LATER, consult=C1, role=ev.PATIENT)
    assert fold(back, RUNG, start=consult).state is S.RINGING


# -- a call and its sides --------------------------------------------------------------------------


def lost(role: str, at: float) -> ev.SideLost:
    return ev.SideLost(at=at, consult=C1, role=role)


def back(role: str, at: float) -> ev.SideBack:
    return ev.SideBack(at=at, consult=C1, role=role)


def test_accepted_while_the_patient_is_away() -> None:
    """A call that is accepted while the patient is away begins interrupted, kept from the acceptance on."""
    consult = fold(lost(ev.PATIENT, T0 + 4.5), ACCEPTED, start=consult_in("ringing"))
    assert consult.state is S.INTERRUPTED
    assert consult.away_since == ACCEPTED.at
    assert lifecycle.deadline(consult, POLICY) == ACCEPTED.at + POLICY.keep_s
    consult = fold(back(ev.PATIENT, T0 + 8), start=consult)
    assert (consult.state, consult.away_since) == (S.IN_CALL, None)


@pytest.mark.parametrize("first", [ev.PATIENT, ev.SPECIALIST])
@pytest.mark.parametrize("first_back", [ev.PATIENT, ev.SPECIALIST])
def test_both_sides_are_lost_and_come_back(first: str, first_back: str) -> None:
    """The call is interrupted from the first loss until the second return, whatever the order."""
    other = {ev.PATIENT: ev.SPECIALIST, ev.SPECIALIST: ev.PATIENT}
    consult = consult_in("in_call")
    story = [
        (lost(first, T0 + 10), S.INTERRUPTED, {first}, T0 + 10),
        (lost(other[first], T0 + 11), S.INTERRUPTED, {first, other[first]}, T0 + 10),
        (back(first_back, T0 + 12), S.INTERRUPTED, {other[first_back]}, T0 + 10),
        (back(other[first_back], T0 + 13), S.IN_CALL, set(), None),
        (lost(first, T0 + 20), S.INTERRUPTED, {first}, T0 + 20),
    ]
    for event, state, away, since in story:
        consult = lifecycle.apply(consult, event)
        assert (consult.state, consult.away, consult.away_since) == (state, away, since)
    assert consult.state_since == T0 + 20


def test_an_interrupted_call_ends_when_it_was_kept_long_enough() -> None:
    """An interrupted call is kept for ``keep_s`` from the first loss, then it ends as lost."""
    consult = consult_in("interrupted")
    due = PATIENT_LOST.at + POLICY.keep_s
    assert lifecycle.on_deadline(consult, due - 0.001, POLICY) is None
    event = lifecycle.on_deadline(consult, due, POLICY)
    assert isinstance(event, ev.Ended)
    assert (event.outcome, event.role, event.specialist) == (Outcome.LOST, "", AYU)


# -- what events write -----------------------------------------------------------------------------


def test_the_invitation_sets_the_consult_up() -> None:
    """Everything that the invitation says is in the consult."""
    consult = lifecycle.begin(INVITED)
    assert (consult.id, consult.jti, consult.expires_at) == (C1, "jti-1", INVITED.expires_at)
    assert (consult.specialty, consult.language, consult.post) == ("obstetrics", "id", "MTW-01")
    assert (consult.invited_by, consult.state_since, consult.version) == ("operator-1", T0, 1)


def test_the_intake_starts_the_wait() -> None:
    """Urgency, language and consent come from the intake, and the wait counts from it."""
    consult = consult_in("waiting")
    assert (consult.urgency, consult.language, consult.intake) == (Urgency.YELLOW, "id", "intake-1")
    assert consult.since == consult.search_since == consult.consent_at == INTAKE.at


def test_a_ring_that_comes_to_nothing_leaves_no_trace_but_who_was_tried() -> None:
    """After a declined ring the patient waits as before; the specialist isn't rung again in this round."""
    before = consult_in("waiting")
    declined = samples(before, T0 + 9)[ev.RingDeclined]
    after = fold(RUNG, declined, start=before)
    assert after == replace(before, version=6, tried=frozenset({AYU}), state_since=T0 + 9)


def test_who_is_rung_again_begins_a_new_round() -> None:
    """A second ring of the same specialist forgets who was tried before."""
    consult = replace(consult_in("callback"), tried=frozenset({AYU, BUDI}))
    assert fold(RUNG, start=consult).tried == {AYU}


def test_a_transfer_starts_a_new_search_at_the_old_place() -> None:
    """The patient keeps the place in the queue; who hands over is not rung, nor counted as lost; the new search has
    the whole time."""
    consult, event = event_for("in_call", "transferred")
    consult = fold(SPECIALIST_LOST, start=replace(consult, tried=frozenset({AYU, BUDI})))
    consult = fold(event, start=consult)
    assert (consult.state, consult.specialist, consult.tried) == (S.WAITING, None, {AYU})
    assert (consult.away, consult.away_since, consult.accepted_at) == (set(), None, None)
    assert (consult.specialty, consult.transfers) == (Specialty.SURGERY, 1)
    assert (consult.since, consult.search_since) == (INTAKE.at, LATER)


def test_a_transfer_while_both_are_away_leaves_the_patient_away() -> None:
    """Only the specialist's side ends with the transfer."""
    consult = fold(lost(ev.SPECIALIST, T0 + 8), start=consult_in("interrupted"))
    consult = fold(event_for("interrupted", "transferred")[1], start=consult)
    assert (consult.state, consult.away) == (S.WAITING, {ev.PATIENT})


def test_a_promise_stands_until_somebody_accepts() -> None:
    """A ring for a call-back that comes to nothing leads back to the promise, whose deadline has not moved."""
    consult = fold(RUNG, start=consult_in("callback"))
    assert (consult.state, consult.callback_by) == (S.RINGING, PROMISED.by)
    timed_out = ev.RingTimedOut(at=LATER, consult=C1, specialist=AYU)
    again = fold(timed_out, start=consult)
    assert (again.state, again.callback_by) == (S.CALLBACK, PROMISED.by)
    assert lifecycle.deadline(again, POLICY) == PROMISED.by
    kept = fold(ACCEPTED, start=consult)
    assert (kept.callback_by, kept.callback_reason, kept.overdue) == (None, None, False)


def test_a_promise_after_a_kept_one_has_its_own_deadline() -> None:
    """Who was called back, and waits again after a transfer, gets a new promise."""
    consult = fold(RUNG, ACCEPTED, start=consult_in("callback"))
    consult = fold(event_for("in_call", "transferred")[1], start=consult)
    promise = lifecycle.promise(consult, CallbackReason.NOBODY_ANSWERED, LATER + 60, POLICY)
    assert promise.by == LATER + 60 + POLICY.callback_s[Urgency.YELLOW]


def test_who_was_only_rung_is_not_in_the_consult_afterwards() -> None:
    """A patient who leaves during a ring leaves nobody behind to whom the consult would be shown."""
    consult = consult_in("abandoned")
    assert (consult.specialist, consult.ring_until) == (None, None)
    assert consult.ended_at == ABANDONED.at


@pytest.mark.parametrize("story", sorted(TERMINAL))
def test_open_requests_end_with_the_consult(story: str) -> None:
    """A device that asked to take over isn't left waiting for a decision on a consult that is over."""
    assert ASKED in STORIES[story]
    consult = consult_in(story)
    assert (consult.takeovers, consult.ended_at is not None) == ((), True)


def test_another_device_takes_the_place() -> None:
    """Allowed, its secret counts from now on; refused, the old one does and the refusal is known."""
    consult = consult_in("waiting")
    allow = ev.TakeoverDecided(at=LATER, consult=C1, request=REQUEST, allow=True, by=AYU)
    allowed = fold(allow, start=consult)
    assert (allowed.resume_hash, allowed.takeovers, allowed.refused) == ("hash-2", (), set())
    refusal = fold(replace_event(allow, allow=False), start=consult)
    assert (refusal.resume_hash, refusal.takeovers) == ("hash-1", ())
    assert refusal.refused == {REQUEST}


def test_requests_do_not_pile_up() -> None:
    """A newer request takes the place of an open one, whose device is told that it was refused."""
    newer = replace_event(ASKED, request="request-2", secret_hash="hash-3")
    consult = fold(newer, start=consult_in("waiting"))
    assert [t.request for t in consult.takeovers] == ["request-2"]
    assert consult.refused == {REQUEST}


def test_a_call_on_hold_waits_for_its_patient() -> None:
    """On hold: kept from the loss on, with no specialist in it; back: a search that begins then; accepted: as any call."""
    consult, held = event_for("interrupted", "held")
    consult = fold(held, start=consult)
    assert (consult.keeper, consult.specialist, consult.accepted_at) == (AYU, None, None)
    assert lifecycle.on_hold(consult)
    assert lifecycle.deadline(consult, POLICY) == PATIENT_LOST.at + POLICY.keep_s
    missed = lifecycle.on_deadline(consult, PATIENT_LOST.at + POLICY.keep_s, POLICY)
    assert isinstance(missed, ev.CallbackPromised)
    assert missed.reason is CallbackReason.LINK_LOST
    back = ev.SideBack(at=LATER + 60, consult=C1, role=ev.PATIENT)
    consult = fold(back, start=consult)
    assert not lifecycle.on_hold(consult)
    assert lifecycle.deadline(consult, POLICY) == back.at + 900
    ring = replace_event(RUNG, at=LATER + 61, until=LATER + 91)
    for taken, keeper in ((AYU, None), (BUDI, None)):
        again = fold(replace_event(ring, specialist=taken), start=consult)
        assert again.keeper == AYU
        accepted = replace_event(ACCEPTED, specialist=taken, at=LATER + 62)
        assert fold(accepted, start=again).keeper is keeper


@pytest.mark.parametrize("kind", [ev.RingTimedOut, ev.RingDeclined])
def test_who_does_not_take_it_up_again_has_given_it_away(kind: type[ev.Event]) -> None:
    """A missed or declined ring of a call on hold makes it everybody's."""
    consult, held = event_for("interrupted", "held")
    back = ev.SideBack(at=LATER + 1, consult=C1, role=ev.PATIENT)
    consult = fold(held, back, replace_event(RUNG, at=LATER + 2), start=consult)
    assert fold(samples(consult, LATER + 3)[kind], start=consult).keeper is None


def test_a_call_is_put_on_hold_only_while_the_patient_is_away() -> None:
    """With the specialist's own link down, or with both here, there is nobody to wait for."""
    for story in ((SPECIALIST_LOST,), ()):
        consult = fold(*story, start=consult_in("in_call"))
        assert refused(consult, samples(consult, LATER)[ev.Held]) is Code.WRONG_STATE


def test_the_newest_note_counts_and_the_outcome_is_kept() -> None:
    """Notes replace each other; an ended consult has outcome, summary and its specialist."""
    consult, note = event_for("in_call", "note_written")
    consult = fold(note, replace_event(note, content="note-2"), ENDED, start=consult)
    assert (consult.note, consult.summary, consult.outcome) == ("note-2", "summary-1", "advice")
    assert (consult.specialist, consult.ended_at) == (AYU, ENDED.at)


# -- time ------------------------------------------------------------------------------------------

DEADLINES = [
    ("invited", INVITED.expires_at, ev.Expired),
    ("joined", INVITED.expires_at, ev.Expired),
    ("waiting", INTAKE.at + 900, ev.CallbackPromised),
    ("ringing", RUNG.until, ev.RingTimedOut),
    ("in_call", ACCEPTED.at + 43_200, ev.Ended),
    ("interrupted", PATIENT_LOST.at + 900, ev.Ended),
    ("callback", PROMISED.by, ev.CallbackOverdue),
]


@pytest.mark.parametrize(("story", "due", "kind"), DEADLINES)
def test_each_live_state_has_a_deadline(story: str, due: float, kind: type[ev.Event]) -> None:
    """A live state runs out at its instant, not before, and its event is one that the table allows there."""
    consult = consult_in(story)
    assert lifecycle.deadline(consult, POLICY) == due
    assert lifecycle.on_deadline(consult, due - 0.001, POLICY) is None
    event = lifecycle.on_deadline(consult, due, POLICY)
    assert type(event) is kind
    assert event.at == due
    after = lifecycle.apply(consult, event)
    assert after.over or (lifecycle.deadline(after, POLICY) or 0) > due


def said(by: AccountId | None, at: float, key: str) -> ev.ChatSent:
    """Return a line by a specialist, or by the patient."""
    role = ev.SPECIALIST if by else ev.PATIENT
    return ev.ChatSent(at=at, consult=C1, role=role, key=key, content=key, digest="0" * 64, by=by)


def test_an_answer_closes_the_promise_until_the_patient_speaks() -> None:
    """Whoever has the last word may close the promise: no ring, nothing overdue, kept for three days; a word reopens it."""
    answered = ev.Answered(at=LATER + 3, consult=C1, specialist=AYU)
    asked = fold(said(None, LATER, "k1"), start=consult_in("callback"))
    with pytest.raises(InvalidTransition):
        lifecycle.apply(asked, answered)
    consult = fold(said(AYU, LATER + 1, "k2"), start=asked)
    with pytest.raises(InvalidTransition):
        lifecycle.apply(consult, replace_event(answered, specialist=BUDI))
    consult = lifecycle.apply(consult, answered)
    assert (consult.state, consult.answered_at) == (S.CALLBACK, LATER + 3)
    with pytest.raises(InvalidTransition):
        lifecycle.apply(consult, answered)
    with pytest.raises(InvalidTransition):
        lifecycle.apply(consult, replace_event(RUNG, at=LATER + 4))
    due = LATER + 3 + POLICY.callback_keep_s
    assert lifecycle.deadline(consult, POLICY) == due
    assert type(lifecycle.on_deadline(consult, due, POLICY)) is ev.Expired
    late = PROMISED.by + 1_000
    events = coordinator.said(consult, said(None, late, "k3"), POLICY)
    assert [type(e) for e in events] == [ev.CallbackPromised, ev.ChatSent]
    consult = fold(*events, start=consult)
    assert (consult.answered_at, consult.overdue, consult.unanswered) == (None, False, 1)
    assert consult.callback_by == late + POLICY.callback_s[Urgency.YELLOW]
    assert fold(replace_event(RUNG, at=late), start=consult).state is S.RINGING


def test_only_the_patients_word_after_a_closed_promise_is_a_new_one() -> None:
    """Lines while the promise stands, and a specialist's after it was closed, are lines and nothing else."""
    owed = consult_in("callback")
    assert len(coordinator.said(owed, said(None, LATER, "k1"), POLICY)) == 1
    closed = fold(
        said(AYU, LATER, "k1"),
        ev.Answered(at=LATER, consult=C1, specialist=AYU),
        start=owed,
    )
    more = said(BUDI, LATER + 1, "k2")
    assert coordinator.said(closed, more, POLICY) == [more]
    assert fold(more, start=closed).answered_at == LATER


def test_no_live_state_is_forgotten() -> None:
    """The deadlines above are those of all states that are not over; those have none."""
    assert {story for story, _, _ in DEADLINES} == STORIES.keys() - set(TERMINAL)
    for state in TERMINAL:
        consult = consult_in(state)
        assert lifecycle.deadline(consult, POLICY) is None
        assert lifecycle.on_deadline(consult, T0 * 2, POLICY) is None


@pytest.mark.parametrize(
    ("urgency", "wait_s", "callback_s"),
    [
        (Urgency.RED, 300, 1_800),
        (Urgency.YELLOW, 900, 3_600),
        (Urgency.GREEN, 1_800, 14_400),
        (None, 1_800, 14_400),
    ],
)
def test_the_colour_decides_how_long(urgency: Urgency | None, wait_s: int, callback_s: int) -> None:
    """Each colour has its own limit of waiting and its own promise."""
    consult = replace(consult_in("waiting"), urgency=urgency)
    assert lifecycle.deadline(consult, POLICY) == INTAKE.at + wait_s
    event = lifecycle.on_deadline(consult, INTAKE.at + wait_s, POLICY)
    assert isinstance(event, ev.CallbackPromised)
    assert event.by == INTAKE.at + wait_s + callback_s
    assert event.reason is CallbackReason.WAITED_TOO_LONG


def test_rings_do_not_lengthen_the_wait() -> None:
    """However many specialists are rung in vain, the promise comes when the colour's limit has passed."""
    consult, at = consult_in("waiting"), INTAKE.at
    for number in range(40):
        name = f"dr-{number}"
        at += 25
        ring = replace_event(RUNG, at=at, specialist=name, until=at + 30)
        consult = fold(ring, ev.RingTimedOut(at=at, consult=C1, specialist=name), start=consult)
        assert lifecycle.deadline(consult, POLICY) == INTAKE.at + 900
    assert isinstance(lifecycle.on_deadline(consult, at, POLICY), ev.CallbackPromised)


def test_an_overdue_promise_stays_on_the_lists() -> None:
    """A promise that wasn't kept is overdue once, stays for ``callback_keep_s``, then expires."""
    consult = consult_in("callback")
    overdue = lifecycle.on_deadline(consult, PROMISED.by, POLICY)
    assert overdue is not None
    consult = fold(overdue, start=consult)
    assert consult.overdue
    due = PROMISED.by + POLICY.callback_keep_s
    assert lifecycle.deadline(consult, POLICY) == due
    assert lifecycle.on_deadline(consult, due - 0.001, POLICY) is None
    expired = lifecycle.on_deadline(consult, due, POLICY)
    assert isinstance(expired, ev.Expired)
    assert fold(expired, start=consult).state is S.EXPIRED


def test_who_came_in_time_is_not_turned_out() -> None:
    """A patient who redeems the link in its last minute has ``keep_s`` to fill in the form."""
    consult = lifecycle.begin(INVITED)
    last_minute = INVITED.expires_at - 60
    consult = fold(replace_event(JOINED, at=last_minute), start=consult)
    assert lifecycle.deadline(consult, POLICY) == last_minute + POLICY.keep_s
    assert lifecycle.on_deadline(consult, INVITED.expires_at, POLICY) is None


def test_limits_are_settings() -> None:
    """Each deadline follows the policy that it is asked with."""
    policy = ConsultPolicy(keep_s=1, call_max_s=2, wait_max_s=dict.fromkeys(Urgency, 3.0))
    dues = {story: lifecycle.deadline(consult_in(story), policy) for story in STORIES}
    assert dues["interrupted"] == PATIENT_LOST.at + 1
    assert dues["in_call"] == ACCEPTED.at + 2
    assert dues["waiting"] == INTAKE.at + 3


def test_a_call_after_a_transfer_has_its_own_limit() -> None:
    """The longest call is counted from its own acceptance."""
    consult = fold(event_for("in_call", "transferred")[1], start=consult_in("in_call"))
    ring = replace_event(RUNG, at=LATER + 1, specialist=BUDI)
    consult = fold(ring, replace_event(ACCEPTED, at=LATER + 2, specialist=BUDI), start=consult)
    assert consult.state in CALL
    assert lifecycle.deadline(consult, POLICY) == LATER + 2 + POLICY.call_max_s
