# SPDX-License-Identifier: Apache-2.0
"""A source is one stream that comes from a leg; a sink is one that goes to a leg. A source feeds its sinks.

Here is the path of every forwarded packet: no queue, no task, nothing awaited.
"""

from __future__ import annotations

import enum
import math
import secrets
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from media.core.bursts import BurstMeter
from media.core.cache import PacketCache
from media.core.descriptor import VideoCodec
from media.core.extensions import NO_EXTENSIONS, ExtensionWriter
from media.core.hold import VOICE_SHORT_RTT_S
from media.core.in_air import InAir
from media.core.inbound import InboundStream
from media.core.outbound import OutboundVideo, OutboundVoice
from media.core.red import RedWriter
from media.core.redundancy import Hearing, Span, distances
from media.core.rewrite import Rewriter
from media.core.rtp import SCRATCH_BYTES
from media.core.rtx import RtxWriter
from media.core.rungs import HEADER_BYTES
from media.relay.description import MID_AUDIO, MID_VIDEO, PAYLOAD_TYPES
from media.relay.path import Weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from media.core.rtp import RtpPacket
    from media.relay.seat import Seat

OPUS: Final = PAYLOAD_TYPES["opus"]
RED: Final = PAYLOAD_TYPES["red"]
CODECS: Final = {PAYLOAD_TYPES[codec.value]: codec for codec in VideoCodec}
APT: Final = {
    PAYLOAD_TYPES[f"{codec.value}/rtx"]: PAYLOAD_TYPES[codec.value] for codec in VideoCodec
}
"""Payload type of a retransmission to that of what it repeats (RFC 4588 §8.1)."""
VOICE_TYPES: Final = frozenset({OPUS, RED})
VOICE_HZ: Final = 48_000
VOICE_BPS: Final = 200_000
"""Voice that a leg may send, on the wire. Opus at most at 32 kbit/s (rung `open`, and Chromium's own choice) in frames of 10 ms,
each with two copies, is 161 kbit/s (`media.core.rungs.voice_wire_bps`); with one, and half as much again for a while, 158."""
VOICE_BURST_S: Final = 4.0
"""Of that, what may come at once: links that stall deliver queues of up to 4 s."""
PICTURE_HZ: Final = 90_000

OUTAGE_S: Final = 0.7
"""A stream that was silent for so long was cut off: what it lost meanwhile is not asked for. The same
as the page's own watch; DTX sends every 400 ms."""
ASK_S: Final = 3.0
"""After an outage the key frame is asked for so long before the picture itself comes: a browser sends its voice first,
and what it had queued of the picture a second later (measured)."""
REPEAT_S: Final = 0.1
"""A request for a key frame goes twice: 60 octets, where a lost one costs two round trips. Chromium makes one key frame of
requests that come within 300 ms."""
REPAIR_ROUND_TRIPS: Final = 2.0
FEEDBACK_S: Final = 0.3
"""A key frame that was sent, lacks something and is repaired, takes so long until it shows."""
LIVE_S: Final = 2.0
"""A source that was heard within this is sending."""

MAX_RUN: Final = 50
"""Lost frames in a row that may be a burst: 1 s of the shortest."""

_scratch = bytearray(SCRATCH_BYTES)
"""Where packets are written before they are encrypted: one is enough for a process that has one thread."""


class Kind(enum.Enum):
    """What a stream carries."""

    VOICE = "voice"
    PICTURE = "picture"


