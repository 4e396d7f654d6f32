# SPDX-License-Identifier: Apache-2.0
"""Why a packet was thrown away; a closed list, counted per process."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TypeAlias


class Drop(StrEnum):
    """Reason for which a packet went no further."""

    NOT_OURS = "not_ours"
    """First byte outside RFC 7983's ranges, or too short to be anything."""
    TOO_LONG = "too_long"
    """Longer than any path carries; a browser's packets stay below 1,300 bytes."""
    STUN_MALFORMED = "stun_malformed"
    STUN_NOT_A_CHECK = "stun_not_a_check"
    """Responses and indications: the relay asks nothing and a keep-alive needs no answer."""
    STUN_UNKNOWN_UFRAG = "stun_unknown_ufrag"
    STUN_UNAUTHENTIC = "stun_unauthentic"
    """Not signed with its leg's password, or from the address that another leg is talking from."""
    STUN_LIMIT = "stun_limit"
    """More checks than any browser sends on one leg; unread."""
    UNKNOWN_SOURCE = "unknown_source"
    """DTLS or SRTP from an address that no leg knows, with no leg's SSRC."""
    DTLS_OVERFLOW = "dtls_overflow"
    SRTP_EARLY = "srtp_early"
    """Before the handshake has given keys."""
    SRTP_UNAUTHENTIC = "srtp_unauthentic"
    SRTP_REPLAYED = "srtp_replayed"
    SSRC_LIMIT = "ssrc_limit"
    """One more SSRC than a leg may send with."""
    SRTP_REFUSED = "srtp_refused"
    """libsrtp would not protect a packet of our own: malformed, too long, or older than its window."""
    NO_PATH = "no_path"
    """To a leg that no check has come from yet, or whose only connection closed."""
    PATH_UNPROVED = "path_unproved"
    """Of a picture, to an address that never answered a check of ours."""
    SEND_BLOCKED = "send_blocked"
    """The socket's buffer was full."""
    SEND_REFUSED = "send_refused"
    """The kernel had no route, or did not take it for another reason."""
    TCP_PICTURE = "tcp_picture"
    TCP_VOICE = "tcp_voice"
    TCP_CONTROL = "tcp_control"
    TCP_FRAME = "tcp_frame"
    """A frame longer than a datagram may be; its connection was closed."""
    TCP_REFUSED = "tcp_refused"
    """A connection beyond the limits, or one that sent no authenticated check in time."""
    NO_ROUTE = "no_route"
    """Media of a kind or towards a leg that nobody watches."""
    VOICE_LIMIT = "voice_limit"
    """Voice beyond what the dearest coding takes, with a queue of seconds that comes at once."""
    RTP_MALFORMED = "rtp_malformed"
    """Authentic, but no RTP that can be read."""
    FAULT = "fault"
    """An error of ours in handling it; logged once by its type."""


Drops: TypeAlias = Counter[Drop]
"""Packets thrown away since the process started, by reason."""
