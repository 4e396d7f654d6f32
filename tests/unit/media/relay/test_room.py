# SPDX-License-Identifier: Apache-2.0
"""Who gets what in a room: routing, repairs, reports and limits, with legs of paper in virtual time."""

import itertools
import struct
from dataclasses import replace

import pytest

from media.core import red, rtcp, rtcp_write
from media.core.bwe.probe import ProbePlan, Probing
from media.core.limits import START_BPS
from media.core.link_probe import Start
from media.core.rungs import Rung
from media.core.transport_cc import ArrivalLog
from media.relay.counts import TOTALS
from media.relay.drops import Drop
from tests.support.room import House, continuous
from tests.support.rtp_packets import element, extension_block, rtp


def asked_for_key_frame(person):
    return [part for part in person.told() if isinstance(part, rtcp.KeyFrameRequest)]


def test_nothing_passes_before_it_was_said_between_whom(house):
    """Two answered legs, and packets: dropped and counted; after `forward` they pass; after [] they don't."""
    ana, ben = house.person("ana").sit(), house.person("ben").sit()
    ana.talk()
    assert not ben.heard()
    assert house.drops[Drop.NO_ROUTE] == 1
    assert not house.room.awake
    house.room.forward({"ana", "ben"})
    ana.talk()
    assert len(ben.heard()) == 1
    assert not ana.heard()
    house.room.forward(set())
    ana.talk()
    assert not ben.heard()
    assert not house.room.awake


def test_a_leg_that_comes_later_takes_part(house):
    """Forwarding was said before the second leg answered."""
    ana = house.person("ana").sit()
    house.room.forward({"ana", "ben"})
    ana.talk()
    ben = house.person("ben").sit()
    ana.talk()
    assert len(ben.heard()) == 1


def test_a_third_participant_is_not_part_of_it(house, call):
    """A leg of somebody whom `forward` did not name neither hears nor is heard."""
    ana, ben = call
    eve = house.person("eve").sit()
    ana.talk()
    eve.talk()
    assert not eve.heard()
    assert len(ben.heard()) == 1
    assert not ana.heard()


def test_streams_arrive_under_the_ssrc_that_was_offered(call):
    """Voice and picture have the receiver's SSRCs, contiguous numbers, and the payload as it was."""
    ana, ben = call
    ana.show(key=True)
    for _ in range(3):
        ana.talk()
        ana.show()
    heard, seen = ben.heard(), ben.seen()
    assert {packet.ssrc for packet in heard} == {ben.offer.audio.ssrc}
    assert {packet.ssrc for packet in seen} == {ben.offer.video.ssrc}
    assert (len(heard), len(seen)) == (3, 4)
    assert continuous(heard)
    assert continuous(seen)
    assert heard[0].payload == b"voice of a person"


def test_the_first_voice_to_a_leg_is_told_once_per_call(house, call):
    """`on_flowing` once for each who hears, again after forwarding was stopped and begun."""
    ana, _ = call
    ana.talk()
    ana.talk()
    assert house.flowing == ["leg2"]
    house.room.forward(set())
    house.room.forward({"ana", "ben"})
    ana.talk()
    assert house.flowing == ["leg2", "leg2"]


def test_a_picture_begins_with_a_key_frame_that_the_room_asks_for(house, call):
    """Frames that nobody could decode are withheld, one request goes out, the key frame starts the picture."""
    ana, ben = call
    ana.show()
    house.pass_time(0.02)
    assert not ben.seen()
    assert [part.media_ssrc for part in asked_for_key_frame(ana)] == [ana.ssrcs[1]]
    ana.show(key=True)
    ana.show()
    assert len(ben.seen()) == 2


def test_requests_of_watchers_are_merged(house, call):
    """Ten requests in a burst are one; the next may pass a second later."""
    ana, ben = call
    ana.show(key=True)
    house.pass_time(1.2)
    ana.told()
    for _ in range(10):
        ben.send_rtcp(rtcp_write.picture_loss(1, ben.offer.video.ssrc))
        house.pass_time(0.01)
    assert len(asked_for_key_frame(ana)) == 1
    ana.show(key=True)
    house.pass_time(1.2)
    ben.send_rtcp(rtcp_write.picture_loss(1, ben.offer.video.ssrc))
    house.pass_time(0.02)
    assert len(asked_for_key_frame(ana)) == 1


