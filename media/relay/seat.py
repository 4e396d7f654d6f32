# SPDX-License-Identifier: Apache-2.0
"""A seat is a leg's place in a room: what it sends, what it gets, what is known of its link, its RTCP."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from media.core import rtcp, rtcp_write
from media.core.absent import Absent
from media.core.asking import link_of
from media.core.budget import OVERHEAD_BYTES, Allowance, Budget
from media.core.bwe.downlink import DownlinkEstimator
from media.core.bwe.probe import Probing
from media.core.bwe.reported import ReportedDownlinkEstimator
from media.core.bwe.uplink import UplinkEstimator
from media.core.cache import useful_s
from media.core.direction import Direction
from media.core.extensions import ABS_SEND_TIME, TRANSPORT_CC, ExtensionMap
from media.core.fit import copies_bps
from media.core.pacer import Pacer
from media.core.reports import RoundTrip, round_trip_s
from media.core.rewrite import SenderClock
from media.core.rtp import parse
from media.core.rungs import Rung
from media.core.transport_cc import ArrivalLog, TransportFeedback
from media.relay.description import EXTENSION_IDS
from media.relay.drops import Drop
from media.relay.flow import (
    APT,
    CODECS,
    OPUS,
    OUTAGE_S,
    RED,
    VOICE_BPS,
    VOICE_BURST_S,
    VOICE_TYPES,
    Kind,
    PictureSink,
    Source,
    VoiceSink,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from media.core.bwe.estimate import Estimate
    from media.core.fit import Link, Sending
    from media.core.link_probe import Start
    from media.core.rtp import RtpPacket
    from media.relay.description import Answer, MediaAnswer, Offer
    from media.relay.leg import Leg
    from media.relay.path import Weight
    from media.relay.room import Room

ASSUMED_RTT_S: Final = 0.3
"""Before anything was measured: between a city's and a satellite's."""
CNAME: Final = b"selat"
"""As in the offer: voice and picture of one person belong together (RFC 3550 §6.5.1)."""
RULES_FROM_BPS: Final = 85_000.0
RULES_TO_BPS: Final = 70_000.0
"""Where feedback rules a browser: its own estimate has a floor of 49 kbit/s and a picture's of 30, and below 70 kbit/s it
overfills any link (measured); there limits alone hold it. Without feedback it sinks to about 80 kbit/s (measured), from
where an up-link still proves 100: so the upper one can always be reached."""
FAST_BPS: Final = 200_000.0
"""Where so much comes, feedback is written ten times a second, below it five times: it is of a dozen packets then, and browsers
themselves give 5 % of the rate to it."""
TELL_LOSSES_S: Final = 5.0
"""A browser whose own control decided is told of losses for so long afterwards: until its limits have come, by a link that may be
full, they are what holds it."""
NO_FEEDBACK_S: Final = 5.0
"""A browser that has been sent to for so long and gave no feedback gives none; reports must do."""
DARK_S: Final = 3.0
"""A leg that nothing comes from for so long gets no picture: when its link returned, its browser would ask for hundreds of
packets that are of no use any more (measured: the answers filled the queue, and the picture came after 4 s). A browser that
sees a picture reports every second."""
FORMER_MAX: Final = 4
"""Old streams of a leg that are remembered, so that their last packets don't bring them back."""
BEGUN_MAX: Final = 8
BEGUN_S: Final = 1.0
"""New streams that a leg may begin within this. A browser begins two, and two more at some renegotiations; one that changed
its SSRC with each packet would cost five times as much as one that talks (measured)."""


