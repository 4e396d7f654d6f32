# SPDX-License-Identifier: Apache-2.0
"""How often one person may do what costs the store, the processor or the other side something. One set per node."""

from __future__ import annotations

from auth.errors import Throttled
from auth.throttle import (
    CHAT_BY_PERSON,
    HISTORY_BY_ACCOUNT,
    INVITE_BY_ACCOUNT,
    ON_CALL_BY_ACCOUNT,
    Throttle,
)
from signalling.core.allowance import Allowance
from signalling.edge.clock import now
from signalling.errors import Refused
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ParticipantId

FORWARDED_BURST_BYTES, FORWARDED_PER_S = 131_072.0, 8_192.0
"""Descriptions and candidates of one person. A browser's description is 2.6 to 6 KB and its candidates as much again; an
ICE restart every other second, for long, are 4 KB/s. A bucket holds two of the longest that are taken (60,000)."""
NOTE_BURST_BYTES, NOTE_PER_S = 524_288.0, 8_192.0
"""Notes of one specialist: each one saved is kept. The page saves after each pause of 1.2 s: 5,000 characters after each,
for ever, and 20,000 for 40 s pass. The most that is written is 29 MB an hour."""
NOTE_BYTES = 4_096
"""What a note costs beside its text: an event on a disk, and to everybody who follows."""


class Paces:
    """Each method counts one try, and raises if it is one too many."""

    def __init__(self) -> None:
        """Start with a clean slate."""
        self.lines = Throttle(CHAT_BY_PERSON)
        self._invites = Throttle(INVITE_BY_ACCOUNT)
        self._on_call = Throttle(ON_CALL_BY_ACCOUNT)
        self._history = Throttle(HISTORY_BY_ACCOUNT)
        self._forwarded = Allowance(FORWARDED_BURST_BYTES, FORWARDED_PER_S)
        self._notes = Allowance(NOTE_BURST_BYTES, NOTE_PER_S)

    def line(self, person: ParticipantId) -> None:
        """Count a line of chat; raises auth.errors.Throttled."""
        self.lines.charge(person, now())

    def invite(self, account: AccountId) -> None:
        """Count an invitation; raises auth.errors.Throttled."""
        self._invites.charge(account, now())

    def on_call(self, account: AccountId) -> None:
        """Count going on call; raises auth.errors.Throttled."""
        self._on_call.charge(account, now())

    def history(self, account: AccountId) -> None:
        """Count a look at past consults; raises auth.errors.Throttled."""
        self._history.charge(account, now())

    def note(self, account: AccountId, size_bytes: int) -> None:
        """Count a note of so many bytes; raises auth.errors.Throttled."""
        wait_s = self._notes.charge(account, NOTE_BYTES + size_bytes, now())
        if wait_s:
            raise Throttled(wait_s)

    def forward(self, sender: ParticipantId, size_bytes: int) -> None:
        """Count what goes to the other side, across connections; raises Refused ``rate_limited``."""
        if self._forwarded.charge(sender, size_bytes, now()):
            raise Refused(Code.RATE_LIMITED)
