# SPDX-License-Identifier: Apache-2.0
"""Content for tests: pictures and voice messages as bytes, and a page that sends and fetches them in pieces."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from typing import Any

from signalling.wire.content import ACK, ACK_FRAME, HEADER, PIECE
from tests.support.peer import Message, Peer


def jpeg(size: int = 40_000, *, seed: int = 1, extra: bytes = b"", after: bytes = b"") -> bytes:
    """Return bytes with the structure of a JPEG of this size: segments, entropy-coded data, end."""
    head = b"\xff\xd8" + _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + extra
    head += _segment(0xDB, bytes(65)) + _segment(0xC0, b"\x08\0\x10\0\x10\1\1\x11\0")
    head += _segment(0xC4, bytes(20)) + _segment(0xDA, b"\1\1\0\0\x3f\0")
    rest = size - len(head) - 2 - len(after)
    noise = random.Random(seed).randbytes(rest).replace(b"\xff", b"\xfe")
    return head + noise + b"\xff\xd9" + after


def segment(marker: int, body: bytes) -> bytes:
    """Return a JPEG segment."""
    return _segment(marker, body)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def voice(size: int = 6_000, seed: int = 2) -> bytes:
    """Return bytes that begin as WebM does."""
    return b"\x1a\x45\xdf\xa3" + random.Random(seed).randbytes(size - 4)


def announce(peer: Peer, data: bytes, kind: str = "still", **changes: Any) -> Message:
    """Return the fields of ``content_begin`` for some bytes."""
    return {
        "consult": peer.consult,
        "key": secrets.token_hex(8),
        "kind": kind,
        "mime": "audio/webm" if kind == "voice" else "image/jpeg",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **changes,
    }


async def begin(peer: Peer, fields: Message) -> Message:
    """Announce content; return ``content_open``."""
    opened = await peer.done("content_begin", **fields)
    assert opened["type"] == "content_open"
    # Another connection may have had a handle of the same number.
    peer.frames = [f for f in peer.frames if HEADER.unpack_from(f)[2] != opened["handle"]]
    return opened


async def send_pieces(
    peer: Peer,
    handle: int,
    data: bytes,
    begin_at: int = 0,
    end: int | None = None,
    step: int = 1_200,
) -> None:
    """Send pieces, never more than 32 KiB ahead of what is acknowledged."""
    end = len(data) if end is None else end
    for at in range(begin_at, end, step):
        if at - begin_at > 32_768:
            await peer.wait_until(
                lambda at=at: acked(peer, handle) >= at - 32_768 or closed(peer, handle)
            )
        await piece(peer, handle, at, data[at : min(at + step, end)])


async def piece(peer: Peer, handle: int, offset: int, data: bytes) -> None:
    """Send one binary frame."""
    await peer.send_bytes(HEADER.pack(PIECE, 0, handle, offset) + data)


async def trickle(peer: Peer, most: int) -> None:
    """Begin a message that was spoken and send so many of its bytes at 8 KB/s."""
    data = voice(40_000)
    opened = await begin(peer, announce(peer, data, "voice"))
    for at in range(0, most, 400):
        await piece(peer, opened["handle"], at, data[at : at + 400])
        await asyncio.sleep(0.05)


def acked(peer: Peer, handle: int) -> int:
    """Return what was acknowledged last."""
    return max((offset for offset, _ in _acks(peer, handle)), default=0)


def kept(peer: Peer, handle: int) -> int:
    """Return what was said to be durable last."""
    return max((kept for _, kept in _acks(peer, handle)), default=0)


def _acks(peer: Peer, handle: int) -> list[tuple[int, int]]:
    frames = [f for f in peer.frames if f[0] == ACK]
    told = [ACK_FRAME.unpack(frame) for frame in frames]
    return [(offset, kept) for _, _, of, offset, kept, _ in told if of == handle]


def closed(peer: Peer, handle: int) -> Message | None:
    """Return the end of a handle, if it came."""
    return next((m for m in peer.of("content_closed") if m["handle"] == handle), None)


async def until_closed(peer: Peer, handle: int) -> str:
    """Wait for the end of a handle; return its code, empty if the content is there whole."""
    await peer.wait_until(lambda: closed(peer, handle))
    return (closed(peer, handle) or {}).get("code", "")


async def send(peer: Peer, data: bytes, kind: str = "still", **changes: Any) -> str:
    """Send content as a page does; return its key."""
    fields = announce(peer, data, kind, **changes)
    opened = await begin(peer, fields)
    peer.messages = [m for m in peer.messages if m["type"] != "content_closed"]
    await send_pieces(peer, opened["handle"], data, opened["offset"], step=16_000)
    assert await until_closed(peer, opened["handle"]) == ""
    return str(fields["key"])


async def fetch(peer: Peer, consult: str, key: str, size: int, step: int = 16_384) -> bytes:
    """Fetch content as a page does."""
    out = b""
    while len(out) < size:
        peer.frames.clear()
        await peer.done(
            "content_read", consult=consult, key=key, handle=7, offset=len(out), bytes=step
        )
        for frame in peer.frames:
            kind, _, handle, offset = HEADER.unpack_from(frame)
            if kind != PIECE:
                continue
            assert (handle, offset) == (7, len(out))
            out += frame[HEADER.size :]
    return out
