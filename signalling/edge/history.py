# SPDX-License-Identifier: Apache-2.0
"""A specialist's past consults, read from the specialist's own stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from signalling.core import events as ev
from signalling.edge.ledger import Ledger, consult_owner, consult_stream, specialist_stream
from signalling.store.base import Recorded
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.messages import IntakeForm, PastConsult
from signalling.wire.terms import Urgency

_LEFT = ev.Ended | ev.Transferred | ev.Held
_DID = ev.Accepted | ev.Answered

PAGE = 20
"""Past consults in one answer."""
DECODED_AT_ONCE = 250
"""Events, a millisecond's work: a long career is read in pieces, between which everybody else has their turn."""


class History:
    """Reads what a specialist did."""

    def __init__(self, ledger: Ledger) -> None:
        """Read by way of the ledger."""
        self._ledger = ledger

    async def of(self, account: AccountId, before: float | None) -> tuple[list[PastConsult], bool]:
        """Return consults that this specialist accepted or answered, newest first, and whether there are older ones."""
        recorded = await self._ledger.store.read(specialist_stream(account))
        events = await _decoded(recorded)
        # Who took up again what they had put on hold did one consult, not two.
        did = sorted(
            {e.consult: e for e in events if isinstance(e, _DID)}.values(), key=lambda e: e.at
        )
        older = [e for e in reversed(did) if before is None or e.at < before]
        over = {e.consult: e for e in events if isinstance(e, _LEFT)}
        page = [await self._line(e, over.get(e.consult)) for e in older[:PAGE]]
        return page, len(older) > PAGE

    async def _line(
        self, did: ev.Accepted | ev.Answered, left: ev.Ended | ev.Transferred | ev.Held | None
    ) -> PastConsult:
        if left is not None and left.at < did.at:
            left = None  # on hold once, and in the call again
        consult = await self._ledger.consult(ConsultId(did.consult))
        note = consult.note
        if isinstance(left, ev.Transferred | ev.Held):
            note = await self._note_at(left)
        content = await self._ledger.content(consult_owner(consult.id), [consult.intake, note])
        intake = content.get(consult.intake)
        return PastConsult(
            consult=consult.id,
            at=did.at,
            state=consult.state,
            urgency=consult.urgency or Urgency.GREEN,
            specialty=consult.specialty,
            outcome=left.outcome if isinstance(left, ev.Ended) else None,
            duration_s=left.at - did.at if left is not None else None,
            note=content.get(note, b"").decode(),
            answered=isinstance(did, ev.Answered),
            complaint=msgspec.json.decode(intake, type=IntakeForm).complaint if intake else "",
        )

    async def _note_at(self, left: ev.Transferred | ev.Held) -> str:
        """Return the note as it was handed over: what the next specialist wrote is not this one's to read."""
        note = ""
        for recorded in await self._ledger.store.read(consult_stream(ConsultId(left.consult))):
            event = ev.decode(recorded.data)
            if event == left:
                break
            if isinstance(event, ev.NoteWritten):
                note = event.content
        return note


async def _decoded(recorded: Sequence[Recorded]) -> list[ev.Event]:
    events: list[ev.Event] = []
    for start in range(0, len(recorded), DECODED_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        events += [ev.decode(each.data) for each in recorded[start : start + DECODED_AT_ONCE]]
    return events
