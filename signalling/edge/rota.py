# SPDX-License-Identifier: Apache-2.0
"""Time and matching: whose deadline has passed, who is rung next.

One node at a time does this, by a lease; another takes over when the lease runs out. The lease only saves work: every
decision is a commit with versions, so two nodes that both believe to hold it can't ring twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from signalling.core import events as ev
from signalling.core import lifecycle, matching
from signalling.core.lifecycle import CALL, Consult
from signalling.core.presence import Presence
from signalling.edge import connections
from signalling.edge.clock import now
from signalling.edge.connections import here, patient_of
from signalling.edge.ledger import (
    CONSULT,
    SPECIALIST,
    Ledger,
    Step,
    consult_stream,
    specialist_stream,
)
from signalling.errors import Refused
from signalling.store.base import Due, StoreError, StreamId
from signalling.wire.ids import AccountId, ConsultId, ParticipantId
from signalling.wire.terms import ConsultState, SpecialistState

log = logging.getLogger(__name__)

LEASE = "rota"
LEASE_S = 6.0
"""Another node takes over within this; a ring that is late by 6 s is still a ring."""
PASS_S = 0.5
"""Between looks at what is due. A consult that waits and a specialist who is free are seen to at once."""
BATCH = 200
UNANSWERED = (ConsultState.WAITING, ConsultState.CALLBACK)


class Rota:
    """The loop that keeps promises about time."""

    def __init__(
        self,
        ledger: Ledger,
        on_call: Callable[[], Sequence[matching.Candidate]],
        reachable: Callable[[ParticipantId], Awaitable[bool]],
        node: str,
    ) -> None:
        """Watch over ``ledger``.

        ``on_call`` lists the specialists on call, ``reachable`` tells whether a participant is connected to any node;
        ``node`` names this process in the lease.
        """
        self._ledger = ledger
        self._on_call = on_call
        self._reachable = reachable
        self._node = node
        self.others: dict[str, Callable[[StreamId], Awaitable[None]]] = {}
        """By the beginning of a stream's name: who sees to it when it is due."""
        self._changed = asyncio.Event()
        self._unanswered: dict[ConsultId, Consult] = {}
        self._look_at = 0.0
        self._doubt_until = 0.0
        """Nobody is judged by a lease until then: leases could not be renewed for a while."""
        ledger.listeners.consult.append(self._on_consult)
        ledger.listeners.presence.append(self._on_presence)

    def _on_consult(self, step: Step) -> None:
        if step.consult.state in UNANSWERED:
            self._unanswered[step.consult.id] = step.consult
            self._changed.set()
        else:
            self._unanswered.pop(step.consult.id, None)

    def _on_presence(self, _before: Presence, who: Presence) -> None:
        if who.state is SpecialistState.AVAILABLE:
            self._changed.set()

    async def run(self) -> None:
        """Do the rounds, for ever."""
        held_until = 0.0
        round_at = now()
        while True:
            if now() - round_at > LEASE_S:  # the machine slept, or its clock was put forward
                self._doubt_leases()
            round_at = now()
            try:
                if now() > held_until - LEASE_S / 2:
                    at = now()
                    lease = await self._ledger.store.acquire(LEASE, self._node, LEASE_S)
                    held_until = at + LEASE_S if lease is not None else 0.0
                if held_until > now():
                    await self._round()
            except StoreError:
                log.warning("rota_store_unavailable")
                held_until = 0.0
                self._doubt_leases()
            try:
                async with asyncio.timeout(PASS_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()

    def _doubt_leases(self) -> None:
        """Let every node renew its leases before anybody counts as gone: two renewals' time."""
        self._doubt_until = now() + 2 * connections.RENEW_S

    async def _held(self, names: Collection[str]) -> Collection[str]:
        """Return which leases are held, or may be: a store that was away let all of them run out."""
        doubt_s = self._doubt_until - now()
        if 0.0 < doubt_s <= 2 * connections.RENEW_S:  # more than that: the clock was put back
            return names
        return await self._ledger.store.holders(names)

    async def _round(self) -> None:
        at = now()
        if not self._look_at - PASS_S <= at < self._look_at:  # also when the clock was put back
            self._look_at = at + PASS_S
            for due in await self._ledger.store.due(at, BATCH):
                await self._attend(due)
        ledger = self._ledger
        waiting = list(self._unanswered.values())
        if not waiting:
            return
        rota = [c for c in self._on_call() if not c.free or await self._reachable(_participant(c))]
        for decision in matching.match(waiting, rota, now(), ledger.policy):
            await self._decide(decision)

    async def _attend(self, due: Due) -> None:
        """Do what a stream's due time asks for."""
        try:
            if due.stream.startswith(CONSULT):
                await self._attend_consult(ConsultId(due.stream.removeprefix(CONSULT)))
            elif due.stream.startswith(SPECIALIST):
                await self._attend_specialist(AccountId(due.stream.removeprefix(SPECIALIST)))
            for begins, attend in self.others.items():
                if due.stream.startswith(begins):
                    await attend(due.stream)
        except Refused as lost:
            # Somebody's event came first; the stream has a new due time by it.
            log.debug("due_overtaken", extra={"code": lost.code})
        except StoreError:
            raise
        except Exception:
            # It stays due and comes again first; whoever is due after it must not wait for it to be mended.
            log.exception("due_not_attended")

    async def _attend_consult(self, consult_id: ConsultId) -> None:
        ledger = self._ledger
        consult = await ledger.consult(consult_id)
        event = lifecycle.on_deadline(consult, now(), ledger.policy)
        if event is not None:
            await ledger.commit(
                consult_id, lambda c: _one(lifecycle.on_deadline(c, now(), ledger.policy))
            )
        elif consult.state in CALL:
            await self._look_for_sides(consult)
        else:
            # Due by an older version of the stream than the one in memory: put the due time right.
            due_at = lifecycle.deadline(consult, ledger.policy)
            await ledger.postpone(consult_stream(consult_id), consult.version, due_at)

    async def _look_for_sides(self, consult: Consult) -> None:
        """A side whose node died said no goodbye: its lease is gone."""
        ledger = self._ledger
        sides = {ev.PATIENT: here(patient_of(consult.id))}
        if consult.specialist is not None:
            sides[ev.SPECIALIST] = f"here:{consult.specialist}"
        held = await self._held(sides.values())
        for role in [r for r, name in sides.items() if name not in held]:
            consult = await ledger.commit(consult.id, lambda c, r=role: side_lost(c, r))  # type: ignore[misc]
        at = now() + ledger.policy.call_check_s
        due = lifecycle.deadline(consult, ledger.policy)
        await ledger.postpone(
            consult_stream(consult.id), consult.version, min(at, due) if due else None
        )

    async def _attend_specialist(self, account: AccountId) -> None:
        """A specialist on call whose lease is gone has left: the rota must not promise them."""
        ledger = self._ledger
        name = f"here:{account}"
        if name in await self._held([name]):
            who = await ledger.presence(account)
            due_at = now() + ledger.policy.presence_s if who.on_call else None
            await ledger.postpone(specialist_stream(account), who.version, due_at)
            return
        await ledger.commit_presence(account, lambda who: off_call(who, lapsed=True))

    async def _present(self, consult_id: ConsultId) -> bool:
        """Return whether a consult's patient is connected, or was until moments ago."""
        patient = patient_of(consult_id)
        if await self._reachable(patient):
            return True
        return here(patient) in await self._ledger.store.holders([here(patient)])

    async def _decide(self, decision: ev.Rung | ev.CallbackPromised) -> None:
        """Commit a ring or a promise if it still holds; nobody is rung for an empty chair."""
        ledger = self._ledger
        absent = isinstance(decision, ev.Rung) and not await self._present(decision.consult)
        try:
            await ledger.commit(
                decision.consult,
                lambda c: side_lost(c, ev.PATIENT) if absent else still_waiting(c, decision),
            )
        except Refused as overtaken:
            log.debug("ring_overtaken", extra={"code": overtaken.code})


def _participant(candidate: matching.Candidate) -> ParticipantId:
    return ParticipantId(candidate.id)


def _one(event: ev.Event | None) -> list[ev.Event]:
    return [] if event is None else [event]


def still_waiting(consult: Consult, decision: ev.Rung | ev.CallbackPromised) -> list[ev.Event]:
    """Return the decision if the consult still waits for it."""
    return [decision] if consult.state in UNANSWERED else []


def side_lost(consult: Consult, role: str) -> list[ev.Event]:
    """Return the event that a side is away, unless it is known to be, or is no side (any more)."""
    if consult.over or role in consult.away:
        return []
    if role == ev.SPECIALIST and consult.state not in CALL:
        return []
    return [ev.SideLost(at=now(), consult=consult.id, role=role)]


def side_back(consult: Consult, role: str) -> list[ev.Event]:
    """Return the event that a side is back, if it was away."""
    if consult.over or role not in consult.away:
        return []
    return [ev.SideBack(at=now(), consult=consult.id, role=role)]


def hand_over(consult: Consult, account: AccountId) -> list[ev.Event]:
    """Return the event that gives a call's patient to somebody else, if the call is still this specialist's."""
    if consult.state not in CALL or consult.specialist != account:
        return []
    return [
        ev.Transferred(
            at=now(), consult=consult.id, specialist=account, specialty=consult.specialty
        )
    ]


def off_call(who: Presence, *, lapsed: bool) -> list[ev.Event]:
    """Return the events of going off call; a ring on the desk rolls over with it."""
    if not who.on_call:
        return []
    gone = ev.WentOffCall(at=now(), specialist=who.id, lapsed=lapsed)
    return [*roll_over(who), gone]


def roll_over(who: Presence) -> list[ev.Event]:
    """Return the event that passes a ring on to the next specialist, if this one is being rung."""
    if who.state is not SpecialistState.RINGING or who.consult is None:
        return []
    return [ev.RingTimedOut(at=now(), consult=who.consult, specialist=who.id)]
