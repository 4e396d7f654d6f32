# SPDX-License-Identifier: Apache-2.0
"""Who is connected to this node, and who is here at all.

A participant has one connection: a newer one takes the place of an older one, on whichever node that is. Being here is
a lease (``here:<participant>``) that the node renews for all its connections together; a node that dies therefore
leaves nobody behind as present. Notices between nodes (a page load that took over, the instance of the other side) are
posted to the participant's inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from auth.roles import Role
from signalling.core import events as ev
from signalling.core.lifecycle import Consult
from signalling.edge.socket import Socket
from signalling.store.base import InboxId, Lease, Store, StoreError
from signalling.wire import codec
from signalling.wire.base import FromServer
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConnectionId, ConsultId, InstanceId, ParticipantId
from signalling.wire.legs import LegAnswer, WishName
from signalling.wire.quality import Whose, WordName

log = logging.getLogger(__name__)

RENEW_S = 15.0
"""A third of a lease's life (``ConsultPolicy.presence_s``): two renewals may be lost."""


def patient_of(consult: ConsultId) -> ParticipantId:
    """Return the participant id of a consult's patient."""
    return ParticipantId(f"p_{consult}")


def participant_of(consult: Consult, role: str) -> ParticipantId:
    """Return the participant id of one side of a consult; empty for a specialist where there is none."""
    return patient_of(consult.id) if role == ev.PATIENT else ParticipantId(consult.specialist or "")


_LEFT = "left:"


def left(participant: ParticipantId) -> InboxId:
    """Return the inbox in which a node hears that a participant who left it is back somewhere."""
    return InboxId(f"{_LEFT}{participant}")


def here(participant: ParticipantId) -> str:
    """Return the name of the lease that says that a participant is connected somewhere."""
    return f"here:{participant}"


class Notice(msgspec.Struct, frozen=True, tag_field="type"):
    """What one node tells another about a participant."""


class Here(Notice, frozen=True, tag="here"):
    """``who`` is connected with this page load. ``answer`` asks the receiving side to say the same of itself."""

    consult: str
    who: str
    instance: str
    answer: bool


class Gone(Notice, frozen=True, tag="gone"):
    """``who`` is not connected any more."""

    consult: str
    who: str


class Taken(Notice, frozen=True, tag="taken"):
    """The receiving participant connected elsewhere: connections other than ``connection`` are over."""

    connection: str
    instance: str


class Forward(Notice, frozen=True, tag="forward"):
    """A server message for the receiving participant, as it goes on the wire."""

    payload: msgspec.Raw


class WantLeg(Notice, frozen=True, tag="want_leg"):
    """To a relay: a participant of a consult that is routed to it is to have a leg."""

    consult: str
    participant: str
    instance: str
    role: str
    resumed: bool


class LegFor(Notice, frozen=True, tag="leg_for"):
    """To a participant: a leg for this page load, as it goes on the wire, and whose it is."""

    instance: str
    relay: str
    leg: str
    payload: msgspec.Raw


class AnswerFor(Notice, frozen=True, tag="answer_for"):
    """To a relay: what the page of a participant answered to a leg."""

    consult: str
    participant: str
    leg: str
    answer: LegAnswer


class TroubleFor(Notice, frozen=True, tag="trouble_for"):
    """To a relay: a page of a consult hears nothing from it."""

    consult: str
    participant: str


class BrakedFor(Notice, frozen=True, tag="braked_for"):
    """To a relay: the page of a participant has stopped its picture by itself."""

    consult: str
    participant: str
    leg: str


class WishFor(Notice, frozen=True, tag="wish_for"):
    """To a relay: what matters to a participant of a consult."""

    consult: str
    participant: str
    wish: WishName


class CarriedFor(Notice, frozen=True, tag="carried_for"):
    """To a relay: what a participant's link carries beside the media."""

    consult: str
    participant: str
    bps: int


LegNotice = WantLeg | LegFor | AnswerFor | TroubleFor | BrakedFor | WishFor | CarriedFor


class ReceptionOf(Notice, frozen=True, tag="reception_of"):
    """To one side of a call: what the other side's page received (``wire.quality.Reception``)."""

    consult: str
    role: str
    data: str


class LinkOf(Notice, frozen=True, tag="link_of"):
    """To a side of a call: what the relay measured of a side's link (``wire.quality.LegLink``)."""

    consult: str
    role: str
    rtt_ms: int | None
    up_loss: float
    down_loss: float
    up_bps: int
    down_bps: int


class WordOf(Notice, frozen=True, tag="word_of"):
    """To an operator: a call's worse direction in a word, and whose link it comes from; none = not known any more."""

    consult: str
    word: WordName | None
    whose: Whose


QualityNotice = ReceptionOf | LinkOf | WordOf


class WayOf(Notice, frozen=True, tag="way_of"):
    """To one side of a call on route ``direct``: what the other side's page counted (``wire.direct.Way``), and wishes."""

    consult: str
    role: str
    data: str
    wish: WishName | None


