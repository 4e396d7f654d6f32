# SPDX-License-Identifier: Apache-2.0
"""What each role may see: nothing personal leaves the node by a view that isn't meant to carry it."""

from statistics import median
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from auth.roles import Role
from signalling.core import events as ev
from signalling.core import lifecycle, presence
from signalling.core.lifecycle import CALL, Consult
from signalling.core.policy import ConsultPolicy
from signalling.core.posts import Post
from signalling.core.presence import Presence
from signalling.edge import views
from signalling.edge.house import Account
from signalling.wire.ids import InstanceId, PostCode
from signalling.wire.messages import (
    Board,
    BoardSpecialist,
    ConsultView,
    Desk,
    Entry,
    IntakeForm,
    PostView,
    QueueItem,
    RingView,
)
from signalling.wire.terms import Assistant, ConsultState, Sex, Specialty, Urgency
from tests.support.consults import (
    ACCEPTED,
    AYU,
    C1,
    C2,
    KEY,
    POLICY,
    RUNG,
    STORIES,
    T0,
    consult_in,
    fold,
    samples,
    waiting,
)

NOW = T0 + 50
NAME, COMPLAINT, CONTACT = "Ibu Sentinel", "sentinel-complaint", "0812-sentinel"
NOTE, SUMMARY, LINE, REASON = (
    "sentinel-note",
    "sentinel-summary",
    "sentinel-line",
    "sentinel-reason",
)
LOGIN, HASH = "sentinel-login", "sentinel-hash"

FORM = IntakeForm(
    complaint=COMPLAINT,
    age_months=300,
    sex=Sex.FEMALE,
    assistant=Assistant.RELATIVE,
    language="id",
    consent=True,
    signs=["convulsion"],
    pregnant=True,
    name=NAME,
    contact=CONTACT,
)
INTAKE = msgspec.json.encode(FORM)
CONTENT = {
    "intake-1": INTAKE,
    "note-1": NOTE.encode(),
    "summary-1": SUMMARY.encode(),
    "line-1": LINE.encode(),
    "reason-1": REASON.encode(),
}
POST = PostView(code=PostCode("MTW-01"), name="Muara Siberut", region="Mentawai")
ACCOUNT = Account(
    id=AYU,
    role=Role.SPECIALIST,
    login=LOGIN,
    name="dr. Ayu",
    languages=("id", "en"),
    specialties=(Specialty.OBSTETRICS,),
    password_hash=HASH,
    password_at=T0,
)
PERSON = views.person(ACCOUNT, InstanceId("page-1"))
PERSONAL = (NAME, COMPLAINT, CONTACT, NOTE, SUMMARY, LINE, REASON, LOGIN, HASH)
NO_SPECIALIST = [role for role in Role if role is not Role.SPECIALIST]


def noted(story: str) -> Consult:
    """Return a consult in a state, with a note and everything else that could be shown."""
    return replace(consult_in(story), note="note-1", summary="summary-1", intake="intake-1")


def view(consult: Consult, role: Role, **changes: Any) -> ConsultView:
    """Return what a role is shown, with all content within reach: the view itself must hold back."""
    arguments: dict[str, Any] = {
        "peer": PERSON,
        "post": POST,
        "content": CONTENT,
        "policy": POLICY,
        "place": 3,
        "wait_s": 120.0,
        "on_call": 2,
    }
    return views.consult_view(consult, role, **(arguments | changes))


def said_in(message: Any) -> set[str]:
    """Return which of the personal things are in a message's bytes."""
    text = msgspec.json.encode(message).decode()
    return {thing for thing in PERSONAL if thing in text}


# -- a consult's view ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", NO_SPECIALIST)
@pytest.mark.parametrize("story", STORIES)
def test_only_the_specialist_sees_intake_and_note(story: str, role: Role) -> None:
    """In no state is the note or the intake shown to the patient or anybody else, even if it is within reach."""
    shown = view(noted(story), role)
    assert said_in(shown) <= {SUMMARY}
    assert (shown.note, shown.intake) == ("", None)


@pytest.mark.parametrize("story", STORIES)
def test_the_specialist_sees_both(story: str) -> None:
    """The specialist who is shown a consult has the intake, whole, and the note."""
    shown = view(noted(story), Role.SPECIALIST)
    assert (shown.intake, shown.note) == (FORM, NOTE)


def test_erased_content_shows_as_nothing() -> None:
    """Where content was destroyed, the view says nothing instead of failing."""
    shown = view(noted("ended"), Role.SPECIALIST, content={})
    assert (shown.intake, shown.note, shown.summary) == (None, "", "")


