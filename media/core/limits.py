# SPDX-License-Identifier: Apache-2.0
"""From a rate to what a page may send: one table, continuous in the picture's rate.

The sender is held to the least of its own up-link and what each watcher's down-link carries. Below
about 100 kbit/s nothing but such limits can hold a browser (its own estimate never goes below
49 kbit/s, measured), so they come as a message and hold at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from media.core.budget import OVERHEAD_BYTES

START_BPS: Final = 64_000.0
"""Of a link that nothing is known of: the thinnest that carries voice with redundancy and a small
picture. A link that carries more proves it within seconds; one that is flooded takes longer to heal."""

HEADER_BYTES: Final = OVERHEAD_BYTES + 12 + 8
"""What a packet costs beside its payload: IPv4, UDP and GCM, RTP, two small extensions."""
RED_BYTES: Final = 5
"""A block's header and the primary's (RFC 2198 §3)."""
PICTURE_SHARE: Final = 0.86
"""Payload of what a picture takes on the wire: frames of 400 octets and their headers."""
FILL_RATIO: Final = 0.97
"""Of the rate: the rest is for reports and for an encoder that misses its target."""
PICTURE_MIN_BPS: Final = 10_000
"""The lowest cap that VP8 in Chromium obeys (measured)."""
PICTURE_MAX_BPS: Final = 2_500_000
"""1280x720 at 30 fps; more is of no use to two people who talk."""

RAISE_RATIO: Final = 1.1
"""A cap that would rise by less is not told: each message costs 300 octets of the link."""
LOWER_RATIO: Final = 0.95
RAISE_SPACING_S: Final = 0.5
ROW_MARGIN: Final = 1.15
"""Of the next row's rate, before it is entered: the estimate moves by a tenth on a quiet link."""
ROW_HOLD_S: Final = 2.0
"""How long the margin must hold: a response of the estimators at 800 ms of round trip, and a half."""
LOSS_RATIO: Final = 0.01
"""From here on the sender's voice is doubled (`media.core.redundancy`: below it nobody hears loss)."""


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


class Row(NamedTuple):
    """What a rate is used for, from `from_bps` on."""

    from_bps: float
    height: int | None
    """0: no picture."""
    fps: int
    audio_bps: int
    ptime_ms: Literal[20, 40, 60]
    doubled: bool
    """Whether the browser's redundancy is sent without waiting for loss."""


TABLE: Final = (
    Row(0, 0, 1, 8_000, 60, False),
    Row(22_000, 0, 1, 12_000, 60, False),
    # Measured on 64/48 kbit/s with bursts of 6 %: RED, Opus 8k, a picture of 10-18k: 3.9 fps, 3-4 %
    # of the voice concealed, nothing dropped.
    Row(38_000, 120, 4, 8_000, 60, True),
    Row(60_000, 120, 8, 12_000, 60, True),
    Row(90_000, 180, 10, 16_000, 40, False),
    Row(200_000, 240, 15, 24_000, 20, False),
    Row(400_000, 360, 20, 24_000, 20, False),
    Row(1_000_000, 720, 30, 32_000, 20, False),
)


def voice_wire_bps(audio_bps: float, ptime_ms: float, *, doubled: bool) -> float:
    """Return what a voice takes on the wire. 12 kbit/s in frames of 60 ms: 20.5, measured 20.1."""
    packet = HEADER_BYTES + (RED_BYTES if doubled else 0)
    return audio_bps * (2 if doubled else 1) + packet * 8 * 1_000 / ptime_ms


def limits_for(rate_bps: float, row: Row, *, lossy: bool) -> Limits:
    """Return what fills a rate, as this row of the table divides it."""
    doubled = row.doubled or lossy
    voice = voice_wire_bps(row.audio_bps, row.ptime_ms, doubled=doubled)
    if row.height == 0 and doubled and voice > rate_bps:
        doubled = False
        voice = voice_wire_bps(row.audio_bps, row.ptime_ms, doubled=False)
    left = (rate_bps * FILL_RATIO - voice) * PICTURE_SHARE
    picture = 0 if row.height == 0 or left < PICTURE_MIN_BPS else min(int(left), PICTURE_MAX_BPS)
    return Limits(
        video_max_bps=picture,
        video_max_height=row.height or None,
        video_max_fps=row.fps if row.height else None,
        audio_max_bps=row.audio_bps,
        ptime_ms=row.ptime_ms,
        # Inside Opus of 8-16 kbit/s in-band FEC is off whatever is said (measured).
        fec=row.ptime_ms == 20,
        red="first" if doubled else "yes",
    )


def row_for(rate_bps: float) -> int:
    """Return the index of the row that a rate belongs to."""
    return max(index for index, row in enumerate(TABLE) if index == 0 or rate_bps >= row.from_bps)


class Cap:
    """What one sender was told last, and when to tell it something else: down at once, up after proof."""

    __slots__ = ("_raised_at", "_row", "_since", "told")

    told: Limits | None
    """Last returned."""

    def __init__(self) -> None:
        self.told = None
        self._row = 0
        self._since: float | None = None
        self._raised_at = 0.0

    def update(self, rate_bps: float, loss_ratio: float, now: float) -> Limits | None:
        """Return new limits, or None while the old ones will do.

        Args:
            rate_bps: What may be sent, of IP packets.
            loss_ratio: Of the sender's up-link, smoothed.
            now: Seconds.
        """
        told = self.told
        if told is None:
            self._row = row_for(rate_bps)
        else:
            self._climb(rate_bps, now)
        lossy = loss_ratio >= (LOSS_RATIO / 2 if told and told.red == "first" else LOSS_RATIO)
        limits = limits_for(rate_bps, TABLE[self._row], lossy=lossy)
        if told is not None and not self._differs(limits, told, now):
            return None
        if told is None or limits.video_max_bps > told.video_max_bps:
            self._raised_at = now
        self.told = limits
        return limits

    def _climb(self, rate_bps: float, now: float) -> None:
        row = row_for(rate_bps)
        if row < self._row:
            self._row = row
        above = self._row + 1
        if above == len(TABLE) or rate_bps < TABLE[above].from_bps * ROW_MARGIN:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= ROW_HOLD_S:
            self._row = above
            self._since = now

    def _differs(self, limits: Limits, told: Limits, now: float) -> bool:
        same_kind = (
            limits.video_max_height == told.video_max_height
            and limits.audio_max_bps == told.audio_max_bps
            and limits.ptime_ms == told.ptime_ms
            and limits.red == told.red
        )
        new, old = limits.video_max_bps, told.video_max_bps
        if not same_kind or new < old * LOWER_RATIO:
            return True
        return new > old * RAISE_RATIO and now - self._raised_at >= RAISE_SPACING_S
