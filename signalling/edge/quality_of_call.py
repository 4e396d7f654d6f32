# SPDX-License-Identifier: Apache-2.0
"""How one call is, from both sides' figures: no I/O, no clock.

Each direction is rated at its receiver (``media.core.quality``): voice by ITU-T G.107 with what was concealed, the way
from mouth to ear and the codec, the picture by its frames and freezes. Whose link takes most from it follows from what
the relay measured of both legs; without a relay, or before it has said anything, that is not known and not guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import msgspec

from media.core.quality import (
    WORDS,
    Cause,
    Heard,
    LinkQuality,
    Named,
    PictureMeter,
    PictureScore,
    Seen,
    VoiceMeter,
    VoiceScore,
    Word,
    overall,
    worse,
)
from signalling.core import events as ev
from signalling.edge.connections import LinkOf
from signalling.quality_metrics import Measured
from signalling.wire.ids import ConnectionId, ConsultId
from signalling.wire.quality import (
    DirectionQuality,
    Quality,
    Received,
    Where,
    Whose,
    WordName,
)

QUALITY_OF: Final = (ev.PATIENT, ev.SPECIALIST)
"""Who hears whom in a call of two."""
SAMPLE_RATE_HZ: Final = 48_000
LINK_FRESH_S: Final = 20.0
"""What a relay said is good for so long: four of its messages."""
STALE_S: Final = 25.0
"""What a page said that says nothing any more: two messages of the thinnest rungs did not come."""
PICTURE_DUE_S: Final = 10.0
"""A picture that the other side says it sends has come by then: full quality is there within it."""
SAME_WORD_S: Final = 10.0
"""Another reason for the same word is told no more often than this: a sentence that jumps is not read."""
OPUS_BPS: Final = 32_000
FRAME_S: Final = 0.02
"""Chromium's own, until the other side has said what it sends."""


@dataclass(slots=True)
class Side:
    """One person in a call: what they received, what they send, what is known of their link."""

    voice: VoiceMeter = field(default_factory=VoiceMeter)
    picture: PictureMeter = field(default_factory=PictureMeter)
    picture_since: float | None = None
    """Since when the other side says that it sends one; None = it does not."""
    pictured: bool = False
    """And it has come."""
    received_at: float = -math.inf
    said: Received | None = None
    link: LinkOf | None = None
    linked_at: float = -math.inf
    verdict: tuple[Word, Cause] | None = None
    """Of what this person hears and sees."""


