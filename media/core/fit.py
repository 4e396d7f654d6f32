# SPDX-License-Identifier: Apache-2.0
"""What a rung sends over given links: the voice is reserved first, the picture gets the rest.

A way has one or more links: the sender's own, and behind the relay those of everyone who looks. What
is sent must fit all of them, each with the redundancy and the repairs that its own losses need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from media.core.redundancy import LIGHT_LOSS_RATIO
from media.core.rungs import (
    CHEAP_PROTECTED,
    LADDER,
    Picture,
    Rung,
    Spec,
    Voice,
    Wish,
    picture_rate_bps,
    picture_wire_bps,
    voice_wire_bps,
)

FIT_SHARE: Final = 0.85
"""Of a link's rate, what is aimed at with a picture: 39 on 48 and 44 on 64 kbit/s dropped nothing and
left the queue at 34-49 ms (measured); above it frames of uneven size queue."""
THIN_FIT_SHARE: Final = 0.8
THIN_BPS: Final = 100_000.0
"""The same of a thin link: one frame is 40 ms of it, and with jitter its rate is known to a tenth (64 for 72, in virtual time)."""
ENTER_SHARE: Final = 0.9
"""Of a link's rate, what the next rung may take at least before it is entered."""
STAY_SHARE: Final = 0.97
"""Of a link's rate, what a rung may take at least before it is left. More would fill the queue; the
7 % above `ENTER_SHARE` are more than the estimate moves on a constant link (5 %, tested)."""
COPIES_SHARE: Final = 1.08
"""Of a link's rate, what a rung may take at least with copies before it is left for them: its cost is that of
continuous speech (people pause for a third of the time), and the rate is known to a twentieth."""
LONG_RTT_S: Final = 0.3
"""From here on the way alone is 150 ms, where delay begins to hurt talk (ITU-T G.114): short frames."""
CALM_RATIO: Final = 0.4
"""Of the loss that switches redundancy on, where it goes off: a burst of 180 ms moves the smoothed loss
by 3 % (`media.core.bwe.losses`), and it must not toggle."""
KEEP_SHARE: Final = 0.75
BETTER_RATIO: Final = 1.2
"""Of the picture's good rate, what a voice must leave to it to stay, and over it, what a better one must leave to come: each
change of frame length is a renegotiation and a gap in the voice, and on 64 kbit/s there were ten a minute (measured)."""
LONG_GOOD_SHARE: Final = 0.75
LONG_CALM_LOSS: Final = 0.02
"""On a long way that isn't thin and loses less (chosen between 1 and 3 %, which were measured), so much of the picture's good
rate is enough for shorter frames of the voice: with 40 instead of 60 ms mouth to ear is 70 ms less, and the picture has 57 of
65 kbit/s (128 kbit/s, 650 ms, 1 %). Where more is lost, a copy that follows one frame later outlives less of a burst: 98.4
instead of 98.9 % of the voice at 3 % (virtual time)."""
BETTER_SHARE: Final = 0.8
"""Of a link's rate, what a better voice may take of it without a picture; it stays up to `STAY_SHARE`."""
ONE_COPY_RATIO: Final = 1.5
"""More than one copy costs by the rate that was asked for (speech fills 0.9 of it), and less than two."""
STILL_BYTES: Final = 6_000
"""A still of about 320x240 as JPEG (`stills.js`), chosen: 3.2 kbit/s each 15 s."""
LATE_STILL_S: Final = 15.0
"""The longest time between two, where there is little room."""
STILL_BPS: Final = STILL_BYTES * 8 / LATE_STILL_S
"""What stills take at the least: kept before a voice gets better than the least that is clear. Shorter frames took it on
34 kbit/s, and the stills that came all the same filled the queue every 17 s (measured)."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link in the direction of sending, as `media.core.bwe.estimate.Estimate` knows it.

    On a down-link that several senders share, the rates are the share of this one.
    """

    rate_bps: float
    usable_bps: float
    loss_ratio: float
    rtt_s: float
    queue_s: float = 0.0
    silence_s: float = 0.0
    """Since anything was heard of what arrives there."""
    beside_bps: float = 0.0
    """What of the rate content takes that comes beside the media: nothing climbs on it."""


Path = tuple[Link, ...]
"""The sender's own link, then those of who looks. Never empty."""


class Side(StrEnum):
    """Whose link of a path."""

    SENDER = "sender"
    RECEIVER = "receiver"

    @staticmethod
    def of(index: int) -> Side:
        """Return whose the link at this index is."""
        return Side.RECEIVER if index else Side.SENDER


