# SPDX-License-Identifier: Apache-2.0
"""The ladder: which rung one direction is on, decided from what its links are known to carry.

Down at once, as far as needed. Up one rung at a time, after the link has shown for a while that it
carries the next one without a queue; each rung that was tried and lost is tried again only after
twice the time. Within a rung the rates follow the link. Nothing here has a clock or a link: `decide`
gets both, so a recorded sequence of paths is a test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from media.core.bwe.arrivals import SILENCE_S
from media.core.bwe.capacity import DRAIN_S, LARGE_QUEUE_S
from media.core.bwe.delay import MAX_THRESHOLD_S, THRESHOLD_S
from media.core.bwe.watch import WINDOW_S
from media.core.fit import (
    COPIES_SHARE,
    ENTER_SHARE,
    STAY_SHARE,
    Link,
    Path,
    Sending,
    Side,
    drain_s,
    fit,
    least_bps,
    protected,
    refit,
    short_link,
    spare,
    too_much,
)
from media.core.redundancy import REPAIR_RTT_S
from media.core.rungs import Rung, Wish

UP_S: Final = 1.5
"""The least time before a rung up: from `voice` to `open` in 7.5 s, so that full quality is there
within 10 s; no less, or the step before has not shown its queue (`WINDOW_S` and a round trip)."""
UP_MARGIN_S: Final = 0.4
"""Beyond a link's response: two rounds of decisions."""
BACK_S: Final = 0.5
"""The same after an outage or an excused brake, up to the rung that was there before, whatever was lost before that: picture
within 2 s, of which a round trip of 800 ms and a key frame are the rest. Decisions come each 0.2 s: 0.8 s from one to the next."""
FREE_OUTAGES: Final = 2
"""In a minute; each more doubles `BACK_S`, or a link that is away for 3 s of each 8 s changed rungs 46 times a minute (simulated)."""
RELAPSE_S: Final = 30.0
"""A rung lost within this time of being entered, other than by silence, was entered too early; links of this kind show steps
each half minute at worst (recorded)."""
MAX_RELAPSES: Final = 5
"""1.5 s doubled five times is 48 s: nobody waits longer for a link that has become good."""
FORGIVE_S: Final = 60.0
"""One relapse is forgotten for each minute without another."""
QUEUE_MARGIN_S: Final = 0.5
"""A queue that stands longer than it takes the estimator to drain it, and this, is not drained by it."""
KEEP_COPIES_S: Final = 60.0
"""Copies of the voice stay for so long after a loss that asked for them. A link that loses 1 % of 17 packets a second
loses one every 6 s: copies that went when it was calm for a moment were there half of the time (measured), and the
frames of the other half were heard as gaps."""
FIRST_COPIES_S: Final = 15.0
"""And on a long way so long from the beginning on, before any loss was seen: at 1 % they came after 5 s and more, and what was
lost until then was heard (measured). In 15 s of 25 packets a second 1 % loses one with a chance of 98 %."""
TRIAL_S: Final = 2.0
"""And two round trips: what a glimpse that was tried is given to prove itself. Its key frame must come, and a second of it be
seen; taken away after `DOUBT_S` it was gone before its first frame was shown (measured at 500 ms)."""
GLIMPSE_SHARE: Final = 1.25
"""Of a link's rate as it is known, what a glimpse may take afterwards while no queue stands. Jitter of 80 ms passes for a
queue now and then, and takes a fifth of the rate for a second; a link that is really so thin shows a queue at once
(recorded in Chromium on 48 kbit/s: the picture went three times in 40 s, each time for 12 s)."""
SLOW_DRAIN_S: Final = 3.0
"""A queue that would take longer to go at what is sent isn't waited for: voice comes after it all that time, and after a picture
the least voice. But there is no lower picture than a glimpse, and its key frame makes half a second of queue on 48 kbit/s."""
ROOMY_SHARE: Final = 0.6
"""Of a link's rate, what a rung may take for a brake to be excused while a queue still stands: it is going."""
HEARD_S: Final = 0.5
"""Silence below this is none: frames of 60 ms and a feedback interval of 250 ms, one of them lost."""
PICTURE_LOSS_RATIO: Final = 0.3
"""Smoothed. Above it repairs take all of their share (`REPAIR_SHARE`) and the picture stands still."""
CALM_LOSS_RATIO: Final = 0.2
"""Below it a picture is tried again: bursts that take 6 % of the time smooth to 12 at most."""
ADJUST_S: Final = 1.5
"""Between two steps up within a rung; doubled by each that didn't last."""
MAX_ADJUST_S: Final = 24.0
ADJUST_LASTS_S: Final = 10.0
EASE_S: Final = 1.0
"""Between two steps down within a rung that are not forced: about as long as a queue takes to go."""
WORTH_RATIO: Final = 0.12
"""A change within a rung that is not forced must be so much: twice what the estimate moves on a
constant link."""
WORTH_UP_RATIO: Final = 0.05
"""Up, where the waits bound how often: what is sent is all that proves a sender's own link, and a rung that is not
filled would be its last."""
DOUBT_S: Final = 1.5
DOUBT_SHARE: Final = 1.9
"""A burst of losses with jitter makes an estimate fall to a half for a second (on 48 kbit/s, in virtual time), and a
voice alone could not prove it wrong for half a minute. So a picture stays for so long on a link that seems up to a half too
thin, while no queue stands: what it sends shows what is true, and a queue of 0.3 s ends it."""
COPIES_ENTER_SHARE: Final = 1.0
"""Of a link's rate, what a glimpse may take at least with copies before it is entered; higher rungs `STAY_SHARE`."""
PROBE_MARGIN: Final = 1.25
"""Asked of a probe beyond what is needed: what its trains prove is up to a tenth less than their target,
and a link just short of a rung would be probed for ever."""
CALM_RATIO: Final = 1.5
CALM_LOSS: Final = 0.01
"""A way that carries half again of what is sent and loses next to nothing: it would have to shrink by a third at once."""
FRESH_S: Final = 10.0
"""After an outage the smoothed loss still contains it: 0.3 of a slice of 2 s, 0.27 at first, 0.06 after
8 s (`media.core.bwe.losses`)."""
SCARCER_RATIO: Final = 0.9
"""Another's link is named as the scarcest only if it is so much scarcer: two that are alike would take turns."""