def test_a_gap_is_asked_for_and_the_watcher_never_sees_it(house, call):
    """A lost picture packet: what follows waits, one NACK goes out, the repetition fills the gap in order."""
    ana, ben = call
    ana.show(key=True)
    lost = ana.show(lost=True)
    ana.show()
    house.pass_time(0.05)
    assert len(ben.seen()) == 1
    (nack,) = [part for part in ana.told() if isinstance(part, rtcp.Nack)]
    assert nack.numbers == (struct.unpack_from("!H", lost, 2)[0],)
    payload = lost[2:4] + lost[20:]
    ana.send(rtp(1, ssrc=ana.ssrcs[2], payload_type=97, marker=True, payload=payload,
                 timestamp=struct.unpack_from("!I", lost, 4)[0]))  # fmt: skip
    assert len(ben.seen()) == 2


def test_a_gap_that_stays_is_hidden_and_ends_with_a_key_frame(house, call):
    """Asked twice for nothing: the numbers go on without a gap, nothing undecodable passes, a key frame is asked for."""
    ana, ben = call
    ana.show(key=True)
    ana.show(lost=True)
    ana.show()
    house.pass_time(2.0)
    parts = ana.told()
    assert len([part for part in parts if isinstance(part, rtcp.Nack)]) <= 2
    assert [part for part in parts if isinstance(part, rtcp.KeyFrameRequest)]
    ana.show()
    ana.show(key=True)
    seen = ben.seen()
    assert len(seen) == 2
    assert continuous(seen)


def test_a_lost_voice_packet_delays_the_voice_for_a_frame_only(house, call):
    """Voice is not asked for again; what follows a gap goes out within 100 ms, in order and contiguous."""
    ana, ben = call
    for number in range(5):
        house.pass_time(0.02)
        ana.talk(lost=number == 3)
    house.pass_time(0.1)
    heard = ben.heard()
    assert len(heard) == 4
    assert continuous(heard)
    assert not [part for part in ana.told() if isinstance(part, rtcp.Nack)]


def test_what_far_copies_bring_back_travels_on_as_copies(house, call):
    """Frames of a burst that come back 80 ms later reach the listener in RED, at their time; what goes out stays contiguous."""
    ana, ben = call
    said = {}
    for number in range(20):
        house.pass_time(0.02)
        said[number] = ticks, frame = int(house.now * 48_000), b"frame %d" % number
        payload = bytes((111,)) + frame
        if number >= 4:
            then, old = said[number - 4]
            head = 0x80000000 | 111 << 24 | (ticks - then) << 10 | len(old)
            payload = head.to_bytes(4, "big") + bytes((111,)) + old + frame
        ana.voice_number += 1
        if number not in (9, 10, 11):
            ana.send(
                rtp(
                    ana.voice_number,
                    timestamp=ticks,
                    ssrc=ana.ssrcs[0],
                    payload_type=63,
                    payload=payload,
                )
            )
    heard = ben.heard()
    assert len(heard) == 17
    assert continuous(heard)
    found = {}
    for packet in heard:
        blocks = (red.read(packet) or []) if packet.payload_type == 63 else []
        for block in blocks:
            found[packet.timestamp - block.offset] = bytes(packet.data[block.start : block.end])
        found[packet.timestamp] = packet.payload
    first = min(found)
    assert {at - first: frame for at, frame in found.items()} == {
        ticks - said[0][0]: frame for ticks, frame in said.values()
    }


def test_a_watcher_gets_what_it_lost_from_the_relay(house, call):
    """A NACK is answered from the cache on the watcher's own RTX stream; its repeat within a round trip is not."""
    ana, ben = call
    ana.show(key=True)
    (picture,) = ben.seen()
    for _ in range(5):
        ben.send_rtcp(rtcp_write.nack(1, ben.offer.video.ssrc, [picture.sequence_number]))
    (again,) = ben.repeated()
    assert again.ssrc == ben.offer.video.rtx_ssrc
    assert again.payload == picture.sequence_number.to_bytes(2, "big") + picture.payload
    assert not ana.told()


