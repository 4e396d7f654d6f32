# SPDX-License-Identifier: Apache-2.0
"""One direction of an emulated link, without input or output and without a clock.

A packet that is offered waits in a drop-tail queue, is sent at the link's rate, may be lost in the
air, and is delivered one propagation delay later. Time is given by the caller in seconds from the
start of the link and must never go backwards; all randomness comes from the seed. So the same
offers at the same times always meet the same fate, and the model can be tested in virtual time.

What is not modelled: corruption, duplication, link-layer retransmission, sharing with strangers.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

MTU_BYTES = 1500
"""Largest IP packet; what nearly every access link carries (RFC 894)."""


class DropCause(StrEnum):
    """Why a packet did not arrive."""

    RANDOM = "random"
    BURST = "burst"
    QUEUE = "queue"
    BLACKOUT = "blackout"
    FIREWALL = "firewall"


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """What one direction of a link does to packets."""

    rate_bps: float
    """Bits of IP packets per second. 0 stalls the link: the queue is kept and waits."""
    delay_ms: float = 0.0
    """Propagation, one way, without queueing and without the time of sending."""
    jitter_ms: float = 0.0
    """Each packet's propagation is drawn evenly from delay ± jitter."""
    loss_ratio: float = 0.0
    """Share of sent packets lost singly and independently."""
    burst_loss_ratio: float = 0.0
    """Share of *time* in which everything is lost (Gilbert–Elliott in continuous time)."""
    burst_mean_ms: float = 180.0
    """Mean length of such a bad period. 180 ms is a fade that outlives three 60 ms voice packets."""
    packet_burst_loss_ratio: float = 0.0
    """Share of packets lost in runs (Gilbert–Elliott that steps once per packet)."""
    packet_burst_mean: float = 3.0
    """Mean length of such a run in packets; at least 1."""
    queue_ms: float = 600.0
    """Drop-tail bound: the queue holds at most this many milliseconds of the rate."""
    reordering: bool = False
    """Whether jitter may make a packet overtake an earlier one."""
    udp_blocked: bool = False
    """A firewall lets no UDP through (public offices, hotels; RFC 8825 §3.4 counts them in)."""
    tcp_ports_only: tuple[int, ...] = ()
    """A firewall lets nothing through but TCP to or from these ports; empty = no such firewall."""

    def __post_init__(self) -> None:
        """Refuse values that no link can have; raises ValueError with the field's name."""
        for name in ("rate_bps", "delay_ms", "jitter_ms", "queue_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative: {value}")
        for name in ("loss_ratio", "burst_loss_ratio", "packet_burst_loss_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1): {getattr(self, name)}")
        if not self.burst_mean_ms > 0:
            raise ValueError(f"burst_mean_ms must be positive: {self.burst_mean_ms}")
        if not self.packet_burst_mean >= 1:
            raise ValueError(f"packet_burst_mean must be at least 1: {self.packet_burst_mean}")

    def changed(self, **changes: Any) -> LinkParameters:
        """Return a copy with `changes`; raises ValueError for a name that does not exist."""
        unknown = set(changes) - {field.name for field in fields(self)}
        if unknown:
            raise ValueError(f"no such link parameter: {', '.join(sorted(unknown))}")
        return replace(self, **changes)


_TCP, _UDP = 6, 17  # protocol numbers in the IPv4 header (RFC 791 §3.1)


def passes(parameters: LinkParameters, packet: bytes) -> bool:
    """Tell whether the link's firewall lets an IPv4 packet through; what is no packet passes."""
    if len(packet) < 20:
        return True
    protocol, at = packet[9], (packet[0] & 15) * 4
    if parameters.udp_blocked and protocol == _UDP:
        return False
    if not parameters.tcp_ports_only:
        return True
    ports = {int.from_bytes(packet[at + n : at + n + 2], "big") for n in (0, 2)}
    return protocol == _TCP and not ports.isdisjoint(parameters.tcp_ports_only)


class _TimeBursts:
    """Gilbert–Elliott in continuous time: exponential good and bad periods."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._bad = False
        self._until_s = -math.inf  # the first question draws the state

    def lost(self, at_s: float, p: LinkParameters) -> bool:
        """Tell whether `at_s` lies in a bad period. Times must not decrease."""
        if not p.burst_loss_ratio:
            return False
        bad_s = p.burst_mean_ms / 1000
        good_s = bad_s * (1 - p.burst_loss_ratio) / p.burst_loss_ratio
        if self._until_s == -math.inf:
            self._bad = self._rng.random() < p.burst_loss_ratio
            self._until_s = self._rng.expovariate(1 / (bad_s if self._bad else good_s))
        while self._until_s <= at_s:
            self._bad = not self._bad
            self._until_s += self._rng.expovariate(1 / (bad_s if self._bad else good_s))
        return self._bad


class _PacketBursts:
    """Gilbert–Elliott that makes one step per packet."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._bad = False

    def lost(self, p: LinkParameters) -> bool:
        """Make one step and tell whether this packet is lost."""
        ratio = p.packet_burst_loss_ratio
        if not ratio:
            return False
        leave = 1 / p.packet_burst_mean
        # In balance: P(good) * enter = P(bad) * leave.
        chance = 1 - leave if self._bad else min(1.0, leave * ratio / (1 - ratio))
        self._bad = self._rng.random() < chance
        return self._bad


