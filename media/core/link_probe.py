# SPDX-License-Identifier: Apache-2.0
"""The link probe: what a link carries, asked while the patient waits, with few bytes and no burst.

One `LinkProbe` is one direction. Its sender sends trains of at most three packets when `next_train`
says so; its receiver reports when each arrived. How far a train is drawn out on its way is how long
the link takes for it; what is known of the rate is the sum over all trains, less what their spread
leaves uncertain. Trains follow one another at a share of the rate that has been *proved*: an unknown
link is taken for the thinnest there is, and never filled.

A link that passes short bursts faster than it carries them (a token bucket) can't be told so. What
comes out is a start, rather too low (by a third at 64 kbit/s with 60 ms of jitter, emulated); the ladder and the estimators see the truth within seconds of the call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from statistics import fmean, median, stdev
from typing import Final

from media.core.bwe.capacity import MIN_BPS
from media.core.bwe.probe import LARGE_BYTES, SMALL_BELOW_BPS, SMALL_BYTES, TRAIN_PACKETS
from media.core.fit import ENTER_SHARE, Link, protected, short_link
from media.core.rungs import Rung, Wish

MAX_SECONDS: Final = 6.0
MAX_SHARE: Final = 0.25
"""Of the link's bytes in the time of the probe: agreed."""
SHARE: Final = 0.2
"""What is aimed at: a rate proved by few trains may be a third too high."""
THINNEST_BPS: Final = 24_000.0
"""What an unknown link is taken for: the thinnest that a voice is promised on."""
FIRST_BYTES: Final = 150
"""Three of them are 450 octets: 150 ms on 24 kbit/s."""
LEAST_BYTES: Final = 300
"""Once the first train was answered: jitter disturbs a train by as much however long it is, so for the same
octets few long trains tell more than many short ones. Three take 0.3 s on the thinnest link, and are
paid for before the next one goes."""
SPACING_S: Final = 0.6
"""Between two trains where they may be as large as they like: ten in the time, and each is over."""
NOISY_SPACING_S: Final = 1.25
"""The same where jitter hides what trains take: a quarter of a second of the link each, a few of them. What jitter adds to a
train is the same however long it is."""
NOISY_RATIO: Final = 0.15
"""One standard error of the time that all trains took, over that time: above it, longer trains."""
NOISY_TRAINS: Final = 3
MOST_SPREAD_S: Final = 0.08
"""Of round trips, as jitter: 80 ms of it each way are 65 ms. What spreads more has waited in queues."""
PLAIN_RATIO: Final = 2.0
"""Mean over standard deviation of what trains take for each octet. Where even jitter of both ways is all that stretches trains
of three, it is 1.15; where a tenth of what they take is jitter, 2.0 (simulated, no overtaking). Below it the true rate may be
anything above."""
LEAST_SPACING_S: Final = 0.06
"""A packet of voice: on a fast link a train takes no longer than that to be told from the next."""
DRAIN: Final = 2.0
"""Times what a train takes at the proved rate: two never stand in one queue."""
LARGE_FROM_BPS: Final = 2 * SMALL_BELOW_BPS
"""Twice the rate below which nothing large is sent behind a voice: few trains may be wrong by as much."""
MAX_BLIND: Final = 4
"""Trains before the first answer: 1.8 kB. A link that loses them all is told by its silence."""
MAX_UNANSWERED: Final = 3
"""Trains under way of which nothing is known: then wait. On 800 ms with 0.6 s of spacing two are usual."""
LATE_S: Final = 1.0
"""Beyond a round trip: what hasn't arrived by then is lost (a full queue of 600 ms and jitter)."""
RTT_GUESS_S: Final = 0.8
"""Before the first answer: the longest way that is planned for."""
CLOCK_S: Final = 0.001
"""A browser's clock and its scheduling: a train drawn out less took at least this."""
ENOUGH_BPS: Final = 2_000_000.0
"""More opens no further rung."""
DOUBT_ERRORS: Final = 0.8
DOUBT_S: Final = 0.1
"""What is spent is gone, so trains are spaced by less than is certain: most of a standard error and a
small train of the thinnest link are added to the time they took. On 64 kbit/s with 60 ms of jitter
five trains can look like 200; with this at most 22 % of the link was used in any of 100 runs on each of
seven links (emulated)."""
ENOUGH_TRAINS: Final = 8
FEW_TRAINS: Final = 4
LARGE_RATIO: Final = 0.5
"""Of the largest train: what is smaller is counted only while there is nothing better."""
HIGH_RATIO: Final = 0.85
FAIR_RATIO: Final = 0.7
"""Of the rate, what is certain of it (one standard error less): above each the confidence is such."""
GAPS_RATIO: Final = 0.1
"""Of loss, where the words promise no clear voice: G.107 takes a loss of 10 % for 45 points of R."""


