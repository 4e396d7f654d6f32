# SPDX-License-Identifier: Apache-2.0
"""In order, bounded, and nothing undecodable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core.descriptor import VideoCodec
from media.core.hold import (
    MAX_HELD,
    MAX_JUMP,
    MAX_WAIT_S,
    MIN_WAIT_S,
    Hold,
    video_wait_s,
    voice_wait_s,
)
from media.core.rtp import RtpPacket
from tests.support.rtp_packets import VP8, at_index, vp8, vp9

VP9 = 98
B = 65_536
"""Where the first index is."""


def voice(wait_s: float = 0.1) -> Hold:
    return Hold(wait_s)


def picture(wait_s: float = 1.0) -> Hold:
    return Hold(wait_s, {VP8: VideoCodec.VP8, VP9: VideoCodec.VP9})


def frame(index: int, number: int, now: float = 0.0, *, key: bool = False, start: bool = True,
          marker: bool = True, base: int = -1, temporal: int = 0, sync: bool = False) -> RtpPacket:  # fmt: skip
    payload = vp8(number, key=key, start=start, base=base, temporal=temporal, sync=sync)
    return at_index(B + index, now, marker=marker, timestamp=number * 6_000, payload=payload)


def push(hold: Hold, *indices: int, now: float = 0.0) -> list[int]:
    """Push voice packets; return the indices that come out."""
    out: list[int] = []
    for index in indices:
        out += [p.index - B for p in hold.push(at_index(B + index, now, payload_type=111), now)]
    return out


def feed(hold: Hold, *packets: RtpPacket) -> list[int]:
    """Push prepared packets; return the indices that come out."""
    return [p.index - B for packet in packets for p in hold.push(packet, packet.arrived_at)]


def test_in_order_passes_at_once() -> None:
    """Without gaps nothing waits."""
    hold = voice()
    assert push(hold, 0, 1, 2) == [0, 1, 2]
    assert hold.deadline is None


def test_reordered_packets_come_out_in_order() -> None:
    """What came early waits for what was overtaken."""
    hold = voice()
    assert push(hold, 0, 2, 3) == [0]
    assert hold.deadline == 0.1
    assert push(hold, 1) == [1, 2, 3]
    assert hold.deadline is None


def test_a_gap_is_given_up_at_its_deadline_and_late_packets_are_dropped() -> None:
    """Not before the bound, at the bound; what comes later stays out."""
    hold = voice()
    push(hold, 0)
    push(hold, 2, now=5.0)
    assert hold.expire(5.099) == []
    assert [p.index - B for p in hold.expire(5.1)] == [2]
    assert push(hold, 1, now=5.2) == []
    assert (hold.given_up, hold.late) == (1, 1)
    assert push(hold, 3, now=5.3) == [3]


def test_each_gap_has_its_own_time() -> None:
    """A second gap, noticed later, is waited for after the first was given up."""
    hold = voice()
    push(hold, 0)
    push(hold, 2, now=1.0)
    push(hold, 4, now=1.06)
    assert [p.index - B for p in hold.expire(1.1)] == [2]
    assert hold.deadline == pytest.approx(1.16)
    assert push(hold, 3, now=1.15) == [3, 4]


def test_duplicates_are_dropped() -> None:
    """A packet that is held or was passed on does not come twice."""
    hold = voice()
    assert push(hold, 0, 0, 2, 2, 1, 1) == [0, 1, 2]
    assert (hold.duplicates, hold.late) == (1, 2)


def test_an_outage_is_not_waited_for() -> None:
    """A jump of more than a thousand packets passes at once, what was held before it first."""
    hold = voice()
    push(hold, 0, 2)
    assert push(hold, 2 + MAX_JUMP + 1) == [2, 2 + MAX_JUMP + 1]
    assert len(hold) == 0


def test_what_is_held_is_bounded() -> None:
    """A sender that leaves every gap open can't make us hold more than the bound."""
    hold = voice(1e9)
    push(hold, 0)
    for index in range(2, 9_000):
        push(hold, index)
        assert len(hold) <= MAX_HELD
    hold = voice(1e9)
    push(hold, 0)
    for index in range(2, 9_000, 2):
        push(hold, index)
        assert len(hold) <= MAX_HELD + 1