_NEVER: Final = float("-inf")


class Reason(StrEnum):
    """Why a move was made: shown to both people by key, a metric's label, written to the trace."""

    START = "start"
    """What the link probe has told, or what is done while nothing is known. No move has it."""
    RATE = "rate"
    """The sender's own link carries less."""
    WATCHER = "watcher"
    """The link of one who looks carries less, loses too much, or has a queue that doesn't go."""
    QUEUE = "queue"
    """A queue stands and doesn't go."""
    LOSS = "loss"
    """Too much is lost for a picture, or redundancy takes its room."""
    SILENCE = "silence"
    """Nothing arrives."""
    BRAKE = "brake"
    """The page has stopped the picture by itself."""
    PROVED = "proved"
    """The link has shown that it carries more."""
    BACK = "back"
    """The link is back after an outage."""
    WISH = "wish"
    """Somebody said what matters, or set a ceiling."""
    REDUNDANCY = "redundancy"
    """Losses need copies of the voice, or no longer do."""


@dataclass(frozen=True, slots=True)
class Move:
    """One change, to be applied at once."""

    at: float
    before: Rung
    after: Rung
    """The same as before if only the settings within the rung change."""
    sending: Sending
    reason: Reason
    whose: Side | None = None
    """Whose link made it so, or keeps the direction from more; None: nobody's."""


