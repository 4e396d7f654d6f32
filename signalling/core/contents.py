# SPDX-License-Identifier: Apache-2.0
"""What is on its way in a consult, piece by piece: a fold of the consult's stream of pieces, and its limits.

The stream ``pieces:<consult>`` lists what was announced, which bytes of it are stored under which content id, and what
was dropped. So any node can say where a sender may go on, two nodes can't both store the same bytes, and what one
consult may cost is decided in one place. That content is whole and kept is an event of the consult (``ContentAdded``).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from signalling.core import events as ev
from signalling.core.audience import CONTENT_MAX_BYTES, CONTENT_MAX_ITEMS
from signalling.core.jpeg import JpegScanner, MoreThanPicture, NotJpeg
from signalling.wire.codes import Code
from signalling.wire.content import MAX_CONTENT_BYTES, ContentBegin
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import ContentKind

KEPT_INCOMPLETE_S: Final = 86_400.0
"""How long content that is not whole waits for the rest: a phone that was put away is taken out again within a day."""
AUTO_STILL_S: Final = 120.0
"""How long an automatic picture may be fetched: eight of its intervals."""
AUTO_STILL_BYTES: Final = 24 * 1_024
"""320x240 at low quality is 6–10 KB."""
VOICE_BYTES: Final = 2 * 2**20
"""Five minutes of Opus at 12 kbit/s are 450 KB; of AAC, which Safari records, at 48 kbit/s 1.8 MB."""
VOICE_MS: Final = 5 * 60_000
MAX_OPEN: Final = 6
"""Announced and not whole, of one side of a consult: a photograph in three layers and a few voice messages."""
LEFT_MAX: Final = 256
"""Checks kept of what has no socket now; each is under a kilobyte."""
MAX_BEGUN: Final = 2_000
"""Announced in a consult in all, dropped ones included: an automatic picture every 12 s for six hours, and all else."""

MAX_BYTES: Final[Mapping[ContentKind, int]] = {
    ContentKind.STILL: MAX_CONTENT_BYTES,
    ContentKind.AUTO_STILL: AUTO_STILL_BYTES,
    ContentKind.VOICE: VOICE_BYTES,
}
MIMES: Final[Mapping[ContentKind, Collection[str]]] = {
    ContentKind.STILL: ("image/jpeg",),
    ContentKind.AUTO_STILL: ("image/jpeg",),
    ContentKind.VOICE: ("audio/webm", "audio/ogg", "audio/mp4"),
}
_MAGIC: Final[Mapping[str, tuple[int, bytes]]] = {
    "audio/webm": (0, b"\x1a\x45\xdf\xa3"),  # EBML (RFC 8794 §11.2.1)
    "audio/ogg": (0, b"OggS"),  # RFC 3533 §6
    "audio/mp4": (4, b"ftyp"),  # ISO/IEC 14496-12 §4.3
}
_MAGIC_BYTES: Final = 8


class ContentRefused(Exception):
    """Content may not begin, or is not what it was said to be; ``code`` says why."""

    def __init__(self, code: Code) -> None:
        """Carry the code."""
        super().__init__(code.value)
        self.code = code


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that are stored."""

    offset: int
    bytes: int
    content: str


@dataclass(frozen=True, slots=True)
class Item:
    """One content, as far as it is stored."""

    begun: ev.ContentBegun
    until: float
    pieces: tuple[Piece, ...] = ()

    @property
    def stored(self) -> int:
        """Everything below is stored."""
        return self.pieces[-1].offset + self.pieces[-1].bytes if self.pieces else 0

    @property
    def whole(self) -> bool:
        """Whether every byte is stored."""
        return self.stored == self.begun.bytes


@dataclass(frozen=True, slots=True)
class Spool:
    """What a consult's stream of pieces says."""

    consult: ConsultId
    version: int = 0
    items: Mapping[str, Item] = field(default_factory=dict)
    """By key; dropped ones are gone."""
    begun: int = 0


def apply(spool: Spool, event: ev.Event) -> Spool:
    """Return the spool after an event of its stream; one that doesn't fit changes nothing but the version."""
    items = dict(spool.items)
    begun = spool.begun
    match event:
        case ev.ContentBegun():
            begun += 1
            items[event.key] = Item(event, event.until)
        case ev.ContentStored() if (item := items.get(event.key)) and event.offset == item.stored:
            piece = Piece(event.offset, event.bytes, event.content)
            items[event.key] = replace(item, pieces=(*item.pieces, piece), until=event.until)
        case ev.ContentDropped():
            items.pop(event.key, None)
        case _:
            pass
    return Spool(spool.consult, spool.version + 1, items, begun)


def due_at(spool: Spool, kept: Collection[str]) -> float | None:
    """Return when the next content must be dropped, if any is not kept for good."""
    return min((i.until for key, i in spool.items.items() if key not in kept), default=None)


