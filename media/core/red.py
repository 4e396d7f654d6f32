# SPDX-License-Identifier: Apache-2.0
"""Redundant audio (RED, RFC 2198): read from a browser, written for one.

A retransmission costs a round trip; a copy that travels with a later frame costs bytes. Chromium
plays redundancy at any distance that fits the 14-bit offset (measured).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from media.core.rtp import RtpPacket

if TYPE_CHECKING:
    from media.core.rtp import Octets

MAX_OFFSET: Final = (1 << 14) - 1
"""Timestamp offset of a redundant block, ticks: 341 ms at 48 kHz."""
MAX_LENGTH: Final = (1 << 10) - 1
"""Octets of a redundant block."""
MAX_BLOCKS: Final = 8
"""Redundant blocks read from one packet; Chromium sends one, at most nine."""
MAX_DISTANCE: Final = 17
"""Frames kept for writing: of 20 ms, as many as the offset reaches."""
MAX_LATE: Final = 4
"""Frames that came too late for a packet of their own and travel with one packet: more would be a burst."""
MIN_FRAME_BYTES: Final = 3
"""A shorter Opus frame is DTX or empty (RFC 6716 §3.1); repeating silence is of no use."""


class Block(NamedTuple):
    """One redundant block of a packet."""

    payload_type: int
    offset: int
    """Ticks before the packet's timestamp."""
    start: int
    end: int


def read(packet: RtpPacket) -> list[Block] | None:
    """Take a RED packet apart, in place: it becomes a packet of its primary block.

    Returns:
        The redundant blocks, oldest first as on the wire; None, and the packet unchanged, if it is
        malformed.
    """
    data, at, end = packet.data, packet.payload_at, packet.payload_end
    heads: list[tuple[int, int, int]] = []
    while True:
        if at >= end:
            return None
        octet = data[at]
        if not octet & 0x80:
            break
        if at + 4 > end or len(heads) == MAX_BLOCKS:
            return None
        word = int.from_bytes(data[at + 1 : at + 4], "big")
        heads.append((octet & 0x7F, word >> 10, word & MAX_LENGTH))
        at += 4
    start = at + 1
    blocks: list[Block] = []
    for payload_type, offset, length in heads:
        blocks.append(Block(payload_type, offset, start, start + length))
        start += length
    if start > end:
        return None
    packet.payload_type = octet
    packet.payload_at = start
    return blocks


def recover(packet: RtpPacket, blocks: list[Block], frame_ticks: int) -> list[RtpPacket]:
    """Return the earlier packets that a packet carries, oldest first.

    Args:
        packet: After `read`, with its index set.
        blocks: From `read`.
        frame_ticks: Timestamp distance of consecutive packets as far as it is known; 0 if not.

    Returns:
        Packets with the index that they must have had: as many frames back as their offset says, or
        by their place if the frame length is unknown or has changed. Whoever holds the stream drops
        those that it has.
    """
    recovered: list[RtpPacket] = []
    count = len(blocks)
    for place, block in enumerate(blocks):
        if block.end == block.start or not block.offset:
            continue
        if frame_ticks > 0 and block.offset % frame_ticks == 0:
            back = block.offset // frame_ticks
        else:
            back = count - place
        if packet.index < back:
            continue
        earlier = RtpPacket()
        earlier.data = packet.data
        earlier.arrived_at = packet.arrived_at
        earlier.marker = 0
        earlier.payload_type = block.payload_type
        earlier.index = packet.index - back
        earlier.sequence_number = earlier.index & 0xFFFF
        earlier.timestamp = (packet.timestamp - block.offset) & 0xFFFFFFFF
        earlier.ssrc = packet.ssrc
        earlier.payload_at = block.start
        earlier.payload_end = block.end
        earlier.extension = packet.extension
        earlier.layout = packet.layout
        recovered.append(earlier)
    return recovered


class RedWriter:
    """Writes the payload of one outgoing voice stream as RED."""

    __slots__ = ("_history", "_late", "distances", "max_bytes")

    distances: tuple[int, ...]
    """How many frames back the copies are, ascending; may be changed at any packet."""
    max_bytes: int
    """Payload at most; the furthest copies that do not fit are left out first."""

    def __init__(self, distances: tuple[int, ...] = (), max_bytes: int = 1_000) -> None:
        self.distances = distances
        self.max_bytes = max_bytes
        # Timestamp, payload type, data, start, end; newest first. Slices of shared packets.
        self._history: deque[tuple[int, int, Octets, int, int]] = deque(maxlen=MAX_DISTANCE)
        self._late: list[tuple[int, int, Octets, int, int]] = []

    @property
    def wanted(self) -> bool:
        """Whether the next packet has something beside its own frame."""
        return bool(self.distances or self._late)

    def take_late(self, packet: RtpPacket, payload_type: int, timestamp: int) -> None:
        """Send a frame with the next packet whose own packet's place in the stream is gone."""
        if len(self._late) < MAX_LATE:
            self._late.append(
                (timestamp, payload_type, packet.data, packet.payload_at, packet.payload_end)
            )

    def remember(self, packet: RtpPacket, payload_type: int, timestamp: int) -> None:
        """Keep a frame that was sent, for copies in later packets."""
        self._history.appendleft(
            (timestamp, payload_type, packet.data, packet.payload_at, packet.payload_end)
        )

    def write(
        self, packet: RtpPacket, payload_type: int, timestamp: int, out: bytearray, at: int
    ) -> int:
        """Write the packet's payload with its copies as RED into `out`; return where it ends.

        Args:
            packet: Plain (after `read`, if it came as RED).
            payload_type: The receiver's type of the codec inside.
            timestamp: As written into the header.
            out: Scratch.
            at: Where the payload begins.
        """
        primary = packet.data[packet.payload_at : packet.payload_end]
        left = self.max_bytes - len(primary) - 1
        history = self._history
        chosen = [history[each - 1] for each in self.distances if each <= len(history)]
        if self._late:
            chosen += sorted(self._late, key=lambda frame: (timestamp - frame[0]) & 0xFFFFFFFF)
            self._late.clear()
        heads: Octets = b""
        copies: Octets = b""
        for old_timestamp, old_type, octets, first, last in chosen:
            offset = (timestamp - old_timestamp) & 0xFFFFFFFF
            length = last - first
            if offset > MAX_OFFSET or length > MAX_LENGTH or length + 4 > left:
                continue
            if offset and length >= MIN_FRAME_BYTES:
                word = (0x80 | old_type) << 24 | offset << 10 | length
                heads = word.to_bytes(4, "big") + heads
                copies = octets[first:last] + copies
                left -= length + 4
        payload = b"".join((heads, payload_type.to_bytes(1, "big"), copies, primary))
        end = at + len(payload)
        out[at:end] = payload
        self.remember(packet, payload_type, timestamp)
        return end
