# SPDX-License-Identifier: Apache-2.0
"""RTCP as it is written (RFC 3550 §6, RFC 4585 §6, draft-alvestrand-rmcat-remb-03 §2.2).

Each function returns one RTCP packet; a compound one is their concatenation, with a report first and
an SDES CNAME in it unless reduced size was negotiated (RFC 5506).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from media.core.rtcp import BYE, FMT_ALFB, FMT_NACK, FMT_PLI, PSFB, RR, RTPFB, SDES, SR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from media.core.rtcp import ReportBlock, SenderReport

MAX_BLOCKS: Final = 31
"""What the 5-bit count holds."""
MAX_NACK_PAIRS: Final = 253
"""A datagram of 1,024 octets."""

_HEAD = struct.Struct("!BBHI").pack
_FEEDBACK = struct.Struct("!BBHII").pack
_SENDER = struct.Struct("!QIII").pack
_BLOCK = struct.Struct("!IIIIII").pack


def receiver_report(ssrc: int, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """Return an RR; blocks beyond 31 are left out."""
    blocks = blocks[:MAX_BLOCKS]
    head = _HEAD(0x80 | len(blocks), RR, 1 + 6 * len(blocks), ssrc)
    return head + b"".join(map(_block, blocks))


def sender_report(report: SenderReport, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """Return an SR with these report blocks (instead of those in `report`)."""
    blocks = blocks[:MAX_BLOCKS]
    head = _HEAD(0x80 | len(blocks), SR, 6 + 6 * len(blocks), report.ssrc)
    info = _SENDER(report.ntp, report.timestamp, report.packet_count, report.octet_count)
    return head + info + b"".join(map(_block, blocks))


def source_description(ssrc: int, cname: bytes) -> bytes:
    """Return an SDES with a CNAME, cut to 255 octets."""
    item = b"\x01" + bytes((len(cname[:255]),)) + cname[:255]
    item += bytes(4 - len(item) % 4)
    return _HEAD(0x81, SDES, 1 + len(item) // 4, ssrc) + item


def bye(ssrcs: Sequence[int]) -> bytes:
    """Return a BYE of up to 31 streams."""
    ssrcs = ssrcs[:MAX_BLOCKS]
    head = struct.pack("!BBH", 0x80 | len(ssrcs), BYE, len(ssrcs))
    return head + struct.pack(f"!{len(ssrcs)}I", *ssrcs)


def nack(sender_ssrc: int, media_ssrc: int, numbers: Iterable[int]) -> bytes:
    """Return a generic NACK.

    Args:
        sender_ssrc: Ours.
        media_ssrc: Of the stream.
        numbers: Missing sequence numbers, ascending modulo 2**16; at least one. What does not fit
            into `MAX_NACK_PAIRS` is left out.
    """
    pairs: list[tuple[int, int]] = []
    for number in numbers:
        if pairs:
            first, following = pairs[-1]
            ahead = (number - first) & 0xFFFF
            if ahead == 0:
                continue
            if ahead <= 16:
                pairs[-1] = (first, following | 1 << (ahead - 1))
                continue
        if len(pairs) == MAX_NACK_PAIRS:
            break
        pairs.append((number, 0))
    head = _FEEDBACK(0x80 | FMT_NACK, RTPFB, 2 + len(pairs), sender_ssrc, media_ssrc)
    return head + b"".join(struct.pack("!HH", *pair) for pair in pairs)


def picture_loss(sender_ssrc: int, media_ssrc: int) -> bytes:
    """Return a PLI: please send a key frame."""
    return _FEEDBACK(0x80 | FMT_PLI, PSFB, 2, sender_ssrc, media_ssrc)


def remb(sender_ssrc: int, bitrate_bps: int, ssrcs: Sequence[int]) -> bytes:
    """Return a REMB: send no more than this in these streams together.

    The rate is rounded down to 18 bits of mantissa.
    """
    exponent = max(0, bitrate_bps.bit_length() - 18)
    ssrcs = ssrcs[:MAX_BLOCKS]
    word = len(ssrcs) << 24 | exponent << 18 | bitrate_bps >> exponent
    head = _FEEDBACK(0x80 | FMT_ALFB, PSFB, 4 + len(ssrcs), sender_ssrc, 0)
    return head + b"REMB" + struct.pack(f"!I{len(ssrcs)}I", word, *ssrcs)


def _block(block: ReportBlock) -> bytes:
    lost = max(-0x800000, min(0x7FFFFF, block.cumulative_lost)) & 0xFFFFFF
    return _BLOCK(
        block.ssrc,
        (block.fraction_lost & 0xFF) << 24 | lost,
        block.highest & 0xFFFFFFFF,
        min(block.jitter, 0xFFFFFFFF),
        block.last_sr,
        min(block.delay_since_last_sr, 0xFFFFFFFF),
    )
