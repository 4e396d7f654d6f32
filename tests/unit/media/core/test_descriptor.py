# SPDX-License-Identifier: Apache-2.0
"""Payload descriptors of VP8 and VP9."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.descriptor import Frame, VideoCodec, describe, follows
from tests.support.rtp_packets import parsed, rtp, vp8


def frame(codec: VideoCodec, payload: str) -> Frame | None:
    return describe(codec, parsed(rtp(payload=bytes.fromhex(payload))))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("10 00", Frame(start=True, key=True)),  # S, no extension, P=0
        ("10 01", Frame(start=True, key=False)),
        ("00 00", Frame(start=False, key=False)),  # a later packet
        ("11 00", Frame(start=False, key=False)),  # the second partition
        ("90 80 05 00", Frame(True, True, 5, 7)),
        ("90 80 8123 01", Frame(True, False, 0x123, 15)),
        ("90 f0 8001 2a 60 00", Frame(True, True, 1, 15, 0x2A, 1, True)),
        ("90 10 1f 01", Frame(True, False)),  # KEYIDX alone: no layer
        ("90", None),
        ("90 80 81", None),
        ("90 f0 8001 2a", None),
        ("10", None),
    ],
)
def test_vp8(payload: str, expected: Frame | None) -> None:
    """RFC 7741 §4.2 and §4.3: start, key frame, picture ID, layers, and what is cut short."""
    assert frame(VideoCodec.VP8, payload) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("08 00", Frame(start=True, key=True)),  # B, not P
        ("48 00", Frame(start=True, key=False)),  # P
        ("00 00", Frame(start=False, key=False)),
        ("88 05 00", Frame(True, True, 5, 7)),
        ("a8 8102 10 07 00", Frame(True, True, 0x102, 15, 7, 0, True)),  # I, L, U, TL0PICIDX
        ("e8 8102 30 07 00", Frame(True, False, 0x102, 15, 7, 1, True)),
        (
            "a8 8102 02 07 00",
            Frame(False, False, 0x102, 15, 7),
        ),  # spatial layer 1 begins no picture
        ("b8 8102 00 00", Frame(True, True, 0x102, 15)),  # flexible mode has no TL0PICIDX
        ("a8 81", None),
        ("08", None),
    ],
)
def test_vp9(payload: str, expected: Frame | None) -> None:
    """RFC 9628 §4.2: the same of VP9."""
    assert frame(VideoCodec.VP9, payload) == expected


def test_pictures_follow_over_the_wrap() -> None:
    """The picture after 127 is 0 with seven bits, after 32767 with fifteen."""
    assert follows(Frame(True, False, 0, 7), Frame(True, False, 127, 7))
    assert follows(Frame(True, False, 0, 15), Frame(True, False, 32_767, 15))
    assert not follows(Frame(True, False, 0, 15), Frame(True, False, 127, 7))
    assert not follows(Frame(True, False), Frame(True, False))
    assert not follows(Frame(True, False, 6, 7), Frame(True, False, 4, 7))


def test_nothing_is_read_beyond_the_payload() -> None:
    """Padding is not taken for a payload."""
    packet = parsed(rtp(payload=b"\x10", padding=4))
    assert describe(VideoCodec.VP8, packet) is None
    assert describe(VideoCodec.VP8, parsed(rtp(payload=vp8(1, key=True)))) is not None


@given(st.binary(max_size=12), st.sampled_from(VideoCodec))
def test_never_raises(payload: bytes, codec: VideoCodec) -> None:
    """Any payload has a description or none."""
    describe(codec, parsed(rtp(payload=payload)))
