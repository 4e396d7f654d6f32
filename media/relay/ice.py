# SPDX-License-Identifier: Apache-2.0
"""ICE-lite (RFC 8445 §2.5) as decisions: which checks are ours, what answers them, where a leg's packets go.

No socket, no task, no clock: bytes and instants in, bytes and verdicts out. What it costs an attacker to be ignored is one
look at a datagram's attributes; parsing and HMAC are paid only for a ufrag that exists, and nothing is kept unless
MESSAGE-INTEGRITY was right.
"""

from __future__ import annotations

import base64
import struct
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aioice import stun
from typing_extensions import override

from media.relay.drops import Drop

UFRAG_BYTES = 6
"""48 random bits in 8 characters; RFC 8445 §5.3 asks for 24."""
PWD_BYTES = 18
"""144 random bits in 24 characters; RFC 8445 §5.3 asks for 128."""

SILENCE_S = 0.3
"""A leg's address is silent after this. Voice comes each 20–60 ms, 120 at most; USE-CANDIDATE alone would cost 3 s
(Chromium 156 nominates 3.0–3.7 s after a restart)."""
TRIAL_S = 5.0
"""An address known by media alone is given up without a check in this time. Chromium checks every 2.5 s."""
ADDRESSES_MAX = 8
"""Addresses a leg is known by; the one longest unheard goes first. A restart of a phone on two networks, with UDP and TCP,
has 4."""

_COOKIE = struct.pack("!I", stun.COOKIE)
_BINDING_REQUEST = b"\x00\x01"
_FINGERPRINT = b"\x80\x28\x00\x04"
_USERNAME = 0x0006
_ATTRIBUTES_MAX = 16
"""USERNAME stands first in every browser's check; deeper than this nobody has it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """One pair of ICE credentials (RFC 8839 §5.4)."""

    ufrag: str
    pwd: str

    @classmethod
    def of(cls, randomness: bytes) -> Credentials:
        """Make a pair from ``UFRAG_BYTES + PWD_BYTES`` random bytes."""
        if len(randomness) != UFRAG_BYTES + PWD_BYTES:
            raise ValueError(f"{UFRAG_BYTES + PWD_BYTES} random bytes are needed")
        text = base64.b64encode(randomness).decode()
        return cls(text[:8], text[8:])

    @override
    def __str__(self) -> str:
        """As it travels in a description's fields: ``ufrag:pwd``; neither may contain a colon."""
        return f"{self.ufrag}:{self.pwd}"

    @override
    def __repr__(self) -> str:
        """Without the password: credentials must not reach a log."""
        return f"Credentials({self.ufrag!r})"


@dataclass(frozen=True, slots=True)
class Check:
    """A connectivity check whose MESSAGE-INTEGRITY and FINGERPRINT were right."""

    ufrag: str
    """Ours, with which it was addressed: the main pair's or a spare's."""
    pwd: str
    transaction_id: bytes
    nominated: bool
    """It carries USE-CANDIDATE."""
    conflict: bool
    """The peer believes it is the controlled side; answered by 487, so that it changes its mind."""


def ufrag_of(data: bytes) -> str | Drop:
    """Return our ufrag in a datagram that looks like a binding request, else why it is dropped. Checks no signature."""
    if len(data) < stun.HEADER_LENGTH or data[4:8] != _COOKIE:
        return Drop.STUN_MALFORMED
    if data[:2] != _BINDING_REQUEST:
        return Drop.STUN_NOT_A_CHECK
    if int.from_bytes(data[2:4], "big") != len(data) - stun.HEADER_LENGTH:
        return Drop.STUN_MALFORMED
    at = stun.HEADER_LENGTH
    for _ in range(_ATTRIBUTES_MAX):
        if at + 4 > len(data):
            break
        kind, length = struct.unpack_from("!HH", data, at)
        if kind == _USERNAME:
            ours, colon, _theirs = data[at + 4 : at + 4 + length].partition(b":")
            if not colon or not ours.isascii():
                return Drop.STUN_MALFORMED
            return ours.decode("ascii")
        at += 4 + (length + 3) // 4 * 4
    return Drop.STUN_UNAUTHENTIC


def read_check(data: bytes, credentials: Credentials) -> Check | Drop:
    """Return a check that was signed with these credentials, else why it is dropped."""
    if data[-8:-4] != _FINGERPRINT:  # RFC 8489 §14.7: the last attribute
        return Drop.STUN_MALFORMED
    try:
        message = stun.parse_message(data)
    except (ValueError, struct.error, IndexError):
        return Drop.STUN_MALFORMED
    if message.attributes.get("USERNAME", "").partition(":")[0] != credentials.ufrag:
        return Drop.STUN_UNAUTHENTIC
    if not message.check_message_integrity(credentials.pwd.encode()):
        return Drop.STUN_UNAUTHENTIC
    return Check(
        ufrag=credentials.ufrag,
        pwd=credentials.pwd,
        transaction_id=message.transaction_id,
        nominated="USE-CANDIDATE" in message.attributes,
        conflict="ICE-CONTROLLED" in message.attributes,
    )


