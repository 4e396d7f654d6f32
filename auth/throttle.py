# SPDX-License-Identifier: Apache-2.0
"""A growing delay after wrong tries, per account, address or code prefix; never a lock.

After a policy's free tries each further wrong one doubles the wait up to a limit; wrong tries are
forgiven one by one as time goes by. Nobody is ever shut out for longer than ``max_delay_s`` at a
time, whatever somebody else does with their address, their account name or the prefix of their
code. Where waits are long, the key is nothing that a stranger can choose: the strict limit of an
account is that account's from one address, so that who knows a login can't keep its owner waiting.

The state is one process's memory, bounded: when it is full, the key that failed longest ago is
forgotten.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from auth.errors import Throttled


@dataclass(frozen=True, slots=True)
class Policy:
    """How wrong tries of one kind are slowed down."""

    name: str
    """Label for metrics."""
    free_tries: int
    """Wrong tries without any delay."""
    base_delay_s: float
    """Wait after the first wrong try beyond the free ones; doubles with each further one."""
    max_delay_s: float
    """The longest wait."""
    forgive_s: float
    """One wrong try is forgotten each time this long has passed."""
    success_clears: bool
    """Whether a right try wipes the slate. Only where a right try proves that the key's *owner* is
    there: on a shared key, an attacker with one good code or account of their own would wipe it
    again and again."""
    capacity: int
    """Keys kept in memory (about 300 bytes each); the one that failed longest ago goes first."""


# The free tries and limits below are judgement, checked against the sums beside them.

SIGN_IN_BY_ACCOUNT: Final = Policy(
    name="sign_in_by_account",
    # The key is the account and the address (``account_key``): somebody else's guesses, from
    # elsewhere, are not the owner's waits. NIST SP 800-63B §3.2.2 (rev. 4) wants guessing slowed by
    # growing waits, "30 seconds up to an hour" being its example, and at most 100 wrong tries in a
    # row. Five minutes is less than its hour on purpose: an attacker may be in the owner's own
    # house. At the limit one address has 288 guesses a day left, against passwords of ten
    # characters that aren't in the list of common ones.
    free_tries=5,
    base_delay_s=2.0,
    max_delay_s=300.0,
    forgive_s=600.0,
    success_clears=True,
    capacity=10_000,
)

SIGN_IN_BY_LOGIN: Final = Policy(
    name="sign_in_by_login",
    # The login alone, for guesses from many addresses at once. One address meets the stricter limit
    # above long before this one: 20 tries and then one in 2 s take at least 4 addresses to begin
    # with, and 150 to go on (43,200 a day, 288 from each). Then whoever signs in where they never
    # did waits 2 s at a time; where the owner has signed in before, only the stricter limit counts,
    # and a right password costs nothing. What is left overall are 16 million guesses a year at the
    # very most, against ten characters that are in no list of common ones: of 2^40 that a person
    # may choose so (one in 70,000 in a year), and of the 2^72 that are made here.
    free_tries=20,
    base_delay_s=1.0,
    max_delay_s=2.0,
    forgive_s=2.0,
    success_clears=False,
    capacity=10_000,
)

SIGN_IN_BY_ADDRESS: Final = Policy(
    name="sign_in_by_address",
    # Catches one password tried on many accounts. A hospital's whole staff may share an address: 20
    # mistakes are free, and at the limit one try a minute is left.
    free_tries=20,
    base_delay_s=1.0,
    max_delay_s=60.0,
    forgive_s=60.0,
    success_clears=False,
    capacity=20_000,
)

CODE_BY_PREFIX: Final = Policy(
    name="code_by_prefix",
    # Against guessing from many addresses at once: 6,859 prefixes at one try a minute are at most
    # 114 guesses a second over the whole service. Someone whose prefix is being guessed at waits a
    # minute at the worst, and an invitation's link is never slowed down. Only codes with a right
    # check symbol count, so honest typing mistakes, which the page catches, don't.
    free_tries=5,
    base_delay_s=2.0,
    max_delay_s=60.0,
    forgive_s=60.0,
    success_clears=False,
    # More than the 19^3 prefixes that exist: this table never forgets under pressure.
    capacity=8_192,
)

CODE_BY_ADDRESS: Final = Policy(
    name="code_by_address",
    # A whole island may share one address (carrier-grade NAT), so this one is mild: 30 wrong tries
    # are free, two a minute are forgiven, and the longest wait is half a minute. An attacker there
    # gets two guesses a minute at best: with 1,000 codes in use among 894 million, ten months for
    # one hit.
    free_tries=30,
    base_delay_s=1.0,
    max_delay_s=30.0,
    forgive_s=30.0,
    success_clears=False,
    capacity=50_000,
)

INVITE_BY_ACCOUNT: Final = Policy(
    name="invite_by_account",
    # Here each try counts, not the wrong ones: an invitation is a consult in the store, and a stolen
    # session must not fill it. A vaccination day's 60 at once are free, then it is one in 30 s.
    free_tries=60,
    base_delay_s=1.0,
    max_delay_s=30.0,
    forgive_s=30.0,
    success_clears=False,
    capacity=10_000,
)

CHAT_BY_PERSON: Final = Policy(
    name="chat_by_person",
    # Each line counts: it is an event and content in the store, kept for years. Nobody types more
    # than one in two seconds for long; 30 at once are what somebody wrote during an outage.
    free_tries=30,
    base_delay_s=1.0,
    max_delay_s=4.0,
    forgive_s=2.0,
    success_clears=False,
    capacity=20_000,
)

HELLO_BY_PERSON: Final = Policy(
    name="hello_by_person",
    # Each connection counts that is let in: the other side is told of it, on whatever link that is.
    # A link that flaps every two seconds, for ever, and 30 connections at once are nobody's wait;
    # at the limit one in 2 s is left, which is 4 kbit/s to the other side.
    free_tries=30,
    base_delay_s=1.0,
    max_delay_s=4.0,
    forgive_s=2.0,
    success_clears=False,
    capacity=50_000,
)

ON_CALL_BY_ACCOUNT: Final = Policy(
    name="on_call_by_account",
    # Each time of going on call counts (going off never waits: nobody is to be rung who has left):
    # two events that are kept for ever, and read with each look at past consults. Nobody changes
    # their mind 20 times in ten minutes; at the limit 2,880 times a day are left.
    free_tries=20,
    base_delay_s=1.0,
    max_delay_s=30.0,
    forgive_s=30.0,
    success_clears=False,
    capacity=10_000,
)

HISTORY_BY_ACCOUNT: Final = Policy(
    name="history_by_account",
    # Each look counts: it reads all that the specialist ever did, 4 ms of processor for a thousand
    # events, and 20 notes. A page asks once when it is loaded and after each consult, and a person
    # leafs through 600 past consults before the first wait.
    free_tries=30,
    base_delay_s=1.0,
    max_delay_s=2.0,
    forgive_s=2.0,
    success_clears=False,
    capacity=10_000,
)

POLICIES: Final = (
    SIGN_IN_BY_ACCOUNT,
    SIGN_IN_BY_LOGIN,
    SIGN_IN_BY_ADDRESS,
    CODE_BY_PREFIX,
    CODE_BY_ADDRESS,
    INVITE_BY_ACCOUNT,
    CHAT_BY_PERSON,
    HELLO_BY_PERSON,
    ON_CALL_BY_ACCOUNT,
    HISTORY_BY_ACCOUNT,
)
"""All of them."""


@dataclass(slots=True)
class _Tally:
    wrong_tries: float
    counted_at: float
    blocked_until: float


@dataclass(frozen=True, slots=True)
class Charge:
    """A try counted as wrong in advance; give it to ``Throttle.refund`` when it was right."""

    key: str
    """Whose try it was."""
    blocked_before: float
    """Until when the key had to wait before this try."""
    blocked_after: float
    """Until when it has to wait if the try isn't refunded."""


