# SPDX-License-Identifier: Apache-2.0
"""What a page is told of its direction: the rung and its settings, why, and when to brake by itself.

Below about 100 kbit/s nothing but such limits can hold a browser (its own estimate never goes below
49 kbit/s, measured), so they come as a message and hold at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from media.core.brake import Brake, brake
from media.core.fit import ENTER_SHARE, FIT_SHARE, Path, Sending, Side
from media.core.ladder import Reason
from media.core.rungs import LADDER, Rung, Voice, Wish, picture_rate_bps, voice_wire_bps

if TYPE_CHECKING:
    from media.core.ladder import State

START_BPS: Final = 48_000.0
"""Of a link that nothing is known of: the thinnest that carries voice with redundancy and a small
picture. A link that carries more proves it within seconds; one that is flooded takes longer to heal."""
LEAST_VOICE: Final = Voice(8_000, 60)
"""On rung `text` the voice goes on so: what isn't sent proves nothing, and nobody would know when the link
carries a voice again. People are told that it may not be understood."""
TOLD_RATIO: Final = 0.2
TOLD_BPS: Final = 4_000
"""What stills may use, and the most in the open, are told again when they have moved by so much: each
message costs 400 octets of the link."""
TOLD_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a page may send now."""

    video_max_bps: int
    """Of the picture, headers and retransmissions not counted; 0 = no picture."""
    video_max_height: int | None = None
    """Lines; None = as the camera gives them."""
    video_max_fps: int | None = None
    audio_max_bps: int | None = None
    """Of Opus; None = the browser's choice."""
    ptime_ms: Literal[10, 20, 40, 60, 120] = 20
    fec: bool = True
    dtx: bool = False
    red: Literal["no", "yes", "first"] = "yes"
    """``first``: the browser sends it; ``yes``: it may be sent to the browser."""
    codec: Literal["VP8", "VP9"] = "VP8"
    """Of the picture."""
    copy_ms: int = 0
    """How far behind its frame each copy of the voice is to travel; 0 = one frame, as browsers do by themselves."""
    hear_ms: int = 0
    """For how long the voice that is heard must be kept at least, for what is repaired to come in time; 0 = as the browser likes."""
    rung: Rung = Rung.VOICE
    reason: Reason = Reason.START
    whose: Side | None = None
    """Whose link made it so, or keeps the direction from more; None: nobody's, or not known."""
    detail: bool = False
    """Resolution matters more than frame rate."""
    stills_bps: int = 0
    """What stills and messages may use beside the call; 0 = nothing."""
    brake: Brake | None = None

    def differs(self, told: Limits) -> bool:
        """Tell whether these are worth a message to one who has been told those."""
        mine = (self.video_max_height, self.video_max_fps, self.audio_max_bps, self.ptime_ms)
        theirs = (told.video_max_height, told.video_max_fps, told.audio_max_bps, told.ptime_ms)
        if mine != theirs or (self.red, self.rung, self.whose, self.detail) != (
            told.red,
            told.rung,
            told.whose,
            told.detail,
        ):
            return True
        return self.video_max_bps != told.video_max_bps or not self.beside(told)

    def beside(self, told: Limits) -> bool:
        """Tell whether what no rung decides is as it was told."""
        mine = (self.codec, self.copy_ms, self.hear_ms)
        return mine == (told.codec, told.copy_ms, told.hear_ms)

    def drifted(self, told: Limits) -> bool:
        """Tell whether what may be used beside the call, or in the open, has become another amount."""
        return any(
            abs(new - old) > max(TOLD_BPS, TOLD_RATIO * max(new, old))
            for new, old in (
                (self.stills_bps, told.stills_bps),
                (self.video_max_bps, told.video_max_bps),
            )
        )


def limits_of(
    state: State, reason: Reason, path: Path, base_rtt_s: float, hope: Path | None = None
) -> Limits:
    """Return what a page is told of a direction as it is.

    Args:
        state: Of the direction.
        reason: Of its last move.
        path: Its links now.
        base_rtt_s: The shortest round trip of the sender's own link.
        hope: The links as they are hoped to be, for stills and messages: they are paced, and wait at a queue.
    """
    sending = state.sending
    voice = sending.voice or LEAST_VOICE
    return Limits(
        video_max_bps=_picture_bps(sending, path),
        video_max_height=sending.height or None,
        video_max_fps=sending.fps or None,
        audio_max_bps=voice.opus_bps,
        ptime_ms=voice.frame_ms,
        # Inside Opus of 8-16 kbit/s in-band FEC is off whatever is said (measured).
        fec=voice.frame_ms == 20,
        red="first" if sending.copies else "yes",
        rung=sending.rung,
        reason=reason,
        whose=state.whose,
        detail=sending.wish is Wish.DETAIL,
        stills_bps=stills_bps(sending, hope or path),
        brake=brake(state, path, base_rtt_s),
    )


def stills_bps(sending: Sending, path: Path) -> int:
    """Return what of the sender's own link the call leaves to stills and messages."""
    link = path[0]
    open_bps = _picture_bps(sending, path) if not sending.max_bps else 0
    left_bps = ENTER_SHARE * min(link.rate_bps, link.usable_bps) - sending.wire_bps(link)
    return int(max(0.0, left_bps - open_bps))


def _picture_bps(sending: Sending, path: Path) -> int:
    """Return the encoder's cap; in the open the browser rules its own link, and this what watchers take."""
    if not sending.height or sending.max_bps:
        return sending.max_bps
    picture = LADDER[sending.rung].picture(sending.wish)
    assert picture is not None
    assert sending.voice is not None
    room = min(
        picture_rate_bps(
            picture,
            FIT_SHARE * link.rate_bps - voice_wire_bps(sending.voice, sending.copies),
            link.loss_ratio,
        )
        for link in path
    )
    return int(max(picture.low_bps, room))