def test_the_newest_leg_that_sends_is_the_source_and_all_receive(house, call):
    """A page is loaded again: the old leg is heard until the new one speaks; both hear; the stream goes on."""
    ana, ben = call
    for _ in range(5):
        house.pass_time(0.02)
        ana.talk(b"old")
    again = house.person("ana").sit()
    house.pass_time(0.02)
    ana.talk(b"old")
    ben.talk()
    assert len(again.heard()) == len(ana.heard()) == 1
    for _ in range(5):
        house.pass_time(0.02)
        again.talk(b"new")
        ana.talk(b"old")
    heard = ben.heard()
    assert [packet.payload[-3:] for packet in heard] == [b"old"] * 6 + [b"new"] * 5
    assert continuous(heard)
    steps = {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in itertools.pairwise(heard)}
    assert all(900 <= step <= 1_100 for step in steps)


def test_the_older_leg_is_heard_again_when_the_newer_falls_silent(house, call):
    """The new leg spoke once and died; after two seconds the old one is the source again."""
    ana, ben = call
    again = house.person("ana").sit()
    ana.talk(b"old")
    again.talk(b"new")
    for _ in range(130):
        house.pass_time(0.02)
        ana.talk(b"old")
    heard = ben.heard()
    assert heard[-1].payload[-3:] == b"old"
    assert 20 < len(heard) < 40
    again.talk(b"new")
    house.pass_time(0.2)
    again.talk(b"new")
    assert ben.heard()[-1].payload[-3:] == b"new"


def test_a_source_that_leaves_is_replaced(house, call):
    """The newer leg's seat goes: the older one is heard at once; nobody is left: nothing is."""
    ana, ben = call
    again = house.person("ana").sit()
    ana.talk(b"old")
    again.talk(b"new")
    house.room.unseat(again.leg_id)
    ana.talk(b"old")
    assert [packet.payload for packet in ben.heard()] == [b"old", b"new", b"old"]
    house.room.unseat(ana.leg_id)
    house.room.unseat(ben.leg_id)
    assert house.room.empty
    assert not house.room.awake


def test_a_new_source_begins_its_picture_with_a_key_frame(house, call):
    """After a change of source no frame of the new one passes before its key frame, which is asked for."""
    ana, ben = call
    ana.show(key=True)
    again = house.person("ana").sit()
    again.show()
    ana.show()
    house.pass_time(0.02)
    assert asked_for_key_frame(again)
    again.show(key=True)
    seen = ben.seen()
    assert len(seen) == 2
    assert continuous(seen)


@pytest.mark.parametrize("silence_s", [1.0, 20.0, 300.0])
@pytest.mark.parametrize("lost", [0, 30, 3_000])
def test_after_a_blackout_voice_is_heard_at_once_and_a_key_frame_is_asked_for(
    house, call, silence_s, lost
):
    """Whatever was lost: the first voice passes, and asks for a key frame if one is needed; no NACK.

    After seconds of silence one always is: nothing of the picture went to a watcher who was not heard.
    """
    ana, ben = call
    ana.show(key=True)
    ana.talk()
    house.pass_time(silence_s if silence_s < 60 else 2)
    if silence_s >= 60:
        house.now += silence_s
        house.pass_time(0.3)
    ben.heard(), ben.seen(), ana.told()
    ana.voice_number += lost
    ana.picture_number += lost
    ana.picture_id += lost
    ben.talk()
    ana.talk()
    assert len(ben.heard()) == 1
    house.pass_time(0.02)
    parts = ana.told()
    assert not [part for part in parts if isinstance(part, rtcp.Nack)]
    requests = [part for part in parts if isinstance(part, rtcp.KeyFrameRequest)]
    assert len(requests) == (bool(lost) or silence_s > 3)
    ana.show(key=True)
    assert ben.seen()


def test_a_watcher_that_was_cut_off_gets_a_key_frame(house, call):
    """It lost frames that nobody will repeat: its picture begins anew when its own packets come again."""
    ana, ben = call
    ana.show(key=True)
    ben.talk()
    for _ in range(10):
        house.pass_time(0.2)
        ana.show()
    ana.told(), ben.seen()
    ben.talk()
    house.pass_time(0.02)
    assert asked_for_key_frame(ana)
    ana.show()
    assert not ben.seen()
    ana.show(key=True)
    assert ben.seen()


