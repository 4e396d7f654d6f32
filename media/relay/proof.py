# SPDX-License-Identifier: Apache-2.0
"""Proof that somebody at an address wants what is sent there: an answer to a check of ours.

Checks and media show who sent them, not from where: whoever has a leg's keys can write any source address on them. The 96
random bits of a check of ours are known only where it was sent to.

A browser that restarted ICE by itself has a password that no relay was told, so it can't be asked well: it answers by an error
without a signature, 401 in Chromium, 400 or 401 in Firefox (both by their sources). That is taken from an address that has
sent a check with a new ufrag: a STUN server would not give it to a stranger, and a bystander's host answers nothing at all.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from media.relay.survey import answered, request

ASK_S: Final = 0.5
"""Between two checks to one path: ten of 124 octets in the time that a path has to prove itself."""
ASKED_MAX: Final = 16
"""Checks whose answers may still come: of 8 s."""
SIZE_BYTES: Final = 1
"""Of a check: no padding."""
_ERROR: Final = b"\x01\x11"
_ERROR_CODE: Final = 0x0009
_REFUSED: Final = frozenset({400, 401})

P = TypeVar("P", bound=Hashable)


class Proof(Generic[P]):
    """What a leg has asked its paths, and with whose credentials."""

    __slots__ = ("_asked", "_at", "_password", "_path", "_theirs", "_tie_breaker", "_ufrag")

    def __init__(self) -> None:
        self._ufrag = self._password = ""
        """As answered."""
        self._theirs = ""
        """The ufrag that the browser checks with now."""
        self._asked: dict[bytes, P] = {}
        self._path: P | None = None
        self._at = float("-inf")
        self._tie_breaker = secrets.randbits(64)

    def answered_with(self, ice: str) -> None:
        """Take a browser's credentials, ``ufrag:pwd``; none: nothing can be asked."""
        if ice:
            self._ufrag, _, self._password = ice.partition(":")

    def checked_by(self, theirs: str) -> None:
        """Take the ufrag of an authenticated check."""
        self._theirs = theirs

    def ask(self, path: P, ours: str, now: float) -> bytes | None:
        """Return a check for a path that is to prove itself; None: not yet again, or it can't be asked."""
        if not self._password or (path == self._path and now - self._at < ASK_S):
            return None
        self._path, self._at = path, now
        name = f"{self._theirs or self._ufrag}:{ours}"
        data, transaction = request(name, self._password, SIZE_BYTES, self._tie_breaker)
        self._asked[transaction] = path
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return data

    def asked(self, data: bytes) -> bool:
        """Return whether an answer is to one of these checks."""
        return data[8:20] in self._asked

    def proves(self, data: bytes, path: P, *, checked: bool) -> bool:
        """Return whether an answer proves the path that it came by; it is taken once.

        Args:
            data: for which ``asked`` is true.
            path: where it came from.
            checked: authentic checks have come from there.
        """
        if self._asked[data[8:20]] != path:
            return False
        del self._asked[data[8:20]]
        if answered(data, self._password) is not None:
            return True
        restarted = bool(self._theirs) and self._theirs != self._ufrag
        return checked and restarted and _refused(data)


def _refused(data: bytes) -> bool:
    """Return whether it is the error of an ICE agent that knows the request's form, but not its signature."""
    if data[:2] != _ERROR:
        return False
    at = 20
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        if kind == _ERROR_CODE:
            return (data[at + 6] & 7) * 100 + data[at + 7] in _REFUSED
        at += 4 + length + -length % 4
    return False
