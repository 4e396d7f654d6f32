# SPDX-License-Identifier: Apache-2.0
"""The consult's life as a table. Whatever can change a consult is in this file.

Theory of operation
-------------------
A consult is a fold of the events in its stream. ``TRANSITIONS`` lists, for each state, the events that may happen in it
and the state that follows; an event that is not listed, or whose guard refuses it, raises ``InvalidTransition`` and
changes nothing. Some events leave the state as it is (a chat line, a note): they are listed too, so the table is the
whole truth about what may happen when.

Some states differ by a fact rather than by an event (``JOINT``): a call is ``interrupted`` exactly while a side is away,
and who was promised a call-back waits by that promise. These rules are applied after each event (``_settle``), so they
hold however the state came about: also when a specialist accepts a patient whose link has just gone.

Declining, a ring that nobody answers, and a transfer are events that lead back to ``waiting`` (or to the promise that the
ring came from); they are not states, because nothing may wait in them. Every non-terminal state has a deadline (``deadline``), and ``on_deadline`` says which
event the passing of it is. Terminal states have no events at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from signalling.core import audience
from signalling.core import events as ev
from signalling.core.policy import ConsultPolicy
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId, PostCode
from signalling.wire.terms import (
    CallbackReason,
    ConsultState,
    Outcome,
    Specialty,
    Urgency,
)

S = ConsultState
TERMINAL = frozenset({S.ENDED, S.ABANDONED, S.EXPIRED})
CALL = frozenset({S.IN_CALL, S.INTERRUPTED})


class InvalidTransition(Exception):
    """The event may not happen in this state; nothing was changed."""

    def __init__(self, state: str, event: type[ev.Event], code: Code = Code.WRONG_STATE) -> None:
        """Carry the state, the event's class and the code for whoever asked."""
        super().__init__(f"{event.__name__} in state {state}")
        self.state, self.event, self.code = state, event, code


@dataclass(frozen=True, slots=True)
class Takeover:
    """An open request of another device."""

    request: str
    secret_hash: str
    at: float


class Consult(msgspec.Struct, frozen=True):
    """A consult, folded from its stream. A struct: each event copies it, which costs a dataclass ten times as much."""

    id: ConsultId
    version: int = 0
    """Events folded; equals the stream's version."""
    state: ConsultState = S.INVITED
    state_since: float = 0.0
    specialty: Specialty = Specialty.GENERAL
    language: str = ""
    post: PostCode | None = None
    invited_by: str = ""
    jti: str = ""
    expires_at: float = 0.0
    resume_hash: str = ""
    """Of the device in use; empty = the invitation was not redeemed yet."""
    joined_at: float | None = None
    takeovers: tuple[Takeover, ...] = ()
    refused: frozenset[str] = frozenset()
    """Take-over requests that were refused, so that the asking page can be told."""
    urgency: Urgency | None = None
    since: float | None = None
    """When the patient began to wait: orders the queue, also after a transfer or a promise."""
    search_since: float = 0.0
    """When the search for a specialist began, by the intake or a transfer; rings that come to nothing don't restart it."""
    intake: str = ""
    """Content id of the intake form."""
    consent_at: float | None = None
    tried: frozenset[AccountId] = frozenset()
    """Specialists who had this ring already, in this round."""
    specialist: AccountId | None = None
    """Who is rung or in the call; of a consult that ended, who was in it. Nobody else was ever let in."""
    ring_until: float | None = None
    interpreter_needed: bool = False
    accepted_at: float | None = None
    relay: str = ""
    """The participant id of the relay through which media goes; empty = directly."""
    away: frozenset[str] = frozenset()
    """Roles whose connection is lost."""
    away_since: float | None = None
    transfers: int = 0
    keeper: AccountId | None = None
    """Who put the call on hold: rung before anybody else when the patient is back."""
    callback_by: float | None = None
    callback_reason: CallbackReason | None = None
    overdue: bool = False
    note: str = ""
    summary: str = ""
    outcome: Outcome | None = None
    ended_at: float | None = None
    chat_keys: frozenset[str] = frozenset()
    """Keys of recorded chat lines: a repeat after a lost socket is recognised."""
    content_keys: frozenset[str] = frozenset()
    """Keys of photographs and voice messages that are there whole."""
    content_bytes: int = 0
    """What they hold together."""
    unanswered: int = 0
    """What the patient wrote, said or showed since a specialist wrote, spoke or accepted."""
    last_word: AccountId | None = None
    """The specialist who wrote or spoke last, until the patient does; None also where nobody has."""
    answered_at: float | None = None
    """When a specialist closed the promise by a message; the patient's next word opens it again."""
    readers: frozenset[AccountId] = frozenset()
    """Specialists who opened the messages without being in the call."""

    @property
    def over(self) -> bool:
        """Whether nothing can happen any more."""
        return self.state in TERMINAL


