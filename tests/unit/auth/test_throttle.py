# SPDX-License-Identifier: Apache-2.0
"""The growing delay: what it allows, what it stops, and that nobody can be locked out by it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth import codes
from auth.errors import Throttled
from auth.throttle import (
    CODE_BY_ADDRESS,
    CODE_BY_PREFIX,
    HELLO_BY_PERSON,
    POLICIES,
    SIGN_IN_BY_ACCOUNT,
    SIGN_IN_BY_ADDRESS,
    SIGN_IN_BY_LOGIN,
    Policy,
    Throttle,
    account_key,
    address_key,
)

NOW = 1_790_000_000.0

POLICY = Policy(
    name="test",
    free_tries=3,
    base_delay_s=2.0,
    max_delay_s=20.0,
    forgive_s=100.0,
    success_clears=True,
    capacity=4,
)


def wait_s(throttle: Throttle, key: str, now: float) -> float:
    try:
        throttle.check(key, now)
    except Throttled as refused:
        return refused.retry_after_s
    return 0.0


def test_the_delay_doubles_beyond_the_free_tries() -> None:
    """Three tries are free, then the wait is 2, 4, 8, 16 and at most 20 seconds."""
    throttle = Throttle(POLICY)
    waits = []
    for _ in range(9):
        throttle.fail("a", NOW)
        waits.append(wait_s(throttle, "a", NOW))
    assert waits == [0, 0, 0, 2, 4, 8, 16, 20, 20]


def test_the_wait_ends() -> None:
    """The wait is told truthfully: a moment before its end there is still one, then none."""
    throttle = Throttle(POLICY)
    for _ in range(4):
        throttle.fail("a", NOW)
    assert wait_s(throttle, "a", NOW + 1.5) == 0.5
    assert wait_s(throttle, "a", NOW + 2.0) == 0.0


def test_asking_changes_nothing() -> None:
    """However often a key is asked about, it isn't remembered for that, nor its wait longer."""
    throttle = Throttle(POLICY)
    for _ in range(100):
        throttle.check("a", NOW)
    assert len(throttle) == 0


def test_keys_do_not_touch_each_other() -> None:
    """One key's wrong tries are no other key's business."""
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.fail("a", NOW)
    assert wait_s(throttle, "b", NOW) == 0


def test_wrong_tries_are_forgiven_one_by_one() -> None:
    """Each quiet ``forgive_s`` takes one wrong try away; part of one isn't taken away."""
    throttle = Throttle(POLICY)
    for _ in range(5):
        throttle.fail("a", NOW)
    later = NOW + 2 * POLICY.forgive_s
    throttle.fail("a", later)
    assert wait_s(throttle, "a", later) == 2  # 5 - 2 + 1 = 4: one beyond the free ones
    throttle.fail("a", later + POLICY.forgive_s / 2)
    assert wait_s(throttle, "a", later + POLICY.forgive_s / 2) == 4  # 4.5 counts as 5
    throttle.fail("a", later + 100 * POLICY.forgive_s)
    assert wait_s(throttle, "a", later + 100 * POLICY.forgive_s) == 0


def test_the_way_back_does_not_grow_with_the_attack() -> None:
    """After a million wrong tries a key is free again as soon as after a dozen."""
    few, many = Throttle(POLICY), Throttle(POLICY)
    for throttle, tries in ((few, 12), (many, 10_000)):
        for _ in range(tries):
            throttle.fail("a", NOW)
    later = NOW + 5 * POLICY.forgive_s
    for throttle in (few, many):
        throttle.fail("a", later)
    assert wait_s(few, "a", later) == wait_s(many, "a", later) == 2


def test_success_clears_where_the_owner_proved_to_be_there() -> None:
    """A right password wipes the account's slate, also of somebody else's wrong tries."""
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.fail("a", NOW)
    throttle.succeed("a", NOW)
    throttle.succeed("b", NOW)
    assert wait_s(throttle, "a", NOW) == 0
    assert len(throttle) == 0


def test_success_does_not_clear_a_shared_key() -> None:
    """An attacker with one code of their own can't wipe the slate of their address with it."""
    throttle = Throttle(replace(POLICY, success_clears=False))
    for _ in range(5):
        throttle.fail("a", NOW)
    throttle.succeed("a", NOW)
    assert wait_s(throttle, "a", NOW) == 4


def test_memory_is_bounded() -> None:
    """When memory is full, the key that failed longest ago is forgotten, never a recent one."""
    throttle = Throttle(POLICY)
    for key in "abcd":
        for _ in range(4):
            throttle.fail(key, NOW)
    throttle.fail("a", NOW)  # now "b" is the oldest
    throttle.fail("e", NOW)
    assert len(throttle) == POLICY.capacity
    assert [key for key in "abcd" if wait_s(throttle, key, NOW)] == ["a", "c", "d"]


def test_parallel_tries_are_charged_in_advance() -> None:
    """A thousand tries sent at once get no further than the free ones and one more."""
    throttle = Throttle(POLICY)
    passed = 0
    for _ in range(1000):
        try:
            throttle.charge("a", NOW)
        except Throttled:
            continue
        passed += 1
    assert passed == POLICY.free_tries + 1


def test_a_refund_leaves_no_trace() -> None:
    """A charged try that was right costs the shared key nothing, neither a count nor a wait."""
    throttle = Throttle(POLICY)
    for _ in range(3):
        throttle.fail("a", NOW)
    for _ in range(50):
        throttle.refund(throttle.charge("a", NOW))
    assert wait_s(throttle, "a", NOW) == 0
    throttle.fail("a", NOW)
    assert wait_s(throttle, "a", NOW) == 2


