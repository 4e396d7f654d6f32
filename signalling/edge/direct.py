# SPDX-License-Identifier: Apache-2.0
"""Calls on route ``direct``: the node of whoever sends decides what they may send, from what both pages count.

What a page counts it tells its own node (``way``), and that node tells the other one's. So each node knows both sides, decides
for its own people alone, and nothing of it is stored: after a restart the next reports say where a call is, and what flows
goes on until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from media.core.direct import DirectWay
from media.core.ladder import Move
from media.core.limits import START_BPS
from media.core.limits import Limits as Decided
from media.core.rungs import Wish
from media.told_limits import NAMES, on_wire
from signalling.core import events as ev
from signalling.core.lifecycle import CALL, Consult
from signalling.edge.connections import Connection, Connections, Forward, WayOf, participant_of
from signalling.edge.ledger import Ledger, Step
from signalling.edge.push import Push
from signalling.edge.quality import is_side
from signalling.edge.views import peer_of
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.wire import codec, legs
from signalling.wire import direct as wire
from signalling.wire.base import FromClient, FromServer
from signalling.wire.codes import Code
from signalling.wire.ids import ConsultId, LegId, ParticipantId

SIDES = (ev.PATIENT, ev.SPECIALIST)
NO_LEG = LegId("")
"""What ``limits`` name on route ``direct``."""


@dataclass(slots=True)
class DirectCall:
    """One call; everything goes by the role of who sends, but wishes by who looks."""

    ways: dict[str, DirectWay] = field(default_factory=dict)
    told: dict[str, legs.LegLimits] = field(default_factory=dict)
    peer_links: dict[str, legs.PeerLink] = field(default_factory=dict)
    wishes: dict[str, legs.WishName] = field(default_factory=dict)


class Direct:
    """One per node."""

    def __init__(
        self, ledger: Ledger, connections: Connections, push: Push, metrics: Metrics
    ) -> None:
        """Listen to the ledger and to other nodes."""
        self._ledger = ledger
        self._connections = connections
        self._push = push
        self._metrics = metrics.quality
        self._calls: dict[ConsultId, DirectCall] = {}
        ledger.listeners.consult.append(self._on_consult)
        connections.on_way_notice = self._on_notice

    def handlers(self) -> Mapping[type[FromClient], Callable[[Connection, Any], None]]:
        """Return what is done with each message about the way between two browsers."""
        return {wire.Way: self._counted}

    # -- what happens ------------------------------------------------------------------------------------------------

    def _on_consult(self, step: Step) -> None:
        """A call that begins directly, or goes on so, begins low: nothing is known of the way."""
        consult, before = step.consult, step.before
        if not is_direct(consult):
            self._calls.pop(consult.id, None)
        elif before is not None and not is_direct(before):
            call = self._calls[consult.id] = DirectCall()
            for role in SIDES:
                if participant_of(consult, role) in self._connections:
                    self._begin(call, consult, role, START_BPS, _time())

    def came(self, connection: Connection, consult: Consult) -> None:
        """A page is back: it is told again what it may have missed."""
        call = self._calls.get(consult.id)
        if call is None or not is_side(connection, consult):
            return
        role = connection.role.value
        if (limits := call.told.get(role)) is not None:
            connection.send(limits)
        if (link := call.peer_links.get(_other(role))) is not None:
            connection.send(link)

    def wished(self, connection: Connection, consult: Consult, wish: legs.WishName) -> None:
        """Take what matters to somebody in what the other side sends; the next reports tell the other side's node.

        Raises:
            Refused: ``wrong_state`` without a call.
        """
        if not is_direct(consult):
            raise Refused(Code.WRONG_STATE)
        self._wish(self._call(consult), connection.role, wish)

    @staticmethod
    def _wish(call: DirectCall, role: str, wish: legs.WishName) -> None:
        call.wishes[role] = wish
        if (way := call.ways.get(_other(role))) is not None:
            way.direction.wish = Wish(wish)

    # -- what pages say ----------------------------------------------------------------------------------------------

    def _counted(self, connection: Connection, message: wire.Way) -> None:
        """Take what a page counted, and let the other side's node know.

        Raises:
            Refused: ``not_found`` for a consult that is not this page's, ``malformed``.
        """
        consult = self._ledger.known(ConsultId(message.consult))
        if consult is None or not is_side(connection, consult):
            raise Refused(Code.NOT_FOUND)
        try:
            counted = wire.unpack(message.data)
        except ValueError:
            raise Refused(Code.MALFORMED) from None
        if not is_direct(consult):
            self._metrics.way_not_counted()  # the last one of a call that just ended, or went to a relay
            return
        call = self._call(consult)
        role = connection.role.value
        self._take(call, consult, role, counted)
        other = peer_of(consult, connection.role)
        if other is not None and other not in self._connections:
            notice = WayOf(consult.id, role, message.data, call.wishes.get(role))
            self._push.spawn(self._post(other, notice))

    def _on_notice(self, connection: Connection, notice: WayOf) -> None:
        """Another node tells what it was told of a call in which this participant is."""
        consult = self._ledger.known(ConsultId(notice.consult))
        if consult is None or not is_direct(consult) or notice.role not in SIDES:
            return
        call = self._call(consult)
        if notice.wish is not None and notice.wish != call.wishes.get(notice.role):
            self._wish(call, notice.role, notice.wish)
        self._take(
            call, consult, notice.role, wire.unpack(notice.data)
        )  # judged by the node that was told

    def _call(self, consult: Consult) -> DirectCall:
        return self._calls.setdefault(consult.id, DirectCall())

    def _take(self, call: DirectCall, consult: Consult, role: str, counted: wire.Counted) -> None:
        """Take a side's figures: of what it sends the round trip, of what it is sent everything else."""
        now = _time()
        span_s, other = counted.span_s, _other(role)
        arrived_bps = counted.received_octets * 8 / span_s if span_s else 0.0
        incoming = self._way(call, other, arrived_bps, now)
        outgoing = self._way(call, role, counted.sent_octets * 8 / span_s if span_s else 0.0, now)
        for way in (incoming, outgoing) if counted.fresh else ():
            way.estimator.anew(now)
        outgoing.available(counted.available_bps)
        if counted.rtt_s is not None:
            outgoing.estimator.measured_rtt(counted.rtt_s, incoming.queue_s(now), now)
        if counted.delay_s is not None:
            incoming.estimator.measured_delay(counted.delay_s, now)
        incoming.counted(span_s, counted.received_octets, counted.expected, counted.received, now)
        if counted.braked and participant_of(consult, role) in self._connections:
            self._tell(call, consult, role, *outgoing.braked(now))
        for each in SIDES:
            self._decide(call, consult, each, now)

    @staticmethod
    def _way(call: DirectCall, role: str, flows_bps: float, now: float) -> DirectWay:
        """Return a side's way; of a call that this node did not see begin, what flows is what is known of it."""
        way = call.ways.get(role)
        if way is None:
            way = call.ways[role] = DirectWay(now, max(START_BPS, flows_bps))
            way.direction.wish = Wish(call.wishes.get(_other(role), Wish.MOTION.value))
        return way

    # -- what is decided ---------------------------------------------------------------------------------------------

    def _begin(
        self, call: DirectCall, consult: Consult, role: str, flows_bps: float, now: float
    ) -> None:
        way = self._way(call, role, flows_bps, now)
        self._tell(call, consult, role, way.begin(now), None)

    def _decide(self, call: DirectCall, consult: Consult, role: str, now: float) -> None:
        """Decide for a person of this node; what a page was told by another node holds until both sides have reported."""
        way = call.ways[role]
        if participant_of(consult, role) not in self._connections or not way.is_measured:
            return
        if way.direction.state is None:
            self._tell(call, consult, role, way.begin(now), None)
        else:
            self._tell(call, consult, role, *way.decide(now))

    def _tell(
        self,
        call: DirectCall,
        consult: Consult,
        role: str,
        limits: Decided | None,
        move: Move | None,
    ) -> None:
        if move is not None:
            self._metrics.direct_moved(NAMES[move.after], move.reason.value)
        if limits is None:
            return
        said = legs.LegLimits(consult.id, NO_LEG, on_wire(limits, None))
        call.told[role] = said
        self._say(participant_of(consult, role), said)
        link = legs.PeerLink(consult.id, said.limits.rung, said.limits.reason)
        before = call.peer_links.get(role)
        if before is None or before.rung != link.rung:
            call.peer_links[role] = link
            self._say(participant_of(consult, _other(role)), link)

    def _say(self, participant: ParticipantId, message: FromServer) -> None:
        if (connection := self._connections.get(participant)) is not None:
            connection.send(message)
        elif participant:
            self._push.spawn(self._post(participant, Forward(msgspec.Raw(codec.encode(message)))))

    async def _post(self, participant: ParticipantId, notice: Forward | WayOf) -> None:
        await self._connections.tell(participant, notice)


def is_direct(consult: Consult) -> bool:
    """Return whether a consult is a call from browser to browser now."""
    return consult.state in CALL and not consult.relay


def _other(role: str) -> str:
    return ev.SPECIALIST if role == ev.PATIENT else ev.PATIENT


def _time() -> float:
    """Return the loop's clock: spans are not to depend on somebody setting the wall clock."""
    return asyncio.get_running_loop().time()
