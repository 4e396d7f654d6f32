# SPDX-License-Identifier: Apache-2.0
"""What waits for its link goes out at the link's rate, behind the voice."""

from media.core.pacer import AHEAD_S, FACTOR, Pacer
from media.core.rtp import RtpPacket
from tests.support.rtp_packets import parsed, rtp

RATE_BPS = 128_000.0
SIZE = 1_200
TAKES_S = SIZE * 8 / (FACTOR * RATE_BPS)


def packets(count: int) -> list[RtpPacket]:
    return [parsed(rtp(number)) for number in range(count)]


def let_out(pacer: Pacer, now: float) -> list[int]:
    """Let out all that may go, as a relay does every 10 ms."""
    went: list[int] = []
    while pacer.may(now):
        waiting = pacer.next()
        if waiting is None:
            break
        pacer.sent(SIZE, now)
        went.append(waiting if isinstance(waiting, int) else waiting.sequence_number)
    return went


def test_a_frame_goes_out_at_the_rate_of_its_link() -> None:
    """Ten packets at once: one now, the others one by one, in order, in the time that the link takes for them."""
    pacer = Pacer(RATE_BPS)
    for packet in packets(10):
        pacer.wait(packet)
    at: dict[int, float] = {}
    for tick in range(200):
        for number in let_out(pacer, tick / 100):
            at[number] = tick / 100
    assert list(at) == list(range(10))
    assert at[0] == 0
    assert abs(at[9] - 9 * TAKES_S) <= AHEAD_S + 0.01
    assert all(at[number + 1] - at[number] >= TAKES_S - AHEAD_S - 0.01 for number in range(9))


def test_a_fast_link_is_not_waited_for() -> None:
    """At 50 Mbit/s forty packets go out together."""
    pacer = Pacer(50e6)
    for packet in packets(40):
        pacer.wait(packet)
    assert len(let_out(pacer, 0.0)) == 40


def test_voice_takes_its_room_first() -> None:
    """What the voice took is waited for."""
    pacer = Pacer(RATE_BPS)
    pacer.sent(SIZE, 0.0)
    assert not pacer.may(0.0)
    assert pacer.may(TAKES_S)


def test_nothing_is_saved_up() -> None:
    """After a long silence no more goes out at once than ever."""
    pacer = Pacer(RATE_BPS)
    for packet in packets(5):
        pacer.wait(packet)
    assert len(let_out(pacer, 1_000.0)) == 1


def test_a_repetition_goes_before_all_new_and_once() -> None:
    """Whose picture stands still is served first; asked for twice, it is repeated once."""
    pacer = Pacer(RATE_BPS)
    pacer.wait(packets(1)[0])
    pacer.wait_to_repeat(700)
    pacer.wait_to_repeat(700)
    assert len(pacer) == 2
    assert pacer.next() == 700
    pacer.wait_to_repeat(701)
    assert pacer.clear() == 1
    assert not len(pacer)
    assert pacer.next() is None