def test_padding_fills_its_place_and_goes_no_further() -> None:
    """A packet of padding alone is in order but is not forwarded."""
    hold = voice()
    push(hold, 0)
    assert hold.push(at_index(B + 1, payload=b"", padding=20), 0.0) == []
    assert push(hold, 2) == [2]
    assert hold.given_up == 0


def test_a_picture_begins_with_a_key_frame() -> None:
    """Frames before the first key frame are withheld, and one is asked for."""
    hold = picture()
    assert not hold.needs_key_frame
    assert feed(hold, frame(0, 5)) == []
    assert hold.needs_key_frame
    assert feed(hold, frame(1, 6, key=True), frame(2, 7)) == [1, 2]
    assert not hold.needs_key_frame
    assert hold.withheld == 1


def test_after_a_gap_frames_are_withheld_until_a_key_frame() -> None:
    """Delta frames behind a gap that was given up never come out."""
    hold = picture(1.0)
    assert feed(hold, frame(0, 0, key=True), frame(1, 1)) == [0, 1]
    assert feed(hold, frame(3, 3, 0.5), frame(4, 4, 0.75)) == []
    assert hold.expire(1.5) == []
    assert hold.needs_key_frame
    assert feed(hold, frame(5, 5, 1.6), frame(6, 6, 1.8, key=True), frame(7, 7, 2.0)) == [6, 7]


def test_a_key_frame_ends_the_waiting() -> None:
    """Nothing before a key frame is worth waiting for: it passes at once."""
    hold = picture(2.5)
    feed(hold, frame(0, 0, key=True))
    assert feed(hold, frame(2, 2, 0.1)) == []
    assert feed(hold, frame(3, 3, 0.2, key=True), frame(4, 4, 0.3)) == [3, 4]
    assert hold.deadline is None


def test_a_retransmission_in_time_leaves_no_trace() -> None:
    """A gap that is filled in time costs nothing but the waiting."""
    hold = picture(1.0)
    feed(hold, frame(0, 0, key=True))
    assert feed(hold, frame(2, 2, 0.5), frame(1, 1, 1.0)) == [1, 2]
    assert (hold.given_up, hold.withheld) == (0, 0)


def test_a_gap_of_padding_alone_breaks_no_picture() -> None:
    """If the picture goes on with the very next number, nothing of it was lost."""
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True), frame(1, 1))
    assert feed(hold, frame(4, 2, 1.0)) == []
    assert [p.index - B for p in hold.expire(1.5)] == [4]
    assert feed(hold, frame(5, 3, 1.6)) == [5]


def vp9_frame(index: int, number: int, now: float = 0.0, *, key: bool = False) -> RtpPacket:
    payload = vp9(number, key=key)
    return at_index(
        B + index, now, marker=True, timestamp=number * 6_000, payload_type=VP9, payload=payload
    )


def test_another_codec_goes_on_without_a_gap() -> None:
    """A sender that changes its codec begins with a key frame; all that follows passes, losses of it count as ever."""
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True))
    changes = (vp9_frame(1, 1, key=True), vp9_frame(2, 2), frame(3, 3, key=True))
    assert feed(hold, *changes) == [1, 2, 3]
    feed(hold, vp9_frame(4, 4, key=True), vp9_frame(6, 6, 1.0))
    assert hold.expire(1.5) == []
    assert feed(hold, vp9_frame(7, 7, 1.6, key=True), vp9_frame(8, 8, 1.6)) == [7, 8]


def test_a_codec_that_began_in_a_gap_waits_for_its_next_key_frame() -> None:
    """The lost packet was the key frame, though the picture's number goes on by one."""
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True), frame(1, 1))
    assert feed(hold, vp9_frame(3, 2, 1.0)) == []
    assert hold.expire(1.5) == []
    assert hold.needs_key_frame


