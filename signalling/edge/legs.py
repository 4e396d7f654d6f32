# SPDX-License-Identifier: Apache-2.0
"""The legs of this node's people: who needs one of which relay, and what pages say of theirs.

Each node asks legs for its own participants, of the consult's relay, here or by that relay's inbox. Which relay that is,
``routing`` sees to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from auth.roles import Role
from signalling.core import events as ev
from signalling.core import routes
from signalling.core.lifecycle import Consult
from signalling.edge.connections import (
    AnswerFor,
    BrakedFor,
    CarriedFor,
    Connection,
    Connections,
    LegFor,
    LegNotice,
    TroubleFor,
    WantLeg,
    WishFor,
    patient_of,
)
from signalling.edge.direct import Direct
from signalling.edge.ledger import Ledger, Step
from signalling.edge.push import Push
from signalling.edge.relays import Relay, Relays, Want
from signalling.edge.routing import Routing
from signalling.edge.steering import Steering
from signalling.errors import Refused
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
    """One per node."""

    def __init__(
        self,
        ledger: Ledger,
        connections: Connections,
        push: Push,
        routing: Routing,
        direct: Direct,
    ) -> None:
        """Listen to the ledger and to other nodes; ``direct`` looks after calls that have no relay."""
        self.direct = direct
        self.relays: Relays = routing.relays
        self.steering = Steering(routing.relays)
        self.steering.on_outlook = self._outlook_known
        push.outlook_of = self.steering.outlook
        self._ledger = ledger
        self._connections = connections
        self._push = push
        self._routing = routing
        self._known: dict[ParticipantId, Known] = {}
        self._unmet: dict[ParticipantId, Unmet] = {}
        ledger.listeners.consult.append(self._on_consult)
        connections.on_leg_notice = self._on_notice
        routing.ask_elsewhere = self._want
        self.first_route = routing.first_route

    def handlers(self) -> Mapping[type[FromClient], Callable[[Connection, Any], None]]:
        """Return what is done with each message about legs."""
        return {
            wire.LegAnswered: self._answered,
            wire.LegTrouble: self._troubled,
            wire.RelayStatus: self.relays.status,
            wire.LegsMinted: self.relays.legs_minted,
            wire.LegsSeated: self.relays.legs_seated,
            wire.LegState: self.relays.leg_state,
            **self.steering.handlers(),
            wire.Braked: self._braked,
            wire.Wish: self._wished,
            **self.direct.handlers(),
        }

    # -- what happens ------------------------------------------------------------------------------------------------

    def _on_consult(self, step: Step) -> None:
        consult, before = step.consult, step.before
        if len(self.relays):
            self.relays.reconcile(consult)
            self._routing.changed(consult)
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

    def _outlook_known(self, consult_id: ConsultId) -> None:
        """A desk that shows the ring shows it too."""
        consult = self._ledger.known(consult_id)
        if consult is None or consult.state is not ConsultState.RINGING:
            return
        desk = self._connections.get(ParticipantId(consult.specialist or ""))
        if desk is not None:
            self._push.desk(desk)

    def _forget(self, consult: Consult) -> None:
        for participant in (patient_of(consult.id), ParticipantId(consult.specialist or "")):
            self._known.pop(participant, None)
            self._unmet.pop(participant, None)

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
            return
        self.direct.came(connection, consult)
        if len(self.relays):
            self._routing.changed(consult)

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
            self._routing.see_to_unmet = self._see_to_unmet

    def _known_of(self, connection: Connection) -> Known:
        known = self._known.get(connection.participant)
        if known is None or known.instance != connection.instance:
            known = self._known[connection.participant] = Known(connection.instance)
        return known

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
            self._routing.note_trouble(consult.id, connection.participant)
        else:
            notice = TroubleFor(consult.id, connection.participant)
            self._push.spawn(self._trouble_elsewhere(notice, ParticipantId(consult.relay)))

    def _braked(self, connection: Connection, message: wire.Braked) -> None:
        consult = self._concerned(connection, message.consult)
        who, leg = connection.participant, LegId(message.leg)
        relay = self.relays.get(consult.relay)
        if relay is not None:
            self.steering.braked(relay, who, consult.id, leg)
        elif consult.relay:
            notice = BrakedFor(consult.id, who, leg)
            self._push.spawn(self._tell(ParticipantId(consult.relay), notice))

    def _wished(self, connection: Connection, message: wire.Wish) -> None:
        consult = self._concerned(connection, message.consult)
        who = connection.participant
        if not consult.relay:
            self.direct.wished(connection, consult, message.wish)
        elif (relay := self.relays.get(consult.relay)) is not None:
            self.steering.wished(relay, consult.id, who, message.wish)
        else:
            notice = WishFor(consult.id, who, message.wish)
            self._push.spawn(self._tell(ParticipantId(consult.relay), notice))

    def carried(self, connection: Connection, consult_id: ConsultId, bps: int) -> None:
        """Tell the relay of a consult what comes in on this connection, over the link that the media shares."""
        consult = self._ledger.known(consult_id)
        if consult is None or not consult.relay:
            return
        who = connection.participant
        if (relay := self.relays.get(consult.relay)) is not None:
            self.steering.carried(relay, consult_id, who, bps)
        else:
            notice = CarriedFor(consult_id, who, bps)
            self._push.spawn(self._tell(ParticipantId(consult.relay), notice))

    async def _trouble_elsewhere(self, notice: TroubleFor, relay_id: ParticipantId) -> None:
        """The relay's home judges; a relay without a home is judged here."""
        if not await self._connections.tell(relay_id, notice):
            await self._routing.move(ConsultId(notice.consult), relay_id, "lost")

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
            case BrakedFor() if relay is not None:
                with contextlib.suppress(Refused):  # closed meanwhile
                    self.steering.braked(
                        relay,
                        ParticipantId(notice.participant),
                        ConsultId(notice.consult),
                        LegId(notice.leg),
                    )
            case WishFor() if relay is not None:
                self.steering.wished(
                    relay,
                    ConsultId(notice.consult),
                    ParticipantId(notice.participant),
                    notice.wish,
                )
            case CarriedFor() if relay is not None:
                who, consult_id = ParticipantId(notice.participant), ConsultId(notice.consult)
                self.steering.carried(relay, consult_id, who, notice.bps)
            case TroubleFor() if relay is not None:
                self._routing.note_trouble(ConsultId(notice.consult), notice.participant)
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
                await self._routing.move(consult.id, unmet.relay, "unreachable")
            elif (relay := self.relays.get(unmet.relay)) is not None:
                self.relays.want(relay, want)
            else:
                await self._want_elsewhere(unmet)
        if not self._unmet:
            self._routing.see_to_unmet = None


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
