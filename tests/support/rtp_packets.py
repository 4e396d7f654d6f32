# SPDX-License-Identifier: Apache-2.0
"""RTP packets for tests of the packet logic."""

from __future__ import annotations

import struct

from media.core.extensions import (
    ABS_SEND_TIME,
    AUDIO_LEVEL,
    MID,
    REPAIRED_RID,
    RID,
    TRANSPORT_CC,
    ExtensionMap,
)
from media.core.rtp import RtpPacket, parse

IDS = {MID: 1, ABS_SEND_TIME: 2, TRANSPORT_CC: 3, AUDIO_LEVEL: 4, RID: 5, REPAIRED_RID: 6}
VP8 = 96
OPUS = 111
RED = 63


def element(number: int, data: bytes) -> bytes:
    """Return one element of a one-byte extension block."""
    return bytes((number << 4 | len(data) - 1,)) + data


def extension_block(*elements: bytes, profile: int = 0xBEDE) -> bytes:
    """Return a block with its profile and length, padded."""
    body = b"".join(elements)
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", profile, len(body) // 4) + body


def rtp(
    number: int = 1,
    *,
    timestamp: int = 0,
    ssrc: int = 0xABCD,
    payload_type: int = VP8,
    marker: bool = False,
    payload: bytes = b"payload",
    extension: bytes = b"",
    csrcs: tuple[int, ...] = (),
    padding: int = 0,
) -> bytes:
    """Return one packet."""
    first = 0x80 | len(csrcs) | (0x10 if extension else 0) | (0x20 if padding else 0)
    head = struct.pack(
        "!BBHII", first, payload_type | (0x80 if marker else 0), number & 0xFFFF,
        timestamp & 0xFFFFFFFF, ssrc,
    )  # fmt: skip
    tail = bytes(padding - 1) + bytes((padding,)) if padding else b""
    return head + struct.pack(f"!{len(csrcs)}I", *csrcs) + extension + payload + tail


def parsed(data: bytes, now: float = 0.0, extensions: ExtensionMap | None = None) -> RtpPacket:
    """Return a packet that must be readable."""
    packet = parse(data, extensions or ExtensionMap(IDS), now)
    assert packet is not None
    return packet


def vp8(
    picture: int, *, start: bool = True, key: bool = False, base: int = -1, temporal: int = 0,
    sync: bool = False, body: bytes = b"frame",
) -> bytes:  # fmt: skip
    """Return a VP8 payload with a 15-bit picture ID, and with layers if `base` is given."""
    flags = 0x80 | (0x60 if base >= 0 else 0)
    out = bytes((0x80 | (0x10 if start else 0), flags, 0x80 | picture >> 8 & 0x7F, picture & 0xFF))
    if base >= 0:
        out += bytes((base & 0xFF, temporal << 6 | (0x20 if sync else 0)))
    return out + bytes((0 if key else 1,)) + body


def vp9(picture: int, *, start: bool = True, key: bool = False, body: bytes = b"frame") -> bytes:
    """Return a VP9 payload with a 15-bit picture ID, without layers (RFC 9628 §4.2)."""
    first = 0x84 | (0 if key else 0x40) | (0x08 if start else 0)
    return bytes((first, 0x80 | picture >> 8 & 0x7F, picture & 0xFF)) + body


def at_index(index: int, now: float = 0.0, **fields: object) -> RtpPacket:
    """Return a packet whose index is set, as the hold gets it."""
    packet = parsed(rtp(index & 0xFFFF, **fields), now)  # type: ignore[arg-type]
    packet.index = index
    return packet
