# SPDX-License-Identifier: Apache-2.0
"""Content and messages going out: photographs and voice messages piece by piece, and what was written and said, in slices.

The reader sets the pace of both: each answer is asked for, and is small enough for a thin link.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from auth.roles import Role
from signalling.core import audience
from signalling.core import events as ev
from signalling.core.lifecycle import Consult
from signalling.edge import views
from signalling.edge.clock import now
from signalling.edge.connections import Connection
from signalling.edge.ledger import Ledger, consult_owner, consult_stream
from signalling.edge.spools import Spools
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.wire import content as wire
from signalling.wire.codes import Code
from signalling.wire.ids import ConsultId
from signalling.wire.messages import Ok
from signalling.wire.terms import ContentKind

_encode = msgspec.json.Encoder().encode
SLICE_LINES = 50
"""Of messages in an answer: what most consults have. The longest texts of so many are 0.4 MB in memory."""
SLICE_BYTES = 32_768
"""Of lines on the wire in an answer, or a single line: with what else waits, below ``limits.outgoing_high_bytes``, so that no
reader is cut off for what it asked for; 4 s of 64 kbit/s."""


class Readings:
    """Who reads content and messages on this node. One per node."""

    def __init__(self, ledger: Ledger, spools: Spools, metrics: Metrics) -> None:
        """Read what the ledger and the spools know."""
        self._ledger = ledger
        self._spools = spools
        self._metrics = metrics

    async def read(self, connection: Connection, message: wire.ContentRead) -> None:
        """Send some bytes of content as binary frames, then ``ok``.

        Raises:
            Refused: ``not_found`` for what this person may not read, or what isn't there; ``content_offset`` beyond it.
        """
        consult_id = ConsultId(message.consult)
        consult = await self._ledger.consult(consult_id)
        if not _may_read(connection, consult):
            raise Refused(Code.NOT_FOUND)
        item = self._spools.known(consult_id).items.get(message.key)
        if item is None or not item.whole:
            item = (await self._spools.fresh(consult_id)).items.get(message.key)
        if item is None or not item.whole:
            raise Refused(Code.NOT_FOUND)
        if item.begun.kind is not ContentKind.AUTO_STILL and message.key not in (
            consult.content_keys
        ):
            raise Refused(Code.NOT_FOUND)
        if message.offset >= item.begun.bytes:
            raise Refused(Code.CONTENT_OFFSET)
        end = min(message.offset + message.bytes, item.begun.bytes)
        pieces = [p for p in item.pieces if p.offset < end and p.offset + p.bytes > message.offset]
        found = await self._spools.fetch(consult_id, pieces)
        data = b"".join(found)[message.offset - pieces[0].offset :][: end - message.offset]
        for at in range(0, len(data), message.piece_bytes):
            header = wire.HEADER.pack(wire.PIECE, 0, message.handle, message.offset + at)
            connection.socket.send_bytes(header + data[at : at + message.piece_bytes])
        self._metrics.content_bytes("out", len(data))
        connection.send(Ok(message.id))

    async def messages(self, connection: Connection, message: wire.MessagesRequest) -> None:
        """Answer with a slice of what was written and said; who reads without being in the call is recorded.

        Raises:
            Refused: ``not_found``.
        """
        consult_id = ConsultId(message.consult)
        account = connection.account
        consult = await self._ledger.consult(consult_id)
        if account is None or not _may_read(connection, consult):
            raise Refused(Code.NOT_FOUND)

        def opens(consult: Consult) -> list[ev.Event]:
            if not audience.owed(consult) or account in consult.readers:
                return []
            return [ev.MessagesOpened(at=now(), consult=consult_id, specialist=account)]

        await self._ledger.commit(consult_id, opens)
        recorded = await self._ledger.store.read(consult_stream(consult_id))
        events = [
            e
            for e in (ev.decode(r.data) for r in recorded)
            if isinstance(e, ev.ChatSent | ev.ContentAdded)
        ]
        some = events[message.skip : message.skip + SLICE_LINES]
        texts = await self._ledger.content(
            consult_owner(consult_id), [e.content for e in some if isinstance(e, ev.ChatSent)]
        )
        lines = _within([_line(e, texts) for e in some])
        more = message.skip + len(lines) < len(events)
        connection.send(wire.Messages(message.id, consult_id, lines, more))


def _may_read(connection: Connection, consult: Consult) -> bool:
    if connection.role is Role.PATIENT:
        return connection.consult == consult.id
    return audience.specialist_may_read(consult, connection.account)


def _line(event: ev.ChatSent | ev.ContentAdded, texts: Mapping[str, bytes]) -> wire.MessageLine:
    text = texts.get(event.content, b"").decode() if isinstance(event, ev.ChatSent) else ""
    return wire.MessageLine(
        at=event.at,
        author=event.role,
        key=event.key,
        by=event.by,
        text=text,
        content=views.content_view(event) if isinstance(event, ev.ContentAdded) else None,
    )


def _within(lines: list[wire.MessageLine]) -> list[wire.MessageLine]:
    """Return as many lines as fit into an answer, one at least."""
    taken_bytes = 0
    for n, line in enumerate(lines):
        taken_bytes += len(_encode(line))
        if n and taken_bytes > SLICE_BYTES:
            return lines[:n]
    return lines
