# SPDX-License-Identifier: Apache-2.0
"""Content in pieces: photographs and voice messages come in here piece by piece.

What arrives is checked as it comes, gathered to chunks, sealed and stored, chunk by chunk: a node holds no more than a
few chunks of an upload, and what it has said to be kept survives it. The sender may go on from there, on any node. When
all is stored and the hash fits, one event in the consult makes it visible to both sides, in order with the chat.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from auth.roles import Action, Role, may
from signalling.core import audience, coordinator
from signalling.core import contents as core
from signalling.core import events as ev
from signalling.core.contents import Check, ContentRefused, LeftChecks, Spool
from signalling.core.inflow import Inflow
from signalling.core.lifecycle import CALL, Consult
from signalling.edge import views
from signalling.edge.clock import now
from signalling.edge.connections import Connection, Connections, Forward
from signalling.edge.ledger import Ledger, consult_owner
from signalling.edge.push import Push
from signalling.edge.readings import Readings
from signalling.edge.spools import Spools
from signalling.errors import Refused, refusal
from signalling.metrics import Metrics
from signalling.store.base import Content, ContentId, StoreError
from signalling.wire import codec
from signalling.wire import content as wire
from signalling.wire.base import FromServer
from signalling.wire.codes import Code
from signalling.wire.ids import ConsultId
from signalling.wire.messages import Error, Ok
from signalling.wire.terms import ConsultState, ContentKind, StillStep

CHUNK_BYTES = 16_384
"""What is stored at a time: 5 MB are 320 rows. Less is stored when more doesn't come soon."""
CHUNK_S = 2.0
"""The oldest byte that is not stored yet is stored after this; at 16 kbit/s a chunk then has 4 KB."""
ACK_S = 0.05
"""Pieces that arrive within this are acknowledged together; small beside a thin link's round trip …"""
ACK_BYTES = 2_000
"""… if there are so many bytes of them: from 320 kbit/s on."""
ACK_LATE_S = 0.2
"""Fewer wait so long: each acknowledgement costs about 85 bytes of a way back that may be as thin as the way there."""
PENDING_HIGH_BYTES = 4 * CHUNK_BYTES
"""With so much not stored yet nothing more is acknowledged, so a sender stops that obeys acknowledgements …"""
PENDING_MAX_BYTES = 12 * CHUNK_BYTES
"""… and one that doesn't is refused here: a page has 8 chunks on their way at most."""
HANDLES = 4
"""Uploads of one connection at a time."""
PROGRESS_S = 0.5
"""The other side is told of progress at most this often."""
FETCHED = 32
"""Chunks that are read back at a time when an upload is taken up again: half a megabyte."""
_LIVE = frozenset({ConsultState.WAITING, ConsultState.RINGING, ConsultState.CALLBACK}) | CALL
_STEPS = {
    Role.SPECIALIST: {StillStep.ASKED},
    Role.PATIENT: {StillStep.TAKING, StillStep.DECLINED},
}


@dataclass(slots=True, eq=False)
class _Upload:
    """One content that is coming in on one connection."""

    connection: Connection
    handle: int
    begun: ev.ContentBegun
    check: Check
    received: int
    kept: int
    pending: bytearray = field(default_factory=bytearray)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever stores."""
    over: bool = False
    leaving: bool = False
    """What came is being stored before the handle ends: nothing more is taken."""
    unsure: bool = False
    """Some of what is stored came by another socket: what was checked is not what is stored."""
    acked: int = 0
    """What was said to have arrived."""
    newest_at: float = 0.0
    """When the newest piece came, on the loop's clock."""
    ack_timer: asyncio.TimerHandle | None = None
    store_timer: asyncio.TimerHandle | None = None
    told_at: float = 0.0

    @property
    def to_store(self) -> bool:
        """Whether something waits to be stored, and shall be."""
        return bool(self.pending) and not self.over

    @property
    def stored_whole(self) -> bool:
        """Whether all is stored, and the handle has not been refused meanwhile."""
        return self.kept == self.begun.bytes and not self.over

    def stop(self) -> None:
        """Arm nothing any more."""
        self.over = True
        for timer in (self.ack_timer, self.store_timer):
            if timer is not None:
                timer.cancel()


