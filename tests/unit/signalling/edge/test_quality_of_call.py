# SPDX-License-Identifier: Apache-2.0
"""One call's quality, from both sides' figures: words, whose link, and what is told when."""

from dataclasses import replace
from typing import Any

from signalling.core import events as ev
from signalling.edge.connections import LinkOf
from signalling.edge.quality_of_call import LINK_FRESH_S, SAME_WORD_S, CallQuality
from signalling.wire.ids import ConnectionId, ConsultId
from signalling.wire.quality import Quality, Received, Second

C1 = ConsultId("c-1")
PAGE = ConnectionId("w-1")
GOOD = Second(1.0, 1.0, 0.0, 0, 0.05, 15, 0.0)
LOSSY = Second(1.0, 1.0, 0.08, 2, 0.05, 15, 0.0)
FROZEN = Second(1.0, 1.0, 0.0, 0, 0.05, 0, 1.0)


def received(second: Second = GOOD, **changes: Any) -> Received:
    """Return five equal seconds on a good link."""
    base = Received(0.04, 32_000, 0.02, 480, True, "on", False, (second,) * 5)
    return replace(base, **changes)


def link(role: str, *, loss: float = 0.0, rtt_ms: int = 40, bps: int = 0) -> LinkOf:
    return LinkOf(C1, role, rtt_ms, loss, loss, bps, bps)


class Talk:
    """A call whose two pages say the same every 5 s."""

    def __init__(self, patient: Received, specialist: Received, *links: LinkOf) -> None:
        self.call = CallQuality()
        self.now = 100.0
        self.sides = {ev.PATIENT: patient, ev.SPECIALIST: specialist}
        self.links = links
        self.told: list[Quality] = []
        self.measured: dict[str, Any] = {}

    def go(self, rounds: int = 3, reader: str = ev.PATIENT) -> Quality | None:
        """Let time pass; return what the reader was told last."""
        for _ in range(rounds):
            self.now += 5.0
            for each in self.links:
                self.call.linked(each, self.now)
            for role, said in self.sides.items():
                self.measured[role] = self.call.received(role, said, relayed=True, now=self.now)
            news = self.call.news(C1, reader, PAGE, self.now)
            if news is not None:
                self.told.append(news)
        return self.told[-1] if self.told else None


def test_a_good_call_is_excellent_and_told_once() -> None:
    """On a good link both words are the best, nobody's link is named, and nothing is said twice."""
    talk = Talk(received(), received(), link(ev.PATIENT), link(ev.SPECIALIST))
    said = talk.go(10)
    assert said is not None
    assert said.mine is not None
    assert said.theirs is not None
    assert (said.mine.word, said.mine.reason, said.mine.where) == ("excellent", "none", "unknown")
    assert said.theirs.word == "excellent"
    assert len(talk.told) == 1


def test_a_satellite_without_loss_is_fair_and_its_own() -> None:
    """650 ms there and back cost the word, for both people; the patient reads own link, the specialist the other's."""
    for reader, where in ((ev.PATIENT, "own"), (ev.SPECIALIST, "other")):
        links = (link(ev.PATIENT, rtt_ms=650), link(ev.SPECIALIST))
        talk = Talk(received(rtt_s=0.65), received(), *links)
        said = talk.go(reader=reader)
        assert said is not None
        for one in (said.mine, said.theirs):
            assert one is not None
            assert (one.word, one.reason, one.where) == ("fair", "delay", where)


def test_loss_is_rated_where_it_was_heard() -> None:
    """What the patient hears is poor, what the specialist hears is not; the lossy link is named, not the doctor's."""
    links = (link(ev.PATIENT, loss=0.08), link(ev.SPECIALIST))
    talk = Talk(received(LOSSY), received(), *links)
    said = talk.go()
    assert said is not None
    assert said.mine is not None
    assert said.theirs is not None
    assert (said.mine.word, said.mine.reason, said.mine.where) == ("poor", "loss", "own")
    assert said.theirs.word == "excellent"
    assert talk.call.worst() == ("poor", "patient")
    measured = talk.measured[ev.PATIENT]
    assert (measured.word, measured.whose) == ("poor", "patient")
    assert round(measured.concealed_ratio, 3) == 0.08
    assert len(measured.scores) == 5


def test_the_server_is_named_when_neither_link_costs_a_word() -> None:
    """Loss between two good links is not blamed on anybody's link."""
    talk = Talk(received(LOSSY), received(), link(ev.PATIENT), link(ev.SPECIALIST))
    said = talk.go()
    assert said is not None
    assert said.mine is not None
    assert said.mine.where == "server"