def test_the_middle_of_a_frame_is_not_padding() -> None:
    """A frame that lacks its end or its beginning makes what follows undecodable."""
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True), frame(1, 1, marker=False))
    feed(hold, frame(3, 2, 1.0))
    assert hold.expire(1.5) == []
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True), frame(1, 1))
    feed(hold, frame(3, 2, 1.0, start=False))
    assert hold.expire(1.5) == []
    assert hold.needs_key_frame


def test_a_key_frame_cut_off_is_no_key_frame() -> None:
    """Its first packet alone does not open the way for what follows its lost rest."""
    hold = picture(0.5)
    assert feed(hold, frame(0, 0, key=True, marker=False)) == [0]
    feed(hold, frame(2, 1, 0.1))
    assert hold.expire(1.0) == []
    assert hold.needs_key_frame


def test_the_base_layer_goes_on_without_the_upper_one() -> None:
    """With two temporal layers a lost upper frame holds nobody up, and costs only upper frames up to the next sync."""
    hold = picture(1.25)
    feed(hold, frame(0, 0, key=True, base=0), frame(1, 1, base=0, temporal=1, sync=True),
         frame(2, 2, base=1))  # fmt: skip
    assert feed(hold, frame(4, 4, 1.0, base=2)) == [4]
    assert not hold.needs_key_frame
    out = feed(
        hold, frame(5, 5, 1.6, base=2, temporal=1), frame(6, 6, 1.7, base=3),
        frame(7, 7, 1.8, base=3, temporal=1, sync=True), frame(8, 8, 1.9, base=4),
        frame(9, 9, 2.0, base=4, temporal=1),
    )  # fmt: skip
    assert out == [6, 7, 8, 9]


def test_a_base_frame_waits_where_one_may_be_missing() -> None:
    """Its own rest, the end of the one before, a base frame in the gap, another codec: all that is waited for as ever."""
    began = frame(0, 0, key=True, base=0), frame(1, 1, base=0, temporal=1, sync=True)
    for behind in (
        frame(3, 3, 1.0, base=1, start=False),
        frame(3, 3, 1.0, base=2),
        frame(3, 3, 1.0, base=1, temporal=1),
        vp9_frame(3, 3, 1.0),
    ):
        hold = picture(1.25)
        assert feed(hold, *began) == [0, 1]
        assert feed(hold, behind) == []
    hold = picture(1.25)
    feed(hold, frame(0, 0, key=True, base=0), frame(1, 1, base=1, marker=False))
    assert feed(hold, frame(3, 2, 1.0, base=2)) == []


def test_a_base_frame_goes_on_when_the_one_before_it_was_repaired() -> None:
    """A base frame and the upper one behind it were lost; the first comes again, the other never."""
    hold = picture(1.25)
    feed(hold, frame(0, 0, key=True, base=0))
    assert feed(hold, frame(3, 3, 1.0, base=2)) == []
    assert feed(hold, frame(1, 1, 1.1, base=1)) == [1, 3]


def test_on_a_short_way_upper_frames_are_waited_for() -> None:
    """Their repair is there before the picture stands; one that was only overtaken is shown."""
    hold = picture(0.6)
    feed(hold, frame(0, 0, key=True, base=0))
    assert feed(hold, frame(2, 2, 1.0, base=1)) == []
    assert feed(hold, frame(1, 1, 1.01, base=0, temporal=1, sync=True)) == [1, 2]


def test_what_is_left_of_an_upper_frame_goes_with_it() -> None:
    """Two gaps in one upper frame: neither is waited for, and its middle is not forwarded."""
    hold = picture(1.25)
    feed(hold, frame(0, 0, key=True, base=0))
    assert feed(hold, frame(2, 1, 1.0, base=0, temporal=1, start=False, marker=False)) == []
    assert feed(hold, frame(4, 2, 1.1, base=1)) == [4]
    assert (hold.given_up, hold.withheld) == (2, 1)