class Mode(StrEnum):
    """How much may be asked."""

    FULL = "full"
    SAVING = "saving"
    """The browser reports data saving (`navigator.connection.saveData`): half the time, half the share."""
    AGAIN = "again"
    """The link has changed during the wait: a quick look."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one mode."""

    seconds: float
    share: float
    trains: int


BOUNDS: Final = {
    Mode.FULL: Bounds(MAX_SECONDS, SHARE, 40),
    Mode.SAVING: Bounds(MAX_SECONDS / 2, SHARE / 2, 5),
    Mode.AGAIN: Bounds(MAX_SECONDS / 2, SHARE / 2, 6),
}
"""40 trains of 3,600 octets are 144 kB on a fast link, and the probe ends when it is sure: after 8."""


class Confidence(IntEnum):
    """How far a rate is to be believed."""

    NONE = 0
    LOW = 1
    FAIR = 2
    HIGH = 3


class Outlook(StrEnum):
    """The sentence about what will be possible, by key."""

    UNKNOWN = "unknown"
    """Nothing came back: try the call all the same."""
    MESSAGES = "messages"
    """No live voice: written and recorded messages."""
    VOICE_WITH_GAPS = "voice-with-gaps"
    VOICE = "voice"
    """The voice will be clear; instead of a picture there are stills."""
    SLOW_PICTURE = "slow-picture"
    """The voice will be clear, the picture small and slow."""
    SMALL_PICTURE = "small-picture"
    GOOD_PICTURE = "good-picture"


@dataclass(frozen=True, slots=True)
class Train:
    """Packets to be sent back to back."""

    number: int
    packets: int
    size_bytes: int
    """Of each, on the wire, with all headers."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe has told of one direction."""

    rate_bps: float
    """What the link carries as far as is known, at most `ENOUGH_BPS`; 0: nothing is known."""
    certain_bps: float
    """The same less one standard error: what to start from."""
    confidence: Confidence
    loss_ratio: float
    packets: int
    """Sent and given their time: one lost of 20 is 5 %, no more is known."""
    rtt_s: float | None
    sent_bytes: int
    at_least: bool = False
    """Jitter hides what trains take: the link carries this, and may carry far more."""


@dataclass(slots=True)
class _Sent:
    train: Train
    at: float
    first_at: float = 0.0
    last_at: float = 0.0
    seen: int = 0
    """Bits, one for each packet that arrived."""

    @property
    def arrived(self) -> int:
        return self.seen.bit_count()


