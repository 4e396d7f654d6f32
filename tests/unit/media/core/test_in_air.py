# SPDX-License-Identifier: Apache-2.0
"""What transport-wide feedback says of a picture's packets, and what a browser's request adds."""

from media.core.in_air import MAX_KEPT, MAX_LOST, InAir
from media.core.transport_cc import TransportFeedback


def feedback(base: int, *came: bool) -> TransportFeedback:
    return TransportFeedback(1, 2, base & 0xFFFF, 0, 0, tuple(5 if each else None for each in came))


def test_what_feedback_misses_is_sent_again_once():
    """Of three packets with voice between them the second is lost: it is named, by the picture's number, and only once."""
    air = InAir()
    for transport, number in ((65_534, 10), (0, 11), (2, 12)):
        air.sent(transport, number)
    assert air.told(feedback(65_534, True, True, False, True, True)) == [11]
    assert air.told(feedback(65_534, True, True, False, True, True)) == []


def test_a_repetition_that_is_lost_is_named_again_and_an_original_that_was_repeated_is_not():
    """The browser asked before feedback came; what feedback says of the first sending is past, of the second it counts."""
    air = InAir()
    air.sent(0, 10)
    assert air.asked(10, 0.5, 1.0)
    air.sent_again(1, 10, 1.0)
    assert air.told(feedback(0, False)) == []
    assert air.told(feedback(1, False)) == [10]


def test_a_request_is_answered_once_while_its_answer_may_come():
    """Within one and a half round trips and a feedback interval; then again, for the feedback may be lost too."""
    air = InAir()
    air.sent(0, 10)
    assert air.asked(10, 0.5, 0.3)
    air.sent_again(1, 10, 0.3)
    assert not air.asked(10, 0.5, 0.9)
    assert air.asked(10, 0.5, 1.3)


def test_what_has_come_is_not_sent_again():
    """A request that crossed the packet it asks for; and one for what was never sent."""
    air = InAir()
    air.sent(0, 10)
    assert air.told(feedback(0, True)) == []
    assert not air.asked(10, 0.5, 0.3)
    assert not air.asked(11, 0.5, 0.3)


def test_what_nobody_speaks_of_is_forgotten():
    """Without feedback no more is kept than a few seconds of a picture."""
    air = InAir()
    for number in range(MAX_KEPT + 50):
        air.sent(number, number)
    assert not air.asked(40, 0.5, 1.0)
    assert air.asked(60, 0.5, 1.0)
    air.clear()
    assert not air.asked(60, 0.5, 1.0)


def test_what_could_not_be_paid_is_sent_when_the_browser_asks():
    """Named once by feedback, not sent again for want of room: the browser's request counts, until it was sent."""
    air = InAir()
    for number in range(MAX_LOST + 10):
        air.sent(number, number)
        assert air.told(feedback(number, False)) == [number]
    assert not air.asked(9, 0.5, 1.0)  # too long ago
    assert air.asked(10, 0.5, 1.0)
    air.sent_again(1_000, 10, 1.0)
    assert not air.asked(10, 0.5, 1.2)
    assert air.told(feedback(1_000, True)) == []
    assert not air.asked(10, 0.5, 3.0)