class Histogram:
    """Durations in bins of 0.1 ms: bounded memory however long the link lives."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._count = 0

    def add(self, duration_s: float) -> None:
        """Count one duration."""
        self._bins[round(duration_s * 10_000)] += 1
        self._count += 1

    def percentiles_ms(self) -> dict[str, float]:
        """Return p50, p90, p99 and max in milliseconds; empty when nothing was counted."""
        if not self._count:
            return {}
        ordered = sorted(self._bins.items())
        answer = {}
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
            seen = 0
            for value, count in ordered:
                seen += count
                if seen >= share * self._count:
                    answer[name] = value / 10
                    break
        return answer


class Tally:
    """What one direction really carried, lost and delayed."""

    def __init__(self) -> None:
        self.offered_packets = 0
        self.offered_bytes = 0
        self.delivered_packets = 0
        self.delivered_bytes = 0
        self.lost_packets: Counter[DropCause] = Counter()
        self.queue_delay = Histogram()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a report or a log line."""
        offered = self.offered_packets
        sent = offered - self.lost_packets[DropCause.QUEUE]
        lost = {cause.value: self.lost_packets[cause] for cause in DropCause}
        air = self.lost_packets[DropCause.RANDOM] + self.lost_packets[DropCause.BURST]
        return {
            "offered_packets": offered,
            "offered_bytes": self.offered_bytes,
            "delivered_packets": self.delivered_packets,
            "delivered_bytes": self.delivered_bytes,
            "lost_packets": lost,
            "air_loss_ratio": air / sent if sent else 0.0,
            "queue_loss_ratio": lost["queue"] / offered if offered else 0.0,
            "queue_delay_ms": self.queue_delay.percentiles_ms(),
        }


@dataclass(slots=True)
class _Waiting:
    """A packet in the queue."""

    payload: bytes
    size_bytes: int
    offered_at_s: float


