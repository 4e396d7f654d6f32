# SPDX-License-Identifier: Apache-2.0
"""Reading RTP headers."""

import aiortc.rtp
import pytest
from aiortc import RTCRtpParameters
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters
from hypothesis import given
from hypothesis import strategies as st

from media.core.extensions import MID, ExtensionMap
from media.core.rtp import is_rtcp, parse
from tests.support.rtp_packets import IDS, element, extension_block, parsed, rtp


def test_fields() -> None:
    """Every field of the fixed header is where RFC 3550 puts it."""
    data = rtp(
        65535, timestamp=2**32 - 1, ssrc=2**32 - 2, payload_type=111, marker=True, payload=b"xyz"
    )
    packet = parsed(data, now=12.5)
    assert (packet.sequence_number, packet.timestamp, packet.ssrc) == (65535, 2**32 - 1, 2**32 - 2)
    assert (packet.payload_type, packet.marker, packet.payload) == (111, 128, b"xyz")
    assert (packet.arrived_at, packet.index) == (12.5, -1)
    assert packet.data is data


def test_csrcs_extension_and_padding_are_outside_the_payload() -> None:
    """The payload begins after CSRCs and extensions and ends before padding."""
    block = extension_block(element(1, b"0"))
    packet = parsed(rtp(csrcs=(1, 2), extension=block, payload=b"abc", padding=5))
    assert packet.payload == b"abc"
    assert packet.mid == b"0"


def test_a_packet_of_padding_alone_has_no_payload() -> None:
    """Probing packets of padding are read, with an empty payload."""
    packet = parsed(rtp(payload=b"", padding=200))
    assert packet.payload_at == packet.payload_end == 12


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        rtp(payload=b"")[:11],
        b"\x40" + rtp()[1:],
        b"\x80\xc8" + rtp()[2:],  # RTCP: SR
        rtp(csrcs=(1, 2, 3))[:20],
        b"\x90" + rtp(payload=b"")[1:],  # extension bit without extension
        rtp(extension=extension_block(element(1, b"0"), b"\0" * 8), payload=b"")[:-1],
        b"\xa0" + rtp(payload=b"a\x00")[1:],  # padding of nothing
        b"\xa0" + rtp(payload=b"a\xff")[1:],  # padding longer than the packet
    ],
)
def test_what_is_not_rtp_is_none(data: bytes) -> None:
    """Short, foreign and inconsistent packets are refused without an exception."""
    assert parse(data, ExtensionMap(IDS), 0.0) is None


@pytest.mark.parametrize(
    ("second", "expected"), [(191, False), (192, True), (223, True), (224, False)]
)
def test_rtcp_is_told_by_its_second_octet(second: int, expected: bool) -> None:
    """RFC 5761 reserves 192..223 for RTCP; marker and payload type never look like it."""
    assert is_rtcp(bytes((0x80, second)) + bytes(20)) is expected
    assert not is_rtcp(b"\x80")


@given(
    st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
    st.integers(96, 127), st.booleans(), st.binary(max_size=60),
    st.lists(st.integers(0, 2**32 - 1), max_size=15), st.integers(0, 255), st.binary(min_size=1, max_size=16),
)  # fmt: skip
def test_agrees_with_aiortc(
    number: int, timestamp: int, ssrc: int, payload_type: int, marker: bool, payload: bytes,
    csrcs: list[int], padding: int, mid: bytes,
) -> None:  # fmt: skip
    """An independent reader sees the same fields in the same bytes."""
    block = extension_block(element(1, mid.hex().encode()[:16]))
    data = rtp(
        number, timestamp=timestamp, ssrc=ssrc, payload_type=payload_type, marker=marker,
        payload=payload, csrcs=tuple(csrcs), padding=padding, extension=block,
    )  # fmt: skip
    extensions = aiortc.rtp.HeaderExtensionsMap()
    extensions.configure(
        RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=1, uri=MID)])
    )
    theirs = aiortc.rtp.RtpPacket.parse(data, extensions)
    ours = parsed(data)
    assert ours.sequence_number == theirs.sequence_number
    assert ours.timestamp == theirs.timestamp
    assert ours.ssrc == theirs.ssrc
    assert ours.payload_type == theirs.payload_type
    assert bool(ours.marker) == bool(theirs.marker)
    assert ours.payload == theirs.payload == payload
    assert ours.mid is not None
    assert ours.mid.decode() == theirs.extensions.mid


@given(st.binary(max_size=120))
def test_never_raises(data: bytes) -> None:
    """Whatever bytes come, reading ends with a packet inside them or with None."""
    extensions = ExtensionMap(IDS)
    for candidate in (data, b"\x90\x60" + data, b"\xb2\x60" + data):
        packet = parse(candidate, extensions, 0.0)
        if packet is not None:
            assert 12 <= packet.payload_at <= packet.payload_end <= len(candidate)
            _ = (packet.mid, packet.rid, packet.repaired_rid, packet.audio_level)
            _ = (packet.transport_number, packet.abs_send_time, packet.payload)