class Source:
    """One stream of a leg: repaired, in order, handed to its sinks."""

    __slots__ = (
        "_copies", "_last_number", "_last_timestamp", "_repeat_at", "bursts", "frame_ticks", "heard_at", "kind", "outages", "repairs",
        "report", "seat", "sinks", "span", "ssrc", "stream",
    )  # fmt: skip

    report: tuple[int, int, float] | None
    """Of the last sender report: NTP, RTP timestamp, when it came."""
    frame_ticks: int
    """Timestamp distance of two packets that follow each other."""
    bursts: BurstMeter
    """What a voice has lost on its way here."""
    span: Span
    """How far back its sender's copies are to be."""
    outages: int

    def __init__(self, seat: Seat, kind: Kind, ssrc: int, now: float) -> None:
        voice = kind is Kind.VOICE
        self.seat = seat
        self.kind = kind
        self.ssrc = ssrc
        self.stream = InboundStream(
            ssrc,
            VOICE_HZ if voice else PICTURE_HZ,
            rtt_s=seat.rtt.smoothed_s,
            codecs=None if voice else CODECS,
            red_type=RED if voice else -1,
        )
        self.repairs = not voice or seat.offer.audio.nack
        """Whether the sender repeats what is asked for."""
        self.sinks: list[VoiceSink] | list[PictureSink] = []
        self.heard_at = now
        self.report = None
        self.bursts = BurstMeter()
        self.span = Span()
        self.outages = 0
        self._copies = 0
        self.frame_ticks = 0
        self._last_number = -2
        self._repeat_at = math.inf
        self._last_timestamp = 0
        self.measured_rtt(seat.rtt.smoothed_s)

    def measured_rtt(self, rtt_s: float) -> None:
        """Bound the hold: nobody waits for a repetition that was not asked for, or for what may come after its turn."""
        waits = self.repairs or not all(sink.takes_late for sink in self.sinks)
        self.stream.set_rtt(
            rtt_s if self.repairs else max(rtt_s, 2 * VOICE_SHORT_RTT_S), waits=waits
        )

    def receive(self, packet: RtpPacket, now: float) -> bool:
        """Take a packet and forward what is due (hot path); return whether its predecessor is missing."""
        if now - self.heard_at > OUTAGE_S:
            self.outages += 1
            self.stream.resume(packet.sequence_number)
            self.seat.returned(now, lost=packet.sequence_number != (self._last_number + 1) & 0xFFFF)
        self.heard_at = now
        number, last = packet.sequence_number, self._last_number
        after_loss = number != (last + 1) & 0xFFFF
        if not after_loss:
            self.frame_ticks = (packet.timestamp - self._last_timestamp) & 0xFFFFFFFF
        elif self.kind is Kind.VOICE and last >= 0:
            self._lost(
                number - last - 1 & 0xFFFF, packet.timestamp - self._last_timestamp & 0xFFFFFFFF
            )
        self._last_number = number
        self._last_timestamp = packet.timestamp
        packets = self.stream.receive(packet, now)
        if self.stream.late:
            self._forward_late()
        self.forward(packets, now)
        return after_loss and last >= 0

    def spread(self, loss_ratio: float, now: float) -> float:
        """Return how far behind its frames a sender's copies are to be, seconds; 0: one frame, as browsers do."""
        if not self.frame_ticks:
            return 0.0
        return self.span.choose(self.bursts.reach_s, loss_ratio, self.frame_ticks / VOICE_HZ, now)

    @property
    def far_s(self) -> float:
        """How far behind its frames a sender's copies are, where that is more than one."""
        far = self.stream.far_ticks
        return far / VOICE_HZ if far > 1.5 * self.frame_ticks else 0.0

    def _lost(self, count: int, ticks: int) -> None:
        """Note a run of lost frames by what came before and after it."""
        if 0 < count < MAX_RUN:
            frame_s = ticks / (count + 1) / VOICE_HZ
            self.bursts.run([place * frame_s for place in range(1, count + 1)])

    def _forward_late(self) -> None:
        """Let frames that came after their turn travel with the next packet of whoever listens."""
        for packet in self.stream.late:
            for sink in self.sinks:
                sink.take_late(packet)
        self.stream.late.clear()

    def copies_bytes(self) -> int:
        """Return what the headers cost of frames that came as copies and go out as packets; since it was asked last."""
        copies, self._copies = self.stream.recovered - self._copies, self.stream.recovered
        return copies * HEADER_BYTES

    def gap_before(self, packet: RtpPacket) -> int:
        """Return how many packets of this stream are missing between the newest and this one."""
        gap = packet.sequence_number - self._last_number - 1 & 0xFFFF
        return gap if self._last_number >= 0 and gap < 0x8000 else 0

    def forward(self, packets: Sequence[RtpPacket], now: float) -> None:
        """Hand packets to whoever watches."""
        if not packets:
            self.seat.room.busy = True
            return
        for packet in packets:
            for sink in self.sinks:
                sink.forward(packet, now)

    def poll(self, now: float) -> None:
        """Give up what has waited too long; ask the sender for what is missing."""
        stream, seat = self.stream, self.seat
        if self.repairs and now - self.heard_at < LIVE_S:
            packets, numbers, key_frame = stream.poll(now, seat.rtt.smoothed_s, seat.up_budget)
            if numbers or key_frame:
                self._ask(numbers, now, key_frame=key_frame)
        else:
            packets = stream.hold.expire(now)
            stream.nacks.settle(1 << 62)
            asks = self.repairs and now - seat.returned_at < ASK_S
            if asks and stream.key_frames.due(now, seat.rtt.smoothed_s, seat.up_budget):
                self._ask((), now, key_frame=True)
        if now >= self._repeat_at:
            self._repeat_at = math.inf
            if stream.key_frames.wanted:
                seat.ask(self.ssrc, (), key_frame=True)
        if packets:
            self.forward(packets, now)

    def _ask(self, numbers: Sequence[int], now: float, *, key_frame: bool) -> None:
        if key_frame:
            self._repeat_at = now + REPEAT_S
        self.seat.ask(self.ssrc, numbers, key_frame=key_frame)

    def want_key_frame(self, now: float, rtt_s: float = 0.0) -> None:
        """Note that somebody can't go on without a key frame."""
        if self.kind is Kind.PICTURE:
            self.stream.key_frames.want(now, rtt_s)
            self.seat.room.busy = True

    def asked_for_key_frame(self, now: float, rtt_s: float) -> None:
        """Take a watcher's request; what it lacks may be on its way.

        Browsers ask 0.2 s after the last packet of a key frame that isn't whole, and what is lost of it is repeated within a
        round trip: on thin links that made two key frames of nearly each, a second of the link's rate (in virtual time).
        """
        if len(self.stream.hold) == 0:
            self.want_key_frame(now, REPAIR_ROUND_TRIPS * rtt_s + FEEDBACK_S)