def begin(
    spool: Spool,
    message: ContentBegin,
    *,
    role: str,
    by: AccountId | None,
    kept: Collection[str],
    now: float,
) -> list[ev.Event]:
    """Return what announcing content makes: nothing if it is known already, else its beginning.

    Args:
        spool: what is there.
        message: what is announced.
        role: of the sender.
        by: the sender's account.
        kept: keys of content that is whole and in the consult.
        now: UTC epoch seconds.

    Raises:
        ContentRefused: ``content_type``, ``content_size``, ``content_quota``; ``content_hash`` where the key stands for
            other bytes; ``not_found`` where it is somebody else's; ``forbidden`` for a picture by a specialist.
    """
    known = spool.items.get(message.key)
    if known is not None:
        _same(known.begun, message, role, by)
        return []
    _allowed(message, role)
    items = spool.items.values()
    mine = [i for i in items if i.begun.key not in kept and i.begun.role == role]
    held = sum(i.begun.bytes for i in items)
    if (
        len(mine) >= MAX_OPEN
        or spool.begun >= MAX_BEGUN
        or len(items) >= CONTENT_MAX_ITEMS
        or held + message.bytes > CONTENT_MAX_BYTES
    ):
        raise ContentRefused(Code.CONTENT_QUOTA)
    begun = ev.ContentBegun(
        at=now,
        consult=spool.consult,
        role=role,
        key=message.key,
        kind=message.kind,
        mime=message.mime,
        bytes=message.bytes,
        sha256=message.sha256,
        until=until(message.kind, now),
        by=by,
        duration_ms=message.duration_ms,
        preview_of=message.preview_of or "",
    )
    return [begun]


def until(kind: ContentKind, now: float) -> float:
    """Return until when content of a kind is kept that is not (yet) in the consult."""
    return now + (AUTO_STILL_S if kind is ContentKind.AUTO_STILL else KEPT_INCOMPLETE_S)


def added(begun: ev.ContentBegun, now: float) -> ev.ContentAdded:
    """Return the event that says that content is whole."""
    return ev.ContentAdded(
        at=now,
        consult=begun.consult,
        role=begun.role,
        key=begun.key,
        kind=begun.kind,
        mime=begun.mime,
        bytes=begun.bytes,
        sha256=begun.sha256,
        by=begun.by,
        duration_ms=begun.duration_ms,
        preview_of=begun.preview_of,
    )


def _same(known: ev.ContentBegun, message: ContentBegin, role: str, by: AccountId | None) -> None:
    if (known.role, known.by) != (role, by):
        raise ContentRefused(Code.NOT_FOUND)
    if (known.kind, known.bytes, known.sha256) != (message.kind, message.bytes, message.sha256):
        raise ContentRefused(Code.CONTENT_HASH)


def _allowed(message: ContentBegin, role: str) -> None:
    if message.kind is not ContentKind.VOICE and role != ev.PATIENT:
        raise ContentRefused(Code.FORBIDDEN)
    if message.mime not in MIMES[message.kind]:
        raise ContentRefused(Code.CONTENT_TYPE)
    if message.bytes > MAX_BYTES[message.kind] or message.duration_ms > VOICE_MS:
        raise ContentRefused(Code.CONTENT_SIZE)


def replaced(spool: Spool, kind: ContentKind, role: str) -> list[str]:
    """Return what gives way to new content: automatic pictures, but the newest, which may be being fetched."""
    if kind is not ContentKind.AUTO_STILL:
        return []
    earlier = [
        key
        for key, i in spool.items.items()
        if i.begun.kind is ContentKind.AUTO_STILL and i.begun.role == role
    ]
    return earlier[:-1]


class Check:
    """Reads content as it is stored, in order, and says at the end whether it is what was announced."""

    def __init__(self, begun: ev.ContentBegun) -> None:
        """Expect the first byte."""
        self._begun = begun
        self._hash = hashlib.sha256()
        self._jpeg = JpegScanner() if begun.mime == "image/jpeg" else None
        self._head = b""

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            ContentRefused: ``content_type`` or ``content_metadata``, as soon as it shows.
        """
        self._hash.update(data)
        if self._jpeg is not None:
            try:
                self._jpeg.feed(data)
            except NotJpeg:
                raise ContentRefused(Code.CONTENT_TYPE) from None
            except MoreThanPicture:
                raise ContentRefused(Code.CONTENT_METADATA) from None
        elif len(self._head) < _MAGIC_BYTES:
            self._head += data[: _MAGIC_BYTES - len(self._head)]
            offset, magic = _MAGIC[self._begun.mime]
            if (
                self._head[offset : offset + len(magic)]
                != magic[: max(0, len(self._head) - offset)]
            ):
                raise ContentRefused(Code.CONTENT_TYPE)

    def finish(self) -> None:
        """All bytes were read.

        Raises:
            ContentRefused: ``content_hash``; ``content_type`` for a picture or a message that is cut off.
        """
        if self._hash.hexdigest() != self._begun.sha256:
            raise ContentRefused(Code.CONTENT_HASH)
        if self._jpeg is not None and not self._jpeg.ended:
            raise ContentRefused(Code.CONTENT_TYPE)
        if self._jpeg is None and len(self._head) < _MAGIC_BYTES:
            raise ContentRefused(Code.CONTENT_TYPE)


class LeftChecks:
    """Checks of what is on its way and has no socket now: who comes back soon goes on without a second reading.

    Content may be begun again as often as a connection may send messages; reading 8 MB each time would stop a node.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._left: OrderedDict[tuple[ConsultId, str], tuple[int, ev.ContentBegun, Check]] = (
            OrderedDict()
        )

    def keep(self, begun: ev.ContentBegun, read: int, check: Check) -> None:
        """Keep a check that has read so many bytes, of the newest only."""
        self._left[begun.consult, begun.key] = read, begun, check
        self._left.move_to_end((begun.consult, begun.key))
        if len(self._left) > LEFT_MAX:
            self._left.popitem(last=False)

    def take(self, begun: ev.ContentBegun, read: int) -> Check | None:
        """Return the check that has read exactly what is stored, if it was kept; it is whoever's takes it."""
        there, kept, check = self._left.pop((begun.consult, begun.key), (-1, None, None))
        return check if (there, kept) == (read, begun) else None
