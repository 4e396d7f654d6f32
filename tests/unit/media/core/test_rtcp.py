# SPDX-License-Identifier: Apache-2.0
"""RTCP read and written, against aiortc as a second opinion."""

import struct
from typing import Any

import aiortc.rtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core import rtcp_write as write
from media.core.rtcp import (
    MAX_NUMBERS,
    MAX_PARTS,
    Bye,
    KeyFrameRequest,
    Nack,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
    compact_ntp,
    ntp_from_seconds,
    parse,
    seconds_from_ntp,
)

U32 = st.integers(0, 2**32 - 1)
BLOCKS = st.builds(
    ReportBlock, ssrc=U32, fraction_lost=st.integers(0, 255),
    cumulative_lost=st.integers(-(2**23), 2**23 - 1), highest=U32, jitter=U32, last_sr=U32,
    delay_since_last_sr=U32,
)  # fmt: skip
SENDERS = st.builds(
    SenderReport, ssrc=U32, ntp=st.integers(0, 2**64 - 1), timestamp=U32, packet_count=U32,
    octet_count=U32, reports=st.just(()),
)  # fmt: skip


def theirs(data: bytes) -> Any:
    """Return aiortc's reading of one packet."""
    (packet,) = aiortc.rtp.RtcpPacket.parse(data)
    return packet


@given(U32, st.lists(BLOCKS, max_size=31))
def test_receiver_reports(ssrc: int, blocks: list[ReportBlock]) -> None:
    """What is written is read back, and aiortc reads the same."""
    data = write.receiver_report(ssrc, blocks)
    assert parse(data) == [ReceiverReport(ssrc, tuple(blocks))]
    report = theirs(data)
    assert [r.packets_lost for r in report.reports] == [b.cumulative_lost for b in blocks]
    assert [r.dlsr for r in report.reports] == [b.delay_since_last_sr for b in blocks]


@given(SENDERS, st.lists(BLOCKS, max_size=31))
def test_sender_reports(report: SenderReport, blocks: list[ReportBlock]) -> None:
    """The same for sender reports."""
    data = write.sender_report(report, blocks)
    (back,) = parse(data)
    assert isinstance(back, SenderReport)
    assert back.reports == tuple(blocks)
    assert (back.ntp, back.timestamp) == (report.ntp, report.timestamp)
    assert (back.packet_count, back.octet_count) == (report.packet_count, report.octet_count)
    assert theirs(data).sender_info.ntp_timestamp == report.ntp


@given(U32, st.binary(min_size=1, max_size=300))
def test_source_descriptions(ssrc: int, cname: bytes) -> None:
    """A CNAME of any length keeps the 32-bit boundary and at least one null."""
    data = write.source_description(ssrc, cname)
    assert len(data) % 4 == 0
    assert parse(data) == [SourceDescription(ssrc, cname[:255])]
    assert theirs(data).chunks[0].items[0] == (1, cname[:255])


