# SPDX-License-Identifier: Apache-2.0
"""ICE-lite (RFC 8445 §2.5) as decisions: which checks are ours, what answers them, where a leg's packets go.

No socket, no task, no clock: bytes and instants in, bytes and verdicts out. What it costs an attacker to be ignored is one
look at a datagram's attributes; parsing and HMAC are paid only for a ufrag that exists, and nothing is kept unless
MESSAGE-INTEGRITY was right.
"""

from __future__ import annotations

import base64
import hmac
import struct
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aioice import stun
from typing_extensions import override

from media.core.budget import Allowance
from media.relay.drops import Drop

UFRAG_BYTES = 6
"""48 random bits in 8 characters; RFC 8445 §5.3 asks for 24."""
PWD_BYTES = 18
"""144 random bits in 24 characters; RFC 8445 §5.3 asks for 128."""

SILENCE_S = 0.3
"""A leg's address is silent after this. Voice comes each 20–60 ms, 120 at most; USE-CANDIDATE alone would cost 3 s
(Chromium 156 nominates 3.0–3.7 s after a restart)."""
TRIAL_S = 5.0
"""An address known by media alone is given up without a check in this time (Chromium checks every 2.5 s), one that has not
proved itself where nothing comes from it any more: three round trips of the longest way, and their losses."""
STRANGERS_S = 15.0
STRANGERS_PER_S = 1 / 60
"""For how long a leg may be sent everything to paths that turned out to be nobody's: three trials that end in silence (a link
that goes down again before one answer has passed), and one more each 5 minutes. A path that is proved costs nothing."""
CHECKS_PER_S = 50.0
"""Of one leg. Chromium sends one each 48 ms over all its pairs while it connects, and two a second later (its sources); others one
each 50 ms (RFC 8445 §14.2) and repeats of those, 100 ms and more apart."""
CHECKS_BURST = 300.0
"""Of these, what may come at once: a set-up with 8 pairs and 7 repeats of each is 64, 4 s of a link's queue 84 of Chromium's."""
ADDRESSES_MAX = 8
"""Addresses a leg is known by; the one longest unheard goes first. A restart of a phone on two networks, with UDP and TCP,
has 4."""

