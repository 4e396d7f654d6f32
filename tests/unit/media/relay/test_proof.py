# SPDX-License-Identifier: Apache-2.0
"""What proves that somebody at an address wants what is sent there."""

import pytest
from aioice import stun

from media.relay.proof import ASK_S, ASKED_MAX, Proof
from tests.support.stun import reply

PASSWORD = "p" * 24


@pytest.fixture
def proof():
    """Of a leg whose browser answered with ``browser``, and checks with it."""
    made = Proof[str]()
    made.answered_with(f"browser:{PASSWORD}")
    made.checked_by("browser")
    return made


def refused(data, code):
    """An error without a signature, as browsers give it."""
    message = stun.Message(stun.Method.BINDING, stun.Class.ERROR, data[8:20])
    message.attributes["ERROR-CODE"] = (code, "Unauthorized")
    message.add_fingerprint()
    return bytes(message)


def test_a_signed_answer_from_where_it_was_asked_is_a_proof_once(proof):
    """Not from elsewhere, not with another signature, not twice."""
    data = proof.ask("new", "ours1234", 1.0)
    request = stun.parse_message(data)
    assert request.attributes["USERNAME"] == "browser:ours1234"
    assert request.check_message_integrity(PASSWORD.encode())
    assert len(data) + 28 <= 140
    good = reply(data, PASSWORD)
    assert proof.asked(good)
    assert not proof.proves(good, "elsewhere", checked=True)
    assert proof.proves(good, "new", checked=False)
    assert not proof.asked(good)


def test_neither_a_stranger_s_answer_nor_an_error_is_a_proof(proof):
    """A STUN server answers without a signature, an ICE agent of somebody else by an error: both are refused."""
    for now, answer in enumerate(
        [
            lambda data: reply(data, "q" * 24),
            lambda data: refused(data, 401),
            lambda data: b"\x01\x01\x00\x00" + data[4:20],
        ]
    ):
        data = proof.ask("new", "ours1234", float(now))
        assert proof.asked(answer(data))
        assert not proof.proves(answer(data), "new", checked=True)


def test_a_browser_that_restarted_by_itself_can_only_say_that_it_does_not_know_us(proof):
    """Its new password was told to nobody: 400 and 401 are taken then, from where it has checked; other codes are not."""
    proof.checked_by("restarted")
    for now, (code, checked, proves) in enumerate(
        [(401, True, True), (400, True, True), (401, False, False), (487, True, False)]
    ):
        data = proof.ask("new", "ours1234", 1.0 + now)
        assert stun.parse_message(data).attributes["USERNAME"] == "restarted:ours1234"
        assert proof.proves(refused(data, code), "new", checked=checked) is proves
        cut = proof.ask("new", "ours1234", 1.5 + now)
        assert not proof.proves(refused(cut, 401)[:24], "new", checked=True)


def test_few_are_asked(proof):
    """Each path twice a second, another one at once; sixteen are remembered; without a password nobody is asked."""
    assert proof.ask("new", "ours1234", 1.0)
    assert proof.ask("new", "ours1234", 1.0 + ASK_S * 0.9) is None
    assert proof.ask("newer", "ours1234", 1.1)
    for tick in range(40):
        assert proof.ask("new", "ours1234", 2.0 + tick)
    assert len(proof._asked) == ASKED_MAX
    assert Proof[str]().ask("new", "ours1234", 1.0) is None
