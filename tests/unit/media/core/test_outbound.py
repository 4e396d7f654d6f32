# SPDX-License-Identifier: Apache-2.0
"""One stream on its way to a receiver."""

from media.core import red
from media.core.budget import OVERHEAD_BYTES, Budget
from media.core.cache import PacketCache
from media.core.descriptor import VideoCodec
from media.core.extensions import TRANSPORT_CC, ExtensionMap, ExtensionWriter
from media.core.outbound import OutboundVideo, OutboundVoice
from media.core.red import RedWriter
from media.core.rewrite import Rewriter
from media.core.rtp import RtpPacket, parse
from media.core.rtx import RtxWriter
from tests.support.rtp_packets import IDS, OPUS, RED, VP8, parsed, rtp, vp8

EXTENSIONS = ExtensionMap(IDS)
DOWN = {TRANSPORT_CC: 3}


def rewriter(clock_rate: int, types: dict[int, int]) -> Rewriter:
    return Rewriter(
        0x77, clock_rate, types, ExtensionWriter(EXTENSIONS, DOWN), number=100, timestamp=0
    )


class Watcher:
    """A receiver of one picture."""

    def __init__(self, rate_bps: float = 1e7) -> None:
        self.budget = Budget(rate_bps, 0.0)
        self.stream = OutboundVideo(
            rewriter(90_000, {VP8: 101, 98: 103}), self.budget, {VP8: VideoCodec.VP8, 98: VideoCodec.VP9},
            PacketCache(), RtxWriter(0x88, 5), {VP8: 102},
        )  # fmt: skip
        self.out = bytearray(2_048)

    def read(self, size: int) -> RtpPacket:
        packet = parse(bytes(self.out[:size]), ExtensionMap(DOWN), 0.0)
        assert packet is not None
        return packet

    def write(self, data: bytes, now: float = 0.0) -> RtpPacket | None:
        packet = parsed(data, extensions=EXTENSIONS)
        if not self.stream.admits(packet, now):
            return None
        size = self.stream.write(packet, self.out, now, 900)
        return self.read(size) if size else None


def frame(number: int, *, key: bool = False, ssrc: int = 1, body: bytes = b"x" * 400) -> bytes:
    return rtp(
        number,
        ssrc=ssrc,
        timestamp=number * 9_000,
        marker=True,
        payload=vp8(number, key=key, body=body),
    )


def test_a_picture_begins_with_a_key_frame() -> None:
    """A receiver gets nothing before it can decode, and everything from then on."""
    watcher = Watcher()
    assert watcher.write(frame(1)) is None
    assert watcher.stream.awaits_key_frame
    first = watcher.write(frame(2, key=True))
    assert first is not None
    assert (first.sequence_number, first.transport_number, first.payload_type) == (100, 900, 101)
    second = watcher.write(frame(3))
    assert second is not None
    assert second.sequence_number == 101
    assert watcher.stream.withheld == 1


def test_another_source_begins_with_a_key_frame_too() -> None:
    """Numbers stay contiguous over the switch."""
    watcher = Watcher()
    watcher.write(frame(1, key=True))
    assert watcher.write(frame(50, ssrc=2), 1.0) is None
    packet = watcher.write(frame(51, ssrc=2, key=True), 1.2)
    assert packet is not None
    assert packet.sequence_number == 101
    assert packet.timestamp == round(1.2 * 90_000)


def test_a_picture_that_cannot_be_paid_stops_until_a_key_frame() -> None:
    """On 80 kbit/s a burst of frames is cut after a queue's worth; deltas stay out after it."""
    watcher = Watcher(80_000)
    assert watcher.write(frame(0, key=True)) is not None
    sent = sum(watcher.write(frame(number)) is not None for number in range(1, 40))
    size = len(frame(0)) + OVERHEAD_BYTES
    assert sent + 1 == 8_500 // size
    assert watcher.stream.awaits_key_frame
    assert watcher.write(frame(40), 5.0) is None
    assert watcher.write(frame(41, key=True), 5.0) is not None


def test_a_codec_without_a_type_goes_nowhere() -> None:
    """A payload type that the receiver has not negotiated is not written."""
    watcher = Watcher()
    assert watcher.write(rtp(1, payload_type=120)) is None


