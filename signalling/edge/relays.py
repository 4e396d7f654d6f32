# SPDX-License-Identifier: Apache-2.0
"""The relays that are connected to this node: their minted legs, who has which leg, and what they forward.

What a relay has is known here and nowhere else: its *home* is the node that has its connection. A relay that changes its
home says there what people have of it (``legs_seated``), so nothing of this is stored. Who is to have a leg follows from
the consult (``core.routes``), and ``reconcile`` makes it so after each of its events: a leg is closed by the same event
on whichever node that was committed.

A relay that lost its connection keeps its place here for ``FORGOTTEN_S``: it goes on forwarding, and comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from math import inf

import msgspec

from auth.errors import TokenInvalid
from auth.roles import Role
from signalling.core import events as ev
from signalling.core import routes
from signalling.core.lifecycle import Consult
from signalling.core.routes import RelayLoad
from signalling.edge.connections import Connection, Connections, Forward, LegFor, patient_of
from signalling.edge.handover import Handover
from signalling.edge.ledger import Ledger
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.wire import codec
from signalling.wire import legs as wire
from signalling.wire.base import FromServer
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId, InstanceId, LegId, ParticipantId

log = logging.getLogger(__name__)

HANDED_KEPT = 8_192
"""Ids of legs that were handed out, kept to know the late words about them, and that no leg is handed out twice."""
FORGOTTEN_S = 900.0
"""A relay without a connection closes its legs after this (``ConsultPolicy.keep_s``)."""
_UNKNOWN = (ParticipantId("?"),)
"""What a relay forwards between, when it said only that it does."""


def relay_of(instance: str) -> ParticipantId:
    """Return the participant id of a relay process."""
    return ParticipantId(f"r_{instance}")


@dataclass(slots=True, eq=False)
class Seated:
    """A leg that somebody has."""

    leg: LegId
    consult: ConsultId
    participant: ParticipantId
    instance: InstanceId
    role: str
    standby: bool
    """For the case that the consult's relay dies: this is not its relay."""
    given_at: float
    offer: wire.LegOffer | None = None
    """Until the leg is connected: a page that lost its socket may not have got it. None after the node's restart."""
    connected: bool = False
    switched: bool = False
    """It was a standby leg and became the leg."""
    answer: wire.LegAnswer | None = None
    """What its page answered while the relay was away."""
    flowing_at: float | None = None
    peer_link: wire.PeerLink | None = None
    """What the others were told last of what it may send."""
    left_at: float | None = None
    """Since when the consult goes by another way."""


@dataclass(frozen=True, slots=True)
class Want:
    """Somebody who is to have a leg and has none yet."""

    consult: ConsultId
    participant: ParticipantId
    instance: InstanceId
    role: str
    resumed: bool
    """The page came back by itself after a lost socket: it has its leg already, unless nobody knows of one."""
    since: float
    not_before: float = -inf


@dataclass(slots=True, eq=False)
class Relay:
    """A relay process, as its home knows it."""

    id: ParticipantId
    connection: Connection | None
    heard_at: float = -inf
    changed_at: float = -inf
    """When its connection began or ended."""
    legs_max: int = 0
    load_ratio: float = 0.0
    draining: bool = False
    adopted: bool = False
    """On this connection it has said whom it has."""
    minted: bool = False
    pool: dict[LegId, wire.LegOffer] = field(default_factory=dict)
    seats: dict[LegId, Seated] = field(default_factory=dict)
    of_consult: dict[ConsultId, dict[ParticipantId, Seated]] = field(default_factory=dict)
    reported: set[LegId] = field(default_factory=set)
    """Legs of the ``legs_seated`` messages that came so far."""
    handed: OrderedDict[LegId, None] = field(default_factory=OrderedDict)
    forwarding: dict[ConsultId, tuple[ParticipantId, ...]] = field(default_factory=dict)
    wanting: dict[tuple[ConsultId, ParticipantId], Want] = field(default_factory=dict)
    step: routes.Step | None = None
    """What its drain moved last."""

    @property
    def load(self) -> RelayLoad:
        """What the choice of a relay looks at."""
        return RelayLoad(
            id=self.id,
            heard_at=self.heard_at,
            legs=len(self.seats) + len(self.wanting),
            legs_max=self.legs_max,
            load_ratio=self.load_ratio,
            draining=self.draining,
            ready=self.adopted and self.minted,
        )

    def send(self, message: FromServer) -> None:
        """Tell it; one that has no connection is told all when it is back."""
        if self.connection is not None:
            self.connection.send(message)


