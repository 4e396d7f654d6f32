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
from media.relay.ice import STRANGERS_PER_S, STRANGERS_S, TRIAL_S, AddressRule, Credentials
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
    rule.forget("tcp", 101.0)
    assert rule.current == "old"
    rule.forget("old", 101.0)
    assert rule.current is None
    assert rule.on_check("old", nominated=False, now=101.1) == (True, None)


@pytest.fixture
def leg(rule: AddressRule[str]) -> AddressRule[str]:
    """The same with keys: its handshake has proved ``old``."""
    rule.connected(100.0)
    assert rule.unproved is None
    return rule


def test_one_forged_check_buys_five_seconds(leg: AddressRule[str]) -> None:
    """USE-CANDIDATE from where nobody answers: followed at once, taken back when nothing more comes from there."""
    assert leg.on_check("victim", nominated=True, now=101.0) == (True, None)
    assert leg.unproved == "victim"
    assert leg.on_time(101.0 + TRIAL_S - 0.1) == (False, None)
    assert leg.on_time(101.0 + TRIAL_S) == (True, "victim")
    assert leg.current == "old"
    assert leg.unproved is None


def test_an_answer_ends_the_trial(leg: AddressRule[str]) -> None:
    """Proved after a round trip: it stays, though nothing comes from there for long."""
    leg.on_check("new", nominated=True, now=101.0)
    leg.prove("new")
    assert leg.unproved is None
    assert leg.on_time(200.0) == (False, None)
    assert (leg.current, leg.bounded) == ("new", False)


def test_more_forged_checks_don_t_help_while_the_true_path_is_heard(leg: AddressRule[str]) -> None:
    """A check is no proof: the leg goes back to the proved path that it still checks from."""
    leg.on_check("victim", nominated=True, now=101.0)
    for tick in range(1, 40):
        leg.on_check("victim", nominated=True, now=101.0 + tick / 8)
    leg.on_check("old", nominated=False, now=103.55)
    leg.on_check("victim", nominated=True, now=105.9)
    assert leg.on_time(106.0) == (True, "victim")
    assert leg.current == "old"


def test_a_browser_that_does_not_answer_keeps_its_voice(leg: AddressRule[str]) -> None:
    """Heard from there alone, and never an answer: it stays, bounded, until one comes; silent again, it goes."""
    leg.on_check("new", nominated=True, now=101.0)
    leg.on_media("new", newest=True, now=103.0)
    assert leg.on_time(106.0) == (False, None)
    assert (leg.current, leg.bounded, leg.unproved) == ("new", True, "new")
    leg.on_media("new", newest=True, now=110.0)
    assert leg.on_time(111.0) == (False, None)
    leg.prove("new")
    assert not leg.bounded
    leg.on_check("newer", nominated=True, now=112.0)
    assert not leg.bounded
    leg.heard_at = 112.5
    leg.on_time(117.0)
    assert leg.bounded
    assert leg.on_time(122.0) == (True, "newer")
    assert (leg.current, leg.bounded) == ("new", False)


@pytest.mark.parametrize("each_s", [1.0, 4.9, 5.0])
def test_one_who_names_stranger_after_stranger_is_bounded(
    leg: AddressRule[str], each_s: float
) -> None:
    """However fast they follow each other, and though the leg's own path is proved in between: 15 s, and the one that was begun."""
    now, sent_s = 200.0, 0.0
    for index in range(60):
        leg.on_check(f"victim{index}", nominated=True, now=now)
        sent_s += 0 if leg.bounded else each_s
        now += each_s
        leg.on_time(now)
        leg.on_check(f"own{index}", nominated=True, now=now)
        leg.prove(f"own{index}")
        assert not leg.bounded
    assert STRANGERS_S <= sent_s <= STRANGERS_S + 2 * TRIAL_S + 60 * each_s * STRANGERS_PER_S


def test_a_link_that_flaps_is_never_bounded(leg: AddressRule[str]) -> None:
    """A new address each 5 s for ten minutes, each proved after 1.5 s."""
    for index in range(120):
        now = 200.0 + index * 5
        leg.on_check(f"new{index}", nominated=True, now=now)
        assert not leg.bounded
        leg.on_time(now + 1.4)
        leg.prove(f"new{index}")


def test_a_path_from_before_the_keys_is_not_trusted_for_its_age(rule: AddressRule[str]) -> None:
    """Two paths during the handshake: it has proved neither; without a proof there is nowhere to go back to."""
    rule.on_check("other", nominated=True, now=100.1)
    rule.connected(100.2)
    assert rule.unproved == "other"
    assert rule.on_time(100.2 + TRIAL_S) == (True, "other")
    assert rule.current is None
    assert rule.on_check("old", nominated=False, now=106.0) == (True, None)
    assert rule.unproved == "old"


def test_a_closed_connection_leaves_no_path_unproved(leg: AddressRule[str]) -> None:
    """A path that a forged check made known becomes the last one left: it is on trial like any other."""
    leg.on_check("victim", nominated=False, now=100.1)
    leg.forget("old", 101.0)
    assert (leg.current, leg.unproved) == ("victim", "victim")
    assert leg.on_time(101.0 + TRIAL_S) == (True, "victim")
    assert leg.current is None


def test_after_an_outage_media_from_the_path_that_failed_move_at_once(
    leg: AddressRule[str],
) -> None:
    """A link that went down before its new path was proved: its first packet is enough, as ever."""
    leg.on_check("new", nominated=True, now=101.0)
    leg.on_time(106.0)
    assert leg.on_media("new", newest=True, now=120.0) == (True, None)
    assert (leg.current, leg.bounded) == ("new", False)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["check", "nominated", "media", "time", "forget"]),
            st.sampled_from("abcdefghijkl"),
            st.floats(0, 3),
        ),
        max_size=80,
    )
)
def test_nothing_but_a_proof_makes_a_stranger_trusted(steps: list[tuple[str, str, float]]) -> None:
    """Whatever is forged in whatever order: the path that is sent to without a bound has answered, or is on a trial that ends."""
    rule, now, since = AddressRule[str](), 0.0, 0.0
    rule.on_check("true", nominated=True, now=now)
    rule.connected(now)
    for kind, path, passed in steps:
        now += passed
        before = rule.current
        if kind == "media":
            rule.on_media(path, newest=True, now=now)
        elif kind == "forget":
            rule.forget(path, now)
        elif kind != "time":
            rule.on_check(path, nominated=kind == "nominated", now=now)
        if rule.current != before and rule.unproved is not None:
            since = now
        rule.on_time(now)
        assert rule.current is None or rule.current in rule.paths()
        assert rule.bounded or rule.unproved is None or now - since < TRIAL_S + 1e-6
        assert len(rule.paths()) <= ice.ADDRESSES_MAX
