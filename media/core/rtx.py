# SPDX-License-Identifier: Apache-2.0
"""Retransmission streams (RFC 4588): read from a sender, written to a receiver.

A retransmission has its own SSRC, payload type and sequence numbers, and two octets with the original
sequence number (OSN) before the payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from media.core.rewrite import put_header
from media.core.serial import MASK_16

if TYPE_CHECKING:
    from media.core.cache import Sent
    from media.core.rtp import RtpPacket


def restore(packet: RtpPacket, ssrc: int, payload_type: int) -> bool:
    """Turn a retransmission into the packet that it repeats, in place.

    Args:
        packet: As received on the retransmission stream.
        ssrc: Of the stream that it repairs.
        payload_type: Of the codec that its own payload type is associated with (`apt`).

    Returns:
        False, and nothing changed, if there is no packet inside: browsers probe a link with padding
        on this stream.
    """
    at = packet.payload_at
    if packet.payload_end - at < 2:
        return False
    packet.sequence_number = packet.data[at] << 8 | packet.data[at + 1]
    packet.payload_at = at + 2
    packet.ssrc = ssrc
    packet.payload_type = payload_type
    return True


class RtxWriter:
    """The retransmission stream of one outgoing stream."""

    __slots__ = ("_next", "octet_count", "packet_count", "ssrc")

    def __init__(self, ssrc: int, number: int) -> None:
        """Start with this (random) sequence number."""
        self.ssrc = ssrc
        self._next = number & MASK_16
        self.packet_count = 0
        self.octet_count = 0

    def write(
        self, sent: Sent, payload_type: int, out: bytearray, now: float, transport_number: int = 0
    ) -> int:
        """Write a packet again as retransmission; return its size.

        Args:
            sent: From the cache.
            payload_type: The receiver's retransmission type for this codec.
            out: Scratch of `SCRATCH_BYTES`.
            now: Seconds.
            transport_number: A transport-wide number of its own: it is a packet of its own.
        """
        packet = sent.packet
        number = self._next
        self._next = (number + 1) & MASK_16
        at = put_header(
            out, packet.marker | payload_type, number, sent.timestamp, self.ssrc,
            packet.extension, sent.plan, now, transport_number,
        )  # fmt: skip
        out[at] = sent.number >> 8
        out[at + 1] = sent.number & 0xFF
        payload = packet.data[packet.payload_at : packet.payload_end]
        end = at + 2 + len(payload)
        out[at + 2 : end] = payload
        self.packet_count += 1
        self.octet_count += len(payload) + 2
        return end