class Relays:
    """The relays of this node. Every handler either does all or raises ``Refused`` and does nothing."""

    def __init__(
        self,
        ledger: Ledger,
        connections: Connections,
        metrics: Metrics,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        """``spawn`` runs what is told to other nodes."""
        self._ledger = ledger
        self._connections = connections
        self._metrics = metrics
        self._by_id: dict[ParticipantId, Relay] = {}
        self._spawn = spawn
        self.wishes: dict[ConsultId, dict[ParticipantId, wire.WishName]] = {}
        """What people said last that matters to them; whichever relay forwards their call is told."""
        self.handover = Handover()
        self.on_news: Callable[[], None] = lambda: None
        """Called when there may be something to do for those who look after the routes."""

    def __len__(self) -> int:
        """Return how many relays have their home here, those included that lost their connection of late."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Relay]:
        """Go through them."""
        return iter(list(self._by_id.values()))

    def get(self, relay: str) -> Relay | None:
        """Return a relay that has its home here."""
        return self._by_id.get(ParticipantId(relay))

    def loads(self) -> list[RelayLoad]:
        """Return what is known of each, for a choice."""
        return [relay.load for relay in self._by_id.values() if relay.connection is not None]

    def known_to(self, consult: ConsultId) -> dict[ParticipantId, int]:
        """Return how many legs that can still be used people of a consult have at each relay."""
        return {
            r.id: sum(s.left_at is None for s in r.of_consult.get(consult, {}).values())
            for r in self._by_id.values()
        }

    def forget(self, relay: Relay) -> None:
        """Drop all that is known of a relay: it has another home, or is gone for good."""
        if self._by_id.get(relay.id) is relay and relay.connection is None:
            del self._by_id[relay.id]

    # -- coming and going --------------------------------------------------------------------------------------------

    def require_same(self, connection: Connection) -> None:
        """Return when this relay may have this name: a running one's name is its token's name's alone.

        Raises:
            TokenInvalid: another relay's token was used with this one's instance.
        """
        known = self._by_id.get(connection.participant)
        if (
            known is not None
            and known.connection is not None
            and known.connection.binding != connection.binding
        ):
            raise TokenInvalid

    def came(self, connection: Connection) -> None:
        """A relay connected, again or for the first time: what it has is what it will say."""
        relay = self._by_id.setdefault(
            connection.participant, Relay(connection.participant, connection)
        )
        relay.connection = connection
        relay.adopted = relay.minted = False
        relay.pool.clear()
        relay.reported.clear()
        relay.heard_at, relay.changed_at = -inf, _time()

    def gone(self, connection: Connection) -> None:
        """A relay's connection ended; it goes on without."""
        relay = self._by_id.get(connection.participant)
        if relay is not None and relay.connection is connection:
            relay.connection, relay.heard_at = None, -inf
            relay.changed_at = _time()
            relay.adopted = False
            self.on_news()

    def of(self, connection: Connection) -> Relay:
        """Return the relay that this connection is of.

        Raises:
            Refused: ``wrong_state`` when it has a newer one.
        """
        relay = self._by_id.get(connection.participant)
        if relay is None or relay.connection is not connection:
            raise Refused(Code.WRONG_STATE)
        return relay

    # -- what a relay says -------------------------------------------------------------------------------------------

    def status(self, connection: Connection, message: wire.RelayStatus) -> None:
        """Take what it carries and can take."""
        relay = self.of(connection)
        relay.heard_at = _time()
        news = relay.draining is not message.draining or relay.legs_max != message.legs_max
        relay.legs_max, relay.load_ratio = message.legs_max, message.load_ratio
        relay.draining = message.draining
        if news:
            self.on_news()

    def legs_minted(self, connection: Connection, message: wire.LegsMinted) -> None:
        """Take new legs into the pool.

        Raises:
            Refused: ``wrong_state`` for more than a pool holds, and for a leg that is or was somebody's.
        """
        relay = self.of(connection)
        fresh = {LegId(minted.leg): minted.offer for minted in message.legs}
        if len(fresh) < len(message.legs) or len(relay.pool) + len(fresh) > wire.POOL_MAX:
            raise Refused(Code.WRONG_STATE)
        if any(self._is_known(leg) for leg in fresh):
            raise Refused(Code.WRONG_STATE)
        relay.pool.update(fresh)
        relay.minted = True
        self._serve(relay)
        self.on_news()

    def _is_known(self, leg: LegId) -> bool:
        return any(leg in r.pool or leg in r.seats or leg in r.handed for r in self._by_id.values())

    def legs_seated(self, connection: Connection, message: wire.LegsSeated) -> None:
        """Take over the legs that people have of it; what nobody is to have is closed.

        Raises:
            Refused: ``wrong_state`` when it has said so already, for a leg that is another relay's, and for too many.
        """
        relay = self.of(connection)
        if relay.adopted or len(relay.reported) + len(message.legs) > wire.LEGS_MAX:
            raise Refused(Code.WRONG_STATE)
        if len(relay.forwarding.keys() | set(message.forwarding)) > wire.LEGS_MAX:
            raise Refused(Code.WRONG_STATE)
        others = [r for r in self._by_id.values() if r is not relay]
        named = {LegId(seat.leg) for seat in message.legs}
        if len(named) < len(message.legs) or any(leg in relay.pool for leg in named):
            raise Refused(Code.WRONG_STATE)
        if any(leg in r.seats or leg in r.pool for leg in named for r in others):
            raise Refused(Code.WRONG_STATE)
        for seat in message.legs:
            self._adopt(relay, seat)
        relay.reported |= named
        for consult in map(ConsultId, message.forwarding):
            relay.forwarding[consult] = _UNKNOWN
        if not message.more:
            self._adopted(relay)

    def _adopt(self, relay: Relay, said: wire.Seat) -> None:
        leg = LegId(said.leg)
        known = relay.seats.get(leg)
        if known is not None:
            known.connected = known.connected or said.connected
            return
        consult = self._ledger.known(ConsultId(said.consult))
        participant = ParticipantId(said.participant)
        if consult is None or not _belongs(consult, participant, said.role):
            relay.send(wire.CloseLeg(leg))
            return
        self._place(
            relay,
            Seated(
                leg=leg,
                consult=consult.id,
                participant=participant,
                instance=InstanceId(said.instance),
                role=said.role,
                standby=consult.relay != relay.id,
                given_at=_time(),
                connected=said.connected,
            ),
        )

    def _adopted(self, relay: Relay) -> None:
        """All is said: put right what changed while it was away."""
        relay.adopted = True
        for seat in [s for leg, s in relay.seats.items() if leg not in relay.reported]:
            self._drop(relay, seat)  # the seat never reached it, or it closed the leg
            if not seat.standby:
                self._ask_again(relay, seat)
        for seat in relay.seats.values():
            if seat.answer is not None:
                relay.send(wire.RelayAnswer(seat.leg, seat.answer))
                seat.answer = None
        concerned = {*relay.forwarding, *relay.of_consult}
        concerned |= {c.id for c in self._ledger.consults.values() if c.relay == relay.id}
        for consult_id in concerned:
            consult = self._ledger.known(consult_id)
            if consult is not None:
                self._reconcile(relay, consult)
            elif relay.forwarding.pop(consult_id, None):
                relay.send(wire.Forwarding(consult_id, []))
        self._serve(relay)
        self.on_news()

    def leg_state(self, connection: Connection, message: wire.LegState) -> None:
        """A leg came up or ended.

        Raises:
            Refused: ``not_found`` for a leg that it never was asked to seat.
        """
        relay = self.of(connection)
        seat = self.seat_of(relay, message.leg)
        if seat is None:
            return
        if message.state == "closed":
            self._closed(relay, seat)
            return
        if not seat.connected:
            self._metrics.leg_connected(message.ice_ms, message.dtls_ms)
        seat.connected, seat.offer = True, None
        if message.state == "flowing" and seat.flowing_at is None:
            seat.flowing_at = _time()
            self.on_news()

    def _closed(self, relay: Relay, seat: Seated) -> None:
        self._drop(relay, seat)
        self._metrics.leg_closed()
        if not seat.standby:
            self._ask_again(relay, seat)
        if (consult := self._ledger.known(seat.consult)) is not None:
            self._forward(relay, consult)
        self.on_news()

    @staticmethod
    def seat_of(relay: Relay, leg: str) -> Seated | None:
        """Return a leg's seat, None if it was somebody's until of late.

        Raises:
            Refused: ``not_found`` for a leg that the relay never was asked to seat.
        """
        seat = relay.seats.get(LegId(leg))
        if seat is None and LegId(leg) not in relay.handed:
            raise Refused(Code.NOT_FOUND)
        return seat

    # -- what people need --------------------------------------------------------------------------------------------

    def want(self, relay: Relay, want: Want) -> None:
        """Give somebody a leg, now or when there is one; who has one already is told again what they may have missed."""
        consult = self._ledger.known(want.consult)
        if consult is None or not _belongs(consult, want.participant, want.role):
            return
        seat = relay.of_consult.get(want.consult, {}).get(want.participant)
        if seat is not None and seat.instance == want.instance and seat.left_at is None:
            if consult.relay == relay.id and (seat.standby or seat.switched):
                seat.standby, seat.switched = False, True
                self.to_page(seat, wire.LegSwitch(seat.consult, seat.leg))
                return
            if seat.connected or not relay.adopted:
                return
            if seat.offer is not None:
                self._give(relay, seat)
                return
        relay.wanting[want.consult, want.participant] = want
        self._serve(relay)

    def _serve(self, relay: Relay) -> None:
        """Give legs to those who want one, as far as there are any."""
        if not relay.wanting or not relay.adopted:
            return
        at = _time()
        for key, want in list(relay.wanting.items()):
            consult = self._ledger.known(want.consult)
            fit = consult is not None and _belongs(consult, want.participant, want.role)
            if consult is None or not fit or consult.relay != relay.id:
                del relay.wanting[key]
            elif relay.pool and want.not_before <= at and len(relay.seats) < relay.legs_max:
                del relay.wanting[key]
                self.seat(relay, want, standby=False)

    def serve(self) -> None:
        """Try again for all who want a leg."""
        for relay in self._by_id.values():
            self._serve(relay)

    def seat(self, relay: Relay, want: Want, *, standby: bool) -> None:
        """Hand out a minted leg; the person's older one at this relay is closed."""
        leg = next(iter(relay.pool))
        offer = relay.pool.pop(leg)
        seat = Seated(
            leg=leg,
            consult=want.consult,
            participant=want.participant,
            instance=want.instance,
            role=want.role,
            standby=standby,
            given_at=_time(),
            offer=offer,
        )
        self._place(relay, seat)
        relay.send(
            wire.LegSeated(wire.Seat(leg, want.consult, want.participant, want.instance, want.role))
        )
        self.handover.tell(relay, seat, _time())
        self._metrics.leg_given(standby=standby)
        self._give(relay, seat)

    def _give(self, relay: Relay, seat: Seated) -> None:
        assert seat.offer is not None
        message = wire.LegGiven(seat.consult, seat.leg, seat.offer, seat.standby)
        local = self._connections.get(seat.participant)
        if local is not None:
            if local.instance == seat.instance:
                local.send(message)
            return
        payload = msgspec.Raw(codec.encode(message))
        self._spawn(self._post(relay, seat, LegFor(seat.instance, relay.id, seat.leg, payload)))

    async def _post(self, relay: Relay, seat: Seated, notice: LegFor) -> None:
        """Give a leg to a page at another node; who is connected nowhere gets one when they are back."""
        if not await self._connections.tell(seat.participant, notice):
            self.close(relay, seat)

    def to_page(self, seat: Seated, message: FromServer) -> None:
        """Tell the page that a leg was made for, here or at another node."""
        local = self._connections.get(seat.participant)
        if local is None:
            payload = msgspec.Raw(codec.encode(message))
            self._spawn(self._tell(seat.participant, Forward(payload)))
        elif local.instance == seat.instance:
            local.send(message)

    async def _tell(self, participant: ParticipantId, notice: Forward) -> None:
        await self._connections.tell(participant, notice)

    def answer(
        self, relay: Relay, participant: str, consult: str, leg: str, answer: wire.LegAnswer
    ) -> None:
        """Pass on what a page answered.

        Raises:
            Refused: ``not_found`` for a leg that is not this participant's in this consult.
        """
        seat = relay.seats.get(LegId(leg))
        if seat is None or seat.participant != participant or seat.consult != consult:
            raise Refused(Code.NOT_FOUND)
        if relay.adopted:
            relay.send(wire.RelayAnswer(seat.leg, answer))
        else:
            seat.answer = answer

    def _ask_again(self, relay: Relay, seat: Seated) -> None:
        """Somebody lost a leg without our doing; they get another one, though not in a storm.

        Who wants one already keeps that place: it may be a newer page's, and the lost leg an older one's.
        """
        if (seat.consult, seat.participant) in relay.wanting:
            return
        self.want(
            relay,
            Want(
                consult=seat.consult,
                participant=seat.participant,
                instance=seat.instance,
                role=seat.role,
                resumed=False,
                since=_time(),
                not_before=seat.given_at + routes.AGAIN_S,
            ),
        )

    # -- what follows from a consult ---------------------------------------------------------------------------------

    def reconcile(self, consult: Consult) -> None:
        """Make the legs and the forwarding of a consult what they are to be now, at each relay of this node."""
        if consult.over:
            self.wishes.pop(consult.id, None)
        for relay in self._by_id.values():
            if (
                consult.id in relay.of_consult
                or consult.id in relay.forwarding
                or consult.relay == relay.id
            ):
                self._reconcile(relay, consult)

    def _reconcile(self, relay: Relay, consult: Consult) -> None:
        here = consult.relay == relay.id
        for seat in list(relay.of_consult.get(consult.id, {}).values()):
            useless = seat.standby and not here and not consult.relay
            if useless or not _belongs(consult, seat.participant, seat.role):
                self.close(relay, seat)
            elif not here and not seat.standby and seat.left_at is None:
                seat.left_at = _time()
            elif here and seat.standby:
                self.handover.tell(relay, seat, _time())
        self._forward(relay, consult)

    def _forward(self, relay: Relay, consult: Consult) -> None:
        """Tell a relay who hears whom. One that the consult has left goes on until its legs are closed."""
        seats = relay.of_consult.get(consult.id, {}).values()
        concerned = consult.relay == relay.id or any(not s.standby for s in seats)
        between: tuple[ParticipantId, ...] = ()
        if concerned and routes.is_talking(consult) and consult.specialist is not None:
            between = (patient_of(consult.id), ParticipantId(consult.specialist))
        if not relay.adopted or relay.forwarding.get(consult.id, ()) == between:
            return
        if between:
            relay.forwarding[consult.id] = between
        else:
            del relay.forwarding[consult.id]
        relay.send(wire.Forwarding(consult.id, list(between)))
        for wish in self.wishes.get(consult.id, {}).items() if between else ():
            relay.send(wire.Wished(consult.id, *wish))

    def close(self, relay: Relay, seat: Seated) -> None:
        """Take a leg back: at the relay it is closed, and nobody has it any more."""
        if self._drop(relay, seat):
            relay.send(wire.CloseLeg(seat.leg))
            self._metrics.leg_closed()
            consult = self._ledger.known(seat.consult)
            if consult is not None and seat.left_at is not None:
                self._forward(relay, consult)

    def _place(self, relay: Relay, seat: Seated) -> None:
        people = relay.of_consult.setdefault(seat.consult, {})
        older = people.get(seat.participant)
        if older is not None:
            self.close(relay, older)
            people = relay.of_consult.setdefault(seat.consult, {})
        people[seat.participant] = seat
        relay.seats[seat.leg] = seat
        relay.handed[seat.leg] = None
        if len(relay.handed) > HANDED_KEPT:
            relay.handed.popitem(last=False)

    @staticmethod
    def _drop(relay: Relay, seat: Seated) -> bool:
        if relay.seats.pop(seat.leg, None) is None:
            return False
        people = relay.of_consult.get(seat.consult, {})
        if people.get(seat.participant) is seat:
            del people[seat.participant]
            if not people:
                del relay.of_consult[seat.consult]
        return True


def _belongs(consult: Consult, participant: ParticipantId, role: str) -> bool:
    """Return whether somebody of this id and role is to have a leg of this consult now."""
    if role == Role.PATIENT:
        return participant == patient_of(consult.id) and routes.has_leg(consult, ev.PATIENT, None)
    return role == Role.SPECIALIST and routes.has_leg(
        consult, ev.SPECIALIST, AccountId(participant)
    )


def _time() -> float:
    """Return the loop's clock: spans of control are not to depend on somebody setting the wall clock."""
    return asyncio.get_running_loop().time()