class Throttle:
    """The wrong tries of one kind.

    Two ways to use it. When nothing can happen between asking and knowing the outcome: ``check``,
    then ``fail`` or ``succeed``. When something can (a hash is computed in a thread, the store is
    asked), callers *must* take ``charge`` before and ``refund`` or nothing after: otherwise a
    thousand tries sent at once would all pass ``check`` before the first of them fails.
    """

    def __init__(self, policy: Policy) -> None:
        """Start with a clean slate."""
        self.policy = policy
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        # Counting on beyond what gives the longest wait would only lengthen the way back.
        self._most_wrong_tries = (
            policy.free_tries + 1 + math.ceil(math.log2(policy.max_delay_s / policy.base_delay_s))
        )

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._tallies)

    def check(self, key: str, now: float) -> None:
        """Return when a try is allowed. Changes nothing, so asking is free.

        Raises:
            Throttled: it isn't, for another ``retry_after_s`` seconds.
        """
        tally = self._tallies.get(key)
        wait_s = 0.0 if tally is None else tally.blocked_until - now
        # A wait far beyond the longest one means that the clock was set back: nobody is held up by
        # that.
        if 0 < wait_s <= 2 * self.policy.max_delay_s:
            raise Throttled(min(wait_s, self.policy.max_delay_s))

    def fail(self, key: str, now: float) -> None:
        """Count a wrong try."""
        wrong_tries = min(self._remembered(key, now) + 1.0, self._most_wrong_tries)
        tally = _Tally(wrong_tries, now, now + self._delay_s(wrong_tries))
        self._tallies[key] = tally
        self._tallies.move_to_end(key)
        if len(self._tallies) > self.policy.capacity:
            self._tallies.popitem(last=False)

    def succeed(self, key: str, now: float) -> None:
        """Count a right try: where the policy says so, the slate is wiped."""
        if self.policy.success_clears:
            self._tallies.pop(key, None)

    def charge(self, key: str, now: float) -> Charge:
        """Check, and count the coming try as wrong before its outcome is known.

        Raises:
            Throttled: no try is allowed now; nothing was counted.
        """
        self.check(key, now)
        before = self._tallies.get(key)
        blocked_before = 0.0 if before is None else before.blocked_until
        self.fail(key, now)
        return Charge(key, blocked_before, self._tallies[key].blocked_until)

    def refund(self, charge: Charge) -> None:
        """Take a charged try back: it was right, or it never came to an outcome.

        Where the policy says so, ``succeed`` does the same and more.
        """
        tally = self._tallies.get(charge.key)
        if tally is None:
            return  # forgotten meanwhile, or wiped
        tally.wrong_tries = max(tally.wrong_tries - 1.0, 0.0)
        if tally.blocked_until == charge.blocked_after:
            tally.blocked_until = charge.blocked_before

    def _remembered(self, key: str, now: float) -> float:
        tally = self._tallies.get(key)
        if tally is None:
            return 0.0
        forgiven = max(now - tally.counted_at, 0.0) / self.policy.forgive_s
        return max(tally.wrong_tries - forgiven, 0.0)

    def _delay_s(self, wrong_tries: float) -> float:
        beyond = wrong_tries - self.policy.free_tries
        if beyond <= 0:
            return 0.0
        # Partly forgiven tries count in full, so that a patient attacker gains nothing by
        # fractions.
        doubled: float = self.policy.base_delay_s * 2.0 ** (math.ceil(beyond) - 1)
        return min(doubled, self.policy.max_delay_s)


def account_key(login: str, address: str) -> str:
    """Return the key under which wrong passwords for a login from an address are counted.

    The address first, which has no space, so that no login can be written to look like another key.
    """
    return f"{address_key(address)} {login}"


def address_key(address: str) -> str:
    """Return the key under which an address's wrong tries are counted.

    IPv4 as it is; IPv6 as its /64, the least that one subscriber is given (RFC 6177 §2), so that
    nobody gets a clean slate by picking another of their 2^64 addresses. An IPv4 address written as
    IPv6 (RFC 4291 §2.5.5.2) is the IPv4 address. What isn't an address at all is counted together,
    under one key.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((parsed, 64), strict=False))
        parsed = parsed.ipv4_mapped
    return str(parsed)
