# SPDX-License-Identifier: Apache-2.0
"""Consults, specialists and one sample of each event, for tests of the core and of what is shown of it."""

from typing import Any

import msgspec
from msgspec.structs import replace

from signalling.core import events as ev
from signalling.core import lifecycle, presence
from signalling.core.lifecycle import Consult
from signalling.core.matching import Candidate
from signalling.core.policy import ConsultPolicy
from signalling.core.presence import Presence
from signalling.wire.ids import AccountId, ConsultId, PostCode
from signalling.wire.terms import (
    CallbackReason,
    ConsultState,
    ContentKind,
    DeclineReason,
    Outcome,
    SpecialistState,
    Specialty,
    Urgency,
)

T0 = 1_800_000_000.0
"""When the stories begin; each event of a story comes a second after the one before."""
POLICY = ConsultPolicy()
C1, C2 = ConsultId("consult-1"), ConsultId("consult-2")
AYU, BUDI = AccountId("dr-ayu"), AccountId("dr-budi")
REQUEST = "request-1"
KEY = "chat-key-1"

INVITED = ev.Invited(
    at=T0,
    consult=C1,
    jti="jti-1",
    specialty=Specialty.OBSTETRICS,
    expires_at=T0 + POLICY.invitation_s,
    by="operator-1",
    language="id",
    post=PostCode("MTW-01"),
)
JOINED = ev.PatientJoined(at=T0 + 1, consult=C1, resume_hash="hash-1")
ASKED = ev.TakeoverAsked(at=T0 + 2, consult=C1, request=REQUEST, secret_hash="hash-2")
INTAKE = ev.IntakeGiven(
    at=T0 + 3,
    consult=C1,
    urgency=Urgency.YELLOW,
    specialty=Specialty.OBSTETRICS,
    language="id",
    content="intake-1",
    consent_at=T0 + 3,
)
RUNG = ev.Rung(at=T0 + 4, consult=C1, specialist=AYU, until=T0 + 34)
ACCEPTED = ev.Accepted(at=T0 + 5, consult=C1, specialist=AYU)
PATIENT_LOST = ev.SideLost(at=T0 + 6, consult=C1, role=ev.PATIENT)
SPECIALIST_LOST = ev.SideLost(at=T0 + 6, consult=C1, role=ev.SPECIALIST)
PROMISED = ev.CallbackPromised(
    at=T0 + 64, consult=C1, by=T0 + 3_664, reason=CallbackReason.NOBODY_ON_CALL
)
ENDED = ev.Ended(
    at=T0 + 7,
    consult=C1,
    specialist=AYU,
    outcome=Outcome.ADVICE,
    role=ev.SPECIALIST,
    content="summary-1",
)
ABANDONED = ev.Abandoned(at=T0 + 7, consult=C1, specialist=AYU)

WAITS = (JOINED, ASKED, INTAKE)
STORIES: dict[str, tuple[ev.Event, ...]] = {
    "invited": (),
    "joined": (JOINED, ASKED),
    "waiting": WAITS,
    "ringing": (*WAITS, RUNG),
    "in_call": (*WAITS, RUNG, ACCEPTED),
    "interrupted": (*WAITS, RUNG, ACCEPTED, PATIENT_LOST),
    "callback": (*WAITS, PROMISED),
    "ended": (*WAITS, RUNG, ACCEPTED, ENDED),
    "abandoned": (*WAITS, RUNG, ABANDONED),
    "expired": (JOINED, ASKED, ev.Expired(at=T0 + POLICY.invitation_s, consult=C1)),
}
"""How a consult comes to each state; ``joined`` is invited, with a patient who has not given the intake yet."""


def fold(*events: ev.Event, start: Consult | None = None) -> Consult:
    """Return the consult after ``events``, from the invitation of the stories."""
    consult = lifecycle.begin(INVITED) if start is None else start
    for event in events:
        consult = lifecycle.apply(consult, event)
    return consult


def consult_in(state: str) -> Consult:
    """Return a consult that a story led to ``state``."""
    return fold(*STORIES[state])


