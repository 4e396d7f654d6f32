# SPDX-License-Identifier: Apache-2.0
"""Whatever an authenticated browser sends as RTP or RTCP, a room neither raises nor grows."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from media.core import rtcp_write
from media.core.hold import MAX_HELD
from media.core.nack import MAX_MISSING
from media.core.rtcp import ReportBlock, SenderReport
from media.relay.seat import FORMER_MAX
from tests.support.room import OPUS, RED, VP8, VP8_RTX, House
from tests.support.rtp_packets import rtp, vp8

SSRCS = st.sampled_from([0x1011, 0x1012, 0x1013, 0x2001, 0x2002, 0x2003, 7])
WORD = st.integers(0, 2**32 - 1)
RTP = st.one_of(
    st.binary(max_size=80),
    st.builds(
        rtp, st.integers(0, 65_535), timestamp=WORD, ssrc=SSRCS, marker=st.booleans(),
        payload_type=st.sampled_from([OPUS, RED, VP8, VP8_RTX, 98, 99, 5]), padding=st.integers(0, 9),
        payload=st.one_of(st.binary(max_size=40), st.just(vp8(1, key=True)), st.just(vp8(2))),
        extension=st.binary(min_size=4, max_size=4).map(lambda b: b"\xbe\xde\x00\x01" + b),
    ),
)  # fmt: skip
BLOCK = st.builds(
    ReportBlock, SSRCS, st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), WORD, WORD, WORD, WORD
)  # fmt: skip
RTCP = st.one_of(
    st.binary(max_size=80),
    st.builds(lambda ssrc, tail: b"\x80\xc9\x00\x01" + struct.pack("!I", ssrc) + tail, SSRCS, st.binary(max_size=40)),
    st.builds(rtcp_write.receiver_report, SSRCS, st.lists(BLOCK, max_size=4)),
    st.builds(lambda ssrc, ntp, ts, blocks: rtcp_write.sender_report(SenderReport(ssrc, ntp, ts, 1, 1), blocks),
              SSRCS, st.integers(0, 2**64 - 1), WORD, st.lists(BLOCK, max_size=2)),
    st.builds(rtcp_write.nack, SSRCS, SSRCS, st.lists(st.integers(0, 65_535), min_size=1, max_size=40)),
    st.builds(rtcp_write.picture_loss, SSRCS, SSRCS),
    st.builds(rtcp_write.remb, SSRCS, st.integers(0, 2**30), st.lists(SSRCS, max_size=3)),
    # Transport feedback with any body.
    st.builds(lambda body: struct.pack("!BBHII", 0x8F, 205, 2 + len(body) // 4, 1, 2) + body,
              st.binary(max_size=60).map(lambda b: b[: len(b) // 4 * 4])),
)  # fmt: skip
EVENTS = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(RTP.map(lambda d: ("rtp", d)), RTCP.map(lambda d: ("rtcp", d))),
        st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0]),
    ),
    max_size=80,
)


def check(house):
    for seat in house.room._seats.values():
        assert len(seat.sources) <= 2
        assert len(seat._former) <= FORMER_MAX
        assert len(seat._counted) <= 3
        for source in seat.sources.values():
            assert len(source.stream.hold) <= MAX_HELD + 1
            assert len(source.stream.nacks) <= MAX_MISSING
            assert len(source.sinks) <= 1
        assert len(seat.picture.cache) <= 512


@given(EVENTS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_never_raises_never_grows(events, transport_cc):
    """Any packets from either side at any times; then a good packet is still forwarded."""
    house = House(start_bps=300_000)
    ana, ben = house.call(transport_cc=transport_cc)
    for first, (kind, data), later in events:
        person = ana if first else ben
        (person.send if kind == "rtp" else person.send_rtcp)(data)
        house.pass_time(later if later < 1 else 0.02)
        house.now += later if later >= 1 else 0
        check(house)
    house.pass_time(3)
    ben.heard()
    for number in range(3):
        ana.send(rtp(40_000 + number, ssrc=0x1011, payload_type=OPUS, payload=b"still here"))
        house.pass_time(0.2)
    assert b"still here" in b"".join(packet.payload for packet in ben.heard())
    house.room.unseat(ana.leg_id)
    house.room.unseat(ben.leg_id)
    assert house.room.empty
