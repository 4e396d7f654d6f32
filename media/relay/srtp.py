# SPDX-License-Identifier: Apache-2.0
"""SRTP by the libsrtp that pylibsrtp brings, called as pylibsrtp calls it, with one buffer for all packets.

``Session``'s own methods make two objects and four calls for each packet: 2.2 µs at 120 octets and 3.2 at 1,100, of which
1.3 and 2.0 are left here (AES-256-GCM, one protect or unprotect), a tenth of what a forwarded packet costs. The private names
``pylibsrtp._binding.ffi``, ``lib`` and ``Session._srtp`` are held by tests/contract/test_dtls_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pylibsrtp
from pylibsrtp import ERRORS, SRTP_MAX_SRTCP_TRAILER_LEN, SRTP_MAX_TRAILER_LEN, Session
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found] # compiled

from media.relay.drops import Drop
from media.relay.dtls import Keys

SRTP_ERRORS = (pylibsrtp.Error, ValueError)
"""What protecting and unprotecting raise: libsrtp's verdicts, and ``ValueError`` for a packet beyond ``PACKET_MAX``."""
PACKET_MAX: Final = 1_500
"""Octets of a protected packet; what ``Session`` takes."""

Crypt: TypeAlias = Callable[[bytes | bytearray], bytes]

_REPLAYED = ("replay", "too old")
_octets = ffi.new("char[]", PACKET_MAX)
_buffer = ffi.buffer(_octets)
_size = ffi.new("int *")
"""One buffer is enough for a process that has one thread."""


class Srtp:
    """The two directions of one leg, as the four functions that the packet path calls. They raise ``SRTP_ERRORS``."""

    __slots__ = ("profile", "protect_rtcp", "protect_rtp", "unprotect_rtcp", "unprotect_rtp")

    def __init__(self, keys: Keys) -> None:
        self.profile = keys.profile
        self.protect_rtp = _crypt(keys.outbound, lib.srtp_protect, SRTP_MAX_TRAILER_LEN)
        self.protect_rtcp = _crypt(keys.outbound, lib.srtp_protect_rtcp, SRTP_MAX_SRTCP_TRAILER_LEN)
        self.unprotect_rtp = _crypt(keys.inbound, lib.srtp_unprotect)
        self.unprotect_rtcp = _crypt(keys.inbound, lib.srtp_unprotect_rtcp)


def _crypt(session: Session, function: Callable[..., int], trailer_bytes: int = 0) -> Crypt:
    """Return one of libsrtp's functions on packets of this session."""
    owner: Any = session._srtp  # noqa: SLF001 held by a contract test
    state = owner[0]
    longest = PACKET_MAX - trailer_bytes

    def crypt(packet: bytes | bytearray, _owner: object = owner) -> bytes:
        length = len(packet)
        if length > longest:
            raise ValueError("the packet is too long")
        _buffer[0:length] = packet
        _size[0] = length
        if failed := function(state, _octets, _size):
            raise pylibsrtp.Error(ERRORS[failed])
        crypted: bytes = _buffer[0 : _size[0]]
        return crypted

    return crypt


def reason(error: Exception) -> Drop:
    """Return why a packet could not be unprotected."""
    text = str(error)
    if any(word in text for word in _REPLAYED):
        return Drop.SRTP_REPLAYED
    return Drop.SRTP_UNAUTHENTIC
