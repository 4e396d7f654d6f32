# SPDX-License-Identifier: Apache-2.0
"""Two browser-like people in a room over emulated links, in virtual time: they obey limits, answer NACKs and PLIs."""

from __future__ import annotations

import heapq
import itertools
import random
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from media.core import rtcp, rtcp_write
from media.core.budget import OVERHEAD_BYTES
from media.core.descriptor import Frame, VideoCodec, describe
from media.core.limits import Limits
from media.core.reports import round_trip_s
from media.core.rtp import RtpPacket
from media.core.rtx import restore
from media.core.transport_cc import ArrivalLog
from tests.link.model import LinkModel
from tests.link.profiles import PROFILES
from tests.support.room import OPUS, RED, VP8, VP8_RTX, House, Person
from tests.support.rtp_packets import element, extension_block, parsed, rtp, vp8

PACKET_BYTES = 1_100
NACK_EVERY_S = 0.02
NACK_TIMES = 10
"""For one packet, in Chromium."""
KEY_BYTES = 1_400
UPPER_SHARE = 0.8
"""Of a mean frame's size, what one of the upper of two layers takes: 40 % of the rate, in Chromium."""
KEY_SPACING_S = 0.3
"""Between two key frames that are asked for, in Chromium."""
KEY_WAIT_S = 0.2
"""A browser asks for a key frame when none of one has come for so long."""
RED_HEAD = struct.Struct("!I")


@dataclass
class Shown:
    """A picture that could be decoded."""

    at: float
    picture: int
    key: bool


