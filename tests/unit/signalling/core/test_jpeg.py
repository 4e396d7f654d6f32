# SPDX-License-Identifier: Apache-2.0
"""What is taken for a JPEG without more than the picture, however it is cut into pieces."""

import contextlib
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.core.jpeg import JpegScanner, MoreThanPicture, NotJpeg
from tests.support.content import jpeg, segment

GOOD = jpeg(3_000)


def scan(data: bytes, cuts: list[int] = []) -> JpegScanner:  # noqa: B006
    scanner = JpegScanner()
    edges = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    for begin, end in itertools.pairwise(edges):
        scanner.feed(data[begin:end])
    return scanner


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_cuts_change_nothing(cuts):
    """A picture is whole, and a place in it is found, wherever the pieces are cut."""
    assert scan(GOOD, cuts).ended
    with pytest.raises(MoreThanPicture):
        scan(jpeg(3_000, extra=segment(0xE1, b"Exif\0\0" + bytes(400))), cuts)


def test_byte_by_byte():
    """Single bytes are enough."""
    assert scan(GOOD, list(range(len(GOOD)))).ended


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b"Exif\0\0MM\0*"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"),
        segment(0xED, b"Photoshop 3.0\0"),
        segment(0xE2, b"MPF\0more pictures"),
        segment(0xE0, b"JFXX\0\x10thumbnail"),
        segment(0xFE, b"taken at home"),
        segment(0xE5, b""),
    ],
)
def test_more_than_the_picture_is_refused(extra):
    """EXIF, XMP, IPTC, further pictures, thumbnails and comments are each refused."""
    with pytest.raises(MoreThanPicture):
        scan(jpeg(3_000, extra=extra))


def test_what_shows_the_picture_is_allowed():
    """A colour profile and Adobe's transform are part of how the picture looks."""
    extra = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(500)) + segment(0xEE, b"Adobe\0" + bytes(6))
    assert scan(jpeg(3_000, extra=extra)).ended


def test_nothing_may_follow_the_end():
    """A video behind the picture (motion photographs) is refused; metadata between scans is found too."""
    with pytest.raises(MoreThanPicture):
        scan(jpeg(3_000, after=b"\0\0\0\x18ftypmp42"))
    with pytest.raises(MoreThanPicture):
        scan(GOOD[:-2] + segment(0xE1, b"Exif\0\0") + b"\xff\xd9")


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n",
        b"\xff\xd9",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8xx",
        b"\xff\xd8\xff\xe0\0\1",
        b"GIF89a",
    ],
)
def test_what_is_no_jpeg_is_refused(data):
    """Other formats, a picture without a frame, broken segments."""
    with pytest.raises(NotJpeg):
        scan(data)


def test_a_picture_that_is_cut_off_has_no_end():
    """Without the end marker it isn't whole."""
    assert not scan(GOOD[:-2]).ended


@given(st.binary(max_size=300))
def test_any_bytes_end_well(data):
    """Whatever comes, it is a verdict and not another error."""
    with contextlib.suppress(NotJpeg, MoreThanPicture):
        scan(b"\xff\xd8" + data)


def test_restart_markers_and_fill_bytes_are_passed():
    """Entropy-coded data with stuffed bytes, restart markers and fill bytes is read as such."""
    out = io.BytesIO()
    out.write(GOOD[:-2])
    out.write(b"\xff\x00\xff\xd0ab\xff\xd7\xff\xff\xff\xd9")
    assert scan(out.getvalue()).ended
