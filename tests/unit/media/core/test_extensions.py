# SPDX-License-Identifier: Apache-2.0
"""Header extensions: found, kept, renamed, added."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.extensions import (
    ABS_SEND_TIME,
    AUDIO_LEVEL,
    MAX_LAYOUTS_PER_LENGTH,
    MAX_LENGTHS,
    TRANSPORT_CC,
    ExtensionMap,
    ExtensionWriter,
)
from media.core.rewrite import put_header
from media.core.rtp import RtpPacket, parse
from tests.support.rtp_packets import IDS, element, extension_block, parsed, rtp

ROTATION = "urn:3gpp:video-orientation"
ALL = extension_block(
    element(1, b"0"), element(2, b"\x12\x34\x56"), element(3, b"\xfe\xdc"), element(4, b"\x9e"),
    element(5, b"hi"), element(6, b"lo"), element(7, b"\x01"),
)  # fmt: skip


def test_every_known_extension_is_found() -> None:
    """Texts, numbers and the voice level are read by identifier."""
    packet = parsed(rtp(extension=ALL))
    assert (packet.mid, packet.rid, packet.repaired_rid) == (b"0", b"hi", b"lo")
    assert packet.abs_send_time == 0x123456
    assert packet.transport_number == 0xFEDC
    assert packet.audio_level == (True, 0x1E)


def test_absent_extensions_are_none() -> None:
    """A packet without extensions answers None to every question."""
    packet = parsed(rtp())
    assert packet.mid is packet.rid is packet.repaired_rid is None
    assert packet.abs_send_time is packet.transport_number is packet.audio_level is None


def test_two_byte_form() -> None:
    """The two-byte form of RFC 8285 §4.3 is read too, with empty and long elements."""
    body = b"\x01\x20" + b"m" * 32 + b"\x00" + b"\x09\x00" + b"\x03\x02\x00\x07"
    packet = parsed(rtp(extension=extension_block(body, profile=0x1000)))
    assert packet.mid == b"m" * 32
    assert packet.transport_number == 7


def test_nothing_counts_after_the_stop_identifier() -> None:
    """Identifier 15 ends the reading (RFC 8285 §4.2), and so does an element that is too long."""
    packet = parsed(
        rtp(extension=extension_block(element(3, b"\0\1"), b"\xf0\x00", element(1, b"0")))
    )
    assert packet.transport_number == 1
    assert packet.mid is None
    assert parsed(rtp(extension=extension_block(b"\x1f\x30\x00\x00"))).mid is None


def test_a_number_of_the_wrong_size_is_ignored() -> None:
    """A transport-wide number of three octets is none."""
    packet = parsed(rtp(extension=extension_block(element(3, b"abc"))))
    assert packet.transport_number is None


def test_foreign_profiles_are_opaque() -> None:
    """A block that is not RFC 8285 hides nothing but itself."""
    packet = parsed(rtp(extension=extension_block(b"\x10\x30\x00\x00", profile=0xABCD)))
    assert packet.mid is None
    assert packet.payload == b"payload"


def test_layouts_that_alternate_are_both_remembered() -> None:
    """Two shapes of the same length are told apart by their identifiers."""
    extensions = ExtensionMap(IDS)
    one = rtp(extension=extension_block(element(1, b"x"), element(4, b"\x01")))
    two = rtp(extension=extension_block(element(4, b"\x02"), element(1, b"y")))
    seen = [parsed(data, extensions=extensions) for data in (one, two, one, two)]
    assert [packet.mid for packet in seen] == [b"x", b"y", b"x", b"y"]
    assert seen[0].layout is seen[2].layout
    assert seen[1].layout is seen[3].layout


def test_memory_of_layouts_is_bounded() -> None:
    """A peer that sends ever new shapes makes us remember a few dozen at most."""
    extensions = ExtensionMap(IDS)
    writer = ExtensionWriter(extensions, IDS)
    for number in range(3_000):
        body = bytes((number % 14 + 1 << 4,)) + b"\0" + bytes(4 * (number % 40))
        body += bytes((number // 14 % 14 + 1 << 4, 0))
        packet = parsed(rtp(extension=extension_block(body)), extensions=extensions)
        writer.plan(packet.layout)
    layouts = extensions._layouts
    assert len(layouts) <= MAX_LENGTHS
    assert max(map(len, layouts.values())) <= MAX_LAYOUTS_PER_LENGTH
    assert len(writer._plans) <= MAX_LENGTHS * MAX_LAYOUTS_PER_LENGTH


def rewritten(
    data: bytes, target: dict[str, int], source: dict[str, int] = IDS, mid: bytes | None = None,
    now: float = 1.0, transport_number: int = 0xBEEF,
) -> RtpPacket:  # fmt: skip
    """Return a packet as another leg reads it."""
    extensions = ExtensionMap(source)
    packet = parsed(data, extensions=extensions)
    plan = ExtensionWriter(extensions, target, mid).plan(packet.layout)
    out = bytearray(2_000)
    at = put_header(out, 96, 1, 2, 3, packet.extension, plan, now, transport_number)
    out[at : at + 3] = b"END"
    result = parse(bytes(out[: at + 3]), ExtensionMap(target), 0.0)
    assert result is not None
    assert result.payload == b"END"
    return result


def test_identifiers_change_and_values_stay() -> None:
    """What both legs know goes over under the receiver's identifier; the hop's numbers are ours."""
    source = {**IDS, ROTATION: 7}
    target = {ROTATION: 1, AUDIO_LEVEL: 9, TRANSPORT_CC: 13, ABS_SEND_TIME: 14}
    packet = rewritten(rtp(extension=ALL), target, source, now=63.5)
    found = {number: packet.extension >> shift & (1 << bits) - 1
             for number, shift, bits in packet.layout.elements}  # fmt: skip
    assert found == {1: 1, 9: 0x9E, 13: 0xBEEF, 14: int(63.5 * 2**18)}


def test_the_clock_of_the_hop_wraps_at_64_seconds() -> None:
    """abs-send-time is 24 bits of 6.18 fixed point."""
    packet = rewritten(rtp(extension=ALL), {ABS_SEND_TIME: 2}, now=64.25)
    assert packet.abs_send_time == 1 << 16


def test_numbers_are_added_where_the_sender_has_none() -> None:
    """A leg that wants transport-wide numbers gets them on packets that came without extensions."""
    for data in (rtp(), rtp(extension=extension_block(element(4, b"\x05")))):
        packet = rewritten(data, {TRANSPORT_CC: 3, ABS_SEND_TIME: 2, AUDIO_LEVEL: 8})
        assert packet.transport_number == 0xBEEF
        assert packet.abs_send_time == 1 << 18
    assert packet.audio_level == (False, 5)


def test_the_mid_is_the_receivers() -> None:
    """A MID of the same length is replaced, another one is dropped; RIDs end at the relay."""
    assert rewritten(rtp(extension=ALL), IDS, mid=b"7").mid == b"7"
    assert rewritten(rtp(extension=ALL), IDS, mid=b"77").mid is None
    assert rewritten(rtp(extension=ALL), IDS).mid is None
    assert rewritten(rtp(extension=ALL), IDS, mid=b"7").rid is None


def test_without_common_extensions_there_is_no_block() -> None:
    """Nothing to say takes no bytes: the extension bit is off."""
    extensions = ExtensionMap(IDS)
    packet = parsed(rtp(extension=ALL), extensions=extensions)
    plan = ExtensionWriter(extensions, {}).plan(packet.layout)
    out = bytearray(64)
    assert put_header(out, 96, 1, 2, 3, packet.extension, plan, 0.0, 0) == 12
    assert out[0] == 0x80


def test_two_byte_blocks_stay_two_byte() -> None:
    """Large identifiers survive in the form that can carry them, and are dropped from the other."""
    body = b"\xc8\x01\x01" + b"\x03\x02\x00\x07"
    data = rtp(extension=extension_block(body, profile=0x1000))
    source = {ROTATION: 200, TRANSPORT_CC: 3}
    packet = rewritten(data, {ROTATION: 201, TRANSPORT_CC: 3}, source)
    assert packet.layout.two_byte
    assert {number for number, _, _ in packet.layout.elements} == {201, 3}
    one = rtp(extension=extension_block(element(5, b"\x01"), element(3, b"\0\7")))
    packet = rewritten(one, {ROTATION: 201, TRANSPORT_CC: 3}, {ROTATION: 5, TRANSPORT_CC: 3})
    assert {number for number, _, _ in packet.layout.elements} == {3}


@given(
    st.lists(st.tuples(st.integers(1, 14), st.binary(min_size=1, max_size=16)), max_size=8,
             unique_by=lambda e: e[0]),
    st.lists(st.integers(0, 3), max_size=8),
    st.dictionaries(st.integers(1, 14), st.integers(1, 14), max_size=10),
)  # fmt: skip
def test_any_block_goes_over_as_negotiated(
    elements: list[tuple[int, bytes]], pads: list[int], renames: dict[int, int]
) -> None:
    """For any elements, paddings and renaming: exactly the common ones arrive, unchanged."""
    body = b""
    for place, (number, data) in enumerate(elements):
        body += bytes(pads[place] if place < len(pads) else 0) + element(number, data)
    source = {f"x:{number}": number for number in range(1, 15)}
    target: dict[str, int] = {}
    for old, new in renames.items():
        if new not in target.values():
            target[f"x:{old}"] = new
    data = rtp(extension=extension_block(body))
    packet = rewritten(data, target, source)
    found = {number: (packet.extension >> shift & (1 << bits) - 1).to_bytes(bits // 8, "big")
             for number, shift, bits in packet.layout.elements}  # fmt: skip
    assert found == {target[f"x:{n}"]: d for n, d in elements if f"x:{n}" in target}


@pytest.mark.parametrize("profile", [0xBEDE, 0x1000, 0x100F, 0x0000])
@given(body=st.binary(max_size=80))
def test_hostile_blocks_never_raise(profile: int, body: bytes) -> None:
    """Any block is read and rewritten into something readable."""
    body += bytes(-len(body) % 4)
    data = rtp(extension=struct.pack("!HH", profile, len(body) // 4) + body)
    rewritten(data, IDS, mid=b"0")
