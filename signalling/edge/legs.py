# SPDX-License-Identifier: Apache-2.0
"""The routes of this node's people: which consult is bound to which relay, who needs a leg there, and when a call moves.

Each node asks legs for its own participants, of the consult's relay, here or by that relay's inbox. The node of a
consult's patient binds it; the home of a relay moves what the relay can't serve any more. All of these are commits of
``Routed`` that hold only if the consult still goes by the way it is to leave, so two nodes can't move a call twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from auth.roles import Role
from signalling.core import events as ev
from signalling.core import routes
from signalling.core.lifecycle import Consult
from signalling.edge.clock import now
from signalling.edge.connections import (
    AnswerFor,
    Connection,
    Connections,
    LegFor,
    LegNotice,
    TroubleFor,
    WantLeg,
    patient_of,
)
from signalling.edge.ledger import Ledger, Step
from signalling.edge.push import Push
from signalling.edge.relays import FORGOTTEN_S, Relay, Relays, Seated, Want
from signalling.errors import Refused
from signalling.metrics import Metrics, MoveReason
from signalling.store.base import StoreError
from signalling.wire import legs as wire
from signalling.wire.base import FromClient
from signalling.wire.codes import Code
from signalling.wire.ids import (
    AccountId,
    ConnectionId,
    ConsultId,
    InstanceId,
    LegId,
    ParticipantId,
)
from signalling.wire.terms import ConsultState

PASS_S = 0.5
"""Between looks at what time alone changes; all else is looked at when it happens."""
PAUSE_S = 0.05
"""Between two looks in a busy hour: what happened meanwhile is seen to by one."""
STANDBY_S = 2.0
"""Between looks for standby legs that are missing."""
KNOWN_LEGS = 8
"""Legs of one page whose relay is remembered: one, a standby one, and those that were before."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """A leg wanted of a relay that is connected to no node."""

    want: Want
    relay: ParticipantId


@dataclass(slots=True)
class Known:
    """What a page of this node was given, by which relay."""

    instance: InstanceId
    asked: tuple[ConsultId, str, ConnectionId] | None = None
    """The consult and the relay of which a leg was asked last, and for which connection."""
    relays: dict[LegId, ParticipantId] | None = None


class Legs:
    """One per node; ``run`` must be run."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        connections: Connections,
        push: Push,
        relays: Relays,
        metrics: Metrics,
        relayed: bool,
    ) -> None:
        """Without ``relayed`` no consult is bound to a relay; calls that are keep theirs."""
        self.relays = relays
        self._ledger = ledger
        self._connections = connections
        self._push = push
        self._metrics = metrics
        self._relayed = relayed
        self._news = asyncio.Event()
        self._known: dict[ParticipantId, Known] = {}
        self._unmet: dict[ParticipantId, Unmet] = {}
        self._trouble: dict[ConsultId, float] = {}
        self._rung: set[ConsultId] = set()
        """Consults that ring without a relay."""
        self._standby_at = -inf
        ledger.listeners.consult.append(self._on_consult)
        connections.on_leg_notice = self._on_notice
        relays.on_news = self._news.set

    def handlers(self) -> Mapping[type[FromClient], Callable[[Connection, Any], None]]:
        """Return what is done with each message about legs."""
        return {
            wire.LegAnswered: self._answered,
            wire.LegTrouble: self._troubled,
            wire.RelayStatus: self.relays.status,
            wire.LegsMinted: self.relays.legs_minted,
            wire.LegsSeated: self.relays.legs_seated,
            wire.LegState: self.relays.leg_state,
            wire.LimitLeg: self.relays.limit_leg,
        }

    # -- what happens ------------------------------------------------------------------------------------------------

    def _on_consult(self, step: Step) -> None:
        consult, before = step.consult, step.before
        if len(self.relays):
            self.relays.reconcile(consult)
            if routes.may_bind(consult) and patient_of(consult.id) in self._connections:
                if consult.state is ConsultState.RINGING:
                    self._rung.add(consult.id)
                self._news.set()
        elif before is not None and not consult.relay and not before.relay:
            return
        if before is not None and before.specialist not in (None, consult.specialist):
            self._known.pop(ParticipantId(before.specialist or ""), None)
        if consult.over:
            self._forget(consult)
        elif consult.relay:
            self._ask(consult, patient_of(consult.id), resumed=False)
            if consult.specialist is not None:
                self._ask(consult, ParticipantId(consult.specialist), resumed=False)

    def _forget(self, consult: Consult) -> None:
        for participant in (patient_of(consult.id), ParticipantId(consult.specialist or "")):
            self._known.pop(participant, None)
            self._unmet.pop(participant, None)
        self._trouble.pop(consult.id, None)
        self._rung.discard(consult.id)

    def came(self, connection: Connection) -> None:
        """A page connected, a new one or one that had lost its socket: it needs a leg, or has one."""
        consult_id = connection.consult
        if connection.account is not None:
            who = self._ledger.presences.get(connection.account)
            consult_id = who.consult if who is not None else None
        consult = self._ledger.consults.get(consult_id) if consult_id is not None else None
        if consult is None:
            return
        if consult.relay:
            self._ask(consult, connection.participant, resumed=connection.resumed)
        elif len(self.relays) and routes.may_bind(consult):
            self._news.set()

    def _ask(self, consult: Consult, participant: ParticipantId, *, resumed: bool) -> None:
        """Ask a leg for a participant of this node, once for each connection, consult and relay."""
        connection = self._connections.get(participant)
        if connection is None or not _has_leg(connection, consult):
            return
        known = self._known_of(connection)
        asked = (consult.id, consult.relay, connection.id)
        if known.asked == asked:
            return
        known.asked = asked
        self._unmet.pop(participant, None)
        want = Want(
            consult=consult.id,
            participant=participant,
            instance=connection.instance,
            role=connection.role,
            resumed=resumed,
            since=_time(),
        )
        self._want(want, ParticipantId(consult.relay))

    def _want(self, want: Want, relay_id: ParticipantId) -> None:
        relay = self.relays.get(relay_id)
        if relay is not None:
            self.relays.want(relay, want)
        else:
            self._push.spawn(self._want_elsewhere(Unmet(want, relay_id)))

    async def _want_elsewhere(self, unmet: Unmet) -> None:
        want = unmet.want
        notice = WantLeg(want.consult, want.participant, want.instance, want.role, want.resumed)
        if not await self._connections.tell(unmet.relay, notice):
            self._unmet[want.participant] = unmet

    def _known_of(self, connection: Connection) -> Known:
        known = self._known.get(connection.participant)
        if known is None or known.instance != connection.instance:
            known = self._known[connection.participant] = Known(connection.instance)
        return known

    def first_route(self, consult: Consult, at: float) -> list[ev.Event]:
        """Return the route to record with an intake, when its patient will be among the next in line.

        Recorded together they are one commit and one view; what this guesses wrong, the next look puts right.
        """
        if not self._relayed or not len(self.relays) or consult.relay:
            return []
        on_call = self._push.on_call_for(consult.specialty)
        if not routes.in_reach(len(self._push.line()) + 1, on_call):
            return []
        target = routes.choose(self.relays.loads(), _time())
        return [ev.Routed(at=at, consult=consult.id, relay=target)] if target else []

    # -- what pages say ----------------------------------------------------------------------------------------------

    def _concerned(self, connection: Connection, consult_id: str) -> Consult:
        consult = self._ledger.consults.get(ConsultId(consult_id))
        if consult is None or not _has_leg(connection, consult):
            raise Refused(Code.NOT_FOUND)
        return consult

    def _answered(self, connection: Connection, message: wire.LegAnswered) -> None:
        consult = self._concerned(connection, message.consult)
        leg = LegId(message.leg)
        known = self._known_of(connection).relays or {}
        relay_id = known.get(leg)
        if relay_id is None:
            home = next((r for r in self.relays if leg in r.seats), None)
            relay_id = home.id if home is not None else ParticipantId(consult.relay)
        relay = self.relays.get(relay_id)
        if relay is not None:
            self.relays.answer(relay, connection.participant, consult.id, leg, message.answer)
        if relay_id and (relay is None or relay.connection is None):
            notice = AnswerFor(consult.id, connection.participant, leg, message.answer)
            self._push.spawn(self._tell(relay_id, notice))
        elif not relay_id:
            raise Refused(Code.NOT_FOUND)

    def _troubled(self, connection: Connection, message: wire.LegTrouble) -> None:
        consult = self._concerned(connection, message.consult)
        if not consult.relay:
            raise Refused(Code.WRONG_STATE)
        if self.relays.get(consult.relay) is not None:
            self._note_trouble(consult.id)
        else:
            self._push.spawn(self._trouble_elsewhere(consult.id, ParticipantId(consult.relay)))

    def _note_trouble(self, consult_id: ConsultId) -> None:
        self._trouble[consult_id] = _time()
        self._news.set()

    async def _trouble_elsewhere(self, consult_id: ConsultId, relay_id: ParticipantId) -> None:
        """The relay's home judges; a relay without a home is judged here."""
        if not await self._connections.tell(relay_id, TroubleFor(consult_id)):
            await self._move(consult_id, relay_id, "lost")

    def _on_notice(self, connection: Connection, notice: LegNotice) -> None:
        """Take what another node says about one of our relays, or to one of our pages."""
        relay = self.relays.get(connection.participant)
        match notice:
            case LegFor() if notice.instance == connection.instance:
                known = self._known_of(connection)
                known.relays = known.relays or {}
                known.relays[LegId(notice.leg)] = ParticipantId(notice.relay)
                if len(known.relays) > KNOWN_LEGS:
                    del known.relays[next(iter(known.relays))]
                connection.socket.send(bytes(notice.payload))
            case WantLeg() if relay is not None:
                want = Want(
                    consult=ConsultId(notice.consult),
                    participant=ParticipantId(notice.participant),
                    instance=InstanceId(notice.instance),
                    role=notice.role,
                    resumed=notice.resumed,
                    since=_time(),
                )
                self._push.spawn(self._want_when_known(want, relay))
            case AnswerFor() if relay is not None:
                with contextlib.suppress(Refused):  # closed meanwhile
                    self.relays.answer(
                        relay, notice.participant, notice.consult, notice.leg, notice.answer
                    )
            case TroubleFor() if relay is not None:
                self._note_trouble(ConsultId(notice.consult))
            case _:
                pass

    async def _want_when_known(self, want: Want, relay: Relay) -> None:
        """Another node may know of a consult's newest events before this one does."""
        consult = self._ledger.known(want.consult)
        if consult is None or consult.relay != relay.id or not consult.specialist:
            with contextlib.suppress(Refused):
                await self._ledger.refresh(want.consult)
        self.relays.want(relay, want)

    async def _tell(self, participant: ParticipantId, notice: LegNotice) -> None:
        await self._connections.tell(participant, notice)

    # -- looking after -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """See to the routes, for ever: when something happens, and twice a second."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PASS_S):
                    await self._news.wait()
            self._news.clear()
            with contextlib.suppress(StoreError):
                await self._look()
            await asyncio.sleep(PAUSE_S)

    async def _look(self) -> None:
        if self._unmet:
            await self._see_to_unmet()
        if not len(self.relays):
            return
        at = _time()
        await self._see_to_trouble(at)
        await self._see_to_gone(at)
        self.relays.serve()
        await self._see_to_wanting(at)
        for relay in self.relays:
            if relay.draining and relay.connection is not None:
                await self._drain(relay)
            self._end_old_legs(relay, at)
        await self._bind(at)
        if at - self._standby_at >= STANDBY_S:
            self._standby_at = at
            self._give_standbys(at)
        self._measure(at)

    async def _bind(self, at: float) -> None:
        """Bind the patients of this node who are next in line, and all who ring."""
        if not self._relayed:
            return
        rung, self._rung = self._rung, set()
        for consult_id in rung:
            if not await self._bind_one(consult_id, at):
                self._metrics.direct_fallback("no_room")
        line, farthest = self._push.line(), len(self._push.rota())
        due = []
        for consult_id, place in line.items():
            if not routes.in_reach(place, farthest):
                break
            consult = self._ledger.consults.get(consult_id)
            if consult is None or not routes.may_bind(consult):
                continue
            if routes.in_reach(place, self._push.on_call_for(consult.specialty)):
                due.append(consult_id)
        for consult_id in due:
            if not await self._bind_one(consult_id, at):
                return

    async def _bind_one(self, consult_id: ConsultId, at: float) -> bool:
        """Bind a consult if its patient is here; return whether there was room."""
        if patient_of(consult_id) not in self._connections:
            return True
        target = routes.choose(self.relays.loads(), at)
        if target is None:
            return False
        await self._route(consult_id, target, routes.may_bind)
        return True

    async def _route(
        self, consult_id: ConsultId, relay: str, still: Callable[[Consult], bool]
    ) -> bool:
        """Record a way if it is still wanted; return whether it was."""
        done = False

        def goes(consult: Consult) -> list[ev.Event]:
            nonlocal done
            done = not consult.over and consult.relay != relay and still(consult)
            return [ev.Routed(at=now(), consult=consult.id, relay=relay)] if done else []

        with contextlib.suppress(Refused):
            await self._ledger.commit(consult_id, goes)
            return done
        return False

    async def _move(self, consult_id: ConsultId, away: ParticipantId, reason: MoveReason) -> None:
        """Take a consult away from a relay: to another one that has its home here, or to none."""
        relay = self.relays.get(away)
        if relay is not None and relay.connection is None and await self._has_moved(relay):
            return
        target = None
        if self._relayed:
            known_to = self.relays.known_to(consult_id)
            loads = self.relays.loads()
            target = routes.choose(loads, _time(), without=(away,), known_to=known_to)
        if await self._route(consult_id, target or "", lambda c: c.relay == away):
            self._metrics.route_moved(reason)
            if target is None:
                self._metrics.direct_fallback(reason)

    async def _has_moved(self, relay: Relay) -> bool:
        """Return whether a relay that lost its connection to this node has one to another; then it is that one's."""
        if relay.connection is not None or not await self._connections.elsewhere(relay.id):
            return False
        if relay.connection is None:
            self.relays.forget(relay)
            for want in relay.wanting.values():
                self._want(want, relay.id)
        return True

    async def _see_to_unmet(self) -> None:
        """Ask again for legs of relays that are nowhere; who has waited long enough goes another way."""
        for participant, unmet in list(self._unmet.items()):
            want = unmet.want
            connection = self._connections.get(participant)
            consult = self._ledger.consults.get(want.consult)
            del self._unmet[participant]
            if connection is None or connection.instance != want.instance:
                continue
            if consult is None or consult.relay != unmet.relay or not _has_leg(connection, consult):
                continue
            if routes.gives_up(consult, _time() - want.since, new_page=not want.resumed):
                await self._move(consult.id, unmet.relay, "unreachable")
            elif (relay := self.relays.get(unmet.relay)) is not None:
                self.relays.want(relay, want)
            else:
                await self._want_elsewhere(unmet)

    async def _see_to_trouble(self, at: float) -> None:
        """Move the calls of relays that are dead."""
        for consult_id, said_at in list(self._trouble.items()):
            consult = self._ledger.consults.get(consult_id)
            relay = self.relays.get(consult.relay) if consult is not None else None
            if relay is None or at - said_at > routes.TROUBLE_S:
                del self._trouble[consult_id]
            elif routes.is_lost(relay.load, said_at, at):
                del self._trouble[consult_id]
                await self._move(consult_id, relay.id, "lost")

    async def _see_to_gone(self, at: float) -> None:
        """Let go of relays that have another node by now; who waits for one that doesn't come back goes another way."""
        for relay in self.relays:
            if relay.connection is not None:
                continue
            late = at - relay.gone_at > routes.RETURN_S
            if (relay.wanting or late) and await self._has_moved(relay):
                continue
            if at - relay.gone_at > FORGOTTEN_S:
                self.relays.forget(relay)
            for consult in [c for c in self._ledger.consults.values() if c.relay == relay.id]:
                if late and not routes.is_talking(consult):
                    await self._move(consult.id, relay.id, "unreachable")

    async def _see_to_wanting(self, at: float) -> None:
        """Who waits too long for a leg of a relay that has none goes another way."""
        for relay in self.relays:
            for want in list(relay.wanting.values()):
                consult = self._ledger.consults.get(want.consult)
                if consult is not None and routes.gives_up(
                    consult, at - want.since, new_page=not want.resumed
                ):
                    relay.wanting.pop((want.consult, want.participant), None)
                    await self._move(consult.id, relay.id, "unreachable")

    # -- draining ----------------------------------------------------------------------------------------------------

    async def _drain(self, relay: Relay) -> None:
        """Hand on what a draining relay has: those who wait at once, calls one by one."""
        while True:
            at = _time()
            following = routes.drains_next(self._ledger.consults.values(), relay.id)
            if following is None:
                return
            if routes.is_talking(following):
                if not routes.goes_on(relay.step, self._talks_again(relay.step), at):
                    return
                relay.step = routes.Step(following.id, at)
            await self._move(following.id, relay.id, "drained")
            if following is self._ledger.consults.get(following.id):
                return  # it could not be moved: the store is away, or somebody is faster

    def _talks_again(self, step: routes.Step | None) -> bool:
        consult = self._ledger.consults.get(step.consult) if step is not None else None
        if consult is None or not routes.is_talking(consult):
            return True
        return self._flowing_since(consult) is not None

    def _flowing_since(self, consult: Consult) -> float | None:
        """Return since when both sides of a call get voice from its relay, as far as this node knows."""
        relay = self.relays.get(consult.relay)
        if relay is None or consult.specialist is None:
            return None
        people = relay.of_consult.get(consult.id, {})
        sides = (patient_of(consult.id), ParticipantId(consult.specialist))
        times = [people[p].flowing_at if p in people else None for p in sides]
        return max((t for t in times if t is not None), default=None) if None not in times else None

    def _end_old_legs(self, relay: Relay, at: float) -> None:
        """Close the legs that consults have left, once they talk by their new way."""
        for seat in [s for s in relay.seats.values() if s.left_at is not None]:
            consult = self._ledger.consults.get(seat.consult)
            if consult is None or seat.left_at is None:
                continue
            if consult.relay == relay.id:
                continue
            if routes.ends_old_leg(seat.left_at, self._flowing_since(consult), at):
                self.relays.close(relay, seat)

    # -- standing by -------------------------------------------------------------------------------------------------

    def _give_standbys(self, at: float) -> None:
        """Give each connected leg a second one of another relay, for people of one consult of the same."""
        loads = self.relays.loads()
        if not self._relayed or sum(routes.has_room(load, at) for load in loads) < 1:
            return
        for relay in self.relays:
            for seat in [s for s in relay.seats.values() if s.connected and not s.standby]:
                if seat.left_at is None:
                    self._give_standby(relay, seat, at)

    def _give_standby(self, relay: Relay, seat: Seated, at: float) -> None:
        people = [r.of_consult.get(seat.consult, {}) for r in self.relays if r is not relay]
        if any(seat.participant in p for p in people):
            return
        target = routes.choose(
            self.relays.loads(),
            at,
            without=(relay.id,),
            known_to=self.relays.known_to(seat.consult),
        )
        other = self.relays.get(target) if target is not None else None
        if other is None or not other.pool:
            return
        want = Want(
            consult=seat.consult,
            participant=seat.participant,
            instance=seat.instance,
            role=seat.role,
            resumed=False,
            since=at,
        )
        self.relays.seat(other, want, standby=True)

    def _measure(self, at: float) -> None:
        states = {"ready": 0, "draining": 0, "out_of_control": 0}
        for relay in self.relays:
            if not routes.in_control(relay.load, at):
                states["out_of_control"] += 1
            else:
                states["draining" if relay.draining else "ready"] += 1
        self._metrics.set_relays(
            states,
            seated=sum(len(r.seats) for r in self.relays),
            pool=sum(len(r.pool) for r in self.relays),
        )


def _has_leg(connection: Connection, consult: Consult) -> bool:
    """Return whether this connection's participant is to have a leg of a consult now."""
    if connection.role is Role.PATIENT:
        return connection.consult == consult.id and routes.has_leg(consult, ev.PATIENT, None)
    if connection.role is not Role.SPECIALIST:
        return False
    return routes.has_leg(consult, ev.SPECIALIST, AccountId(connection.participant))


def _time() -> float:
    """Return the loop's clock, as ``relays`` does."""
    return asyncio.get_running_loop().time()
