# SPDX-License-Identifier: Apache-2.0
"""What relays decide about people's links, passed on: limits and why, what a link promises, brakes and wishes.

Nothing of it is stored: a relay says it again when it matters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from auth.roles import Role
from signalling.edge.connections import Connection
from signalling.edge.relays import Relay, Relays
from signalling.errors import Refused
from signalling.wire import legs as wire
from signalling.wire.base import FromClient
from signalling.wire.codes import Code
from signalling.wire.ids import ConsultId, LegId, ParticipantId

OUTLOOKS_KEPT = 1_024
"""Of the patients measured last: many times those who wait at one node."""


class Steering:
    """One per node."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self._outlooks: OrderedDict[ConsultId, wire.OutlookName] = OrderedDict()
        self.on_outlook: Callable[[ConsultId], None] = lambda _c: None
        """Called when it is known, or known better, what a waiting patient's link will make possible."""

    def handlers(self) -> Mapping[type[FromClient], Callable[[Connection, Any], None]]:
        """Return what is done with each message of a relay about links."""
        return {wire.LimitLeg: self._limited, wire.LegProbed: self._probed}

    def outlook(self, consult: ConsultId) -> wire.OutlookName | None:
        """Return what a patient's link was measured to make possible, if it was, by a relay of this node."""
        return self._outlooks.get(consult)

    def _limited(self, connection: Connection, message: wire.LimitLeg) -> None:
        """Pass on what a page may send; the others are told when it becomes another rung."""
        relay = self._relays.of(connection)
        seat = self._relays.seat_of(relay, message.leg)
        if seat is None:
            return
        limits = message.limits
        self._relays.to_page(seat, wire.LegLimits(seat.consult, seat.leg, limits))
        said = wire.PeerLink(seat.consult, limits.rung, limits.reason, limits.whose)
        if seat.standby or seat.left_at is not None or not _is_news(said, seat.peer_link):
            return
        if not relay.forwarding.get(seat.consult):
            return
        seat.peer_link = said
        for other in list(relay.of_consult.get(seat.consult, {}).values()):
            if other.participant != seat.participant:
                self._relays.to_page(other, said)

    def _probed(self, connection: Connection, message: wire.LegProbed) -> None:
        """Keep what a patient's link carries, and tell the patient's page."""
        seat = self._relays.seat_of(self._relays.of(connection), message.leg)
        if seat is None or seat.role != Role.PATIENT or seat.standby:
            return
        said = wire.Outlook(
            seat.consult, message.outlook, message.up_bps, message.down_bps, message.rtt_ms
        )
        self._relays.to_page(seat, said)
        self._outlooks[seat.consult] = message.outlook
        self._outlooks.move_to_end(seat.consult)
        if len(self._outlooks) > OUTLOOKS_KEPT:
            self._outlooks.popitem(last=False)
        self.on_outlook(seat.consult)

    @staticmethod
    def braked(relay: Relay, who: ParticipantId, consult: ConsultId, leg: LegId) -> None:
        """Tell a relay that a page has stopped its picture.

        Raises:
            Refused: ``not_found`` for a leg that is not this participant's in this consult.
        """
        seat = relay.seats.get(leg)
        if seat is None or seat.participant != who or seat.consult != consult:
            raise Refused(Code.NOT_FOUND)
        relay.send(wire.LegBraked(leg))

    def wished(
        self, relay: Relay, consult: ConsultId, who: ParticipantId, wish: wire.WishName
    ) -> None:
        """Tell a relay what matters to somebody; it is told again when it begins anew."""
        if consult in relay.of_consult:
            self._relays.wishes.setdefault(consult, {})[who] = wish
            relay.send(wire.Wished(consult, who, wish))

    @staticmethod
    def carried(relay: Relay, consult: ConsultId, who: ParticipantId, bps: int) -> None:
        """Tell a relay what a participant's link carries beside the media."""
        if consult in relay.of_consult:
            relay.send(wire.CarriedBeside(consult, who, bps))


def _is_news(said: wire.PeerLink, before: wire.PeerLink | None) -> bool:
    return before is None or (said.rung, said.whose) != (before.rung, before.whose)
