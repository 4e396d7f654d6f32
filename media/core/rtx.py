# SPDX-License-Identifier: Apache-2.0
"""Retransmission streams (RFC 4588): read from a sender, written to a receiver.

A retransmission has its own SSRC, payload type and sequence numbers, and two octets with the original
sequence number (OSN) before the payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.rewrite import put_header
from media.core.serial import MASK_16

if TYPE_CHECKING:
    from media.core.cache import Sent
    from media.core.extensions import Plan
    from media.core.rtp import RtpPacket


PADDING_BYTES: Final = 255
"""The most that one packet can be padded with (RFC 3550 §5.1)."""


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

    def write_padding(
        self,
        payload_type: int,
        timestamp: int,
        plan: Plan,
        out: bytearray,
        now: float,
        transport_number: int = 0,
    ) -> int:
        """Write a packet of padding alone, for probing a link as browsers do; return its size.

        Args:
            payload_type: Any of the receiver's retransmission types.
            timestamp: Of the stream that this one repairs, as last written.
            plan: For packets that have no extensions of their own.
            out: Scratch.
            now: Seconds.
            transport_number: Of its own.
        """
        number = self._next
        self._next = (number + 1) & MASK_16
        at = put_header(
            out, payload_type, number, timestamp, self.ssrc, 0, plan, now, transport_number
        )
        out[0] |= 0x20
        end = at + PADDING_BYTES
        out[at : end - 1] = bytes(PADDING_BYTES - 1)
        out[end - 1] = PADDING_BYTES
        self.packet_count += 1
        return end