@pytest.mark.parametrize("role", Role)
def test_what_is_fetched_is_what_may_be_shown(role: Role) -> None:
    """Intake and note are fetched for the specialist only; the summary is for both."""
    asked = views.contents_of(noted("ended"), role)
    everything = ["intake-1", "note-1", "summary-1"]
    assert asked == (everything if role is Role.SPECIALIST else ["summary-1"])
    assert views.contents_of(consult_in("joined"), role) == []


@pytest.mark.parametrize("role", [Role.PATIENT, Role.SPECIALIST])
@pytest.mark.parametrize("story", STORIES)
def test_the_other_side_is_shown_in_a_call_and_after_it(story: str, role: Role) -> None:
    """Nobody is told who is being rung, and a specialist learns who the patient is by accepting."""
    shown = view(noted(story), role)
    consult = consult_in(story)
    assert (shown.peer is not None) == (consult.state in CALL or consult.over)


def test_who_only_rang_is_not_shown_afterwards() -> None:
    """A patient who left during a ring isn't told whose it was: there is no other side to show."""
    consult = consult_in("abandoned")
    assert views.peer_of(consult, Role.PATIENT) is None
    assert views.peer_of(consult_in("ended"), Role.PATIENT) == AYU
    assert views.peer_of(consult_in("in_call"), Role.SPECIALIST) == f"p_{C1}"


def test_a_specialist_is_a_name_and_what_they_can() -> None:
    """What the patient is told of a specialist has neither sign-in name nor password."""
    assert not said_in(PERSON)
    assert (PERSON.name, PERSON.role, PERSON.instance) == ("dr. Ayu", "specialist", "page-1")
    assert (PERSON.specialties, PERSON.languages) == (["obstetrics"], ["id", "en"])


def test_the_patient_is_a_name_to_the_specialist() -> None:
    """The specialist sees the name that was given for them, and whether the page is there."""
    shown = views.patient_person(C1, NAME, None)
    assert (shown.participant, shown.role, shown.name) == (f"p_{C1}", "patient", NAME)
    assert shown.instance is None


@pytest.mark.parametrize("role", Role)
def test_place_and_wait_are_the_patients(role: Role) -> None:
    """Place, estimate and how many are on call go to the patient; the patient is the polite side."""
    shown = view(consult_in("waiting"), role)
    expected = (3, 120.0, 2) if role is Role.PATIENT else (None, None, None)
    assert (shown.place, shown.wait_s, shown.on_call) == expected
    assert shown.polite == (role is Role.PATIENT)


@pytest.mark.parametrize("story", STORIES)
def test_the_view_says_how_things_are(story: str) -> None:
    """State, version, deadline, sides and promise are the consult's own, for both."""
    consult = consult_in(story)
    for role in (Role.PATIENT, Role.SPECIALIST):
        shown = view(consult, role)
        assert (shown.consult, shown.state, shown.version) == (C1, consult.state, consult.version)
        assert shown.deadline_at == lifecycle.deadline(consult, POLICY)
        assert shown.away == sorted(consult.away)
        assert (shown.callback_by, shown.ended_at) == (consult.callback_by, consult.ended_at)
        assert [t.request for t in shown.takeovers] == [t.request for t in consult.takeovers]
        assert shown.post == POST


@pytest.mark.parametrize("secret", ["hash-1", "hash-2", "jti-1"])
@pytest.mark.parametrize("role", Role)
def test_no_view_holds_a_secrets_hash(secret: str, role: Role) -> None:
    """Hashes of resume secrets and the invitation's id stay on the node."""
    for story in STORIES:
        consult = noted(story)
        assert secret not in msgspec.json.encode(view(consult, role)).decode()
        board = views.board([consult], [], {}, today={}, medians={}, now=NOW)
        assert secret not in msgspec.json.encode(board).decode()


# -- queue, ring, desk -----------------------------------------------------------------------------


def test_a_queue_names_nobody() -> None:
    """A line of the queue has these fields and no other: none of them is a name or a complaint."""
    assert set(QueueItem.__struct_fields__) == {
        "consult", "state", "urgency", "specialty", "language", "since", "post", "present",
        "keeper", "quality", "weak", "callback_by", "contact", "messages",
    }  # fmt: skip
    item = views.queue_item(noted("waiting"), POST)
    assert not said_in(item)
    assert (item.consult, item.urgency, item.since) == (C1, Urgency.YELLOW, T0 + 3)
    assert (item.state, item.present, item.post) == (ConsultState.WAITING, True, POST)


def test_a_queue_says_whether_the_patient_is_there() -> None:
    """A lost patient is shown as not present; a lost specialist doesn't make the patient absent."""
    lost = ev.SideLost(at=NOW, consult=C1, role=ev.PATIENT)
    assert not views.queue_item(fold(lost, start=consult_in("waiting")), None).present
    lost = ev.SideLost(at=NOW, consult=C1, role=ev.SPECIALIST)
    assert views.queue_item(fold(lost, start=consult_in("in_call")), None).present