@dataclass(frozen=True, slots=True)
class State:
    """One direction. Made by `begin`, changed by `decide`, `wished`, `capped` and `braked` only."""

    sending: Sending
    wish: Wish
    ceiling: Rung
    """Never above this: data saving, no camera, a cap on the cost."""
    since: float
    """On this rung."""
    protected: tuple[bool, ...] = ()
    """Of each link, whether its voice has copies."""
    lost_at: tuple[float, ...] = ()
    """When each last lost enough for that."""
    entered: tuple[float, ...] = (_NEVER,) * len(Rung)
    """When each rung was last entered from below."""
    relapses: tuple[int, ...] = (0,) * len(Rung)
    relapsed: tuple[float, ...] = (_NEVER,) * len(Rung)
    fits_since: float | None = None
    """Since when the next rung has had room, without a queue."""
    queue_since: float | None = None
    short_since: float | None = None
    """Since when a link has been a little too thin for the rung, without a queue to prove it."""
    silent: bool = False
    silent_until: float = _NEVER
    """End of the last outage."""
    losses: tuple[float, ...] = ()
    """Of each link, before an outage."""
    back_to: Rung = Rung.TEXT
    """Rung before an outage; `text`: there was none, or it has been reached."""
    outages: tuple[float, ...] = ()
    """When the last ones began."""
    lossy: bool = False
    adjusted: float = _NEVER
    adjusted_up: float = _NEVER
    adjust_s: float = ADJUST_S
    asked: bool = False
    """A wish or a ceiling has not been acted on yet."""
    whose: Side | None = None
    """Whose link keeps it from the next rung; None: nobody's, or not known."""
    filled: float = _NEVER
    """When a large queue was last seen."""
    excused: float = _NEVER
    """When a brake was last taken for something passing."""

    @property
    def rung(self) -> Rung:
        """Where the direction is."""
        return self.sending.rung


def begin(rung: Rung, path: Path, now: float, wish: Wish = Wish.MOTION) -> State:
    """Start a direction, at the rung that a link probe has told or below if that doesn't fit."""
    lost_at = _at_first(path, now)
    copies = tuple(now - at < KEEP_COPIES_S for at in lost_at)
    rung = min(rung, _ceiling(wish, Rung.OPEN, lossy=False))
    rung = _highest(rung, wish, path, protected(path, ()))
    # Copies for losses that nobody has seen yet take a picture only if they would have to go soon anyway.
    while rung > Rung.VOICE and short_link(rung, wish, path, copies, COPIES_SHARE) is not None:
        rung = Rung(rung - 1)
    state = State(fit(rung, wish, path, copies), wish, Rung.OPEN, now, copies, lost_at=lost_at)
    return replace(state, whose=_whose(state, path))


def wished(state: State, wish: Wish) -> State:
    """Say what matters; the next `decide` acts on it."""
    return replace(state, wish=wish, asked=state.asked or wish is not state.wish)


def capped(state: State, ceiling: Rung) -> State:
    """Set the highest rung; the next `decide` acts on it."""
    return replace(state, ceiling=ceiling, asked=state.asked or ceiling is not state.ceiling)


def braked(state: State, path: Path, now: float) -> tuple[State, Move | None]:
    """Take the page's report that it has stopped the picture: only `decide` raises it again."""
    if state.rung <= Rung.VOICE:
        return state, None
    state = _noted(state, path, now)
    down, move = _down(state, Rung.VOICE, Reason.BRAKE, Side.SENDER, path, now)
    stands = any(link.queue_s > LARGE_QUEUE_S for link in path)
    share = ROOMY_SHARE if stands else COPIES_SHARE
    fits = short_link(state.rung, state.wish, path, state.protected, share) is None
    if fits and now - state.excused >= RELAPSE_S:
        # What is known of the links says otherwise: reports were lost, or a queue is gone already. Once that is believed.
        down = replace(
            down, relapses=state.relapses, relapsed=state.relapsed, excused=now, back_to=state.rung
        )
    return down, move


