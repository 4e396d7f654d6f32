# SPDX-License-Identifier: Apache-2.0
"""What one direction of a link may still carry: everything that is sent is paid from here.

A token bucket with one account for all and a share of it for repairs. Voice always passes and is
paid first. The picture passes until the debt is a queue's worth; then it must stop. Repairs
(retransmissions, and the key frames and retransmissions that we invite) come out of their own share
as well, so however much is lost, however often a key frame is asked for, they never take more than
`REPAIR_SHARE` of the rate. That is what breaks the loop key frame -> loss -> burst of
retransmissions -> next key frame, in which Chromium sent 306 kbit/s of picture, 228 of it
retransmissions and over 90 key frames, into 64 kbit/s (measured).
"""

from __future__ import annotations

from typing import Final

REPAIR_SHARE: Final = 0.25
"""Of the rate. 6 % of loss, each packet asked for twice at worst, is 12 %; a key frame of 1.5 kB every
1.3 s on 48 kbit/s is the rest."""
REPAIR_BURST_S: Final = 2.0
"""Of the share: on 48 kbit/s 3 kB, a key frame and five packets of a burst."""
BURST_S: Final = 0.25
"""Unused rate that may be saved up; more would be a burst into a queue."""
MAX_DEBT_S: Final = 0.6
"""Debt at which the picture must stop: the queue of a thin link holds 600 ms (measured there)."""
MAX_VOICE_DEBT_S: Final = 2.0
"""Debt is forgotten beyond this, or a long time over the rate would silence the picture for as long."""
MIN_REPAIR_BURST_BYTES: Final = 2_500.0
"""A key frame must always be payable at some time, or a picture lost on 20 kbit/s would stay lost."""

OVERHEAD_BYTES: Final = 44
"""What each packet costs on the wire beside RTP: IPv4 20, UDP 8, GCM tag 16."""


class Allowance:
    """What one sender may bring at most: a token bucket that is filled only when it is empty.

    It never gives less than one that is filled with each packet, and at most twice what it holds at once. Whoever pays
    subtracts from ``left``; where that is negative already, ``fill`` says whether more may be paid.
    """

    __slots__ = ("_at", "_burst", "_rate", "left")

    left: float

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Open full; ``rate`` a second, at most ``burst`` saved up, in whatever unit is paid."""
        self._rate = rate
        self._burst = self.left = burst
        self._at = now

    def fill(self, now: float) -> bool:
        """Add what has been earned; return whether there is no debt any more."""
        passed = now - self._at
        if passed > 0:
            self._at = now
            self.left += min(self._burst, passed * self._rate)
            self.left = min(self._burst, self.left)
        return self.left >= 0


class Budget:
    """One direction of one link."""

    __slots__ = (
        "_at", "_burst", "_floor", "_rate", "_repair", "_repair_at", "_repair_burst", "_stop", "_tokens",
        "refused_bytes",
    )  # fmt: skip

    refused_bytes: float
    """Repairs and pictures that were not paid for."""

    def __init__(self, rate_bps: float, now: float) -> None:
        """Open with a full account."""
        self._at = self._repair_at = now
        self._tokens = self._repair = 0.0
        self.refused_bytes = 0.0
        self._set(rate_bps)
        self._tokens = self._burst
        self._repair = self._repair_burst

    @property
    def rate_bps(self) -> float:
        """What the direction carries."""
        return self._rate * 8

    @property
    def balance_bytes(self) -> float:
        """What could be sent at once; negative is debt. As of the last payment."""
        return self._tokens

    def set_rate(self, rate_bps: float, now: float) -> None:
        """Take a new estimate of what the direction carries, in bits per second, at least 1."""
        self._refill_repair(now)
        self._set(rate_bps)
        self._tokens = min(self._burst, max(self._floor, self._tokens))
        self._repair = min(self._repair_burst, self._repair)

    def voice(self, size: float, now: float) -> None:
        """Pay for voice or for control: it always passes. Sizes are octets on the wire (hot path)."""
        tokens = self._tokens
        if now > self._at:  # as `_refill` does
            tokens += (now - self._at) * self._rate
            self._at = now
            if tokens > self._burst:
                tokens = self._burst
        tokens -= size
        if tokens < self._floor:
            tokens = self._floor
        self._tokens = tokens

    def video(self, size: float, now: float) -> bool:
        """Pay for a packet of the picture; False, and nothing paid, if the picture must stop.

        Whoever gets False must withhold the rest up to the next key frame.
        """
        self._refill(now)
        tokens = self._tokens - size
        if tokens < self._stop:
            self.refused_bytes += size
            return False
        self._tokens = tokens
        return True

    def repair(self, size: float, now: float) -> bool:
        """Pay for a retransmission that we send; False if it must not be sent."""
        self._refill_repair(now)
        if size > self._repair or self._tokens - size < self._stop / 2:
            self.refused_bytes += size
            return False
        self._repair -= size
        self._tokens -= size
        return True

    def invite(self, size: float, now: float) -> bool:
        """Pay for a retransmission that we ask the other side for; False: don't ask.

        It is paid now, before it is on its way; when it comes it must not be paid again.
        """
        return self.repair(size, now)

    def invite_key_frame(self, size: float, now: float) -> bool:
        """Pay the repair share for a key frame that we ask for; False: don't ask now.

        Its packets are paid with `video` when they come, as the picture that they are.
        """
        self._refill_repair(now)
        # A key frame larger than the share ever holds is payable when the share is full.
        size = min(size, self._repair_burst)
        if size > self._repair or self._tokens < self._stop / 2:
            return False
        self._repair -= size
        return True

    def _set(self, rate_bps: float) -> None:
        self._rate = rate = max(1.0, rate_bps) / 8
        self._burst = rate * BURST_S
        self._stop = -rate * MAX_DEBT_S
        self._floor = -rate * MAX_VOICE_DEBT_S
        self._repair_burst = max(MIN_REPAIR_BURST_BYTES, rate * REPAIR_SHARE * REPAIR_BURST_S)

    def _refill(self, now: float) -> None:
        passed = now - self._at
        if passed <= 0:
            return
        self._at = now
        self._tokens = min(self._burst, self._tokens + passed * self._rate)

    def _refill_repair(self, now: float) -> None:
        """Fill both accounts; that of the repairs is looked at far more seldom."""
        self._refill(now)
        passed = now - self._repair_at
        if passed > 0:
            self._repair_at = now
            earned = passed * self._rate * REPAIR_SHARE
            self._repair = min(self._repair_burst, self._repair + earned)