def samples(consult: Consult, at: float) -> dict[type[ev.Event], ev.Event]:
    """Return one event of each kind, the specialist's by the one who rings in the stories."""
    c, rung = consult.id, consult.specialist
    found: list[ev.Event] = [
        replace_event(INVITED, at=at, consult=c),
        replace_event(JOINED, at=at, consult=c),
        replace_event(ASKED, at=at, consult=c, request="request-2", secret_hash="hash-3"),
        ev.TakeoverDecided(at=at, consult=c, request=REQUEST, allow=True, by=AYU),
        replace_event(INTAKE, at=at, consult=c),
        ev.Rung(at=at, consult=c, specialist=AYU, until=at + 30, interpreter_needed=True),
        ev.RingDeclined(at=at, consult=c, specialist=AYU, reason=DeclineReason.BUSY),
        ev.RingTimedOut(at=at, consult=c, specialist=AYU),
        ev.Accepted(at=at, consult=c, specialist=AYU),
        ev.SideLost(at=at, consult=c, role=ev.PATIENT),
        ev.SideBack(at=at, consult=c, role=ev.PATIENT),
        ev.Transferred(
            at=at, consult=c, specialist=AYU, specialty=Specialty.SURGERY, content="reason-1"
        ),
        ev.Held(at=at, consult=c, specialist=AYU),
        ev.NoteWritten(at=at, consult=c, content="note-1"),
        ev.ChatSent(at=at, consult=c, role=ev.PATIENT, key=KEY, content="line-1", digest="0" * 64),
        ev.ContentAdded(
            at=at,
            consult=c,
            role=ev.PATIENT,
            key="still-key-1",
            kind=ContentKind.STILL,
            mime="image/jpeg",
            bytes=40_000,
            sha256="0" * 64,
        ),
        ev.MessagesOpened(at=at, consult=c, specialist=BUDI),
        ev.ContentBegun(
            at=at,
            consult=c,
            role=ev.SPECIALIST,
            key="voice-key-1",
            kind=ContentKind.VOICE,
            mime="audio/webm",
            bytes=9_000,
            sha256="0" * 64,
            until=at + 86_400,
            by=AYU,
            duration_ms=7_000,
            preview_of="still-key-1",
        ),
        ev.ContentStored(
            at=at,
            consult=c,
            key="voice-key-1",
            offset=0,
            bytes=4_000,
            content="piece-1",
            until=at + 86_400,
        ),
        ev.ContentDropped(at=at, consult=c, key="voice-key-1"),
        ev.Routed(at=at, consult=c, relay="r_relay-1"),
        replace_event(PROMISED, at=at, consult=c, by=at + 3_600),
        ev.CallbackOverdue(at=at, consult=c),
        ev.Answered(at=at, consult=c, specialist=AYU),
        ev.Abandoned(at=at, consult=c, specialist=rung),
        ev.Expired(at=at, consult=c),
        replace_event(ENDED, at=at, consult=c),
        ev.WentOnCall(at=at, specialist=AYU),
        ev.WentOffCall(at=at, specialist=AYU, lapsed=True),
        ev.AccountCreated(
            at=at,
            account=AYU,
            role="specialist",
            specialties=[Specialty.OBSTETRICS],
            content="profile-1",
            password_hash="argon2id",
        ),
        ev.AccountChanged(
            at=at,
            account=AYU,
            specialties=[Specialty.OBSTETRICS],
            content="profile-2",
            disabled=True,
        ),
        ev.PasswordChanged(at=at, account=AYU, password_hash="argon2id"),
        ev.PostImported(
            at=at,
            code=PostCode("MTW-01"),
            name="Puskesmas Muara Siberut",
            region="Mentawai",
            latitude=-1.6,
            longitude=None,
            time_zone="Asia/Jakarta",
            emergency_line="119",
            opening_hours="24/7",
            link_type="satellite_geo",
        ),
        ev.Erased(at=at, consult=c, by="operator-1"),
    ]
    return {type(event): event for event in found}


def replace_event(event: ev.Event, **changes: Any) -> Any:
    """Return a copy of an event with some fields changed."""
    return msgspec.structs.replace(event, **changes)


def specialist(
    name: str = AYU,
    *,
    state: SpecialistState = SpecialistState.AVAILABLE,
    last_call_at: float = 0.0,
    specialties: tuple[Specialty, ...] = (Specialty.GENERAL,),
    languages: tuple[str, ...] = ("id",),
) -> Candidate:
    """Return a specialist on call."""
    who = presence.apply(
        Presence(AccountId(name)), ev.WentOnCall(at=T0, specialist=AccountId(name))
    )
    who = replace(who, state=state, last_call_at=last_call_at)
    return Candidate(who, frozenset(specialties), frozenset(languages))


def waiting(
    name: str = C1,
    *,
    urgency: Urgency = Urgency.GREEN,
    since: float = T0,
    specialty: Specialty = Specialty.GENERAL,
    language: str = "id",
    **changes: Any,
) -> Consult:
    """Return a consult whose patient waits, present, since ``since``."""
    consult = Consult(
        id=ConsultId(name),
        version=3,
        state=ConsultState.WAITING,
        state_since=since,
        search_since=since,
        since=since,
        joined_at=since,
        resume_hash="hash-1",
        specialty=specialty,
        language=language,
        urgency=urgency,
    )
    return replace(consult, **changes)