def answer(check: Check, source: tuple[str, int]) -> bytes:
    """Return the response to a check that came from ``source``.

    A lite agent is always the controlled one (RFC 8445 §6.1.1), whatever the tie-breakers say: a peer that thinks otherwise
    is told 487 (§7.3.1.1) and repeats its check in the other role.
    """
    message = stun.Message(
        message_method=stun.Method.BINDING,
        message_class=stun.Class.ERROR if check.conflict else stun.Class.RESPONSE,
        transaction_id=check.transaction_id,
    )
    if check.conflict:
        message.attributes["ERROR-CODE"] = (487, "Role Conflict")
    else:
        message.attributes["XOR-MAPPED-ADDRESS"] = source
    message.add_message_integrity(check.pwd.encode())
    return bytes(message)


P = TypeVar("P", bound=Hashable)


class AddressRule(Generic[P]):
    """Which of a leg's paths its packets go to. A path is anything hashable.

    It moves on USE-CANDIDATE; on any authenticated check once the current path has been silent for ``SILENCE_S``; and on
    the newest SRTP-authenticated packet from an unknown path, then on trial: without a check in ``TRIAL_S`` the move is
    taken back, so that somebody who records a packet and is faster than its sender gains seconds at most. Media from a
    path that is known already move it only after silence: packets that overtake each other don't make it flap.
    """

    __slots__ = ("_checked_at", "_denied", "_trial", "current", "heard_at")

    def __init__(self) -> None:
        self.current: P | None = None
        self.heard_at = float("-inf")
        """When something authenticated last came from the current path; the packet path sets it directly."""
        self._checked_at: OrderedDict[P, float] = OrderedDict()
        """Last check of each known path, or -inf where only media came; the longest unheard first."""
        self._trial: tuple[P | None, float] | None = None
        """Where to return to, and when, unless a check comes."""
        self._denied: P | None = None
        """The path whose trial failed: media from it move nothing until a check."""

    def paths(self) -> list[P]:
        """Return the known paths, the longest unheard first."""
        return list(self._checked_at)

    def on_check(self, path: P, *, nominated: bool, now: float) -> tuple[bool, P | None]:
        """Take note of an authenticated check; return whether the leg moves, and a path that is forgotten for this one."""
        if path == self._denied:
            self._denied = None
        forgotten = self._know(path, now)
        if path == self.current:
            self.heard_at = now
            self._trial = None
            return False, forgotten
        if self.current is not None and not nominated and now - self.heard_at < SILENCE_S:
            return False, forgotten
        self._move(path, now)
        return True, forgotten

    def on_media(self, path: P, *, newest: bool, now: float) -> tuple[bool, P | None]:
        """Take note of an SRTP-authenticated packet; return the same as ``on_check``.

        Args:
            path: where it came from.
            newest: its sequence number is beyond all before it of its SSRC.
            now: monotonic seconds.
        """
        if path == self.current:
            self.heard_at = now
            return False, None
        if not newest or path == self._denied:
            return False, None
        checked_at = self._checked_at.get(path)
        quiet = self.current is None or now - self.heard_at >= SILENCE_S
        if checked_at is not None and not quiet:
            return False, None
        before = self.current
        forgotten = self._know(path, checked_at if checked_at is not None else float("-inf"))
        self._move(path, now)
        if checked_at is None or now - checked_at > TRIAL_S:
            self._trial = (before, now + TRIAL_S)
        return True, forgotten

    def on_time(self, now: float) -> tuple[bool, P | None]:
        """Take an unconfirmed move back when it is due; return whether the leg moved, and the path that is forgotten."""
        if self._trial is None or now < self._trial[1]:
            return False, None
        before, denied = self._trial[0], self.current
        self._trial = None
        self._denied = denied
        if denied is not None:
            self._checked_at.pop(denied, None)
        self.current = before if before in self._checked_at else None
        return True, denied

    def forget(self, path: P) -> None:
        """A path is gone (a connection closed): the leg falls back to the known path heard last."""
        self._checked_at.pop(path, None)
        if self.current == path:
            self._trial = None
            self.current = next(reversed(self._checked_at), None)
            self.heard_at = float("-inf")

    def _know(self, path: P, checked_at: float) -> P | None:
        self._checked_at[path] = checked_at
        self._checked_at.move_to_end(path)
        if len(self._checked_at) <= ADDRESSES_MAX:
            return None
        oldest = next(each for each in self._checked_at if each != self.current)
        del self._checked_at[oldest]
        return oldest

    def _move(self, path: P, now: float) -> None:
        self.current = path
        self.heard_at = now
        self._trial = None
