# SPDX-License-Identifier: Apache-2.0
"""The ways of this node's consults, looked after: binding, moving, draining, standing by.

The node of a consult's patient binds it; the home of a relay moves what the relay can't serve any more. All of these are
commits of ``Routed`` that hold only if the consult still goes by the way it is to leave, so two nodes can't move a call
twice. The judgements are in ``core.routes``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from math import inf
from typing import Literal

from signalling.core import events as ev
from signalling.core import routes
from signalling.core.lifecycle import Consult
from signalling.edge.clock import now
from signalling.edge.connections import Connections, patient_of
from signalling.edge.ledger import Ledger
from signalling.edge.push import Push
from signalling.edge.relays import FORGOTTEN_S, Relay, Relays, Seated, Want
from signalling.errors import Refused
from signalling.metrics import Metrics, MoveReason
from signalling.store.base import StoreError
from signalling.wire.ids import ConsultId, ParticipantId
from signalling.wire.terms import ConsultState

PASS_S = 0.5
"""Between looks at what time alone changes; all else is looked at when it happens."""
TROUBLED_S = 0.1
"""The same while somebody hears nothing: a dead relay is to be noticed within 3 s."""
PAUSE_S = 0.05
"""Between two looks in a busy hour: what happened meanwhile is seen to by one."""
STANDBY_S = 2.0
"""Between looks for standby legs that are missing."""


class Routing:
    """One per node; ``run`` must be run."""

    def __init__(
        self,
        relays: Relays,
        ledger: Ledger,
        connections: Connections,
        push: Push,
        metrics: Metrics,
        route: Literal["relayed", "direct"],
    ) -> None:
        """With ``direct`` no consult is bound to a relay; calls that are keep theirs."""
        self.relays = relays
        self._ledger = ledger
        self._connections = connections
        self._push = push
        self._metrics = metrics
        self._relayed = route == "relayed"
        self._news = asyncio.Event()
        self._trouble: dict[ConsultId, dict[str, float]] = {}
        """When each participant last said that nothing arrives."""
        self._rung: set[ConsultId] = set()
        """Consults that ring without a relay."""
        self._standby_at = -inf
        self.see_to_unmet: Callable[[], Awaitable[None]] | None = None
        """Looks after those who want a leg of a relay that has no home here; None while there are none."""
        self.ask_elsewhere: Callable[[Want, ParticipantId], None] = lambda _w, _r: None
        """Asks a leg of a relay that has another home by now."""
        relays.on_news = self._news.set

    # -- what happens ------------------------------------------------------------------------------------------------

    def changed(self, consult: Consult) -> None:
        """A consult of this node's relays or patients is not as it was."""
        if consult.over:
            self._trouble.pop(consult.id, None)
            self._rung.discard(consult.id)
        elif routes.may_bind(consult) and patient_of(consult.id) in self._connections:
            if consult.state is ConsultState.RINGING:
                self._rung.add(consult.id)
            self._news.set()

    def note_trouble(self, consult_id: ConsultId, participant: str) -> None:
        """A participant's page of a consult whose relay has its home here hears nothing."""
        self._trouble.setdefault(consult_id, {})[participant] = _time()
        self._news.set()

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

    # -- looking after -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """See to the routes, for ever: when something happens, and twice a second."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TROUBLED_S if self._trouble else PASS_S):
                    await self._news.wait()
            self._news.clear()
            with contextlib.suppress(StoreError):
                await self._look()
            await asyncio.sleep(PAUSE_S)

    async def _look(self) -> None:
        if self.see_to_unmet is not None:
            await self.see_to_unmet()
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

    async def move(self, consult_id: ConsultId, away: ParticipantId, reason: MoveReason) -> None:
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
                self.ask_elsewhere(want, relay.id)
        return True

    async def _see_to_trouble(self, at: float) -> None:
        """Move the calls of relays that are dead."""
        for consult_id, said in list(self._trouble.items()):
            consult = self._ledger.consults.get(consult_id)
            relay = self.relays.get(consult.relay) if consult is not None else None
            if relay is None or at - max(said.values()) > routes.TROUBLE_S:
                del self._trouble[consult_id]
            elif routes.is_lost(relay.load, said.values(), at):
                del self._trouble[consult_id]
                await self.move(consult_id, relay.id, "lost")

    async def _see_to_gone(self, at: float) -> None:
        """Let go of relays that have another node by now; who waits for one that doesn't come back goes another way."""
        for relay in self.relays:
            away_s = at - max(relay.heard_at, relay.changed_at)
            late = away_s > routes.RETURN_S
            if (relay.wanting or late) and await self._has_moved(relay):
                continue
            if away_s > FORGOTTEN_S:
                self.relays.forget(relay)
            for consult in [c for c in self._ledger.consults.values() if c.relay == relay.id]:
                if late and not routes.is_talking(consult):
                    await self.move(consult.id, relay.id, "unreachable")

    async def _see_to_wanting(self, at: float) -> None:
        """Who waits too long for a leg of a relay that has none goes another way."""
        for relay in self.relays:
            for want in list(relay.wanting.values()):
                consult = self._ledger.consults.get(want.consult)
                if consult is not None and routes.gives_up(
                    consult, at - want.since, new_page=not want.resumed
                ):
                    relay.wanting.pop((want.consult, want.participant), None)
                    await self.move(consult.id, relay.id, "unreachable")

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
            await self.move(following.id, relay.id, "drained")
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


def _time() -> float:
    """Return the loop's clock, as ``relays`` does."""
    return asyncio.get_running_loop().time()