class _Sink:
    """What both kinds have in common: whose it is, and whom it follows."""

    @property
    def takes_late(self) -> bool:
        """Whether it has a use for frames that come after their turn."""
        return False

    def take_late(self, packet: RtpPacket) -> None:
        """Take a frame that came after its turn."""

    __slots__ = ("_mid", "_target", "first_number", "seat", "source")

    seat: Seat
    source: Source | None
    first_number: int
    """Sequence number of its first packet."""

    def __init__(self, seat: Seat, target: Mapping[str, int], mid: bytes) -> None:
        self.seat = seat
        self.source = None
        # Low enough not to wrap before a browser's first report.
        self.first_number = 1 + secrets.randbits(15)
        self._target = target
        self._mid = mid

    def _rewriter(self, ssrc: int, clock_rate: int, payload_types: Sequence[int]) -> Rewriter:
        return Rewriter(
            ssrc,
            clock_rate,
            {each: each for each in payload_types},
            self._extensions(self.seat),
            number=self.first_number,
            timestamp=secrets.randbits(32),
        )

    def _extensions(self, of: Seat) -> ExtensionWriter:
        return ExtensionWriter(of.extensions, self._target, self._mid)


class VoiceSink(_Sink):
    """The voice that a leg hears."""

    __slots__ = ("_frame_bytes", "_hearing", "_red", "_span", "flowing", "out")

    flowing: bool
    """Whether a packet has gone out since forwarding began."""

    def __init__(self, seat: Seat, ssrc: int, target: Mapping[str, int], *, red: bool) -> None:
        super().__init__(seat, target, MID_AUDIO)
        self.flowing = False
        self._red = red
        self._frame_bytes = 60.0
        self._span = Span()
        self._hearing = Hearing()
        self.out = OutboundVoice(
            self._rewriter(ssrc, VOICE_HZ, [OPUS]),
            seat.down_budget,
            RedWriter(),
            RED if red else -1,
        )

    def follow(self, source: Source | None, now: float) -> None:
        """Take this source's packets from now on."""
        if source is not None and source is not self.source:
            self.out.rewriter.follow(self._extensions(source.seat))
        self.source = source

    @property
    @override
    def takes_late(self) -> bool:
        """Only RED has a place for them."""
        return self._red

    @override
    def take_late(self, packet: RtpPacket) -> None:
        """Let it travel with the next packet."""
        self.out.take_late(packet)

    def forward(self, packet: RtpPacket, now: float) -> None:
        """Write, encrypt, send (hot path)."""
        seat = self.seat
        self._frame_bytes += (packet.payload_end - packet.payload_at - self._frame_bytes) * 0.0625
        size = self.out.write(packet, _scratch, now, seat.number)
        if size:
            sent = seat.send(_scratch, size, Weight.VOICE, now)
            if sent and not self.flowing:
                self.flowing = True
                seat.room.flows(seat)

    def protect(
        self, loss_ratio: float, reach_s: float, spare_bps: float, now: float, *, wanted: bool
    ) -> float:
        """Choose the redundancy of this way: the ladder says whether it is needed, and what is left for it.

        Returns:
            For how long its listener must keep the voice at least, seconds; 0: as it likes.
        """
        source = self.source
        if source is None or not source.frame_ticks:
            return 0.0
        frame_s = source.frame_ticks / VOICE_HZ
        voice_bps = self._frame_bytes * 8 / frame_s
        span_s = self._span.choose(reach_s, loss_ratio, frame_s, now)
        self.out.red.distances = far = (
            distances(loss_ratio, frame_s, voice_bps, spare_bps, span_s) if wanted else ()
        )
        return self._hearing.choose(now, span_s if far else 0.0, source.far_s)


