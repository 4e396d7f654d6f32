# SPDX-License-Identifier: Apache-2.0
"""Several events, two machines, one step: what to append where.

A consult and a specialist are coupled by the events that concern both (``STREAMS``). ``plan`` folds a command's events
into both machines in order; if either table refuses one, nothing happens at all. The result says what to append to
which stream, with the version that it was decided on and the stream's next deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signalling.core import events as ev
from signalling.core import lifecycle, presence
from signalling.core.lifecycle import Consult
from signalling.core.policy import ConsultPolicy
from signalling.core.presence import Presence
from signalling.wire.ids import AccountId
from signalling.wire.terms import CallbackReason

ON_BOTH: frozenset[type[ev.Event]] = frozenset(
    {
        ev.Rung,
        ev.RingDeclined,
        ev.RingTimedOut,
        ev.Accepted,
        ev.Transferred,
        ev.Held,
        ev.Ended,
        ev.Abandoned,
        ev.Answered,
    }
)
"""Recorded in the consult's and the specialist's stream (an abandoned consult only if a specialist was being rung)."""
ON_SPECIALIST: frozenset[type[ev.Event]] = frozenset({ev.WentOnCall, ev.WentOffCall})
"""Recorded in the specialist's stream alone; everything else of a consult is in the consult's alone."""


def specialist_of(event: ev.Event) -> AccountId | None:
    """Return the specialist in whose stream ``event`` belongs, if it belongs in one."""
    if type(event) in ON_BOTH or type(event) in ON_SPECIALIST:
        specialist: AccountId | None = getattr(event, "specialist", None)
        return specialist
    return None


def specialist_among(events: Sequence[ev.Event]) -> AccountId | None:
    """Return the one specialist whom ``events`` concern; a step never concerns two."""
    found = {s for s in map(specialist_of, events) if s is not None}
    assert len(found) <= 1, "a step concerns at most one specialist"
    return next(iter(found), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step makes of both machines."""

    consult: Consult | None
    presence: Presence | None
    consult_events: tuple[ev.Event, ...]
    presence_events: tuple[ev.Event, ...]


def plan(consult: Consult | None, who: Presence | None, events: Sequence[ev.Event]) -> Plan:
    """Fold ``events`` into both machines, all or nothing.

    Raises:
        InvalidTransition: one of the tables refuses one of the events.
    """
    for_consult: list[ev.Event] = []
    for_specialist: list[ev.Event] = []
    for event in events:
        if type(event) not in ON_SPECIALIST:
            assert consult is not None
            consult = lifecycle.apply(consult, event)
            for_consult.append(event)
        if specialist_of(event) is not None:
            assert who is not None
            who = presence.apply(who, event)
            for_specialist.append(event)
    return Plan(consult, who, tuple(for_consult), tuple(for_specialist))


def attention_at(consult: Consult, now: float, policy: ConsultPolicy) -> float | None:
    """Return when the consult's stream is due: its deadline, or sooner, the next look at a call's sides."""
    due = lifecycle.deadline(consult, policy)
    if due is not None and consult.state in lifecycle.CALL:
        return min(due, now + policy.call_check_s)
    return due


def said(
    consult: Consult, event: ev.ChatSent | ev.ContentAdded, policy: ConsultPolicy
) -> list[ev.Event]:
    """Return what a line or a message is: after a promise was closed the patient's next word is a new one, from now on."""
    reopens = consult.answered_at is not None and event.role == ev.PATIENT
    if not reopens:
        return [event]
    reason = consult.callback_reason or CallbackReason.NOBODY_ANSWERED
    return [lifecycle.promise(consult, reason, event.at, policy), event]