def decide(
    state: State, path: Path, now: float, hope: Path | None = None
) -> tuple[State, Move | None]:
    """Decide what the direction sends from now on; to be asked about five times a second.

    Args:
        state: As returned last time.
        path: The sender's own link, then those of everybody who looks; not empty.
        now: Seconds; not before the last call's.
        hope: The links as they are hoped to be (`media.core.asking.hoped`), if that is more: enough to enter a rung, with what
            the path is known to carry or the rung's least.

    Returns:
        The new state, and a move if anything is to be applied.
    """
    state, path = _without_outage(state, path, now)
    known, path = path, hope or path
    state = _noted(state, path, now)
    if state.silent and path[0].silence_s >= HEARD_S:
        # What is sent goes nowhere, and whoever sends can't be told: it would be told when the outage is over, and then
        # a picture that is there at once would have to climb back.
        return state, None
    below = _forced_down(state, path, now)
    if below is not None:
        target, reason, whose = below
        return _down(replace(state, asked=False), target, reason, whose, path, now)
    if not state.silent and state.fits_since is not None:
        waited = now - max(state.fits_since, state.since)
        if waited >= _hold_s(state, path, now):
            return _up(state, known, now)
    return _adjust(state, known, now)


def is_calm(state: State, path: Path, wire_bps: float) -> bool:
    """Tell whether nothing is likely to be decided soon: no queue, loss or silence, room on every way, no rung to be entered.

    Below `standard` never: there the link rules, and each look may find that it carries more.

    Args:
        state: Of the direction.
        path: As for `decide`.
        wire_bps: What is sent.
    """
    if state.rung < Rung.STANDARD or state.fits_since is not None:
        return False
    if state.asked or state.silent or state.lossy:
        return False
    return all(
        link.rate_bps >= CALM_RATIO * wire_bps
        and link.queue_s <= THRESHOLD_S
        and link.loss_ratio <= CALM_LOSS
        and link.silence_s <= HEARD_S
        for link in path
    )


def next_bps(state: State, link: Link, *, copy: bool = False) -> float:
    """Return what a link must carry for the next rung to be entered; 0 if there is none.

    That is what its estimator should be asked to probe for.

    Args:
        state: Of the direction.
        link: The one to be probed.
        copy: Whether its voice needs copies.
    """
    if state.rung >= _ceiling(state.wish, state.ceiling, lossy=False):
        return 0.0
    return least_bps(Rung(state.rung + 1), state.wish, link, copy=copy) / ENTER_SHARE * PROBE_MARGIN


def _ceiling(wish: Wish, ceiling: Rung, *, lossy: bool) -> Rung:
    return min(ceiling, Rung.VOICE) if lossy or wish is Wish.VOICE else ceiling


def _highest(rung: Rung, wish: Wish, path: Path, copies: tuple[bool, ...]) -> Rung:
    """Return the highest rung up to this one that the path carries."""
    for lower in range(rung, Rung.TEXT, -1):
        if short_link(Rung(lower), wish, path, copies, STAY_SHARE) is None:
            return Rung(lower)
    return Rung.TEXT


def _whose(state: State, path: Path) -> Side | None:
    """Return whose link keeps the direction where it is, as far as links do."""
    if state.rung >= _ceiling(state.wish, state.ceiling, lossy=False):
        return None
    if state.lossy:
        return Side.of(_most(path, "loss_ratio"))
    rung, copies = Rung(state.rung + 1), state.protected
    if short_link(rung, state.wish, path, copies, ENTER_SHARE) is None:
        return state.whose  # it is only a matter of time
    room: dict[Side, float] = {}
    for index, link in enumerate(path):
        share = link.rate_bps / least_bps(rung, state.wish, link, copy=copies[index])
        side = Side.of(index)
        if state.whose not in (None, side):
            share /= SCARCER_RATIO
        room[side] = min(share, room.get(side, share))
    return min(room, key=room.__getitem__)


def _most(path: Path, what: str) -> int:
    """Return the index of the link that has the most of something bad."""
    return max(range(len(path)), key=lambda index: float(getattr(path[index], what)))


def _at_first(path: Path, now: float) -> tuple[float, ...]:
    """Return when each link of a new path is taken to have lost something, for its copies."""
    known = protected(path, ())
    return tuple(
        now
        if lossy
        else now - KEEP_COPIES_S + FIRST_COPIES_S
        if link.rtt_s > REPAIR_RTT_S
        else _NEVER
        for lossy, link in zip(known, path, strict=True)
    )


