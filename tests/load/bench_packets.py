# SPDX-License-Identifier: Apache-2.0
"""What the packet logic costs per forwarded packet, without sockets and encryption.

Run as `python -m tests.load.bench_packets`. Each figure is the best and the median of nine rounds, in
microseconds of process time per packet; on a busy machine only the best one means something.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable

from media.core.budget import Budget
from media.core.cache import PacketCache
from media.core.descriptor import VideoCodec
from media.core.extensions import (
    ABS_SEND_TIME,
    AUDIO_LEVEL,
    MID,
    TRANSPORT_CC,
    ExtensionMap,
    ExtensionWriter,
)
from media.core.inbound import InboundStream
from media.core.outbound import OutboundVideo, OutboundVoice
from media.core.red import RedWriter
from media.core.rewrite import Rewriter
from media.core.rtp import RtpPacket, parse
from media.core.rtx import RtxWriter
from media.core.transport_cc import ArrivalLog

ROUNDS = 9
PACKETS = 4_000
UP = {MID: 1, ABS_SEND_TIME: 2, TRANSPORT_CC: 3, AUDIO_LEVEL: 4}
DOWN = {MID: 1, ABS_SEND_TIME: 2, TRANSPORT_CC: 3, AUDIO_LEVEL: 4}


def datagram(number: int, *, video: bool) -> bytes:
    """Return a packet as Chromium sends it: three extensions, VP8 or Opus."""
    extension = b"\x10" + (b"1" if video else b"0") + b"\x22\x01\x02\x03"
    extension += b"\x31" + struct.pack("!H", number & 0xFFFF) + b"\x40\x9e\x00"
    if video:
        first = number % 3 == 0
        payload = bytes((0x90 if first else 0x80, 0x80, 0x80 | number // 3 >> 8 & 0x7F))
        payload += bytes((number // 3 & 0xFF, 0 if number == 0 else 1)) + b"p" * 1_000
        second, timestamp = 0x60 | (0x80 if number % 3 == 2 else 0), number // 3 * 6_000
    else:
        payload, second, timestamp = b"o" * 100, 0x6F, number * 2_880
    head = struct.pack(
        "!BBHIIHH", 0x90, second, number & 0xFFFF, timestamp & 0xFFFFFFFF, 0xABCD, 0xBEDE, 3
    )
    return head + extension + payload


class Way:
    """One stream from one sender to one receiver."""

    def __init__(self, *, video: bool, red: bool = False, transport_cc: bool = True) -> None:
        self.extensions = ExtensionMap(UP)
        self.out = bytearray(2_048)
        self.number = 0
        self.log = ArrivalLog() if transport_cc else None
        self.arrived = 0
        budget = Budget(1e9, 0.0)
        rewriter = Rewriter(
            7, 90_000 if video else 48_000, {96: 96, 111: 111},
            ExtensionWriter(self.extensions, DOWN, b"2"), number=65_000, timestamp=1,
        )  # fmt: skip
        codecs = {96: VideoCodec.VP8}
        self.inbound = InboundStream(
            0xABCD, rewriter.clock_rate, rtt_s=0.5, codecs=codecs if video else None
        )
        self.outbound: OutboundVideo | OutboundVoice
        if video:
            cache = PacketCache()
            self.outbound = OutboundVideo(
                rewriter, budget, codecs, cache, RtxWriter(8, 0), {96: 97}
            )
        else:
            self.outbound = OutboundVoice(
                rewriter, budget, RedWriter((1, 2) if red else ()), 63 if red else -1
            )

    def forward(self, data: bytes, now: float) -> None:
        """Do all that a relay does for a packet beside its socket and its encryption."""
        packet = parse(data, self.extensions, now)
        assert packet is not None
        if self.log is not None:
            number = packet.transport_number
            if number is not None:
                self.log.received(number, now)
                self.arrived += 1
                if self.arrived == 50:
                    self.arrived = 0
                    self.log.write(1, 0xABCD)
        for ready in self.inbound.receive(packet, now):
            outbound = self.outbound
            if isinstance(outbound, OutboundVideo) and not outbound.admits(ready, now):
                continue
            if outbound.write(ready, self.out, now, self.number):
                self.number = (self.number + 1) & 0xFFFF


def measured(run: Callable[[], object], packets: int) -> tuple[float, float]:
    """Return the best and the median of the rounds, in microseconds per packet."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        before = time.process_time()
        run()
        rounds.append((time.process_time() - before) / packets * 1e6)
    return min(rounds), statistics.median(rounds)


def way_cost(*, video: bool, red: bool = False, transport_cc: bool = True) -> tuple[float, float]:
    """Return what a forwarded packet costs on one way."""
    way = Way(video=video, red=red, transport_cc=transport_cc)
    datagrams = [datagram(number, video=video) for number in range(PACKETS * (ROUNDS + 1))]
    spacing = 0.01
    position = 0

    def run() -> None:
        nonlocal position
        now = position * spacing
        forward = way.forward
        for data in datagrams[position : position + PACKETS]:
            now += spacing
            forward(data, now)
        position += PACKETS

    run()
    return measured(run, PACKETS)


def parse_cost() -> tuple[float, float]:
    """Return what reading a header costs."""
    extensions = ExtensionMap(UP)
    data = datagram(1, video=True)

    def run() -> None:
        packet: RtpPacket | None = None
        for _ in range(PACKETS):
            packet = parse(data, extensions, 1.0)
        assert packet is not None

    return measured(run, PACKETS)


ROWS: dict[str, Callable[[], tuple[float, float]]] = {
    "reading the header": parse_cost,
    "voice": lambda: way_cost(video=False),
    "voice, RED one and two back": lambda: way_cost(video=False, red=True),
    "picture": lambda: way_cost(video=True),
    "picture, no transport-cc feedback": lambda: way_cost(video=True, transport_cc=False),
}


def main() -> None:
    """Print the table."""
    print(f"{'microseconds per forwarded packet':36} best  median")
    for name, cost in ROWS.items():
        best, median = cost()
        print(f"{name:36} {best:4.1f} {median:7.1f}")


if __name__ == "__main__":
    main()
