# SPDX-License-Identifier: Apache-2.0
"""RTCP as it is read: compound packets to typed parts (RFC 3550 §6, RFC 4585, RFC 5104, REMB).

Tolerant and bounded: a malformed part ends the reading and what came before it counts; unknown types
are passed over; nothing raises, and one datagram yields at most `MAX_PARTS` parts. RTCP is decrypted
and authenticated before it comes here. Writing is in `media.core.rtcp_write`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from media.core.transport_cc import MAX_STATUSES, TransportFeedback, parse_feedback

Octets: TypeAlias = bytes | bytearray

SR, RR, SDES, BYE = 200, 201, 202, 203
RTPFB, PSFB = 205, 206
"""Packet types (RFC 3550 §12.1, RFC 4585 §6.1)."""
FMT_NACK, FMT_TRANSPORT_CC = 1, 15
FMT_PLI, FMT_FIR, FMT_ALFB = 1, 4, 15
"""Feedback formats (RFC 4585 §6.2.1, §6.3; RFC 5104 §4.3.1)."""

MAX_PARTS: Final = 32
MAX_NUMBERS: Final = 1_024
"""Sequence numbers taken from the NACKs of one datagram: more than any cache here holds."""
MAX_CLAIMED: Final = MAX_STATUSES
"""Packets that all transport-wide feedback of one datagram may speak of. 22 octets can claim 2,048, so a datagram full of
them would cost as much as two hundred packets of media (measured: 2.8 ms)."""
MAX_SSRCS: Final = 31
"""What the 5-bit counts of RFC 3550 allow; applied to REMB and FIR as well."""

_WORD = struct.Struct("!I").unpack_from
_PAIR = struct.Struct("!II").unpack_from
_SENDER = struct.Struct("!QIII").unpack_from
_BLOCK = struct.Struct("!IIIIII").unpack_from
_NACK = struct.Struct("!HH").unpack_from


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one stream (RFC 3550 §6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    cumulative_lost: int
    """Signed 24 bits: duplicates make it negative."""
    highest: int
    """Extended highest sequence number, 32 bits."""
    jitter: int
    """In ticks of the stream's clock."""
    last_sr: int
    """Middle 32 bits of the NTP timestamp of the last sender report; 0 for none."""
    delay_since_last_sr: int
    """In units of 1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR (RFC 3550 §6.4.1)."""

    ssrc: int
    ntp: int
    """64 bits, 32.32 fixed-point seconds."""
    timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR (RFC 3550 §6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class Bye:
    """BYE (RFC 3550 §6.6)."""

    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """The CNAME item of an SDES chunk (RFC 3550 §6.5.1)."""

    ssrc: int
    cname: bytes


@dataclass(frozen=True, slots=True)
class Nack:
    """Generic NACK (RFC 4585 §6.2.1)."""

    sender_ssrc: int
    media_ssrc: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyFrameRequest:
    """PLI (RFC 4585 §6.3.1) or one entry of a FIR (RFC 5104 §4.3.1): both ask for a key frame."""

    sender_ssrc: int
    media_ssrc: int


@dataclass(frozen=True, slots=True)
class Remb:
    """Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2)."""

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]


RtcpPart: TypeAlias = (
    SenderReport
    | ReceiverReport
    | Bye
    | SourceDescription
    | Nack
    | KeyFrameRequest
    | Remb
    | TransportFeedback
)


def ntp_from_seconds(seconds: float) -> int:
    """Return a 64-bit NTP timestamp; any origin will do, only differences are used."""
    return int(seconds * 4294967296.0) & 0xFFFFFFFFFFFFFFFF


def seconds_from_ntp(ntp: int) -> float:
    """Return the seconds of a 64-bit NTP timestamp, exact to half a microsecond."""
    return ntp / 4294967296.0


def compact_ntp(ntp: int) -> int:
    """Return the middle 32 bits, as report blocks carry them."""
    return ntp >> 16 & 0xFFFFFFFF


def parse(data: Octets) -> list[RtcpPart]:
    """Read a compound or reduced-size (RFC 5506) RTCP packet; what can't be read is left out."""
    parts: list[RtcpPart] = []
    at = claimed = 0
    size = len(data)
    while at + 4 <= size and len(parts) < MAX_PARTS:
        word: int = _WORD(data, at)[0]
        end = at + 4 + ((word & 0xFFFF) << 2)
        if word >> 30 != 2 or end > size:
            break
        body_end = end
        if word & 0x20000000:  # padding, RFC 3550 §6.4.1
            padding = data[end - 1]
            if not padding or at + 4 + padding > end:
                break
            body_end -= padding
        count = word >> 24 & 31
        if word >> 16 & 0xFF == RTPFB and count == FMT_TRANSPORT_CC and at + 16 <= end:
            claimed += _NACK(data, at + 12)[1]
            if claimed > MAX_CLAIMED:
                break
        _part(data, at + 4, body_end, count, word >> 16 & 0xFF, parts)
        at = end
    del parts[MAX_PARTS:]
    return parts