AnyNotice = Here | Gone | Taken | Forward | LegNotice | QualityNotice | WayOf
encode_notice = msgspec.json.Encoder().encode
decode_notice = msgspec.json.Decoder(AnyNotice).decode


@dataclass(frozen=True, slots=True)
class Route:
    """Where a connection's descriptions and candidates go: decided once for each state of its consult."""

    consult: Consult
    """The state that it was decided on. States are immutable, so it holds while the ledger has this very object."""
    peer: ParticipantId


_NO_ACCOUNT = (Role.PATIENT, Role.RELAY)


@dataclass(slots=True, eq=False)
class Connection:
    """One authenticated WebSocket. ``eq=False``: told apart by identity."""

    id: ConnectionId
    socket: Socket
    role: Role
    participant: ParticipantId
    instance: InstanceId
    consult: ConsultId | None
    """The patient's consult, or the one that the specialist's desk shows."""
    binding: str
    """What the session was bound to: the device's secret or the account's password, as ``Claims.jti`` says; of a relay,
    the name that its token was made for."""
    resumed: bool = False
    """The page was here before and has lost its socket only: it still has its peer connection."""
    cursor: int = 0
    """Version of ``consult`` up to which the timeline was delivered."""
    syncing: bool = False
    """A delivery is being read from the store; the next one waits for it."""
    last_view: bytes = b""
    """The consult view sent last: equal ones are not sent again."""
    last_desk: bytes = b""
    route: Route | None = None
    high_bytes: int = 65_536
    """``limits.outgoing_high_bytes``: with more than that waiting for long it is closed."""
    remote_peer: Here | None = None
    """What another node told last of the other side of this connection's call."""

    @property
    def account(self) -> AccountId | None:
        """The account of a specialist or operator."""
        return None if self.role in _NO_ACCOUNT else AccountId(self.participant)

    def has_room(self, size_bytes: int) -> bool:
        """Return whether so much more of what need not arrive may be sent to it.

        The kernel holds a little for a reader that keeps up, and nothing waits here. With one that doesn't, half of
        what makes a slow reader (``limits.outgoing_high_bytes``) stays free for what only this node has to tell it.
        """
        waiting = self.socket.buffered_bytes
        return not waiting or waiting + size_bytes <= self.high_bytes / 2

    def send(self, message: FromServer) -> None:
        """Encode and send, with what else this turn of the event loop has for this connection."""
        self.socket.send_soon(codec.encode(message))


