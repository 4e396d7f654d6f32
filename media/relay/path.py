# SPDX-License-Identifier: Apache-2.0
"""A path: one way to one browser, over UDP or over a TCP connection."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Protocol

from typing_extensions import override

if TYPE_CHECKING:
    from media.relay.leg import Leg

Transport = Literal["udp", "tcp"]


class Weight(IntEnum):
    """What is given up first where a path can't take everything: the higher number."""

    CONTROL = 0
    """STUN, DTLS, RTCP."""
    VOICE = 1
    PICTURE = 2


class Path(Protocol):
    """One way to one browser. Compared by identity; the port that made it keeps one per address or connection."""

    leg: Leg | None
    """Whose it is; None until something authenticated came over it."""

    @override
    def __hash__(self) -> int: ...

    @property
    def transport(self) -> Transport:
        """How it travels."""
        ...

    @property
    def source(self) -> tuple[str, int]:
        """The browser's address as seen from here: what its checks are answered with. IPv4 is never written as IPv6."""
        ...

    def send(self, data: bytes, weight: Weight) -> None:
        """Send, or drop and count; never waits, never raises."""
        ...

    def adopted(self, leg: Leg) -> None:
        """It belongs to this leg from now on."""
        ...

    def forgotten(self) -> None:
        """No leg wants it any more."""
        ...
