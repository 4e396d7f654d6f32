# SPDX-License-Identifier: Apache-2.0
"""ICE-lite decisions in virtual time, and what hostile datagrams get."""

import os
import random
import struct

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from media.relay import ice
from media.relay.drops import Drop
from media.relay.ice import AddressRule, Credentials
from tests.support.relay_peer import check

PAIR = Credentials.of(bytes(range(24)))


def test_credentials_are_long_enough_and_hide_their_password() -> None:
    """48 bits of ufrag and 144 of password, ICE characters only; the password is in no repr."""
    assert (len(PAIR.ufrag), len(PAIR.pwd)) == (8, 24)
    assert str(PAIR) == f"{PAIR.ufrag}:{PAIR.pwd}"
    assert PAIR.pwd not in repr(PAIR)
    with pytest.raises(ValueError, match="24 random"):
        Credentials.of(b"short")


def test_a_check_is_read() -> None:
    """A browser's check gives our ufrag, whether it nominates and whether the roles collide."""
    data = bytes(check(PAIR, nominated=True))
    assert ice.ufrag_of(data) == PAIR.ufrag
    read = ice.read_check(data, PAIR)
    assert isinstance(read, ice.Check)
    assert (read.nominated, read.conflict) == (True, False)


@pytest.mark.parametrize("source", [("192.0.2.7", 4_000), ("2001:db8::7", 4_000)])
def test_a_check_is_answered_with_the_address_it_came_from(source: tuple[str, int]) -> None:
    """The response is signed with the pair's password, has a fingerprint, and says the source."""
    request = check(PAIR)
    read = ice.read_check(bytes(request), PAIR)
    assert isinstance(read, ice.Check)
    response = stun.parse_message(ice.answer(read, source))
    assert response.transaction_id == request.transaction_id
    assert response.message_class is stun.Class.RESPONSE
    assert response.check_message_integrity(PAIR.pwd.encode())
    assert "FINGERPRINT" in response.attributes
    assert response.attributes["XOR-MAPPED-ADDRESS"] == source


def test_a_peer_that_believes_to_be_controlled_is_told_487() -> None:
    """A lite agent is always controlled: the conflict is answered, not taken over."""
    read = ice.read_check(bytes(check(PAIR, controlled=True)), PAIR)
    assert isinstance(read, ice.Check)
    response = stun.parse_message(ice.answer(read, ("192.0.2.7", 1)))
    assert response.error_code == 487


