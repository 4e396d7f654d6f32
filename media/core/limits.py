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

START_BPS: Final = 48_000.0
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
LOWER_RATIO: Final = 0.9
"""A cap that would move by less is not told: each message costs 300 octets of the link."""
RAISE_SPACING_S: Final = 0.5
ROW_MARGIN: Final = 1.15
MARGIN_FROM_BPS: Final = 60_000.0
"""Of the next row's rate, before it is entered: the estimate moves by a tenth on a quiet link. Rows below
this are no more than a proof apart."""
ROW_HOLD_S: Final = 2.0
"""How long the margin must hold: a response of the estimators at 800 ms of round trip, and a half."""
SURE_RATIO: Final = 2.0
SURE_HOLD_S: Final = 0.5
"""Where a rate is far above the next row's, nothing is risked."""
LEAVE_RATIO: Final = 0.9
LEAVE_S: Final = 1.0
"""A row is left when the link has been known for so long to carry less: while a queue drains the
picture's rate alone goes down, or a moment's queue would change its size twice."""
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
    height: int
    """0: no picture."""
    fps: int
    audio_bps: int
    ptime_ms: Literal[20, 40, 60]
    doubled: bool
    """Whether the browser's redundancy is sent without waiting for loss."""


TABLE: Final = (
    Row(0, 0, 1, 8_000, 60, False),
    Row(20_600, 0, 1, 10_000, 60, False),
    Row(23_000, 0, 1, 12_000, 60, False),
    # A voice proves its own rate and nothing else; so what is possible is found out with redundancy,
    # which costs twice as much and is of use meanwhile, before a picture is risked.
    Row(25_600, 0, 1, 8_000, 60, True),
    Row(31_000, 0, 1, 10_000, 60, True),
    # Measured on 64/48 kbit/s with bursts of 6 %: RED, Opus 8k, a picture of 10-18k: 3.9 fps, 3-4 %
    # of the voice concealed, nothing dropped.
    Row(36_000, 120, 4, 8_000, 60, True),
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
    doubled = row.doubled
    voice = voice_wire_bps(row.audio_bps, row.ptime_ms, doubled=doubled)
    if lossy and not doubled:
        twice = voice_wire_bps(row.audio_bps, row.ptime_ms, doubled=True)
        if twice < rate_bps * FILL_RATIO - (PICTURE_MIN_BPS if row.height else 0):
            doubled, voice = True, twice
    left = (rate_bps * FILL_RATIO - voice) * PICTURE_SHARE
    picture = 0 if not row.height else int(min(PICTURE_MAX_BPS, max(PICTURE_MIN_BPS, left)))
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

    __slots__ = (
        "_above_since", "_below_since", "_raised_at", "_row", "told",
    )  # fmt: skip

    told: Limits | None
    """Last returned."""

    def __init__(self) -> None:
        self.told = None
        self._row = 0
        self._above_since: float | None = None
        self._below_since: float | None = None
        self._raised_at = 0.0

    @property
    def wire_bps(self) -> float:
        """What takes the limits as they were told, all used."""
        told = self.told
        if told is None:
            return 0.0
        voice = voice_wire_bps(told.audio_max_bps or 0, told.ptime_ms, doubled=told.red == "first")
        return (voice + told.video_max_bps / PICTURE_SHARE) / FILL_RATIO

    def update(
        self, usable_bps: float, rate_bps: float, loss_ratio: float, now: float
    ) -> Limits | None:
        """Return new limits, or None while the old ones will do.

        Args:
            usable_bps: What may be sent now, of IP packets.
            rate_bps: What the links are known to carry; above `usable_bps` while a queue drains.
            loss_ratio: Of the sender's up-link, smoothed.
            now: Seconds.
        """
        told = self.told
        if told is None:
            self._row = row_for(usable_bps)
        else:
            self._move(max(usable_bps, rate_bps), usable_bps, now)
        lossy = loss_ratio >= (LOSS_RATIO / 2 if told and told.red == "first" else LOSS_RATIO)
        limits = limits_for(usable_bps, TABLE[self._row], lossy=lossy)
        if told is not None and not self._differs(limits, told, now):
            return None
        if told is None or limits.video_max_bps > told.video_max_bps:
            self._raised_at = now
        self.told = limits
        return limits

    def _move(self, rate_bps: float, usable_bps: float, now: float) -> None:
        """Leave the row, or enter the next one, when that has been right for long enough."""
        if rate_bps < TABLE[self._row].from_bps * LEAVE_RATIO:
            self._below_since = since = self._below_since or now
            if now - since >= LEAVE_S:
                self._enter(row_for(rate_bps))
            return
        self._below_since = None
        above = self._row + 1
        if above == len(TABLE):
            return
        wanted = TABLE[above].from_bps
        if usable_bps < wanted * (ROW_MARGIN if wanted >= MARGIN_FROM_BPS else 1.0):
            self._above_since = None
            return
        self._above_since = since = self._above_since or now
        sure = usable_bps >= wanted * SURE_RATIO
        if now - since >= (SURE_HOLD_S if sure else ROW_HOLD_S):
            self._enter(above)

    def _enter(self, row: int) -> None:
        self._row = row
        self._above_since = self._below_since = None

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