def test_a_lost_base_frame_stops_all_layers() -> None:
    """The count of base frames shows that one is missing."""
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True, base=0), frame(1, 1, base=0, temporal=1, sync=True))
    feed(hold, frame(3, 3, 1.0, base=1, temporal=1))
    assert hold.expire(1.5) == []
    assert hold.needs_key_frame
    hold = picture(0.5)
    feed(hold, frame(0, 0, key=True, base=255))
    feed(hold, frame(2, 2, 1.0, base=1))
    assert hold.expire(1.5) == []
    assert hold.needs_key_frame


def test_only_the_next_layer_up_is_taken_up_again() -> None:
    """A sync frame two layers up may need the layer in between, which is not there."""
    hold = picture(1.25)
    feed(hold, frame(0, 0, key=True, base=0), frame(1, 1, base=0, temporal=2))
    assert feed(hold, frame(3, 3, 1.0, base=1)) == [3]
    out = feed(
        hold, frame(4, 4, 1.6, base=1, temporal=2, sync=True),
        frame(5, 5, 1.65, base=1, temporal=2, sync=True),
        frame(6, 6, 1.7, base=1, temporal=1, sync=True),
        frame(7, 7, 1.8, base=1, temporal=2, sync=True),
    )  # fmt: skip
    assert out == [6, 7]


def test_other_payloads_of_a_picture_pass_unjudged() -> None:
    """A codec that the relay can't read is forwarded in order."""
    hold = picture()
    packet = at_index(B, payload_type=120, payload=b"?")
    assert hold.push(packet, 0.0) == [packet]


def test_unreadable_payloads_are_withheld() -> None:
    """A descriptor that is cut short is never forwarded after a gap."""
    hold = picture()
    assert feed(hold, at_index(B, payload=b"\x90")) == []
    assert hold.needs_key_frame


@pytest.mark.parametrize(
    ("rtt_s", "wait_s"),
    [(0.0, MIN_WAIT_S), (0.02, MIN_WAIT_S), (0.5, 1.25), (0.65, 1.625), (3.0, MAX_WAIT_S)],
)
def test_bound_for_a_picture(rtt_s: float, wait_s: float) -> None:
    """Two and a half round trips, between 0.1 and 2.5 s."""
    assert video_wait_s(rtt_s) == wait_s


@pytest.mark.parametrize(
    ("rtt_s", "frame_s", "distance", "wait_s"),
    [(0.02, 0.06, 1, 0.1), (0.2, 0.06, 1, 0.3), (0.5, 0.06, 1, 0.09), (0.5, 0.06, 2, 0.15),
     (0.5, 0.06, 0, 0.06), (0.5, 0.02, 1, 0.05)],
)  # fmt: skip
def test_bound_for_a_voice(rtt_s: float, frame_s: float, distance: int, wait_s: float) -> None:
    """On a short way a retransmission is waited for, on a long one only the next redundancy."""
    assert voice_wait_s(rtt_s, frame_s, distance) == pytest.approx(wait_s)


@given(
    st.lists(st.tuples(st.integers(-5, 12), st.floats(0, 0.2), st.booleans()), max_size=150),
    st.booleans(),
)
@settings(max_examples=80)
def test_order_without_repeats_whatever_comes(
    steps: list[tuple[int, float, bool]], is_picture: bool
) -> None:
    """For any order, loss and repetition: ascending, no repeats, nothing held beyond its time."""
    hold = picture(0.3) if is_picture else voice(0.3)
    out: list[int] = []
    index, now = 10, 0.0
    for step, later, key in steps:
        now += later
        out += [p.index for p in hold.expire(now)]
        index = max(0, index + step)
        packet = frame(index, index, now, key=key)
        out += [p.index for p in hold.push(packet, now)]
        deadline = hold.deadline
        assert deadline is None or now < deadline <= now + 0.3
    out += [p.index for p in hold.expire(now + 1.0)]
    assert out == sorted(set(out))
    assert len(hold) == 0
