# SPDX-License-Identifier: Apache-2.0
"""A thin, lossy link and a call over it in virtual time: a browser-like sender, the relay's half, a watcher."""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from media.core.budget import OVERHEAD_BYTES, Budget
from media.core.cache import PacketCache
from media.core.descriptor import VideoCodec
from media.core.extensions import ExtensionMap, ExtensionWriter
from media.core.inbound import InboundStream
from media.core.outbound import OutboundVideo
from media.core.rewrite import Rewriter
from media.core.rtp import RtpPacket
from media.core.rtx import RtxWriter, restore
from tests.support.rtp_packets import IDS, VP8, parsed, rtp, vp8

BURSTS = (
    (2.11, 0.09), (0.74, 0.21), (5.03, 0.16), (1.52, 0.31), (3.77, 0.05), (0.46, 0.18), (6.21, 0.27),
    (2.94, 0.12), (1.13, 0.24), (4.32, 0.19), (0.88, 0.08), (3.25, 0.35), (2.57, 0.11), (5.61, 0.22),
    (0.39, 0.14), (1.96, 0.17), (4.87, 0.29), (1.31, 0.06), (2.66, 0.20), (3.48, 0.15),
)  # fmt: skip
"""Seconds of good and bad time in turn: 6 % bad, bursts of 180 ms on average, as measured on such links."""


