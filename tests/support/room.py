# SPDX-License-Identifier: Apache-2.0
"""A room with legs of paper, in virtual time: packets in, packets out."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from media.core import rtcp, rtcp_write
from media.core.extensions import ABS_SEND_TIME, TRANSPORT_CC, ExtensionMap
from media.core.limits import START_BPS, Limits
from media.core.rtp import RtpPacket, parse
from media.relay.description import (
    EXTENSION_IDS,
    Answer,
    AudioOffer,
    MediaAnswer,
    Offer,
    VideoOffer,
)
from media.relay.room import Room
from tests.support.rtp_packets import element, extension_block, rtp, vp8, vp9

OPUS, RED, VP8, VP8_RTX, VP9, VP9_RTX = 111, 63, 96, 97, 98, 99


class PaperLeg:
    """What a room needs of a leg."""

    def __init__(self) -> None:
        self.timing = SimpleNamespace(dtls_s=0.2)
        self.on_rtp: Any = None
        self.on_rtcp: Any = None
        self.sent: list[bytes] = []
        self.reports: list[bytes] = []

    def send_rtp(self, packet: bytes, weight: int) -> bool:
        self.sent.append(packet)
        return True

    def send_rtcp(self, packet: bytes) -> bool:
        self.reports.append(packet)
        return True


@dataclass
class Person:
    """A participant with one leg, as its browser would be."""

    house: House
    name: str
    leg_id: str
    offer: Offer
    answer: Answer
    leg: PaperLeg = field(default_factory=PaperLeg)
    voice_number: int = 1_000
    picture_number: int = 60_000
    picture_id: int = 0

    @property
    def ssrcs(self) -> tuple[int, int, int]:
        return self.answer.audio.ssrcs[0], *self.answer.video.ssrcs  # type: ignore[return-value]

    def sit(self) -> Person:
        room = self.house.room
        room.seat(self.leg_id, self.leg, self.offer, "patient", self.name)  # type: ignore[arg-type]
        room.answer(self.leg_id, self.answer)
        return self

    def _extension(self) -> bytes:
        ticks = int(self.house.now * 262_144) & 0xFFFFFF
        return extension_block(element(EXTENSION_IDS[ABS_SEND_TIME], ticks.to_bytes(3, "big")))

    def talk(self, payload: bytes = b"voice of a person", *, lost: bool = False) -> bytes:
        """Send 20 ms of voice, on the clock."""
        self.voice_number += 1
        data = rtp(
            self.voice_number, timestamp=int(self.house.now * 48_000), ssrc=self.ssrcs[0],
            payload_type=OPUS, payload=payload, extension=self._extension(),
        )  # fmt: skip
        if not lost:
            self.send(data)
        return data

    def show(
        self, *, key: bool = False, size: int = 300, lost: bool = False, codec: int = VP8
    ) -> bytes:
        """Send a picture of one packet, on the clock."""
        self.picture_number += 1
        self.picture_id += 1
        data = rtp(
            self.picture_number, timestamp=int(self.house.now * 90_000), ssrc=self.ssrcs[1],
            payload_type=codec, marker=True, extension=self._extension(),
            payload=(vp8 if codec == VP8 else vp9)(self.picture_id & 0x7FFF, key=key, body=bytes(size)),
        )  # fmt: skip
        if not lost:
            self.send(data)
        return data

    def send(self, data: bytes) -> None:
        self.leg.on_rtp(self.leg, data, self.house.now)

    def send_rtcp(self, data: bytes) -> None:
        self.leg.on_rtcp(self.leg, data, self.house.now)

    def heard(self) -> list[RtpPacket]:
        """Take all voice that came to this leg."""
        return self._take({OPUS, RED})

    def seen(self) -> list[RtpPacket]:
        """Take all pictures that came to this leg."""
        return self._take({VP8, VP9})

    def repeated(self) -> list[RtpPacket]:
        return self._take({VP8_RTX, VP9_RTX})

    def _take(self, types: set[int]) -> list[RtpPacket]:
        mine = [data for data in self.leg.sent if data[1] & 0x7F in types]
        self.leg.sent = [data for data in self.leg.sent if data[1] & 0x7F not in types]
        extensions = ExtensionMap(EXTENSION_IDS)
        packets = [parse(data, extensions, self.house.now) for data in mine]
        assert None not in packets
        return packets  # type: ignore[return-value]

    def told(self) -> list[rtcp.RtcpPart]:
        """Take all RTCP that came to this leg."""
        parts = [part for data in self.leg.reports for part in rtcp.parse(data)]
        self.leg.reports.clear()
        return parts

    def report_received(self, sent: int, received: int, *, rtt_s: float = 0.1) -> None:
        """Say as the browser does how much of the picture came (after a sender report did)."""
        block = rtcp.ReportBlock(self.offer.video.ssrc, 0, sent - received, sent, 0, 0, 0)
        self.send_rtcp(rtcp_write.receiver_report(self.ssrcs[1], [block]))


class House:
    """A room, its clock, and what it said."""

    def __init__(self, *, start_bps: float = START_BPS) -> None:
        self.now = 100.0
        self.drops: Counter[Any] = Counter()
        self.limits: list[tuple[str, Limits]] = []
        self.flowing: list[str] = []
        self.room = Room(
            "consult", clock=lambda: self.now, drops=self.drops,
            on_limits=lambda leg, limits: self.limits.append((leg, limits)),
            on_flowing=self.flowing.append, start_bps=start_bps,
        )  # fmt: skip
        self._legs = 0

    def person(
        self, name: str, *, transport_cc: bool = False, red: bool = True, pictures: tuple[int, ...] = (VP8, VP8_RTX)
    ) -> Person:  # fmt: skip
        """Make a participant's next leg; it has no seat yet."""
        self._legs += 1
        base = self._legs * 0x1000
        offer = Offer(
            ice=["u:p"], fingerprint="f", candidates=[], audio=AudioOffer(ssrc=base + 1),
            video=VideoOffer(ssrc=base + 2, rtx_ssrc=base + 3), extensions=[], transport_cc=transport_cc,
        )  # fmt: skip
        ids = sorted(
            number for uri, number in EXTENSION_IDS.items() if transport_cc or uri != TRANSPORT_CC
        )
        answer = Answer(
            ice="u:p", fingerprints=["f"], setup="passive",
            audio=MediaAnswer(
                payload_types=[OPUS, RED] if red else [OPUS], ssrcs=[base + 0x11], extensions=ids, direction="sendrecv"
            ),
            video=MediaAnswer(
                payload_types=list(pictures), ssrcs=[base + 0x12, base + 0x13], extensions=ids, direction="sendrecv"
            ),
        )  # fmt: skip
        return Person(self, name, f"leg{self._legs}", offer, answer)

    def call(self, **options: bool) -> tuple[Person, Person]:
        """Return two who see and hear each other."""
        one, other = self.person("ana", **options).sit(), self.person("ben", **options).sit()
        self.room.forward({"ana", "ben"})
        return one, other

    def pass_time(self, seconds: float) -> None:
        """Tick."""
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            self.room.tick(self.now)


def continuous(packets: list[RtpPacket]) -> bool:
    """Tell whether each packet's number follows on the one before."""
    numbers = [packet.sequence_number for packet in packets]
    return all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(numbers))
