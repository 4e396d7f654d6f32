# SPDX-License-Identifier: Apache-2.0
"""How calls are, from what each page received: words for the two people, histograms for who runs the service.

A page says every few seconds what it heard and saw (``reception``), a relay what it measured of each leg's link
(``leg_links``). Both are known at the nodes of both people: a node tells the other one as it is told. Nothing is stored;
after a restart the next seconds say all that there is to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from auth.roles import Role
from signalling.core import events as ev
from signalling.core.lifecycle import CALL, Consult
from signalling.edge.connections import (
    Connection,
    Connections,
    LinkOf,
    QualityNotice,
    ReceptionOf,
    WordOf,
    participant_of,
)
from signalling.edge.ledger import Ledger, Step
from signalling.edge.push import Push
from signalling.edge.quality_of_call import QUALITY_OF, CallQuality
from signalling.edge.relays import Relays, Seated
from signalling.edge.views import peer_of
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.quality_metrics import Measured
from signalling.wire import quality as wire
from signalling.wire.base import FromClient
from signalling.wire.codes import Code
from signalling.wire.ids import ConsultId, ParticipantId

SPACING_S = 2.0
"""Between two receptions of one page; pages send one in five, or one at once when a microphone is taken."""
SPACING_SLACK_S = 0.1
"""What sent them apart may come together a little."""
WORD_AGAIN_S = 30.0
"""Operators at other nodes are told a call's word when it changes, and again after this, for those who came since."""
WORD_KEPT_S = 75.0
"""What another node said of a call is shown for so long: one of its repeats may be lost."""