class LinkProbe:
    """One direction of one link, seen from whoever plans its trains."""

    __slots__ = (
        "_began_at", "_bounds", "_known_bps", "_round_trips", "_sent", "_size_bytes", "sent_bytes",
    )  # fmt: skip

    sent_bytes: int
    """All that the probe has put on this direction of the link."""

    def __init__(
        self,
        now: float,
        mode: Mode = Mode.FULL,
        known_bps: float = 0.0,
        *,
        size_bytes: int | None = None,
    ) -> None:
        """Begin.

        Args:
            now: Seconds.
            mode: How much may be asked.
            known_bps: What an earlier probe on this link was certain of, 0 for none. Half of it is
                believed: the link may have changed.
            size_bytes: What each packet is, where that can't be chosen.
        """
        self._began_at = now
        self._bounds = BOUNDS[mode]
        self._known_bps = max(THINNEST_BPS, known_bps / 2)
        self._sent: list[_Sent] = []
        self._round_trips: list[float] = []
        self._size_bytes = size_bytes
        self.sent_bytes = 0

    def next_train(self, now: float) -> Train | None:
        """Return the train to be sent now, or None: not yet, or no more. It counts as sent."""
        due = self.next_at(now)
        if due is None or now < due:
            return None
        proved_bps = self._proved_bps()
        largest, spacing_s = LARGE_BYTES, SPACING_S
        if self._is_noisy():
            spacing_s = NOISY_SPACING_S
        elif proved_bps < LARGE_FROM_BPS:
            largest = SMALL_BYTES
        bytes_each = proved_bps * self._bounds.share * spacing_s / 8 / TRAIN_PACKETS
        size = self._size_bytes or int(max(self._least_bytes(), min(largest, bytes_each)))
        train = Train(len(self._sent), TRAIN_PACKETS, size)
        self._sent.append(_Sent(train, now))
        self.sent_bytes += train.packets * train.size_bytes
        return train

    def _is_noisy(self) -> bool:
        measured = self._measured()
        seconds = sum(took for _, took in measured)
        return len(measured) >= NOISY_TRAINS and self._error_s(measured) > NOISY_RATIO * seconds

    def _error_s(self, measured: list[tuple[float, float]]) -> float:
        """Return one standard error of the time that these trains took together; few of them may agree by chance."""
        if len(measured) >= ENOUGH_TRAINS or len(self._round_trips) < 2:
            return _error_s(measured)
        spread_s = stdev(self._round_trips)
        return max(_error_s(measured), min(spread_s, MOST_SPREAD_S) * math.sqrt(2 * len(measured)))

    def _least_bytes(self) -> int:
        answered = any(sent.arrived > 1 for sent in self._sent)
        return LEAST_BYTES if answered else FIRST_BYTES

    def next_at(self, now: float) -> float | None:
        """Return when the next train may go, None if no more will; to be asked again on each answer."""
        if self.done(now):
            return None
        if not self._sent:
            return self._began_at
        # All that was sent must be paid for, at the share of what is proved, before more is.
        paid_at = self._began_at + self.sent_bytes * 8 / (self._proved_bps() * self._bounds.share)
        last = self._sent[-1]
        gone_s = DRAIN * last.train.packets * last.train.size_bytes * 8 / self._proved_bps()
        due = max(paid_at, last.at + max(LEAST_SPACING_S, gone_s))
        if len(self._sent) >= MAX_BLIND and not any(sent.arrived for sent in self._sent):
            return None
        under_way = [sent for sent in self._sent if not sent.arrived and not self._over(sent, now)]
        if len(under_way) >= MAX_UNANSWERED:
            due = max(due, min(sent.at for sent in under_way) + self._patience_s())
        if due >= self._began_at + self._bounds.seconds:
            return None
        return due

    def done(self, now: float) -> bool:
        """Tell whether nothing more will be sent: enough is known, or the time is over."""
        if now - self._began_at >= self._bounds.seconds or len(self._sent) >= self._bounds.trains:
            return True
        return len(self._measured()) >= ENOUGH_TRAINS and self._rates()[2] is Confidence.HIGH

    def over(self, now: float) -> bool:
        """Tell whether nothing more will be learned: all is sent, and has arrived or been given its time."""
        if self.next_at(now) is not None:
            return False
        return all(sent.arrived or self._over(sent, now) for sent in self._sent)

    @property
    def trains(self) -> int:
        """Of how many trains enough has arrived to tell something."""
        return len(self._measured())

    def paid(self, size_bytes: int) -> None:
        """Count what the other direction's trains cost in this one."""
        self.sent_bytes += size_bytes

    def arrived(self, number: int, index: int, at: float) -> None:
        """Take an arrival; unknown trains and repeats are ignored.

        Args:
            number: Of the train.
            index: Of the packet in it.
            at: On the receiver's clock, whatever its origin.
        """
        if not 0 <= number < len(self._sent):
            return
        sent = self._sent[number]
        if not 0 <= index < sent.train.packets or sent.seen >> index & 1:
            return
        if not sent.seen:
            sent.first_at = sent.last_at = at
        sent.first_at = min(sent.first_at, at)
        sent.last_at = max(sent.last_at, at)
        sent.seen |= 1 << index

    def measured_rtt(self, rtt_s: float) -> None:
        """Take a round trip: a train's answer, a STUN check."""
        self._round_trips.append(max(0.0, rtt_s))

    def reading(self, now: float) -> Reading:
        """Return what is known now."""
        rate_bps, certain_bps, confidence = self._rates()
        over = [sent for sent in self._sent if self._over(sent, now)]
        packets = sum(sent.train.packets for sent in over)
        lost = packets - sum(sent.arrived for sent in over)
        return Reading(
            rate_bps=rate_bps,
            certain_bps=certain_bps,
            confidence=confidence,
            loss_ratio=lost / packets if packets else 0.0,
            packets=packets,
            rtt_s=median(self._round_trips) if self._round_trips else None,
            sent_bytes=self.sent_bytes,
            at_least=certain_bps < FAIR_RATIO * rate_bps or _hidden(_large(self._measured())),
        )

    def _patience_s(self) -> float:
        return LATE_S + (max(self._round_trips) if self._round_trips else RTT_GUESS_S)

    def _over(self, sent: _Sent, now: float) -> bool:
        return sent.arrived == sent.train.packets or now - sent.at >= self._patience_s()

    def _measured(self) -> list[tuple[float, float]]:
        """Return bits and seconds of each train of which at least two packets arrived."""
        return [
            (
                (sent.arrived - 1) * sent.train.size_bytes * 8,
                max(CLOCK_S, sent.last_at - sent.first_at),
            )
            for sent in self._sent
            if sent.arrived > 1
        ]

    def _proved_bps(self) -> float:
        """Return the rate that trains may be spaced by."""
        answered = self._measured()
        if not answered:
            return self._known_bps
        telling = _telling(answered)
        bits = sum(one for one, _ in telling)
        seconds = sum(one for _, one in telling) + DOUBT_ERRORS * self._error_s(telling) + DOUBT_S
        return max(MIN_BPS, min(ENOUGH_BPS, bits / seconds))

    def _rates(self) -> tuple[float, float, Confidence]:
        """Return the rate, what is certain of it, and how far it is to be believed."""
        measured = _telling(self._measured())
        count = len(measured)
        if not count:
            return 0.0, 0.0, Confidence.NONE
        bits = sum(one for one, _ in measured)
        seconds = sum(one for _, one in measured)
        rate = bits / seconds
        error = self._error_s(measured)
        certain = min(ENOUGH_BPS, bits / (seconds + error))
        rate = min(ENOUGH_BPS, rate)
        if len(self._measured()) >= ENOUGH_TRAINS and certain >= HIGH_RATIO * rate:
            return rate, certain, Confidence.HIGH
        if len(self._measured()) >= FEW_TRAINS and certain >= FAIR_RATIO * rate:
            return rate, certain, Confidence.FAIR
        return rate, certain, Confidence.LOW


