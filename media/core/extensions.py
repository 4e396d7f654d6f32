# SPDX-License-Identifier: Apache-2.0
"""RTP header extensions (RFC 8285): where they are, and how they go out again.

A block of extensions is handled as one big integer. A `Layout` says where each element sits in it:
the layouts of a stream hardly change, so finding them again is one mask and one comparison instead
of a walk. Writing is the same: what is kept stays in its place under a mask, new identifiers are put
over it, and what the relay adds for its own hop goes behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID: Final = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID: Final = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
ABS_SEND_TIME: Final = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
TRANSPORT_CC: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

ONE_BYTE: Final = 0xBEDE
TWO_BYTE: Final = 0x1000
"""RFC 8285 §4.2 and §4.3; the low four bits of the two-byte profile are the application's."""

MAX_EXTENSION_BYTES: Final = 256
"""A longer block is not ours: all extensions that browsers send together take under 100."""
MAX_LAYOUTS_PER_LENGTH: Final = 4
MAX_LENGTHS: Final = 16
"""Bounds what one leg can make us remember; a browser uses two to five layouts."""


class Layout:
    """Where the elements of one shape of extension block are."""

    __slots__ = (
        "abs_send_time_shift", "audio_level_shift", "bits", "elements", "mask", "mid", "repaired_rid",
        "rid", "transport_cc_shift", "two_byte", "value",
    )  # fmt: skip

    bits: int
    """Size of the block."""
    two_byte: bool
    elements: tuple[tuple[int, int, int], ...]
    """Identifier, shift of the data, bits of the data, in the order on the wire."""
    mask: int
    value: int
    """A block has this shape if `block & mask == value`."""
    mid: tuple[int, int] | None
    rid: tuple[int, int] | None
    repaired_rid: tuple[int, int] | None
    """Shift and bits of texts."""
    transport_cc_shift: int
    abs_send_time_shift: int
    audio_level_shift: int
    """Shift of numbers, -1 if absent or of the wrong size."""

    def __init__(self, bits: int = 0, *, two_byte: bool = False) -> None:
        self.bits = bits
        self.two_byte = two_byte
        self.elements = ()
        self.mask = self.value = 0
        self.mid = self.rid = self.repaired_rid = None
        self.transport_cc_shift = self.abs_send_time_shift = self.audio_level_shift = -1


NO_EXTENSIONS: Final = Layout()


class ExtensionMap:
    """The header extensions that one leg negotiated, and the layouts seen on it."""

    __slots__ = ("_layouts", "ids", "uris")

    ids: Mapping[str, int]
    """URI to identifier, 1..14 (1..255 in the two-byte form)."""
    uris: Mapping[int, str]

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        self.uris = {number: uri for uri, number in ids.items()}
        self._layouts: dict[int, tuple[Layout, ...]] = {}

    def layout(self, word: int, block: int) -> Layout:
        """Return where the elements of a block are.

        Args:
            word: The 32 bits before the block: profile and length in words.
            block: The block as one number.
        """
        for layout in self._layouts.get(word, ()):
            if block & layout.mask == layout.value:
                return layout
        return self._learn(word, block)

    def _learn(self, word: int, block: int) -> Layout:
        size = (word & 0xFFFF) << 2
        profile = word >> 16
        two_byte = profile & 0xFFF0 == TWO_BYTE
        if size > MAX_EXTENSION_BYTES or not (two_byte or profile == ONE_BYTE):
            return NO_EXTENSIONS
        layout = Layout(size * 8, two_byte=two_byte)
        elements, mask = _walk(block.to_bytes(size, "big"), two_byte=two_byte)
        layout.elements = elements
        layout.mask = mask
        layout.value = block & mask
        for number, shift, bits in elements:
            _place(layout, self.uris.get(number), shift, bits)
        known = self._layouts
        if word not in known and len(known) >= MAX_LENGTHS:
            known.clear()
        known[word] = (layout, *known.get(word, ())[: MAX_LAYOUTS_PER_LENGTH - 1])
        return layout


def _walk(block: bytes, *, two_byte: bool) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """Return the elements (identifier, shift, bits) and the mask of the octets that shape them."""
    size = len(block)
    elements: list[tuple[int, int, int]] = []
    mask = 0
    at = 0
    while at < size:
        octet = block[at]
        mask |= 0xFF << (size - 1 - at) * 8
        if octet == 0:
            at += 1
            continue
        if two_byte:
            if at + 1 >= size:
                break
            number, length, start = octet, block[at + 1], at + 2
            mask |= 0xFF << (size - 2 - at) * 8
        else:
            number, length, start = octet >> 4, (octet & 15) + 1, at + 1
            if number in {0, 15}:  # RFC 8285 §4.2: nothing after it counts
                break
        at = start + length
        if at > size:
            break
        elements.append((number, (size - at) * 8, length * 8))
    return tuple(elements), mask