class Seat:
    """One leg in a room."""

    __slots__ = (
        "_absent", "_begun_at", "_counted", "_fed_back", "_first_sent_at", "_former", "_heard_at", "_log", "_looked_at", "_octets",
        "_opened_at", "_picture", "_rules", "_uncounted", "_voice", "answered", "clock", "direction", "down", "down_budget", "down_rung",
        "extensions", "is_dark", "is_fast", "is_open", "key_frame_requests", "leg", "leg_id", "nacks", "number", "offer",
        "order", "pacer", "participant", "picture", "probing", "reported", "returned_at", "role", "room", "rtt", "sources",
        "up", "up_budget", "up_rung", "voice", "voice_allowance",
    )  # fmt: skip

    def __init__(
        self, room: Room, leg_id: str, leg: Leg, offer: Offer, role: str, participant: str, order: int
    ) -> None:  # fmt: skip
        now = room.clock()
        self.room = room
        self.leg_id = leg_id
        self.leg = leg
        self.offer = offer
        self.role = role
        self.participant = participant
        self.order = order
        """Newer seats have higher ones."""
        self.answered = False
        self.is_open = False
        self.extensions = ExtensionMap(EXTENSION_IDS)
        self.rtt = RoundTrip(ASSUMED_RTT_S)
        self.clock = SenderClock()
        self.direction = Direction(room.trace)
        """What it sends."""
        self.up_rung = self.down_rung = Rung.STANDARD
        """Highest rungs to begin on: what isn't known is climbed to."""
        self.sources: dict[Kind, Source] = {}
        self._voice: Source | None = None
        self._picture: Source | None = None
        self._former: list[int] = []
        self._begun_at: deque[float] = deque(maxlen=BEGUN_MAX)
        self.voice: VoiceSink | None = None
        self.picture: PictureSink | None = None
        start_bps = room.start_bps
        self.up_budget = Budget(start_bps, now)
        self.down_budget = Budget(start_bps, now)
        self.voice_allowance = Allowance(VOICE_BPS / 8, VOICE_BPS / 8 * VOICE_BURST_S, now)
        self.pacer = Pacer(start_bps)
        self.up = UplinkEstimator(start_bps, ASSUMED_RTT_S, now)
        self.reported = ReportedDownlinkEstimator(start_bps, ASSUMED_RTT_S, now)
        self.down: DownlinkEstimator | None = None
        """Only with transport-wide feedback."""
        self.is_dark = False
        """Whether its link seems to be down."""
        self.returned_at = float("-inf")
        """When its last outage was over."""
        self.is_fast = False
        """Whether so much comes of it that its feedback is worth short intervals."""
        self._octets = 0
        self._looked_at = now
        self.number = 0
        """The next packet's transport-wide number."""
        self.probing: Probing | None = None
        self.key_frame_requests = self.nacks = 0
        """Received."""
        self._absent = Absent()
        self._log: ArrivalLog | None = None
        self._rules = False
        self._opened_at = float("-inf")
        self._first_sent_at: float | None = None
        self._fed_back = False
        self._counted: dict[int, tuple[int, int]] = {}
        self._uncounted: set[int] = set()
        """Streams of ours whose next report speaks of an outage too."""
        self._heard_at = now

    def accept(self, answer: Answer, now: float) -> None:
        """Take what the browser answered."""
        offer = self.offer
        audio, video = answer.audio, answer.video
        if OPUS in audio.payload_types:
            red = RED in audio.payload_types and offer.audio.red != "no"
            self.voice = VoiceSink(self, offer.audio.ssrc, self._target(audio), red=red)
        if any(each in CODECS for each in video.payload_types):
            self.picture = PictureSink(
                self,
                offer.video.ssrc,
                offer.video.rtx_ssrc,
                self._target(video),
                video.payload_types,
            )
        number = EXTENSION_IDS[TRANSPORT_CC]
        if offer.transport_cc and number in audio.extensions and number in video.extensions:
            known_bps = self.reported.estimate(now).rate_bps
            self.down = DownlinkEstimator(known_bps, self.rtt.smoothed_s, now)
            self._log = ArrivalLog()
        self.answered = True

    def begin_with(self, up: Start, down: Start, now: float) -> None:
        """Begin with what a probe has told of both ways."""
        self.up_rung, self.down_rung = up.rung, down.rung
        self.rtt.smoothed_s = up.rtt_s
        self.up_budget.set_rate(up.bps, now)
        self.set_down_rate(down.bps, now)
        self.up = UplinkEstimator(up.bps, up.rtt_s, now)
        self.reported = ReportedDownlinkEstimator(down.bps, down.rtt_s, now)
        if self.down is not None:
            self.down = DownlinkEstimator(down.bps, down.rtt_s, now, self.number)

    def learn(self, up_bps: float, down_bps: float, now: float) -> None:
        """Take what a probe has proved of both ways while they were used."""
        self.up.watch.proved(up_bps, now)
        if self.down is not None:
            self.down.watch.proved(down_bps, now)

    def _target(self, media: MediaAnswer) -> Mapping[str, int]:
        """Return the extensions that are written towards this leg; abs-send-time only where somebody reads it."""
        return {
            uri: number
            for uri, number in EXTENSION_IDS.items()
            if number in media.extensions
            and (uri != ABS_SEND_TIME or self.offer.remb)
            and (uri != TRANSPORT_CC or self.offer.transport_cc)
        }

    def open(self, now: float) -> None:
        """Forward from now on."""
        self.is_open = True
        self.is_dark = False
        self._heard_at = now
        if self.rtt.latest_s is None and (dtls_s := self.leg.timing.dtls_s) is not None:
            self.rtt.smoothed_s = min(5.0, dtls_s / 2)  # two round trips and little else
        if self.voice is not None:
            self.voice.flowing = False
        self.leg.on_rtp = self.receive_rtp
        self.leg.on_rtcp = self.receive_rtcp

    def close(self) -> None:
        """Forward nothing more."""
        self.is_open = False
        self.leg.on_rtp = self._unwanted
        self.leg.on_rtcp = _ignore
        for source in self.sources.values():
            self.room.retire(source)
        self.sources.clear()
        self._voice = self._picture = None
        self.probing = None
        self.direction.talking = False

    def _unwanted(self, leg: Leg, data: bytes, now: float) -> None:
        self.room.drops[Drop.NO_ROUTE] += 1

    # -- What comes ------------------------------------------------------------------------------------------------

    def receive_rtp(self, leg: Leg, data: bytes, now: float) -> None:
        """Take a packet and forward what is due (hot path)."""
        packet = parse(data, self.extensions, now)
        if packet is None:
            self.room.drops[Drop.RTP_MALFORMED] += 1
            return
        payload_type = packet.payload_type
        size = len(data)
        layout = packet.layout
        shift = layout.transport_cc_shift
        if shift >= 0:
            self._numbered(packet.extension >> shift & 0xFFFF, now)
        allowance = self.voice_allowance
        if payload_type in VOICE_TYPES and (allowance.left >= 0 or self._may_speak(now)):
            source = self._voice
            allowance.left -= size + OVERHEAD_BYTES
            self.up_budget.voice(size + OVERHEAD_BYTES, now)
        elif payload_type in CODECS:
            source = self._picture
            self.up_budget.video(size + OVERHEAD_BYTES, now)
        else:
            self._receive_other(packet, size, now)
            return
        if source is None or source.ssrc != packet.ssrc:
            source = self._source(packet, now)
            if source is None:
                return
        shift = layout.abs_send_time_shift
        voice = source is self._voice
        sent = packet.extension >> shift & 0xFFFFFF if shift >= 0 else -1
        timestamp = packet.timestamp
        if self._absent.any or not source.sinks:
            self._look_after(source, packet, now)
        after_loss = source.receive(packet, now)
        if sent >= 0:
            self.up.received(sent, size, now, after_loss=after_loss)
        elif voice:
            self.up.received_voice(timestamp, size, now, after_loss=after_loss)

    def _may_speak(self, now: float) -> bool:
        """Return whether one more packet of voice is forwarded, where what could be saved up is used up."""
        if self._voice is not None:
            self.voice_allowance.left -= self._voice.copies_bytes()
        return self.voice_allowance.fill(now)

    def _numbered(self, number: int, now: float) -> None:
        """Note a packet's transport-wide number (hot path)."""
        self._absent.came(number)
        if self._rules and self._log is not None:
            self._log.received(number, now)

    def _look_after(self, source: Source, packet: RtpPacket, now: float) -> None:
        """Find out who should watch a source; ask for what the picture must lack, without waiting for its next packet."""
        if not source.sinks:
            self.room.unwatched(source, now)
        absent, picture = self._absent, self._picture
        absent.explained(source.gap_before(packet))
        if source is self._voice and picture is not None and (count := absent.take()):
            picture.stream.nacks.lacks(count, now)
            self.room.busy = True

    def _receive_other(self, packet: RtpPacket, size: int, now: float) -> None:
        """Take a repetition; count what is none, and voice beyond what may be sent."""
        original = APT.get(packet.payload_type)
        source = self._picture
        if original is None:
            voice = packet.payload_type in VOICE_TYPES
            self.room.drops[Drop.VOICE_LIMIT if voice else Drop.NO_ROUTE] += 1
            return
        shift = packet.layout.abs_send_time_shift
        if shift >= 0:
            self.up.received(packet.extension >> shift & 0xFFFFFF, size, now)
        if source is not None:
            source.forward(source.stream.receive_rtx(packet, original, now), now)

    def _source(self, packet: RtpPacket, now: float) -> Source | None:
        """Return the new source that a packet begins, or None for the rest of an old one."""
        kind = Kind.PICTURE if packet.payload_type in CODECS else Kind.VOICE
        old = self.sources.get(kind)
        if packet.ssrc in self._former and old is not None and now - old.heard_at < 1.0:
            return None
        begun = self._begun_at
        if len(begun) == BEGUN_MAX and now - begun[0] < BEGUN_S:
            self.room.drops[Drop.NO_ROUTE] += 1
            return None
        begun.append(now)
        if old is not None:
            self._former = [*self._former[1 - FORMER_MAX :], old.ssrc]
            self.room.retire(old)
            self.voice_allowance.left -= old.copies_bytes()
        if self.is_dark:
            self.returned(now)
        source = self.sources[kind] = Source(self, kind, packet.ssrc, now)
        if kind is Kind.VOICE:
            self._voice = source
        else:
            self._picture = source
        self.room.route(now)
        return source

    def returned(self, now: float, *, lost: bool = True) -> None:
        """Go on after an outage of this leg, if it was one of all that it sends: key frames are needed now.

        Its own picture begins anew, and is asked to if something of what it sent was ``lost``.
        """
        if not self.is_dark and now - self.heard_at <= OUTAGE_S:
            return
        if self.is_dark:
            self._begin_anew(now)
        if self._picture is not None and (self.is_dark or lost):
            self._picture.want_key_frame(now)
            self.returned_at = now
        self.is_dark = False
        if self.picture is not None:
            self.picture.restart(now)

    def _begin_anew(self, now: float) -> None:
        """Begin with what the link was known to carry before it was down: what was lost meanwhile says nothing of it."""
        rtt_s = self.rtt.smoothed_s
        self.up = UplinkEstimator(self.up.estimate(now).rate_bps, rtt_s, now)
        self.up.begin(*self._totals())
        self.reported = ReportedDownlinkEstimator(self.reported.estimate(now).rate_bps, rtt_s, now)
        if self.down is not None:
            self.down = DownlinkEstimator(self.down.estimate(now).rate_bps, rtt_s, now, self.number)
        self._uncounted = {self.offer.audio.ssrc, self.offer.video.ssrc, self.offer.video.rtx_ssrc}

    def _totals(self) -> tuple[int, int]:
        """Return how many packets of all streams were expected and received."""
        receptions = [source.stream.reception for source in self.sources.values()]
        return sum(each.expected for each in receptions), sum(each.received for each in receptions)

    def receive_rtcp(self, leg: Leg, data: bytes, now: float) -> None:
        """Take a compound packet of the browser's."""
        if self.is_dark:
            self.returned(now)
        self._heard_at = now
        for part in rtcp.parse(data):
            if isinstance(part, TransportFeedback):
                self._fed(part, now)
            elif isinstance(part, rtcp.SenderReport):
                self._sender_reported(part, now)
                self._reported(part.reports, now)
            elif isinstance(part, rtcp.ReceiverReport):
                self._reported(part.reports, now)
            elif isinstance(part, rtcp.Nack):
                self._asked(part, now)
            elif isinstance(part, rtcp.KeyFrameRequest):
                self._asked_for_key_frame(part, now)

    def _sender_reported(self, report: rtcp.SenderReport, now: float) -> None:
        for source in self.sources.values():
            if source.ssrc == report.ssrc:
                if source.report is None:
                    self.room.report_soon = True
                source.report = report.ntp, report.timestamp, now
                source.stream.reception.sender_reported(report.ntp, now)

    def _reported(self, blocks: Iterable[rtcp.ReportBlock], now: float) -> None:
        video = self.offer.video
        known = (self.offer.audio.ssrc, video.ssrc, video.rtx_ssrc)
        for block in blocks:
            if block.ssrc not in known:
                continue
            received = block.highest - block.cumulative_lost
            before = self._counted.get(block.ssrc) or self._begun(block.ssrc)
            self._counted[block.ssrc] = block.highest, received
            rtt_s = round_trip_s(block, now)
            if rtt_s is not None:
                self.rtt.measured(rtt_s)
                self.up.measured_rtt(rtt_s)
                if self.down is not None:
                    self.down.measured_rtt(rtt_s)
            if block.ssrc in self._uncounted:
                self._uncounted.discard(block.ssrc)
                continue
            if before is None or self.down is not None:
                continue
            expected = block.highest - before[0]
            if 0 <= expected < 1 << 16:
                queue_s = self.up.estimate(now).queue_delay_s
                rtt_s = self.rtt.smoothed_s if rtt_s is None else rtt_s
                self.reported.reported(rtt_s, expected, received - before[1], now, queue_s)

    def _begun(self, ssrc: int) -> tuple[int, int] | None:
        """Return what a first report of one of our streams is to be compared with."""
        sink = self.voice if ssrc == self.offer.audio.ssrc else self.picture
        if sink is None or ssrc == self.offer.video.rtx_ssrc:
            return None
        return sink.first_number - 1, sink.first_number - 1

    def _asked(self, nack: rtcp.Nack, now: float) -> None:
        picture = self.picture
        if picture is not None and nack.media_ssrc == self.offer.video.ssrc:
            self.nacks += len(nack.numbers)
            picture.asked(nack.numbers, now)

    def _asked_for_key_frame(self, request: rtcp.KeyFrameRequest, now: float) -> None:
        picture = self.picture
        if picture is None or request.media_ssrc != self.offer.video.ssrc:
            return
        self.key_frame_requests += 1
        if picture.source is not None:
            picture.source.asked_for_key_frame(now, self.rtt.smoothed_s)

    def set_down_rate(self, rate_bps: float, now: float) -> None:
        """Take what the way to the browser may be filled with."""
        self.down_budget.set_rate(rate_bps, now)
        self.pacer.set_rate(rate_bps)

    def _fed(self, feedback: TransportFeedback, now: float) -> None:
        if self.down is not None:
            self._fed_back = True
            self.down.feedback(feedback, now)
            if self.picture is not None and (lost := self.picture.in_air.told(feedback)):
                self.picture.resend(lost, now)

    # -- What goes -------------------------------------------------------------------------------------------------

    def send(self, data: bytearray, size: int, weight: Weight, now: float) -> bool:
        """Send the first ``size`` octets, written with the next transport-wide number (hot path)."""
        self.pacer.sent(size + OVERHEAD_BYTES, now)
        down = self.down
        if down is not None:
            down.sent(size + OVERHEAD_BYTES, now)
            self.number = (self.number + 1) & 0xFFFF
            if self._first_sent_at is None:
                self._first_sent_at = now
        else:
            self.reported.sent(size + OVERHEAD_BYTES)
        return self.leg.send_rtp(data[:size], weight)

    def ask(self, ssrc: int, numbers: Sequence[int], *, key_frame: bool) -> None:
        """Ask the browser for packets again, for a key frame, or both."""
        ours = self.offer.video.ssrc
        data = rtcp_write.nack(ours, ssrc, numbers) if numbers else b""
        if key_frame:
            data += rtcp_write.picture_loss(ours, ssrc)
        self.leg.send_rtcp(data)

    def feed_back(self, now: float) -> None:
        """Tell the browser when its packets arrived, where that can rule it."""
        log = self._log
        if log is None or not self._rules:
            return
        source = self._picture or self._voice
        if source is None:
            return
        # Below `open` limits rule: what losses ask for, the ladder knows.
        if self.direction.rung >= Rung.OPEN:
            self._opened_at = now
        losses = now - self._opened_at < TELL_LOSSES_S
        for data in log.write(self.offer.video.ssrc, source.ssrc, losses=losses):
            self.send_rtcp(data, now)

    def report(self, now: float) -> None:
        """Send our sender reports, in the sender's terms of time, and what we say of the browser's streams."""
        blocks = [source.stream.reception.block(now) for source in self.sources.values()]
        data = b""
        for sink in (self.voice, self.picture):
            source = sink.source if sink is not None else None
            if sink is None or source is None or source.report is None:
                continue
            ntp, timestamp, at = source.report
            rewriter = sink.out.rewriter
            rewriter.sender_reported(source.ssrc, ntp, timestamp, source.seat.clock, at)
            report = rewriter.sender_report(now)
            if report is not None:
                data += rtcp_write.sender_report(report, blocks)
                blocks = []
        if not data and not blocks:
            return
        if not data:
            data = rtcp_write.receiver_report(self.offer.video.ssrc, blocks)
        self.send_rtcp(data + rtcp_write.source_description(self.offer.video.ssrc, CNAME), now)

    def send_rtcp(self, data: bytes, now: float) -> None:
        """Send and pay."""
        self.down_budget.voice(len(data) + OVERHEAD_BYTES, now)
        self.leg.send_rtcp(data)

    # -- What is known ---------------------------------------------------------------------------------------------

    @property
    def heard_at(self) -> float:
        """When something last came."""
        heard_at = self._heard_at
        for source in self.sources.values():
            if source.heard_at > heard_at:
                heard_at = source.heard_at
        return heard_at

    def downlink(self, now: float) -> Estimate:
        """Return what is known of the way to the browser."""
        down = self.down
        if down is None:
            return self.reported.estimate(now)
        first = self._first_sent_at
        if not self._fed_back and first is not None and now - first > NO_FEEDBACK_S:
            self.down = None
        return down.estimate(now)

    def up_link(self, now: float) -> Link:
        """Return what the ladder is to know of the way from the browser."""
        silence_s = now - self.heard_at if self.sources else 0.0
        beside_bps = self.up.watch.beside_bps(now)
        return link_of(self.up.estimate(now), silence_s, beside_bps=beside_bps)

    def down_link(self, now: float) -> Link:
        """Return what the ladder is to know of the way to the browser."""
        # One who sends nothing is heard by reports alone, and those of a voice come each 5 s.
        silence_s = now - self.heard_at if self.sources or self.is_dark else 0.0
        # Padding goes with a picture's repetitions: before the first picture nobody can be asked, and time must tell.
        asks = self.down is not None and self.picture is not None and self.picture.can_ask
        return link_of(self.downlink(now), silence_s, probed=asks)

    def fell(self, now: float) -> None:
        """Note that less is sent to it from now on, trains too."""
        self.probing = None
        if self.down is not None:
            self.down.watch.fell(now)

    def protect(self, link: Link, sending: Sending, now: float, *, wanted: bool) -> None:
        """Write the voice to the browser with the copies that the ladder has reserved room for."""
        if self.voice is not None:
            spare_bps = copies_bps(sending, link)
            reach_s = self.down.bursts.reach_s if self.down is not None else 0.0
            self.direction.hear_s = self.voice.protect(
                link.loss_ratio, reach_s, spare_bps, now, wanted=wanted
            )

    def look(self, now: float) -> None:
        """Take stock, some times a second: budgets, holds, redundancy follow what is known now."""
        self.is_dark = self.is_dark or now - self.heard_at > DARK_S
        for source in self.sources.values():
            source.measured_rtt(self.rtt.smoothed_s)
        self.up.counted(*self._totals(), now)
        up = self.up.estimate(now)
        self._rules = (
            up.rate_bps >= RULES_TO_BPS if self._rules else up.usable_bps >= RULES_FROM_BPS
        )
        octets = sum(source.stream.reception.octets for source in self.sources.values())
        self.is_fast = (octets - self._octets) * 8 >= FAST_BPS * (now - self._looked_at)
        self._octets, self._looked_at = octets, now
        self.up_budget.set_rate(max(up.usable_bps, up.rate_bps), now)
        if self._voice is not None:
            self.direction.copy_s = self._voice.spread(up.loss_ratio, now)
        if self.picture is not None:
            self.picture.cache.age_s = useful_s(self.rtt.smoothed_s)

    def probe(self, wanted_bps: float, sending_bps: float, now: float) -> None:
        """Find out whether the way to the browser carries this, unless that is under way, or something waits for it."""
        if self.down is None or self.picture is None or self.probing is not None or len(self.pacer):
            return
        plan = self.down.probe(wanted_bps, now, sending_bps)
        if plan is not None:
            self.probing = Probing(plan, self.pacer.octets, now)


def _ignore(leg: Leg, data: bytes, now: float) -> None:
    pass