class CallQuality:
    """One call."""

    __slots__ = ("_told", "sides")

    def __init__(self) -> None:
        self.sides: dict[str, Side] = {role: Side() for role in QUALITY_OF}
        self._told: dict[str, tuple[ConnectionId, Quality, float]] = {}

    def received(self, role: str, received: Received, *, relayed: bool, now: float) -> Measured:
        """Take what one side received, and rate it.

        Args:
            role: Whose page it is.
            received: What it said.
            relayed: Whether a relay stands between the two.
            now: Seconds; of the last of its seconds.
        """
        side, other = self.sides[role], self.sides[_other(role)]
        side.said, side.received_at = received, now
        said = other.said
        rtt_s = received.rtt_s
        if relayed and said is not None:
            rtt_s += said.rtt_s  # each page knows the way to the relay and back
        self._expect_picture(side, sent=said is not None and said.picture, now=now)
        scores: list[float] = []
        voice: VoiceScore | None = None
        for number, second in enumerate(received.seconds, 1 - len(received.seconds)):
            at = now + number
            heard = Heard(
                samples=round(second.heard_s * SAMPLE_RATE_HZ),
                concealed=round(second.concealed_s * SAMPLE_RATE_HZ),
                bursts=second.bursts,
                buffer_s=second.buffer_s,
                rtt_s=rtt_s,
                frame_s=said.frame_s if said is not None and said.frame_s else FRAME_S,
                opus_bps=said.opus_bps if said is not None else OPUS_BPS,
            )
            if said is None or said.opus_bps:
                side.voice.add(heard, at)
                voice = side.voice.score(at)
                if voice is not None:
                    scores.append(voice.r)
            side.pictured = side.pictured or second.frames > 0
            if side.picture_since is None or received.hidden:
                continue
            if side.pictured or now - side.picture_since > PICTURE_DUE_S:
                side.picture.add(Seen(second.span_s, second.frames, second.frozen_s), at)
        picture = side.picture.score(now)
        side.verdict = overall(voice, picture)
        return self._measured(role, received, scores, voice, picture, now)

    @staticmethod
    def _expect_picture(side: Side, *, sent: bool, now: float) -> None:
        """Begin anew with a picture that is switched on, and forget one that is off."""
        if not sent:
            side.picture.clear()
            side.picture_since, side.pictured = None, False
        elif side.picture_since is None:
            side.picture_since = now

    def _measured(
        self,
        role: str,
        received: Received,
        scores: list[float],
        voice: VoiceScore | None,
        picture: PictureScore | None,
        now: float,
    ) -> Measured:
        heard_s = sum(each.heard_s for each in received.seconds)
        concealed_s = sum(each.concealed_s for each in received.seconds)
        verdict = self.sides[role].verdict
        return Measured(
            scores=tuple(scores),
            concealed_ratio=concealed_s / heard_s if scores and heard_s else None,
            frozen_ratio=picture.frozen_ratio if picture is not None else None,
            fps=picture.fps if picture is not None else None,
            mouth_to_ear_s=voice.delay_s if voice is not None else None,
            seconds=sum(each.span_s for each in received.seconds),
            word=verdict[0].value if verdict is not None else None,
            whose=self._whose(role, now),
        )

    def linked(self, link: LinkOf, now: float) -> None:
        """Take what a relay measured of one person's link."""
        side = self.sides[link.role]
        side.link, side.linked_at = link, now

    def _whose(self, hearer: str, now: float) -> Whose:
        """Return whose link takes most from what this person hears and sees."""
        verdict = self.sides[hearer].verdict
        if verdict is None or verdict[1] is Cause.NONE:
            return "unknown"
        speaker = _other(hearer)
        up, down = self.sides[speaker], self.sides[hearer]
        if up.link is None or down.link is None:
            return "unknown"
        if now - min(up.linked_at, down.linked_at) > LINK_FRESH_S:
            return "unknown"
        named = worse(
            LinkQuality(_rtt(up), up.link.up_loss, up.link.up_bps or math.inf),
            LinkQuality(_rtt(down), down.link.down_loss, down.link.down_bps or math.inf),
        )
        if named in (Named.BOTH, Named.NEITHER):
            return "both" if named is Named.BOTH else "server"
        weak = speaker if named is Named.FIRST else hearer
        return "patient" if weak == ev.PATIENT else "specialist"

    def worst(self) -> tuple[WordName, Whose] | None:
        """Return the worse direction's word, and whose link it comes from as said last."""
        now = max(side.received_at for side in self.sides.values())
        found = [
            (side.verdict[0], self._whose(role, now))
            for role, side in self.sides.items()
            if side.verdict is not None and now - side.received_at <= STALE_S
        ]
        worst = max(found, key=lambda each: WORDS.index(each[0]), default=None)
        return None if worst is None else (worst[0].value, worst[1])

    def news(
        self, consult: ConsultId, role: str, connection: ConnectionId, now: float
    ) -> Quality | None:
        """Return what this person's page has to be told, None if it was told."""
        other = self.sides[_other(role)]
        said = Quality(
            consult,
            self._direction(role, role, now),
            self._direction(_other(role), role, now),
            other.said.microphone if other.said is not None else "on",
            other.said.hidden if other.said is not None else False,
        )
        who, before, at = self._told.get(role, (None, None, -math.inf))
        if who == connection and before is not None:
            same = _plain(said) == _plain(before)
            if said == before or (same and now - at < SAME_WORD_S):
                return None
        elif said == Quality(consult):
            return None
        self._told[role] = connection, said, now
        return said

    def _direction(self, hearer: str, reader: str, now: float) -> DirectionQuality | None:
        side = self.sides[hearer]
        verdict = side.verdict
        if verdict is None or now - side.received_at > STALE_S:
            return None
        word, cause = verdict
        whose = self._whose(hearer, now)
        return DirectionQuality(word.value, cause.value, _as_read_by(reader, whose))


def _as_read_by(reader: str, whose: Whose) -> Where:
    match whose:
        case "both" | "server" | "unknown":
            return whose
        case _:
            return "own" if whose == reader else "other"


def _plain(said: Quality) -> Quality:
    """Return the words alone, and what is seen at once."""

    def word(one: DirectionQuality | None) -> DirectionQuality | None:
        return None if one is None else DirectionQuality(one.word)

    return msgspec.structs.replace(said, mine=word(said.mine), theirs=word(said.theirs))


def _other(role: str) -> str:
    return ev.SPECIALIST if role == ev.PATIENT else ev.PATIENT


def _rtt(side: Side) -> float:
    """Return the round trip to the relay, as the relay measured it, else as the page did."""
    if side.link is not None and side.link.rtt_ms is not None:
        return side.link.rtt_ms / 1_000
    return side.said.rtt_s if side.said is not None else 0.0
