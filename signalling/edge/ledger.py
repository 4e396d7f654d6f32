# SPDX-License-Identifier: Apache-2.0
"""The node's picture of every live consult and specialist, and the only way to change one.

``commit`` asks a pure function for events, lets the tables judge them (``core.coordinator``), and appends them with the
versions that they were decided on. Who loses a race reads again and decides again. Everything that any node appends
arrives through the store's tail and is folded once, in order; whoever listens is told after the fold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from signalling.core import coordinator, lifecycle, presence
from signalling.core import events as ev
from signalling.core.lifecycle import Consult, InvalidTransition
from signalling.core.policy import ConsultPolicy
from signalling.core.presence import Presence
from signalling.edge.clock import now
from signalling.errors import Refused
from signalling.store.base import (
    Append,
    Content,
    ContentId,
    OwnerId,
    Recorded,
    Store,
    StoreUnavailable,
    StreamId,
    TailTruncated,
    VersionConflict,
)
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId

log = logging.getLogger(__name__)

ATTEMPTS = 12
"""Tries of one commit: each loss of a race means that somebody else's commit succeeded, so a dozen in a row on one
consult is not contention but a fault."""
OVER_KEPT = 2_000
"""Consults that are over stay in memory for pages that still show them; older ones are read again when asked for."""
CONTENT_KEPT_BYTES = 16 * 2**20
"""Opened content in memory, so that a chat line is not read back by the node that wrote it: tens of thousands of lines
and intakes, or 270 of the longest notes."""
LIVE_LIMIT = 1_000_000
"""More live streams than any region has; a bound, not a setting."""
RETRY_S = 1.0
"""Between tries to tail a store that is away."""

CONSULT, SPECIALIST, CODE, ERASURE = "consult:", "specialist:", "code:", "erasure:"


def consult_stream(consult: ConsultId) -> StreamId:
    """Return the stream of a consult."""
    return StreamId(CONSULT + consult)


def specialist_stream(account: AccountId) -> StreamId:
    """Return the stream of a specialist."""
    return StreamId(SPECIALIST + account)


def consult_owner(consult: ConsultId) -> OwnerId:
    """Return whose key seals what is said in a consult."""
    return OwnerId(CONSULT + consult)


@dataclass(frozen=True, slots=True)
class Step:
    """Events of one consult that were just folded: the versions ``first`` … ``consult.version``."""

    consult: Consult
    before: Consult | None
    events: tuple[ev.Event, ...]
    own: bool
    """Whether this node committed them: each event is counted by one node only."""

    @property
    def first(self) -> int:
        """The version of the first of ``events``."""
        return self.consult.version - len(self.events) + 1


ConsultListener = Callable[[Step], None]
PresenceListener = Callable[[Presence, Presence], None]
OtherListener = Callable[[Recorded], Awaitable[None]]
ConsultBuild = Callable[[Consult], Sequence[ev.Event]]
PresenceBuild = Callable[[Presence], Sequence[ev.Event]]


@dataclass(slots=True)
class Listeners:
    """Who is told what; each is called on the event loop and must not block or raise."""

    consult: list[ConsultListener] = field(default_factory=list)
    presence: list[PresenceListener] = field(default_factory=list)
    """Called with the presence before and after."""
    other: list[OtherListener] = field(default_factory=list)
    """Events of the house's own streams: accounts, posts. Awaited; when the store is away, the same event comes again."""
    reload: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called when the store no longer tells all that happened: read again what ``other`` would have told."""


class Ledger:
    """Folds, commits, tail. One per node."""

    def __init__(self, store: Store, policy: ConsultPolicy) -> None:
        """``start`` must be awaited before anything else."""
        self.store = store
        self.policy = policy
        self.consults: dict[ConsultId, Consult] = {}
        """Every consult that is not over."""
        self.presences: dict[AccountId, Presence] = {}
        self.listeners = Listeners()
        self.conflicts = 0
        """Lost races so far, for the metrics."""
        self._over: OrderedDict[ConsultId, Consult] = OrderedDict()
        self._content: OrderedDict[tuple[OwnerId, ContentId], bytes] = OrderedDict()
        self._content_bytes = 0
        self._position = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is live and begin to follow the store."""
        await self._load()
        self._task = asyncio.create_task(self._follow(), name="ledger-tail")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def consult(self, consult_id: ConsultId) -> Consult:
        """Return a consult, live or over.

        Raises:
            Refused: ``not_found``.
            StoreUnavailable: it had to be read, and could not.
        """
        found = self.known(consult_id)
        if found is None:
            await self._catch_up_consult(consult_id)
            found = self.known(consult_id)
        if found is None:
            raise Refused(Code.NOT_FOUND)
        return found

    async def refresh(self, consult_id: ConsultId) -> Consult:
        """Return a consult as the store has it now: another node may be a moment ahead of the tail.

        Raises:
            Refused: ``not_found``.
            StoreUnavailable: it can't be read.
        """
        await self._catch_up_consult(consult_id)
        return await self.consult(consult_id)

    def known(self, consult_id: ConsultId) -> Consult | None:
        """Return a consult if it is in memory."""
        return self.consults.get(consult_id) or self._over.get(consult_id)

    async def presence(self, account: AccountId) -> Presence:
        """Return a specialist's presence; one who was never on call is off call."""
        found = self.presences.get(account)
        if found is None:
            await self._catch_up_presence(account)
            found = self.presences[account]
        return found

    def cached_content(self, consult_id: ConsultId, content_id: str) -> bytes | None:
        """Return a consult's piece of content if it is in memory."""
        return self._content.get((consult_owner(consult_id), ContentId(content_id)))

    async def content(self, owner: OwnerId, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return pieces of content, those that exist."""
        wanted = {ContentId(i) for i in ids if i}
        found = {i: self._content[owner, i] for i in wanted if (owner, i) in self._content}
        if missing := wanted - found.keys():
            read = await self.store.content(owner, missing)
            for content_id, body in read.items():
                self._keep(owner, content_id, body)
            found.update(read)
        return {str(i): body for i, body in found.items()}

    async def erase(self, consult_id: ConsultId, by: AccountId) -> None:
        """Destroy the personal content of a consult that is over, and record that it was done, by whom.

        The consult's own events stay: they name nobody. Doing it twice is harmless.

        Raises:
            Refused: ``not_found``; ``wrong_state`` while the consult is live.
        """
        consult = await self.consult(consult_id)
        if not consult.over:
            raise Refused(Code.WRONG_STATE)
        await self.store.erase(consult_owner(consult_id))
        self._forget_content(consult_id)
        record = ev.encode(ev.Erased(at=now(), consult=consult_id, by=by))
        with contextlib.suppress(VersionConflict):
            await self.store.append(Append(StreamId(ERASURE + consult_id), 0, (record,)))

    def _forget_content(self, consult_id: ConsultId) -> None:
        owner = consult_owner(consult_id)
        for key in [k for k in self._content if k[0] == owner]:
            self._content_bytes -= len(self._content.pop(key))

    # -- changing ----------------------------------------------------------------------------------------------------

    async def begin(self, event: ev.Invited, code_hash: str) -> bool:
        """Record a new consult and its code; return False if the code is taken (or the id: both are random)."""
        data = ev.encode(event)
        consult = lifecycle.begin(event)
        try:
            await self.store.append(
                Append(
                    consult_stream(event.consult),
                    0,
                    (data,),
                    coordinator.attention_at(consult, event.at, self.policy),
                ),
                Append(StreamId(CODE + code_hash), 0, (data,)),
            )
        except VersionConflict:
            return False
        self._fold_consult(consult, (event,), own=True)
        return True

    async def consult_of_code(self, code_hash: str) -> ConsultId | None:
        """Return the consult that a code was made for."""
        recorded = await self.store.read(StreamId(CODE + code_hash))
        if not recorded:
            return None
        event = ev.decode(recorded[-1].data)
        return event.consult if isinstance(event, ev.Invited) else None

    async def commit(
        self, consult_id: ConsultId, build: ConsultBuild, content: Sequence[Content] = ()
    ) -> Consult:
        """Append what ``build`` makes of the consult's present state; return the consult after it.

        ``build`` may be called again with a newer state; no events means that there is nothing to do.

        Raises:
            Refused: the tables refuse it, or ``build`` does; nothing was written.
            StoreUnavailable: not written, or not known to be.
        """
        for _ in range(ATTEMPTS):
            consult = await self.consult(consult_id)
            account: AccountId | None = None
            try:
                events = build(consult)
                if not events:
                    return consult
                account = coordinator.specialist_among(events)
                who = None if account is None else await self.presence(account)
                if await self._append(consult, who, events, content):
                    return self.known(consult_id) or consult
                await self._refresh(consult_id, account)
            except Refused:
                # Another node's event may be on its way to us: what is refused is refused by the newest state.
                if not await self._refresh(consult_id, account):
                    raise
        raise Refused(Code.UNAVAILABLE)

    async def _refresh(self, consult_id: ConsultId, account: AccountId | None) -> bool:
        """Read what both streams have beyond what is in memory; return whether there was anything."""
        before = self.known(consult_id), self.presences.get(account or AccountId(""))
        await self._catch_up_consult(consult_id)
        if account is not None:
            await self._catch_up_presence(account)
        return before != (self.known(consult_id), self.presences.get(account or AccountId("")))

    async def commit_presence(self, account: AccountId, build: PresenceBuild) -> Presence:
        """Append what ``build`` makes of a specialist's presence; events of a consult that is ringing may be among it.

        Raises:
            Refused: as ``commit``.
        """
        for _ in range(ATTEMPTS):
            who = await self.presence(account)
            events = build(who)
            if not events:
                return who
            consult = None if who.consult is None else await self.consult(who.consult)
            if await self._append(consult, who, events, ()):
                return self.presences[account]
            await self._catch_up_presence(account)
            if who.consult is not None:
                await self._catch_up_consult(who.consult)
        raise Refused(Code.UNAVAILABLE)

    async def postpone(self, stream: StreamId, version: int, due_at: float | None) -> None:
        """Give a stream a new due time without an event; losing a race is fine, the winner has set one."""
        try:
            await self.store.append(Append(stream, version, (), due_at))
        except VersionConflict:
            return

    async def _append(
        self,
        consult: Consult | None,
        who: Presence | None,
        events: Sequence[ev.Event],
        content: Sequence[Content],
    ) -> bool:
        """Try once; return False if somebody else appended first."""
        try:
            plan = coordinator.plan(consult, who, events)
        except InvalidTransition as refused:
            raise Refused(refused.code) from None
        at = now()
        appends: list[Append] = []
        if plan.consult is not None and plan.consult_events:
            appends.append(
                Append(
                    consult_stream(plan.consult.id),
                    plan.consult.version - len(plan.consult_events),
                    tuple(map(ev.encode, plan.consult_events)),
                    coordinator.attention_at(plan.consult, at, self.policy),
                )
            )
        if plan.presence is not None and plan.presence_events:
            appends.append(
                Append(
                    specialist_stream(plan.presence.id),
                    plan.presence.version - len(plan.presence_events),
                    tuple(map(ev.encode, plan.presence_events)),
                    presence.next_check(plan.presence, at, self.policy),
                )
            )
        try:
            await self.store.append(*appends, content=content)
        except VersionConflict:
            self.conflicts += 1
            return False
        for piece in content:
            self._keep(piece.owner, piece.content_id, piece.body)
        if plan.presence is not None and plan.presence_events:
            self._fold_presence(plan.presence)
        if plan.consult is not None and plan.consult_events:
            self._fold_consult(plan.consult, plan.consult_events, own=True)
        return True

    # -- folding -----------------------------------------------------------------------------------------------------

    def _fold_consult(self, consult: Consult, events: tuple[ev.Event, ...], *, own: bool) -> None:
        """Put a newer state in place and tell the listeners; an older or equal one was folded already."""
        before = self.known(consult.id)
        if before is not None and before.version >= consult.version:
            return
        if consult.over:
            self.consults.pop(consult.id, None)
            self._over[consult.id] = consult
            if len(self._over) > OVER_KEPT:
                self._over.popitem(last=False)
        else:
            self.consults[consult.id] = consult
        if before is None and consult.over:
            return  # read again because somebody asked for it: nothing of it happened now
        step = Step(consult, before, events, own)
        for listener in self.listeners.consult:
            try:
                listener(step)
            except Exception:
                # What was committed is committed: neither who asked for it nor the next listener may miss that.
                log.exception("listener_failed")

    def _fold_presence(self, who: Presence) -> None:
        before = self.presences.get(who.id, Presence(who.id))
        if before.version >= who.version:
            return
        self.presences[who.id] = who
        for listener in self.listeners.presence:
            try:
                listener(before, who)
            except Exception:
                log.exception("listener_failed")

    async def _catch_up_consult(self, consult_id: ConsultId) -> None:
        """Read and fold what the consult's stream has beyond what is in memory."""
        known = self.known(consult_id)
        recorded = await self.store.read(
            consult_stream(consult_id), known.version if known is not None else 0
        )
        current = self.known(consult_id)
        fresh = [r for r in recorded if current is None or r.version > current.version]
        if not fresh:
            return
        events = [ev.decode(r.data) for r in fresh]
        consult = current
        for event in events:
            if isinstance(event, ev.Invited):
                consult = lifecycle.begin(event)
            else:
                assert consult is not None
                consult = lifecycle.apply(consult, event)
        assert consult is not None
        self._fold_consult(consult, tuple(events), own=False)

    async def _catch_up_presence(self, account: AccountId) -> None:
        known = self.presences.get(account, Presence(account))
        recorded = await self.store.read(specialist_stream(account), known.version)
        who = self.presences.setdefault(account, known)
        for r in recorded:
            if r.version > who.version:
                who = presence.apply(who, ev.decode(r.data))
        self._fold_presence(who)

    def _keep(self, owner: OwnerId, content_id: ContentId, body: bytes) -> None:
        self._content_bytes += len(body) - len(self._content.get((owner, content_id), b""))
        self._content[owner, content_id] = body
        while self._content_bytes > CONTENT_KEPT_BYTES:
            _, oldest = self._content.popitem(last=False)
            self._content_bytes -= len(oldest)

    # -- following ---------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        """Load every live stream. Each is read after the head was: nothing between is lost, twice is harmless."""
        self._position = await self.store.head()
        for due in await self.store.due(inf, LIVE_LIMIT):
            await self._catch_up_safely(due.stream)

    async def _catch_up_safely(self, stream: StreamId) -> None:
        """Catch up with one stream; one that can't be folded must keep nobody else's from being loaded."""
        try:
            await self._catch_up(stream)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("stream_not_folded")

    async def _catch_up(self, stream: StreamId) -> None:
        if stream.startswith(CONSULT):
            await self._catch_up_consult(ConsultId(stream.removeprefix(CONSULT)))
        elif stream.startswith(SPECIALIST):
            await self._catch_up_presence(AccountId(stream.removeprefix(SPECIALIST)))

    async def _follow(self) -> None:
        """Fold what the tail brings, for ever; a store that is away is asked again from where we were."""
        reload = False
        while True:
            try:
                if reload:
                    await self._reload()
                    reload = False
                async for batch in self.store.tail(self._position):
                    for recorded in batch:
                        await self._take(recorded)
                        self._position = recorded.position
            except TailTruncated:
                log.warning("tail_truncated")
                reload = True
            except StoreUnavailable:
                log.warning("store_unavailable")
            await asyncio.sleep(RETRY_S)

    async def _reload(self) -> None:
        """Catch up with everything, since the tail no longer says what changed: also with what ended meanwhile."""
        known = [*map(consult_stream, self.consults), *map(specialist_stream, self.presences)]
        await self._load()
        for stream in known:
            await self._catch_up_safely(stream)
        for listener in self.listeners.reload:
            await listener()

    async def _take(self, recorded: Recorded) -> None:
        """Fold one event; one that can't be folded must not hold up everybody else's."""
        try:
            await self._arrived(recorded)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("event_not_folded", extra={"position": recorded.position})

    async def _arrived(self, recorded: Recorded) -> None:
        stream = recorded.stream
        if stream.startswith(CONSULT):
            known = self.known(ConsultId(stream.removeprefix(CONSULT)))
            if known is None or known.version < recorded.version:
                await self._catch_up(stream)
        elif stream.startswith(SPECIALIST):
            who = self.presences.get(AccountId(stream.removeprefix(SPECIALIST)))
            if who is None or who.version < recorded.version:
                await self._catch_up(stream)
        elif stream.startswith(ERASURE):
            self._forget_content(ConsultId(stream.removeprefix(ERASURE)))
        else:
            for listener in self.listeners.other:
                await listener(recorded)