_COOKIE = struct.pack("!I", stun.COOKIE)
_BINDING_REQUEST = b"\x00\x01"
_FINGERPRINT = b"\x80\x28\x00\x04"
_INTEGRITY = b"\x00\x08\x00\x14"
_TAIL_BYTES = 32
"""MESSAGE-INTEGRITY and FINGERPRINT, with which every browser's check ends."""
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
    theirs: str = ""
    """The browser's ufrag."""


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
    if data[-_TAIL_BYTES:-28] != _INTEGRITY:
        return Drop.STUN_UNAUTHENTIC
    # Before anything is parsed: a stranger's check costs no more than his RTP does (RFC 8489 §14.5).
    signed = data[:2] + (len(data) - 28).to_bytes(2, "big") + data[4:-_TAIL_BYTES]
    digest = hmac.digest(credentials.pwd.encode(), signed, "sha1")
    if not hmac.compare_digest(digest, data[-28:-8]):
        return Drop.STUN_UNAUTHENTIC
    try:
        message = stun.parse_message(data)
    except (ValueError, struct.error, IndexError):
        return Drop.STUN_MALFORMED
    ours, _, theirs = message.attributes.get("USERNAME", "").partition(":")
    if ours != credentials.ufrag:
        return Drop.STUN_UNAUTHENTIC
    return Check(
        ufrag=credentials.ufrag,
        pwd=credentials.pwd,
        transaction_id=message.transaction_id,
        nominated="USE-CANDIDATE" in message.attributes,
        conflict="ICE-CONTROLLED" in message.attributes,
        theirs=theirs,
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


@dataclass(slots=True)
class _Trial(Generic[P]):
    """Of a path that a leg moved to before it was proved."""

    before: P | None
    moved_at: float
    until: float
    by_media: bool
    """No check had come from there lately."""


class AddressRule(Generic[P]):
    """Which of a leg's paths its packets go to. A path is anything hashable.

    It moves on USE-CANDIDATE; on any authenticated check once the current path has been silent for ``SILENCE_S``; and on
    the newest SRTP-authenticated packet from an unknown path, then on trial: without a check in ``TRIAL_S`` the move is
    taken back, so that somebody who records a packet and is faster than its sender gains seconds at most. Media from a
    path that is known already move it only after silence: packets that overtake each other don't make it flap.

    Once it is ``connected``, every move to a path that is not proved is on trial: whoever has the leg's keys can write
    anybody's address on checks and media, but can't read what is sent there. An answer to a check of ours proves a path.
    Without one the move is taken back after ``TRIAL_S`` if nothing more came from there, or a proved path was heard
    meanwhile. Else it stays, ``bounded`` until it is proved, for a browser might not answer. A leg that has
    spent ``STRANGERS_S`` on paths that proved nothing is bounded with each new path at once.
    """

    __slots__ = (
        "_checked_at", "_connected", "_denied", "_proved", "_strangers", "_trial", "bounded", "current", "heard_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.current: P | None = None
        self.heard_at = float("-inf")
        """When something authentic last came from the current path; the packet path sets it directly."""
        self.bounded = False
        """Whether the current path should have been proved by now: it gets what is needed to talk and no more."""
        self._checked_at: OrderedDict[P, float] = OrderedDict()
        """Last check of each known path, or -inf where only media came; the longest unheard first."""
        self._trial: _Trial[P] | None = None
        self._denied: P | None = None
        """The path whose trial failed: media from it move nothing until a check."""
        self._connected = False
        self._proved: set[P] = set()
        self._strangers = Allowance(STRANGERS_PER_S, STRANGERS_S, 0.0)
        """Seconds."""

    def paths(self) -> list[P]:
        """Return the known paths, the longest unheard first."""
        return list(self._checked_at)

    def was_checked(self, path: P) -> bool:
        """Return whether somebody who has the leg's password has written a known path on a check."""
        return self._checked_at.get(path, float("-inf")) > float("-inf")

    @property
    def unproved(self) -> P | None:
        """The current path, where it is to be asked for a proof."""
        if not self._connected or self.current in self._proved:
            return None
        return self.current

    def connected(self, now: float) -> None:
        """There are keys, and something worth being sent to others: only what has proved itself is trusted from now on.

        The handshake has proved a path if it was the only one.
        """
        self._connected = True
        self._strangers = Allowance(STRANGERS_PER_S, STRANGERS_S, now)
        if self.current is not None and len(self._checked_at) == 1:
            self._proved.add(self.current)
        elif self.current is not None:
            self._try(None, now, by_media=False)

    def prove(self, path: P) -> None:
        """Somebody at a known path has received what was sent there."""
        if path not in self._checked_at:
            return
        self._proved.add(path)
        if path == self._denied:
            self._denied = None
        if path == self.current:
            self._trial = None
            self.bounded = False

    def on_check(self, path: P, *, nominated: bool, now: float) -> tuple[bool, P | None]:
        """Take note of an authenticated check; return whether the leg moves, and a path that is forgotten for this one."""
        if path == self._denied:
            self._denied = None
        forgotten = self._know(path, now)
        if path == self.current:
            self.heard_at = now
            if not self._connected or path in self._proved:
                self._trial = None
            return False, forgotten
        if self.current is not None and not nominated and now - self.heard_at < SILENCE_S:
            return False, forgotten
        self._move(path, now, by_media=False)
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
        forgotten = self._know(path, checked_at if checked_at is not None else float("-inf"))
        self._move(path, now, by_media=checked_at is None or now - checked_at > TRIAL_S)
        return True, forgotten

    def on_time(self, now: float) -> tuple[bool, P | None]:
        """Take an unconfirmed move back when it is due; return whether the leg moved, and the path that is forgotten."""
        trial, path = self._trial, self.current
        if trial is None or path is None or now < trial.until:
            return False, None
        if self.unproved is not None and self._is_alone(path, trial):
            self._end_trial(now)
            self._trial, self.bounded = trial, True
            trial.moved_at, trial.until = now, now + TRIAL_S
            return False, None
        if trial.by_media:
            self._denied = path
        self._end_trial(now)
        self._drop(path)
        self.current = self._fallback(trial.before)
        return True, path

    def forget(self, path: P, now: float) -> None:
        """A path is gone (a connection closed): the leg falls back to the known path heard last."""
        if self.current == path:
            self._end_trial(now)
        self._drop(path)
        if self.current == path:
            self.current = next(reversed(self._checked_at), None)
            if self.current is not None and self._connected and self.current not in self._proved:
                self._try(None, now, by_media=False)
            self.heard_at = float("-inf")

    def _is_alone(self, path: P, trial: _Trial[P]) -> bool:
        """Return whether a path that was not proved is all that the leg has: it was heard since, and no proved one was."""
        checked_at = self._checked_at.get(path, float("-inf"))
        if (checked_at if trial.by_media else self.heard_at) <= trial.moved_at:
            return False
        return all(self._checked_at[each] <= trial.moved_at for each in self._proved)

    def _fallback(self, before: P | None) -> P | None:
        if not self._connected or before in self._proved:
            return before if before in self._checked_at else None
        return next((each for each in reversed(self._checked_at) if each in self._proved), None)

    def _know(self, path: P, checked_at: float) -> P | None:
        self._checked_at[path] = checked_at
        self._checked_at.move_to_end(path)
        if len(self._checked_at) <= ADDRESSES_MAX:
            return None
        oldest = next(each for each in self._checked_at if each != self.current)
        self._drop(oldest)
        return oldest

    def _drop(self, path: P) -> None:
        self._checked_at.pop(path, None)
        self._proved.discard(path)

    def _move(self, path: P, now: float, *, by_media: bool) -> None:
        self._end_trial(now)
        before, self.current = self.current, path
        self.heard_at = now
        if by_media or (self._connected and path not in self._proved):
            self._try(before, now, by_media=by_media)

    def _try(self, before: P | None, now: float, *, by_media: bool) -> None:
        self._trial = _Trial(before, now, now + TRIAL_S, by_media)
        if self.unproved is not None and self._strangers.left <= 0:
            self._strangers.fill(now)
            self.bounded = self._strangers.left <= 0

    def _end_trial(self, now: float) -> None:
        """The current path is left, or its time is over: if it was a stranger's, it has cost what it was sent."""
        if self._trial is not None and self.unproved is not None and not self.bounded:
            self._strangers.left -= now - self._trial.moved_at
        self._trial = None
        self.bounded = False
