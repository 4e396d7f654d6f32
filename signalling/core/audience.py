# SPDX-License-Identifier: Apache-2.0
"""Who may read what was said in a consult, and who may answer: one rule, asked by the table and by every door.

A patient reads and writes in their own consult (a session is for one consult; the edge sees to that). A specialist does so
while in its call; whoever ended it may read it afterwards. Where a call-back is owed, the messages are every specialist's,
as the promise is: somebody must be able to answer. Who reads then is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalling.core import events as ev
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId
from signalling.wire.terms import ConsultState, ContentKind

if TYPE_CHECKING:
    from signalling.core.lifecycle import Consult

CONTENT_MAX_BYTES = 64 * 2**20
"""What the photographs and voice messages of a consult may hold together: eight of the largest photographs."""
CONTENT_MAX_ITEMS = 200
"""And how many they may be: more than a minute's one in a shift."""


def owed(consult: Consult) -> bool:
    """Return whether a call-back was promised and nobody has accepted since."""
    return consult.callback_by is not None and not consult.over


def specialist_may_answer(consult: Consult, account: AccountId | None) -> bool:
    """Return whether a specialist may write and speak: in their call, or where a call-back is owed."""
    calls = (ConsultState.IN_CALL, ConsultState.INTERRUPTED)
    in_call = consult.state in calls and consult.specialist == account
    return account is not None and (in_call or owed(consult))


def specialist_may_read(consult: Consult, account: AccountId | None) -> bool:
    """Return whether a specialist may read: who may answer, and who ended the consult."""
    was_in_it = consult.over and consult.specialist == account
    return account is not None and (was_in_it or specialist_may_answer(consult, account))


# -- Guards of the table ---------------------------------------------------------------------------------------------


def new_line(consult: Consult, event: ev.Event) -> Code | None:
    """A chat key is recorded once; specialists write in their call, or where a call-back is owed."""
    assert isinstance(event, ev.ChatSent)
    return _said(consult, event, known=event.key in consult.chat_keys)


def new_content(consult: Consult, event: ev.Event) -> Code | None:
    """Content is there once, and a consult holds so much; photographs are the patient's; specialists speak as they write."""
    assert isinstance(event, ev.ContentAdded)
    if event.kind is ContentKind.STILL and event.role != ev.PATIENT:
        return Code.FORBIDDEN
    full = len(consult.content_keys) >= CONTENT_MAX_ITEMS
    if full or consult.content_bytes + event.bytes > CONTENT_MAX_BYTES:
        return Code.CONTENT_QUOTA
    return _said(consult, event, known=event.key in consult.content_keys)


def _said(consult: Consult, event: ev.ChatSent | ev.ContentAdded, *, known: bool) -> Code | None:
    own = event.role == ev.PATIENT or specialist_may_answer(consult, event.by)
    return None if own and not known else Code.WRONG_STATE


def last_word(consult: Consult, event: ev.Event) -> Code | None:
    """A promise is closed by whoever has the last word, in writing or by voice, and only once."""
    assert isinstance(event, ev.Answered)
    theirs = consult.last_word is not None and consult.last_word == event.specialist
    return None if theirs and consult.answered_at is None else Code.WRONG_STATE


def may_open(consult: Consult, event: ev.Event) -> Code | None:
    """Messages can be opened while a call-back is owed; who reads is recorded once."""
    assert isinstance(event, ev.MessagesOpened)
    return None if owed(consult) and event.specialist not in consult.readers else Code.WRONG_STATE