def test_reports_say_on_each_side_what_that_side_needs(house, call):
    """The sender gets a report block on its own SSRC, the watcher a sender report on the one that it knows."""
    ana, ben = call
    ana.send_rtcp(rtcp_write.sender_report(rtcp.SenderReport(ana.ssrcs[0], 5 << 32, 90, 3, 300)))
    ana.talk()
    ana.send_rtcp(rtcp_write.sender_report(rtcp.SenderReport(ana.ssrcs[0], 5 << 32, 90, 3, 300)))
    house.pass_time(0.3)
    reports = [part for part in ben.told() if isinstance(part, rtcp.SenderReport)]
    assert [part.ssrc for part in reports] == [ben.offer.audio.ssrc]
    assert reports[0].packet_count == 1
    house.pass_time(1.0)
    blocks = [
        block
        for part in ana.told()
        if isinstance(part, rtcp.ReceiverReport)
        for block in part.reports
    ]
    assert {block.ssrc for block in blocks} == {ana.ssrcs[0]}


def test_lips_stay_in_sync(house, call):
    """Voice and picture taken at one instant carry timestamps that the reports map to one instant, to 1 ms."""
    ana, ben = call
    origin = 3_900_000_000.0
    ana.talk()
    ana.show(key=True)
    house.pass_time(0.5)
    for ssrc, hz, lead in ((ana.ssrcs[0], 48_000, 0.0), (ana.ssrcs[1], 90_000, 0.04)):
        # The picture's report is made 40 ms later and stays longer in a queue.
        taken = house.now + lead
        ntp = rtcp.ntp_from_seconds(origin + taken)
        house.now += 0.013
        ana.send_rtcp(
            rtcp_write.sender_report(rtcp.SenderReport(ssrc, ntp, int(taken * hz) & 0xFFFFFFFF, 1, 1))
        )  # fmt: skip
    ben.heard(), ben.seen()
    house.pass_time(1.0)
    instant = house.now
    ana.talk()
    ana.show()
    (voice,), (picture,) = ben.heard(), ben.seen()
    assert house.now == instant
    shown = []
    reports = {part.ssrc: part for part in ben.told() if isinstance(part, rtcp.SenderReport)}
    for packet, hz in ((voice, 48_000), (picture, 90_000)):
        report = reports[packet.ssrc]
        ahead = ((packet.timestamp - report.timestamp + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        shown.append(rtcp.seconds_from_ntp(report.ntp) + ahead / hz)
    assert abs(shown[0] - shown[1]) < 0.001


def test_limits_are_told_before_anything_is_forwarded():
    """The answer already brings them, for a link that nothing is known of."""
    house = House()
    ana = house.person("ana").sit()
    ((leg, limits),) = house.limits
    assert leg == ana.leg_id
    assert 10_000 <= limits.video_max_bps < START_BPS


def test_the_slowest_watcher_limits_the_sender():
    """Ben's link is known to carry little: Ana is told at once, less than before; Ben's own limits stay."""
    house = House(start_bps=500_000)
    ana, ben = house.call()
    before = dict(house.limits)
    seat = house.room._seats[ben.leg_id]
    seat.reported._capacity.usable_bps = seat.reported._capacity.rate_bps = 50_000.0
    house.limits.clear()
    house.pass_time(0.3)
    told = dict(house.limits)
    assert set(told) == {ana.leg_id}
    assert told[ana.leg_id].video_max_bps < 25_000 < before[ana.leg_id].video_max_bps


def test_limits_rise_only_after_proof():
    """The way got wider in the estimate: one rung after the other, none without its wait."""
    house = House()
    ana, ben = house.call()
    for seat in house.room._seats.values():
        for capacity in (seat.reported._capacity, seat.up.watch._capacity):
            capacity.usable_bps = capacity.rate_bps = 230_000.0
    house.limits.clear()
    for _ in range(40):
        house.pass_time(0.1)
        ana.talk()
        ben.talk()
    told = [limits for leg, limits in house.limits if leg == ana.leg_id]
    rungs = [limits.rung for limits in told]
    assert rungs == sorted(rungs)
    assert set(rungs) == {Rung.GLIMPSE, Rung.SMALL, Rung.MEDIUM}
    rates = [limits.video_max_bps for limits in told]
    assert rates[0] < rates[-1]


def test_a_watcher_with_losses_on_a_long_way_gets_redundancy(house, call):
    """The voice goes out as RED, the frame before it inside, once losses are known; without losses plain after a while."""
    ana, ben = call
    seat = house.room._seats[ben.leg_id]
    for _ in range(300):
        house.pass_time(0.06)
        ana.talk()
        ben.talk()
    assert {packet.payload_type for packet in ben.heard()[-20:]} == {111}
    seat.rtt.measured(0.6)
    seat.reported._losses.counted(1000, 950, house.now)
    seat.reported._losses.counted(1000, 950, house.now + 3)
    for _ in range(10):
        house.pass_time(0.06)
        ana.talk()
        ben.talk()
    heard = ben.heard()
    assert heard[-1].payload_type == 63
    assert heard[-1].payload.count(b"voice of a person") >= 2


def test_transport_feedback_goes_to_who_negotiated_it(house):
    """Above 85 kbit/s a sender is told when its packets came, under its own SSRC; below 70 it is not."""
    house = House(start_bps=300_000)
    ana, ben = house.call(transport_cc=True)

    def numbered(number):
        block = extension_block(element(3, number.to_bytes(2, "big")))
        ana.voice_number += 1
        ana.send(rtp(ana.voice_number, ssrc=ana.ssrcs[0], payload_type=111, extension=block))

    house.pass_time(0.2)
    for number in range(10):
        numbered(number)
        house.pass_time(0.02)
    house.pass_time(0.2)
    fed = [part for part in ana.told() if isinstance(part, rtcp.TransportFeedback)]
    assert {part.media_ssrc for part in fed} == {ana.ssrcs[0]}
    assert sum(len(part.arrivals) for part in fed) == 10
    numbers = [packet.transport_number for packet in ben.heard()]
    assert numbers == list(range(10))
    seat = house.room._seats[ana.leg_id]
    seat.up.watch._capacity.rate_bps = seat.up.watch._capacity.usable_bps = 50_000.0
    house.pass_time(0.3)
    ana.told()
    for number in range(10, 20):
        numbered(number)
        house.pass_time(0.02)
    house.pass_time(0.2)
    assert not [part for part in ana.told() if isinstance(part, rtcp.TransportFeedback)]


@pytest.mark.parametrize(("rung", "told"), [(Rung.STANDARD, 0), (Rung.OPEN, 2)])
def test_losses_are_told_to_a_browser_whose_own_control_decides(house, rung, told):
    """To one that limits rule they would only be a reason to search for more, with padding that the limits do not hold."""
    house = House(start_bps=300_000)
    ana, _ = house.call(transport_cc=True)
    house.pass_time(0.2)
    direction = house.room._seats[ana.leg_id].direction
    for number in (0, 1, 4, 5):
        block = extension_block(element(3, number.to_bytes(2, "big")))
        ana.send(rtp(number, ssrc=ana.ssrcs[0], payload_type=111, extension=block))
    direction.state = replace(direction.state, sending=replace(direction.state.sending, rung=rung))
    house.pass_time(0.4)
    fed = [part for part in ana.told() if isinstance(part, rtcp.TransportFeedback)]
    arrivals = [each for part in fed for each in part.arrivals]
    assert (len(arrivals), arrivals.count(None)) == (4 + told, told)


def test_probing_sends_padding_that_no_one_decodes(house):
    """A way that limits its sender is probed with padding on the RTX stream, with numbers of its own."""
    house = House(start_bps=100_000)
    ana, ben = house.call(transport_cc=True)
    house.room._seats[ana.leg_id].up.watch._capacity.usable_bps = 1_000_000.0
    seat = house.room._seats[ben.leg_id]
    ana.show(key=True)
    for _ in range(100):
        house.pass_time(0.02)
        ana.talk()
        ana.show()
        _feed_back(house, seat, ben)
    padding = ben.repeated()
    assert padding
    assert all(packet.payload == b"" for packet in padding)
    assert all(packet.transport_number is not None for packet in padding)


def test_padding_ends_where_less_is_sent(house):
    """A plan that is under way when its way falls would fill the queue that is to go."""
    house = House(start_bps=100_000)
    _, ben = house.call(transport_cc=True)
    seat = house.room._seats[ben.leg_id]
    seat.probing = Probing(ProbePlan(1, 400, 150e3, 1.2), seat.pacer.octets, house.now)
    seat.fell(house.now)
    assert seat.probing is None


def _feed_back(house, seat, ben):
    """Let Ben's browser say that all came at once."""
    if not hasattr(ben, "log"):
        ben.log, ben.told_of = ArrivalLog(), 0
    for number in range(ben.told_of, seat.number):
        ben.log.received(number, house.now)
    ben.told_of = seat.number
    for data in ben.log.write(1, ben.offer.video.ssrc):
        ben.send_rtcp(data)


def test_a_browser_that_never_feeds_back_is_judged_by_its_reports(house):
    """Transport feedback was negotiated and does not come: after five seconds reports are taken instead."""
    ana, ben = house.call(transport_cc=True)
    ana.talk()
    house.pass_time(6)
    assert house.room._seats[ben.leg_id].down is None


def test_a_stream_that_gets_another_ssrc_goes_on(house, call):
    """The browser made a new sender on the same leg: its stream is taken, the rest of the old one is not."""
    ana, ben = call
    for number in range(3):
        ana.send(rtp(number, ssrc=ana.ssrcs[0], payload_type=111, payload=b"one"))
    ana.send(rtp(900, ssrc=0x7777, payload_type=111, payload=b"two"))
    ana.send(rtp(3, ssrc=ana.ssrcs[0], payload_type=111, payload=b"one"))
    ana.send(rtp(901, ssrc=0x7777, payload_type=111, payload=b"two"))
    heard = ben.heard()
    assert [packet.payload for packet in heard] == [b"one"] * 3 + [b"two"] * 2
    assert continuous(heard)


def test_streams_are_not_begun_without_end(house, call):
    """A leg that changes its SSRC with each packet is heard eight times a second; a second later it may go on."""
    ana, ben = call
    for number in range(100):
        ana.send(rtp(number, ssrc=0x7000 + number, payload_type=111, payload=b"one"))
    assert len(ben.heard()) == 8
    assert house.drops[Drop.NO_ROUTE] > 50
    house.pass_time(1.1)
    ana.send(rtp(900, ssrc=0x8888, payload_type=111, payload=b"two"))
    assert ben.heard()[-1].payload == b"two"


def test_metrics_count_what_happened(house, call):
    """Packets, losses, requests and repetitions of both legs; what a leg that left had counted is not lost."""
    ana, ben = call
    ana.show(key=True)
    for _ in range(32):
        house.pass_time(0.02)
        ana.talk()
    ben.send_rtcp(rtcp_write.nack(1, ben.offer.video.ssrc, [ben.seen()[0].sequence_number]))
    one, other = house.room.metrics().legs
    voice = next(each for each in one.received if each.kind.value == "voice")
    assert (voice.packets, voice.lost) == (32, 0)
    assert (other.voice_sent, other.picture_sent, other.resent, other.nacks) == (32, 1, 1, 1)
    totals = house.room.metrics().totals
    assert set(totals) == set(TOTALS)
    assert (totals["packets"], totals["voice_sent"], totals["resent"]) == (33, 32, 1)
    house.room.unseat(ana.leg_id)
    house.room.unseat(ben.leg_id)
    assert house.room.metrics().totals == totals
    assert not house.room.metrics().legs


def test_who_waits_is_told_what_the_call_begins_with():
    """Both are told before the call by both links, as soon as one more is known; the call itself tells nothing else.

    One on 2 Mbit/s sends no more than the other's 150 kbit/s can take.
    """
    house = House()
    ana, ben = house.person("ana").sit(), house.person("ben").sit()
    wide, thin = (Start(Rung.STANDARD, bps, 0.0, 0.05) for bps in (2e6, 150e3))
    house.room.known(ana.leg_id, wide, wide)
    house.room.known(ben.leg_id, thin, thin)
    told = dict(house.limits)
    assert told[ana.leg_id].rung is Rung.SMALL
    assert 0 < told[ana.leg_id].video_max_bps < 150_000
    house.limits.clear()
    house.room.forward({"ana", "ben"})
    assert house.limits == []
