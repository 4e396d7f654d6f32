# SPDX-License-Identifier: Apache-2.0
"""RTP packets, read without copying (RFC 3550 §5.1).

A packet keeps the bytes it came in and says where things are in them. Nothing here raises on what a
peer sent; what is not RTP is None.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from media.core.extensions import NO_EXTENSIONS

if TYPE_CHECKING:
    from media.core.extensions import ExtensionMap, Layout

Octets: TypeAlias = bytes | bytearray

MAX_PACKET_BYTES: Final = 1_500
"""What fits on an Ethernet, and what libsrtp's Python binding takes."""
SCRATCH_BYTES: Final = 2_048
"""Room for any packet as it is rewritten: extensions added, RED headers, an original number."""

_FIXED = struct.Struct("!BBHII").unpack_from
_WORD = struct.Struct("!I").unpack_from


class RtpPacket:
    """One received packet: fields, and where its payload is in `data`."""

    __slots__ = (
        "arrived_at", "data", "extension", "index", "layout", "marker", "payload_at", "payload_end",
        "payload_type", "sequence_number", "ssrc", "timestamp",
    )  # fmt: skip

    data: Octets
    arrived_at: float
    """Seconds of the clock that `now` comes from."""
    marker: int
    """128 or 0: as it stands in the second octet."""
    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload_at: int
    payload_end: int
    """Padding is outside. Equal to `payload_at` for a packet of padding alone."""
    extension: int
    """The extension block as one number, read by `layout`."""
    layout: Layout
    index: int
    """Sequence number that never wraps, set by who receives the stream; -1 before."""

    @property
    def payload(self) -> bytes:
        """A copy of the payload."""
        return bytes(self.data[self.payload_at : self.payload_end])

    @property
    def mid(self) -> bytes | None:
        """The media identification (RFC 9143), for routing the first packets of a stream."""
        return self._text(self.layout.mid)

    @property
    def rid(self) -> bytes | None:
        """The stream identifier (RFC 8852)."""
        return self._text(self.layout.rid)

    @property
    def repaired_rid(self) -> bytes | None:
        """The identifier of the stream that this one repairs (RFC 8852)."""
        return self._text(self.layout.repaired_rid)

    @property
    def transport_number(self) -> int | None:
        """The transport-wide sequence number, 16 bits."""
        shift = self.layout.transport_cc_shift
        return None if shift < 0 else self.extension >> shift & 0xFFFF

    @property
    def abs_send_time(self) -> int | None:
        """When the packet was sent, 6.18 fixed-point seconds modulo 64."""
        shift = self.layout.abs_send_time_shift
        return None if shift < 0 else self.extension >> shift & 0xFFFFFF

    @property
    def audio_level(self) -> tuple[bool, int] | None:
        """Whether there is voice, and the level in -dBov, 0..127 (RFC 6464)."""
        shift = self.layout.audio_level_shift
        if shift < 0:
            return None
        octet = self.extension >> shift & 0xFF
        return octet >= 0x80, octet & 0x7F

    def _text(self, where: tuple[int, int] | None) -> bytes | None:
        if where is None:
            return None
        shift, bits = where
        return (self.extension >> shift & (1 << bits) - 1).to_bytes(bits // 8, "big")


def is_rtcp(data: Octets) -> bool:
    """Say whether a packet of the RTP range is RTCP (RFC 5761 §4: second octet 192..223)."""
    return len(data) >= 2 and 192 <= data[1] <= 223


def parse(data: Octets, extensions: ExtensionMap, now: float) -> RtpPacket | None:
    """Read one decrypted RTP packet.

    Args:
        data: The packet. It is kept, not copied: it must not change afterwards.
        extensions: What the sender's leg negotiated.
        now: When it arrived, seconds.

    Returns:
        The packet, or None if this is not RTP: shorter than a header, longer than
        `MAX_PACKET_BYTES`, version not 2, RTCP, or CSRCs, extension
        or padding longer than the packet.
    """
    size = len(data)
    if not 12 <= size <= MAX_PACKET_BYTES:
        return None
    first, second, number, timestamp, ssrc = _FIXED(data)
    if first & 0xC0 != 0x80 or 192 <= second <= 223:
        return None
    packet = RtpPacket()
    at = 12 + ((first & 0x0F) << 2)
    if first & 0x10:
        start = at + 4
        if start > size:
            return None
        word: int = _WORD(data, at)[0]
        at = start + ((word & 0xFFFF) << 2)
        if at > size:
            return None
        packet.extension = block = int.from_bytes(data[start:at], "big")
        packet.layout = extensions.layout(word, block)
    else:
        packet.extension = 0
        packet.layout = NO_EXTENSIONS
    end = size
    if first & 0x20:
        end -= data[-1]
        if end == size:
            return None
    if at > end:
        return None
    packet.data = data
    packet.arrived_at = now
    packet.marker = second & 0x80
    packet.payload_type = second & 0x7F
    packet.sequence_number = number
    packet.timestamp = timestamp
    packet.ssrc = ssrc
    packet.payload_at = at
    packet.payload_end = end
    packet.index = -1
    return packet