@dataclass(frozen=True, slots=True)
class Sending:
    """What the page applies: all of it, at once."""

    rung: Rung
    voice: Voice | None
    """None on rung `text`."""
    copies: int
    """Redundant frames by the sender's browser: 0, or 1, which is all that it has. The relay makes
    those of the down-links itself (`media.core.redundancy`)."""
    height: int = 0
    """Of the picture; 0: no picture."""
    fps: int = 0
    max_bps: int = 0
    """`maxBitrate`; 0 with a picture: the browser's own congestion control decides."""
    key_frame_bytes: int = 0
    wish: Wish = Wish.MOTION
    """`degradationPreference` follows it: motion maintain-framerate, detail maintain-resolution."""
    stills: bool = False
    """Whether small stills have room."""

    def wire_bps(self, link: Link, copies: int | None = None) -> float:
        """Return what this costs on a link; with own control, the least that it takes.

        Args:
            link: For its losses.
            copies: On that link, if not the sender's own.
        """
        total = 0.0
        if self.voice is not None:
            total = voice_wire_bps(self.voice, self.copies if copies is None else copies)
        picture = LADDER[self.rung].picture(self.wish) if self.height else None
        if picture is not None:
            rate = self.max_bps or picture.low_bps
            total += picture_wire_bps(picture, rate, link.loss_ratio)
        return total


def protected(path: Path, before: tuple[bool, ...]) -> tuple[bool, ...]:
    """Tell for each link whether its voice needs copies, given whether it had them before."""
    wanted = []
    for index, link in enumerate(path):
        loss = LIGHT_LOSS_RATIO
        if index < len(before) and before[index]:
            loss *= CALM_RATIO
        wanted.append(link.loss_ratio >= loss and link.loss_ratio > 0)
    return tuple(wanted)


def least_bps(rung: Rung, wish: Wish, link: Link, *, copy: bool) -> float:
    """Return what a rung takes of a link at the least.

    With a picture the copies count: the picture never takes the voice's protection. Without one they
    are left away where they don't fit.
    """
    spec = LADDER[rung]
    if not spec.voices:
        return 0.0
    picture = spec.picture(wish)
    if picture is None:
        return voice_wire_bps(spec.voices[-1], 0)
    voice = voice_wire_bps(spec.voices[-1], int(copy))
    return voice + picture_wire_bps(picture, picture.low_bps, link.loss_ratio)


def short_link(
    rung: Rung, wish: Wish, path: Path, copies: tuple[bool, ...], share: float
) -> int | None:
    """Return the index of the first link that a rung doesn't fit, None if it fits all."""
    for index, link in enumerate(path):
        if least_bps(rung, wish, link, copy=copies[index]) > share * link.rate_bps:
            return index
    return None


def spare(path: Path) -> Path:
    """Return links without what content takes of them now: who climbs on that fills them, and content only notices later."""
    if not any(link.beside_bps for link in path):
        return path
    return tuple(replace(link, rate_bps=link.rate_bps - link.beside_bps) for link in path)


def fit(
    rung: Rung, wish: Wish, path: Path, copies: tuple[bool, ...], before: Sending | None = None
) -> Sending:
    """Return what the rung sends on this path; of voices that fit rather the one that was sent `before`.

    It aims at `FIT_SHARE` of each link and at no more than is usable now; it takes up to `STAY_SHARE`
    where the rung's least needs that. Whether the rung fits at all is the caller's to know.
    """
    spec = LADDER[rung]
    if not spec.voices:
        return Sending(rung, None, 0, wish=wish)
    picture = spec.picture(wish)
    long_way = sum(link.rtt_s for link in path) >= LONG_RTT_S
    voices = spec.long_way if long_way else spec.voices
    if picture is None:
        return _speak(spec, voices, wish, path, copies, before)
    good_bps = picture.good_bps
    if long_way and all(
        link.rate_bps >= THIN_BPS and link.loss_ratio < LONG_CALM_LOSS for link in path
    ):
        good_bps *= LONG_GOOD_SHARE
    voice = _voice_beside(picture, good_bps, voices, path, copies, before.voice if before else None)
    rate = max(picture.low_bps, min(picture.high_bps, _room(picture, voice, path, copies)))
    return Sending(
        rung,
        voice,
        int(copies[0]),
        height=picture.height,
        fps=round(picture.fps(rate)),
        max_bps=0 if spec.own_control else int(rate),
        key_frame_bytes=picture.key_frame_bytes,
        wish=wish,
    )


def refit(wish: Wish, path: Path, copies: tuple[bool, ...], before: Sending) -> Sending:
    """Return what is sent on the same rung now: not more than `before` on room that content takes."""
    target = fit(before.rung, wish, path, copies, before)
    link = path[0]
    if not link.beside_bps or target.wire_bps(link) <= before.wire_bps(link):
        return target
    lower = fit(before.rung, wish, spare(path), copies, before)
    return lower if lower.wire_bps(link) > before.wire_bps(link) else before


