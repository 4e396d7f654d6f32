# SPDX-License-Identifier: Apache-2.0
"""Is this really a JPEG, and nothing but the picture? Read as it comes, piece by piece, never held whole.

A photograph from a phone says where and when it was taken, and by which device (EXIF and XMP in APP1, IPTC in APP13,
comments; a video after the picture's end). Pages re-encode pictures on the device, so that none of it leaves it; this
makes sure. Markers: ITU-T T.81 §B.1.1.
"""

from __future__ import annotations

from typing import Final

_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
"""TEM and RST0–7: markers without a segment."""
_APP0: Final = 0xE0
_APP2: Final = 0xE2
_APP14: Final = 0xEE
_HARMLESS: Final = {_APP0: b"JFIF\0", _APP2: b"ICC_PROFILE\0", _APP14: b"Adobe"}
"""Application segments that say how to show the picture, by how each begins; every other one is refused."""
_COMMENT: Final = 0xFE
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NAMED_BYTES: Final = 12


class NotJpeg(ValueError):
    """The bytes are no JPEG (T.81)."""


class MoreThanPicture(ValueError):
    """The picture carries something that is not the picture."""


class JpegScanner:
    """Takes a JPEG in any pieces; ``feed`` raises as soon as it is clear that it is none, or carries more."""

    def __init__(self) -> None:
        """Expect the first byte."""
        self._rest = b""
        self._skip = 0
        """Bytes of the present segment that are still to come."""
        self._entropy = False
        """Within entropy-coded data: everything up to the next marker."""
        self._begun = self._framed = False
        self.ended = False
        """Whether the end of the image was seen."""

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            NotJpeg, MoreThanPicture: at the first byte that shows it.
        """
        data = self._rest + data
        at = 0
        if not self._begun:
            if len(data) < 2:
                self._rest = data
                return
            if data[:2] != bytes((0xFF, _SOI)):
                raise NotJpeg
            self._begun, at = True, 2
        while True:
            if self._skip:
                step = min(self._skip, len(data) - at)
                at, self._skip = at + step, self._skip - step
            if at >= len(data):
                self._rest = b""
                return
            if self.ended:
                raise MoreThanPicture
            following = self._past_entropy(data, at) if self._entropy else self._marker(data, at)
            if following is None:
                self._rest = data[at:]
                return
            at = following

    def _past_entropy(self, data: bytes, at: int) -> int | None:
        """Return where the next marker begins, or None if more is needed to know."""
        found = data.find(b"\xff", at)
        while found >= 0:
            if found + 1 >= len(data):
                # What lies before is done with; only the lone 0xFF waits for its second byte.
                return found if found > at else None
            if data[found + 1] == 0xFF:
                found += 1
            elif data[found + 1] == 0x00 or 0xD0 <= data[found + 1] <= 0xD7:
                found = data.find(b"\xff", found + 2)
            else:
                self._entropy = False
                return found
        return len(data)

    def _marker(self, data: bytes, at: int) -> int | None:
        """Judge the marker at ``at``; return where to go on, or None if more is needed."""
        if data[at] != 0xFF:
            raise NotJpeg
        if at + 1 >= len(data):
            return None
        kind = data[at + 1]
        if kind == 0xFF:  # fill byte
            return at + 1
        if kind == _EOI:
            if not self._framed:
                raise NotJpeg
            self.ended = True
            return at + 2
        if kind in _ALONE:
            return at + 2
        if kind in (0x00, _SOI):
            raise NotJpeg
        return self._segment(kind, data, at)

    def _segment(self, kind: int, data: bytes, at: int) -> int | None:
        """Judge the segment whose marker is at ``at``; return where its contents begin, or None if more is needed."""
        if at + 4 > len(data):
            return None
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            raise NotJpeg
        named = min(length - 2, _NAMED_BYTES)
        if at + 4 + named > len(data):
            return None
        self._judge(kind, data[at + 4 : at + 4 + named])
        self._skip = length - 2
        return at + 4

    def _judge(self, kind: int, begins: bytes) -> None:
        application = 0xE0 <= kind <= 0xEF
        if kind == _COMMENT or (
            application and (kind not in _HARMLESS or not begins.startswith(_HARMLESS[kind]))
        ):
            raise MoreThanPicture
        if kind in _FRAMES:
            self._framed = True
        elif kind == _SOS:
            if not self._framed:
                raise NotJpeg
            self._entropy = True
