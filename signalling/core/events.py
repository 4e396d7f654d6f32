# SPDX-License-Identifier: Apache-2.0
"""Every durable fact, once.

Events carry ids, hashes, closed terms and instants. What a person said or is called lies beside them as content, under
a key per consult or account, and is named here by its content id only.

An event that concerns a consult and a specialist is appended to both streams in one step, the same bytes: two machines
read one fact, and neither can be ahead of the other.
"""

from __future__ import annotations

import msgspec

from signalling.wire.ids import AccountId, ConsultId, PostCode
from signalling.wire.terms import (
    CallbackReason,
    ContentKind,
    DeclineReason,
    Outcome,
    Specialty,
    Urgency,
)

PATIENT = "patient"
SPECIALIST = "specialist"
"""Role words used in events; equal to ``auth.roles.Role``."""


class Event(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """A durable fact."""

    at: float
    """When it happened: UTC epoch seconds of the node that decided."""


# -- A consult's stream ----------------------------------------------------------------------------------------------


class Invited(Event, frozen=True, tag="invited"):
    """A link and a code exist for a consult. Also appended to the code's stream, which makes codes unique."""

    consult: ConsultId
    jti: str
    specialty: Specialty
    expires_at: float
    by: str = ""
    """Account that invited; empty = the command line."""
    language: str = ""
    post: PostCode | None = None


class PatientJoined(Event, frozen=True, tag="patient_joined"):
    """The invitation was redeemed by a device."""

    consult: ConsultId
    resume_hash: str


class TakeoverAsked(Event, frozen=True, tag="takeover_asked"):
    """Another device holds the link or the code and asks to take the patient's place."""

    consult: ConsultId
    request: str
    secret_hash: str


class TakeoverDecided(Event, frozen=True, tag="takeover_decided"):
    """Somebody in charge decided; if allowed, the asking device's secret is the resume secret from now on."""

    consult: ConsultId
    request: str
    allow: bool
    by: str


class IntakeGiven(Event, frozen=True, tag="intake_given"):
    """The patient waits. Consent to the call is part of it."""

    consult: ConsultId
    urgency: Urgency
    specialty: Specialty
    language: str
    content: str
    consent_at: float


class Rung(Event, frozen=True, tag="rung"):
    """A specialist is rung (both streams)."""

    consult: ConsultId
    specialist: AccountId
    until: float
    interpreter_needed: bool = False


class RingDeclined(Event, frozen=True, tag="ring_declined"):
    """The specialist doesn't take it (both streams)."""

    consult: ConsultId
    specialist: AccountId
    reason: DeclineReason


class RingTimedOut(Event, frozen=True, tag="ring_timed_out"):
    """The specialist didn't answer in time, or went off call while being rung (both streams)."""

    consult: ConsultId
    specialist: AccountId


class Accepted(Event, frozen=True, tag="accepted"):
    """The specialist takes it: the call begins (both streams)."""

    consult: ConsultId
    specialist: AccountId


class SideLost(Event, frozen=True, tag="side_lost"):
    """A side's connection is gone for longer than a reload takes."""

    consult: ConsultId
    role: str


class SideBack(Event, frozen=True, tag="side_back"):
    """A side is connected again."""

    consult: ConsultId
    role: str


class Transferred(Event, frozen=True, tag="transferred"):
    """The specialist hands over; the patient waits again (both streams)."""

    consult: ConsultId
    specialist: AccountId
    specialty: Specialty
    content: str = ""


class Held(Event, frozen=True, tag="held"):
    """The specialist puts an interrupted call on hold and is free for others; rung first when the patient is back (both)."""

    consult: ConsultId
    specialist: AccountId


class NoteWritten(Event, frozen=True, tag="note_written"):
    """The specialist's note was saved; the newest one counts."""

    consult: ConsultId
    content: str


class ChatSent(Event, frozen=True, tag="chat_sent"):
    """A line of chat; ``digest`` is SHA-256 of its text, so that the record can be checked while it exists."""

    consult: ConsultId
    role: str
    key: str
    content: str
    digest: str
    by: AccountId | None = None
    """The specialist who wrote it: after a transfer there were two."""


class ContentAdded(Event, frozen=True, tag="content_added"):
    """A photograph or a voice message is there whole. Its bytes are content, listed in the consult's stream of pieces."""

    consult: ConsultId
    role: str
    key: str
    kind: ContentKind
    mime: str
    bytes: int
    sha256: str
    """Of the bytes as they were sent, so that the record can be checked while it exists."""
    by: AccountId | None = None
    duration_ms: int = 0
    preview_of: str = ""


class MessagesOpened(Event, frozen=True, tag="messages_opened"):
    """A specialist who is not in the call reads what the patient wrote and said; recorded once for each."""

    consult: ConsultId
    specialist: AccountId


class Routed(Event, frozen=True, tag="routed"):
    """How the consult's media goes from now on: through a relay, or directly from browser to browser."""

    consult: ConsultId
    relay: str = ""
    """The relay's participant id; empty = direct."""


class CallbackPromised(Event, frozen=True, tag="callback_promised"):
    """Nobody could be reached; the patient was told so, and until when somebody calls back."""

    consult: ConsultId
    by: float
    reason: CallbackReason


class CallbackOverdue(Event, frozen=True, tag="callback_overdue"):
    """The promise was not kept in time; it stays on the lists."""

    consult: ConsultId


class Answered(Event, frozen=True, tag="answered"):
    """A specialist who answered by message closes the promise: no call is needed. What the patient says next opens it again."""

    consult: ConsultId
    specialist: AccountId


class Abandoned(Event, frozen=True, tag="abandoned"):
    """The patient left before a specialist answered (both streams if one was being rung)."""

    consult: ConsultId
    specialist: AccountId | None = None


class Expired(Event, frozen=True, tag="expired"):
    """The invitation or the promise ran out."""

    consult: ConsultId


class Ended(Event, frozen=True, tag="ended"):
    """The call is over (both streams)."""

    consult: ConsultId
    specialist: AccountId
    outcome: Outcome
    role: str = ""
    """Who ended it; empty = time did."""
    content: str = ""
    """The summary for the patient."""


# -- A consult's stream of pieces -------------------------------------------------------------------------------------


class ContentBegun(Event, frozen=True, tag="content_begun"):
    """Content was announced; its pieces follow."""

    consult: ConsultId
    role: str
    key: str
    kind: ContentKind
    mime: str
    bytes: int
    sha256: str
    until: float
    """When it is destroyed unless it is whole by then (an automatic picture: in any case)."""
    by: AccountId | None = None
    duration_ms: int = 0
    preview_of: str = ""


class ContentStored(Event, frozen=True, tag="content_stored"):
    """Bytes of it were stored, sealed, under a content id of their own."""

    consult: ConsultId
    key: str
    offset: int
    bytes: int
    content: str
    until: float


class ContentDropped(Event, frozen=True, tag="content_dropped"):
    """It was not whole in time, was refused, or was not meant to be kept: its stored bytes were overwritten by nothing."""

    consult: ConsultId
    key: str


# -- A specialist's stream -------------------------------------------------------------------------------------------


class WentOnCall(Event, frozen=True, tag="went_on_call"):
    """The specialist can be rung."""

    specialist: AccountId


class WentOffCall(Event, frozen=True, tag="went_off_call"):
    """The specialist can't be rung any more; ``lapsed`` = the lease ran out rather than the switch being used."""

    specialist: AccountId
    lapsed: bool = False


# -- Streams of the house --------------------------------------------------------------------------------------------


class AccountCreated(Event, frozen=True, tag="account_created"):
    """A specialist's or operator's account; login, name and languages are content."""

    account: AccountId
    role: str
    specialties: list[Specialty]
    content: str
    password_hash: str


class AccountChanged(Event, frozen=True, tag="account_changed"):
    """New profile content, specialties or state."""

    account: AccountId
    specialties: list[Specialty]
    content: str
    disabled: bool


class PasswordChanged(Event, frozen=True, tag="password_changed"):
    """A new argon2id hash; every web session made before it ends."""

    account: AccountId
    password_hash: str


class PostImported(Event, frozen=True, tag="post_imported"):
    """One health post of the imported list; a later one of the same code replaces it."""

    code: PostCode
    name: str
    region: str
    latitude: float | None
    longitude: float | None
    time_zone: str
    emergency_line: str
    opening_hours: str
    link_type: str


class Erased(Event, frozen=True, tag="erased"):
    """A consult's personal content and key were destroyed."""

    consult: ConsultId
    by: str


AnyEvent = (
    Invited | PatientJoined | TakeoverAsked | TakeoverDecided | IntakeGiven | Rung | RingDeclined | RingTimedOut
    | Accepted | SideLost | SideBack | Transferred | Held | NoteWritten | ChatSent | Routed | CallbackPromised
    | CallbackOverdue | Abandoned | Expired | Ended | WentOnCall | WentOffCall | AccountCreated | AccountChanged
    | PasswordChanged | PostImported | Erased | ContentAdded | MessagesOpened | ContentBegun | ContentStored
    | ContentDropped | Answered
)  # fmt: skip

encode = msgspec.json.Encoder().encode
"""An event's stored bytes."""
decode = msgspec.json.Decoder(AnyEvent).decode
"""The event in stored bytes; raises ``msgspec.DecodeError`` for what this version can't read."""