def test_nothing_is_guessed_of_links_that_nobody_measured() -> None:
    """Without a relay's word, or with an old one of one side, whose link it is stays unknown."""
    said = Talk(received(LOSSY), received()).go()
    assert said is not None
    assert said.mine is not None
    assert said.mine.where == "unknown"
    talk = Talk(received(LOSSY), received(), link(ev.PATIENT, loss=0.1), link(ev.SPECIALIST))
    talk.go()
    talk.links = ()
    talk.go(round(LINK_FRESH_S / 5) + 1)
    assert talk.call.worst() == ("poor", "unknown")


def test_a_frozen_picture_takes_the_word_down() -> None:
    """A picture that stands is the reason, though the voice is excellent; one that nobody sends is none."""
    talk = Talk(received(), received())
    talk.go()
    talk.sides[ev.PATIENT] = received(FROZEN)
    said = talk.go()
    assert said is not None
    assert said.mine is not None
    assert (said.mine.word, said.mine.reason) == ("bad", "frozen")
    said = Talk(received(FROZEN), received(picture=False)).go()
    assert said is not None
    assert said.mine is not None
    assert said.mine.word == "excellent"


def test_a_picture_that_has_not_come_yet_is_not_frozen() -> None:
    """In a call's first seconds, or after the camera is switched on, nobody is told that the picture stands; later they are."""
    none = Second(1.0, 1.0, 0.0, 0, 0.05, 0, 0.0)
    talk = Talk(received(none), received())
    said = talk.go(2)
    assert said is not None
    assert said.mine is not None
    assert said.mine.word == "excellent"
    said = talk.go(3)
    assert said is not None
    assert said.mine is not None
    assert (said.mine.word, said.mine.reason) == ("bad", "frame-rate")
    talk.sides[ev.PATIENT] = received(GOOD)
    talk.go(3)
    assert talk.told[-1].mine is not None
    assert talk.told[-1].mine.word == "excellent"


def test_a_hidden_page_does_not_rate_the_picture() -> None:
    """Who has the page in the background sees no picture, and that is no fault of a link; the other side is told."""
    talk = Talk(received(FROZEN, hidden=True), received())
    said = talk.go(reader=ev.SPECIALIST)
    assert said is not None
    assert said.theirs is not None
    assert said.theirs.word == "excellent"
    assert said.hidden


def test_who_sends_no_voice_is_not_rated() -> None:
    """A silent side, or one whose microphone the system took, is no bad voice; the other side is told of it at once."""
    talk = Talk(received(LOSSY), received(opus_bps=0, picture=False))
    assert talk.go() is not None
    talk.sides[ev.SPECIALIST] = received(microphone="taken")
    said = talk.go(1)
    assert said is not None
    assert said.microphone == "taken"


def test_directly_the_round_trip_is_the_whole_way() -> None:
    """Without a relay each page measures the way to the other one; by way of one, both halves are added."""
    delays = {}
    for relayed in (False, True):
        call = CallQuality()
        for at, role in enumerate((ev.PATIENT, ev.SPECIALIST, ev.PATIENT)):
            measured = call.received(role, received(rtt_s=0.3), relayed=relayed, now=20.0 * at)
        assert measured.mouth_to_ear_s is not None
        delays[relayed] = measured.mouth_to_ear_s
    assert round(delays[True] - delays[False], 3) == 0.15


def test_another_reason_for_the_same_word_waits() -> None:
    """A word is told when it changes; its reason alone no more often than every ten seconds."""
    links = [link(ev.PATIENT, loss=0.1), link(ev.SPECIALIST)]
    talk = Talk(received(LOSSY), received(), *links)
    talk.go()
    before = len(talk.told)
    talk.links = (link(ev.PATIENT), link(ev.SPECIALIST, loss=0.1))
    told_at = []
    for _ in range(4):
        talk.go(1)
        if len(talk.told) > before:
            told_at.append(talk.now)
            before = len(talk.told)
    assert len(told_at) == 1
    assert talk.told[-1].mine is not None
    assert talk.told[-1].mine.where == "other"
    assert SAME_WORD_S == 10.0


def test_a_page_that_says_nothing_any_more_has_no_word() -> None:
    """A page that was frozen, or has lost the service: what it heard then is not what it hears now."""
    talk = Talk(received(LOSSY), received())
    talk.go()
    del talk.sides[ev.PATIENT]
    said = talk.go(7)
    assert said is not None
    assert said.mine is None
    assert said.theirs is not None
    assert talk.call.worst() == ("excellent", "unknown")


def test_a_page_that_came_back_is_told_again() -> None:
    """Another connection knows nothing yet."""
    talk = Talk(received(), received())
    said = talk.go()
    assert talk.call.news(C1, ev.PATIENT, ConnectionId("w-2"), talk.now) == said
    assert talk.call.news(C1, ev.PATIENT, ConnectionId("w-2"), talk.now) is None


def test_before_anybody_said_anything_there_is_no_word() -> None:
    """No message for nothing."""
    call = CallQuality()
    assert call.news(C1, ev.PATIENT, PAGE, 1.0) is None
    assert call.worst() is None