def test_contact_is_for_call_backs_only_if_given() -> None:
    """The telephone number is in a line only where the caller put it there."""
    assert views.queue_item(noted("callback"), POST).contact == ""
    assert said_in(views.queue_item(noted("callback"), POST, CONTACT)) == {CONTACT}


def test_a_ring_shows_the_case_and_not_the_person() -> None:
    """The ring has complaint, age and signs, and neither name nor contact."""
    shown = views.ring_view(noted("ringing"), INTAKE, POST)
    assert said_in(shown) == {COMPLAINT}
    assert (shown.age_months, shown.signs, shown.until) == (300, ["convulsion"], RUNG.until)
    assert not {"name", "contact"} & set(RingView.__struct_fields__)


def test_a_ring_without_intake_still_rings() -> None:
    """If the intake can't be had, the ring shows what the events say."""
    shown = views.ring_view(consult_in("ringing"), None, None)
    assert (shown.complaint, shown.age_months, shown.signs) == ("", None, [])
    assert shown.urgency is Urgency.YELLOW


def test_a_desk_is_made_of_these() -> None:
    """A desk shows the ring, the queue and the call-backs; a consult only to who is in its call."""
    who = Presence(AYU)
    for event in (ev.WentOnCall(at=T0, specialist=AYU), RUNG):
        who = presence.apply(who, event)
    queue = [views.queue_item(noted("waiting"), POST)]
    callbacks = [views.queue_item(noted("callback"), POST, CONTACT)]
    ring = views.ring_view(noted("ringing"), INTAKE, POST)
    shown = views.desk(who, ring, queue, callbacks)
    assert (shown.state, shown.ring, shown.consult) == ("ringing", ring, None)
    assert said_in(shown) == {COMPLAINT, CONTACT}
    assert not said_in(msgspec.structs.replace(shown, ring=None, callbacks=[]))
    in_call = views.desk(presence.apply(who, ACCEPTED), None, [], [])
    assert (in_call.state, in_call.consult) == ("in_call", C1)
    assert set(Desk.__struct_fields__) == {"state", "ring", "consult", "queue", "callbacks"}


# -- the board -------------------------------------------------------------------------------------


def board(consults: list[Consult], **changes: Any) -> Board:
    arguments: dict[str, Any] = {"today": {"MTW-01": 7}, "medians": {Urgency.RED: 42.0}, "now": NOW}
    return views.board(
        consults, [(ACCOUNT, Presence(AYU))], {"MTW-01": POST}, **(arguments | changes)
    )


def test_the_board_names_no_patient() -> None:
    """Whatever states the consults are in, the board holds no name, complaint, contact, note, summary or chat."""
    shown = board([noted(story) for story in STORIES])
    assert not said_in(shown)
    assert all(not item.contact for item in (*shown.waiting, *shown.calls, *shown.callbacks))
    assert set(BoardSpecialist.__struct_fields__) == {
        "account", "name", "state", "specialties", "languages", "consult",
    }  # fmt: skip


def test_the_board_sorts_consults_by_what_they_need() -> None:
    """Who waits or is rung for, who is in a call, who was promised a call-back; nothing else has a line."""
    states = [waiting(s, state=s, since=T0 + n) for n, s in enumerate(ConsultState)]
    shown = board(states)
    assert [i.consult for i in shown.waiting] == ["waiting", "ringing"]
    assert [i.consult for i in shown.calls] == ["in_call", "interrupted"]
    assert [i.consult for i in shown.callbacks] == ["callback"]


def test_the_board_counts_by_post() -> None:
    """Each post has its row with who waits, who talks and the day's total; an unknown post makes none."""
    at_post = [
        replace(consult_in(s), post=PostCode("MTW-01")) for s in ("waiting", "ringing", "in_call")
    ]
    elsewhere = replace(consult_in("waiting"), id=C2, post=PostCode("GONE"))
    nowhere = replace(consult_in("waiting"), id=C2, post=None)
    (row,) = board([*at_post, elsewhere, nowhere]).posts
    assert (row.post, row.waiting, row.in_call, row.today) == (POST, 2, 1, 7)
    lines = board([*at_post, elsewhere, nowhere]).waiting
    assert [line.post for line in lines].count(POST) == 2


def test_the_board_shows_specialists_requests_and_medians() -> None:
    """Who is on call and where, which take-overs are asked for, and the medians of the colours that have one."""
    shown = board([consult_in("waiting"), waiting(C2)])
    (who,) = shown.specialists
    assert (who.account, who.name, who.state) == (AYU, "dr. Ayu", "off_call")
    assert {c: [t.request for t in asked] for c, asked in shown.takeovers.items()} == {
        C1: ["request-1"]
    }
    assert shown.wait_median_s == {"red": 42.0}
    assert shown.now == NOW


