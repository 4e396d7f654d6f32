# SPDX-License-Identifier: Apache-2.0
"""A leg: one participant's transport at the relay. ICE, DTLS, SRTP and addresses; nothing of what the packets mean."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from media.core.budget import Allowance
from media.relay import proof
from media.relay.drops import Drop, Drops
from media.relay.dtls import Association, Certificate, DtlsFailed
from media.relay.farewell import Farewell
from media.relay.ice import (
    CHECKS_BURST,
    CHECKS_PER_S,
    AddressRule,
    Check,
    Credentials,
    answer,
)
from media.relay.path import Path, Weight
from media.relay.srtp import SRTP_ERRORS, Srtp, reason

if TYPE_CHECKING:
    from media.relay.demux import Demultiplexer

_log = logging.getLogger(__name__)

HANDSHAKE_S = 30.0
"""OpenSSL repeats a flight after 1, 2, 4, 8 s: four losses in a row at 800 ms of round trip fit in."""
SILENT_S = 15 * 60.0
"""How long a leg that nothing comes from keeps its keys: as long as the consult is kept."""
SSRCS_MAX = 16
"""SSRCs per leg; a browser sends 3, has one for reports alone, and takes 3 new ones at some renegotiations."""
FORGIVEN_S = 5.0
"""After so long a silence any sequence number counts as the newest: while the link was down, half the number space may have
gone by. What is older than libsrtp's window still fails there."""


HELD_S = 1.0
"""An address that a leg was heard from so lately is not another leg's. Whoever has a leg can sign checks for it and write
anybody's address on them; a browser that really begins anew there repeats its checks for longer."""


class LegState(StrEnum):
    """How far a leg has come."""

    NEW = "new"
    """Its offer exists; no check has come."""
    SECURING = "securing"
    """A check came; the handshake runs, or its answer is awaited."""
    CONNECTED = "connected"
    """Media can flow, or could: silence does not end this."""
    CLOSED = "closed"


class Ending(StrEnum):
    """Why a leg was closed."""

    ASKED = "asked"
    PEER = "peer"
    """The browser closed its connection."""
    SILENT = "silent"
    """Nothing authentic for ``SILENT_S``."""
    HANDSHAKE_FAILED = "handshake_failed"
    FINGERPRINT = "fingerprint"
    """The handshake was made by somebody else than the one who answered."""


@dataclass(slots=True)
class Timing:
    """Instants of one leg's set-up, monotonic seconds; None: not yet."""

    offered_at: float
    """When the leg was made; the owner sets it again when the offer leaves for a browser."""
    answered_at: float | None = None
    checked_at: float | None = None
    """First authenticated check."""
    secured_at: float | None = None
    """Keys in hand, fingerprint verified."""
    media_at: float | None = None
    """First packet that passed SRTP."""

    @property
    def ice_s(self) -> float | None:
        """From the offer to the first check."""
        return None if self.checked_at is None else self.checked_at - self.offered_at

    @property
    def dtls_s(self) -> float | None:
        """From the first check to the keys: two round trips and what the machines need."""
        if self.checked_at is None or self.secured_at is None:
            return None
        return self.secured_at - self.checked_at


@dataclass(slots=True)
class Traffic:
    """Counted since the leg was made. Bytes are those of the RTP and RTCP packets before protection."""

    rtp_received: int = 0
    rtp_received_bytes: int = 0
    rtp_sent: int = 0
    rtp_sent_bytes: int = 0
    checks: int = 0
    restarts: int = 0
    """Checks with another of the agreed credential pairs than before."""
    moves: int = 0
    """Changes of the address that it is sent to."""


OnPacket: TypeAlias = Callable[["Leg", bytes, float], None]
OnChange: TypeAlias = Callable[["Leg"], None]


def _ignore(leg: Leg, data: bytes, now: float) -> None:
    pass


def _unmoved(leg: Leg) -> None:
    pass


