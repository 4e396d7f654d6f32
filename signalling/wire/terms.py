# SPDX-License-Identifier: Apache-2.0
"""Closed lists that both sides of the wire, the core and the metrics share."""

from __future__ import annotations

from enum import StrEnum


class ConsultState(StrEnum):
    """Where a consult stands (``signalling.core.lifecycle`` holds the table)."""

    INVITED = "invited"
    """The link exists; nobody waits yet."""
    WAITING = "waiting"
    """The patient gave the intake and waits for a specialist."""
    RINGING = "ringing"
    """One specialist is being rung."""
    IN_CALL = "in_call"
    INTERRUPTED = "interrupted"
    """In a call, with at least one side away; kept and brought back by itself."""
    CALLBACK = "callback"
    """Nobody could be reached: a call-back was promised, with a deadline."""
    ENDED = "ended"
    ABANDONED = "abandoned"
    """The patient left before a specialist answered."""
    EXPIRED = "expired"
    """The link or the promise ran out."""


class SpecialistState(StrEnum):
    """What a specialist is doing (``signalling.core.presence`` holds the table)."""

    OFF_CALL = "off_call"
    AVAILABLE = "available"
    RINGING = "ringing"
    IN_CALL = "in_call"


class Urgency(StrEnum):
    """Triage colour of the Interagency Integrated Triage Tool; orders the queue, is no diagnosis."""

    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"


class Specialty(StrEnum):
    """Fields in which specialists can be on call; a closed list so that it may label metrics."""

    GENERAL = "general"
    EMERGENCY = "emergency"
    INTERNAL = "internal"
    PAEDIATRICS = "paediatrics"
    OBSTETRICS = "obstetrics"
    SURGERY = "surgery"
    DERMATOLOGY = "dermatology"
    PSYCHIATRY = "psychiatry"


class Sex(StrEnum):
    """Administrative sex as FHIR's AdministrativeGender words it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"
    UNKNOWN = "unknown"


class Assistant(StrEnum):
    """Who is with the patient and helps."""

    NOBODY = "nobody"
    RELATIVE = "relative"
    HEALTH_WORKER = "health_worker"
    OTHER = "other"


class Outcome(StrEnum):
    """How a consult ended; the specialist picks the first five."""

    ADVICE = "advice"
    PRESCRIPTION = "prescription"
    REFERRAL = "referral"
    EMERGENCY = "emergency"
    FOLLOW_UP = "follow_up"
    PATIENT_LEFT = "patient_left"
    """The patient ended the call."""
    LOST = "lost"
    """Interrupted for longer than a consult is kept."""


SPECIALIST_OUTCOMES = frozenset(
    {Outcome.ADVICE, Outcome.PRESCRIPTION, Outcome.REFERRAL, Outcome.EMERGENCY, Outcome.FOLLOW_UP}
)


class DeclineReason(StrEnum):
    """Why a specialist didn't take a ring."""

    BUSY = "busy"
    NOT_MY_FIELD = "not_my_field"
    LANGUAGE = "language"
    OTHER = "other"


class CallbackReason(StrEnum):
    """Why a call-back was promised instead of a call."""

    NOBODY_ON_CALL = "nobody_on_call"
    NOBODY_ANSWERED = "nobody_answered"
    WAITED_TOO_LONG = "waited_too_long"
    LINK_LOST = "link_lost"
    """The call was put on hold for a lost link, and the patient was not back for as long as a consult is kept."""


class CandidateType(StrEnum):
    """RTCIceCandidateType (W3C webrtc-stats), with ``none`` where there is no pair."""

    HOST = "host"
    SRFLX = "srflx"
    PRFLX = "prflx"
    RELAY = "relay"
    NONE = "none"


class TransportProtocol(StrEnum):
    """How media leaves the browser; ``tls`` and ``tcp`` only by way of TURN."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    NONE = "none"


class RestartTrigger(StrEnum):
    """Why the page restarted ICE."""

    ONLINE = "online"
    CONNECTION_CHANGE = "connection_change"
    NO_MEDIA = "no_media"
    FAILED = "failed"
    RESUMED = "resumed"
    """The signalling socket came back and the transport was not well."""
    PAGE_SHOWN = "page_shown"


class Route(StrEnum):
    """How media goes between the two sides of a call."""

    DIRECT = "direct"
    """From browser to browser, by TURN where needed."""
    RELAYED = "relayed"
    """Through a media relay."""


class ContentKind(StrEnum):
    """What a piece of content is."""

    STILL = "still"
    """A photograph that the patient agreed to send; kept with the consult."""
    AUTO_STILL = "auto_still"
    """A small picture in the stead of video on a thin link: part of the call, not of its record; destroyed soon after."""
    VOICE = "voice"
    """A voice message; kept with the consult."""


class StillStep(StrEnum):
    """Where the asking for a photograph stands."""

    ASKED = "asked"
    """The specialist asks the patient for one."""
    TAKING = "taking"
    """The patient is about to take it."""
    DECLINED = "declined"
    """The patient doesn't want to send one."""
