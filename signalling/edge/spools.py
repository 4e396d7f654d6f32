# SPDX-License-Identifier: Apache-2.0
"""The streams of pieces (``core.contents``) as this node knows them, and the only way to change one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from signalling.core import contents as core
from signalling.core import events as ev
from signalling.core.contents import ContentRefused, Spool
from signalling.edge.clock import now
from signalling.edge.ledger import Ledger, consult_owner
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.store.base import (
    Append,
    Content,
    ContentErased,
    ContentId,
    StreamId,
    VersionConflict,
)
from signalling.wire.codes import Code
from signalling.wire.ids import ConsultId
from signalling.wire.terms import ContentKind

PIECES = "pieces:"
SHELVES = 500
"""Consults whose spool is kept in memory; others are read again."""
ATTEMPTS = 6
"""Tries of one change: each loss means that the other side, or another node, stored something."""


def pieces_stream(consult: ConsultId) -> StreamId:
    """Return the stream of a consult's pieces."""
    return StreamId(PIECES + consult)


@dataclass(slots=True)
class _Shelf:
    spool: Spool
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Spools:
    """Reads, changes and cleans the streams of pieces. One per node."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        """Store by way of the ledger's store, under the consult's key: erasing a consult erases this too."""
        self._ledger = ledger
        self._metrics = metrics
        self._shelves: OrderedDict[ConsultId, _Shelf] = OrderedDict()

    def known(self, consult_id: ConsultId) -> Spool:
        """Return a spool as it is in memory."""
        return self._shelf(consult_id).spool

    async def fresh(self, consult_id: ConsultId) -> Spool:
        """Return a spool as the store has it.

        Raises:
            StoreUnavailable: it can't be read.
        """
        shelf = self._shelf(consult_id)
        async with shelf.lock:
            await self._read_on(shelf)
            return shelf.spool

    async def change(
        self,
        consult_id: ConsultId,
        build: Callable[[Spool], list[ev.Event]],
        content: Sequence[Content] = (),
    ) -> Spool:
        """Append what ``build`` makes of the spool, and content with it; return the spool after it.

        Raises:
            Refused: ``build`` refused it, or the consult's content was erased (``consult_over``).
            StoreUnavailable: not written, or not known to be.
        """
        shelf = self._shelf(consult_id)
        async with shelf.lock:
            for _ in range(ATTEMPTS):
                try:
                    events = build(shelf.spool)
                except ContentRefused as refused:
                    raise Refused(refused.code) from None
                if not events:
                    return shelf.spool
                if await self._append(shelf, events, content):
                    return shelf.spool
                await self._read_on(shelf)
        raise Refused(Code.UNAVAILABLE)

    async def _append(
        self, shelf: _Shelf, events: Sequence[ev.Event], content: Sequence[Content]
    ) -> bool:
        """Try once; return False if somebody else appended first."""
        after = shelf.spool
        for event in events:
            after = core.apply(after, event)
        consult_id = shelf.spool.consult
        consult = self._ledger.known(consult_id)
        due = core.due_at(after, consult.content_keys if consult is not None else ())
        data = tuple(map(ev.encode, events))
        append = Append(pieces_stream(consult_id), shelf.spool.version, data, due)
        try:
            await self._ledger.store.append(append, content=content)
        except VersionConflict:
            return False
        except ContentErased:
            raise Refused(Code.CONSULT_OVER) from None
        shelf.spool = after
        return True

    async def fetch(self, consult_id: ConsultId, pieces: Sequence[core.Piece]) -> list[bytes]:
        """Return stored bytes, opened, in order; raises Refused ``not_found`` if some were destroyed."""
        ids = [ContentId(p.content) for p in pieces]
        found = await self._ledger.store.content(consult_owner(consult_id), ids)
        chunks = [found.get(i, b"") for i in ids]
        if any(len(chunk) != p.bytes for chunk, p in zip(chunks, pieces, strict=True)):
            raise Refused(Code.NOT_FOUND)
        return chunks

    async def attend(self, stream: StreamId) -> None:
        """Drop what was not whole in time, and what was not meant to be kept."""
        consult_id = ConsultId(stream.removeprefix(PIECES))
        spool = await self.fresh(consult_id)
        consult = await self._ledger.refresh(consult_id)
        at = now()
        late = [
            item
            for key, item in spool.items.items()
            if key not in consult.content_keys and item.until <= at
        ]
        if not late:
            due = core.due_at(spool, consult.content_keys)
            await self._ledger.postpone(stream, spool.version, due)
            return
        await self.drop(consult_id, [item.begun.key for item in late])
        for item in late:
            if item.begun.kind is not ContentKind.AUTO_STILL or not item.whole:
                self._metrics.content("abandoned", item.begun.kind)

    async def drop(self, consult_id: ConsultId, keys: Sequence[str]) -> None:
        """Overwrite the stored bytes by nothing and forget them.

        Raises:
            StoreUnavailable: not done, or not known to be.
        """
        spool = self.known(consult_id)
        items = [spool.items[key] for key in keys if key in spool.items]
        content = [
            Content(consult_owner(consult_id), ContentId(piece.content), b"")
            for item in items
            for piece in item.pieces
        ]

        def drops(spool: Spool) -> list[ev.Event]:
            there = [i.begun.key for i in items if i.begun.key in spool.items]
            return [ev.ContentDropped(now(), consult_id, key) for key in there]

        try:
            await self.change(consult_id, drops, content)
        except Refused as refused:
            if refused.code is not Code.CONSULT_OVER:
                raise
            await self.change(consult_id, drops)  # erased: there is nothing left to overwrite

    def _shelf(self, consult_id: ConsultId) -> _Shelf:
        shelf = self._shelves.get(consult_id)
        if shelf is None:
            for old in [k for k, s in self._shelves.items() if not s.lock.locked()][:-SHELVES]:
                del self._shelves[old]
            shelf = self._shelves[consult_id] = _Shelf(Spool(consult_id))
        self._shelves.move_to_end(consult_id)
        return shelf

    async def _read_on(self, shelf: _Shelf) -> None:
        """Fold what other nodes appended; under the shelf's lock."""
        stream = pieces_stream(shelf.spool.consult)
        for recorded in await self._ledger.store.read(stream, shelf.spool.version):
            shelf.spool = core.apply(shelf.spool, ev.decode(recorded.data))