Guard = Callable[[Consult, ev.Event], Code | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from an event in a state."""

    to: ConsultState
    guard: Guard | None = None
    """Returns the code of a refusal, or None."""


# -- Guards ----------------------------------------------------------------------------------------------------------


def _same_specialist(consult: Consult, event: ev.Event) -> Code | None:
    """Only the specialist who is rung or in the call can do this."""
    return None if getattr(event, "specialist", None) == consult.specialist else Code.RING_OVER


def _not_joined(consult: Consult, _event: ev.Event) -> Code | None:
    """An invitation is redeemed once."""
    return None if not consult.resume_hash else Code.INVITATION_USED


def _joined(consult: Consult, _event: ev.Event) -> Code | None:
    """Only a patient who joined can do this."""
    return None if consult.resume_hash else Code.WRONG_STATE


def _open_request(consult: Consult, event: ev.Event) -> Code | None:
    """A decision needs an open request."""
    assert isinstance(event, ev.TakeoverDecided)
    return None if any(t.request == event.request for t in consult.takeovers) else Code.NOT_FOUND


def _another_way(consult: Consult, event: ev.Event) -> Code | None:
    """Media goes another way than before."""
    assert isinstance(event, ev.Routed)
    return None if event.relay != consult.relay else Code.WRONG_STATE


def _patient_here(consult: Consult, _event: ev.Event) -> Code | None:
    """Nobody is rung for a patient who is away."""
    return Code.PEER_ABSENT if ev.PATIENT in consult.away else None


def _wants_call(consult: Consult, event: ev.Event) -> Code | None:
    """Nobody is rung for a patient who is away, or whose promise is closed."""
    return _patient_here(consult, event) or (Code.WRONG_STATE if consult.answered_at else None)


def _once_answered(consult: Consult, _event: ev.Event) -> Code | None:
    """A promise is made again only after it was closed."""
    return None if consult.answered_at is not None else Code.WRONG_STATE


def _patient_lost(consult: Consult, event: ev.Event) -> Code | None:
    """A call is put on hold by its specialist, and only while the patient is away."""
    if (code := _same_specialist(consult, event)) is not None:
        return code
    return None if ev.PATIENT in consult.away else Code.WRONG_STATE


def _becomes_away(consult: Consult, event: ev.Event) -> Code | None:
    """A side that is away can't be lost again; the patient has a side once joined, the specialist in a call."""
    assert isinstance(event, ev.SideLost)
    sides = {ev.PATIENT: bool(consult.resume_hash), ev.SPECIALIST: consult.state in CALL}
    known = sides.get(event.role, False)
    return None if known and event.role not in consult.away else Code.WRONG_STATE


def _is_away(consult: Consult, event: ev.Event) -> Code | None:
    """Only a side that is away can come back."""
    assert isinstance(event, ev.SideBack)
    return None if event.role in consult.away else Code.WRONG_STATE


# -- The table -------------------------------------------------------------------------------------------------------


def _stay(state: ConsultState, *, waited: bool = True) -> dict[type[ev.Event], Rule]:
    """Return the rules of events that leave a live state as it is (but for ``JOINT``)."""
    rules: dict[type[ev.Event], Rule] = {
        ev.TakeoverAsked: Rule(state, _joined),
        ev.TakeoverDecided: Rule(state, _open_request),
        ev.SideLost: Rule(state, _becomes_away),
        ev.SideBack: Rule(state, _is_away),
    }
    if not waited:
        return rules
    return rules | {
        ev.ChatSent: Rule(state, audience.new_line),
        ev.ContentAdded: Rule(state, audience.new_content),
        ev.MessagesOpened: Rule(state, audience.may_open),
        ev.Routed: Rule(state, _another_way),
    }


_RULES_OF_A_CALL: dict[type[ev.Event], Rule] = {
    ev.Transferred: Rule(S.WAITING, _same_specialist),
    ev.Ended: Rule(S.ENDED, _same_specialist),
}

TRANSITIONS: Mapping[ConsultState, Mapping[type[ev.Event], Rule]] = {
    S.INVITED: _stay(S.INVITED, waited=False)
    | {
        ev.PatientJoined: Rule(S.INVITED, _not_joined),
        ev.IntakeGiven: Rule(S.WAITING, _joined),
        ev.Abandoned: Rule(S.ABANDONED, _joined),
        ev.Expired: Rule(S.EXPIRED),
    },
    S.WAITING: _stay(S.WAITING)
    | {
        ev.Rung: Rule(S.RINGING, _patient_here),
        ev.CallbackPromised: Rule(S.CALLBACK),
        ev.Abandoned: Rule(S.ABANDONED),
    },
    S.RINGING: _stay(S.RINGING)
    | {
        ev.Accepted: Rule(S.IN_CALL, _same_specialist),
        ev.RingDeclined: Rule(S.WAITING, _same_specialist),
        ev.RingTimedOut: Rule(S.WAITING, _same_specialist),
        ev.Abandoned: Rule(S.ABANDONED, _same_specialist),
    },
    S.IN_CALL: _stay(S.IN_CALL) | {ev.NoteWritten: Rule(S.IN_CALL)} | _RULES_OF_A_CALL,
    S.INTERRUPTED: _stay(S.INTERRUPTED)
    | {ev.NoteWritten: Rule(S.INTERRUPTED), ev.Held: Rule(S.WAITING, _patient_lost)}
    | _RULES_OF_A_CALL,
    S.CALLBACK: _stay(S.CALLBACK)
    | {
        ev.Rung: Rule(S.RINGING, _wants_call),
        ev.CallbackPromised: Rule(S.CALLBACK, _once_answered),
        ev.Answered: Rule(S.CALLBACK, audience.last_word),
        ev.CallbackOverdue: Rule(S.CALLBACK),
        ev.Abandoned: Rule(S.ABANDONED),
        ev.Expired: Rule(S.EXPIRED),
    },
    S.ENDED: {},
    S.ABANDONED: {},
    S.EXPIRED: {},
}


@dataclass(frozen=True, slots=True)
class Joint:
    """A state that a fact turns into another one, whichever event led there."""

    state: ConsultState
    to: ConsultState
    when: Callable[[Consult], bool]


def _somebody_away(consult: Consult) -> bool:
    """A side is away."""
    return bool(consult.away)


def _nobody_away(consult: Consult) -> bool:
    """Both sides are here."""
    return not consult.away


def _has_promise(consult: Consult) -> bool:
    """A call-back was promised: the promise stands until somebody accepts."""
    return consult.callback_by is not None


JOINT: tuple[Joint, ...] = (
    Joint(S.IN_CALL, S.INTERRUPTED, _somebody_away),
    Joint(S.INTERRUPTED, S.IN_CALL, _nobody_away),
    Joint(S.WAITING, S.CALLBACK, _has_promise),
)
"""At most one of them applies to a state, and none to the state it leads to under the same fact."""


def begin(event: ev.Invited) -> Consult:
    """Return the consult that an invitation creates."""
    return Consult(
        id=event.consult,
        version=1,
        state_since=event.at,
        specialty=event.specialty,
        language=event.language,
        post=event.post,
        invited_by=event.by,
        jti=event.jti,
        expires_at=event.expires_at,
    )


def apply(consult: Consult, event: ev.Event) -> Consult:
    """Return the consult after ``event``.

    Raises:
        InvalidTransition: the table doesn't list it, or its guard refuses it.
    """
    kind = type(event)
    rule = TRANSITIONS[consult.state].get(kind)
    if rule is None:
        raise InvalidTransition(
            consult.state, kind, Code.CONSULT_OVER if consult.over else _late(kind)
        )
    if rule.guard is not None and (code := rule.guard(consult, event)) is not None:
        raise InvalidTransition(consult.state, kind, code)
    write = _WRITERS.get(kind)
    after = write(consult, event) if write is not None else consult
    return _settle(after, rule.to, consult, event.at)


def _late(kind: type[ev.Event]) -> Code:
    """An answer to a ring that is gone has its own code: the page then takes the ring off the screen."""
    return Code.RING_OVER if kind in (ev.Accepted, ev.RingDeclined) else Code.WRONG_STATE


def _settle(after: Consult, to: ConsultState, before: Consult, at: float) -> Consult:
    """Apply the joint rules and remember since when things are as they are."""
    state = next((j.to for j in JOINT if j.state is to and j.when(after)), to)
    away_since = after.away_since
    if not after.away:
        away_since = None
    elif not before.away or (state in CALL and before.state not in CALL):
        away_since = at
    return replace(
        after,
        version=before.version + 1,
        state=state,
        state_since=before.state_since if state == before.state else at,
        away_since=away_since,
    )


# -- What an event writes besides the state --------------------------------------------------------------------------


def _intake(c: Consult, e: ev.IntakeGiven) -> Consult:
    return replace(
        c,
        urgency=e.urgency,
        specialty=e.specialty,
        language=e.language,
        intake=e.content,
        consent_at=e.consent_at,
        since=e.at,
        search_since=e.at,
    )


def _back(c: Consult, e: ev.SideBack) -> Consult:
    # The search for the specialist of a call on hold begins when there is a patient to ring for.
    since = e.at if c.keeper is not None and c.state is S.WAITING else c.search_since
    return replace(c, away=c.away - {e.role}, search_since=since)


def _rung(c: Consult, e: ev.Rung) -> Consult:
    return replace(
        c,
        specialist=e.specialist,
        ring_until=e.until,
        interpreter_needed=e.interpreter_needed,
        # Whoever is rung again although tried begins a new round.
        tried=frozenset({e.specialist}) | (frozenset() if e.specialist in c.tried else c.tried),
    )


def _ring_over(c: Consult, e: ev.Event) -> Consult:
    # Who put it on hold and doesn't take it up again has given it to the others.
    keeper = None if getattr(e, "specialist", None) == c.keeper else c.keeper
    return replace(c, specialist=None, ring_until=None, keeper=keeper)


def _accepted(c: Consult, e: ev.Accepted) -> Consult:
    return replace(
        c,
        ring_until=None,
        accepted_at=e.at,
        callback_by=None,
        callback_reason=None,
        overdue=False,
        keeper=None,
        unanswered=0,
        last_word=None,
    )


def _transferred(c: Consult, e: ev.Transferred) -> Consult:
    return replace(
        c,
        specialist=None,
        specialty=e.specialty,
        tried=frozenset({e.specialist}),
        away=c.away - {ev.SPECIALIST},
        accepted_at=None,
        search_since=e.at,
        transfers=c.transfers + 1,
    )


def _held(c: Consult, e: ev.Held) -> Consult:
    return replace(
        c,
        specialist=None,
        keeper=e.specialist,
        tried=frozenset(),
        away=c.away - {ev.SPECIALIST},
        accepted_at=None,
        search_since=e.at,
    )


def _promised(c: Consult, e: ev.CallbackPromised) -> Consult:
    return replace(c, callback_by=e.by, callback_reason=e.reason, overdue=False, answered_at=None)


def _heard(c: Consult, e: ev.ChatSent | ev.ContentAdded) -> Consult:
    if e.role == ev.PATIENT:
        return replace(c, unanswered=c.unanswered + 1, last_word=None, answered_at=None)
    return replace(c, unanswered=0, last_word=e.by)


def _content(c: Consult, e: ev.ContentAdded) -> Consult:
    after = replace(
        c, content_keys=c.content_keys | {e.key}, content_bytes=c.content_bytes + e.bytes
    )
    return after if e.preview_of else _heard(after, e)  # a picture and its previews are one message


def _asked(c: Consult, e: ev.TakeoverAsked) -> Consult:
    # One open request at a time: a newer one replaces the older, so that they can't pile up.
    return replace(
        c,
        takeovers=(Takeover(e.request, e.secret_hash, e.at),),
        refused=c.refused | {t.request for t in c.takeovers},
    )


def _decided(c: Consult, e: ev.TakeoverDecided) -> Consult:
    asked = next(t for t in c.takeovers if t.request == e.request)
    rest = tuple(t for t in c.takeovers if t.request != e.request)
    if not e.allow:
        return replace(c, takeovers=rest, refused=c.refused | {e.request})
    return replace(c, takeovers=rest, resume_hash=asked.secret_hash)


def _ended(c: Consult, e: ev.Ended) -> Consult:
    return replace(_over(c, e), outcome=e.outcome, summary=e.content)


def _abandoned(c: Consult, e: ev.Abandoned) -> Consult:
    # Who was only being rung was never in this consult, and must not be shown it afterwards.
    return replace(_over(c, e), specialist=None, ring_until=None)


def _over(c: Consult, e: ev.Event) -> Consult:
    # Open requests go too: a device that asked is told that the consult is over, not to go on waiting.
    return replace(c, ended_at=e.at, takeovers=())


_WRITERS: Mapping[type[ev.Event], Callable[[Consult, Any], Consult]] = {
    ev.PatientJoined: lambda c, e: replace(c, resume_hash=e.resume_hash, joined_at=e.at),
    ev.TakeoverAsked: _asked,
    ev.TakeoverDecided: _decided,
    ev.IntakeGiven: _intake,
    ev.Rung: _rung,
    ev.RingDeclined: _ring_over,
    ev.RingTimedOut: _ring_over,
    ev.Accepted: _accepted,
    ev.SideLost: lambda c, e: replace(c, away=c.away | {e.role}),
    ev.SideBack: _back,
    ev.Transferred: _transferred,
    ev.Held: _held,
    ev.NoteWritten: lambda c, e: replace(c, note=e.content),
    ev.ChatSent: lambda c, e: _heard(replace(c, chat_keys=c.chat_keys | {e.key}), e),
    ev.ContentAdded: _content,
    ev.MessagesOpened: lambda c, e: replace(c, readers=c.readers | {e.specialist}),
    ev.Routed: lambda c, e: replace(c, relay=e.relay),
    ev.CallbackPromised: _promised,
    ev.Answered: lambda c, e: replace(c, answered_at=e.at, overdue=False),
    ev.CallbackOverdue: lambda c, _e: replace(c, overdue=True),
    ev.Abandoned: _abandoned,
    ev.Expired: _over,
    ev.Ended: _ended,
}


# -- Time ------------------------------------------------------------------------------------------------------------


def on_hold(consult: Consult) -> bool:
    """Return whether a call was put on hold and its patient is not back yet."""
    return consult.keeper is not None and ev.PATIENT in consult.away


def deadline(consult: Consult, policy: ConsultPolicy) -> float | None:
    """Return when this state runs out (UTC epoch seconds); None for a terminal state."""
    match consult.state:
        case S.INVITED:
            # Who redeemed the link in time is not turned out while filling in the form.
            kept = 0.0 if consult.joined_at is None else consult.joined_at + policy.keep_s
            return max(consult.expires_at, kept)
        case S.WAITING if on_hold(consult):
            return (consult.away_since or consult.state_since) + policy.keep_s
        case S.WAITING:
            return consult.search_since + policy.wait_max_s[consult.urgency or Urgency.GREEN]
        case S.RINGING:
            return consult.ring_until
        case S.IN_CALL:
            return (consult.accepted_at or consult.state_since) + policy.call_max_s
        case S.INTERRUPTED:
            return (consult.away_since or consult.state_since) + policy.keep_s
        case S.CALLBACK:
            by = consult.answered_at or consult.callback_by or consult.state_since
            kept = consult.overdue or consult.answered_at is not None
            return by + policy.callback_keep_s if kept else by
        case _:
            return None


def on_deadline(consult: Consult, now: float, policy: ConsultPolicy) -> ev.Event | None:
    """Return the event that the passing of the state's deadline is, or None while it has not passed."""
    due = deadline(consult, policy)
    if due is None or now < due:
        return None
    match consult.state:
        case S.INVITED:
            return ev.Expired(at=now, consult=consult.id)
        case S.WAITING if on_hold(consult):
            return promise(consult, CallbackReason.LINK_LOST, now, policy)
        case S.WAITING:
            return promise(consult, CallbackReason.WAITED_TOO_LONG, now, policy)
        case S.RINGING:
            assert consult.specialist is not None
            return ev.RingTimedOut(at=now, consult=consult.id, specialist=consult.specialist)
        case S.IN_CALL | S.INTERRUPTED:
            assert consult.specialist is not None
            return ev.Ended(
                at=now, consult=consult.id, specialist=consult.specialist, outcome=Outcome.LOST
            )
        case _ if not consult.overdue and consult.answered_at is None:  # a call-back runs out twice
            return ev.CallbackOverdue(at=now, consult=consult.id)
        case _:
            return ev.Expired(at=now, consult=consult.id)


def promise(
    consult: Consult, reason: CallbackReason, now: float, policy: ConsultPolicy
) -> ev.CallbackPromised:
    """Return the promise to call this patient back."""
    by = now + policy.callback_s[consult.urgency or Urgency.GREEN]
    return ev.CallbackPromised(at=now, consult=consult.id, by=by, reason=reason)