def test_a_refund_does_not_undo_another_try() -> None:
    """When a wrong try came in between, its wait stays."""
    throttle = Throttle(replace(POLICY, free_tries=0))
    charge = throttle.charge("a", NOW)
    throttle.fail("a", NOW)
    throttle.refund(charge)
    assert wait_s(throttle, "a", NOW) == 4


def test_a_refund_after_forgetting_is_nothing() -> None:
    """A refund for a key that was wiped or pushed out meanwhile doesn't bring it back."""
    throttle = Throttle(POLICY)
    charge = throttle.charge("a", NOW)
    throttle.succeed("a", NOW)
    throttle.refund(charge)
    assert len(throttle) == 0


def test_a_clock_that_was_set_back_holds_nobody_up() -> None:
    """After a step back nobody waits longer than the policy's longest wait says."""
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.fail("a", NOW)
    assert wait_s(throttle, "a", NOW - 1.0) == POLICY.max_delay_s
    assert wait_s(throttle, "a", NOW - 3600.0) == 0
    throttle.fail("a", NOW - 3600.0)
    assert wait_s(throttle, "a", NOW - 3600.0) == POLICY.max_delay_s


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from(["fail", "charge", "succeed"]),
            st.floats(0, 500),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_wait_is_bounded(steps: list[tuple[str, str, float]]) -> None:
    """No sequence makes anybody wait longer than the limit, or memory grow beyond its bound."""
    throttle = Throttle(POLICY)
    now = NOW
    for key, step, passed_s in steps:
        now += passed_s
        if step == "fail":
            throttle.fail(key, now)
        elif step == "succeed":
            throttle.succeed(key, now)
        elif not wait_s(throttle, key, now):
            throttle.refund(throttle.charge(key, now))
        assert all(wait_s(throttle, each, now) <= POLICY.max_delay_s for each in "abcdef")
        assert len(throttle) <= POLICY.capacity


def test_the_policies_keep_their_promises() -> None:
    """The policies' own sums: names for metrics, sane bounds, no wiping of shared keys."""
    assert len({policy.name for policy in POLICIES}) == len(POLICIES) == 10
    for policy in POLICIES:
        assert 0 < policy.base_delay_s <= policy.max_delay_s <= 300
    assert [policy for policy in POLICIES if policy.success_clears] == [SIGN_IN_BY_ACCOUNT]
    prefixes = len(codes.ALPHABET) ** codes.PREFIX_LENGTH
    assert CODE_BY_PREFIX.capacity > prefixes
    assert prefixes / CODE_BY_PREFIX.max_delay_s < 115


def guesses(policy: Policy, span_s: float) -> int:
    """Return how many wrong tries a patient attacker gets on one key in that time."""
    throttle = Throttle(policy)
    now, count = NOW, 0
    while now < NOW + span_s:
        throttle.fail("a", now)
        count += 1
        now += max(wait_s(throttle, "a", now), 0.001)
    return count


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (SIGN_IN_BY_ACCOUNT, 310),
        (SIGN_IN_BY_LOGIN, 43_300),
        (SIGN_IN_BY_ADDRESS, 1500),
        (CODE_BY_PREFIX, 1500),
        (CODE_BY_ADDRESS, 2950),
    ],
)
def test_what_a_day_of_guessing_gives(policy: Policy, most: int) -> None:
    """The best that one key gets in a day is what the policy's comment says."""
    assert guesses(policy, 86_400.0) <= most


def test_guessing_codes_from_one_address_is_hopeless() -> None:
    """With 1,000 codes in use, one address needs most of a year for one hit."""
    all_codes = len(codes.ALPHABET) ** (codes.LENGTH - 1)
    days = all_codes / 1000 / guesses(CODE_BY_ADDRESS, 86_400.0)
    assert 250 < days < 400


def test_an_island_behind_one_address_gets_in() -> None:
    """Thirty wrong codes within a minute, and one a minute from then on, hold nobody up."""
    throttle = Throttle(CODE_BY_ADDRESS)
    longest_s = 0.0
    for now in [NOW + 2.0 * n for n in range(30)] + [NOW + 60.0 * n for n in range(1, 60)]:
        longest_s = max(longest_s, wait_s(throttle, "island", now))
        throttle.fail("island", now)
    assert longest_s == 0


def test_a_link_that_flaps_is_never_held_up() -> None:
    """A connection every two seconds, for an hour, after thirty at once, waits for nothing."""
    throttle = Throttle(HELLO_BY_PERSON)
    for now in [NOW] * 29 + [NOW + 2.0 * n for n in range(1_800)]:
        throttle.charge("p_x", now)


def test_an_account_is_counted_by_where_the_tries_come_from() -> None:
    """Two addresses of one house are one, other houses and other logins are others, and none can be made to look alike."""
    key = account_key("dr.sari", "2001:db8:1:2::1")
    assert key == account_key("dr.sari", "2001:db8:1:2::9")
    others = [("dr.sari", "192.0.2.7"), ("dr.budi", "2001:db8:1:2::1"), ("dr.sari", "")]
    assert len({key, *(account_key(*other) for other in others)}) == 4


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("unix", "unknown"),
        ("192.0.2.7:443", "unknown"),
        ("192.0.2.256", "unknown"),
    ],
)
def test_addresses_are_counted_by_subscriber(address: str, key: str) -> None:
    """IPv4 counts by address, IPv6 by /64, and what is no address under one key."""
    assert address_key(address) == key


def test_the_longest_wait_is_reached() -> None:
    """Bounding the count doesn't bound the wait below what the policy says."""
    for policy in POLICIES:
        throttle = Throttle(policy)
        for _ in range(policy.free_tries + 1 + math.ceil(math.log2(policy.max_delay_s)) + 5):
            throttle.fail("a", NOW)
        assert wait_s(throttle, "a", NOW) == policy.max_delay_s