def altered(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_what_is_not_signed_by_the_pair_is_refused() -> None:
    """A wrong password, no signature at all, a changed byte, a missing fingerprint: each has its reason."""
    assert ice.read_check(bytes(check(PAIR, key=b"guess")), PAIR) is Drop.STUN_UNAUTHENTIC
    bare = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    bare.attributes["USERNAME"] = f"{PAIR.ufrag}:peer"
    assert ice.read_check(bytes(bare), PAIR) is Drop.STUN_MALFORMED
    bare.add_fingerprint()
    assert ice.read_check(bytes(bare), PAIR) is Drop.STUN_UNAUTHENTIC
    signed = bytes(check(PAIR))
    unprinted = signed[:2] + struct.pack("!H", len(signed) - 28) + signed[4:-8]
    assert ice.read_check(unprinted, PAIR) is Drop.STUN_MALFORMED
    for at in range(20, len(signed)):
        assert isinstance(ice.read_check(altered(signed, at), PAIR), Drop), at


def test_what_is_no_check_is_refused_before_anything_is_computed() -> None:
    """Responses, indications, other cookies, wrong lengths, no username: dropped by a look at the header."""
    data = bytes(check(PAIR))
    assert ice.ufrag_of(b"\x01\x01" + data[2:]) is Drop.STUN_NOT_A_CHECK
    assert ice.ufrag_of(b"\x00\x11" + data[2:]) is Drop.STUN_NOT_A_CHECK
    assert ice.ufrag_of(altered(data, 4)) is Drop.STUN_MALFORMED
    assert ice.ufrag_of(data[:-1]) is Drop.STUN_MALFORMED
    assert ice.ufrag_of(data[:19]) is Drop.STUN_MALFORMED
    nobody = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    assert ice.ufrag_of(bytes(nobody)) is Drop.STUN_UNAUTHENTIC


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_raise(data: bytes, begins_right: bool) -> None:
    """Whatever comes after a right header or a wrong one: a reason, never an exception."""
    if begins_right:
        data = b"\x00\x01" + struct.pack("!H", len(data)) + ice._COOKIE + bytes(12) + data
    assert isinstance(ice.ufrag_of(data), Drop | str)
    assert isinstance(ice.read_check(data, PAIR), Drop)


@pytest.mark.parametrize("seed", range(5))
def test_no_mutation_of_a_check_raises_or_passes(seed: int) -> None:
    """A thousand checks with changed, cut and repeated parts: all refused, none by an exception."""
    chance = random.Random(seed)
    data = bytes(check(PAIR, nominated=True))
    for _ in range(1_000):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        if chance.random() < 0.5:
            at = chance.randrange(len(broken))
            broken[at:at] = os.urandom(chance.randrange(40))
        if bytes(broken) != data:
            assert isinstance(ice.read_check(bytes(broken), PAIR), Drop)
            assert isinstance(ice.ufrag_of(bytes(broken)), Drop | str)


@pytest.fixture
def rule() -> AddressRule[str]:
    """A leg that sends to ``old`` and heard from it at 100.0."""
    made = AddressRule[str]()
    assert made.on_check("old", nominated=False, now=100.0) == (True, None)
    return made


def test_use_candidate_moves_at_once(rule: AddressRule[str]) -> None:
    """The browser's own word counts, also while the old address is alive."""
    assert rule.on_check("new", nominated=True, now=100.01) == (True, None)
    assert rule.current == "new"


def test_a_check_moves_after_300_ms_of_silence(rule: AddressRule[str]) -> None:
    """Without USE-CANDIDATE: not after 299 ms, but after 300."""
    assert rule.on_check("new", nominated=False, now=100.299) == (False, None)
    assert rule.current == "old"
    assert rule.on_check("new", nominated=False, now=100.31) == (True, None)
    assert rule.current == "new"


def test_media_from_the_current_address_is_no_silence(rule: AddressRule[str]) -> None:
    """As long as packets come from the old address a mere check moves nothing."""
    for step in range(20):
        now = 100.0 + step / 10
        assert rule.on_media("old", newest=True, now=now) == (False, None)
        assert rule.on_check("new", nominated=False, now=now + 0.05) == (False, None)


def test_the_newest_packet_from_an_unknown_address_moves_at_once(rule: AddressRule[str]) -> None:
    """An address that changed under a browser is followed with its first packet, not 3 s later."""
    assert rule.on_media("new", newest=True, now=100.02) == (True, None)
    assert rule.current == "new"


def test_an_older_packet_moves_nothing(rule: AddressRule[str]) -> None:
    """What was recorded and sent again elsewhere is never the newest."""
    assert rule.on_media("new", newest=False, now=200.0) == (False, None)
    assert rule.current == "old"


def test_a_move_by_media_is_taken_back_without_a_check(rule: AddressRule[str]) -> None:
    """Five seconds on trial, then back, and media from there move nothing again until a check does."""
    rule.on_media("thief", newest=True, now=100.1)
    assert rule.on_time(105.0) == (False, None)
    assert rule.on_time(105.1) == (True, "thief")
    assert rule.current == "old"
    assert rule.on_media("thief", newest=True, now=106.0) == (False, None)
    assert rule.on_check("thief", nominated=False, now=106.0) == (True, None)


def test_a_move_by_media_stays_with_a_check(rule: AddressRule[str]) -> None:
    """A check from the new address within the trial confirms it."""
    rule.on_media("new", newest=True, now=100.1)
    rule.on_check("new", nominated=False, now=102.5)
    assert rule.on_time(200.0) == (False, None)
    assert rule.current == "new"


def test_packets_that_overtake_each_other_do_not_flap(rule: AddressRule[str]) -> None:
    """After a move, the newest packet of another stream from the old address does not move it back at once."""
    rule.on_media("new", newest=True, now=100.1)
    assert rule.on_media("old", newest=True, now=100.12) == (False, None)
    assert rule.current == "new"


def test_the_true_sender_wins_back_from_one_who_was_faster(rule: AddressRule[str]) -> None:
    """One stolen packet diverts nothing for longer than the silence that follows it."""
    rule.on_media("thief", newest=True, now=100.1)
    assert rule.on_media("old", newest=True, now=100.41) == (True, None)
    assert rule.current == "old"


def test_addresses_are_bounded(rule: AddressRule[str]) -> None:
    """A leg knows eight addresses; the longest unheard goes, the current one never."""
    gone = [rule.on_check(f"a{n}", nominated=False, now=100.0)[1] for n in range(20)]
    assert [each for each in gone if each] == [f"a{n}" for n in range(13)]
    assert len(rule.paths()) == ice.ADDRESSES_MAX
    assert rule.current == "old"


def test_a_closed_connection_falls_back_to_the_path_heard_last(rule: AddressRule[str]) -> None:
    """Losing the current path leaves the other known one; losing all leaves none, and any check sets it again."""
    rule.on_check("tcp", nominated=True, now=101.0)
    rule.forget("tcp")
    assert rule.current == "old"
    rule.forget("old")
    assert rule.current is None
    assert rule.on_check("old", nominated=False, now=101.1) == (True, None)