class Clock:
    """Events in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), call))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, call = heapq.heappop(self._events)
            call()
        self.now = until


class Link:
    """One direction: a rate, a queue that drops its tail, losses in bursts of time, a delay."""

    def __init__(
        self, clock: Clock, *, rate_bps: float, delay_s: float, queue_s: float = 0.6,
        bursts: Sequence[tuple[float, float]] = (), loss_until_s: float = 1e9,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.rate = rate_bps / 8
        self.delay_s = delay_s
        self.queue_s = queue_s
        self.free_at = 0.0
        self.offered = self.dropped = self.lost = 0
        self.sent_bytes = 0
        self._until = loss_until_s
        spans = [(good, bad) for good, bad in bursts]
        self._bad: list[tuple[float, float]] = []
        at = 0.0
        for good, bad in spans * 8:
            self._bad.append((at + good, at + good + bad))
            at += good + bad

    def send(self, size: int, arrive: Callable[[], None]) -> None:
        self.offered += 1
        now = self.clock.now
        waits = max(0.0, self.free_at - now)
        if waits > self.queue_s:
            self.dropped += 1
            return
        self.free_at = now + waits + size / self.rate
        self.sent_bytes += size
        if now < self._until and any(begin <= now < end for begin, end in self._bad):
            self.lost += 1
            return
        self.clock.at(self.free_at + self.delay_s, arrive)


@dataclass
class Sender:
    """Encodes pictures; answers requests at once and without limit, as Chromium does."""

    clock: Clock
    link: Link
    arrive: Callable[[bytes], None]
    fps: float = 4.0
    frame_bytes: int = 400
    key_bytes: int = 1_500
    number: int = 60_000
    picture: int = 0
    key_wanted: bool = True
    key_frames: int = 0
    retransmitted: int = 0
    history: dict[int, bytes] = field(default_factory=dict)

    def start(self, until: float) -> None:
        for tick in range(int(until * self.fps)):
            self.clock.at(tick / self.fps, self.encode)

    def encode(self) -> None:
        key, self.key_wanted = self.key_wanted, False
        size = self.key_bytes if key else self.frame_bytes
        self.key_frames += key
        pieces = -(-size // 1_100)
        for piece in range(pieces):
            body = struct.pack("!II", self.picture, piece) + bytes(size // pieces)
            payload = vp8(self.picture & 0x7FFF, start=piece == 0, key=key, body=body)
            self.number += 1
            data = rtp(
                self.number,
                timestamp=self.picture * 22_500,
                marker=piece == pieces - 1,
                payload=payload,
            )
            self.history[self.number & 0xFFFF] = data
            self._send(data)
        self.picture += 1

    def request(self, numbers: Sequence[int], *, key: bool) -> None:
        for number in numbers:
            data = self.history.get(number)
            if data is not None:
                self.retransmitted += 1
                payload = struct.pack("!H", number) + data[12:]
                self._send(rtp(self.retransmitted, ssrc=0xABCE, payload_type=97, marker=bool(data[1] & 128),
                               timestamp=struct.unpack("!I", data[4:8])[0], payload=payload))  # fmt: skip
        self.key_wanted |= key

    def _send(self, data: bytes) -> None:
        self.link.send(len(data) + OVERHEAD_BYTES, lambda: self.arrive(data))


@dataclass
class Shown:
    """A packet that the watcher got."""

    at: float
    number: int
    timestamp: int
    picture: int
    piece: int
    key: bool
    marker: bool


class Watcher:
    """Reads what the relay sends; asks again for what is missing every 20 ms, without limit."""

    def __init__(self) -> None:
        self.got: dict[int, Shown] = {}
        self.order: list[Shown] = []
        self.highest = -1
        self.duplicates = 0

    def receive(self, packet: RtpPacket, now: float) -> None:
        if packet.payload_type == 102 and not restore(packet, 0x77, 101):
            return
        number = packet.sequence_number
        if number in self.got:
            self.duplicates += 1
            return
        body = packet.payload
        picture, piece = struct.unpack("!II", body[5:13])
        shown = Shown(
            now, number, packet.timestamp, picture, piece, not body[4] & 1, bool(packet.marker)
        )
        self.got[number] = shown
        self.order.append(shown)
        self.highest = max(self.highest, number)

    def missing(self) -> list[int]:
        first = min(self.got, default=0)
        return [n for n in range(first, self.highest) if n not in self.got]

    def pictures(self) -> list[tuple[int, float]]:
        """Return the pictures that can be decoded, and when each was whole."""
        shown: list[tuple[int, float]] = []
        last = -1
        whole: list[Shown] = []
        latest = 0.0
        for packet in sorted(self.got.values(), key=lambda packet: packet.number):
            if whole and (
                packet.number != whole[-1].number + 1 or packet.picture != whole[-1].picture
            ):
                whole = []
            if not whole and packet.piece:
                continue
            whole.append(packet)
            latest = max(latest, packet.at)
            if packet.marker:
                if whole[0].key or packet.picture == last + 1:
                    last = packet.picture
                    shown.append((last, latest))
                whole = []
        return shown


class Call:
    """Sender, up-link, relay, down-link, watcher."""

    def __init__(
        self, *, up: Link, back: Link, down: Link, clock: Clock, up_bps: float, down_bps: float,
        rtt_s: float, **sender: float,
    ) -> None:  # fmt: skip
        self.clock, self.up, self.back, self.down = clock, up, back, down
        self.rtt_s = rtt_s
        self.extensions = ExtensionMap(IDS)
        self.up_budget, self.down_budget = Budget(up_bps, 0.0), Budget(down_bps, 0.0)
        self.sender = Sender(clock, up, self._arrived, **sender)  # type: ignore[arg-type]
        codecs = {VP8: VideoCodec.VP8}
        self.inbound = InboundStream(0xABCD, 90_000, rtt_s=rtt_s, codecs=codecs)
        rewriter = Rewriter(
            0x77, 90_000, {VP8: 101}, ExtensionWriter(self.extensions, {}), number=10, timestamp=7
        )
        self.cache = PacketCache()
        self.outbound = OutboundVideo(
            rewriter, self.down_budget, codecs, self.cache, RtxWriter(0x88, 0), {VP8: 102}
        )
        self.watcher = Watcher()
        self.out = bytearray(2_048)
        self.asked: list[int] = []
        self.asked_for_key_frames: list[float] = []
        self.most_held = 0
        self.forwarded: list[RtpPacket] = []
        self.resent_bytes = 0

    def run(self, seconds: float) -> None:
        self.sender.start(seconds)
        for tick in range(int(seconds * 100)):
            self.clock.at(tick / 100, self._poll)
            if tick % 2 == 0:
                self.clock.at(tick / 100, self._watch)
        self.clock.run(seconds)

    def _arrived(self, data: bytes) -> None:
        now = self.clock.now
        packet = parsed(data, now, self.extensions)
        if packet.payload_type == 97:
            self._forward(self.inbound.receive_rtx(packet, VP8, now))
        else:
            self.up_budget.video(len(data) + OVERHEAD_BYTES, now)
            self._forward(self.inbound.receive(packet, now))

    def _forward(self, packets: Sequence[RtpPacket]) -> None:
        now = self.clock.now
        self.most_held = max(self.most_held, len(self.inbound.hold))
        for packet in packets:
            self.forwarded.append(packet)
            if self.outbound.admits(packet, now):
                self._deliver(self.outbound.write(packet, self.out, now))

    def _deliver(self, size: int) -> None:
        if size:
            data = bytes(self.out[:size])
            self.down.send(
                size + OVERHEAD_BYTES,
                lambda: self.watcher.receive(parsed(data), self.clock.now),
            )

    def _poll(self) -> None:
        now = self.clock.now
        if self.outbound.awaits_key_frame and self.forwarded:
            self.inbound.key_frames.want(now)
        poll = self.inbound.poll(now, self.rtt_s, self.up_budget)
        self._forward(poll.packets)
        if poll.numbers:
            self.asked += poll.numbers
            numbers = poll.numbers
            self.back.send(60, lambda: self.sender.request(numbers, key=False))
        if poll.key_frame:
            self.asked_for_key_frames.append(now)
            self.back.send(60, lambda: self.sender.request((), key=True))

    def _watch(self) -> None:
        """Let the watcher's requests reach the relay; its own way back is not the subject."""
        for number in self.watcher.missing()[-50:]:
            size = self.outbound.resend(number, self.rtt_s, self.out, self.clock.now)
            self.resent_bytes += size + OVERHEAD_BYTES if size else 0
            self._deliver(size)


def call(
    *, up_bps: float = 48_000, down_bps: float = 1e7, bursts: Sequence[tuple[float, float]] = BURSTS,
    down_bursts: Sequence[tuple[float, float]] = (), **sender: float,
) -> Call:  # fmt: skip
    """Return a call over 500 ms of round trip whose up-link loses in bursts."""
    clock = Clock()
    return Call(
        clock=clock, rtt_s=0.5, up_bps=up_bps, down_bps=down_bps,
        up=Link(clock, rate_bps=up_bps, delay_s=0.25, bursts=bursts),
        back=Link(clock, rate_bps=64_000, delay_s=0.25, bursts=bursts[3:]),
        down=Link(clock, rate_bps=down_bps, delay_s=0.25, bursts=down_bursts), **sender,
    )  # fmt: skip