def test_retransmission_of_what_was_sent() -> None:
    """The answer carries the packet under its outgoing number; repeats within a round trip do not."""
    watcher = Watcher()
    watcher.write(frame(1, key=True))
    watcher.write(frame(2, body=b"lost"), 0.1)
    size = watcher.stream.resend(101, 0.5, watcher.out, 0.7, 901)
    packet = watcher.read(size)
    assert (packet.ssrc, packet.payload_type, packet.sequence_number) == (0x88, 102, 5)
    assert packet.payload == b"\x00\x65" + vp8(2, body=b"lost")
    assert (packet.timestamp, packet.transport_number) == (9_000, 901)
    assert watcher.stream.resend(101, 0.5, watcher.out, 0.9) == 0
    assert watcher.stream.resend(102, 0.5, watcher.out, 0.9) == 0
    assert watcher.stream.resend(101, 0.5, watcher.out, 1.3) > 0
    assert watcher.stream.resent == 2


def test_no_retransmission_without_a_type_or_a_budget() -> None:
    """A refused one is not counted as sent, so it can be asked for again."""
    watcher = Watcher()
    watcher.write(rtp(1, payload_type=98, payload=b"\x08\x00\x00"))
    assert watcher.stream.resend(100, 0.5, watcher.out, 1.0) == 0
    watcher = Watcher(10_000)
    watcher.write(frame(1, key=True, body=b"x" * 10))
    while watcher.budget.repair(10, 0.0):
        pass
    assert watcher.stream.resend(100, 0.5, watcher.out, 0.0) == 0
    assert watcher.stream.resend(100, 0.5, watcher.out, 0.4) > 0


def test_a_shared_packet_is_not_changed() -> None:
    """Two watchers of one packet get their own headers; the packet stays as it came."""
    data = frame(1, key=True)
    packet = parsed(data, extensions=EXTENSIONS)
    one, two = Watcher(), Watcher()
    for watcher in (one, two, one):
        watcher.stream.write(packet, watcher.out, 0.0)
    assert packet.data == data
    assert (packet.ssrc, packet.sequence_number) == (1, 1)
    assert one.stream.rewriter.number == 101
    assert two.stream.rewriter.number == 100


def test_scratch_never_grows() -> None:
    """The largest packet that can come fits into 2,048 octets with all that is added."""
    watcher = Watcher()
    watcher.write(frame(1, key=True, body=b"x" * 1_470))
    assert watcher.stream.resend(100, 0.5, watcher.out, 1.0) > 1_480
    assert len(watcher.out) == 2_048


def test_voice_gets_redundancy_as_its_link_needs_it() -> None:
    """Plain at first, RED with copies of what was sent plain when distances are set, and back."""
    budget = Budget(1e6, 0.0)
    stream = OutboundVoice(
        rewriter(48_000, {OPUS: 112}), budget, RedWriter(max_bytes=500), red_type=RED
    )
    out = bytearray(2_048)
    got: list[tuple[int, bytes, list[bytes]]] = []
    for number in range(6):
        stream.red.distances = () if number in {0, 1, 5} else (1, 2)
        packet = parsed(rtp(number, timestamp=number * 2_880, payload_type=OPUS,
                            payload=b"voice%d" % number), extensions=EXTENSIONS)  # fmt: skip
        size = stream.write(packet, out, number * 0.06)
        sent = parsed(bytes(out[:size]))
        payload_type = sent.payload_type
        copies = (red.read(sent) or []) if payload_type == RED else []
        octets = [bytes(sent.data[b.start : b.end]) for b in copies]
        assert sent.sequence_number == 100 + number
        got.append((payload_type, sent.payload, octets))
    assert got == [
        (112, b"voice0", []), (112, b"voice1", []), (RED, b"voice2", [b"voice0", b"voice1"]),
        (RED, b"voice3", [b"voice1", b"voice2"]), (RED, b"voice4", [b"voice2", b"voice3"]),
        (112, b"voice5", []),
    ]  # fmt: skip
    assert stream.rewriter.octet_count == 3 * 6 + 3 * (3 * 6 + 9)


def test_voice_is_paid_and_never_refused() -> None:
    """Voice goes out on a budget that is long overdrawn."""
    budget = Budget(1_000, 0.0)
    stream = OutboundVoice(rewriter(48_000, {OPUS: 112}), budget, RedWriter())
    out = bytearray(2_048)
    for number in range(100):
        assert stream.write(parsed(rtp(number, payload_type=OPUS)), out, 0.0)
    assert budget.balance_bytes == -250
    assert stream.write(parsed(rtp(1, payload_type=9)), out, 0.0) == 0
