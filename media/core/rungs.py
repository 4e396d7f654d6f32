# SPDX-License-Identifier: Apache-2.0
"""The rungs of the ladder, and what each of them costs on the wire: data and arithmetic, no policy.

A rung is what one person sends: how the voice is coded and packed, and how large and how often the
picture is. Costs are of IP packets with RTP, as `media.core.bwe.estimate` and `media.core.budget`
count them; RTCP and STUN are in neither. They are checked against what Chromium sent (the sources
say "measured": Chromium 156, Opus speech, VP8, bytes at the relay's socket with IP).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, Literal

from media.core.budget import OVERHEAD_BYTES, REPAIR_SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER_BYTES: Final = OVERHEAD_BYTES + 12 + 16
"""What each packet costs beside its payload: IPv4, UDP and GCM tag (44), RTP (RFC 3550 §5.1), and
mid, abs-send-time, transport-cc and audio level as one-byte extensions (RFC 8285 §4.2)."""
SPEECH_RATIO: Final = 0.9
"""Of `maxaveragebitrate`, what speech fills: 12,000 gives 20.1 kbit/s at 60 ms, 8,000 16.3, 6,000 14.9,
32,000 at 20 ms 58 (measured, with headers); this ratio is within 5 % of all of them."""
RED_BYTES: Final = 1
RED_COPY_BYTES: Final = 4
"""RFC 2198 §3: one octet for the newest block, four for each copy."""
KEY_FRAME_EVERY_S: Final = 10.0
"""Of a picture that does not overfill its link: 0-3 key frames in 40 s (measured)."""
FULL_PACKET_BYTES: Final = 1_100
"""Of the picture in a packet: Chromium fills packets of 1,200 octets, less headers and descriptor."""


class Rung(IntEnum):
    """What one direction sends; a higher number is more."""

    TEXT = 0
    VOICE_MIN = 1
    VOICE = 2
    GLIMPSE = 3
    SMALL = 4
    MEDIUM = 5
    STANDARD = 6
    OPEN = 7

    @property
    def label(self) -> str:
        """The name on the wire, in metrics and in traces."""
        return self.name.lower().replace("_", "-")


class Wish(StrEnum):
    """What matters to the one who looks."""

    MOTION = "motion"
    """Frame rate: a gait, a tremor, a face. The default."""
    DETAIL = "detail"
    """Resolution: a wound, a rash."""
    VOICE = "voice"
    """No picture."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How speech is coded and packed."""

    opus_bps: int
    """`maxaveragebitrate` (RFC 7587 §7.1)."""
    frame_ms: Literal[20, 40, 60]
    """`ptime`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture may be; rate and frame rate rise together from low to high."""

    height: int
    low_fps: int
    high_fps: int
    low_bps: int
    """Below this it is not worth its voice's room: the next lower rung looks better."""
    high_bps: int
    key_frame_bytes: int

    @property
    def good_bps(self) -> float:
        """Halfway between low and high, in ratio: from here on voice may take what it likes."""
        return math.sqrt(self.low_bps * self.high_bps)

    def fps(self, rate_bps: float) -> float:
        """Return the frame rate that goes with a rate."""
        span = self.high_bps - self.low_bps
        share = (rate_bps - self.low_bps) / span if span else 1.0
        return self.low_fps + (self.high_fps - self.low_fps) * max(0.0, min(1.0, share))


@dataclass(frozen=True, slots=True)
class Spec:
    """One rung."""

    rung: Rung
    voices: tuple[Voice, ...]
    """The best first; the last is what the rung stands or falls with."""
    long_way: tuple[Voice, ...]
    """The same where the round trip is long: short frames first, for delay is dear there."""
    pictures: Mapping[Wish, Picture] | None
    own_control: bool = False
    """The browser's own congestion control decides; the ladder sets no cap."""

    def picture(self, wish: Wish) -> Picture | None:
        """Return the rung's picture for a wish; None if the rung has none or none is wished."""
        return self.pictures.get(wish) if self.pictures else None


def _pictures(motion: Picture, detail: Picture) -> Mapping[Wish, Picture]:
    return {Wish.MOTION: motion, Wish.DETAIL: detail}