def _without_outage(state: State, path: Path, now: float) -> tuple[State, Path]:
    """Note silence, and take out of the links' losses what an outage has put there."""
    silence_s = max(link.silence_s for link in path)
    silent = silence_s >= SILENCE_S or (state.silent and silence_s >= HEARD_S)
    if silent or state.silent:
        outages = state.outages if state.silent else (*state.outages[-MAX_RELAPSES - 1 :], now)
        state = replace(state, silent=silent, silent_until=now, outages=outages)
    if now - state.silent_until >= FRESH_S or len(state.losses) != len(path):
        losses = tuple(link.loss_ratio for link in path)
        return state if losses == state.losses else replace(state, losses=losses), path
    path = tuple(
        replace(link, loss_ratio=min(link.loss_ratio, before))
        for link, before in zip(path, state.losses, strict=True)
    )
    return state, path


def _noted(state: State, path: Path, now: float) -> State:
    """Take in what the path says, without deciding anything."""
    needs = protected(path, state.protected)
    known = state.lost_at if len(state.lost_at) == len(path) else _at_first(path, now)
    lost_at = tuple(now if need else at for need, at in zip(needs, known, strict=True))
    copies = tuple(now - at < KEEP_COPIES_S for at in lost_at)
    loss = max(link.loss_ratio for link in path)
    lossy = loss >= (CALM_LOSS_RATIO if state.lossy else PICTURE_LOSS_RATIO)
    queue_s = max(link.queue_s for link in path)
    queue_since = state.queue_since
    if queue_s <= LARGE_QUEUE_S:
        queue_since = None
    elif queue_since is None:
        queue_since = now
    # Mostly nothing has changed, and a copy of the state is half of what a decision takes.
    if (copies, lossy, queue_since) != (state.protected, state.lossy, state.queue_since):
        state = replace(state, protected=copies, lossy=lossy, queue_since=queue_since)
    if queue_since is not None:
        state = replace(state, filled=now)
    if lost_at != state.lost_at:
        state = replace(state, lost_at=lost_at)
    if any(state.relapses):
        state = _forgiven(state, now)
    doubted = queue_s <= LARGE_QUEUE_S and _is_doubtful(state, path)
    if doubted != (state.short_since is not None):
        state = replace(state, short_since=now if doubted else None)
    room = queue_s <= MAX_THRESHOLD_S and not state.silent and _next_fits(state, path)
    if room == (state.fits_since is not None):
        return state
    return replace(state, fits_since=now if room else None)


def _is_doubtful(state: State, path: Path) -> bool:
    """Tell whether a link is too thin for the rung, but not by so much that it must be true."""
    rung, wish = state.rung, state.wish
    plain = (False,) * len(path)
    if rung <= Rung.VOICE or short_link(rung, wish, path, plain, STAY_SHARE) is None:
        return False
    return short_link(rung, wish, path, plain, DOUBT_SHARE) is None


def _forgiven(state: State, now: float) -> State:
    """Forget a relapse of each rung that has had none for long."""
    relapses, relapsed = list(state.relapses), list(state.relapsed)
    for rung, count in enumerate(relapses):
        if count and now - relapsed[rung] >= FORGIVE_S:
            relapses[rung] -= 1
            relapsed[rung] = now
    return replace(state, relapses=tuple(relapses), relapsed=tuple(relapsed))


def _next_fits(state: State, path: Path) -> bool:
    if state.rung >= _ceiling(state.wish, state.ceiling, lossy=state.lossy):
        return False
    share = STAY_SHARE if state.rung < state.back_to else ENTER_SHARE
    # With all copies that may soon be wanted, or a little more loss takes the rung away again.
    soon = protected(path, (True,) * len(path))
    copies = tuple(a or b for a, b in zip(soon, state.protected, strict=True))
    rung, wish, path = Rung(state.rung + 1), state.wish, spare(path)
    if short_link(rung, wish, path, (False,) * len(path), share) is not None:
        return False
    share = COPIES_ENTER_SHARE if rung <= Rung.GLIMPSE else STAY_SHARE
    return short_link(rung, wish, path, copies, share) is None


