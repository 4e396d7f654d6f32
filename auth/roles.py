# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one table, read by every door (WebSocket, HTTP, command line).

The table says what a *role* may do. Whether this very person may do it to this very consult (their
own consult, the specialist who was rung) is the lifecycle's question, asked after this one.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from auth.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping


class Role(StrEnum):
    """Who takes part."""

    PATIENT = "patient"
    """Came by an invitation, for one consult; has no account."""
    SPECIALIST = "specialist"
    """Has an account; is rung while on call."""
    INTERPRETER = "interpreter"
    """Was invited into one consult to translate."""
    RELATIVE = "relative"
    """Was invited into one consult to be there."""
    OPERATOR = "operator"
    """Has an account; runs the service for a region or a post."""
    RELAY = "relay"
    """A media relay: a program, no person."""


class Action(StrEnum):
    """Everything that may be done. Closed: what isn't in this list can't be allowed."""

    GIVE_INTAKE = "give_intake"
    """Say what is wrong, for whom, and consent to the call."""
    LEAVE = "leave"
    """Leave one's own place in a consult."""
    CHAT = "chat"
    """Write and read lines in one's consult."""
    NEGOTIATE = "negotiate"
    """Send descriptions and candidates to one's peer."""
    GET_TURN = "get_turn"
    """Receive credentials for the TURN server."""
    REPORT = "report"
    """Report connection states and statistics."""
    GO_ON_CALL = "go_on_call"
    """Be available for ringing, or stop being so."""
    ANSWER_RING = "answer_ring"
    """Accept or decline when rung."""
    TRANSFER = "transfer"
    """Hand one's consult to another specialist or specialty, or put it on hold."""
    END_CONSULT = "end_consult"
    """End one's consult with an outcome."""
    WRITE_NOTE = "write_note"
    """Write the note of one's consult."""
    INVITE = "invite"
    """Make invitations: for a patient, an interpreter, a relative."""
    APPROVE_TAKEOVER = "approve_takeover"
    """Confirm that another device takes a participant's place."""
    SEE_HISTORY = "see_history"
    """Read one's own past consults."""
    WATCH_BOARD = "watch_board"
    """See who waits, who is in call and who is on call, live."""
    MANAGE_ACCOUNTS = "manage_accounts"
    """Create, change and close accounts."""
    SERVE_MEDIA = "serve_media"
    """Announce a relay's address, capacity and load, and be given legs."""
    ERASE = "erase"
    """Destroy a consult's personal content and its key."""


# What every person in a call needs, whoever they are.
_IN_CALL: Final = frozenset({Action.CHAT, Action.NEGOTIATE, Action.GET_TURN, Action.REPORT})

# An invited guest sees nothing but the call: no queue, no intake, no history.
_GUEST: Final = _IN_CALL | {Action.LEAVE}

PERMISSIONS: Final[Mapping[Role, frozenset[Action]]] = MappingProxyType(
    {
        # The device in use may let another one take its place.
        Role.PATIENT: _IN_CALL | {Action.GIVE_INTAKE, Action.LEAVE, Action.APPROVE_TAKEOVER},
        Role.SPECIALIST: _IN_CALL
        | {
            Action.GO_ON_CALL,
            Action.ANSWER_RING,
            Action.TRANSFER,
            Action.END_CONSULT,
            Action.WRITE_NOTE,
            Action.INVITE,
            Action.APPROVE_TAKEOVER,
            Action.SEE_HISTORY,
        },
        Role.INTERPRETER: _GUEST,
        Role.RELATIVE: _GUEST,
        # Operators run the service and never sit in a call: nothing that reaches media or a
        # conversation.
        Role.OPERATOR: frozenset(
            {
                Action.INVITE,
                Action.APPROVE_TAKEOVER,
                Action.WATCH_BOARD,
                Action.MANAGE_ACCOUNTS,
                Action.ERASE,
            }
        ),
        # A relay is given legs and says how they are; it reads no line of anybody's conversation.
        Role.RELAY: frozenset({Action.SERVE_MEDIA}),
    }
)
"""The one table. A role or action that is missing here may do nothing."""


def may(role: Role, action: Action) -> bool:
    """Say whether ``role`` may do ``action``."""
    return action in PERMISSIONS[role]


def require(role: Role, action: Action) -> None:
    """Return when ``role`` may do ``action``.

    Raises:
        PermissionDenied: it may not.
    """
    if not may(role, action):
        raise PermissionDenied(f"{role} may not {action}")
