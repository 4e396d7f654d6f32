# SPDX-License-Identifier: Apache-2.0
"""Whatever an authenticated peer sends, the whole packet path neither raises nor grows."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.budget import Budget
from media.core.cache import PacketCache
from media.core.descriptor import VideoCodec
from media.core.extensions import ExtensionMap, ExtensionWriter
from media.core.hold import MAX_HELD
from media.core.inbound import InboundStream
from media.core.nack import MAX_MISSING
from media.core.outbound import OutboundVideo, OutboundVoice
from media.core.red import MAX_DISTANCE, RedWriter
from media.core.rewrite import Rewriter
from media.core.rtp import MAX_PACKET_BYTES, SCRATCH_BYTES, parse
from media.core.rtx import RtxWriter
from tests.support.rtp_packets import IDS, OPUS, RED, VP8, rtp

RTX = 97
HOSTILE = st.one_of(
    st.binary(max_size=60),
    st.builds(
        rtp, st.integers(0, 65_535), timestamp=st.integers(0, 2**32 - 1),
        payload_type=st.sampled_from([VP8, OPUS, RED, RTX, 5]), marker=st.booleans(),
        payload=st.one_of(st.binary(max_size=40), st.binary(min_size=1_400, max_size=1_470)),
        padding=st.integers(0, 20),
        extension=st.binary(min_size=4, max_size=8).map(lambda b: b"\xbe\xde\x00\x01" + b[:4]),
    ),
)  # fmt: skip


class Path:
    """A picture or a voice through everything, over one leg with every extension."""

    def __init__(self, *, video: bool) -> None:
        self.extensions = ExtensionMap(IDS)
        self.out = bytearray(SCRATCH_BYTES)
        self.video = video
        self.budget = Budget(5e4, 0.0)
        codecs = {VP8: VideoCodec.VP8}
        rewriter = Rewriter(
            7, 90_000, {VP8: 100, OPUS: 111}, ExtensionWriter(self.extensions, IDS, b"12"),
            number=65_530, timestamp=5,
        )  # fmt: skip
        self.inbound = InboundStream(
            1, 90_000, rtt_s=0.5, codecs=codecs if video else None, red_type=-1 if video else RED
        )
        self.cache = PacketCache(64, 1.0)
        self.red = RedWriter((1, 2), 1_000)
        self.outbound: Any
        if video:
            self.outbound = OutboundVideo(
                rewriter, self.budget, codecs, self.cache, RtxWriter(8, 0), {VP8: 101}
            )
        else:
            self.outbound = OutboundVoice(rewriter, self.budget, self.red, RED)

    def take(self, data: bytes, now: float) -> None:
        packet = parse(data, self.extensions, now)
        if packet is None:
            return
        if packet.payload_type == RTX:
            packets = self.inbound.receive_rtx(packet, VP8, now)
        else:
            packets = self.inbound.receive(packet, now)
        poll = self.inbound.poll(now, 0.5, self.budget)
        for ready in (*packets, *poll.packets):
            size = self.outbound.write(ready, self.out, now, 3)
            assert size <= SCRATCH_BYTES
            if size:
                assert parse(bytes(self.out[: min(size, MAX_PACKET_BYTES)]), self.extensions, now)
        if self.video:
            self.outbound.resend(packet.sequence_number, 0.1, self.out, now)

    def check(self) -> None:
        assert len(self.out) == SCRATCH_BYTES
        assert len(self.inbound.hold) <= MAX_HELD + 1
        assert len(self.inbound.nacks) <= MAX_MISSING
        assert len(self.cache) <= 64
        assert len(self.cache._resent_at) <= 65
        assert len(self.red._history) <= MAX_DISTANCE


@given(st.booleans(), st.lists(st.tuples(HOSTILE, st.floats(0, 1.0)), max_size=60))
@settings(max_examples=100)
def test_never_raises_never_grows(video: bool, packets: list[tuple[bytes, float]]) -> None:
    """Any packets at any times: everything stays within its bound."""
    path = Path(video=video)
    now = 0.0
    for data, later in packets:
        now += later
        path.take(data, now)
        path.check()


@given(st.data())
@settings(max_examples=60)
def test_bits_that_flip(data: st.DataObject) -> None:
    """A good call with bytes changed anywhere in its packets goes on within its bounds."""
    path = Path(video=data.draw(st.booleans()))
    flips = data.draw(
        st.dictionaries(st.integers(0, 39), st.tuples(st.integers(0, 60), st.integers(0, 255)))
    )
    for number in range(40):
        payload = b"\x90\x80\x80\x01\x00" + bytes(60) if path.video else bytes((OPUS,)) + b"voice"
        packet = bytearray(rtp(number, timestamp=number * 960, payload_type=VP8 if path.video else RED,
                               marker=True, payload=payload, extension=b"\xbe\xde\x00\x01\x40\x10\x00\x00"))  # fmt: skip
        if number in flips:
            at, value = flips[number]
            packet[at % len(packet)] = value
        path.take(bytes(packet), number * 0.02)
        path.check()
