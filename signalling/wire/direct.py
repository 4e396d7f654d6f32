# SPDX-License-Identifier: Apache-2.0
"""Route ``direct`` on the wire: what each page counts of its way to the other browser, for the ladder at their nodes.

It goes each second, each two on a thin link, so its numbers are packed: 21 octets in base 64 without padding, about 95 octets
of JSON, 0.7 kbit/s in packets each two seconds.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Annotated

import msgspec

from signalling.wire.base import FromClient, Id

SPAN_UNIT_S = 0.01
_LAYOUT = struct.Struct(">HIHHIHhHB")
_CHARS = -(-_LAYOUT.size * 4 // 3)
_NO_RTT = 0xFFFF
_NO_DELAY = -0x8000
_FRESH, _BRAKED = 1, 2


class Way(FromClient, frozen=True, tag="way"):
    """What this page counted of its connection to the other browser since its last such message, on route ``direct``.

    ``data`` in base 64, big endian: time since then in 10 ms (2 octets), octets that came, with headers (4), packets that came
    (2), packets that are missing (2), octets sent (4), the shortest new round trip in ms (2; 65,535 = none), the shortest new
    delay of a sender report in ms above that of the connection's first (2, signed; -32,768 = none), what the browser's own control would send in kbit/s (2; 0 = not known), flags (1 the connection's
    first message, 2 the picture was stopped by this page's brake: only new ``limits`` raise it again).
    """

    consult: Id
    data: Annotated[
        str, msgspec.Meta(min_length=_CHARS, max_length=_CHARS, pattern=r"^[A-Za-z0-9+/]+$")
    ]


@dataclass(frozen=True, slots=True)
class Counted:
    """A ``way``, unpacked."""

    span_s: float
    received_octets: int
    received: int
    """Packets."""
    missing: int
    sent_octets: int
    rtt_s: float | None
    delay_s: float | None
    available_bps: float
    """0 = not known."""
    fresh: bool
    braked: bool

    @property
    def expected(self) -> int:
        """Packets that should have come."""
        return self.received + self.missing


def unpack(data: str) -> Counted:
    """Return what a ``way`` says.

    Raises:
        ValueError: it is not laid out as it must be.
    """
    try:
        octets = base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("not base 64") from error
    if len(octets) != _LAYOUT.size:
        raise ValueError("not as long as it must be")
    span, came, received, missing, sent, rtt_ms, delay_ms, kbps, flags = _LAYOUT.unpack(octets)
    return Counted(
        span_s=span * SPAN_UNIT_S,
        received_octets=came,
        received=received,
        missing=missing,
        sent_octets=sent,
        rtt_s=None if rtt_ms == _NO_RTT else rtt_ms / 1_000,
        delay_s=None if delay_ms == _NO_DELAY else delay_ms / 1_000,
        available_bps=kbps * 1_000.0,
        fresh=bool(flags & _FRESH),
        braked=bool(flags & _BRAKED),
    )
