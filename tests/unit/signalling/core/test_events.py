# SPDX-License-Identifier: Apache-2.0
"""Events: their bytes, and that they hold nothing personal."""

import re
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from signalling.core import events as ev
from signalling.core.coordinator import ON_BOTH, ON_SPECIALIST
from tests.support.consults import AYU, T0, consult_in, replace_event, samples

KINDS = ev.AnyEvent.__args__
SAMPLES = samples(consult_in("ringing"), T0)
# A specialist's line names its author; a patient's, as in the shared samples, has nobody to name.
SAMPLES[ev.ChatSent] = replace_event(SAMPLES[ev.ChatSent], role=ev.SPECIALIST, by=AYU)
SAMPLES[ev.ContentAdded] = replace_event(
    SAMPLES[ev.ContentAdded], by=AYU, duration_ms=7_000, preview_of="still-key-2"
)

FIELDS = {
    # Which consult, account, request, line, link: identifiers made by us, at random.
    "id": {"consult", "specialist", "account", "request", "key", "jti", "by", "relay", "preview_of"},
    # A content id: what it stands for lies beside the events, sealed, and can be destroyed.
    "content": {"content"},
    # A one-way hash of a random secret, of a password (argon2id), or of a text.
    "hash": {"resume_hash", "secret_hash", "password_hash", "digest", "sha256"},
    # A word from a closed list, or a language tag.
    "term": {"urgency", "specialty", "specialties", "role", "reason", "outcome", "language", "kind", "mime"},
    # How much there is of it.
    "size": {"offset", "bytes", "duration_ms"},
    # UTC epoch seconds.
    "instant": {"at", "expires_at", "until", "consent_at", "promised_by"},
    "flag": {"allow", "interpreter_needed", "lapsed", "disabled"},
    # What a health post's public list says of the post. Posts are places, not people.
    "post": {
        "code", "post", "name", "region", "latitude", "longitude", "time_zone", "emergency_line",
        "opening_hours", "link_type",
    },
}  # fmt: skip
"""Every field that an event may have, by what kind of thing is in it."""


def fields(kind: type[ev.Event]) -> dict[str, Any]:
    """Return an event's fields with their types; a promise's ``by`` is an instant, elsewhere it is who did it."""
    hints = get_type_hints(kind)
    names = {"by": "promised_by"} if kind is ev.CallbackPromised else {}
    return {names.get(f, f): hints[f] for f in kind.__struct_fields__}


def test_every_event_has_a_sample() -> None:
    """The samples are one of each event that the decoder knows, with no field left at its default where it has one."""
    assert SAMPLES.keys() == set(KINDS)
    assert len({kind.__struct_config__.tag for kind in KINDS}) == len(KINDS)
    for event in SAMPLES.values():
        for field in msgspec.structs.fields(event):
            assert getattr(event, field.name) != field.default, f"{event} proves less than it could"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_survive_their_bytes(kind: type[ev.Event]) -> None:
    """What is read back is what was written, of the same type, and writing it again gives the same bytes."""
    data = ev.encode(SAMPLES[kind])
    again = ev.decode(data)
    assert type(again) is kind
    assert again == SAMPLES[kind]
    assert ev.encode(again) == data


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"moved_to_mars","at":1.0}',
        b'{"at":1.0}',
        b'{"type":"expired","at":1.0}',
        b'{"type":"expired","at":"now","consult":"c"}',
        b'{"type":"ended","at":1.0,"consult":"c","specialist":"s","outcome":"cured"}',
        b"[]",
        b"",
    ],
)
def test_what_can_not_be_read_is_an_error(data: bytes) -> None:
    """An unknown type, a missing field, a wrong type or an unknown term raises instead of being guessed at."""
    with pytest.raises(msgspec.DecodeError):
        ev.decode(data)


def test_a_field_from_the_future_is_passed_over() -> None:
    """A node can read what a newer one wrote, as long as the type is known."""
    event = ev.decode(b'{"type":"expired","at":1.0,"consult":"c","why":"a new field"}')
    assert event == ev.Expired(at=1.0, consult="c")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_hold_nothing_personal(kind: type[ev.Event]) -> None:
    """Every field of every event is of a kind that names nobody; no name, complaint, chat or note can be in one."""
    unknown = fields(kind).keys() - set().union(*FIELDS.values())
    assert not unknown, "say above what kind of thing this is; personal things are content"
    if kind is not ev.PostImported:
        assert not fields(kind).keys() & (FIELDS["post"] - {"post"})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_kinds_are_what_they_say(kind: type[ev.Event]) -> None:
    """Instants are numbers, flags booleans, and what is a term is of a closed list where there is one."""
    for name, hint in fields(kind).items():
        types = (
            {t for t in get_args(hint) if t is not NoneType}
            if isinstance(hint, UnionType)
            else {hint}
        )
        if name in FIELDS["instant"]:
            assert types == {float}
        elif name in FIELDS["flag"]:
            assert types == {bool}
        elif name in {"urgency", "specialty", "reason", "outcome"}:
            assert all(issubclass(t, StrEnum) for t in types)


def test_free_text_of_samples_is_a_content_id() -> None:
    """Where people write (intake, chat, note, summary, reason, profile), the event has the id of the content."""
    writing = {
        ev.IntakeGiven, ev.ChatSent, ev.NoteWritten, ev.Ended, ev.Transferred, ev.AccountCreated, ev.AccountChanged,
        ev.ContentStored,
    }  # fmt: skip
    assert {kind for kind in KINDS if "content" in kind.__struct_fields__} == writing


def test_every_event_says_when() -> None:
    """Each event carries its instant, and its text says what it means."""
    for kind in KINDS:
        assert kind.__struct_fields__[0] == "at"
        assert re.match(r"[A-Z].+[.;]", kind.__doc__ or ""), kind


def test_what_goes_into_a_specialists_stream_names_the_specialist() -> None:
    """An event of both streams has a consult and a specialist; one of the specialist's alone has no consult."""
    for kind in ON_BOTH:
        assert {"consult", "specialist"} <= set(kind.__struct_fields__)
    for kind in ON_SPECIALIST:
        assert "specialist" in kind.__struct_fields__
        assert "consult" not in kind.__struct_fields__
