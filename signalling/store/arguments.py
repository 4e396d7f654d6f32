# SPDX-License-Identifier: Apache-2.0
"""What callers hand to a store, checked before it can reach (and spoil) a shared transaction.

Both stores refuse the same arguments with the same ``ValueError``; that is what makes them one contract.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from signalling.store.base import MAX_STREAMS_PER_APPEND, Append, Content


def check_appends(appends: Sequence[Append], content: Sequence[Content]) -> None:
    """Refuse what no store may write.

    Raises:
        ValueError: no append, more than two, the same stream twice, an id that is empty or not encodable as UTF-8,
            a due time that is not a number, or an event or a body that is not ``bytes``.
    """
    if not 1 <= len(appends) <= MAX_STREAMS_PER_APPEND:
        raise ValueError(f"an append takes 1 to {MAX_STREAMS_PER_APPEND} streams")
    if len({append.stream for append in appends}) != len(appends):
        raise ValueError("an append names each stream once")
    for append in appends:
        check_id(append.stream)
        if append.due_at is not None and math.isnan(append.due_at):
            raise ValueError("a due time is a number")
        for event in append.events:
            _check_bytes(event)
    for item in content:
        check_id(item.owner)
        check_id(item.content_id)
        _check_bytes(item.body)


def check_id(text: str) -> None:
    """Refuse an id that the two databases would treat differently.

    Raises:
        ValueError: empty, with a NUL, or not encodable as UTF-8 (a lone surrogate).
    """
    if not text or "\0" in text:
        raise ValueError("an id has at least one character and no NUL")
    text.encode()  # UnicodeEncodeError is a ValueError


def ttl_ms_of(ttl_s: float) -> int:
    """Return a lease's time to live in whole milliseconds, at least one.

    Raises:
        ValueError: not above zero, or not finite.
    """
    if not 0 < ttl_s < math.inf:  # also false for NaN
        raise ValueError("a lease lasts longer than zero seconds, and not for ever")
    return max(1, round(ttl_s * 1000))


def _check_bytes(data: object) -> None:
    if not isinstance(data, bytes):
        raise ValueError("events and content are bytes")  # noqa: TRY004 - one error for every bad argument
