# SPDX-License-Identifier: Apache-2.0
"""Payload descriptors of VP8 (RFC 7741 §4.2, §4.3) and VP9 (RFC 9628 §4.2): what a packet belongs to.

Only what the hold needs: does a frame start here, is it a key frame, which picture, which layer.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from media.core.rtp import Octets, RtpPacket


class VideoCodec(Enum):
    """Codecs whose frames the relay can tell apart."""

    VP8 = "VP8"
    VP9 = "VP9"


class Frame(NamedTuple):
    """What one packet says of its frame."""

    start: bool
    """The packet begins a frame (VP9: the frame of the lowest spatial layer)."""
    key: bool
    """With `start`: decodable without any earlier frame."""
    picture_id: int = -1
    picture_bits: int = 0
    """7 or 15; the picture ID wraps there."""
    base_index: int = -1
    """TL0PICIDX: counts frames of the base temporal layer, 8 bits; -1 if absent."""
    temporal: int = 0
    """Temporal layer."""
    sync: bool = False
    """A frame of a higher layer that needs nothing but the base layer (VP8 Y, VP9 U)."""


def describe(codec: VideoCodec, packet: RtpPacket) -> Frame | None:
    """Read the payload descriptor; None if it is cut short."""
    try:
        if codec is VideoCodec.VP8:
            return _vp8(packet.data, packet.payload_at, packet.payload_end)
        return _vp9(packet.data, packet.payload_at, packet.payload_end)
    except IndexError:  # an offset beyond the packet; inside it the ends are checked
        return None


def follows(frame: Frame, before: Frame) -> bool:
    """Say whether `frame` is the very next picture after `before`."""
    return (
        before.picture_id >= 0
        and frame.picture_bits == before.picture_bits
        and frame.picture_id == (before.picture_id + 1) & ((1 << frame.picture_bits) - 1)
    )


def _picture_id(data: Octets, at: int) -> tuple[int, int, int]:
    octet = data[at]
    if octet & 0x80:
        return (octet & 0x7F) << 8 | data[at + 1], 15, at + 2
    return octet, 7, at + 1


def _vp8(data: Octets, at: int, end: int) -> Frame | None:
    first = data[at]
    at += 1
    picture_id, picture_bits, base_index, temporal, sync = -1, 0, -1, 0, False
    if first & 0x80:  # X
        present = data[at]
        at += 1
        if present & 0x80:  # I
            picture_id, picture_bits, at = _picture_id(data, at)
        if present & 0x40:  # L
            base_index = data[at]
            at += 1
        if present & 0x30:  # T or K
            if present & 0x20:
                temporal = data[at] >> 6
                sync = bool(data[at] & 0x20)
            at += 1
    if at >= end:
        return None
    start = first & 0x10 != 0 and first & 0x07 == 0
    # The payload header of the first partition: its lowest bit P is 0 in a key frame (RFC 7741 §4.3).
    key = start and not data[at] & 0x01
    return Frame(start, key, picture_id, picture_bits, base_index, temporal, sync)


def _vp9(data: Octets, at: int, end: int) -> Frame | None:
    first = data[at]
    at += 1
    picture_id, picture_bits, base_index, temporal, sync, spatial = -1, 0, -1, 0, False, 0
    if first & 0x80:  # I
        picture_id, picture_bits, at = _picture_id(data, at)
    if first & 0x20:  # L
        layers = data[at]
        temporal, sync, spatial = layers >> 5, bool(layers & 0x10), layers >> 1 & 7
        at += 1
        if not first & 0x10:  # not flexible mode: TL0PICIDX follows
            base_index = data[at]
            at += 1
    if at >= end:
        return None
    start = first & 0x08 != 0 and spatial == 0
    key = start and not first & 0x40  # P: inter-picture predicted
    return Frame(start, key, picture_id, picture_bits, base_index, temporal, sync)