class Quality:
    """One per node."""

    def __init__(
        self,
        ledger: Ledger,
        connections: Connections,
        push: Push,
        relays: Relays,
        metrics: Metrics,
    ) -> None:
        """Listen to the ledger and to other nodes; ``push`` shows operators the words."""
        self._ledger = ledger
        self._connections = connections
        self._relays = relays
        self._metrics = metrics
        self._push = push
        push.word_of = self.word_of
        self._calls: dict[ConsultId, CallQuality] = {}
        self._told_at: dict[ConsultId, float] = {}
        """When operators elsewhere were told of a call last."""
        self._elsewhere: dict[ConsultId, tuple[WordOf, float]] = {}
        """Words of calls that have no side here, and until when they hold."""
        ledger.listeners.consult.append(self._on_consult)
        connections.on_quality_notice = self._on_notice

    def handlers(self) -> Mapping[type[FromClient], Callable[[Connection, Any], None]]:
        """Return what is done with each message about quality."""
        return {wire.Reception: self._received, wire.LegLinks: self._linked}

    def word_of(self, consult: ConsultId) -> tuple[wire.WordName, wire.Whose] | None:
        """Return a call's worse direction in a word, and whose link it comes from."""
        call = self._calls.get(consult)
        if call is not None:
            return call.worst()
        said, until = self._elsewhere.get(consult, (None, 0.0))
        if said is None or said.word is None or _time() > until:
            return None
        return said.word, said.whose

    def _on_consult(self, step: Step) -> None:
        if step.consult.state not in CALL:
            for known in (self._calls, self._told_at, self._elsewhere):
                known.pop(step.consult.id, None)

    # -- what pages say ----------------------------------------------------------------------------------------------

    def _received(self, connection: Connection, message: wire.Reception) -> None:
        """Rate what a page received.

        Raises:
            Refused: ``not_found`` for a consult that is not this page's, ``malformed``.
        """
        consult = self._ledger.known(ConsultId(message.consult))
        if consult is None or not is_side(connection, consult):
            raise Refused(Code.NOT_FOUND)
        if consult.state not in CALL:
            self._metrics.quality.not_counted("no_call")  # the last one of a call that just ended
            return
        now = _time()
        call = self._call(consult)
        side = call.sides[connection.role]
        if now - side.received_at < SPACING_S - SPACING_SLACK_S:
            self._metrics.quality.not_counted("too_soon")
            return
        try:
            received = wire.unpack(message.data)
        except ValueError:
            raise Refused(Code.MALFORMED) from None
        self._take(call, consult, connection.role, received, now)
        other = peer_of(consult, connection.role)
        if other is not None and other not in self._connections:
            self._push.spawn(
                self._tell(other, ReceptionOf(consult.id, connection.role, message.data))
            )

    def _call(self, consult: Consult) -> CallQuality:
        call = self._calls.get(consult.id)
        if call is None:
            call = self._calls[consult.id] = CallQuality()
        return call

    def _take(
        self, call: CallQuality, consult: Consult, role: str, received: wire.Received, now: float
    ) -> None:
        measured = call.received(role, received, relayed=bool(consult.relay), now=now)
        if participant_of(consult, role) in self._connections:  # counted at one node
            self._count(consult, role, measured)
        self._say(call, consult, now)

    def _count(self, consult: Consult, role: str, measured: Measured) -> None:
        if consult.post is not None and measured.word is not None:
            self._metrics.quality.posts.add(
                consult.post, measured.word, measured.seconds, monotonic()
            )
        self._metrics.quality.received(
            Role(role), "relayed" if consult.relay else "direct", measured
        )

    async def _tell(self, participant: ParticipantId, notice: QualityNotice) -> None:
        await self._connections.tell(participant, notice)

    # -- what relays say ---------------------------------------------------------------------------------------------

    def _linked(self, connection: Connection, message: wire.LegLinks) -> None:
        """Keep what a relay measured of its legs' links.

        Raises:
            Refused: ``not_found`` for a leg that it never was asked to seat; then none is kept.
        """
        relay = self._relays.of(connection)
        seats = [self._relays.seat_of(relay, link.leg) for link in message.links]
        for seat, link in zip(seats, message.links, strict=True):
            if seat is not None and not seat.standby and seat.left_at is None:
                self._relays.handover.noted(seat, link, _time())
                self._link(seat, link)

    def _link(self, seat: Seated, link: wire.LegLink) -> None:
        consult = self._ledger.known(seat.consult)
        if consult is None or consult.state not in CALL or seat.role not in QUALITY_OF:
            return
        said = LinkOf(
            consult=consult.id,
            role=seat.role,
            rtt_ms=link.rtt_ms,
            up_loss=link.up_loss,
            down_loss=link.down_loss,
            up_bps=link.up_bps,
            down_bps=link.down_bps,
        )
        here = False
        for role in QUALITY_OF:
            participant = participant_of(consult, role)
            if participant in self._connections:
                here = True
            else:
                self._push.spawn(self._tell(participant, said))
        if here:
            self._take_link(consult, said)

    def _take_link(self, consult: Consult, said: LinkOf) -> None:
        now = _time()
        call = self._call(consult)
        call.linked(said, now)
        self._say(call, consult, now)

    def _on_notice(self, connection: Connection, notice: QualityNotice) -> None:
        """Another node tells what it was told of a call in which this participant is."""
        consult = self._ledger.known(ConsultId(notice.consult))
        if consult is None or consult.state not in CALL:
            return
        if not isinstance(notice, WordOf) and notice.role not in QUALITY_OF:
            return
        if isinstance(notice, WordOf):
            before = self.word_of(consult.id)
            self._elsewhere[consult.id] = notice, _time() + WORD_KEPT_S
            if self.word_of(consult.id) != before:
                self._push.refresh_board()
        elif isinstance(notice, LinkOf):
            self._take_link(consult, notice)
        else:
            received = wire.unpack(notice.data)  # judged by the node that was told
            self._take(self._call(consult), consult, notice.role, received, _time())

    # -- what is said ------------------------------------------------------------------------------------------------

    def _say(self, call: CallQuality, consult: Consult, now: float) -> None:
        """Tell the two people how it is, where that has changed."""
        before = call.worst()
        for role in QUALITY_OF:
            connection = self._connections.get(participant_of(consult, role))
            if connection is None:
                continue
            said = call.news(consult.id, role, connection.id, now)
            if said is not None:
                connection.send(said)
        word = call.worst()
        if word != before:
            self._push.refresh_board()
        if participant_of(consult, ev.PATIENT) not in self._connections:
            return  # the patient's node tells the others
        if word != before or now - self._told_at.get(consult.id, 0.0) > WORD_AGAIN_S:
            self._told_at[consult.id] = now
            self._push.tell_operators(WordOf(consult.id, *(word or (None, "unknown"))))


def is_side(connection: Connection, consult: Consult) -> bool:
    """Return whether a connection is one of the two sides of a consult."""
    if connection.role is Role.PATIENT:
        return connection.consult == consult.id
    return connection.account is not None and consult.specialist == connection.account


def _time() -> float:
    """Return the loop's clock: spans are not to depend on somebody setting the wall clock."""
    return asyncio.get_running_loop().time()
