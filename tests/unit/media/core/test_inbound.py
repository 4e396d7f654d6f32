# SPDX-License-Identifier: Apache-2.0
"""One received stream with its repairs."""

import struct

from media.core.budget import OVERHEAD_BYTES, Budget
from media.core.descriptor import VideoCodec
from media.core.inbound import InboundStream
from tests.support.rtp_packets import OPUS, RED, VP8, parsed, rtp, vp8

SSRC, RTX_SSRC = 0xABCD, 0xABCE
FRAME = 2_880


def picture(rtt_s: float = 0.5) -> InboundStream:
    return InboundStream(SSRC, 90_000, rtt_s=rtt_s, codecs={VP8: VideoCodec.VP8})


def voice(rtt_s: float = 0.5) -> InboundStream:
    return InboundStream(SSRC, 48_000, rtt_s=rtt_s, red_type=RED)


def rich() -> Budget:
    return Budget(1e8, 0.0)


def frame(number: int, *, key: bool = False, padding: int = 0) -> bytes:
    return rtp(
        number, timestamp=number * 9_000, marker=True, payload=vp8(number, key=key), padding=padding
    )


def received(stream: InboundStream, data: bytes, now: float) -> list[int]:
    return [p.sequence_number for p in stream.receive(parsed(data, now), now)]


def repaired(
    stream: InboundStream, number: int, now: float, data: bytes | None = None
) -> list[int]:
    original = parsed(data or frame(number))
    payload = struct.pack("!H", number) + original.payload
    again = rtp(
        7,
        ssrc=RTX_SSRC,
        payload_type=97,
        timestamp=original.timestamp,
        marker=True,
        payload=payload,
    )
    return [p.sequence_number for p in stream.receive_rtx(parsed(again, now), VP8, now)]


def red(number: int, *, copies: int = 1) -> bytes:
    """A frame of voice as Chromium's RED, with copies of the frames before."""
    back = range(copies, 0, -1)
    payload = b"".join(
        (0x80000000 | OPUS << 24 | b * FRAME << 10 | 8).to_bytes(4, "big") for b in back
    )
    payload += bytes((OPUS,)) + b"".join(b"voice%3d" % (number - b) for b in (*back, 0))
    return rtp(number, timestamp=number * FRAME, payload_type=RED, payload=payload)


def test_a_loss_is_repaired_by_one_request() -> None:
    """Gap, request, retransmission: everything comes out in order and no key frame is asked for."""
    stream = picture()
    budget = rich()
    assert received(stream, frame(1, key=True), 0.0) == [1]
    assert not stream.restless
    assert received(stream, frame(3), 0.2) == []
    assert stream.restless
    poll = stream.poll(0.22, 0.5, budget)
    assert (list(poll.packets), poll.numbers, poll.key_frame) == ([], [2], False)
    assert repaired(stream, 2, 0.75) == [2, 3]
    assert stream.poll(0.76, 0.5, budget) == ([], [], False)
    assert not stream.restless
    assert (stream.reception.lost, stream.reception.repaired) == (1, 1)