def _place(layout: Layout, uri: str | None, shift: int, bits: int) -> None:
    if uri == TRANSPORT_CC and bits == 16:
        layout.transport_cc_shift = shift
    elif uri == ABS_SEND_TIME and bits == 24:
        layout.abs_send_time_shift = shift
    elif uri == AUDIO_LEVEL and bits == 8:
        layout.audio_level_shift = shift
    elif uri == MID and bits:
        layout.mid = (shift, bits)
    elif uri == RID and bits:
        layout.rid = (shift, bits)
    elif uri == REPAIRED_RID and bits:
        layout.repaired_rid = (shift, bits)


class Plan(NamedTuple):
    """How a block of one layout becomes the block of another leg."""

    keep: int
    """Mask of the data that stays in its place."""
    put: int
    """Identifiers, lengths and constant data, in the new block."""
    grow: int
    """Bits behind the old block."""
    transport_cc_shift: int
    abs_send_time_shift: int
    """Where the relay's own numbers go in the new block; -1 if they do not."""
    size: int
    """Octets of the new block; 0: no block at all."""
    word: int
    """Profile and length, the four octets before the block."""


class ExtensionWriter:
    """Rewrites the extensions of one leg for another.

    What both legs negotiated is kept in its place under the new identifier. Our own hop's numbers
    (abs-send-time, transport-wide number) are set by us, and added if the sender has none. The MID
    is the receiver's; RIDs end here. Everything else becomes padding (identifier 0).
    """

    __slots__ = ("_mid", "_plans", "_source", "_target")

    def __init__(
        self, source: ExtensionMap, target: Mapping[str, int], mid: bytes | None = None
    ) -> None:
        self._source = source
        self._target = dict(target)
        self._mid = mid
        self._plans: dict[Layout, Plan] = {}

    def plan(self, layout: Layout) -> Plan:
        """Return how to rewrite blocks of this layout; cheap from the second time on."""
        plan = self._plans.get(layout)
        if plan is None:
            if len(self._plans) >= MAX_LENGTHS * MAX_LAYOUTS_PER_LENGTH:
                self._plans.clear()
            plan = self._plans[layout] = self._make(layout)
        return plan

    def _make(self, layout: Layout) -> Plan:
        target = self._target
        keep = put = 0
        own = {TRANSPORT_CC: -1, ABS_SEND_TIME: -1}
        for number, shift, bits in layout.elements:
            uri = self._source.uris.get(number, "")
            new = target.get(uri, 0)
            if not 0 < new <= (255 if layout.two_byte else 14) or uri in {RID, REPAIRED_RID}:
                continue
            if uri in own:
                if bits != OWN_BITS[uri] or own[uri] >= 0:
                    continue
                own[uri] = shift
            elif uri == MID:
                if self._mid is None or len(self._mid) * 8 != bits:
                    continue
                put |= int.from_bytes(self._mid, "big") << shift
            else:
                keep |= ((1 << bits) - 1) << shift
            put |= _element(new, bits, two_byte=layout.two_byte) << shift + bits
        missing = [uri for uri, at in own.items() if at < 0 and 0 < target.get(uri, 0) <= 14]
        header = 16 if layout.two_byte else 8
        added = sum(header + OWN_BITS[uri] for uri in missing)
        grow = -(-(layout.bits + added) // 32) * 32 - layout.bits
        put <<= grow
        own = {uri: at + grow if at >= 0 else -1 for uri, at in own.items()}
        at = grow
        for uri in missing:
            at -= header + OWN_BITS[uri]
            put |= (
                _element(target[uri], OWN_BITS[uri], two_byte=layout.two_byte) << at + OWN_BITS[uri]
            )
            own[uri] = at
        size = (layout.bits + grow) // 8 if put else 0
        word = (TWO_BYTE if layout.two_byte else ONE_BYTE) << 16 | size // 4
        return Plan(keep, put, grow, own[TRANSPORT_CC], own[ABS_SEND_TIME], size, word)


OWN_BITS: Final = {TRANSPORT_CC: 16, ABS_SEND_TIME: 24}
"""The numbers that belong to one hop."""


def _element(number: int, bits: int, *, two_byte: bool) -> int:
    """Return the octets before an element's data."""
    return number << 8 | bits // 8 if two_byte else number << 4 | (bits // 8 - 1)
