# SPDX-License-Identifier: Apache-2.0
"""Which way media goes: whom to warm, which relay to choose, when a relay is given up, what a drain moves next.

A consult is bound to a relay by ``Routed`` when its patient is among the next in line, at the latest when it rings. From
then on the patient has a *leg* there, and from the ring on the specialist too. Control and media are separate facts: a
relay whose control connection is gone goes on forwarding, so a call leaves it only when somebody in the call says that
nothing arrives any more. Who only waits has nothing to lose and goes to another relay after ``RETURN_S``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from signalling.core import events as ev
from signalling.core.lifecycle import CALL, Consult
from signalling.wire.ids import AccountId, ConsultId, ParticipantId
from signalling.wire.terms import ConsultState

WARM_PER_SPECIALIST = 3
"""Patients next in line for each specialist on call whose connection is made ahead: a warm leg costs up to 100 B/s each
way, so not everybody's is."""
STATUS_LATE_S = 2.5
"""A relay says every second how it is; two statuses that don't come and half a second for a slow network."""
TROUBLE_S = 5.0
"""What a page says of silence counts for so long; it says so again every 2 s."""
SIDES = 2
"""Of a call: who gives each other voice and picture."""
RETURN_S = 5.0
"""A relay that lost its node reconnects within 0.2 to 5 s, so nothing is given up before that."""
DRAIN_STEP_S = 10.0
"""A drain goes on to the next call after this at the latest: three round trips of the worst link, four times over."""
OLD_LEG_S = 5.0
"""From voice on the new legs to the end of the old ones; pages close theirs by themselves at the first voice."""
AGAIN_S = 2.0
"""Between two legs for the same page: whatever closes them must not become a storm."""
LEGS_OF_A_CONSULT = 2


@dataclass(frozen=True, slots=True)
class RelayLoad:
    """What a node knows of a relay that is connected to it."""

    id: ParticipantId
    heard_at: float = -inf
    """When its last status came; -inf = its connection is gone, or none came yet."""
    legs: int = 0
    """Seated, as the node counts."""
    legs_max: int = 0
    load_ratio: float = 0.0
    draining: bool = False
    ready: bool = False
    """It has said which legs people have, and has minted some."""


def in_control(relay: RelayLoad, now: float) -> bool:
    """Return whether a relay does what it is told: its connection stands and its status is fresh."""
    return now - relay.heard_at <= STATUS_LATE_S


def has_room(relay: RelayLoad, now: float) -> bool:
    """Return whether a relay may be given another consult."""
    return (
        relay.ready
        and not relay.draining
        and relay.legs + LEGS_OF_A_CONSULT <= relay.legs_max
        and in_control(relay, now)
    )


def fullness(relay: RelayLoad) -> float:
    """Return how full a relay is, by the legs that it may have or by its processor, whichever is fuller; 1 = full."""
    return max(relay.load_ratio, relay.legs / max(1, relay.legs_max))


def choose(
    relays: Iterable[RelayLoad],
    now: float,
    *,
    without: Collection[str] = (),
    known_to: Mapping[ParticipantId, int] | None = None,
) -> ParticipantId | None:
    """Return the relay for a consult, None if none has room.

    ``known_to`` counts the legs that people of this consult have at a relay already (standby ones): such a relay comes
    first, full or not, because its offers are in the pages; else the least full one does.
    """
    candidates = [r for r in relays if r.id not in without]
    known = [
        r
        for r in candidates
        if known_to and known_to.get(r.id) and not r.draining and in_control(r, now)
    ]
    if known and known_to:
        return max(known, key=lambda r: (known_to[r.id], -fullness(r), r.id)).id
    free = [r for r in candidates if has_room(r, now)]
    return min(free, key=lambda r: (fullness(r), r.id)).id if free else None


def in_reach(place: int, on_call: int) -> bool:
    """Return whether a place in the line (1 = next) is near enough to be warmed."""
    return place <= WARM_PER_SPECIALIST * on_call


def may_bind(consult: Consult) -> bool:
    """Return whether a consult can be given its first relay: before the call only, a call is never moved for comfort."""
    return not consult.relay and consult.state in (ConsultState.WAITING, ConsultState.RINGING)


def has_leg(consult: Consult, role: str, account: AccountId | None) -> bool:
    """Return whether somebody is to have a leg now: the patient from the intake on, a specialist from the ring on."""
    if consult.over or consult.state is ConsultState.INVITED:
        return False
    if role == ev.PATIENT:
        return True
    engaged = consult.state is ConsultState.RINGING or consult.state in CALL
    return role == ev.SPECIALIST and engaged and consult.specialist == account


def is_talking(consult: Consult) -> bool:
    """Return whether media is to be forwarded: in the call, also while somebody's connection is lost."""
    return consult.state in CALL


def is_lost(relay: RelayLoad | None, trouble_at: Iterable[float], now: float) -> bool:
    """Return whether a call must leave its relay: out of control and somebody hears nothing, or nobody hears anything.

    Two links that fail at once are rare, and then nobody could say it. A relay that does what it is told may still be cut off.

    Args:
        relay: None when it is connected to no node at all.
        trouble_at: when each side of the call last said so.
        now: on the same clock.
    """
    silent = sum(now - at <= TROUBLE_S for at in trouble_at)
    return silent >= SIDES or (silent > 0 and (relay is None or not in_control(relay, now)))


def gives_up(consult: Consult, waited_s: float, *, new_page: bool) -> bool:
    """Return whether a page that has waited so long for a leg of the consult's relay makes the consult leave it.

    In a call a page that was there before has its leg, and its media, whatever has become of the relay's connection.
    """
    return waited_s > RETURN_S and (new_page or consult.state not in CALL)


@dataclass(frozen=True, slots=True)
class Step:
    """What a drain moved last."""

    consult: ConsultId
    at: float


def goes_on(step: Step | None, flowing: bool, now: float) -> bool:
    """Return whether a drain may move its next call: the last one talks again, or has had its time."""
    return step is None or flowing or now - step.at > DRAIN_STEP_S


def drains_next(consults: Iterable[Consult], relay: str) -> Consult | None:
    """Return the consult that a draining relay hands on next: those that wait before those that talk, the oldest first."""
    return min(
        (c for c in consults if c.relay == relay),
        key=lambda c: (is_talking(c), c.accepted_at or c.since or 0.0, c.id),
        default=None,
    )


def ends_old_leg(moved_at: float, flowing_since: float | None, now: float) -> bool:
    """Return whether a leg that a consult has left may be closed: voice has come the new way for a while, or won't."""
    if flowing_since is not None:
        return now - flowing_since > OLD_LEG_S
    return now - moved_at > DRAIN_STEP_S + OLD_LEG_S