class LinkModel:
    """One direction of a link.

    Offer packets with `offer`, collect what has arrived with `poll`, and ask `next_at_s` when to
    come back. `poll` must be called at or after that time, with times that never decrease.
    """

    def __init__(self, parameters: LinkParameters, seed: str | int = 0) -> None:
        """Start an empty link at time 0. Equal seeds and equal offers give equal results."""
        self.parameters = parameters
        self.tally = Tally()
        self._loss_rng = random.Random(f"{seed}/loss")
        self._jitter_rng = random.Random(f"{seed}/jitter")
        self._time_bursts = _TimeBursts(random.Random(f"{seed}/time-bursts"))
        self._packet_bursts = _PacketBursts(random.Random(f"{seed}/packet-bursts"))
        self._queue: deque[_Waiting] = deque()
        self._queued_bits = 0.0  # without what has been sent of the head
        self._sent_until_s = 0.0  # up to here the transmitter's work is accounted for
        self._head_left_bits = 0.0
        self._flying: list[tuple[float, int, bytes, int]] = []
        self._flown = 0
        self._last_delivery_s = 0.0
        self._dark_from_s = math.inf
        self._dark_until_s = -math.inf

    def offer(
        self, now_s: float, payload: bytes, size_bytes: int | None = None
    ) -> DropCause | None:
        """Hand a packet to the link; return why it was refused, or None when it was queued.

        Losses in the air are not known yet at this moment: they show in `tally` when the packet
        has been sent. `size_bytes` overrides the payload's own length.
        """
        size = len(payload) if size_bytes is None else size_bytes
        self._send_until(now_s)
        self.tally.offered_packets += 1
        self.tally.offered_bytes += size
        if self._dark(now_s):
            return self._lose(DropCause.BLACKOUT)
        if (self.parameters.udp_blocked or self.parameters.tcp_ports_only) and not passes(
            self.parameters, payload
        ):
            return self._lose(DropCause.FIREWALL)
        # As tc's bfifo: what waits plus this packet must fit. But an idle transmitter takes one
        # packet of any size, else a short queue at a low rate would never pass a full one.
        limit_bits = self.parameters.queue_ms * self.parameters.rate_bps / 1000
        if self._queue and self._queued_bits + size * 8 > limit_bits + 1e-6:
            return self._lose(DropCause.QUEUE)
        if not self._queue:
            self._head_left_bits = size * 8
            self._sent_until_s = now_s
        self._queue.append(_Waiting(payload, size, now_s))
        self._queued_bits += size * 8
        return None

    def poll(self, now_s: float) -> list[bytes]:
        """Return the packets that have arrived at the far end by `now_s`, in order of arrival."""
        self._send_until(now_s)
        arrived = []
        while self._flying and self._flying[0][0] <= now_s:
            _, _, payload, size = heapq.heappop(self._flying)
            arrived.append(payload)
            self.tally.delivered_packets += 1
            self.tally.delivered_bytes += size
        return arrived

    def next_at_s(self) -> float:
        """Return when something will happen next: an arrival or the end of sending, or infinity."""
        at_s = self._flying[0][0] if self._flying else math.inf
        if self._queue and self.parameters.rate_bps:
            at_s = min(at_s, self._sent_until_s + self._head_left_bits / self.parameters.rate_bps)
        return at_s

    def in_transit(self) -> int:
        """Return how many packets wait, are being sent or are in the air."""
        return len(self._queue) + len(self._flying)

    def change(self, now_s: float, **changes: Any) -> None:
        """Change parameters from now on; raises ValueError and changes nothing if one is wrong.

        A packet that is being sent goes on at the new rate. What the queue holds beyond its bound
        at a lower rate is dropped from its tail, so that `queue_ms` holds at every moment.
        """
        parameters = self.parameters.changed(**changes)
        self._send_until(now_s)
        self.parameters = parameters
        if not parameters.rate_bps:  # a stalled link keeps what it has
            return
        limit_bits = parameters.queue_ms * parameters.rate_bps / 1000
        while len(self._queue) > 1 and self._queued_bits > limit_bits + 1e-6:
            self._queued_bits -= self._queue.pop().size_bytes * 8
            self._lose(DropCause.QUEUE)

    def blackout(self, now_s: float, duration_s: float) -> None:
        """Lose everything that is offered, or whose sending ends, in the next `duration_s`.

        What is already in the air arrives. 0 ends a blackout that is going on.
        """
        self._send_until(now_s)
        self._dark_from_s = now_s
        self._dark_until_s = now_s + duration_s

    def queue_delay_s(self, now_s: float) -> float:
        """Return how long a packet offered now would wait before it is sent."""
        self._send_until(now_s)
        if not self._queue:
            return 0.0
        rate_bps = self.parameters.rate_bps
        return self._queued_bits / rate_bps if rate_bps else math.inf

    def _dark(self, at_s: float) -> bool:
        return self._dark_from_s <= at_s < self._dark_until_s

    def _lose(self, cause: DropCause) -> DropCause:
        self.tally.lost_packets[cause] += 1
        return cause

    def _send_until(self, now_s: float) -> None:
        """Account for the transmitter's work up to `now_s`."""
        rate_bps = self.parameters.rate_bps
        queue = self._queue
        while queue and rate_bps:
            end_s = self._sent_until_s + self._head_left_bits / rate_bps
            if end_s > now_s:
                sent_bits = max(0.0, now_s - self._sent_until_s) * rate_bps
                self._head_left_bits -= sent_bits
                self._queued_bits -= sent_bits
                break
            head = queue.popleft()
            self._queued_bits = self._queued_bits - self._head_left_bits if queue else 0.0
            self._sent_until_s = end_s
            if queue:
                self._head_left_bits = queue[0].size_bytes * 8
            self._fly(head, end_s)
        self._sent_until_s = max(self._sent_until_s, now_s)

    def _fly(self, packet: _Waiting, sent_at_s: float) -> None:
        """Lose a packet that was just sent, or put it into the air."""
        p = self.parameters
        waited_s = sent_at_s - packet.offered_at_s
        if p.rate_bps:
            waited_s -= packet.size_bytes * 8 / p.rate_bps
        self.tally.queue_delay.add(max(0.0, waited_s))
        # Every draw is made for every packet: one cause must not shift the others' sequences.
        random_loss = self._loss_rng.random() < p.loss_ratio
        jitter_ms = self._jitter_rng.uniform(-p.jitter_ms, p.jitter_ms)
        time_burst = self._time_bursts.lost(sent_at_s, p)
        packet_burst = self._packet_bursts.lost(p)
        if self._dark(sent_at_s):
            self._lose(DropCause.BLACKOUT)
        elif time_burst or packet_burst:
            self._lose(DropCause.BURST)
        elif random_loss:
            self._lose(DropCause.RANDOM)
        else:
            at_s = sent_at_s + max(0.0, p.delay_ms + jitter_ms) / 1000
            if not p.reordering:
                at_s = max(at_s, self._last_delivery_s)
            self._last_delivery_s = at_s
            self._flown += 1
            heapq.heappush(self._flying, (at_s, self._flown, packet.payload, packet.size_bytes))
