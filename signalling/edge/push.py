# SPDX-License-Identifier: Apache-2.0
"""After each fold: who must see what, now or with the next tick.

What concerns a participant directly goes out at once: their consult's view and timeline, their desk. What everybody
watches (the queue, places in it, the board) goes out with the tick, at most once a second and only where it changed: a
busy hour must not cost a message per event and watcher.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

import msgspec

from auth.roles import Role
from signalling.core import events as ev
from signalling.core import matching
from signalling.core.lifecycle import CALL, Consult
from signalling.core.presence import Presence
from signalling.edge import views
from signalling.edge.clock import now
from signalling.edge.connections import (
    AnyNotice,
    Connection,
    Connections,
    Here,
    patient_of,
)
from signalling.edge.house import House
from signalling.edge.ledger import CONSULT, Ledger, Step, consult_owner, consult_stream
from signalling.errors import Refused, refusal
from signalling.store.base import StoreError
from signalling.wire import codec
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId, ParticipantId
from signalling.wire.legs import OutlookName
from signalling.wire.messages import IntakeForm, Person, PostView, QueueItem
from signalling.wire.quality import Whose, WordName
from signalling.wire.terms import ConsultState, SpecialistState, Specialty

log = logging.getLogger(__name__)

RECALLED = 5_000
"""Events that a starting node reads for the medians: the window of each colour, with room for long calls and chat."""
TICK_S = 1.0
"""The queue and the board change for their watchers at most this often."""
SLICE_EVENTS = 50
"""Of a timeline that are read at a time: what most consults have. The longest texts of so many are 0.4 MB in memory."""
SLICE_BYTES = 16_384
"""So much of a timeline, and a line more, waits for a reader at most: with what else is sent meanwhile well below
``limits.outgoing_high_bytes``, above which a reader is too slow; the kernel holds more than that for whoever reads."""
TAKEN_S = 0.02
"""Between two looks whether it was taken: 6 Mbit/s, where the kernel holds nothing."""
DAY_S = 86_400.0
OPEN = frozenset({ConsultState.WAITING, ConsultState.RINGING, ConsultState.CALLBACK})
BEFORE_CALL = OPEN | {ConsultState.INVITED}
_decode_intake = msgspec.json.Decoder(IntakeForm).decode


class Push:
    """Turns folds into messages for the connections of this node."""

    def __init__(self, ledger: Ledger, house: House, connections: Connections) -> None:
        """Listen to the ledger; ``tick`` must be run."""
        self._ledger = ledger
        self._house = house
        self._connections = connections
        self.waits = views.Waits(ledger.policy)
        self._today: Counter[str] = Counter()
        self._day = int(now() // DAY_S)
        self._queue_changed = True
        self._open: dict[ConsultId, Consult] = {}
        """Consults that wait, ring or were promised a call-back: what the queue is made of, whatever else is live."""
        self._timelines: dict[ConsultId, list[ev.Event]] = {}
        """Of consults that are not over, each from its first event without a gap."""
        self._line: dict[ConsultId, int] | None = None
        self._items: dict[ConsultId, tuple[Consult, QueueItem]] = {}
        self._lists: tuple[list[QueueItem], list[QueueItem]] | None = None
        self._duty: dict[AccountId, matching.Candidate] | None = None
        """Who is on call; None = to be made (again) from presences and accounts."""
        self._on_call_for: Counter[Specialty] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.outlook_of: Callable[[ConsultId], OutlookName | None] = lambda _c: None
        """Returns what a patient's link was measured to make possible."""
        self.word_of: Callable[[ConsultId], tuple[WordName, Whose] | None] = lambda _c: None
        """Returns how a call is in a word, and whose link it comes from."""
        ledger.listeners.consult.append(self._on_consult)
        ledger.listeners.presence.append(self._on_presence)
        connections.on_notice = self._on_notice

    # -- what happened -----------------------------------------------------------------------------------------------

    def _on_consult(self, step: Step) -> None:
        consult, before = step.consult, step.before
        self._observe(step)
        self._remember(step)
        if consult.state in OPEN:
            self._open[consult.id] = consult
        else:
            self._open.pop(consult.id, None)
            self._items.pop(consult.id, None)
        shown = (consult.state, consult.away, consult.takeovers, consult.unanswered)
        was = before and (before.state, before.away, before.takeovers, before.unanswered)
        if was != shown:
            self._changed()
        patient = self._connections.get(patient_of(consult.id))
        if patient is not None:
            if any(isinstance(e, ev.TakeoverDecided) and e.allow for e in step.events):
                patient.socket.close(Code.DISPLACED)
            else:
                self._show(patient, consult, step)
        specialists = {consult.specialist, before.specialist if before is not None else None}
        self._begin_call(step, patient)
        for account in specialists - {None}:
            connection = self._connections.get(ParticipantId(account or ""))
            if connection is None:
                continue
            if self._sees(connection, consult, before):
                self._show(connection, consult, step)
            if consult.state is ConsultState.RINGING:
                self.desk(connection)

    def _begin_call(self, step: Step, patient: Connection | None) -> None:
        """When a call begins, sides on different nodes learn each other's page load."""
        consult, before = step.consult, step.before
        if consult.state not in CALL or (before is not None and before.state in CALL):
            return
        specialist = self._connections.get(ParticipantId(consult.specialist or ""))
        if patient is not None and specialist is not None:
            return  # both are here, and their views say so
        for connection in (patient, specialist):
            if connection is not None:
                self.announce(connection, consult)

    def announce(self, connection: Connection, consult: Consult) -> None:
        """Tell the other side of a call which page load is here."""
        peer = views.peer_of(consult, connection.role)
        if consult.state not in CALL or peer is None:
            return
        local = self._connections.get(peer)
        if local is not None:
            self.refresh(local, consult.id)
        else:
            here = Here(consult.id, connection.participant, connection.instance, answer=True)
            self.spawn(self._tell(peer, here))

    @staticmethod
    def _sees(connection: Connection, consult: Consult, before: Consult | None) -> bool:
        """A specialist sees a consult while in it, and its end."""
        account = connection.account
        in_it = consult.specialist == account and (consult.state in CALL or consult.over)
        left_it = before is not None and before.specialist == account and before.state in CALL
        return in_it or left_it

    @staticmethod
    def _is_in(connection: Connection, consult: Consult) -> bool:
        """Whether this is the patient of a consult, or the specialist in its call (who is only rung is in none)."""
        if connection.role is Role.PATIENT:
            return connection.consult == consult.id
        return consult.specialist == connection.account and consult.state in CALL

    def _on_presence(self, before: Presence, who: Presence) -> None:
        if self._duty is not None:
            self._put_on_duty(who, self._duty)
        if before.on_call != who.on_call:
            self._on_call_for = None
        if before.state != who.state:
            self._changed()
        connection = self._connections.get(ParticipantId(who.id))
        if connection is not None:
            self.desk(connection)

    def _on_notice(self, participant: ParticipantId, notice: AnyNotice) -> None:
        """The other side of a call came or went on another node: its page load is part of the view."""
        connection = self._connections.get(participant)
        consult_id = ConsultId(getattr(notice, "consult", ""))
        consult = self._ledger.known(consult_id)
        if connection is None or consult is None:
            return
        if isinstance(notice, Here):
            self.spawn(self._meet(connection, consult_id, notice))
        else:
            self.refresh(connection, consult_id)

    async def _meet(self, connection: Connection, consult_id: ConsultId, notice: Here) -> None:
        """Show the other side's page load, and answer with ours.

        Not before this side knows of the call: the answer sets off the other side's description, which must not arrive
        at a page that still waits.
        """
        consult = self._ledger.known(consult_id)
        if consult is None or consult.state not in CALL:
            consult = await self._ledger.refresh(consult_id)
        if not self._is_in(connection, consult):
            return
        self._show(connection, consult)
        if notice.answer:
            own = Here(consult_id, connection.participant, connection.instance, answer=False)
            await self._tell(ParticipantId(notice.who), own)

    async def _tell(self, participant: ParticipantId, notice: AnyNotice) -> None:
        await self._connections.tell(participant, notice)

    def _observe(self, step: Step) -> None:
        consult = step.consult
        for event in step.events:
            if isinstance(event, ev.Accepted) and consult.urgency and consult.since:
                self.waits.observe(consult.urgency, event.at - consult.since)
            elif isinstance(event, ev.IntakeGiven) and consult.post:
                if (day := int(event.at // DAY_S)) > self._day:
                    self._day = day
                    self._today.clear()
                self._today[consult.post] += day == self._day

    async def recall(self) -> None:
        """After a restart: take the medians from what the store has of late."""
        began: dict[ConsultId, ev.IntakeGiven] = {}
        for recorded in await self._ledger.store.recent(RECALLED):
            if not recorded.stream.startswith(CONSULT):
                continue
            event = ev.decode(recorded.data)
            if isinstance(event, ev.IntakeGiven):
                began[event.consult] = event
            elif isinstance(event, ev.Accepted) and event.consult in began:
                intake = began.pop(event.consult)
                self.waits.observe(intake.urgency, event.at - intake.at)

    # -- to one connection -------------------------------------------------------------------------------------------

    def _show(self, connection: Connection, consult: Consult, step: Step | None = None) -> None:
        """Send what this connection hasn't seen of a consult: timeline first, then the view."""
        if connection.role is Role.SPECIALIST and connection.consult != consult.id:
            connection.consult, connection.cursor = consult.id, 0
        content = self._at_hand(connection, consult, step)
        seen = consult.version if step is None else step.first - 1
        up_to_date = connection.cursor >= seen
        if content is None or not up_to_date or connection.syncing:
            self.spawn(self.sync(connection))
            return
        if step is not None:
            self._entries(connection, step.first, step.events, content)
        self._view(connection, consult, content)

    def _at_hand(
        self, connection: Connection, consult: Consult, step: Step | None
    ) -> dict[str, bytes] | None:
        """Return the content that is needed if all of it is in memory, else None."""
        wanted = views.contents_of(consult, connection.role)
        if step is not None:
            wanted += [views.content_of_entry(e, connection.role) for e in step.events]
        found: dict[str, bytes] = {}
        for content_id in filter(None, wanted):
            body = self._ledger.cached_content(consult.id, content_id)
            if body is None:
                return None
            found[content_id] = body
        return found

    def _entries(
        self,
        connection: Connection,
        first: int,
        events: Iterable[ev.Event],
        content: Mapping[str, bytes],
    ) -> None:
        for version, event in enumerate(events, first):
            if version <= connection.cursor:
                continue
            text = content.get(views.content_of_entry(event, connection.role), b"")
            line = views.entry(event, version, text.decode())
            if line is not None:
                connection.send(line)
            connection.cursor = version

    def _view(self, connection: Connection, consult: Consult, content: Mapping[str, bytes]) -> None:
        waits = connection.role is Role.PATIENT and consult.state in BEFORE_CALL
        view = views.consult_view(
            consult,
            connection.role,
            peer=self._peer(connection, consult, content),
            post=self._post(consult),
            content=content,
            policy=self._ledger.policy,
            place=self._places().get(consult.id) if waits else None,
            wait_s=self.waits.medians().get(consult.urgency) if waits and consult.urgency else None,
            on_call=self.on_call_for(consult.specialty) if waits else None,
        )
        payload = codec.encode(view)
        if payload != connection.last_view:
            connection.last_view = payload
            connection.socket.send_soon(payload)

    async def sync(self, connection: Connection) -> None:
        """Deliver all that a connection lacks of its consult: every line once, in order, then the view."""
        if connection.syncing:
            return
        connection.syncing = True
        try:
            while connection.socket.open and (consult_id := connection.consult) is not None:
                consult = await self._ledger.consult(consult_id)
                content = await self._catch_up(connection, consult)
                if content is None:
                    continue  # the desk shows another consult by now
                self._view(connection, consult, content)
                if self._ledger.known(consult_id) is consult:
                    return
        except StoreError:
            # The page can't be shown the truth now: it reconnects, and asks again.
            connection.socket.close(Code.RESTARTING)
        finally:
            connection.syncing = False

    async def _catch_up(
        self, connection: Connection, consult: Consult
    ) -> Mapping[str, bytes] | None:
        """Send the lines up to a state, no faster than they are taken: nobody is cut off for what the server sends at once.

        Returns the content of the view, or None if the connection is gone or shows something else by now.
        """
        cursor = connection.cursor
        events = await self._events(consult, cursor)
        content: Mapping[str, bytes] = {}

        def same() -> bool:
            shown = connection.consult, connection.cursor
            return connection.socket.open and shown == (consult.id, cursor)

        for at in range(0, len(events) or 1, SLICE_EVENTS):
            some = events[at : at + SLICE_EVENTS]
            wanted = views.contents_of(consult, connection.role)
            wanted += [views.content_of_entry(e, connection.role) for e in some]
            content = await self._ledger.content(consult_owner(consult.id), wanted)
            for event in some:
                await self._taken(connection)
                if not same():
                    return None
                cursor += 1
                self._entries(connection, cursor, [event], content)
            await self._taken(connection)
        return content if same() else None

    @staticmethod
    async def _taken(connection: Connection) -> None:
        """Return when little waits for a connection; at once for most."""
        socket = connection.socket
        if socket.buffered_bytes > SLICE_BYTES:
            await asyncio.sleep(0)  # what was sent in this turn is written after it
        while socket.open and socket.buffered_bytes > SLICE_BYTES:  # noqa: ASYNC110 - a transport tells nobody
            await asyncio.sleep(TAKEN_S)

    async def _events(self, consult: Consult, after: int) -> Sequence[ev.Event]:
        """Return a consult's events above a version, up to the state that is given."""
        known = self._timelines.get(consult.id)
        if known is not None and len(known) == consult.version:
            return known[after:]
        recorded = await self._ledger.store.read(consult_stream(consult.id), after)
        # What the store has beyond our fold follows with it: a view must not be older than its timeline.
        return [ev.decode(r.data) for r in recorded if r.version <= consult.version]

    def _remember(self, step: Step) -> None:
        """Keep a live consult's events: each of its calls begins with two pages that need them all."""
        consult, known = step.consult, self._timelines.get(step.consult.id)
        if step.first == 1 and not consult.over:
            self._timelines[consult.id] = list(step.events)
        elif known is not None and len(known) == step.first - 1 and not consult.over:
            known.extend(step.events)
        else:
            self._timelines.pop(consult.id, None)

    def _places(self) -> Mapping[ConsultId, int]:
        """Return every place in the queue, counted once for each change of it."""
        if self._line is None:
            waiting = matching.queue(self._open.values())
            self._line = {c.id: place for place, c in enumerate(waiting, 1)}
        return self._line  # in the order of the places

    def _changed(self) -> None:
        """The queue is not what the watchers were shown last."""
        self._queue_changed, self._line, self._lists = True, None, None

    def _peer(
        self, connection: Connection, consult: Consult, content: Mapping[str, bytes]
    ) -> Person | None:
        other = views.peer_of(consult, connection.role)
        if other is None:
            return None
        instance = self._connections.instance_of_peer(connection, other)
        if connection.role is Role.PATIENT:
            account = self._house.account(AccountId(other))
            return None if account is None else views.person(account, instance)
        intake = content.get(consult.intake)
        name = _decode_intake(intake).name if intake else ""
        return views.patient_person(consult.id, name, instance)

    def _post(self, consult: Consult) -> PostView | None:
        return views.post_view(self._house.post(consult.post), now())

    def line(self) -> Mapping[ConsultId, int]:
        """Return the places in the queue, in their order, 1 = next."""
        return self._places()

    def on_call_for(self, specialty: Specialty) -> int:
        """Return how many specialists are on call for a specialty, or in all where that has none."""
        duty = self._on_duty()
        if self._on_call_for is None:
            self._on_call_for = Counter(s for c in duty.values() for s in c.specialties)
        return self._on_call_for[specialty] or len(duty)

    def rota(self) -> list[matching.Candidate]:
        """Return the specialists who are on call, with what their accounts say."""
        return list(self._on_duty().values())

    def _on_duty(self) -> dict[AccountId, matching.Candidate]:
        if self._duty is None:
            self._duty = {}
            for who in self._ledger.presences.values():
                self._put_on_duty(who, self._duty)
        return self._duty

    def _put_on_duty(self, who: Presence, duty: dict[AccountId, matching.Candidate]) -> None:
        account = self._house.account(who.id) if who.on_call else None
        if account is None or account.disabled:
            duty.pop(who.id, None)
        else:
            duty[who.id] = matching.Candidate(
                who, frozenset(account.specialties), frozenset(account.languages)
            )

    def accounts_changed(self) -> None:
        """Make the rota again: what accounts say is part of it."""
        self._duty = self._on_call_for = None

    # -- desks and boards --------------------------------------------------------------------------------------------

    def desk(self, connection: Connection) -> None:
        """Send a specialist's desk."""
        who = self._ledger.presences.get(AccountId(connection.participant))
        who = who or Presence(AccountId(connection.participant))
        if who.state is SpecialistState.RINGING and who.consult is not None:
            consult = self._ledger.known(who.consult)
            intake = self._ledger.cached_content(who.consult, consult.intake) if consult else None
            if consult is None or (consult.intake and intake is None):
                self.spawn(self._desk_later(connection, who.consult))
                return
        self._send_desk(connection, who)

    async def _desk_later(self, connection: Connection, consult_id: ConsultId) -> None:
        """Fetch the intake that the ring shows, then send the desk (without it if there is none)."""
        consult = await self._ledger.consult(consult_id)
        await self._ledger.content(consult_owner(consult_id), [consult.intake])
        who = await self._ledger.presence(AccountId(connection.participant))
        self._send_desk(connection, who)

    def _send_desk(self, connection: Connection, who: Presence) -> None:
        ring = None
        if who.state is SpecialistState.RINGING and who.consult is not None:
            consult = self._ledger.known(who.consult)
            if consult is None or consult.state is not ConsultState.RINGING:
                return  # half of the step is folded; the consult's half shows the desk
            intake = self._ledger.cached_content(who.consult, consult.intake)
            outlook = self.outlook_of(who.consult)
            ring = views.ring_view(consult, intake, self._post(consult), outlook)
        if self._lists is None:
            self._lists = self._queue(), self._callbacks()
        payload = codec.encode(views.desk(who, ring, *self._lists))
        if payload != connection.last_desk:
            connection.last_desk = payload
            connection.socket.send_soon(payload)

    def _queue(self) -> list[QueueItem]:
        return [self._item(self._open[consult_id]) for consult_id in self._places()]

    def _item(self, consult: Consult) -> QueueItem:
        """Return a consult's line of the queue, made once for each state of it."""
        known = self._items.get(consult.id)
        if known is None or known[0] is not consult:
            known = self._items[consult.id] = (
                consult,
                views.queue_item(consult, self._post(consult)),
            )
        return known[1]

    def _callbacks(self) -> list[QueueItem]:
        """Return promised call-backs, the earliest first, with the contact as far as it is in memory."""
        found = [c for c in self._open.values() if views.owed_call(c)]
        items = []
        for consult in sorted(found, key=lambda c: c.callback_by or 0.0):
            intake = self._ledger.cached_content(consult.id, consult.intake)
            if intake is None:
                self.spawn(self._warm(consult))
            contact = _decode_intake(intake).contact if intake else ""
            items.append(views.queue_item(consult, self._post(consult), contact))
        return items

    async def _warm(self, consult: Consult) -> None:
        """Fetch an intake into memory; the desks show it with the next tick."""
        found = await self._ledger.content(consult_owner(consult.id), [consult.intake])
        if found:
            self._queue_changed, self._lists = True, None

    def tell_operators(self, notice: AnyNotice) -> None:
        """Tell the operators who are connected to other nodes, if any are."""
        for account in self._house.accounts():
            operator = ParticipantId(account.id)
            if account.role is Role.OPERATOR and operator not in self._connections:
                self.spawn(self._tell_one(operator, notice))

    async def _tell_one(self, participant: ParticipantId, notice: AnyNotice) -> None:
        await self._connections.tell(participant, notice)

    def refresh_board(self) -> None:
        """Show operators the board with the next tick: a call's word has changed."""
        self._queue_changed = True

    def board(self, connection: Connection) -> None:
        """Send an operator's board."""
        connection.socket.send(self._board())

    def _board(self) -> bytes:
        at = now()
        accounts = [a for a in self._house.accounts() if a.role is Role.SPECIALIST]
        posts = {p.code: views.post_view(p, at) for p in self._house.posts()}
        return codec.encode(
            views.board(
                self._ledger.consults.values(),
                [
                    (a, self._ledger.presences.get(a.id, Presence(a.id)))
                    for a in accounts
                    if not a.disabled
                ],
                {code: view for code, view in posts.items() if view is not None},
                today=self._today,
                medians=self.waits.medians(),
                word_of=self.word_of,
                now=at,
            )
        )

    async def tick(self) -> None:
        """Once a second: what everybody watches, where it changed. For ever."""
        while True:
            await asyncio.sleep(TICK_S)
            if not self._queue_changed:
                continue
            self._queue_changed = False
            self._lists = None
            self._items.clear()  # posts open and close with time
            board: bytes | None = None
            for connection in self._connections:
                match connection.role:
                    case Role.SPECIALIST:
                        self.desk(connection)
                    case Role.OPERATOR:
                        board = board or self._board()
                        connection.socket.send(board)
                    case Role.PATIENT if connection.consult is not None:
                        consult = self._ledger.consults.get(connection.consult)
                        if consult is not None and consult.state in (
                            ConsultState.WAITING,
                            ConsultState.RINGING,
                        ):
                            self._show(connection, consult)
                    case _:
                        pass

    def refresh(self, connection: Connection, consult_id: ConsultId) -> None:
        """Show a consult again to who is in it: something changed that is no event (the other side's page load)."""
        consult = self._ledger.known(consult_id)
        if consult is not None and self._is_in(connection, consult):
            self._show(connection, consult)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run a piece of work to its end; its failure is logged, not lost."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StoreError | Refused):
            log.warning("push_refused", extra={"code": refusal(error).code})
        else:
            log.error("push_failed", exc_info=error)