def drain_s(sending: Sending, link: Link) -> float:
    """Return how long a link's queue takes to go while this is sent."""
    spare_bps = link.rate_bps - sending.wire_bps(link)
    return link.queue_s * link.rate_bps / spare_bps if spare_bps > 0 else float("inf")


def too_much(sending: Sending, copies: tuple[bool, ...], path: Path) -> bool:
    """Tell whether what is sent is more than a link of the path carries."""
    picture = sending.height > 0
    return any(
        sending.wire_bps(link, int(copies[index]) if index and picture else None)
        > STAY_SHARE * link.rate_bps
        for index, link in enumerate(path)
    )


def fit_bps(link: Link) -> float:
    """Return what of a link is aimed at with a picture."""
    share = FIT_SHARE if link.rate_bps >= THIN_BPS else THIN_FIT_SHARE
    return min(share * link.rate_bps, link.usable_bps)


def copies_bps(sending: Sending, link: Link) -> float:
    """Return what copies of the voice may take of a receiver's link.

    One copy what the ladder keeps for it; a second one only of what is aimed at with a picture, or it fills what the picture
    was to leave free (on 64 kbit/s it made a queue of half a second, in virtual time).
    """
    plain_bps = sending.wire_bps(link, 0)
    kept_bps = STAY_SHARE * link.rate_bps - plain_bps
    if sending.voice is None:
        return kept_bps
    one_bps = voice_wire_bps(sending.voice, 1) - voice_wire_bps(sending.voice, 0)
    return min(kept_bps, max(ONE_COPY_RATIO * one_bps, fit_bps(link) - plain_bps))


def _room(picture: Picture, voice: Voice, path: Path, copies: tuple[bool, ...]) -> float:
    """Return the encoder's rate that the scarcest link leaves beside a voice."""
    return min(
        picture_rate_bps(
            picture, fit_bps(link) - voice_wire_bps(voice, int(copies[index])), link.loss_ratio
        )
        for index, link in enumerate(path)
    )


def _voice_beside(
    picture: Picture,
    good_bps: float,
    voices: tuple[Voice, ...],
    path: Path,
    copies: tuple[bool, ...],
    before: Voice | None,
) -> Voice:
    """Return the best voice that leaves the picture `good_bps`, else the cheapest."""
    ratio = BETTER_RATIO if before in voices else 1.0
    for voice in voices[:-1]:
        if voice == before:
            ratio = KEEP_SHARE
        if _room(picture, voice, path, copies) >= max(picture.low_bps, ratio * good_bps):
            return voice
        if voice == before:
            ratio = 1.0
    return voices[-1]


def _speak(
    spec: Spec,
    voices: tuple[Voice, ...],
    wish: Wish,
    path: Path,
    copies: tuple[bool, ...],
    before: Sending | None,
) -> Sending:
    """Fit a voice alone: copies before sound quality, if any of it fits with copies."""
    known = before if before is not None and before.voice is not None else None

    def cost(voice: Voice, index: int, *, copy: bool) -> float:
        return voice_wire_bps(voice, int(copy and copies[index]))

    def left(voice: Voice, index: int, *, copy: bool) -> float:
        return FIT_SHARE * path[index].rate_bps - cost(voice, index, copy=copy)

    seen = wish is not Wish.VOICE
    ladder = (*voices, CHEAP_PROTECTED) if spec.rung is Rung.VOICE else voices

    # Without a picture nothing comes in bursts: the share of a link that may be entered is enough.
    def affordable(voice: Voice, *, copy: bool) -> bool:
        share, doubles = ENTER_SHARE, False
        keeps = seen and voice not in (voices[-1], CHEAP_PROTECTED)
        if known is not None and known.voice is not None:
            doubles = copy and copies[0] and not known.copies
            if voice == known.voice and not doubles:
                share = COPIES_SHARE if copy else STAY_SHARE
            elif cost(voice, 0, copy=copy) > voice_wire_bps(known.voice, known.copies):
                share = ENTER_SHARE if doubles else BETTER_SHARE
        return all(
            # What is only hoped of a link is tried by a step, not by twice the voice.
            cost(voice, index, copy=copy)
            <= share * (min(link.rate_bps, link.usable_bps) if doubles else link.rate_bps)
            and not (keeps and left(voice, index, copy=copy) < STILL_BPS)
            for index, link in enumerate(path)
        )

    chosen, copy = voices[-1], False
    options = [(voice, True) for voice in ladder] if any(copies) else []
    for option, with_copy in (*options, *((voice, False) for voice in voices)):
        if affordable(option, copy=with_copy):
            chosen, copy = option, with_copy
            break
    spare = min(left(chosen, index, copy=copy) for index in range(len(path)))
    return Sending(
        spec.rung,
        chosen,
        int(copy and copies[0]),
        wish=wish,
        stills=seen and spare >= STILL_BPS,
    )