class Contents:
    """All content of this node's connections. One per node."""

    def __init__(
        self,
        ledger: Ledger,
        spools: Spools,
        connections: Connections,
        push: Push,
        metrics: Metrics,
    ) -> None:
        """``push`` runs what goes on by itself."""
        self._ledger = ledger
        self.spools = spools
        self._connections = connections
        self._spawn = push.spawn
        self._metrics = metrics
        self._uploads: dict[Connection, dict[int, _Upload]] = {}
        self._last_handle: dict[Connection, int] = {}
        self._left = LeftChecks()
        self._inflows: dict[Connection, Inflow] = {}
        self.readings = Readings(ledger, spools, metrics)
        self.on_inflow: Callable[[Connection, ConsultId, int], None] = lambda _c, _i, _b: None
        """Called each second while pieces come in, with what they take of the link in bit/s, and with 0 when all are there."""

    # -- coming in ---------------------------------------------------------------------------------------------------

    async def begin(self, connection: Connection, message: wire.ContentBegin) -> None:
        """Open a handle for content that is announced, or known already.

        Raises:
            Refused: not by this person, not in this state, not of this kind or size, or too much.
        """
        consult_id = ConsultId(message.consult)
        consult = await self._ledger.consult(consult_id)
        _require_sender(connection, consult, message.kind)
        at = now()
        role, by = connection.role.value, connection.account
        spool = await self.spools.fresh(consult_id)
        known = message.key in spool.items
        if not known and (old := core.replaced(spool, message.kind, role)):
            await self.spools.drop(consult_id, old)
        spool = await self.spools.change(
            consult_id,
            lambda spool: core.begin(
                spool, message, role=role, by=by, kept=consult.content_keys, now=at
            ),
        )
        begun = spool.items[message.key].begun
        if message.key in consult.content_keys:
            connection.send(wire.ContentOpen(message.id, 0, begun.bytes, done=True))
            return
        if known:
            self._metrics.content_resumed()
        else:
            self._metrics.content("begun", message.kind)
        await self._open(connection, message.id, consult_id, message.key)

    async def _open(self, connection: Connection, re: int, consult: ConsultId, key: str) -> None:
        """Give out a handle: from what has come by an older one of this connection, else from what is stored on."""
        item = self.spools.known(consult).items.get(key)
        upload = self._going_on(connection, item)
        if upload is None:
            upload = await self._taken_up(connection, consult, key)
        if upload is None:
            return
        handle = self._last_handle[connection] = self._last_handle.get(connection, 0) % 65_535 + 1
        upload.handle, upload.acked = handle, upload.received
        self._uploads[connection][handle] = upload
        connection.send(wire.ContentOpen(re, handle, upload.received))
        if upload.stored_whole:
            self._spawn(self._store(upload))

    def _going_on(self, connection: Connection, item: core.Item | None) -> _Upload | None:
        """Return what this connection sends of it already, without its handle.

        Nothing of it is stored because it is begun again: that would be a row for each time.
        """
        mine = self._uploads.get(connection, {})
        for handle, upload in mine.items():
            same = item is not None and upload.begun == item.begun
            if same and not (upload.over or upload.leaving):
                return mine.pop(handle)
        return None

    async def _taken_up(
        self, connection: Connection, consult: ConsultId, key: str
    ) -> _Upload | None:
        """Return an upload that goes on from what is stored; None if the connection is lost meanwhile."""
        await self._end_others(consult, key)
        if len(self._uploads.setdefault(connection, {})) >= HANDLES:
            raise Refused(Code.CONTENT_QUOTA)
        item = self.spools.known(consult).items.get(key)
        if item is None:
            raise Refused(Code.CONTENT_OFFSET)
        check = self._left.take(item.begun, item.stored) or await self._checked(item)
        if not connection.socket.open:
            self._uploads.pop(connection, None)
            self._left.keep(item.begun, item.stored, check)
            return None
        return _Upload(connection, 0, item.begun, check, item.stored, item.stored)

    async def _checked(self, item: core.Item) -> Check:
        """Return a check that has read all that is stored."""
        check = Check(item.begun)
        for at in range(0, len(item.pieces), FETCHED):
            some = item.pieces[at : at + FETCHED]
            for data in await self.spools.fetch(item.begun.consult, some):
                check.feed(data)
        return check

    async def _end_others(self, consult: ConsultId, key: str) -> None:
        """A newer handle for the same content ends the older ones, which store what they have first."""
        for uploads in list(self._uploads.values()):
            for upload in list(uploads.values()):
                if (upload.begun.consult, upload.begun.key) == (consult, key):
                    await self._leave(upload)

    def piece(self, connection: Connection | None, data: bytes) -> None:
        """Take a binary frame, at once.

        Raises:
            Refused: ``binary_unsupported`` for what is no piece; ``content_offset`` for a handle that never was.
        """
        speaks = connection is not None and may(connection.role, Action.CHAT)
        if connection is None or not speaks or len(data) <= wire.HEADER.size:
            raise Refused(Code.BINARY_UNSUPPORTED)
        frame, reserved, handle, offset = wire.HEADER.unpack_from(data)
        if frame != wire.PIECE or reserved:
            raise Refused(Code.BINARY_UNSUPPORTED)
        upload = self._uploads.get(connection, {}).get(handle)
        if upload is None:
            if handle > self._last_handle.get(connection, 0):
                raise Refused(Code.CONTENT_OFFSET)
            return  # was on its way when the handle ended
        self._count(connection, upload.begun.consult, len(data))
        try:
            self._take(upload, offset, data[wire.HEADER.size :])
        except ContentRefused as refused:
            if _is_final(refused.code):
                self._end(upload, refused.code)
                self._spawn(self._drop_after(upload, refused.code))
            else:
                self._spawn(self._leave(upload, refused.code))

    def _count(self, connection: Connection, consult: ConsultId, size_bytes: int) -> None:
        at = asyncio.get_running_loop().time()
        inflow = self._inflows.get(connection)
        if inflow is None:
            inflow = self._inflows[connection] = Inflow(at)
        if (bps := inflow.came(size_bytes, at)) is not None:
            self.on_inflow(connection, consult, bps)

    def _take(self, upload: _Upload, offset: int, data: bytes) -> None:
        if upload.over or upload.leaving:
            return
        if offset != upload.received:
            raise ContentRefused(Code.CONTENT_OFFSET)
        missing = upload.begun.bytes - offset
        least, most = min(wire.MIN_PIECE_BYTES, missing), min(wire.MAX_PIECE_BYTES, missing)
        if not least <= len(data) <= most:
            raise ContentRefused(Code.CONTENT_SIZE)
        if len(upload.pending) + len(data) > PENDING_MAX_BYTES:
            raise ContentRefused(Code.UNAVAILABLE)
        upload.check.feed(data)
        upload.pending += data
        upload.received += len(data)
        loop = asyncio.get_running_loop()
        if upload.received == upload.begun.bytes or len(upload.pending) >= CHUNK_BYTES:
            self._spawn(self._store(upload))
        elif upload.store_timer is None:
            self._store_later(upload)
        upload.newest_at = loop.time()
        if upload.ack_timer is None:
            upload.ack_timer = loop.call_later(ACK_S, self._acknowledge_soon, upload)

    def _acknowledge_soon(self, upload: _Upload) -> None:
        """Acknowledge what came if it is worth a frame, else wait for a little more of it."""
        if upload.over or upload.received - upload.acked >= ACK_BYTES:
            self._acknowledge(upload)
            return
        loop = asyncio.get_running_loop()
        upload.ack_timer = loop.call_later(ACK_LATE_S - ACK_S, self._acknowledge, upload)

    def _acknowledge(self, upload: _Upload) -> None:
        upload.ack_timer = None
        if upload.over or len(upload.pending) > PENDING_HIGH_BYTES:
            return
        at = asyncio.get_running_loop().time()
        upload.acked = upload.received
        upload.connection.socket.send_bytes(
            wire.acknowledgement(upload.handle, upload.received, upload.kept, upload.newest_at, at)
        )

    async def _store(self, upload: _Upload, *, all_of_it: bool = False) -> None:
        """Store what is pending, chunk by chunk; at the end of the content, finish it."""
        if upload.lock.locked() or upload.over:
            return
        async with upload.lock:
            if upload.store_timer is not None:
                upload.store_timer.cancel()
                upload.store_timer = None
            try:
                await self._store_pending(upload, all_of_it=all_of_it)
                if upload.stored_whole:
                    await self._finish(upload)
            except (ContentRefused, Refused, StoreError) as error:
                code = error.code if isinstance(error, ContentRefused) else refusal(error).code
                self._end(upload, code)
                await self._drop(upload, code)
        if upload.pending and upload.store_timer is None:
            self._store_later(upload)

    async def _store_pending(self, upload: _Upload, *, all_of_it: bool) -> None:
        while upload.to_store:
            last = upload.received == upload.begun.bytes
            if len(upload.pending) < CHUNK_BYTES and not (last or all_of_it):
                return
            await self._store_chunk(upload)

    def _store_later(self, upload: _Upload) -> None:
        if upload.over:
            return
        upload.store_timer = asyncio.get_running_loop().call_later(
            CHUNK_S, lambda: self._spawn(self._store(upload, all_of_it=True))
        )

    async def _store_chunk(self, upload: _Upload) -> None:
        chunk = bytes(upload.pending[:CHUNK_BYTES])
        begun, offset = upload.begun, upload.kept
        there = offset
        content_id = secrets.token_hex(8)

        def stores(spool: Spool) -> list[ev.Event]:
            nonlocal there
            item = spool.items.get(begun.key)
            if item is None or item.stored < offset:
                raise ContentRefused(Code.CONTENT_OFFSET)
            there = item.stored
            if there > offset:
                return []  # an older socket's node has stored on meanwhile
            at = now()
            until = core.until(begun.kind, at)
            stored = ev.ContentStored(
                at, begun.consult, begun.key, offset, len(chunk), content_id, until
            )
            return [stored]

        content = Content(consult_owner(begun.consult), ContentId(content_id), chunk)
        await self.spools.change(begun.consult, stores, [content])
        if there > offset:
            upload.unsure = True
            del upload.pending[: there - offset]
            upload.kept = min(there, upload.received)
            return
        del upload.pending[: len(chunk)]
        upload.kept += len(chunk)
        self._metrics.content_bytes("in", len(chunk))
        if not upload.over:
            self._tell_progress(upload)
            if upload.ack_timer is None:
                self._acknowledge(upload)

    async def _finish(self, upload: _Upload) -> None:
        """All is stored: if it is what was announced, it becomes visible."""
        begun = upload.begun
        item = self.spools.known(begun.consult).items.get(begun.key)
        if item is None or not item.whole:
            raise ContentRefused(Code.CONTENT_OFFSET)
        check = await self._checked(item) if upload.unsure else upload.check
        check.finish()
        if begun.kind is not ContentKind.AUTO_STILL:
            await self._ledger.commit(
                begun.consult,
                lambda c: (
                    []
                    if begun.key in c.content_keys
                    else coordinator.said(c, core.added(begun, now()), self._ledger.policy)
                ),
            )
        self._close(upload, None)
        self._metrics.content("completed", begun.kind)
        self._metrics.content_took(begun.kind, now() - begun.at)
        self._tell_progress(upload)

    def _end(self, upload: _Upload, code: Code) -> None:
        """End a handle with a code."""
        if not upload.over:
            self._close(upload, code)
            self._metrics.refused(code)

    async def _drop_after(self, upload: _Upload, code: Code) -> None:
        """Drop it once nothing of it is being stored any more: else that would stay."""
        async with upload.lock:
            await self._drop(upload, code)

    async def _drop(self, upload: _Upload, code: Code) -> None:
        """What can never become whole is dropped; the rest waits for the sender to come back."""
        if _is_final(code):
            with contextlib.suppress(StoreError, Refused):
                await self.spools.drop(upload.begun.consult, [upload.begun.key])

    def _close(self, upload: _Upload, code: Code | None) -> None:
        upload.stop()
        mine = self._uploads.get(upload.connection, {})
        mine.pop(upload.handle, None)
        if not mine and self._inflows.pop(upload.connection, None) is not None:
            self.on_inflow(upload.connection, upload.begun.consult, 0)
        upload.connection.send(wire.ContentClosed(upload.handle, code))

    def gone(self, connection: Connection) -> None:
        """The connection is lost: what came is stored, so that the sender goes on from there."""
        self._last_handle.pop(connection, None)
        self._inflows.pop(connection, None)
        for upload in self._uploads.pop(connection, {}).values():
            self._spawn(self._leave(upload))

    async def flush(self) -> None:
        """The node stops: store what came, of everybody."""
        for uploads in list(self._uploads.values()):
            for upload in list(uploads.values()):
                await self._leave(upload)

    async def _leave(self, upload: _Upload, code: Code | None = None) -> None:
        """Store what is pending and end the handle, with a code or without a word.

        What was checked is kept for who goes on: content that is begun again isn't read again.
        """
        upload.leaving = True
        async with upload.lock:
            if upload.over:
                return
            with contextlib.suppress(ContentRefused, Refused, StoreError):
                await self._store_pending(upload, all_of_it=True)
            if upload.kept == upload.received and not upload.unsure:
                self._left.keep(upload.begun, upload.kept, upload.check)
            if code is not None:
                self._end(upload, code)
                return
            upload.stop()
        self._uploads.get(upload.connection, {}).pop(upload.handle, None)

    # -- asking for a photograph -------------------------------------------------------------------------------------

    def still(self, connection: Connection, message: wire.StillRequest) -> None:
        """Forward a step of asking for a photograph to the other side of the call, at once.

        Raises:
            Refused: ``not_found``, ``wrong_state``, ``forbidden`` for the other side's step.
        """
        consult = self._ledger.consults.get(ConsultId(message.consult))
        if consult is None or not _in_it(connection, consult):
            raise Refused(Code.NOT_FOUND)
        if consult.state not in CALL:
            raise Refused(Code.WRONG_STATE)
        if message.step not in _STEPS.get(connection.role, ()):
            raise Refused(Code.FORBIDDEN)
        self._spawn(self._forward(connection, consult, message))

    async def _forward(
        self, connection: Connection, consult: Consult, message: wire.StillRequest
    ) -> None:
        there = await self._tell_peer(connection, consult, wire.Still(consult.id, message.step))
        if there:
            connection.send(Ok(message.id))
        else:
            self._metrics.refused(Code.PEER_ABSENT)
            connection.send(Error(code=Code.PEER_ABSENT, re=message.id))

    async def _tell_peer(
        self, connection: Connection, consult: Consult, message: FromServer
    ) -> bool:
        """Send to the other side of a call, on whichever node; return whether anybody was there."""
        peer = views.peer_of(consult, connection.role)
        if peer is None:
            return False
        local = self._connections.get(peer)
        if local is not None:
            local.send(message)
            return True
        return await self._connections.tell(peer, Forward(msgspec.Raw(codec.encode(message))))

    def _tell_progress(self, upload: _Upload) -> None:
        """Tell the other side of a call how far a picture is; automatic ones only once they can be fetched."""
        begun = upload.begun
        consult = self._ledger.consults.get(begun.consult)
        whole = upload.kept == begun.bytes
        at = asyncio.get_running_loop().time()
        if consult is None or consult.state not in CALL:
            return
        if begun.kind is ContentKind.AUTO_STILL and not (whole and upload.over):
            return
        if not whole and at - upload.told_at < PROGRESS_S:
            return
        upload.told_at = at
        progress = wire.ContentProgress(
            begun.consult, begun.key, begun.kind, begun.bytes, upload.kept, begun.preview_of
        )
        self._spawn(self._progress(upload.connection, consult, progress))

    async def _progress(
        self, connection: Connection, consult: Consult, progress: wire.ContentProgress
    ) -> None:
        await self._tell_peer(connection, consult, progress)