class PictureSink(_Sink):
    """The picture that a leg sees."""

    __slots__ = ("_rtx", "_rtx_type", "cache", "codecs", "in_air", "out")

    codecs: tuple[VideoCodec, ...]
    """What the browser has, what it would rather send first."""

    def __init__(
        self,
        seat: Seat,
        ssrc: int,
        rtx_ssrc: int,
        target: Mapping[str, int],
        payload_types: Sequence[int],
    ) -> None:
        super().__init__(seat, target, MID_VIDEO)
        repeats = {codec: rtx for rtx, codec in APT.items() if rtx in payload_types}
        self.codecs = tuple(CODECS[each] for each in payload_types if each in CODECS)
        self.cache = PacketCache()
        self.in_air = InAir()
        self._rtx = RtxWriter(rtx_ssrc, secrets.randbits(15))
        self._rtx_type = next(iter(repeats.values()), -1)
        self.out = OutboundVideo(
            self._rewriter(ssrc, PICTURE_HZ, [each for each in CODECS if each in payload_types]),
            seat.down_budget,
            CODECS,
            self.cache,
            self._rtx,
            repeats,
        )

    def follow(self, source: Source | None, now: float) -> None:
        """Take this source's packets from now on, from a key frame on, which is asked for."""
        if source is not None and source is not self.source:
            self.out.rewriter.follow(self._extensions(source.seat))
            self.source = source
            self.restart(now)
        self.source = source

    def restart(self, now: float) -> None:
        """Begin again with a key frame."""
        self.out.withheld += self.seat.pacer.clear()
        self.out.restart()
        self.cache.clear()
        self.in_air.clear()
        if self.source is not None:
            self.source.want_key_frame(now)

    def forward(self, packet: RtpPacket, now: float) -> None:
        """Pay, and send or let wait (hot path)."""
        seat, out = self.seat, self.out
        if seat.is_dark:
            out.withheld += 1
            return
        if out.admits(packet, now):
            pacer = seat.pacer
            if len(pacer) or not pacer.may(now):
                pacer.wait(packet)
                seat.room.paces = True
            else:
                self._send(packet, now)
        elif out.awaits_key_frame:
            source = self.source
            if source is not None and not source.stream.key_frames.wanted:
                source.want_key_frame(now)

    def _send(self, packet: RtpPacket, now: float) -> None:
        seat = self.seat
        transport = seat.number
        size = self.out.write(packet, _scratch, now, transport)
        if size:
            if seat.down is not None:
                self.in_air.sent(transport, self.out.rewriter.number)
            seat.send(_scratch, size, Weight.PICTURE, now)

    def asked(self, numbers: Sequence[int], now: float) -> None:
        """Answer a browser's request for lost packets, as far as it can be paid."""
        if self.seat.down is not None:
            rtt_s = self.seat.rtt.smoothed_s
            asked = [number for number in numbers if self.in_air.asked(number, rtt_s, now)]
            self.cache.repeats += len(numbers) - len(asked)
            numbers = asked
        self.resend(numbers, now)

    def resend(self, numbers: Sequence[int], now: float) -> None:
        """Send lost packets again, as far as it can be paid."""
        for number in numbers:
            self.seat.pacer.wait_to_repeat(number)
        self.let_out(now)

    def let_out(self, now: float) -> bool:
        """Send what waits and may go; return whether something still waits."""
        seat = self.seat
        pacer = seat.pacer
        while pacer.may(now):
            waiting = pacer.next()
            if waiting is None:
                return False
            if isinstance(waiting, int):
                feeds = seat.down is not None
                rtt_s = 0.0 if feeds else seat.rtt.smoothed_s
                transport = seat.number
                size = self.out.resend(waiting, rtt_s, _scratch, now, transport)
                if size:
                    if feeds:
                        self.in_air.sent_again(transport, waiting, now)
                    seat.send(_scratch, size, Weight.PICTURE, now)
            else:
                self._send(waiting, now)
        seat.room.paces = True
        return True

    @property
    def can_ask(self) -> bool:
        """Whether padding can be sent: beside repetitions, and not before anything that could be repeated."""
        return self._rtx_type >= 0 and self.out.rewriter.packet_count > 0

    def probe(self, size: int, now: float) -> None:
        """Send padding of about this size, to be seen by whoever measures the link."""
        seat, rewriter = self.seat, self.out.rewriter
        if not self.can_ask:
            return
        plan = rewriter.extensions.plan(NO_EXTENSIONS)
        while size > 0:
            written = self._rtx.write_padding(
                self._rtx_type, rewriter.timestamp, plan, _scratch, now, seat.number
            )
            seat.send(_scratch, written, Weight.PICTURE, now)
            size -= written
