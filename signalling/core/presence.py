# SPDX-License-Identifier: Apache-2.0
"""A specialist's state as a table: off call, available, ringing, in a call.

The events of rings and calls are the consult's own, appended to both streams (``signalling.core.events``). Being on call
and being in a call are two facts: who goes off call during a call stays in it, and is off call afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from signalling.core import events as ev
from signalling.core.lifecycle import InvalidTransition
from signalling.core.policy import ConsultPolicy
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import SpecialistState

P = SpecialistState


class Presence(msgspec.Struct, frozen=True):
    """A specialist, folded from the stream; a struct as ``Consult`` is."""

    id: AccountId
    version: int = 0
    state: SpecialistState = P.OFF_CALL
    on_call: bool = False
    consult: ConsultId | None = None
    """The consult that rings or is in call."""
    since: float = 0.0
    """Since when the state holds."""
    last_call_at: float = 0.0
    """When the last call ended (while in one: began): who has rested longest is rung first."""
    missed: int = 0
    """Rings in a row that were not answered: who doesn't answer must not cost every new patient a ring's length."""


REST = "rest"
"""Stands for: available if on call, else off call."""

TRANSITIONS: Mapping[SpecialistState, Mapping[type[ev.Event], SpecialistState | str]] = {
    P.OFF_CALL: {ev.WentOnCall: P.AVAILABLE, ev.Answered: P.OFF_CALL},
    P.AVAILABLE: {ev.WentOffCall: P.OFF_CALL, ev.Rung: P.RINGING, ev.Answered: P.AVAILABLE},
    P.RINGING: {
        ev.Accepted: P.IN_CALL,
        ev.RingDeclined: REST,
        ev.RingTimedOut: REST,
        ev.Abandoned: REST,
        ev.Answered: P.RINGING,
    },
    P.IN_CALL: {
        ev.Ended: REST,
        ev.Transferred: REST,
        ev.Held: REST,
        ev.WentOnCall: P.IN_CALL,
        ev.WentOffCall: P.IN_CALL,
        ev.Answered: P.IN_CALL,
    },
}


def apply(presence: Presence, event: ev.Event) -> Presence:
    """Return the presence after ``event``.

    Raises:
        InvalidTransition: the table doesn't list it, it is about another specialist or another consult than the one at
            hand, or it would change nothing (on call twice).
    """
    kind = type(event)
    to = TRANSITIONS[presence.state].get(kind)
    if to is None or (kind in _SWITCH and _SWITCH[kind] == presence.on_call):
        late = kind in (ev.Accepted, ev.RingDeclined)
        raise InvalidTransition(presence.state, kind, Code.RING_OVER if late else Code.WRONG_STATE)
    consult = getattr(event, "consult", None)
    if kind is ev.Answered:
        consult = presence.consult  # closed from the desk, whatever rings there or is in call
    other = presence.consult is not None and consult is not None and consult != presence.consult
    if other or getattr(event, "specialist", None) != presence.id:
        raise InvalidTransition(presence.state, kind, Code.RING_OVER)
    on_call = _SWITCH.get(kind, presence.on_call)
    state = (P.AVAILABLE if on_call else P.OFF_CALL) if to == REST else P(to)
    return replace(
        presence,
        version=presence.version + 1,
        state=state,
        on_call=on_call,
        consult=(consult or presence.consult) if state in (P.RINGING, P.IN_CALL) else None,
        since=presence.since if state == presence.state else event.at,
        last_call_at=event.at if kind in _CALLS else presence.last_call_at,
        missed=_missed(presence.missed, kind),
    )


def _missed(before: int, kind: type[ev.Event]) -> int:
    """Any sign of life begins the count again; being rung, and a patient who leaves meanwhile, is none."""
    if kind is ev.RingTimedOut:
        return before + 1
    return before if kind in (ev.Rung, ev.Abandoned) else 0


_SWITCH: Mapping[type[ev.Event], bool] = {ev.WentOnCall: True, ev.WentOffCall: False}
_CALLS = frozenset({ev.Accepted, ev.Ended, ev.Transferred, ev.Held})


def next_check(presence: Presence, now: float, policy: ConsultPolicy) -> float | None:
    """Return when the lease of a specialist who is on call must be looked at; None = never."""
    return now + policy.presence_s if presence.on_call else None