def test_a_loss_that_stays_ends_in_one_key_frame_request() -> None:
    """Two requests, then the gap is given up, the picture withheld, and a key frame asked for."""
    stream, budget = picture(), rich()
    received(stream, frame(1, key=True), 0.0)
    asked: list[tuple[float, list[int]]] = []
    key_frames: list[float] = []
    out: list[int] = []
    for tick in range(300):
        now = 0.2 + tick / 100
        if tick % 25 == 0:
            out += received(stream, frame(3 + tick // 25), now)
        poll = stream.poll(now, 0.5, budget)
        out += [p.sequence_number for p in poll.packets]
        if poll.numbers:
            asked.append((round(now, 2), poll.numbers))
        if poll.key_frame:
            key_frames.append(round(now, 2))
    assert asked == [(0.21, [2]), (0.84, [2])]
    assert key_frames == [1.45, 2.45]
    assert out == []
    assert received(stream, frame(15, key=True), 3.3) == [15]
    assert not stream.key_frames.wanted
    assert received(stream, frame(16), 3.5) == [16]


def test_a_watchers_request_is_answered_by_the_next_key_frame() -> None:
    """A key frame in an undisturbed stream is noticed, and what it cost is learned."""
    stream, budget = picture(), rich()
    received(stream, frame(1, key=True), 0.0)
    stream.key_frames.want(0.1, 0.0)
    assert stream.poll(0.1, 0.5, budget).key_frame
    received(stream, frame(2), 0.2)
    assert stream.key_frames.wanted
    before = stream.key_frames.key_frame_bytes
    received(stream, frame(3, key=True), 0.3)
    assert not stream.key_frames.wanted
    received(stream, frame(4), 0.5)
    size = len(frame(3, key=True)) + OVERHEAD_BYTES
    assert stream.key_frames.key_frame_bytes == before + (size - before) / 4


def test_voice_is_recovered_from_the_next_packet() -> None:
    """With the browser's redundancy a single loss is filled by the packet behind it, at once."""
    stream = voice()
    out: list[tuple[int, bytes, int]] = []
    for number in (1, 2, 4, 5, 8):
        packets = stream.receive(parsed(red(number), number * 0.06), number * 0.06)
        out += [(p.sequence_number, p.payload, p.timestamp) for p in packets]
    assert out == [(n, b"voice%3d" % n, n * FRAME) for n in (1, 2, 3, 4, 5)]
    poll = stream.poll(8 * 0.06 + 0.1, 0.5, rich())
    assert [p.sequence_number for p in poll.packets] == [7, 8]
    assert poll.numbers == []
    assert stream.recovered == 2
    assert stream.reception.lost == 3


def test_a_copy_of_what_came_already_is_not_a_second_packet() -> None:
    """Redundancy of frames that are there changes nothing."""
    stream = voice()
    out: list[int] = []
    for number in (1, 3, 2, 4):
        out += received(stream, red(number, copies=2), number * 0.06)
    assert out == [1, 2, 3, 4]
    assert stream.recovered == 1
    assert stream.hold.duplicates == 0


def test_malformed_redundancy_is_a_loss() -> None:
    """A RED packet that can't be taken apart is dropped; the next one brings its frame back."""
    stream = voice()
    received(stream, red(1), 0.0)
    assert received(stream, rtp(2, payload_type=RED, payload=b"\xef\x2d"), 0.06) == []
    assert received(stream, red(3), 0.12) == [2, 3]


def test_bounds_follow_the_round_trip() -> None:
    """A picture waits 2.5 round trips, a voice one frame and its jitter."""
    stream = picture(0.2)
    assert stream.hold.wait_s == 0.5
    stream.set_rtt(0.65)
    assert stream.hold.wait_s == 1.625
    assert round(voice(0.65).hold.wait_s, 3) == 0.09


def test_retransmissions_of_nothing_are_ignored() -> None:
    """Before the stream, ahead of it, or padding: no packet and no state."""
    stream = picture()
    assert repaired(stream, 5, 0.0) == []
    received(stream, frame(1, key=True), 0.0)
    assert repaired(stream, 9, 0.1) == []
    padding = rtp(8, ssrc=RTX_SSRC, payload_type=97, payload=b"", padding=200)
    assert stream.receive_rtx(parsed(padding), VP8, 0.1) == ()
    assert repaired(stream, 1, 0.1) == []
    assert stream.hold.late == 1


def test_a_stray_packet_is_ignored() -> None:
    """A number that belongs to nothing leaves no trace."""
    stream = picture()
    received(stream, frame(30_000, key=True), 0.0)
    assert received(stream, frame(20_000), 0.1) == []
    assert received(stream, frame(30_001), 0.2) == [30_001]


def test_far_copies_bring_back_a_burst_without_a_wait() -> None:
    """Four frames are lost: the next one goes out at once, theirs come `late` with the copies five back, each once."""
    stream = voice()
    stream.set_rtt(0.5, waits=False)
    frames = {n: b"frame %d" % n for n in range(30)}

    def far(number: int) -> bytes:
        old = frames.get(number - 5, b"")
        head = (
            (0x80000000 | OPUS << 24 | 5 * FRAME << 10 | len(old)).to_bytes(4, "big")
            if old
            else b""
        )
        payload = head + bytes((OPUS,)) + old + frames[number]
        return rtp(number, timestamp=number * FRAME, payload_type=RED, payload=payload)

    out, late = [], []
    for number in range(30):
        if 10 <= number < 14:
            continue
        out += [p.index & 0xFFFF for p in stream.receive(parsed(far(number)), number * 0.06)]
        late += [(p.index & 0xFFFF, p.payload, number) for p in stream.late]
        stream.late.clear()
    assert out == [n for n in range(30) if not 10 <= n < 14]
    assert late == [(n, frames[n], n + 5) for n in range(10, 14)]
    assert (stream.recovered, stream.far_ticks) == (4, 5 * FRAME)
    stream.receive(parsed(rtp(30, timestamp=30 * FRAME, payload_type=OPUS)), 1.8)
    assert stream.far_ticks == 0  # it sends none any more


def test_an_overtaken_frame_of_a_voice_is_late_not_lost() -> None:
    """Without a wait the second of two that change places is `late`; a repeat of it is nothing."""
    stream = voice()
    stream.set_rtt(0.5, waits=False)
    plain = [parsed(rtp(n, timestamp=n * FRAME, payload_type=OPUS)) for n in (1, 2, 4, 3, 3)]
    assert [len(stream.receive(each, 0.1)) for each in plain] == [1, 1, 1, 0, 0]
    assert [each.index & 0xFFFF for each in stream.late] == [3]
