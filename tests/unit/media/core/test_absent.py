# SPDX-License-Identifier: Apache-2.0
"""What a leg's shared numbers say of the picture before its next packet comes."""

from media.core.absent import MAX_ABSENT, Absent
from media.core.budget import Budget
from media.core.nack import NackScheduler


def came(*numbers: int) -> Absent:
    absent = Absent()
    for number in numbers:
        absent.came(number & 0xFFFF)
    return absent


def test_what_the_voice_does_not_lack_is_the_pictures():
    """Numbers 2 to 4 are missing, one of them is the voice's own: two of the picture. They are told once."""
    absent = came(0, 1, 5)
    assert absent.any
    absent.explained(1)
    assert absent.take() == 2
    assert not absent.any
    assert absent.take() == 0


def test_nothing_is_missing_in_order_nor_over_the_wrap():
    """Also from 65,535 to 0, and for a packet that was overtaken."""
    assert not came(65_534, 65_535, 0, 1).any
    overtaken = came(10, 12, 11)
    overtaken.explained(1)
    assert not overtaken.any


def test_an_outage_is_no_guess():
    """More than a burst of losses on a thin link is left to the picture's own numbers."""
    assert came(0, MAX_ABSENT + 2).take() == 0
    assert came(0, MAX_ABSENT + 1).take() == MAX_ABSENT


def test_a_picture_that_is_known_to_lack_its_newest_asks_for_it_at_once():
    """Two packets after the newest are asked for before anything behind them has come; what comes by itself is not."""
    nacks, budget = NackScheduler(), Budget(48_000, 0.0)
    nacks.received(7, 0.0)
    nacks.lacks(2, 1.0)
    nacks.received(9, 1.005)
    assert nacks.due(1.02, 0.5, 1.25, budget, 300) == [8]
    nacks.received(10, 1.1)
    assert nacks.due(1.3, 0.5, 1.25, budget, 300) == []


def test_a_wrong_guess_does_no_harm():
    """The packet that was taken for lost hadn't been sent yet: it comes, and nothing is learned of overtaking."""
    nacks = NackScheduler()
    nacks.received(7, 0.0)
    tolerance_s = nacks.reorder_s
    nacks.lacks(1, 1.0)
    nacks.received(8, 1.25)
    assert len(nacks) == 0
    assert nacks.next_index == 9
    assert nacks.reorder_s == tolerance_s


def test_a_wrong_guess_takes_no_repair_from_what_is_lost_later():
    """A lost repetition was taken for the next picture, which is lost itself afterwards: it is asked for all the same."""
    nacks, budget = NackScheduler(), Budget(48_000, 0.0)
    nacks.received(7, 0.0)
    asked: dict[float, list[int]] = {}
    for step in range(200):
        now = step / 100
        if step == 10:
            nacks.lacks(2, now)  # neither 8 nor 9 has been sent
        if step == 90:  # 8 is lost at 0.75
            nacks.received(9, now)
        if numbers := nacks.due(now, 0.5, 1.25, budget, 300):
            asked[now] = numbers
    later = [number for at, numbers in asked.items() if at >= 0.9 for number in numbers]
    assert later == [8]
    assert len(nacks) == 0


def test_guesses_follow_on_each_other_and_end():
    """What is lost beside a guess is the picture behind it; what comes after all is asked for no more."""
    nacks, budget = NackScheduler(), Budget(48_000, 0.0)
    nacks.received(7, 0.0)
    nacks.lacks(1, 1.0)
    nacks.lacks(1, 1.01)
    assert nacks.due(1.1, 0.5, 1.25, budget, 300) == [8, 9]
    nacks.received(8, 1.6)
    assert nacks.due(1.75, 0.5, 1.25, budget, 300) == [9]
    nacks.received(9, 2.0)
    assert len(nacks) == 0
    nacks.lacks(1, 3.0)
    assert nacks.due(9.0, 0.5, 1.25, budget, 300) == []
    assert len(nacks) == 0


def test_nothing_is_guessed_of_a_picture_that_never_came():
    """Before its first packet nobody knows its numbers."""
    nacks = NackScheduler()
    nacks.lacks(3, 1.0)
    assert len(nacks) == 0
