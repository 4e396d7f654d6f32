# SPDX-License-Identifier: Apache-2.0
"""What each role may see, built from the folds: consult views, desks, boards, timeline entries.

Plain functions of what is in memory; opened content comes in as an argument. This is the place that decides what leaves
the node: a queue names no patient, a patient sees no note, an operator sees neither intake nor chat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

import msgspec

from auth.roles import Role
from signalling.core import events as ev
from signalling.core import lifecycle, matching
from signalling.core.lifecycle import CALL, Consult
from signalling.core.policy import ConsultPolicy
from signalling.core.posts import Post, open_now
from signalling.core.presence import Presence
from signalling.edge.connections import patient_of
from signalling.edge.house import Account
from signalling.wire.content import ContentView
from signalling.wire.ids import ConsultId, InstanceId, ParticipantId
from signalling.wire.legs import OutlookName
from signalling.wire.messages import (
    Board,
    BoardPost,
    BoardSpecialist,
    ConsultView,
    Desk,
    Entry,
    EntryKind,
    IntakeForm,
    Person,
    PostView,
    QueueItem,
    RingView,
    TakeoverView,
)
from signalling.wire.quality import Whose, WordName
from signalling.wire.terms import ConsultState, ContentKind, Route, SpecialistState, Urgency

_decode_intake = msgspec.json.Decoder(IntakeForm).decode

Medians = Mapping[Urgency, float]

ENTRIES: Mapping[type[ev.Event], EntryKind] = {
    ev.ChatSent: "chat",
    ev.PatientJoined: "joined",
    ev.Accepted: "accepted",
    ev.Transferred: "transferred",
    ev.Held: "held",
    ev.SideLost: "lost",
    ev.SideBack: "back",
    ev.TakeoverDecided: "device_changed",
    ev.Answered: "answered",
    ev.Ended: "ended",
}
"""Events that are lines of the timeline, besides content; a refused take-over is none."""
_PIECES: Mapping[ContentKind, EntryKind] = {ContentKind.STILL: "still", ContentKind.VOICE: "voice"}


def entry(event: ev.Event, version: int, text: str = "") -> Entry | None:
    """Return an event as a line of its consult's timeline, or None if it is none. ``text`` is a chat line's content."""
    kind = (
        _PIECES.get(event.kind) if isinstance(event, ev.ContentAdded) else ENTRIES.get(type(event))
    )
    if kind is None or (isinstance(event, ev.TakeoverDecided) and not event.allow):
        return None
    said = event if isinstance(event, ev.ChatSent | ev.ContentAdded) else None
    by = said.by if said else None
    author = getattr(event, "role", ev.PATIENT)
    if isinstance(event, ev.Accepted | ev.Transferred | ev.Held | ev.Answered):
        author, by = ev.SPECIALIST, event.specialist
    return Entry(
        consult=event.consult,  # type: ignore[attr-defined]
        cursor=version,
        at=event.at,
        kind=kind,
        author=author,
        by=by,
        key=said.key if said else "",
        text=text,
        content=content_view(event) if isinstance(event, ev.ContentAdded) else None,
    )


def content_view(event: ev.ContentAdded) -> ContentView:
    """Return what a photograph or a voice message is, for its line."""
    return ContentView(
        kind=event.kind,
        mime=event.mime,
        bytes=event.bytes,
        sha256=event.sha256,
        duration_ms=event.duration_ms,
        preview_of=event.preview_of,
    )


def content_of_entry(event: ev.Event, role: Role) -> str:
    """Return the id of the content that a role reads in an event's line: chat for both, a hand-over's reason for staff."""
    if isinstance(event, ev.ChatSent) or (
        isinstance(event, ev.Transferred) and role is Role.SPECIALIST
    ):
        return event.content
    return ""


def contents_of(consult: Consult, role: Role) -> list[str]:
    """Return the ids of the content that a role's view of a consult shows."""
    if role is Role.SPECIALIST:
        return [i for i in (consult.intake, consult.note, consult.summary) if i]
    return [consult.summary] if consult.summary else []


def post_view(post: Post | None, now: float) -> PostView | None:
    """Return a post as a page shows it."""
    if post is None:
        return None
    return PostView(
        code=post.code,
        name=post.name,
        region=post.region,
        emergency_line=post.emergency_line,
        open_now=open_now(post, now),
        link_type=post.link_type,
    )


def person(account: Account, instance: InstanceId | None) -> Person:
    """Return a specialist as the patient sees them."""
    return Person(
        participant=ParticipantId(account.id),
        role=account.role,
        name=account.name,
        specialties=list(account.specialties),
        languages=list(account.languages),
        instance=instance,
    )


def consult_view(
    consult: Consult,
    role: Role,
    *,
    peer: Person | None,
    post: PostView | None,
    content: Mapping[str, bytes],
    policy: ConsultPolicy,
    place: int | None = None,
    wait_s: float | None = None,
    on_call: int | None = None,
) -> ConsultView:
    """Return a consult as the patient or its specialist may see it."""
    specialist = role is Role.SPECIALIST
    patient = role is Role.PATIENT
    intake = content.get(consult.intake) if specialist else None
    return ConsultView(
        consult=consult.id,
        version=consult.version,
        state=consult.state,
        specialty=consult.specialty,
        language=consult.language,
        urgency=consult.urgency,
        since=consult.since,
        deadline_at=lifecycle.deadline(consult, policy),
        place=place if patient else None,
        wait_s=wait_s if patient else None,
        on_call=on_call if patient else None,
        peer=peer if consult.state in CALL or consult.over else None,
        route=Route.RELAYED if consult.relay else Route.DIRECT,
        polite=patient,
        away=sorted(consult.away),
        accepted_at=consult.accepted_at,
        interpreter_needed=consult.interpreter_needed,
        post=post,
        intake=_decode_intake(intake) if intake else None,
        callback_by=consult.callback_by if consult.answered_at is None else None,
        callback_reason=consult.callback_reason,
        answered_at=consult.answered_at,
        outcome=consult.outcome,
        summary=content.get(consult.summary, b"").decode(),
        note=content.get(consult.note, b"").decode() if specialist else "",
        kept=consult.keeper is not None,
        takeovers=[TakeoverView(request=t.request, at=t.at) for t in consult.takeovers],
        ended_at=consult.ended_at,
    )


