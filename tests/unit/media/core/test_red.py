# SPDX-License-Identifier: Apache-2.0
"""Redundant voice: read, recovered, written, decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core import red
from media.core.red import MAX_DISTANCE, MAX_OFFSET, RedWriter
from media.core.redundancy import Hearing, Span, distances
from media.core.rtp import RtpPacket
from tests.support.rtp_packets import OPUS, RED, at_index, parsed, rtp

FRAME = 2_880
"""60 ms at 48 kHz."""


def block_head(offset: int, length: int, payload_type: int = OPUS) -> bytes:
    return (0x80000000 | payload_type << 24 | offset << 10 | length).to_bytes(4, "big")


def red_packet(index: int, *copies: tuple[int, bytes], primary: bytes = b"now") -> RtpPacket:
    payload = b"".join(block_head(offset, len(data)) for offset, data in copies)
    payload += bytes((OPUS,)) + b"".join(data for _, data in copies) + primary
    return at_index(index, timestamp=index * FRAME, payload_type=RED, payload=payload, ssrc=5)


def test_a_browsers_packet_is_taken_apart() -> None:
    """One redundant block and the primary, byte for byte as RFC 2198 §3 lays them out."""
    payload = bytes.fromhex("ef2d00036f61626364656667")
    packet = parsed(rtp(7, timestamp=100_000, payload_type=RED, payload=payload))
    packet.index = 7
    blocks = red.read(packet)
    assert blocks == [(OPUS, 2_880, 17, 20)]
    assert (packet.payload_type, packet.payload) == (OPUS, b"defg")
    (earlier,) = red.recover(packet, blocks, FRAME)
    assert (earlier.payload, earlier.payload_type) == (b"abc", OPUS)
    assert (earlier.index, earlier.sequence_number, earlier.timestamp) == (6, 6, 97_120)


def test_a_primary_alone_has_no_redundancy() -> None:
    """The first packet of a stream is RED without copies."""
    packet = red_packet(70_000)
    assert red.read(packet) == []
    assert packet.payload == b"now"


@pytest.mark.parametrize("frame_ticks", [FRAME, 0, 7])
def test_copies_find_their_place(frame_ticks: int) -> None:
    """By their offset when the frame length is known, else by their order."""
    packet = red_packet(70_000, (2 * FRAME, b"two back"), (FRAME, b"one back"))
    blocks = red.read(packet)
    assert blocks is not None
    found = red.recover(packet, blocks, frame_ticks)
    assert [(p.index, p.payload) for p in found] == [(69_998, b"two back"), (69_999, b"one back")]
    assert found[0].sequence_number == 69_998 & 0xFFFF


def test_a_copy_two_back_alone_is_two_back() -> None:
    """With a known frame length, distance 2 without distance 1 is understood."""
    packet = red_packet(70_000, (2 * FRAME, b"two back"))
    blocks = red.read(packet)
    assert blocks is not None
    assert [p.index for p in red.recover(packet, blocks, FRAME)] == [69_998]


def test_empty_copies_and_copies_before_the_beginning_are_no_packets() -> None:
    """A copy of nothing, of the packet itself, or from before index 0 brings nothing back."""
    packet = red_packet(1, (2 * FRAME, b"before"), (0, b"itself"), (FRAME, b""))
    blocks = red.read(packet)
    assert blocks is not None
    assert len(blocks) == 3
    assert red.recover(packet, blocks, FRAME) == []


@pytest.mark.parametrize(
    "payload",
    [
        b"", block_head(960, 3), block_head(960, 3)[:2], block_head(960, 3) + b"\x6f" + b"ab",
        block_head(960, 1) * 9 + b"\x6f" + b"a" * 20,
    ],
)  # fmt: skip
def test_malformed_packets_are_refused_unchanged(payload: bytes) -> None:
    """No header, cut headers, lengths beyond the packet, too many blocks."""
    packet = parsed(rtp(payload_type=RED, payload=payload))
    assert red.read(packet) is None
    assert (packet.payload_type, packet.payload) == (RED, payload)


@given(st.binary(max_size=80), st.integers(0, 100), st.integers(0, 5_000))
def test_never_raises(payload: bytes, index: int, frame_ticks: int) -> None:
    """Any payload is read or refused; what is recovered lies inside the packet."""
    packet = parsed(rtp(payload_type=RED, payload=payload))
    packet.index = index
    blocks = red.read(packet)
    if blocks is not None:
        for earlier in red.recover(packet, blocks, frame_ticks):
            assert 12 <= earlier.payload_at <= earlier.payload_end <= len(packet.data)
            assert 0 <= earlier.index < index


def written(
    frames: list[bytes], copies: tuple[int, ...], ticks: int = FRAME, max_bytes: int = 1_000
) -> list[RtpPacket]:
    """Return what a receiver gets of these frames."""
    writer = RedWriter(copies, max_bytes)
    got: list[RtpPacket] = []
    for index, frame in enumerate(frames):
        timestamp = (2**32 - 2 * ticks + index * ticks) & 0xFFFFFFFF
        packet = parsed(rtp(index, payload_type=OPUS, payload=frame))
        out = bytearray(2_000)
        end = writer.write(packet, OPUS, timestamp, out, 12)
        data = rtp(index, timestamp=timestamp, payload_type=RED, payload=bytes(out[12:end]))
        packet = parsed(data)
        packet.index = 1_000 + index
        got.append(packet)
    return got


@pytest.mark.parametrize("copies", [(), (1,), (2,), (1, 2), (3, 6)])
def test_what_is_written_is_read(copies: tuple[int, ...]) -> None:
    """Each copy is the frame that many packets back, over the wrap of the timestamp too."""
    frames = [b"frame %d" % number for number in range(9)]
    for index, packet in enumerate(written(frames, copies, ticks=960)):
        blocks = red.read(packet)
        assert blocks is not None
        assert packet.payload == frames[index]
        assert packet.payload_type == OPUS
        found = {p.index - 1_000: p.payload for p in red.recover(packet, blocks, 960)}
        assert found == {index - d: frames[index - d] for d in copies if index >= d}


def test_limits_of_the_format_are_kept() -> None:
    """No copy beyond 14 bits of offset or 10 bits of length; DTX frames are not repeated."""
    assert [len(red.read(p) or ()) for p in written([b"abc"] * 4, (1, 2), ticks=8_192)] == [
        0,
        1,
        1,
        1,
    ]
    assert [
        len(red.read(p) or ()) for p in written([b"a" * 1_024, b"abc"], (1,), max_bytes=3_000)
    ] == [0, 0]
    assert [len(red.read(p) or ()) for p in written([b"\x08", b"abc"], (1,))] == [0, 0]


def test_the_furthest_copy_gives_way_first() -> None:
    """Where not all fits, the nearer copies stay and the whole stays within the bound."""
    packets = written([b"f" * 100] * 4, (1, 2), max_bytes=250)
    assert all(packet.payload_end - packet.payload_at <= 250 for packet in packets)
    last = packets[-1]
    assert [block.offset for block in red.read(last) or ()] == [FRAME]


def test_history_is_bounded() -> None:
    """The writer keeps eight frames."""
    writer = RedWriter((1,))
    for index in range(100):
        writer.remember(parsed(rtp(index)), OPUS, index)
    assert len(writer._history) == MAX_DISTANCE


@pytest.mark.parametrize(
    ("loss", "frame_s", "spare_bps", "span_s", "expected"),
    [
        (0.02, 0.06, 1e6, 0.0, (1,)),
        (0.02, 0.06, 1e6, 0.12, (2,)),
        (0.06, 0.06, 1e6, 0.0, (1, 2)),  # two that are lost one after the other
        (0.06, 0.06, 1e6, 0.3, (2, 5)),
        (0.06, 0.06, 12_000, 0.3, (5,)),  # room for one copy
        (0.06, 0.06, 11_999, 0.3, ()),  # for none
        (0.06, 0.04, 1e6, 0.3, (4, 8)),
        (0.06, 0.02, 1e6, 0.3, (7, 15)),  # the same span in time
        (0.06, 0.12, 1e6, 0.3, (1, 2)),
        (0.06, 0.2, 1e6, 0.3, (1,)),
        (0.06, 0.0, 1e6, 0.3, ()),
    ],
)
def test_decision(
    loss: float, frame_s: float, spare_bps: float, span_s: float, expected: tuple[int, ...]
) -> None:
    """The table over loss, frame length, room and span, for a voice of 12 kbit/s that needs copies."""
    assert distances(loss, frame_s, 12_000, spare_bps, span_s) == expected


@pytest.mark.parametrize(
    ("reach_s", "loss", "frame_s", "span_s"),
    [
        (0.06, 0.03, 0.06, 0.0),  # single losses: the next frame is as good
        (0.03, 0.03, 0.02, 0.0),
        (0.18, 0.06, 0.06, 0.3),  # bursts of 180 ms
        (0.18, 0.05, 0.02, 0.3),
        (0.18, 0.03, 0.06, 0.2),  # which take less: less delay is paid for it
        (0.18, 0.01, 0.06, 0.0),
        (0.09, 0.06, 0.06, 0.12),
    ],
)
def test_span(reach_s: float, loss: float, frame_s: float, span_s: float) -> None:
    """Far copies where losses come in bursts, at most as far as what they repair is worth."""
    assert Span().choose(reach_s, loss, frame_s, 0.0) == span_s


def test_a_span_stays() -> None:
    """Further at once, nearer a third of a minute after it was last needed."""
    span = Span()
    assert span.choose(0.18, 0.06, 0.06, 0.0) == 0.3
    assert span.choose(0.18, 0.01, 0.06, 15.0) == 0.3
    assert span.choose(0.18, 0.06, 0.06, 18.0) == 0.3
    assert span.choose(0.18, 0.01, 0.06, 37.0) == 0.3
    assert span.choose(0.18, 0.01, 0.06, 38.1) == 0.0


def test_who_listens_waits_for_the_furthest_copy_and_a_frame() -> None:
    """At once as long as is needed; less when it was not needed for a third of a minute: copies come and go."""
    hearing = Hearing()
    assert hearing.choose(0.0, 0.0, 0.0) == 0.0
    assert hearing.choose(1.0, 0.12, 0.3) == pytest.approx(0.36)
    assert hearing.choose(2.0, 0.0, 0.0) == pytest.approx(0.36)
    assert hearing.choose(20.0, 0.3, 0.0) == pytest.approx(0.36)
    assert hearing.choose(39.0, 0.0, 0.12) == pytest.approx(0.36)
    assert hearing.choose(40.1, 0.0, 0.12) == pytest.approx(0.18)


def test_late_frames_travel_with_the_next_packet() -> None:
    """What came after its turn goes as a copy where its timestamp says, once, the oldest first; not beyond the offset."""
    writer = RedWriter()
    frames = [parsed(rtp(n, timestamp=n * FRAME, payload=b"frame %d" % n)) for n in range(8)]
    assert not writer.wanted
    writer.take_late(frames[1], OPUS, FRAME)
    writer.take_late(frames[3], OPUS, 3 * FRAME)
    writer.take_late(frames[0], OPUS, (5 * FRAME - MAX_OFFSET - 1) & 0xFFFFFFFF)
    assert writer.wanted
    out = bytearray(2_000)
    end = writer.write(frames[7], OPUS, 5 * FRAME, out, 0)
    packet = parsed(rtp(7, payload=bytes(out[:end])))
    blocks = red.read(packet) or []
    assert [block.offset for block in blocks] == [4 * FRAME, 2 * FRAME]
    assert [bytes(packet.data[b.start : b.end]) for b in blocks] == [b"frame 1", b"frame 3"]
    assert not writer.wanted
