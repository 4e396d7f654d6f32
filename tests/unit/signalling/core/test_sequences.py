# SPDX-License-Identifier: Apache-2.0
"""Any sequence of commands, stale ones too, while time passes: what must hold at every step, and in the end."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from signalling.core import coordinator, lifecycle, matching, presence
from signalling.core import events as ev
from signalling.core.coordinator import ON_BOTH
from signalling.core.lifecycle import CALL, TERMINAL, Consult, InvalidTransition
from signalling.core.matching import Candidate
from signalling.core.policy import ConsultPolicy
from signalling.core.presence import Presence
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import (
    ConsultState,
    DeclineReason,
    Outcome,
    SpecialistState,
    Specialty,
    Urgency,
)
from tests.support.consults import T0

S, P = ConsultState, SpecialistState
POLICY = ConsultPolicy(
    invitation_s=4_000,
    keep_s=300,
    call_max_s=2_000,
    wait_max_s={Urgency.RED: 120, Urgency.YELLOW: 240, Urgency.GREEN: 360},
    callback_s={Urgency.RED: 400, Urgency.YELLOW: 600, Urgency.GREEN: 800},
    callback_keep_s=900,
)
"""The shipped limits, shortened where they are hours: the story must come to its end within a test."""
SPECIALISTS = [AccountId(f"dr-{n}") for n in range(3)]
FIELDS = [Specialty.GENERAL, Specialty.SURGERY]
KEYS = [f"chat-key-{n}" for n in range(4)]
ROLES = [ev.PATIENT, ev.SPECIALIST]
ENDS = {S.ENDED, S.ABANDONED, S.EXPIRED}

numbers = st.tuples(st.integers(0, 4), st.sampled_from([0, 0, 0, 1, 2, 5]))
"""Which consult, and how many of its events ago whoever acts has seen it."""
accounts = st.sampled_from(SPECIALISTS)
urgencies = st.sampled_from(Urgency)
roles = st.sampled_from(ROLES)
deeds = st.sampled_from(["hands over", "notes", "ends", "holds"])


class House(RuleBasedStateMachine):
    """A node's folds and streams in memory, with the ledger's way of committing and the rota's way of deciding."""

    @initialize(
        on_call=st.sets(accounts, min_size=1),
        colours=st.lists(urgencies, max_size=3),
        talk=st.booleans(),
    )
    def begins(self, on_call: set[AccountId], colours: list[Urgency], talk: bool) -> None:
        self.now = T0
        self.consults: dict[ConsultId, Consult] = {}
        self.presences = {name: Presence(name) for name in SPECIALISTS}
        self.streams: dict[str, list[ev.Event]] = {name: [] for name in SPECIALISTS}
        self.seen: dict[ConsultId, list[Consult]] = {}
        self.said: dict[ConsultId, list[str]] = {}
        for account in sorted(on_call):
            self.switches(account, on=True)
        for colour in colours:
            self.arrives(Specialty.GENERAL, colour, waits=True)
        self.matches(talk or None)

    # -- how things are changed --------------------------------------------------------------------

    def commit(self, consult: Consult | None, events: Sequence[ev.Event]) -> bool:
        """Decide by the present state, as the ledger does; if refused, see that nothing was changed."""
        present = None if consult is None else self.consults[consult.id]
        account = coordinator.specialist_among(events)
        who = None if account is None else self.presences[account]
        before = (dict(self.consults), dict(self.presences))
        try:
            plan = coordinator.plan(present, who, events)
        except InvalidTransition:
            assert (self.consults, self.presences) == before
            return False
        if plan.consult is not None and plan.consult_events:
            self.seen[plan.consult.id].append(plan.consult)
            self.consults[plan.consult.id] = plan.consult
            self.streams[plan.consult.id] += plan.consult_events
        if plan.presence is not None and plan.presence_events:
            self.presences[plan.presence.id] = plan.presence
            self.streams[plan.presence.id] += plan.presence_events
        return True

    def certainly(self, consult: Consult, event: ev.Event) -> None:
        """Commit what must not be refused: what the core itself decided on the present state."""
        assert self.commit(consult, [event]), f"{event} was refused"

    def any_consult(self, number: tuple[int, int]) -> Consult | None:
        """Return a consult as somebody believes it to be: as it is, or as it was some events ago."""
        which, ago = number
        if not self.seen:
            return None
        seen = list(self.seen.values())[which % len(self.seen)]
        return seen[max(0, len(seen) - 1 - ago)]

    # -- commands ----------------------------------------------------------------------------------

    @rule(field=st.sampled_from(FIELDS), urgency=urgencies, waits=st.booleans())
    def arrives(self, field: Specialty, urgency: Urgency, waits: bool) -> None:
        """An invitation is made, and redeemed with the intake at once or later."""
        number = len(self.consults)
        if number == 5:
            return
        name = ConsultId(f"c-{number}")
        invited = ev.Invited(
            at=self.now, consult=name, jti="j", specialty=field, expires_at=self.now + 4_000
        )
        self.consults[name] = lifecycle.begin(invited)
        self.seen[name] = [self.consults[name]]
        self.streams[name] = [invited]
        self.said[name] = []
        if waits:
            self.joins((number, 0))
            self.fills_in((number, 0), urgency)

    @rule(number=numbers)
    def joins(self, number: tuple[int, int]) -> None:
        if consult := self.any_consult(number):
            event = ev.PatientJoined(at=self.now, consult=consult.id, resume_hash="h")
            self.commit(consult, [event])

    @rule(number=numbers, urgency=urgencies)
    def fills_in(self, number: tuple[int, int], urgency: Urgency) -> None:
        if consult := self.any_consult(number):
            event = ev.IntakeGiven(
                at=self.now,
                consult=consult.id,
                urgency=urgency,
                specialty=consult.specialty,
                language="id",
                content="i",
                consent_at=self.now,
            )
            self.commit(consult, [event])

    @rule(number=numbers, relay=st.sampled_from(["", "r_one", "r_two"]))
    def is_routed(self, number: tuple[int, int], relay: str) -> None:
        if consult := self.any_consult(number):
            self.commit(consult, [ev.Routed(at=self.now, consult=consult.id, relay=relay)])

    @rule(number=numbers)
    def leaves(self, number: tuple[int, int]) -> None:
        """As the patient's *leave*, built on what the page believed."""
        if consult := self.any_consult(number):
            event: ev.Event = ev.Abandoned(
                at=self.now, consult=consult.id, specialist=consult.specialist
            )
            if consult.state in CALL and consult.specialist:
                event = ev.Ended(
                    at=self.now,
                    consult=consult.id,
                    specialist=consult.specialist,
                    outcome=Outcome.PATIENT_LEFT,
                    role=ev.PATIENT,
                )
            self.commit(consult, [event])

    @rule(number=numbers, role=roles, key=st.sampled_from(KEYS))
    def says(self, number: tuple[int, int], role: str, key: str) -> None:
        """A line of chat, which a page sends again when it wasn't answered."""
        if consult := self.any_consult(number):
            line = ev.ChatSent(
                at=self.now, consult=consult.id, role=role, key=key, content="c", digest="d"
            )
            if self.commit(consult, [line]):
                self.said[consult.id].append(key)

    @precondition(lambda self: any(c.state in CALL for c in self.consults.values()))
    @rule(which=st.integers(0, 4), role=roles, away=st.booleans())
    def link_of_a_call_changes(self, which: int, role: str, away: bool) -> None:
        """Links are lost and come back above all in calls."""
        calls = [n for n, c in enumerate(self.consults.values()) if c.state in CALL]
        self.link_changes((calls[which % len(calls)], 0), role, away)

    @rule(number=numbers, role=roles, away=st.booleans())
    def link_changes(self, number: tuple[int, int], role: str, away: bool) -> None:
        if consult := self.any_consult(number):
            kind = ev.SideLost if away else ev.SideBack
            self.commit(consult, [kind(at=self.now, consult=consult.id, role=role)])

    @rule(number=numbers, request=st.sampled_from(["r-1", "r-2"]))
    def asks_for_the_place(self, number: tuple[int, int], request: str) -> None:
        if consult := self.any_consult(number):
            asked = ev.TakeoverAsked(
                at=self.now, consult=consult.id, request=request, secret_hash=request
            )
            self.commit(consult, [asked])

    @rule(number=numbers, request=st.sampled_from(["r-1", "r-2"]), allow=st.booleans())
    def decides_about_the_place(self, number: tuple[int, int], request: str, allow: bool) -> None:
        if consult := self.any_consult(number):
            decided = ev.TakeoverDecided(
                at=self.now, consult=consult.id, request=request, allow=allow, by="op"
            )
            if self.commit(consult, [decided]) and allow:
                assert self.consults[consult.id].resume_hash == request

    @rule(account=accounts, on=st.booleans())
    def switches(self, account: AccountId, on: bool) -> None:
        """The on-call switch, or a lease that ran out: a ring on the desk rolls over with it."""
        who = self.presences[account]
        events: list[ev.Event] = [ev.WentOnCall(at=self.now, specialist=account)]
        if not on:
            events = [ev.WentOffCall(at=self.now, specialist=account)]
            if who.state is P.RINGING and who.consult is not None:
                over = ev.RingTimedOut(at=self.now, consult=who.consult, specialist=account)
                events.insert(0, over)
        consult = self.consults[who.consult] if who.consult else None
        done = self.commit(consult, events)
        assert done == (who.on_call is not on), (
            "a switch works in every state but the one it leads to"
        )

    @rule(number=numbers, account=accounts, takes=st.booleans())
    def answers(self, number: tuple[int, int], account: AccountId, takes: bool) -> None:
        """Anybody answers any ring, late and again."""
        if consult := self.any_consult(number):
            event: ev.Event = ev.Accepted(at=self.now, consult=consult.id, specialist=account)
            if not takes:
                event = ev.RingDeclined(
                    at=self.now, consult=consult.id, specialist=account, reason=DeclineReason.BUSY
                )
            present = self.consults[consult.id]
            right = present.state is S.RINGING and present.specialist == account
            assert self.commit(consult, [event]) == right

    @precondition(lambda self: any(c.state is S.RINGING for c in self.consults.values()))
    @rule(takes=st.sampled_from([True, True, False]))
    def answers_rightly(self, takes: bool) -> None:
        """Who is rung answers, so that stories go on."""
        consult = next(c for c in self.consults.values() if c.state is S.RINGING)
        assert consult.specialist is not None
        self.answers((list(self.consults).index(consult.id), 0), consult.specialist, takes)

    @rule(number=numbers, account=accounts, what=deeds)
    def works(self, number: tuple[int, int], account: AccountId, what: str) -> None:
        """Anybody hands over, writes a note in, puts on hold or ends any consult."""
        if consult := self.any_consult(number):
            at, name = self.now, consult.id
            event: ev.Event = ev.NoteWritten(at=at, consult=name, content="n")
            if what == "hands over":
                event = ev.Transferred(
                    at=at, consult=name, specialist=account, specialty=Specialty.SURGERY
                )
            elif what == "holds":
                event = ev.Held(at=at, consult=name, specialist=account)
            elif what == "ends":
                event = ev.Ended(
                    at=at,
                    consult=name,
                    specialist=account,
                    outcome=Outcome.ADVICE,
                    role=ev.SPECIALIST,
                )
            present = self.consults[name]
            right = present.state in CALL and (what == "notes" or present.specialist == account)
            if what == "holds":
                right = right and ev.PATIENT in present.away
            assert self.commit(consult, [event]) == right

    @precondition(lambda self: any(c.state in CALL for c in self.consults.values()))
    @rule(which=st.integers(0, 4), what=deeds)
    def works_in_a_call(self, which: int, what: str) -> None:
        """Who is in a call does the same, so that stories go on."""
        calls = [(n, c) for n, c in enumerate(self.consults.values()) if c.state in CALL]
        number, consult = calls[which % len(calls)]
        assert consult.specialist is not None
        self.works((number, 0), consult.specialist, what)

    @rule(number=numbers, account=accounts)
    def takes_up_a_promise(self, number: tuple[int, int], account: AccountId) -> None:
        """A specialist rings for a promised call-back by hand."""
        consult = self.any_consult(number)
        if consult is not None and self.consults[consult.id].callback_by is not None:
            ring = matching.ring(consult, self.candidate(account), self.now, POLICY)
            self.commit(consult, [ring])

    # -- time and the rota -------------------------------------------------------------------------

    def candidate(self, account: AccountId) -> Candidate:
        field = FIELDS[SPECIALISTS.index(account) % 2]
        return Candidate(self.presences[account], frozenset({field}), frozenset({"id"}))

    @rule(answer=st.sampled_from([True, True, False, None]))
    def matches(self, answer: bool | None = None) -> None:
        """One pass of the rota: everything that it decides, the tables take. Who is rung may answer at once."""
        rota = [self.candidate(a) for a in SPECIALISTS if self.presences[a].on_call]
        decisions = matching.match(self.consults.values(), rota, self.now, POLICY)
        for decision in decisions:
            self.certainly(self.consults[decision.consult], decision)
        if answer is not None:
            for ring in [d for d in decisions if isinstance(d, ev.Rung)]:
                which = list(self.consults).index(ring.consult)
                self.answers((which, 0), ring.specialist, answer)

    @rule(span_s=st.sampled_from([1, 5, 10, 31, 61, 121, 500]))
    def time_passes(self, span_s: float) -> None:
        """What runs out meanwhile, runs out at its time, with a pass of the rota after each."""
        until = self.now + span_s
        for _ in range(500):
            due = [(lifecycle.deadline(c, POLICY), c) for c in self.live()]
            at, consult = min(
                ((d or 0.0, c) for d, c in due), key=lambda x: x[0], default=(until, None)
            )
            if consult is None or at > until:
                break
            self.now = max(self.now, at)
            event = lifecycle.on_deadline(consult, self.now, POLICY)
            assert event is not None, "its time has come and nothing happens"
            self.certainly(consult, event)
            self.matches()
        else:
            raise AssertionError("time stands still")
        self.now = until

    def live(self) -> list[Consult]:
        return [c for c in self.consults.values() if not c.over]

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def both_machines_agree(self) -> None:
        """A consult has at most one specialist, a specialist at most one consult, and both say the same of it."""
        by_consult = {
            (c.id, c.specialist, P.RINGING if c.state is S.RINGING else P.IN_CALL)
            for c in self.live()
            if c.state in CALL | {S.RINGING}
        }
        by_presence = {
            (w.consult, w.id, w.state)
            for w in self.presences.values()
            if w.state in (P.RINGING, P.IN_CALL)
        }
        assert by_consult == by_presence
        assert len({consult for consult, _, _ in by_presence}) == len(by_presence)

    @invariant()
    def streams_tell_the_same_story(self) -> None:
        """Folding a stream again gives the state; its version counts its events; nothing follows the end."""
        for consult in self.consults.values():
            first, *rest = self.streams[consult.id]
            assert isinstance(first, ev.Invited)
            again = lifecycle.begin(first)
            for event in rest:
                assert not again.over
                again = lifecycle.apply(again, ev.decode(ev.encode(event)))
            assert again == consult
            assert consult.version == 1 + len(rest)
        for who in self.presences.values():
            seen = Presence(who.id)
            for event in self.streams[who.id]:
                seen = presence.apply(seen, event)
            assert seen == who
            assert who.version == len(self.streams[who.id])

    @invariant()
    def joint_events_are_in_both_streams(self) -> None:
        """What concerns both is in both streams, once, in the same order."""
        for account in SPECIALISTS:
            own = [e for e in self.streams[account] if type(e) in ON_BOTH]
            for consult in self.consults:
                theirs = [
                    e
                    for e in self.streams[consult]
                    if type(e) in ON_BOTH and getattr(e, "specialist", None) == account
                ]
                assert [e for e in own if getattr(e, "consult", None) == consult] == theirs

    @invariant()
    def no_chat_is_lost_or_doubled(self) -> None:
        """Every line that was answered is in the consult exactly once."""
        for name, said in self.said.items():
            recorded = [e.key for e in self.streams[name] if isinstance(e, ev.ChatSent)]
            assert recorded == said
            assert sorted(self.consults[name].chat_keys) == sorted(said)

    @invariant()
    def states_mean_what_they_say(self) -> None:
        """Each live consult has a deadline, an interrupted call somebody away, a promise its instant."""
        for c in self.consults.values():
            due = lifecycle.deadline(c, POLICY)
            assert (due is None) == c.over == (c.state in TERMINAL)
            if c.state in CALL:
                assert (c.state is S.INTERRUPTED) == bool(c.away) == (c.away_since is not None)
            elif not c.over:
                assert ev.SPECIALIST not in c.away
            assert (c.state is S.CALLBACK) <= (c.callback_by is not None)
            assert (c.state in CALL | {S.WAITING, S.INVITED}) <= (c.callback_by is None)
            assert (c.ended_at is not None) == c.over
            assert (c.state is S.RINGING) == (c.ring_until is not None)
            assert not (c.over and c.takeovers)

    def teardown(self) -> None:
        """Time goes on and nobody does anything more: nobody is left waiting, and everything comes to its end."""
        if not hasattr(self, "consults"):
            return
        for c in [c for c in self.live() if c.state in (S.WAITING, S.RINGING)]:
            before = self.now
            limit = max(POLICY.wait_max_s.values()) + POLICY.ring_s
            self.time_passes(limit)
            told = self.consults[c.id]
            assert told.callback_by is not None or told.state in CALL | ENDS, "dismissed in silence"
            assert self.now == before + limit
        for _ in range(12):
            self.time_passes(500)
            self.both_machines_agree()
            self.states_mean_what_they_say()
        assert not self.live()
        self.streams_tell_the_same_story()


TestHouse = pytest.mark.timeout(180)(
    House.TestCase
)  # three seconds of work, on a machine that may be busy
TestHouse.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
