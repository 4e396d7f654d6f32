# SPDX-License-Identifier: Apache-2.0
"""The up-link of a leg, from what arrives here: the receive-side estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.budget import OVERHEAD_BYTES
from media.core.bwe.clock import SendClock
from media.core.bwe.watch import LinkWatch

if TYPE_CHECKING:
    from media.core.bwe.estimate import Estimate

MAX_NEW: Final = 1_024
"""Arrivals that nobody has asked for yet: as many as anybody looks back over."""


class UplinkEstimator:
    """One sending leg. All its streams together: they share the link."""

    __slots__ = ("_clock", "_expected", "_new", "_received", "_voice_clock", "watch")

    watch: LinkWatch

    def __init__(
        self, start_bps: float, rtt_s: float, now: float, voice_clock_rate: int = 48_000
    ) -> None:
        """Start with what a probe or the last call on this link has told.

        Args:
            start_bps: Rate to begin with.
            rtt_s: Round trip, as ICE or DTLS have seen it.
            now: Seconds.
            voice_clock_rate: Hz, for senders without abs-send-time.
        """
        self.watch = LinkWatch(start_bps, rtt_s, now)
        self._clock = SendClock()
        self._voice_clock = SendClock(voice_clock_rate)
        self._new: list[tuple[int, float, int, bool]] = []
        self._expected = self._received = 0

    def received(
        self, abs_send_time: int, size: int, now: float, *, after_loss: bool = False
    ) -> None:
        """Note a packet that arrived now (hot path).

        Args:
            abs_send_time: As written in it, 24 bits.
            size: Octets of RTP; what the wire adds is added here.
            now: Seconds.
            after_loss: Whether its stream lacks the packet before it.
        """
        new = self._new
        new.append((abs_send_time, now, size + OVERHEAD_BYTES, after_loss))
        if len(new) == MAX_NEW:
            self._take()

    def received_voice(
        self, timestamp: int, size: int, now: float, *, after_loss: bool = False
    ) -> None:
        """Note a packet of the one voice of a leg that has no abs-send-time.

        Its timestamp stands for the time of sending. A picture's can't (a frame of several packets
        has one), and the two must not be mixed in a leg.
        """
        sent_at = self._voice_clock.sent_at(timestamp, now)
        self.watch.arrived([(sent_at, now, size + OVERHEAD_BYTES, after_loss)])

    def begin(self, expected: int, received: int) -> None:
        """Count from these totals on."""
        self._expected, self._received = expected, received

    def counted(self, expected: int, received: int, now: float) -> None:
        """Take the totals of all the leg's streams (`media.core.reports.Reception`), now and then.

        Totals only grow; smaller ones mean that a stream has gone, and begin a new count.
        """
        if expected >= self._expected and received >= self._received:
            self.watch.counted(expected - self._expected, received - self._received, now)
        self._expected, self._received = expected, received

    def carried_beside(self, rate_bps: float, now: float) -> None:
        """Note what the link carries beside the media (`LinkWatch.carried_beside`)."""
        self.watch.carried_beside(rate_bps, now)

    def measured_rtt(self, rtt_s: float) -> None:
        """Take a round trip."""
        self.watch.measured_rtt(rtt_s)

    def estimate(self, now: float) -> Estimate:
        """Return what is known now; to be asked a few times a second."""
        self._take()
        return self.watch.estimate(now)

    def _take(self) -> None:
        new = self._new
        if not new:
            return
        values, arrived_at, sizes, after_loss = zip(*new, strict=True)
        sent_at = self._clock.sent_all(values, arrived_at)
        self.watch.arrived(list(zip(sent_at, arrived_at, sizes, after_loss, strict=True)))
        new.clear()
