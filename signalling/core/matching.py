# SPDX-License-Identifier: Apache-2.0
"""Who is rung for whom.

Consults are served by urgency, then by the time since the patient began to wait. For each, one specialist at a time is
rung: who put the patient's call on hold before anybody else, then one of the right specialty if there is one, otherwise (the group is widened) of any; among those, one who shares the
patient's language before one who needs an interpreter, who answered before who let it ring, and then who has rested
longest. Who was rung for this consult
in this round isn't rung again. If nobody is left to ring, the patient is promised a call-back: nothing is dismissed in
silence. The search goes on while the promised patient is present, round after round with a pause between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from signalling.core import events as ev
from signalling.core import lifecycle
from signalling.core.lifecycle import Consult
from signalling.core.policy import ConsultPolicy
from signalling.core.presence import Presence
from signalling.wire.ids import AccountId
from signalling.wire.terms import CallbackReason, ConsultState, SpecialistState, Specialty, Urgency

_RANK = {Urgency.RED: 0, Urgency.YELLOW: 2, Urgency.GREEN: 3}
_RANK_BACK = 1
"""Who was in a call that the link broke comes ahead of all but red: the consult has begun, an emergency can't wait."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A specialist who is on call (available, ringing or in a call), with what the account says."""

    presence: Presence
    specialties: frozenset[Specialty]
    languages: frozenset[str]

    @property
    def id(self) -> AccountId:
        """The account."""
        return self.presence.id

    @property
    def free(self) -> bool:
        """Whether this specialist can be rung now."""
        return self.presence.state is SpecialistState.AVAILABLE


def order(consult: Consult) -> tuple[int, float, str]:
    """Return the sort key of the queue: urgency, then waiting time (the id only to be the same on every node).

    A patient who is back in a consult that was on hold comes before all but red ones.
    """
    rank = _RANK[consult.urgency or Urgency.GREEN]
    if consult.keeper is not None and ev.PATIENT not in consult.away:
        rank = min(rank, _RANK_BACK)
    return (
        rank,
        consult.since or consult.state_since,
        consult.id,
    )


def queue(consults: Iterable[Consult]) -> list[Consult]:
    """Return the consults that wait or ring, in the order in which they are served."""
    states = (ConsultState.WAITING, ConsultState.RINGING)
    return sorted((c for c in consults if c.state in states), key=order)


def shares_language(consult: Consult, candidate: Candidate) -> bool:
    """Return whether they have a language in common, by its primary subtag (``id`` serves ``id-ID``)."""
    wanted = consult.language.partition("-")[0]
    return not wanted or wanted in _primary(candidate.languages)


@lru_cache(maxsize=1_024)
def _primary(languages: frozenset[str]) -> frozenset[str]:
    """Return the primary subtags; few combinations exist, and each is asked for by every free specialist and ring."""
    return frozenset(lang.partition("-")[0] for lang in languages)


def ring(consult: Consult, candidate: Candidate, now: float, policy: ConsultPolicy) -> ev.Rung:
    """Return the ring of ``candidate`` for ``consult``."""
    return ev.Rung(
        at=now,
        consult=consult.id,
        specialist=candidate.id,
        until=now + policy.ring_s,
        interpreter_needed=not shares_language(consult, candidate),
    )


def match(
    consults: Iterable[Consult], rota: Sequence[Candidate], now: float, policy: ConsultPolicy
) -> list[ev.Rung | ev.CallbackPromised]:
    """Return the rings and promises that are due now: at most one per consult and per specialist.

    ``consults`` may hold any; those that wait, or were promised a call-back, with the patient present, are looked at.
    """
    free = [c for c in rota if c.free]
    decisions: list[ev.Rung | ev.CallbackPromised] = []
    states = (ConsultState.WAITING, ConsultState.CALLBACK)
    waiting = (c for c in consults if c.state in states and c.answered_at is None)
    for consult in sorted(waiting, key=order):
        chosen = None
        if ev.PATIENT not in consult.away:
            chosen = _choose(consult, free, rota, now, policy)
        if chosen is not None:
            free.remove(chosen)
            decisions.append(ring(consult, chosen, now, policy))
        elif consult.state is ConsultState.WAITING and (
            reason := hopeless(consult, rota, now, policy)
        ):
            decisions.append(lifecycle.promise(consult, reason, now, policy))
    return decisions


def _choose(
    consult: Consult,
    free: Sequence[Candidate],
    rota: Sequence[Candidate],
    now: float,
    policy: ConsultPolicy,
) -> Candidate | None:
    """Return whom to ring: who put this call on hold, if they are on call, for a while nobody else."""
    keeper = next((c for c in rota if c.id == consult.keeper), None)
    if keeper is not None:
        if keeper in free:
            return keeper
        if consult.state is ConsultState.WAITING and now - consult.search_since < policy.reunite_s:
            return None
    return best(consult, free, again=round_over(consult, now, policy))


def round_over(consult: Consult, now: float, policy: ConsultPolicy) -> bool:
    """Return whether those who were tried may be rung again: for a promise, ``nobody_s`` after the last ring."""
    promised = consult.state is ConsultState.CALLBACK
    return promised and now - consult.state_since >= policy.nobody_s


def best(consult: Consult, free: Iterable[Candidate], *, again: bool = False) -> Candidate | None:
    """Return the specialist to ring next for ``consult``, or None if all who are free were tried (and not ``again``)."""
    candidates = list(free)
    untried = [c for c in candidates if c.id not in consult.tried]
    return min(
        untried or (candidates if again else []),
        key=lambda c: (
            consult.specialty not in c.specialties,
            not shares_language(consult, c),
            c.presence.missed,
            c.presence.last_call_at,
            c.id,
        ),
        default=None,
    )


def hopeless(
    consult: Consult, rota: Sequence[Candidate], now: float, policy: ConsultPolicy
) -> CallbackReason | None:
    """Return why nobody will take this consult as things stand, once that has lasted ``nobody_s``; else None."""
    if lifecycle.on_hold(consult):
        return None  # kept: the patient comes back, or the time for it runs out
    if now - max(consult.state_since, consult.search_since) < policy.nobody_s:
        return None
    if not rota:
        return CallbackReason.NOBODY_ON_CALL
    if all(c.id in consult.tried for c in rota):
        return CallbackReason.NOBODY_ANSWERED
    return None