def _is_final(code: Code) -> bool:
    """Whether content refused with this code can't be mended by sending on."""
    return code in (
        Code.CONTENT_TYPE,
        Code.CONTENT_METADATA,
        Code.CONTENT_HASH,
        Code.CONTENT_SIZE,
        Code.CONTENT_QUOTA,
        Code.CONSULT_OVER,
        Code.FORBIDDEN,
    )


def _in_it(connection: Connection, consult: Consult) -> bool:
    """Whether this is a consult's patient, or the specialist who is in its call."""
    if connection.role is Role.PATIENT:
        return connection.consult == consult.id
    return connection.account is not None and consult.specialist == connection.account


def _require_sender(connection: Connection, consult: Consult, kind: ContentKind) -> None:
    """Raise Refused unless this person may send this kind of content to this consult as it is now."""
    if connection.role is Role.PATIENT:
        allowed = connection.consult == consult.id
    else:
        allowed = audience.specialist_may_read(consult, connection.account)
    if not allowed:
        raise Refused(Code.NOT_FOUND)
    if consult.over:
        raise Refused(Code.CONSULT_OVER)
    if consult.state not in _LIVE:
        raise Refused(Code.WRONG_STATE)
    if kind is ContentKind.AUTO_STILL and consult.state not in CALL:
        raise Refused(Code.WRONG_STATE)