class Connections:
    """The connections of this node, by participant."""

    def __init__(self, store: Store, lease_s: float) -> None:
        """Leases live for ``lease_s`` seconds."""
        self._store = store
        self._lease_s = lease_s
        self._by_participant: dict[ParticipantId, Connection] = {}
        self._leases: dict[ParticipantId, Lease] = {}
        self._arriving: Counter[ParticipantId] = Counter()
        """Participants whose newer connection is being taken in: their inbox stays open."""
        self._left: dict[ParticipantId, ConnectionId] = {}
        """Participants who were here and have not been anywhere since, with the connection that was their last."""
        self.on_regained: Callable[[Connection], None] = lambda _c: None
        """Called when a lease was lost and taken again: its participant may count as away meanwhile."""
        self.on_notice: Callable[[ParticipantId, AnyNotice], None] = lambda _p, _n: None
        self.on_leg_notice: Callable[[Connection, LegNotice], None] = lambda _c, _n: None
        self.on_quality_notice: Callable[[Connection, QualityNotice], None] = lambda _c, _n: None
        self.on_way_notice: Callable[[Connection, WayOf], None] = lambda _c, _n: None

    def __len__(self) -> int:
        """Return how many participants are connected here."""
        return len(self._by_participant)

    def __iter__(self) -> Iterator[Connection]:
        """Go through the connections of this node."""
        return iter(list(self._by_participant.values()))

    def __contains__(self, participant: ParticipantId) -> bool:
        """Return whether a participant is connected here."""
        return participant in self._by_participant

    def get(self, participant: ParticipantId) -> Connection | None:
        """Return a participant's connection to this node."""
        return self._by_participant.get(participant)

    def instance_of_peer(self, connection: Connection, peer: ParticipantId) -> InstanceId | None:
        """Return the page load with which the other side is connected, here or, as far as is known, elsewhere."""
        local = self._by_participant.get(peer)
        if local is not None:
            return local.instance
        remote = connection.remote_peer
        return InstanceId(remote.instance) if remote is not None and remote.who == peer else None

    async def add(self, connection: Connection) -> None:
        """Take in a new connection; the participant's older one on this node is closed.

        Nothing is awaited after the connection is to be found here, so whoever waits for this can speak to it first.

        Raises:
            StoreUnavailable: it was not taken in; an older one stays.
        """
        participant = connection.participant
        inbox = InboxId(participant)
        self._arriving[participant] += 1
        try:
            lease = await self._store.acquire(here(participant), participant, self._lease_s)
            # Listening before telling: of two nodes that take in the same participant at once, one hears the other.
            await self._store.open_inbox(inbox)
        finally:
            self._arriving[participant] -= 1
            if not self._arriving[participant]:
                del self._arriving[participant]
        older = self._by_participant.get(participant)
        self._by_participant[participant] = connection
        if lease is not None:
            self._leases[participant] = lease
        if older is not None:
            older.socket.close(displacing(older.instance, connection.instance))

    async def displace(self, connection: Connection) -> None:
        """Tell the other nodes that this participant is here now."""
        participant = connection.participant
        self._left.pop(participant, None)
        notice = encode_notice(Taken(connection.id, connection.instance))
        await self._store.post(InboxId(participant), notice)
        await self._store.post(left(participant), notice)

    async def remove(self, connection: Connection) -> bool:
        """Forget a connection; return False if the participant has a newer one here."""
        participant = connection.participant
        if self._by_participant.get(participant) is not connection:
            return False
        del self._by_participant[participant]
        self._leases.pop(participant, None)
        if participant not in self._arriving:
            await self._store.close_inbox(InboxId(participant))
        return True

    async def stays_away(self, gone: Connection, grace_s: float) -> bool:
        """Wait for a participant whose connection ended; return whether they were nowhere all the time.

        If not, they are here, or whoever saw them leave last waits for them now: each absence is judged by itself.
        """
        participant = gone.participant
        self._left[participant] = gone.id
        inbox = left(participant)
        with contextlib.suppress(StoreError):  # without it what other nodes see is not known here
            await self._store.open_inbox(inbox)
        await asyncio.sleep(grace_s)
        nowhere = self._left.get(participant) == gone.id
        if nowhere:
            del self._left[participant]
        if participant not in self._left:
            with contextlib.suppress(StoreError):
                await self._store.close_inbox(inbox)
        return nowhere and not await self.elsewhere(participant)

    async def elsewhere(self, participant: ParticipantId) -> bool:
        """Return whether a participant who is not connected here is connected to another node."""
        if participant in self._by_participant:
            return True
        return await self._store.post(InboxId(participant), encode_notice(Gone("", "")))

    async def release(self, participant: ParticipantId) -> None:
        """Say that a participant who is connected nowhere is not here: the lease need not run out."""
        lease = await self._store.acquire(here(participant), participant, self._lease_s)
        if lease is not None:
            await self._store.release(lease)

    async def tell(self, participant: ParticipantId, notice: AnyNotice) -> bool:
        """Post a notice to a participant on another node; return whether that node has such a connection."""
        return await self._store.post(InboxId(participant), encode_notice(notice))

    # -- between nodes -----------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Take notices for the participants of this node, until the store is closed."""
        async for inbox, body in self._store.inbox_items():
            if inbox.startswith(_LEFT):
                self._back(ParticipantId(inbox.removeprefix(_LEFT)), decode_notice(body))
                continue
            connection = self._by_participant.get(ParticipantId(inbox))
            if connection is not None:
                self._take(connection, decode_notice(body))

    def _back(self, participant: ParticipantId, notice: AnyNotice) -> None:
        """Who left is back, unless that is told late of the very connection that they left with."""
        if isinstance(notice, Taken) and self._left.get(participant) != notice.connection:
            self._left.pop(participant, None)

    def _take(self, connection: Connection, notice: AnyNotice) -> None:
        participant = connection.participant
        match notice:
            case Forward() if connection.has_room(len(notice.payload)):
                connection.socket.send(bytes(notice.payload))
            case Taken() if notice.connection != connection.id:
                code = displacing(connection.instance, InstanceId(notice.instance))
                connection.socket.close(code)
            case Here():
                connection.remote_peer = notice
                self.on_notice(participant, notice)
            case Gone() if notice.who:
                remote = connection.remote_peer
                if remote is not None and remote.who == notice.who:
                    connection.remote_peer = None
                self.on_notice(participant, notice)
            case ReceptionOf() | LinkOf() | WordOf() | WayOf():
                self._take_figures(connection, notice)
            case _ if isinstance(notice, LegNotice):
                self.on_leg_notice(connection, notice)
            case _:
                pass

    def _take_figures(self, connection: Connection, notice: QualityNotice | WayOf) -> None:
        if isinstance(notice, WayOf):
            self.on_way_notice(connection, notice)
        else:
            self.on_quality_notice(connection, notice)

    async def renew(self) -> None:
        """Keep the leases of this node's participants, for ever. A lost lease is taken again."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                lost = await self._store.renew(list(self._leases.values()), self._lease_s)
                for participant in [p for p in self._leases if here(p) in lost]:
                    lease = await self._store.acquire(here(participant), participant, self._lease_s)
                    connection = self._by_participant.get(participant)
                    if lease is not None and connection is not None:
                        self._leases[participant] = lease
                        self.on_regained(connection)
            except StoreError:
                log.warning("leases_not_renewed")


def displacing(old: InstanceId, new: InstanceId) -> Code:
    """Return how an older connection ends: the same page reconnecting is no displacement."""
    return Code.RESTARTING if old == new else Code.DISPLACED
