# SPDX-License-Identifier: Apache-2.0
"""From a datagram to its leg (RFC 7983), whatever it came by; the tables of one relay process.

A leg is found by the path, else by our ufrag in a check, else by the SSRC of a packet that must then pass SRTP
authentication. Nothing else makes an entry, so the tables are bounded by the number of legs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from media.relay import ice
from media.relay.drops import Drop, Drops

if TYPE_CHECKING:
    from collections.abc import Iterable

    from media.relay.leg import Leg
    from media.relay.path import Path

_log = logging.getLogger(__name__)

LENGTH_MIN = 12
"""An RTP header; every check and DTLS record is longer."""
LENGTH_MAX = 1_500
"""pylibsrtp's buffer, and Ethernet's payload."""

_STUN_BELOW = 4
_STUN_ANSWERS = (b"\x01\x01", b"\x01\x11")
"""Success and error (RFC 8489 §5)."""
_DTLS = range(20, 64)


class Demultiplexer:
    """Finds the leg of whatever arrives and hands it over."""

    def __init__(self, drops: Drops) -> None:
        self.drops = drops
        self._by_ufrag: dict[str, Leg] = {}
        self._by_ssrc: dict[bytes, Leg] = {}
        self._faults: set[str] = set()

    def add(self, leg: Leg, ufrags: Iterable[str]) -> bool:
        """Make a leg reachable by its ufrags; return False when one of them is taken already."""
        ufrags = list(ufrags)
        if any(ufrag in self._by_ufrag for ufrag in ufrags):
            return False
        self._by_ufrag.update(dict.fromkeys(ufrags, leg))
        return True

    def learn(self, leg: Leg, ssrc: bytes) -> None:
        """Make a leg reachable by an SSRC that its answer named or an authenticated packet carried; the first keeps it."""
        self._by_ssrc.setdefault(ssrc, leg)

    def remove(self, leg: Leg, ufrags: Iterable[str], ssrcs: Iterable[bytes]) -> None:
        """Take a leg out of the tables."""
        for ufrag in ufrags:
            if self._by_ufrag.get(ufrag) is leg:
                del self._by_ufrag[ufrag]
        for ssrc in ssrcs:
            if self._by_ssrc.get(ssrc) is leg:
                del self._by_ssrc[ssrc]

    def sizes(self) -> tuple[int, int]:
        """Return how many ufrags and SSRCs are known."""
        return len(self._by_ufrag), len(self._by_ssrc)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Handle one datagram (hot path). Never raises: an error of ours is counted, and logged once per type."""
        try:
            if not LENGTH_MIN <= len(data) <= LENGTH_MAX:
                self.drops[Drop.NOT_OURS if len(data) < LENGTH_MIN else Drop.TOO_LONG] += 1
                return
            leg = path.leg
            if not 128 <= data[0] <= 191:  # RFC 7983 §7
                self._receive_other(data, path, leg, now)
                return
            rtcp = 192 <= data[1] <= 223  # RFC 5761 §4
            if leg is None:
                leg = self._by_ssrc.get(data[4:8] if rtcp else data[8:12])
                if leg is None:
                    self.drops[Drop.UNKNOWN_SOURCE] += 1
                    return
            if rtcp:
                leg.receive_rtcp(data, now)
            else:
                leg.receive_rtp(data, path, now)
        except Exception as error:  # noqa: BLE001 a defect in one packet's handling must not stop all calls
            self.drops[Drop.FAULT] += 1
            kind = type(error).__name__
            if kind not in self._faults:
                self._faults.add(kind)
                _log.error("handling a packet failed: %s", kind)

    def _receive_other(self, data: bytes, path: Path, leg: Leg | None, now: float) -> None:
        first = data[0]
        if first < _STUN_BELOW:
            self._check(data, path, now)
        elif first not in _DTLS:
            self.drops[Drop.NOT_OURS] += 1
        elif leg is None:
            self.drops[Drop.UNKNOWN_SOURCE] += 1
        else:
            leg.receive_dtls(data)

    def _check(self, data: bytes, path: Path, now: float) -> None:
        if path.leg is not None and data[:2] in _STUN_ANSWERS:
            path.leg.receive_stun_answer(data, now, path)
            return
        ufrag = ice.ufrag_of(data)
        if isinstance(ufrag, Drop):
            self.drops[ufrag] += 1
            return
        leg = self._by_ufrag.get(ufrag)
        if leg is None:
            self.drops[Drop.STUN_UNKNOWN_UFRAG] += 1
            return
        if not leg.may_check(path, now):
            self.drops[Drop.STUN_LIMIT] += 1
            return
        check = ice.read_check(data, leg.credentials[ufrag])
        if isinstance(check, Drop):
            self.drops[check] += 1
            return
        leg.receive_check(check, path, now)