def _part(data: Octets, at: int, end: int, count: int, kind: int, parts: list[RtcpPart]) -> None:
    if kind == BYE:
        room = min(count, (end - at) // 4)
        parts.append(Bye(tuple(_WORD(data, at + 4 * i)[0] for i in range(room))))
    elif kind == SDES:
        _descriptions(data, at, end, count, parts)
    elif at + 4 > end:
        return
    elif kind == SR:
        if at + 24 <= end:
            ntp, timestamp, packets, octets = _SENDER(data, at + 4)
            reports = _blocks(data, at + 24, end, count)
            ssrc = _WORD(data, at)[0]
            parts.append(SenderReport(ssrc, ntp, timestamp, packets, octets, reports))
    elif kind == RR:
        parts.append(ReceiverReport(_WORD(data, at)[0], _blocks(data, at + 4, end, count)))
    elif kind in {RTPFB, PSFB} and at + 8 <= end:
        sender, media = _PAIR(data, at)
        if kind == RTPFB:
            _transport_feedback(data, at + 8, end, count, sender, media, parts)
        else:
            _payload_feedback(data, at + 8, end, count, sender, media, parts)


def _blocks(data: Octets, at: int, end: int, count: int) -> tuple[ReportBlock, ...]:
    blocks: list[ReportBlock] = []
    for _ in range(min(count, (end - at) // 24)):
        ssrc, lost, highest, jitter, last_sr, delay = _BLOCK(data, at)
        cumulative = lost & 0xFFFFFF
        if cumulative & 0x800000:
            cumulative -= 0x1000000
        blocks.append(ReportBlock(ssrc, lost >> 24, cumulative, highest, jitter, last_sr, delay))
        at += 24
    return tuple(blocks)


def _descriptions(data: Octets, at: int, end: int, count: int, parts: list[RtcpPart]) -> None:
    for _ in range(count):
        if at + 4 > end:
            return
        ssrc = _WORD(data, at)[0]
        start = at = at + 4
        while at < end and data[at]:
            if at + 2 > end or at + 2 + data[at + 1] > end:
                return
            if data[at] == 1:
                parts.append(SourceDescription(ssrc, bytes(data[at + 2 : at + 2 + data[at + 1]])))
            at += 2 + data[at + 1]
        at += 4 - (at - start) % 4  # at least one null ends the list, then up to the boundary


def _transport_feedback(
    data: Octets, at: int, end: int, fmt: int, sender: int, media: int, parts: list[RtcpPart]
) -> None:
    if fmt == FMT_NACK:
        numbers: list[int] = []
        room = MAX_NUMBERS - sum(len(part.numbers) for part in parts if isinstance(part, Nack))
        while at + 4 <= end and len(numbers) < room:
            first, following = _NACK(data, at)
            numbers.append(first)
            numbers += [first + 1 + i & 0xFFFF for i in range(16) if following >> i & 1]
            at += 4
        if room > 0:
            parts.append(Nack(sender, media, tuple(numbers[:room])))
    elif fmt == FMT_TRANSPORT_CC:
        feedback = parse_feedback(data, at, end, sender, media)
        if feedback is not None:
            parts.append(feedback)


def _payload_feedback(
    data: Octets, at: int, end: int, fmt: int, sender: int, media: int, parts: list[RtcpPart]
) -> None:
    if fmt == FMT_PLI:
        parts.append(KeyFrameRequest(sender, media))
    elif fmt == FMT_FIR:
        room = min((end - at) // 8, MAX_SSRCS)
        parts.extend(KeyFrameRequest(sender, _WORD(data, at + 8 * i)[0]) for i in range(room))
    elif fmt == FMT_ALFB and at + 8 <= end and data[at : at + 4] == b"REMB":
        word: int = _WORD(data, at + 4)[0]
        count = min(word >> 24, (end - at - 8) // 4, MAX_SSRCS)
        ssrcs = tuple(_WORD(data, at + 8 + 4 * i)[0] for i in range(count))
        parts.append(Remb(sender, (word & 0x3FFFF) << (word >> 18 & 0x3F), ssrcs))
