# SPDX-License-Identifier: Apache-2.0
"""The link probe over a leg that waits: binding requests, which the browser's ICE agent answers at once and by itself.

A request may be as long as one likes (an attribute that may be passed over pads it), and its answer is 92 octets on the
wire: trains of such requests are drawn out by the way down. A request with attributes that must be understood and are not is
answered by an error that names each of them (RFC 8489 §6.3.1): 188 octets by 144. Trains of these are drawn out by the way up,
unless that is faster than three quarters of the way down; then it is found as thin as that. Nothing of camera or microphone
is in it, no page code takes part, and all is signed with the browser's own credentials.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from media.core.bwe.probe import SMALL_BELOW_BPS
from media.core.link_probe import LinkProbe, Mode, Reading
from media.relay.path import Weight

if TYPE_CHECKING:
    from media.core.link_probe import Train
    from media.relay.leg import Leg

COOKIE: Final = 0x2112A442
REQUEST: Final = 0x0001
USERNAME: Final = 0x0006
INTEGRITY: Final = 0x0008
PRIORITY: Final = 0x0024
FINGERPRINT: Final = 0x8028
CONTROLLED: Final = 0x8029
PADDING: Final = 0xC0DE
"""Comprehension-optional and of nobody (RFC 8489 §18.3): who doesn't know it passes it over."""
HOST_PRIORITY: Final = 110 << 24 | 65_535 << 8 | 255
"""Of a peer-reflexive candidate (RFC 8445 §5.1.2.1): each check names one."""
UDP_BYTES: Final = 28
"""IPv4 and UDP."""
ANSWER_BYTES: Final = 92
"""Of an answer on the wire: address, integrity, fingerprint."""
UNKNOWN: Final = struct.pack("!HH", 0x7FFE, 0) * 16
"""Sixteen attributes that must be understood (RFC 8489 §18.3): as many as Firefox names in its error."""
ERROR_BYTES: Final = 144
"""Of that error on the wire."""
DARK_S: Final = 6.0
"""A browser checks each 2.5 s: after two missing checks the link was down, and may be another one."""


def request(username: str, password: str, size: int, tie_breaker: int) -> tuple[bytes, bytes]:
    """Return a check of this size on the wire, and its transaction id; 0: one that is answered by an error."""
    name = username.encode()
    body = struct.pack("!HH", USERNAME, len(name)) + name + bytes(-len(name) % 4)
    body += struct.pack("!HHI", PRIORITY, 4, HOST_PRIORITY)
    body += struct.pack("!HHQ", CONTROLLED, 8, tie_breaker)
    if not size:
        body += UNKNOWN
    left = size - UDP_BYTES - 20 - len(body) - 24 - 8 - 4
    if left > 0:
        left -= left % 4
        body += struct.pack("!HH", PADDING, left) + bytes(left)
    transaction = secrets.token_bytes(12)

    def head(more: int) -> bytes:
        return struct.pack("!HHI", REQUEST, len(body) + more, COOKIE) + transaction

    digest = hmac.new(password.encode(), head(24) + body, hashlib.sha1).digest()
    body += struct.pack("!HH", INTEGRITY, 20) + digest
    crc = zlib.crc32(head(8) + body) ^ 0x5354554E
    return head(8) + body + struct.pack("!HHI", FINGERPRINT, 4, crc), transaction


def answered(data: bytes, password: str) -> bytes | None:
    """Return the transaction id of an answer that was signed with this password (RFC 8489 §14.5), else None."""
    at = 20
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        if kind == INTEGRITY:
            if length != 20 or at + 24 > len(data):
                return None
            head = data[:2] + struct.pack("!H", at + 24 - 20) + data[4:at]
            digest = hmac.new(password.encode(), head, hashlib.sha1).digest()
            good = hmac.compare_digest(digest, data[at + 4 : at + 24])
            return data[8:20] if good else None
        at += 4 + length + -length % 4
    return None


class Survey:
    """Both directions of one leg, once; made when it is connected and has answered."""

    def __init__(
        self, leg: Leg, username: str, password: str, now: float, mode: Mode, known: Known | None
    ) -> None:
        """Begin.

        Args:
            leg: it.
            username: the browser's part, then ours (RFC 8445 §7.2.2).
            password: the browser's.
            now: monotonic seconds.
            mode: how much may be asked.
            known: what an earlier survey of this link told.
        """
        up_bps, down_bps = (known[0].certain_bps, known[1].certain_bps) if known else (0.0, 0.0)
        self.down = LinkProbe(now, mode, down_bps)
        self.up = LinkProbe(now, mode, up_bps, size_bytes=ERROR_BYTES)
        self.begun_at = now
        self.told = False
        """Whether what it has found so far was taken."""
        self._leg = leg
        self._username, self._password = username, password
        self._tie_breaker = secrets.randbits(64)
        self._sent: dict[bytes, tuple[LinkProbe, int, int, float]] = {}
        self._turns = [self.down, self.up]
        leg.on_stun_answer = self._answered

    def tick(self, now: float) -> bool:
        """Send what is due; return False when all is known that will be."""
        # In turn, so that both are known equally well when the call begins early; and each train costs on both ways.
        times = [probe.next_at(now) for probe in self._turns]
        if times[0] is None:
            self._turns.reverse()
            times.reverse()
        if times[0] is not None and max(at for at in times if at is not None) <= now:
            probe, other = self._turns
            train = probe.next_train(now)
            if train is not None:
                other.paid(self._send(probe, train, now))
                self._turns.reverse()
        over = self.down.over(now) and self.up.over(now)
        if over:
            self.stop()
        return not over

    @property
    def is_thin(self) -> bool:
        """Whether it seems to be a link that should not be measured beside a call: a voice would wait for the trains.

        What is thinner is found by the ladder within seconds.
        """
        rates = [probe.reading(0.0).rate_bps for probe in (self.down, self.up) if probe.trains]
        return min(rates, default=SMALL_BELOW_BPS) < SMALL_BELOW_BPS

    def stop(self) -> None:
        """Ask no more."""
        if self._leg.on_stun_answer == self._answered:
            self._leg.on_stun_answer = None

    def reading(self, now: float) -> Known:
        """Return what is known of the ways up and down."""
        up, down = self.up.reading(now), self.down.reading(now)
        return _one_way(up), _one_way(down)

    def _send(self, probe: LinkProbe, train: Train, now: float) -> int:
        """Send a train; return what it costs in the other direction."""
        down = probe is self.down
        path = self._leg.path
        cost = 0
        for index in range(train.packets):
            size = train.size_bytes if down else 0
            data, transaction = request(self._username, self._password, size, self._tie_breaker)
            self._sent[transaction] = probe, train.number, index, now
            cost += ANSWER_BYTES if down else len(data) + UDP_BYTES
            if path is not None:
                path.send(data, Weight.CONTROL)
        return cost

    def _answered(self, data: bytes, now: float) -> None:
        sent = self._sent.pop(data[8:20], None)
        if sent is None or answered(data, self._password) is None:
            return
        probe, number, index, at = sent
        probe.arrived(number, index, now)
        if index == 0:
            # Whose train it was makes no difference to the round trip.
            self.down.measured_rtt(now - at)
            self.up.measured_rtt(now - at)


Known = tuple[Reading, Reading]
"""Up and down."""


def _one_way(reading: Reading) -> Reading:
    """Return a reading with the loss of one way: an answer that is missing may have been lost on either."""
    return replace(reading, loss_ratio=1 - (1 - reading.loss_ratio) ** 0.5)
