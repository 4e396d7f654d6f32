# SPDX-License-Identifier: Apache-2.0
"""What the ladder may take a link for: more than it was seen to carry, where nobody has filled it lately."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Final

from media.core.fit import Link
from media.core.rungs import Rung

if TYPE_CHECKING:
    from media.core.bwe.estimate import Estimate
    from media.core.fit import Path
    from media.core.ladder import State

KNOWN_RATIO: Final = 1.12
THIN_RATIO: Final = 1.7
OPEN_RATIO: Final = 2.1
"""Over what a way is known to carry, at most, where its sender could send more. A limit takes a round trip and more to
be obeyed, and a thin queue holds 600 ms: so a way that was seen full lately is asked carefully, and a thin one too."""
THIN_BPS: Final = 150_000.0
GUESS_RATIO: Final = 1.25
GUESS_BELOW_BPS: Final = 400_000.0
"""The same where padding can be sent to find out, below so wide a link, and above a thin one: on 256 kbit/s an estimator that had
grown twice took it for 476, and `standard` filled the queue for 4 s (virtual time). On a wider link the same queue is gone
sooner, and it is to be `open` within 10 s."""
CALM_RATIO: Final = 0.9
HOPE_AFTER_S: Final = 4.0
HOPE_PER_S: Final = 0.02
HOPE_MAX: Final = 0.5
BLIND_HOPE_MAX: Final = 0.15
"""What is hoped of a link that was seen full, but not since: a fifth more after fourteen seconds if the estimator would use it,
else half of that. A link that gave way after a burst of losses was found too thin for its picture by a tenth, and stayed so
(measured in virtual time)."""
STEP_RATIO: Final = 1.25
OPEN_STEP_RATIO: Final = 1.7
"""Over what is known, at most, in one step within a rung: a thin queue must not fill before it is seen."""
PROBED_RATIO: Final = 1.05
"""The same where padding can be sent to find out: it stops after a second, a picture that was allowed too much goes on for a round
trip and fills a queue of 0.3 s (measured on 256 kbit/s, 650 ms: the voice buffer stayed as deep for half a minute)."""
GROWS_RATIO: Final = 1.1
"""What may be used is this far above what is known: the estimator has seen the known carried without a queue, and wants more.
Where padding can be sent to find out, `GUESS_RATIO` bounds such a guess."""

TRY_AFTER_S: Final = 2.0
TRY_PER_S: Final = 0.2
TRY_MAX: Final = 0.8
"""While there is a voice alone, what is hoped of links as time goes by without a large queue: 0.8 more after 6 s, twice that time
after a rung that didn't last. Jitter alone made an estimator believe that 26 of 48 kbit/s were all, and the picture stayed away
for the rest of the call (45 s, measured). A voice with copies proves 24 kbit/s, and a glimpse beside it takes 38: with a half
more at most, in twice the time, the last of 32 first pictures on 64/48 kbit/s came after 20 s instead of 13, and the voice on
24/24 was no better (virtual time)."""


def hoped(state: State, path: Path, now: float) -> Path:
    """Return links as they are hoped to be: a voice can't prove that they carry a picture, however long it goes on."""
    if state.rung not in (Rung.VOICE_MIN, Rung.VOICE) or state.lossy or state.silent:
        return path
    calm_s = now - max(state.since, state.filled)
    hope = (calm_s - TRY_AFTER_S) * TRY_PER_S / 2 ** state.relapses[state.rung + 1]
    if hope <= 0:
        return path
    more = 1 + min(TRY_MAX, hope)
    return tuple(
        replace(link, rate_bps=link.rate_bps * more, usable_bps=link.usable_bps * more)
        for link in path
    )


def most_bps(estimate: Estimate) -> float:
    """Return what a way may be asked for: more than is known where nobody has filled it lately."""
    rate_bps = estimate.rate_bps
    if estimate.confident:
        return rate_bps * KNOWN_RATIO
    return rate_bps * (THIN_RATIO if rate_bps < THIN_BPS else OPEN_RATIO)


def _next_bps(estimate: Estimate) -> float:
    """Return what may be sent at the next step within a rung."""
    return estimate.rate_bps * (STEP_RATIO if estimate.rate_bps < THIN_BPS else OPEN_STEP_RATIO)


def link_of(
    estimate: Estimate, silence_s: float, *, probed: bool = False, beside_bps: float = 0.0
) -> Link:
    """Return a way as the ladder takes it: while nobody has filled it and no queue stands, what it may be asked for."""
    asked_bps = most_bps(estimate)
    if probed and estimate.rate_bps < GUESS_BELOW_BPS:
        asked_bps = min(asked_bps, max(estimate.rate_bps, THIN_BPS) * GUESS_RATIO)
    grows = not probed and estimate.usable_bps > estimate.rate_bps * GROWS_RATIO
    rate_bps = asked_bps if grows else max(estimate.rate_bps, min(estimate.usable_bps, asked_bps))
    if estimate.usable_bps >= estimate.rate_bps * CALM_RATIO and isfinite(estimate.calm_s):
        # A voice proves no more than a voice: where nobody can ask, time must.
        hope = max(0.0, (estimate.calm_s - HOPE_AFTER_S) * HOPE_PER_S)
        hoped_bps = min(estimate.usable_bps, estimate.rate_bps * (1 + min(HOPE_MAX, hope)))
        rate_bps = max(rate_bps, hoped_bps, estimate.rate_bps * (1 + min(BLIND_HOPE_MAX, hope / 2)))
    return Link(
        rate_bps=rate_bps,
        usable_bps=min(
            estimate.usable_bps,
            asked_bps,
            estimate.rate_bps * PROBED_RATIO if probed else _next_bps(estimate),
        ),
        loss_ratio=estimate.loss_ratio,
        rtt_s=estimate.rtt_s,
        queue_s=estimate.queue_delay_s,
        silence_s=silence_s,
        beside_bps=beside_bps,
    )