def _error_s(measured: list[tuple[float, float]]) -> float:
    """Return one standard error of the time that all these trains took together."""
    count = len(measured)
    bits = sum(one for one, _ in measured)
    seconds = sum(one for _, one in measured)
    if count < 2 or not bits:
        return seconds
    # Trains differ in size: their spread is taken around what each should have taken.
    spread = sum((took - size * seconds / bits) ** 2 for size, took in measured)
    return math.sqrt(spread * count / (count - 1))


def _hidden(measured: list[tuple[float, float]]) -> bool:
    """Tell whether jitter may have made most of what trains took."""
    if len(measured) < NOISY_TRAINS:
        return False
    each = [took / bits for bits, took in measured]
    return fmean(each) < PLAIN_RATIO * stdev(each)


def _large(measured: list[tuple[float, float]]) -> list[tuple[float, float]]:
    largest = max((bits for bits, _ in measured), default=0.0)
    return [one for one in measured if one[0] >= largest * LARGE_RATIO]


def _telling(measured: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the trains that tell most: of those as large as half the largest, without the extremes.

    Where packets can't overtake, jitter draws trains out more often than it draws them together, and
    the smallest most of all.
    """
    large = _large(measured)
    chosen = large if len(large) >= FEW_TRAINS else measured
    if len(chosen) <= FEW_TRAINS:
        return chosen
    return sorted(chosen, key=lambda one: one[1] / one[0])[1:-1]


START_CEILING: Final = {
    Confidence.NONE: Rung.VOICE,
    Confidence.LOW: Rung.GLIMPSE,
    Confidence.FAIR: Rung.MEDIUM,
    Confidence.HIGH: Rung.STANDARD,
}
"""The highest rung to start on: what isn't known is climbed to. `open` is never started on: the
browser's own control begins with 300 kbit/s and its own probes."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a direction begins."""

    rung: Rung
    bps: float
    """For the estimators and `x-google-start-bitrate`."""
    loss_ratio: float
    rtt_s: float


def start(reading: Reading, wish: Wish = Wish.MOTION) -> Start:
    """Return how a direction begins, from what its probe has told."""
    # Few trains tell too little to go below what a voice is promised on.
    least_bps = THINNEST_BPS if reading.confidence <= Confidence.LOW else MIN_BPS
    # What trains show is rather too low, the more so under jitter: four of them are believed.
    fair = reading.confidence >= Confidence.FAIR
    link = _link(reading, max(least_bps, reading.rate_bps if fair else reading.certain_bps))
    rung = min(START_CEILING[reading.confidence], _carried(link, wish))
    return Start(rung, link.rate_bps, link.loss_ratio, link.rtt_s)


def outlook(up: Reading, down: Reading, wish: Wish = Wish.MOTION) -> Outlook:
    """Return the one sentence about what will be possible: that of the thinner direction."""
    if Confidence.NONE in (up.confidence, down.confidence):
        return Outlook.UNKNOWN
    rung = min(_carried(_link(reading, _likely_bps(reading)), wish) for reading in (up, down))
    if rung is Rung.TEXT:
        return Outlook.MESSAGES
    if max(_certain_loss(up), _certain_loss(down)) >= GAPS_RATIO:
        return Outlook.VOICE_WITH_GAPS
    if rung <= Rung.VOICE:
        return Outlook.VOICE
    if rung is Rung.GLIMPSE:
        return Outlook.SLOW_PICTURE
    return Outlook.SMALL_PICTURE if rung is Rung.SMALL else Outlook.GOOD_PICTURE


def _likely_bps(reading: Reading) -> float:
    """Return the rate; where jitter hides it nobody is told that not even a voice will do."""
    return max(reading.rate_bps, THINNEST_BPS) if reading.at_least else reading.rate_bps


def _certain_loss(reading: Reading) -> float:
    """Return the loss less one standard error: three lost of 25 say little."""
    loss = reading.loss_ratio
    return loss - math.sqrt(loss * (1 - loss) / max(1, reading.packets))


def _link(reading: Reading, rate_bps: float) -> Link:
    rtt_s = RTT_GUESS_S if reading.rtt_s is None else reading.rtt_s
    return Link(rate_bps, rate_bps, reading.loss_ratio, rtt_s)


def _carried(link: Link, wish: Wish) -> Rung:
    """Return the highest rung that a link would be entered on."""
    copies = protected((link,), ())
    top = Rung.VOICE if wish is Wish.VOICE else Rung.OPEN
    for rung in range(top, Rung.TEXT, -1):
        if short_link(Rung(rung), wish, (link,), copies, ENTER_SHARE) is None:
            return Rung(rung)
    return Rung.TEXT