# Sizes of key frames: 160x120 measured (0.9-1.8 kB); the others by pixels to the power of 0.75, which
# is what libvpx made of the same film at one rate (1.0-1.1 kB at 320x180 offline is less). Rates and
# sizes of pictures: `glimpse` measured (10 kbit/s: 3.9 of 4 fps, nothing dropped on 48 kbit/s; 5, as a burst takes one in five); above it
# what LiveKit, Jitsi and Meet use at these sizes (320x180: 80-160, 320x240: 140-200, 640x360: 300-500),
# less a tenth. *detail* is the next size up at a frame rate that leaves each pixel as many bits.
LADDER: Final[tuple[Spec, ...]] = (
    Spec(Rung.TEXT, (), (), None),
    Spec(Rung.VOICE_MIN, (Voice(8_000, 60),), (Voice(8_000, 60),), None),
    Spec(
        Rung.VOICE,
        (Voice(16_000, 60), Voice(12_000, 60)),
        (Voice(16_000, 20), Voice(12_000, 20), Voice(12_000, 40), Voice(12_000, 60)),
        None,
    ),
    Spec(
        Rung.GLIMPSE,
        (Voice(12_000, 60), Voice(8_000, 60)),
        (Voice(12_000, 20), Voice(12_000, 40), Voice(8_000, 40), Voice(8_000, 60)),
        _pictures(
            Picture(120, 5, 8, 10_000, 30_000, 1_500), Picture(180, 2, 4, 10_000, 30_000, 3_400)
        ),
    ),
    Spec(
        Rung.SMALL,
        (Voice(16_000, 60), Voice(12_000, 60)),
        (Voice(16_000, 20), Voice(12_000, 20), Voice(12_000, 40), Voice(12_000, 60)),
        _pictures(
            Picture(180, 12, 15, 50_000, 100_000, 3_400), Picture(240, 6, 9, 50_000, 100_000, 4_200)
        ),
    ),
    Spec(
        Rung.MEDIUM,
        (Voice(24_000, 20),),
        (Voice(24_000, 20),),
        _pictures(
            Picture(240, 15, 20, 120_000, 180_000, 4_200),
            Picture(360, 7, 10, 120_000, 180_000, 9_700),
        ),
    ),
    Spec(
        Rung.STANDARD,
        (Voice(24_000, 20),),
        (Voice(24_000, 20),),
        _pictures(
            Picture(360, 20, 24, 300_000, 450_000, 9_700),
            Picture(540, 10, 12, 300_000, 450_000, 17_500),
        ),
    ),
    Spec(
        Rung.OPEN,
        (Voice(32_000, 20),),
        (Voice(32_000, 20),),
        # libwebrtc's own bounds for 1280x720 in VP8: from 900 kbit/s, at most 2,500.
        _pictures(
            Picture(720, 24, 30, 850_000, 2_500_000, 27_000),
            Picture(720, 15, 30, 850_000, 2_500_000, 27_000),
        ),
        own_control=True,
    ),
)
"""Indexed by `Rung`."""

CHEAP_PROTECTED: Final = Voice(8_000, 60)
"""On rung `voice`, rather this with a copy than 12,000 without: at 6 % in bursts 12,000 alone loses
5-7 % of the voice, with a copy 3-5 (measured)."""


def voice_wire_bps(voice: Voice, copies: int) -> float:
    """Return what speech costs on the wire while somebody talks.

    Args:
        voice: As coded.
        copies: Redundant frames in each packet (RFC 2198), 0 for plain Opus.
    """
    packets = 1_000 / voice.frame_ms
    header = HEADER_BYTES + (RED_BYTES + RED_COPY_BYTES * copies if copies else 0)
    return SPEECH_RATIO * voice.opus_bps * (1 + copies) + packets * header * 8


def repair_ratio(loss_ratio: float) -> float:
    """Return what retransmissions add: each packet is asked for at most twice, out of one share."""
    return min(REPAIR_SHARE, loss_ratio * (1 + loss_ratio))


def picture_wire_bps(picture: Picture, rate_bps: float, loss_ratio: float) -> float:
    """Return what a picture costs on the wire with its headers, key frames and repairs.

    Args:
        picture: Its bounds.
        rate_bps: Of the encoder (`maxBitrate`).
        loss_ratio: Of the link.
    """
    fps = picture.fps(rate_bps)
    # Frames differ: a mean of 0.9 packets is two packets in a third of the frames.
    packets = max(fps, rate_bps / 8 / FULL_PACKET_BYTES + fps / 2)
    plain = rate_bps + packets * HEADER_BYTES * 8 + _key_frames_bps(picture)
    return plain * (1 + repair_ratio(loss_ratio))


def picture_rate_bps(picture: Picture, wire_bps: float, loss_ratio: float) -> float:
    """Return the encoder's rate that costs `wire_bps`: the inverse of `picture_wire_bps`.

    It may be below the picture's low rate: then the picture doesn't fit.
    """
    room = wire_bps / (1 + repair_ratio(loss_ratio)) - _key_frames_bps(picture)
    header = HEADER_BYTES * 8
    high = picture.high_bps
    full = header / 8 / FULL_PACKET_BYTES
    top = max(picture.high_fps, high / 8 / FULL_PACKET_BYTES + picture.high_fps / 2)
    if room >= high + header * top:
        return high
    # Both branches of the maximum are straight lines; the dearer one decides.
    slope = (picture.high_fps - picture.low_fps) / max(1, high - picture.low_bps)
    at_zero = picture.low_fps - slope * picture.low_bps
    single = (room - header * at_zero) / (1 + header * slope)
    several = (room - header * at_zero / 2) / (1 + full + header * slope / 2)
    return min(single, several, high)


def _key_frames_bps(picture: Picture) -> float:
    return picture.key_frame_bytes * 8 / KEY_FRAME_EVERY_S