# -- the timeline ----------------------------------------------------------------------------------

LINES = {
    ev.ChatSent: ("chat", "patient"),
    ev.ContentAdded: ("still", "patient"),
    ev.PatientJoined: ("joined", "patient"),
    ev.Accepted: ("accepted", "specialist"),
    ev.Transferred: ("transferred", "specialist"),
    ev.Held: ("held", "specialist"),
    ev.SideLost: ("lost", "patient"),
    ev.SideBack: ("back", "patient"),
    ev.TakeoverDecided: ("device_changed", "patient"),
    ev.Answered: ("answered", "specialist"),
    ev.Ended: ("ended", "specialist"),
}
SAMPLES = samples(consult_in("in_call"), NOW)


@pytest.mark.parametrize("kind", ev.AnyEvent.__args__, ids=lambda kind: kind.__name__)
def test_which_events_are_lines(kind: type[ev.Event]) -> None:
    """These events are lines of the timeline, by these authors; no other event is one."""
    line = views.entry(SAMPLES[kind], 9)
    if kind not in LINES:
        assert line is None
        return
    assert line is not None
    assert (line.kind, line.author) == LINES[kind]
    assert (line.consult, line.cursor, line.at, line.text) == (C1, 9, NOW, "")
    keys = {ev.ChatSent: KEY, ev.ContentAdded: "still-key-1"}
    assert line.key == keys.get(kind, "")


def test_a_refused_take_over_is_no_line() -> None:
    """Only a take-over that happened is told."""
    refused = ev.TakeoverDecided(at=NOW, consult=C1, request="r", allow=False, by=AYU)
    assert views.entry(refused, 9) is None


@pytest.mark.parametrize("role", [ev.PATIENT, ev.SPECIALIST])
def test_lines_say_whose_they_are(role: str) -> None:
    """Chat, a lost side and its return are told under the role that they are about."""
    for event in (
        ev.ChatSent(at=NOW, consult=C1, role=role, key=KEY, content="c", digest="d"),
        ev.SideLost(at=NOW, consult=C1, role=role),
        ev.SideBack(at=NOW, consult=C1, role=role),
    ):
        line = views.entry(event, 9, LINE)
        assert isinstance(line, Entry)
        assert (line.author, line.text) == (role, LINE)


@pytest.mark.parametrize("role", [Role.PATIENT, Role.SPECIALIST])
@pytest.mark.parametrize("kind", ev.AnyEvent.__args__, ids=lambda kind: kind.__name__)
def test_what_is_read_in_a_line(kind: type[ev.Event], role: Role) -> None:
    """Chat is read by both, the reason of a hand-over by staff; no note, intake or profile is ever in a line."""
    readers = {ev.ChatSent: {Role.PATIENT, Role.SPECIALIST}, ev.Transferred: {Role.SPECIALIST}}
    content = views.content_of_entry(SAMPLES[kind], role)
    reads = role in readers.get(kind, set())
    assert content == (SAMPLES[kind].content if reads else "")  # type: ignore[attr-defined]


# -- posts and waits -------------------------------------------------------------------------------


def test_a_post_as_a_page_shows_it() -> None:
    """A post's view has its emergency line and whether it is open, and no coordinates."""
    post = Post(
        code=PostCode("MTW-01"),
        name="Muara Siberut",
        time_zone="Asia/Jakarta",
        latitude=-1.6,
        longitude=99.2,
        emergency_line="119",
        opening_hours="24/7",
        link_type="3g",
    )
    shown = views.post_view(post, NOW)
    assert shown is not None
    assert (shown.code, shown.emergency_line, shown.open_now) == ("MTW-01", "119", True)
    assert not {"latitude", "longitude"} & set(PostView.__struct_fields__)
    assert views.post_view(None, NOW) is None


def test_a_wait_is_unknown_until_it_was_seen_often_enough() -> None:
    """Below ``median_min`` observations of a colour there is no estimate for it; other colours don't lend theirs."""
    waits = views.Waits(POLICY)
    for seconds in (10, 500):
        waits.observe(Urgency.RED, seconds)
        assert waits.medians() == {}
    waits.observe(Urgency.GREEN, 7)
    waits.observe(Urgency.RED, 30)
    assert waits.medians() == {Urgency.RED: 30}


@settings(deadline=None)
@given(seen=st.lists(st.floats(0, 10_000), min_size=5, max_size=40), window=st.integers(3, 10))
def test_the_estimate_is_the_median_of_the_newest(seen: list[float], window: int) -> None:
    """The estimate is the median of the last ``median_window`` waits, whatever came before."""
    waits = views.Waits(ConsultPolicy(median_window=window))
    for wait_s in seen:
        waits.observe(Urgency.YELLOW, wait_s)
    assert waits.medians() == {Urgency.YELLOW: median(seen[-window:])}