class Eye:
    """A receiver of pictures, as Chromium is one: whole frames, shown as soon as what they need was shown."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.missing: dict[int, float] = {}
        self.stuck_since: float | None = None
        self._next = -1
        """All packets before it are of frames that were shown, or not worth showing any more."""
        self._held: dict[int, tuple[RtpPacket, Frame]] = {}
        self._base = self._upper = -1
        """Number of the last base frame that was shown; picture of the last one of the upper layer."""
        self._broken = True
        self.highest = -1
        self.received = 0
        self.key_at = -9.0
        """When something of a key frame came last."""

    def take(self, packet: RtpPacket, now: float) -> None:
        number = packet.sequence_number
        self.received += 1
        if self._next < 0:
            self._next = self.highest = number
        ahead = ((number - self._next + 0x8000) & 0xFFFF) - 0x8000
        if ahead < 0:
            return
        index = self._next + ahead
        frame = describe(VideoCodec.VP8, packet)
        assert frame is not None
        if self.received == 1 or frame.key:
            self.key_at = now
        for lost in range(self.highest + 1, index):
            self.missing[lost] = now
        self.highest = max(self.highest, index)
        self.missing.pop(index, None)
        self._held[index] = packet, frame
        while self._show(now):
            pass
        self.stuck_since = (self.stuck_since or now) if self._held else None

    @property
    def waits(self) -> bool:
        """Whether nothing can be shown before a key frame."""
        return self._broken and self.received > 0

    def give_up(self) -> None:
        """Go on behind the gap, with a key frame."""
        self._broken = True
        self._go_on(min(self._held, default=self._next))
        self.stuck_since = None

    def _show(self, now: float) -> bool:
        """Show the first frame that can be; tell whether there was one."""
        for first in sorted(self._held):
            frame = self._held[first][1]
            if not frame.start or not self._decodable(frame):
                continue
            last = first
            while last in self._held and not self._held[last][0].marker:
                last += 1
                if last in self._held and self._held[last][1].start:
                    break  # the end of the frame was lost before the relay
            if last not in self._held or (last > first and self._held[last][1].start):
                continue
            self._base, self._broken = frame.base_index, False
            if frame.temporal or frame.key:
                self._upper = frame.picture_id if frame.temporal else -1
            self.shown.append(Shown(now, frame.picture_id, frame.key))
            self._go_on(last + 1)
            return True
        return False

    def _decodable(self, frame: Frame) -> bool:
        if frame.key or self._broken:
            return frame.key
        bases = (frame.base_index - self._base) & 0xFF
        if frame.temporal:
            return bases == 0 and (frame.sync or self._upper == frame.picture_id - 2)
        return bases == 1

    def _go_on(self, index: int) -> None:
        """Wait for nothing before this."""
        self._next = index
        self._held = {n: each for n, each in self._held.items() if n >= index}
        self.missing = {n: at for n, at in self.missing.items() if n >= index}


@dataclass
class Browser:
    """One person: what a browser does with a room's packets, and what it sends."""

    call: RoomCall
    person: Person
    up: LinkModel
    down: LinkModel
    limits: Limits = field(default_factory=lambda: Limits(video_max_bps=0))
    eye: Eye = field(default_factory=Eye)
    heard: dict[int, float] = field(default_factory=dict)
    """Index of a frame of voice: when it came, by whatever way."""
    key_wanted: bool = True
    key_frames: int = 0
    retransmitted: int = 0
    on: bool = True
    """Whether the camera is."""
    history: dict[int, bytes] = field(default_factory=dict)
    _frames: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=17))
    """Of the voice, the oldest first: timestamp and what was said."""
    _transport: int = 0
    _rtx_number: int = 0
    _nacked: dict[int, tuple[int, float]] = field(default_factory=dict)
    _pli_at: float = -9.0
    _log: ArrivalLog = field(default_factory=ArrivalLog)
    _sr: dict[int, tuple[int, float]] = field(default_factory=dict)
    _counts: dict[int, list[int]] = field(default_factory=dict)
    frames_sent: int = 0
    braked: list[float] = field(default_factory=list)
    """When the page has stopped its picture by itself."""
    _turn: int = 0
    _base: int = -1
    _key_at: float = -9.0
    _reported_at: float = -1.0
    _high: int = 0

    def start(self) -> None:
        later = self.call.later
        for delay, act in (
            (0.0, self.voice),
            (0.03, self.picture),
            (0.5, self.report),
            (0.1, self.watch),
            (0.2, self.brake),
        ):
            later(delay, act)  # fmt: skip
        self.person.leg.send_rtp = lambda data, weight: self._down(data)  # type: ignore[method-assign]
        self.person.leg.send_rtcp = self._down  # type: ignore[method-assign]

    def _down(self, data: bytes) -> bool:
        self.down.offer(self.call.now, data, len(data) + OVERHEAD_BYTES)
        return True

    def _up(self, data: bytes) -> None:
        self.up.offer(self.call.now, data, len(data) + OVERHEAD_BYTES)

    def _extension(self) -> bytes:
        ticks = int(self.call.now * 262_144) & 0xFFFFFF
        elements = [element(2, ticks.to_bytes(3, "big"))]
        if self.person.offer.transport_cc:
            elements.append(element(3, (self._transport & 0xFFFF).to_bytes(2, "big")))
            self._transport += 1
        return extension_block(*elements)

    # -- sending

    def voice(self) -> None:
        limits, person = self.limits, self.person
        ptime_s = limits.ptime_ms / 1000
        self.call.later(ptime_s, self.voice)
        size = max(4, int((limits.audio_max_bps or 32_000) * ptime_s / 8))
        self.frames_sent += 1
        timestamp = int(self.call.now * 48_000 + 0.5) // 480 * 480
        frame = RED_HEAD.pack(self.frames_sent) + bytes(size - 4)
        payload, kind = frame, OPUS
        if limits.red == "first":
            kind = RED
            # As the page does it (signalling/web/js/red_copies.js).
            reach = max(ptime_s, limits.copy_ms / 1_000) * 48_000 + 480
            then, old = next(
                (each for each in self._frames if timestamp - each[0] <= reach), (0, b"")
            )
            head = bytes((OPUS,))
            if old:
                word = (0x80 | OPUS) << 24 | (timestamp - then) << 10 | len(old)
                head = word.to_bytes(4, "big") + head
            payload = head + old + frame
        self._frames.append((timestamp, frame))
        person.voice_number += 1
        self._up(rtp(person.voice_number, timestamp=timestamp, ssrc=person.ssrcs[0], payload_type=kind,
                     payload=payload, extension=self._extension()))  # fmt: skip

    def picture(self) -> None:
        limits, person = self.limits, self.person
        bps, fps = limits.video_max_bps, limits.video_max_fps or 15
        self.call.later(1 / fps, self.picture)
        if not self.on or not bps:
            return
        key, self.key_wanted = self.key_wanted, False
        mean = bps / 8 / fps
        # Two layers, as Chromium makes them of VP8: 0-1-0-1, where every other frame above needs nothing but the base.
        turn = self._turn = 0 if key else (self._turn + 1) % 4
        upper = turn % 2
        self._base += not upper
        share = UPPER_SHARE if upper else 2 - UPPER_SHARE
        size = max(KEY_BYTES, mean * 3) if key else share * mean * self.call.rng.uniform(0.8, 1.2)
        self.key_frames += key
        self._key_at = self.call.now if key else self._key_at
        person.picture_id += 1
        count = int(-(-size // PACKET_BYTES))
        for piece in range(count):
            body = bytes(int(size / count))
            payload = vp8(person.picture_id & 0x7FFF, start=piece == 0, key=key, base=self._base,
                          temporal=upper, sync=turn == 1, body=body)  # fmt: skip
            person.picture_number += 1
            self.call.later(
                piece * len(payload) * 8 / (2.5 * bps),
                lambda payload=payload, number=person.picture_number, last=piece == count - 1: (
                    self._send_picture(payload, number, last)
                ),
            )

    def _send_picture(self, payload: bytes, number: int, last: bool) -> None:
        data = rtp(number, timestamp=int(self.call.now * 90_000), ssrc=self.person.ssrcs[1],
                   payload_type=VP8, marker=last, payload=payload, extension=self._extension())  # fmt: skip
        self.history[number & 0xFFFF] = payload + bytes((last,))
        self._up(data)

    def report(self) -> None:
        self.call.later(1.0, self.report)
        now, person = self.call.now, self.person
        blocks = []
        for ssrc, (first, highest, received) in self._counts.items():
            middle, at = self._sr.get(ssrc, (0, now))
            blocks.append(rtcp.ReportBlock(
                ssrc, 0, highest - first + 1 - received, highest, 0, middle, int((now - at) * 65_536)))  # fmt: skip
        data = b""
        for ssrc, hz in ((person.ssrcs[0], 48_000), (person.ssrcs[1], 90_000)):
            ntp = rtcp.ntp_from_seconds(now + 5_000)
            report = rtcp.SenderReport(ssrc, ntp, int(now * hz) & 0xFFFFFFFF, 0, 0)
            data += rtcp_write.sender_report(report, blocks)
            blocks = []
        self._up(data)

    # -- receiving

    def arrive(self, data: bytes) -> None:
        now = self.call.now
        if rtcp_like(data):
            self._told(data)
            return
        packet = parsed(data, now)
        if packet.transport_number is not None and self.person.offer.transport_cc:
            self._log.received(packet.transport_number, now)
        self._count(packet)
        if packet.payload_type == VP8_RTX:
            if restore(packet, self.person.offer.video.ssrc, VP8):
                self.eye.take(packet, now)
        elif packet.payload_type == VP8:
            self.eye.take(packet, now)
        else:
            self._hear(packet, now)

    def _count(self, packet: RtpPacket) -> None:
        number = packet.sequence_number
        counts = self._counts.setdefault(packet.ssrc, [number, number, 0])
        ahead = ((number - counts[1] + 0x8000) & 0xFFFF) - 0x8000
        counts[1] = max(counts[1], counts[1] + ahead)
        counts[2] += 1

    def _hear(self, packet: RtpPacket, now: float) -> None:
        payload = packet.payload
        blocks = [payload]
        if packet.payload_type == RED:
            lengths = []
            while payload[0] & 0x80:
                lengths.append(int.from_bytes(payload[2:4], "big") & 0x3FF)
                payload = payload[4:]
            payload = payload[1:]
            blocks = []
            for length in lengths:
                blocks.append(payload[:length])
                payload = payload[length:]
            blocks.append(payload)
        for block in blocks:
            self.heard.setdefault(RED_HEAD.unpack_from(block)[0], now)

    def _told(self, data: bytes) -> None:
        for part in rtcp.parse(data):
            if isinstance(part, rtcp.SenderReport | rtcp.ReceiverReport):
                self._reported(part.reports)
            if isinstance(part, rtcp.SenderReport):
                self._sr[part.ssrc] = rtcp.compact_ntp(part.ntp), self.call.now
            elif isinstance(part, rtcp.KeyFrameRequest):
                self.key_wanted = self.key_wanted or self.call.now - self._key_at > KEY_SPACING_S
            elif isinstance(part, rtcp.Nack) and part.media_ssrc == self.person.ssrcs[1]:
                for number in part.numbers:
                    self._repeat(number)

    def _reported(self, blocks: Sequence[rtcp.ReportBlock]) -> None:
        """Take what the relay says of the picture, as webrtc-stats does."""
        now = self.call.now
        for block in blocks:
            if block.ssrc == self.person.ssrcs[1] and (rtt_s := round_trip_s(block, now + 5_000)):
                self._reported_at = now
                brake = self.limits.brake
                self._high = self._high + 1 if brake and rtt_s > brake.round_trip_s else 0

    def brake(self) -> None:
        """Stop the picture as the page does (`js/brake.js`), and say so half a round trip later."""
        brake = self.limits.brake
        self.call.later(brake.poll_s if brake else 0.5, self.brake)
        now = self.call.now
        if brake is None or not self.limits.video_max_bps or self._reported_at < 0:
            self._reported_at, self._high = -1.0, 0
            return
        if now - self._reported_at <= brake.no_report_s and self._high < brake.polls:
            return
        self.braked.append(now - self.call.base)
        self.limits = replace(self.limits, video_max_bps=0)
        delay_s = self.up.parameters.delay_ms / 1000 + self.up.queue_delay_s(now)
        self.call.later(delay_s, lambda: self.call.house.room.braked(self.person.leg_id))

    def _repeat(self, number: int) -> None:
        stored = self.history.get(number)
        if stored is None:
            return
        self.retransmitted += 1
        self._rtx_number += 1
        payload = struct.pack("!H", number) + stored[:-1]
        self._up(rtp(self._rtx_number, timestamp=int(self.call.now * 90_000), ssrc=self.person.ssrcs[2],
                     payload_type=VP8_RTX, marker=bool(stored[-1]), payload=payload,
                     extension=self._extension()))  # fmt: skip

    def watch(self) -> None:
        """Ask for what is missing, again after a round trip; ask for a key frame when stuck."""
        self.call.later(NACK_EVERY_S, self.watch)
        now, eye, ssrc = self.call.now, self.eye, self.person.offer.video.ssrc
        numbers = []
        for number, at in eye.missing.items():
            times, last = self._nacked.get(number, (0, -9.0))
            if now - at > 0.02 and now - last > 0.3 and times < NACK_TIMES:
                self._nacked[number] = times + 1, now
                numbers.append(number & 0xFFFF)
        if numbers:
            self._up(rtcp_write.nack(self.person.ssrcs[1], ssrc, numbers[:100]))
        if eye.stuck_since is not None and now - eye.stuck_since > 2.0:
            eye.give_up()
        if eye.waits and now - self._pli_at > 1.0 and now - eye.key_at > KEY_WAIT_S:
            self._pli_at = now
            self._up(rtcp_write.picture_loss(self.person.ssrcs[1], ssrc))
        if self.person.offer.transport_cc and int(now * 50) % 12 == 0:
            for data in self._log.write(self.person.ssrcs[1], ssrc):
                self._up(data)


def rtcp_like(data: bytes) -> bool:
    """Tell RTCP from RTP (RFC 5761 §4)."""
    return 192 <= data[1] <= 223


class RoomCall:
    """A call of two people, the first one on the named link, the second in the city."""

    def __init__(self, profile: str = "edge", *, seed: int = 1, transport_cc: bool = False, **options: float) -> None:  # fmt: skip
        self.house = House(**options)
        self.rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.limits: list[tuple[float, str, Limits]] = []
        links, city = PROFILES[profile], PROFILES["city"]
        self.island, self.town = (
            Browser(
                self,
                self.house.person(name, transport_cc=transport_cc),
                LinkModel(each.up, f"{seed}/{name}/up"),
                LinkModel(each.down, f"{seed}/{name}/down"),
            )
            for name, each in (("island", links), ("town", city))
        )
        self.people = (self.island, self.town)
        self._told = 0
        self.base = self.house.now
        for browser in self.people:
            rtt_s = (browser.up.parameters.delay_ms + browser.down.parameters.delay_ms) / 1000
            browser.person.leg.timing.dtls_s = 2 * rtt_s
            browser.start()
            browser.person.sit()
        self._tell()
        self.house.room.forward({"island", "town"})
        self.later(0.0, self._tick)

    @property
    def now(self) -> float:
        return self.house.now

    def later(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.house.now + delay, next(self._order), act))

    def _tick(self) -> None:
        self.later(0.01, self._tick)
        self.house.room.tick(self.house.now)
        self._tell()

    def _tell(self) -> None:
        """Bring limits to their pages, half a round trip later."""
        for leg, limits in self.house.limits[self._told :]:
            browser = next(each for each in self.people if each.person.leg_id == leg)
            self.limits.append((self.now - self.base, browser.person.name, limits))
            delay_s = browser.down.parameters.delay_ms / 1000 if browser.limits.audio_max_bps else 0
            self.later(delay_s, lambda b=browser, new=limits: setattr(b, "limits", new))
        self._told = len(self.house.limits)

    def run(self, seconds: float) -> None:
        end = self.house.now + seconds
        links = [(each, link) for each in self.people for link in (each.up, each.down)]
        while True:
            at = min(self._events[0][0], *(link.next_at_s() for _, link in links))
            if at > end:
                break
            self.house.now = at
            for browser, link in links:
                if link.next_at_s() <= at:
                    for data in link.poll(at):
                        self._arrive(browser, link, data)
            while self._events and self._events[0][0] <= at:
                heapq.heappop(self._events)[2]()
        self.house.now = end

    def _arrive(self, browser: Browser, link: LinkModel, data: bytes) -> None:
        if link is browser.down:
            browser.arrive(data)
        elif rtcp_like(data):
            browser.person.send_rtcp(data)
        else:
            browser.person.send(data)


def fps(browser: Browser, since: float, until: float) -> float:
    """Return the pictures per second that were shown."""
    return sum(since <= each.at < until for each in browser.eye.shown) / (until - since)


def frozen_ratio(browser: Browser, since: float, until: float) -> float:
    """Return the share of time in gaps of more than a second between pictures."""
    times = [since, *(each.at for each in browser.eye.shown if since <= each.at < until), until]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return sum(gap for gap in gaps if gap > 1.0) / (until - since)


def good_voice_ratio(listener: Browser, speaker: Browser) -> float:
    """Return the share of the speaker's frames that came by any way."""
    first = min(listener.heard, default=0)
    return len(listener.heard) / max(1, speaker.frames_sent - first + 1)
