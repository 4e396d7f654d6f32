# SPDX-License-Identifier: Apache-2.0
"""How much redundancy the voice on one way needs: a table over measured loss and round trip.

Sources (Chromium, 64/48 kbit/s, 500 ms, bursts of 6 % with a mean of 180 ms, frames of 60 ms): plain
Opus 5.2-7.2 % of the voice concealed; the browser's RED, one back, 3.1-5.2 %; the relay's, two back,
3.0 % beside a picture; one and two back 1.7 % at 40 instead of 18 kbit/s.
"""

from __future__ import annotations

from typing import Final

REPAIR_RTT_S: Final = 0.2
"""Up to here a retransmission comes in time for the jitter buffer, and costs only what was lost."""
REPAIR_LOSS_RATIO: Final = 0.02
"""Up to here, on a short way, retransmission alone: a second loss of the same packet is 1 in 2,500. Bursts take what is
repeated as well: on 120 ms with bursts of 5 % retransmission alone left 4-5.5 % of the voice concealed (measured)."""
LIGHT_LOSS_RATIO: Final = 0.005
"""From here on more than half a frame in a hundred would be concealed, which is what is promised at 1 % of loss."""
HEAVY_LOSS_RATIO: Final = 0.03
"""From here on two copies, if they can be paid: half of the concealed frames of one copy (above)."""
SPAN_S: Final = 0.12
"""How far back the far copy is: two frames of 60 ms, as measured. A copy must outlive the burst."""


def distances(
    loss_ratio: float, frame_s: float, voice_bps: float, spare_bps: float
) -> tuple[int, ...]:
    """Return how many frames back copies are to be sent, ascending, where they are needed; () for none.

    Whether they are, `media.core.fit.protected` says.

    Args:
        loss_ratio: On this way, smoothed over some seconds.
        frame_s: Packet interval of the voice.
        voice_bps: Payload rate of the voice: what one copy costs.
        spare_bps: What the budget can give to copies.
    """
    if frame_s <= 0 or spare_bps < voice_bps:
        return ()
    # Frames of 20 ms get the same span in time, computed; at most what RED's 14 bits can say.
    far = max(1, min(8, round(SPAN_S / frame_s), int(0.341 / frame_s)))
    near = far // 2
    if near and loss_ratio >= HEAVY_LOSS_RATIO and spare_bps >= 2 * voice_bps:
        return (near, far)
    return (far,)