def owed_call(consult: Consult) -> bool:
    """Return whether a promised call-back is on the lists: not while an answer has closed it."""
    return consult.state is ConsultState.CALLBACK and consult.answered_at is None


def queue_item(consult: Consult, post: PostView | None, contact: str = "") -> QueueItem:
    """Return a consult as a line of a queue."""
    return QueueItem(
        consult=consult.id,
        state=consult.state,
        urgency=consult.urgency or Urgency.GREEN,
        specialty=consult.specialty,
        language=consult.language,
        since=consult.since or consult.state_since,
        post=post,
        present=ev.PATIENT not in consult.away,
        keeper=consult.keeper,
        callback_by=consult.callback_by,
        contact=contact,
        messages=consult.unanswered,
    )


def _call_item(
    consult: Consult, post: PostView | None, word: tuple[WordName, Whose] | None
) -> QueueItem:
    """Return a call as a line of the board: with how it is, where that is known."""
    item = queue_item(consult, post)
    if word is None:
        return item
    return msgspec.structs.replace(item, quality=word[0], weak=word[1])


def ring_view(
    consult: Consult,
    intake: bytes | None,
    post: PostView | None,
    outlook: OutlookName | None = None,
) -> RingView:
    """Return the ring of a consult: enough to decide in a glance, nothing that names the patient."""
    form = _decode_intake(intake) if intake else None
    return RingView(
        consult=consult.id,
        until=consult.ring_until or 0.0,
        urgency=consult.urgency or Urgency.GREEN,
        specialty=consult.specialty,
        language=consult.language,
        since=consult.since or consult.state_since,
        complaint=form.complaint if form else "",
        age_months=form.age_months if form else None,
        signs=form.signs if form else [],
        interpreter_needed=consult.interpreter_needed,
        post=post,
        outlook=outlook,
    )


def desk(
    who: Presence,
    ring: RingView | None,
    queue: Sequence[QueueItem],
    callbacks: Sequence[QueueItem],
) -> Desk:
    """Return a specialist's desk."""
    return Desk(
        state=who.state,
        ring=ring,
        consult=who.consult if who.state is SpecialistState.IN_CALL else None,
        queue=list(queue),
        callbacks=list(callbacks),
    )


def board(
    consults: Iterable[Consult],
    specialists: Iterable[tuple[Account, Presence]],
    posts: Mapping[str, PostView],
    *,
    today: Mapping[str, int],
    medians: Medians,
    word_of: Callable[[ConsultId], tuple[WordName, Whose] | None] = lambda _c: None,
    now: float,
) -> Board:
    """Return the operator's board."""
    live = list(consults)
    waiting = matching.queue(live)

    def post(consult: Consult) -> PostView | None:
        return posts.get(consult.post) if consult.post else None

    calls = [c for c in live if c.state in CALL]
    rows = {code: BoardPost(post=view, today=today.get(code, 0)) for code, view in posts.items()}
    for consult in (*waiting, *calls):
        row = rows.get(consult.post or "")
        if row is not None:
            field = "in_call" if consult.state in CALL else "waiting"
            rows[row.post.code] = msgspec.structs.replace(row, **{field: getattr(row, field) + 1})
    return Board(
        now=now,
        waiting=[queue_item(c, post(c)) for c in waiting],
        calls=[_call_item(c, post(c), word_of(c.id)) for c in calls],
        callbacks=[queue_item(c, post(c)) for c in live if owed_call(c)],
        specialists=[
            BoardSpecialist(
                account=account.id,
                name=account.name,
                state=who.state,
                specialties=list(account.specialties),
                languages=list(account.languages),
                consult=who.consult,
            )
            for account, who in specialists
        ],
        posts=list(rows.values()),
        wait_median_s={u.value: m for u, m in medians.items()},
        takeovers={
            c.id: [TakeoverView(request=t.request, at=t.at) for t in c.takeovers]
            for c in live
            if c.takeovers
        },
    )


class Waits:
    """Observed waits from joining the queue to being answered; their median is the only estimate we give."""

    def __init__(self, policy: ConsultPolicy) -> None:
        """Keep the window that the policy asks for."""
        self._policy = policy
        self._seen: dict[Urgency, list[float]] = {u: [] for u in Urgency}
        self._medians: dict[Urgency, float] = {}

    def observe(self, urgency: Urgency, wait_s: float) -> None:
        """Add one wait."""
        seen = self._seen[urgency]
        seen.append(wait_s)
        del seen[: -self._policy.median_window]
        if len(seen) >= self._policy.median_min:
            self._medians[urgency] = median(seen)

    def medians(self) -> Medians:
        """Return the medians of those colours that were observed often enough."""
        return self._medians


def peer_of(consult: Consult, role: Role) -> ParticipantId | None:
    """Return the other participant of a call, for the patient or the specialist."""
    if role is Role.PATIENT:
        return None if consult.specialist is None else ParticipantId(consult.specialist)
    return patient_of(consult.id)


def patient_person(consult: ConsultId, name: str, instance: InstanceId | None) -> Person:
    """Return the patient as the specialist sees them."""
    return Person(participant=patient_of(consult), role=Role.PATIENT, name=name, instance=instance)