def _forced_down(state: State, path: Path, now: float) -> tuple[Rung, Reason, Side | None] | None:
    """Return where to, why, and by whose link if the direction can't stay where it is."""
    rung = state.rung
    ceiling = _ceiling(state.wish, state.ceiling, lossy=False)
    if rung > ceiling:
        return _highest(ceiling, state.wish, path, state.protected), Reason.WISH, None
    if state.silent and rung > Rung.VOICE:
        return Rung.VOICE, Reason.SILENCE, Side.of(_most(path, "silence_s"))
    short = short_link(rung, state.wish, path, state.protected, STAY_SHARE)
    if short is not None and not _on_trial(state, path, now):
        target = _highest(rung, state.wish, path, state.protected)
        unprotected = short_link(rung, state.wish, path, (False,) * len(path), STAY_SHARE)
        if unprotected is None:
            fits = short_link(rung, state.wish, path, state.protected, COPIES_SHARE) is None
            if not fits or state.lossy:
                return target, Reason.WATCHER if short else Reason.LOSS, Side.of(short)
        elif state.short_since is None or now - state.short_since >= DOUBT_S:
            return target, Reason.WATCHER if short else Reason.RATE, Side.of(short)
    if state.lossy and rung > Rung.VOICE:
        lossiest = _most(path, "loss_ratio")
        return Rung.VOICE, Reason.WATCHER if lossiest else Reason.LOSS, Side.of(lossiest)
    if state.queue_since is not None and rung > Rung.VOICE_MIN:
        stands_s = now - max(state.queue_since, state.since)
        fullest = _most(path, "queue_s")
        drains = rung <= Rung.GLIMPSE or drain_s(state.sending, path[fullest]) <= SLOW_DRAIN_S
        if stands_s >= DRAIN_S * drains + WINDOW_S + QUEUE_MARGIN_S + _round_trip_s(path):
            return Rung(rung - 1), Reason.WATCHER if fullest else Reason.QUEUE, Side.of(fullest)
    return None


def _on_trial(state: State, path: Path, now: float) -> bool:
    """Tell whether a voice or a glimpse goes on though a link seems too thin for it, because nothing else speaks against it."""
    if state.rung not in (Rung.VOICE, Rung.GLIMPSE) or state.lossy:
        return False
    young = now - state.entered[state.rung] < TRIAL_S + 2 * _round_trip_s(path)
    if state.rung is Rung.VOICE and not young:
        return False
    if state.queue_since is not None and not (young and now - state.queue_since < DRAIN_S):
        return False
    share = DOUBT_SHARE if young else GLIMPSE_SHARE
    return short_link(state.rung, state.wish, path, state.protected, share) is None


def _round_trip_s(path: Path) -> float:
    return max(link.rtt_s for link in path)


def _hold_s(state: State, path: Path, now: float) -> float:
    """Return how long the next rung must have had room before it is entered."""
    rung = state.rung + 1
    if rung <= state.back_to:
        recent = sum(now - at < FORGIVE_S for at in state.outages)
        return BACK_S * float(2 ** max(0, recent - FREE_OUTAGES))
    base_s = max(UP_S, _round_trip_s(path) + WINDOW_S + UP_MARGIN_S)
    return base_s * float(2 ** state.relapses[rung])


def _down(
    state: State, target: Rung, reason: Reason, whose: Side | None, path: Path, now: float
) -> tuple[State, Move | None]:
    before, back_to = state.rung, Rung.TEXT
    relapses, relapsed = list(state.relapses), list(state.relapsed)
    if reason not in (Reason.WISH, Reason.SILENCE):
        for rung in range(target + 1, before + 1):
            if now - state.entered[rung] < RELAPSE_S:
                relapses[rung] = min(MAX_RELAPSES, relapses[rung] + 1)
                relapsed[rung] = now
    sending = fit(target, state.wish, path, state.protected, state.sending)
    if reason is Reason.SILENCE:
        back_to, sending = max(before, state.back_to), _least(state, path)
    elif target is Rung.VOICE and max(drain_s(sending, link) for link in path) > SLOW_DRAIN_S:
        target, sending = Rung.VOICE_MIN, fit(Rung.VOICE_MIN, state.wish, path, state.protected)
    state = replace(
        state, sending=sending, since=now, relapses=tuple(relapses), relapsed=tuple(relapsed),
        fits_since=None, queue_since=None, back_to=back_to, adjusted=now, whose=whose,
    )  # fmt: skip
    return state, Move(now, before, target, sending, reason, whose)


