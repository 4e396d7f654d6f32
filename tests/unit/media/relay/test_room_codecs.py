# SPDX-License-Identifier: Apache-2.0
"""Which codec each sends in a room: what all others can decode, known before the call."""

from media.core import rtcp_write
from tests.support.room import VP8, VP8_RTX, VP9, VP9_RTX, continuous
from tests.support.rtp_packets import rtp, vp8

BOTH = (VP9, VP9_RTX, VP8, VP8_RTX)


def codecs(house, *people):
    """What each was told last."""
    return [[said.codec for leg, said in house.limits if leg == who.leg_id][-1] for who in people]


def test_vp9_is_sent_where_both_have_it_and_know_it_before_the_call(house):
    """Two who would rather send VP9 are told so while they wait: accepting changes nothing."""
    ana, ben = house.person("ana", pictures=BOTH).sit(), house.person("ben", pictures=BOTH).sit()
    assert codecs(house, ana, ben) == ["VP9", "VP9"]
    house.room.forward({"ana", "ben"})
    assert codecs(house, ana, ben) == ["VP9", "VP9"]
    ana.show(key=True, codec=VP9)
    ana.show(codec=VP9)
    seen = ben.seen()
    assert [packet.payload_type for packet in seen] == [VP9, VP9]
    ben.send_rtcp(rtcp_write.nack(1, ben.offer.video.ssrc, [seen[1].sequence_number]))
    (again,) = ben.repeated()
    assert again.payload_type == VP9_RTX


def test_each_chooses_for_itself_among_what_the_other_has(house):
    """One that can decode VP9 and would rather send VP8 gets VP9 and sends VP8."""
    ana = house.person("ana", pictures=BOTH).sit()
    ben = house.person("ben", pictures=(VP8, VP8_RTX, VP9, VP9_RTX)).sit()
    assert codecs(house, ana, ben) == ["VP9", "VP8"]


def test_who_waits_is_told_when_the_other_turns_out_to_lack_vp9(house):
    """Alone a page prepares what it would rather send; the specialist's browser takes that back, before the call."""
    ana = house.person("ana", pictures=BOTH).sit()
    assert codecs(house, ana) == ["VP9"]
    ben = house.person("ben").sit()
    assert codecs(house, ana, ben) == ["VP8", "VP8"]


def test_a_third_without_vp9_changes_the_codec_in_the_call_and_back(house):
    """All who look must have it: whoever sends is told at the next decision, and again when the third has left.

    Until VP8 comes, nothing goes to the third; then all get it, from its key frame on, with numbers that go on.
    """
    ana, ben = house.person("ana", pictures=BOTH).sit(), house.person("ben", pictures=BOTH).sit()
    house.room.forward({"ana", "ben", "eve"})
    ana.show(key=True, codec=VP9)
    eve = house.person("eve").sit()
    house.pass_time(0.3)
    assert codecs(house, ana, ben) == ["VP8", "VP8"]
    ana.show(key=True, codec=VP9)
    assert not eve.seen()
    ana.show(key=True)
    ana.show()
    assert [packet.payload_type for packet in eve.seen()] == [VP8, VP8]
    seen = ben.seen()
    assert [packet.payload_type for packet in seen] == [VP9, VP9, VP8, VP8]
    assert continuous(seen)
    house.room.unseat(eve.leg_id)
    house.pass_time(0.3)
    assert codecs(house, ana, ben) == ["VP9", "VP9"]


def test_a_codec_that_the_other_lacks_is_not_forwarded(house, call):
    """VP9 to a browser that answered VP8: nothing goes out, nothing breaks."""
    ana, ben = call
    ana.send(rtp(1, ssrc=ana.ssrcs[1], payload_type=98, payload=vp8(1, key=True), marker=True))
    house.pass_time(0.1)
    assert not ben.leg.sent
