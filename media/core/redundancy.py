# SPDX-License-Identifier: Apache-2.0
"""How much redundancy the voice on one way needs: how many copies, and how far behind.

Copies repair what a retransmission would, and come sooner: one frame later, where a retransmission takes a round trip. So the
voice has no retransmissions at all; a copy costs as much as what it copies. It must outlive the burst that took its frame, and
whoever listens must wait for it: a far copy is delay.

Sources (Chromium, 64/48 kbit/s, 500 ms, bursts of 6 % with a mean of 180 ms, frames of 60 ms): plain Opus 5.2-7.2 % of the
voice concealed; the browser's RED, one back, 3.1-5.2 %; the relay's, two back, 3.0 % beside a picture; one and two back 1.7 %
at 40 instead of 18 kbit/s. Exponential bursts of 180 ms leave of their losses 72 % at 60 ms, 51 % at 120, 19 % at 300.
"""

from __future__ import annotations

from typing import Final

REPAIR_RTT_S: Final = 0.2
"""Above it copies are sent before a loss was seen: on a long way it is heard of late."""
LIGHT_LOSS_RATIO: Final = 0.005
"""From here on more than half a frame in a hundred would be concealed, which is what is promised at 1 % of loss."""
HEAVY_LOSS_RATIO: Final = 0.03
"""From here on two copies, if they can be paid: half of the concealed frames of one copy (above)."""
SPANS_S: Final = (0.0, 0.12, 0.2, 0.3)
"""How far back the far copy may be; 0: one frame. RED's 14 bits reach 0.341 s at 48 kHz. Few values: each change is a message
to a page, and 300 ms are five frames of 60."""
REACHES: Final = 1.7
"""Of the mean reach of bursts (`media.core.bursts`), so far back: outlived by four of five that are exponential."""
WORTH_S: Final = 6.0
"""Delay that is paid for repairing all losses, times their share: 60 ms for 1 %, 300 for 5. The receiver's own buffer (NetEq)
gives 20 ms for 1 %, but of losses that its concealment hides well; a burst of 180 ms is a syllable."""
NEAREST: Final = 1.25
"""A span is taken from four fifths of it on."""
EASE_S: Final = 20.0
"""A span stays for so long after it was last needed: bursts of 6 % come every 3 s, and ten make a mean."""
MARGIN_S: Final = 0.06
"""What the receiver must wait beyond the span: jitter, and a frame's packing."""


class Span:
    """How far back the far copy on one link is, with hysteresis."""

    __slots__ = ("_needed_at", "seconds")

    seconds: float
    """One of `SPANS_S`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._needed_at = 0.0

    def choose(self, reach_s: float, loss_ratio: float, frame_s: float, now: float) -> float:
        """Take what is known of the link's losses; return the span from now on.

        Args:
            reach_s: From `BurstMeter`.
            loss_ratio: Smoothed over some seconds.
            frame_s: Packet interval of the voice.
            now: Seconds.
        """
        wanted = min(REACHES * reach_s - frame_s / 2, WORTH_S * loss_ratio)
        # Within a frame and a half of the voice itself the next frame is as good.
        fits = [each for each in SPANS_S if 1.5 * frame_s <= each <= NEAREST * wanted]
        span = max(fits, default=0.0)
        if span >= self.seconds or now - self._needed_at >= EASE_S:
            self.seconds, self._needed_at = span, now
        return self.seconds


class Hearing:
    """For how long at least a receiver is to keep the voice; it changes as slowly as spans do."""

    __slots__ = ("_needed_at", "seconds")

    seconds: float
    """0: as it likes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._needed_at = 0.0

    def choose(self, now: float, *spans_s: float) -> float:
        """Take how far behind the copies on its way are; return what holds from now on."""
        span_s = max(spans_s)
        wanted = span_s + MARGIN_S if span_s else 0.0
        if wanted >= self.seconds or now - self._needed_at >= EASE_S:
            self.seconds, self._needed_at = wanted, now
        return self.seconds


def distances(
    loss_ratio: float, frame_s: float, voice_bps: float, spare_bps: float, span_s: float = 0.0
) -> tuple[int, ...]:
    """Return how many frames back copies are to be sent, ascending, where they are needed; () for none.

    Whether they are, `media.core.fit.protected` says.

    Args:
        loss_ratio: On this way, smoothed over some seconds.
        frame_s: Packet interval of the voice.
        voice_bps: Payload rate of the voice: what one copy costs.
        spare_bps: What the budget can give to copies.
        span_s: How far back the far one is; 0: one frame.
    """
    if frame_s <= 0 or spare_bps < voice_bps:
        return ()
    far = max(1, min(round(span_s / frame_s), int(0.341 / frame_s)))
    if loss_ratio < HEAVY_LOSS_RATIO or spare_bps < 2 * voice_bps:
        return (far,)
    # Two that are lost one after the other, without bursts; with bursts, a copy that a second burst took.
    far = max(2, far)
    if far * frame_s > 0.341:
        return (1,)
    return (far // 2, far)