def _up(state: State, path: Path, now: float) -> tuple[State, Move | None]:
    before, rung = state.rung, Rung(state.rung + 1)
    reason = Reason.BACK if rung <= state.back_to else Reason.PROVED
    entered = tuple(now if i == rung else at for i, at in enumerate(state.entered))
    sending = fit(rung, state.wish, path, state.protected, state.sending)
    state = replace(
        state, sending=sending, since=now, entered=entered, fits_since=None, adjusted=now,
        adjusted_up=now, asked=False,
        back_to=Rung.TEXT if rung >= state.back_to else state.back_to,
    )  # fmt: skip
    state = replace(state, whose=_whose(state, path))
    return state, Move(now, before, rung, sending, reason, state.whose)


def _adjust(state: State, path: Path, now: float) -> tuple[State, Move | None]:
    """Follow the link within the rung."""
    sending = state.sending
    if state.silent and not state.asked:
        least = _least(state, path)
        if state.rung is not Rung.VOICE or sending.voice == least.voice:
            return state, None
        return _set(state, least, Reason.SILENCE, path, now)
    target = refit(state.wish, path, state.protected, sending)
    if target == sending:
        return replace(state, asked=False) if state.asked else state, None
    if state.asked:
        return _set(replace(state, asked=False), target, Reason.WISH, path, now)
    if target.copies > sending.copies:
        return _set(state, target, Reason.REDUNDANCY, path, now)
    if too_much(sending, state.protected, path):
        return _set(state, target, Reason.RATE, path, now, forced=True)
    costs, now_costs = target.wire_bps(path[0]), sending.wire_bps(path[0])
    if costs < now_costs * (1 - WORTH_RATIO):
        if now - state.adjusted < EASE_S:
            return state, None
        dearer = target.copies != sending.copies
        return _set(state, target, Reason.REDUNDANCY if dearer else Reason.RATE, path, now)
    worth = costs > now_costs * (1 + WORTH_UP_RATIO) or target.copies != sending.copies
    calm = state.queue_since is None and now - state.adjusted >= state.adjust_s
    if calm and (worth or target.stills > sending.stills):
        return _set(state, target, Reason.PROVED, path, now)
    return state, None


def _least(state: State, path: Path) -> Sending:
    """Return the voice for whoever isn't heard: it may be what is sent that fills the link, and keeps the page from the call."""
    return replace(fit(Rung.VOICE_MIN, state.wish, path, (False,) * len(path)), rung=Rung.VOICE)


def _set(
    state: State, target: Sending, reason: Reason, path: Path, now: float, *, forced: bool = False
) -> tuple[State, Move]:
    """Change what is sent within the rung; a step up that the link then took away makes the next one wait."""
    adjust_s, adjusted_up = state.adjust_s, state.adjusted_up
    if reason is Reason.PROVED:
        if now - adjusted_up >= 2 * adjust_s + ADJUST_LASTS_S:
            adjust_s = max(ADJUST_S, adjust_s / 2)
        adjusted_up = now
    elif forced and now - adjusted_up < ADJUST_LASTS_S:
        adjust_s = min(MAX_ADJUST_S, adjust_s * 2)
    state = replace(
        state, sending=target, adjusted=now, adjusted_up=adjusted_up, adjust_s=adjust_s,
        whose=_whose(state, path),
    )  # fmt: skip
    return state, Move(now, target.rung, target.rung, target, reason, state.whose)