class Leg:
    """One participant's transport.

    Made with its credentials, it answers checks at once and begins the handshake with the first of them; ``accept`` gives
    the browser's fingerprint, before or after. ``on_rtp`` and ``on_rtcp`` get plain packets; ``send_rtp`` and ``send_rtcp``
    take them. A spare credential pair is accepted like the main one: that is an ICE restart, and changes nothing else.
    """

    def __init__(
        self,
        pairs: Sequence[Credentials],
        certificate: Certificate,
        demux: Demultiplexer,
        drops: Drops,
        *,
        now: float,
        clock: Callable[[], float],
    ) -> None:
        """Make a leg in a running loop; ``pairs``: the main pair and the spares, agreed with the offer."""
        self.credentials: Mapping[str, Credentials] = {pair.ufrag: pair for pair in pairs}
        self.state = LegState.NEW
        self.ending: Ending | None = None
        self.timing = Timing(now)
        self.traffic = Traffic()
        self.heard_at = now
        """When something authentic last came, or since when that is awaited; its owner may let that begin later."""
        self.on_rtp: OnPacket = _ignore
        self.on_rtcp: OnPacket = _ignore
        self.on_stun_answer: Callable[[bytes, float], None] | None = None
        """Takes answers to checks of ours, unverified; None: there are none."""
        self.on_change: OnChange = _unmoved
        """Called when ``state`` has changed."""
        self._rule: AddressRule[Path] = AddressRule()
        self._proof: proof.Proof[Path] = proof.Proof()
        self._checks_here = Allowance(CHECKS_PER_S, CHECKS_BURST, now)
        self._checks_elsewhere = Allowance(CHECKS_PER_S, CHECKS_BURST, now)
        """Of paths that it is not sent to: whoever repeats its checks from elsewhere stops none of its own."""
        self._ufrag = pairs[0].ufrag
        self._demux = demux
        self._drops = drops
        self._clock = clock
        self._srtp: Srtp | None = None
        self._ssrcs: set[bytes] = set()
        """What the browser sends: named in its answer, or authenticated."""
        self._newest: dict[bytes, int] = {}
        """Highest sequence number of each SSRC (RFC 3550 §A.1)."""
        self._fingerprints: asyncio.Future[Sequence[str]] = (
            asyncio.get_running_loop().create_future()
        )
        self._association: Association | None = None
        self._farewell: Farewell | None = None
        """Stands for the association once there are keys."""
        self._certificate = certificate
        self._securing: asyncio.Task[None] | None = None

    @property
    def srtp_profile(self) -> str | None:
        """The profile that the handshake chose."""
        return self._srtp.profile if self._srtp is not None else None

    @property
    def path(self) -> Path | None:
        """Where its packets go now."""
        return self._rule.current

    def accept(
        self, fingerprints: Sequence[str], ssrcs: Sequence[int], now: float, *, ice: str = ""
    ) -> None:
        """Take from the browser's answer who it is and what it sends; a second answer changes not who it is.

        Args:
            fingerprints: of its certificates.
            ssrcs: what it sends with.
            now: monotonic seconds.
            ice: its own credentials, ``ufrag:pwd``; without them its paths can't be proved.
        """
        self._proof.answered_with(ice)
        for ssrc in ssrcs:
            self._learn(ssrc.to_bytes(4, "big"))
        if not self._fingerprints.done():
            self.timing.answered_at = now
            self._fingerprints.set_result(list(fingerprints))

    def send_rtp(self, packet: bytes | bytearray, weight: Weight) -> bool:
        """Protect and send an RTP packet; return False where it was dropped (and counted)."""
        rule = self._rule
        if rule.bounded and weight is Weight.PICTURE:
            self._drops[Drop.PATH_UNPROVED] += 1
            return False
        path = rule.current
        if path is None or self._srtp is None:
            self._drops[Drop.NO_PATH] += 1
            return False
        try:
            data = self._srtp.protect_rtp(packet)
        except SRTP_ERRORS:
            self._drops[Drop.SRTP_REFUSED] += 1
            return False
        path.send(data, weight)
        traffic = self.traffic
        traffic.rtp_sent += 1
        traffic.rtp_sent_bytes += len(packet)
        return True

    def send_rtcp(self, packet: bytes) -> bool:
        """Protect and send a compound or reduced-size RTCP packet; return False where it was dropped (and counted)."""
        path = self._rule.current
        if path is None or self._srtp is None:
            self._drops[Drop.NO_PATH] += 1
            return False
        try:
            data = self._srtp.protect_rtcp(packet)
        except SRTP_ERRORS:
            self._drops[Drop.SRTP_REFUSED] += 1
            return False
        path.send(data, Weight.CONTROL)
        return True

    def may_check(self, path: Path, now: float) -> bool:
        """Return whether one more check is read; only those that are authentic have counted."""
        here = path == self._rule.current
        allowance = self._checks_here if here else self._checks_elsewhere
        return allowance.left >= 0 or allowance.fill(now)

    def receive_check(self, check: Check, path: Path, now: float) -> None:
        """Answer an authenticated check, follow it, and begin the handshake with the first."""
        here = path == self._rule.current
        (self._checks_here if here else self._checks_elsewhere).left -= 1
        if path.leg is not None and path.leg is not self and path.leg.holds(path, now):
            self._drops[Drop.STUN_UNAUTHENTIC] += 1
            return
        path.send(answer(check, path.source), Weight.CONTROL)
        if check.conflict or self.state is LegState.CLOSED:
            return
        self.heard_at = now
        self.traffic.checks += 1
        if check.ufrag != self._ufrag:
            self._ufrag = check.ufrag
            self.traffic.restarts += 1
        self._adopt(path)
        self._proof.checked_by(check.theirs)
        self._followed(*self._rule.on_check(path, nominated=check.nominated, now=now))
        self._ask(now)
        if self.state is LegState.NEW:
            self.timing.checked_at = now
            self._association = Association(self._certificate, self._send_dtls)
            self._securing = asyncio.get_running_loop().create_task(self._secure(self._association))
            self._enter(LegState.SECURING)

    def receive_stun_answer(self, data: bytes, now: float, path: Path | None = None) -> None:
        """Hand an answer on to whoever sent checks; it moves nothing, but may prove the path that it comes from, if that is said."""
        if path is not None and self._proof.asked(data):
            if self._proof.proves(data, path, checked=self._rule.was_checked(path)):
                self._rule.prove(path)
        elif self.on_stun_answer is None:
            self._drops[Drop.STUN_NOT_A_CHECK] += 1
        else:
            self.on_stun_answer(data, now)

    @property
    def ufrag(self) -> str:
        """Our part of the credentials that it is checked with now."""
        return self._ufrag

    def holds(self, path: Path, now: float) -> bool:
        """Return whether this leg talks over a path, and was heard from there just now."""
        return path == self._rule.current and now - self._rule.heard_at < HELD_S

    def receive_dtls(self, data: bytes) -> None:
        """Hand a DTLS record to the association, or to what is left of it."""
        if self._farewell is not None:
            if self._farewell.heard(data):
                self._said_goodbye()
        elif self._association is None or not self._association.feed(data):
            self._drops[Drop.DTLS_OVERFLOW] += 1

    def receive_rtp(self, data: bytes, path: Path, now: float) -> None:
        """Unprotect an RTP packet and hand it on; what fails is counted and leaves no trace."""
        srtp = self._srtp
        if srtp is None:
            self._drops[Drop.SRTP_EARLY] += 1
            return
        ssrc = data[8:12]
        highest = self._newest.get(ssrc)
        if highest is None and not self._has_room(ssrc):
            return
        try:
            packet = srtp.unprotect_rtp(data)
        except SRTP_ERRORS as error:
            self._drops[reason(error)] += 1
            return
        number = (packet[2] << 8) | packet[3]
        newest = (
            highest is None
            or 0 < (number - highest) & 0xFFFF < 0x8000
            or now - self.heard_at > FORGIVEN_S
        )
        if newest:
            if highest is None:
                self._first_of(ssrc, now)
            self._newest[ssrc] = number
        self.heard_at = now
        rule = self._rule
        if path is rule.current:
            rule.heard_at = now
        else:
            self._adopt_if_moved(path, newest=newest, now=now)
        traffic = self.traffic
        traffic.rtp_received += 1
        traffic.rtp_received_bytes += len(packet)
        self.on_rtp(self, packet, now)

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """Unprotect an RTCP packet and hand it on; it never moves the leg."""
        if self._srtp is None:
            self._drops[Drop.SRTP_EARLY] += 1
            return
        if not self._has_room(ssrc := data[4:8]):
            return
        try:
            packet = self._srtp.unprotect_rtcp(data)
        except SRTP_ERRORS as error:
            self._drops[reason(error)] += 1
            return
        self._learn(ssrc)
        self.heard_at = now
        self.on_rtcp(self, packet, now)

    def path_lost(self, path: Path) -> None:
        """A connection closed: go on with what is left."""
        self._rule.forget(path, self._clock())

    def sweep(self, now: float) -> bool:
        """Do what time asks for; return True when the leg has been silent for too long and is to be closed."""
        moved, forgotten = self._rule.on_time(now)
        self._followed(moved, forgotten)
        self._ask(now)
        return now - self.heard_at >= SILENT_S

    async def close(self, ending: Ending = Ending.ASKED) -> None:
        """Say goodbye, leave the tables, end the task. May be called twice."""
        securing = self._securing
        if securing is asyncio.current_task():
            securing = None
        if self.state is LegState.CLOSED:
            if securing is not None:
                await asyncio.wait({securing})
            return
        self.ending = ending
        self.state = LegState.CLOSED
        if securing is not None:
            securing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await securing
        if self._farewell is not None:
            self._send_dtls(self._farewell.said())
        elif self._association is not None:
            await self._association.stop()
        self._srtp = None
        if not self._fingerprints.done():
            self._fingerprints.cancel()
        for path in self._rule.paths():
            self._rule.forget(path, self._clock())
            path.forgotten()
        self._demux.remove(self, self.credentials, self._ssrcs)
        self.on_change(self)

    async def _secure(self, association: Association) -> None:
        try:
            keys = await association.handshake(self._fingerprints, deadline_s=HANDSHAKE_S)
        except DtlsFailed as failed:
            wrong = failed.code == "fingerprint"
            await self.close(Ending.FINGERPRINT if wrong else Ending.HANDSHAKE_FAILED)
            return
        except Exception as error:  # noqa: BLE001 a defect below us ends this leg, not the process
            _log.error("a handshake failed: %s", type(error).__name__)
            await self.close(Ending.HANDSHAKE_FAILED)
            return
        self._srtp = Srtp(keys)
        self.timing.secured_at = self._clock()
        self._farewell = await association.reduce()
        if self._farewell is None:
            association.on_end(self._said_goodbye)
        else:
            self._association = None
        self._rule.connected(self._clock())
        self._ask(self._clock())
        self._enter(LegState.CONNECTED)

    def _said_goodbye(self) -> None:
        if self.state is LegState.CLOSED:
            return
        self._securing = asyncio.get_running_loop().create_task(self.close(Ending.PEER))

    def _send_dtls(self, data: bytes) -> None:
        path = self._rule.current
        if path is None:
            self._drops[Drop.NO_PATH] += 1
        else:
            path.send(data, Weight.CONTROL)

    def _enter(self, state: LegState) -> None:
        self.state = state
        self.on_change(self)

    def _adopt(self, path: Path) -> None:
        if path.leg is self:
            return
        if path.leg is not None:
            # One address, two legs: the browser behind it made a new connection from the same port.
            path.leg.path_lost(path)
        path.adopted(self)

    def _adopt_if_moved(self, path: Path, *, newest: bool, now: float) -> None:
        moved, forgotten = self._rule.on_media(path, newest=newest, now=now)
        if moved:
            self._adopt(path)
        self._followed(moved, forgotten)
        self._ask(now)

    def _ask(self, now: float) -> None:
        """Ask for a proof of the path that it is sent to, if there is none."""
        path = self._rule.unproved
        if path is None or self.state is LegState.CLOSED:
            return
        if path.transport == "tcp":  # the connection itself is one
            self._rule.prove(path)
        elif (data := self._proof.ask(path, self._ufrag, now)) is not None:
            path.send(data, Weight.CONTROL)

    def _followed(self, moved: bool, forgotten: Path | None) -> None:
        if moved:
            self.traffic.moves += 1
        if forgotten is not None:
            forgotten.forgotten()

    def _first_of(self, ssrc: bytes, now: float) -> None:
        if self.timing.media_at is None:
            self.timing.media_at = now
        self._learn(ssrc)

    def _has_room(self, ssrc: bytes) -> bool:
        """Ask before libsrtp does: it keeps a state for each SSRC that ever passed: a browser may have many, not any number."""
        if ssrc in self._ssrcs or len(self._ssrcs) < SSRCS_MAX:
            return True
        self._drops[Drop.SSRC_LIMIT] += 1
        return False

    def _learn(self, ssrc: bytes) -> None:
        if ssrc not in self._ssrcs and len(self._ssrcs) < SSRCS_MAX:
            self._ssrcs.add(ssrc)
            self._demux.learn(self, ssrc)