def test_several_chunks_and_items() -> None:
    """Of several chunks with several items the CNAMEs are taken."""
    one = struct.pack("!I", 1) + b"\x02\x03abc\x01\x02hi\x00"
    two = struct.pack("!I", 2) + b"\x01\x01x\x00"
    three = struct.pack("!I", 3) + b"\x01\x02yz\x00\x00\x00\x00"
    body = one + bytes(-len(one) % 4) + two + bytes(-len(two) % 4) + three
    data = struct.pack("!BBH", 0x83, 202, len(body) // 4) + body
    assert parse(data) == [
        SourceDescription(1, b"hi"), SourceDescription(2, b"x"), SourceDescription(3, b"yz"),
    ]  # fmt: skip


@given(st.lists(U32, max_size=31))
def test_byes(ssrcs: list[int]) -> None:
    """BYE of up to 31 streams."""
    assert parse(write.bye(ssrcs)) == [Bye(tuple(ssrcs))]
    assert theirs(write.bye(ssrcs)).sources == ssrcs


@given(U32, U32, st.integers(0, 65535), st.sets(st.integers(0, 400), min_size=1, max_size=60))
def test_nacks(sender: int, media: int, base: int, ahead: set[int]) -> None:
    """Any ascending numbers are packed and read back, over the wrap as well."""
    numbers = [base + step & 0xFFFF for step in sorted(ahead)]
    data = write.nack(sender, media, numbers)
    assert parse(data) == [Nack(sender, media, tuple(numbers))]
    assert [
        number & 0xFFFF for number in theirs(data).lost
    ] == numbers  # aiortc counts on over the wrap


def test_a_nack_is_packed_tightly() -> None:
    """Seventeen consecutive numbers are one pair: sixteen octets in all."""
    assert len(write.nack(1, 2, range(65530, 65530 + 17))) == 16
    assert write.nack(1, 2, [5]) == bytes.fromhex("81cd0003000000010000000200050000")


def test_a_nack_is_bounded() -> None:
    """However much is asked for, our datagram stays under 1,100 octets; what we read is bounded too."""
    data = write.nack(1, 2, range(0, 65535, 20))
    assert len(data) == 12 + 4 * 253
    flood = struct.pack("!BBHII", 0x81, 205, 2 + 300, 1, 2) + struct.pack("!HH", 7, 0xFFFF) * 300
    (nack,) = parse(flood)
    assert isinstance(nack, Nack)
    assert len(nack.numbers) == MAX_NUMBERS


def test_picture_loss() -> None:
    """A PLI is twelve octets, byte for byte."""
    data = write.picture_loss(0x01020304, 0x0A0B0C0D)
    assert data == bytes.fromhex("81ce0002010203040a0b0c0d")
    assert parse(data) == [KeyFrameRequest(0x01020304, 0x0A0B0C0D)]


def test_full_intra_request() -> None:
    """Each entry of a FIR is a request for its stream; the media SSRC of the header is unused."""
    data = struct.pack("!BBHII", 0x84, 206, 6, 1, 0) + struct.pack("!IIII", 7, 1 << 24, 8, 2 << 24)
    assert parse(data) == [KeyFrameRequest(1, 7), KeyFrameRequest(1, 8)]


@pytest.mark.parametrize(
    ("bitrate", "written"),
    [
        (0, 0),
        (262_143, 262_143),
        (262_144, 262_144),
        (300_001, 300_000),
        (5_000_000, 4_999_936 + 64),
    ],
)
def test_remb(bitrate: int, written: int) -> None:
    """The rate keeps 18 bits, rounded down; aiortc reads the same."""
    data = write.remb(1, bitrate, [2, 3])
    (remb,) = parse(data)
    assert isinstance(remb, Remb)
    assert remb.ssrcs == (2, 3)
    assert bitrate - 64 < remb.bitrate_bps <= bitrate
    assert remb.bitrate_bps == written
    fci = theirs(data).fci
    assert aiortc.rtp.unpack_remb_fci(fci) == (written, [2, 3])


def test_compound_with_padding_and_unknown_types() -> None:
    """Types that are unknown are passed over; padding of the last packet is outside its body."""
    unknown = struct.pack("!BBHI", 0x80, 207, 1, 9)
    pli = write.picture_loss(1, 2)
    padded = bytes((pli[0] | 0x20,)) + pli[1:3] + b"\x03" + pli[4:] + b"\0\0\0\x04"
    data = write.receiver_report(5) + unknown + padded
    assert parse(data) == [ReceiverReport(5), KeyFrameRequest(1, 2)]


def test_what_came_before_damage_counts() -> None:
    """A broken part ends the reading; the parts before it are kept."""
    good = write.receiver_report(5)
    for damage in (b"\x80\xc9\x00\x09", b"\x40\xc9\x00\x01\0\0\0\0", b"\xa0\xc9\x00\x01\0\0\0\x00"):
        assert parse(good + damage) == [ReceiverReport(5)]
    assert parse(struct.pack("!BBHI", 0x9F, 201, 1, 5)) == [ReceiverReport(5)]


def test_parts_are_bounded() -> None:
    """One datagram yields at most 32 parts."""
    assert len(parse(write.receiver_report(1) * 200)) == MAX_PARTS
    chunks = struct.pack("!BBH", 0x81, 202, 200) + b"\0\0\0\1" + b"\x01\x02ab" * 199
    assert len(parse(chunks)) <= MAX_PARTS


def test_what_one_datagram_asks_for_is_bounded() -> None:
    """Many NACKs are one's worth of numbers, many feedbacks one's worth of statuses, sound or broken; what is left is read."""
    asked = struct.pack("!BBHII", 0x81, 205, 63, 1, 2) + struct.pack("!HH", 5, 0xFFFF) * 61
    numbers = [len(part.numbers) for part in parse(asked * 5) if isinstance(part, Nack)]
    assert sum(numbers) == MAX_NUMBERS
    head = struct.pack("!BBHII", 0x8F, 205, 5, 1, 2) + struct.pack("!HHI", 0, 1_000, 0)
    sound, broken = head + struct.pack("!HH", 1_000, 0), head + struct.pack("!HH", 999, 0x6001)
    assert len(parse(sound * 32)) == 2
    assert not parse(broken * 2 + sound * 30)
    assert len(parse(broken + sound)) == 1


def test_ntp() -> None:
    """The compact form is the middle of the 64 bits."""
    assert compact_ntp(0x1122334455667788) == 0x33445566
    assert ntp_from_seconds(1.5) == 3 << 31
    assert seconds_from_ntp(ntp_from_seconds(1234.625)) == 1234.625


@given(st.binary(max_size=200), st.integers(192, 223), st.integers(0, 31))
def test_never_raises(body: bytes, kind: int, count: int) -> None:
    """Whatever follows a header of any type, reading ends."""
    body += bytes(-len(body) % 4)
    parse(body)
    for first in (0x80, 0xA0):
        data = struct.pack("!BBH", first | count, kind, len(body) // 4) + body
        assert len(parse(data)) <= MAX_PARTS
        for cut in (1, 3, 5):
            parse(data[:-cut])
