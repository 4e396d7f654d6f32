# SPDX-License-Identifier: Apache-2.0
"""One stream, continuous whatever its source does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.extensions import ExtensionMap, ExtensionWriter
from media.core.reports import round_trip_s
from media.core.rewrite import Rewriter, SenderClock
from media.core.rtcp import ReportBlock, compact_ntp, ntp_from_seconds, seconds_from_ntp
from media.core.rtp import RtpPacket
from tests.support.rtp_packets import IDS, OPUS, VP8, parsed, rtp

EXTENSIONS = ExtensionMap(IDS)


def rewriter(clock_rate: int = 90_000, number: int = 65_534, timestamp: int = 1_000) -> Rewriter:
    return Rewriter(
        0x77, clock_rate, {VP8: 101, OPUS: 112}, ExtensionWriter(EXTENSIONS, {}),
        number=number, timestamp=timestamp,
    )  # fmt: skip


def forwarded(stream: Rewriter, data: bytes, now: float) -> RtpPacket:
    """Return a packet as the receiver reads it."""
    out = bytearray(2_000)
    packet = parsed(data)
    at = stream.header(packet, out, now)
    assert at
    end = at + packet.payload_end - packet.payload_at
    out[at:end] = packet.payload
    return parsed(bytes(out[:end]))


def test_fields_are_the_receivers_own() -> None:
    """SSRC, payload type and numbers are ours; marker, payload and timestamp steps the sender's."""
    stream = rewriter()
    first = forwarded(stream, rtp(500, timestamp=7, marker=True, payload=b"one", padding=9), 0.0)
    assert (first.ssrc, first.payload_type, first.marker) == (0x77, 101, 128)
    assert (first.sequence_number, first.timestamp, first.payload) == (65_534, 1_000, b"one")
    second = forwarded(stream, rtp(777, timestamp=3_007), 0.1)
    assert (second.sequence_number, second.timestamp, second.marker) == (65_535, 4_000, 0)
    assert forwarded(stream, rtp(778, timestamp=3_007), 0.1).sequence_number == 0
    assert (stream.packet_count, stream.octet_count) == (3, 3 + 7 + 7)


def test_a_codec_that_the_receiver_lacks_is_not_forwarded() -> None:
    """No header is written, no number is used up."""
    stream = rewriter()
    assert stream.header(parsed(rtp(payload_type=120)), bytearray(100), 0.0) == 0
    assert forwarded(stream, rtp(), 0.0).sequence_number == 65_534


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 65535), st.integers(0, 2**32 - 1),
                  st.floats(0.001, 3.0)),
        min_size=1, max_size=60,
    )
)  # fmt: skip
def test_numbers_are_contiguous_over_any_sources(
    packets: list[tuple[int, int, int, float]],
) -> None:
    """Whatever sources, gaps and jumps come in, the numbers that go out have no hole."""
    stream = rewriter(number=65_500)
    now = 0.0
    for count, (source, number, timestamp, later) in enumerate(packets):
        now += later
        packet = forwarded(stream, rtp(number, ssrc=source, timestamp=timestamp), now)
        assert packet.sequence_number == (65_500 + count) & 0xFFFF
        assert packet.ssrc == 0x77


@pytest.mark.parametrize(("clock_rate", "pause_s"), [(90_000, 0.25), (48_000, 60.0)])
def test_timestamps_go_on_over_a_switch_of_source(clock_rate: int, pause_s: float) -> None:
    """The new source's first timestamp is the old one's last plus the time that passed."""
    stream = rewriter(clock_rate, timestamp=2**32 - 1_000)
    forwarded(stream, rtp(ssrc=1, timestamp=5), 10.0)
    last = forwarded(stream, rtp(ssrc=1, timestamp=5 + 3_000), 10.1).timestamp
    first = forwarded(stream, rtp(ssrc=2, timestamp=4_000_000_000), 10.1 + pause_s).timestamp
    assert (first - last) & 0xFFFFFFFF == round(pause_s * clock_rate)
    second = forwarded(stream, rtp(ssrc=2, timestamp=4_000_000_960), 10.2 + pause_s).timestamp
    assert (second - first) & 0xFFFFFFFF == 960


def test_voice_and_picture_stay_together() -> None:
    """At any instant our reports of both streams name sender times that were simultaneous there."""
    clock = SenderClock()
    voice, picture = rewriter(48_000, timestamp=11), rewriter(90_000, timestamp=22_222)
    # The sender's NTP clock is decades off; voice timestamp 480_000 and picture 900_000 are both its t = 10 s.
    epoch = 3_900_000_000
    forwarded(voice, rtp(ssrc=1, timestamp=480_000), 100.0)
    forwarded(picture, rtp(ssrc=2, timestamp=900_000), 100.4)
    assert voice.sender_report(101.0) is None
    voice.sender_reported(1, ntp_from_seconds(epoch + 12.0), 480_000 + 96_000, clock, 102.3)
    picture.sender_reported(2, ntp_from_seconds(epoch + 13.5), 900_000 + 315_000, clock, 104.1)
    one, two = voice.sender_report(200.0), picture.sender_report(205.0)
    assert one is not None
    assert two is not None
    # What the receiver computes: seconds of each stream's first packet on the common clock.
    first_voice = seconds_from_ntp(one.ntp) - ((one.timestamp - 11) & 0xFFFFFFFF) / 48_000
    first_picture = seconds_from_ntp(two.ntp) - ((two.timestamp - 22_222) & 0xFFFFFFFF) / 90_000
    assert first_voice == pytest.approx(first_picture, abs=1e-4)


def test_reports_count_and_measure_the_hop() -> None:
    """Counts are what was sent; a report block on our report gives the hop's round trip."""
    stream = rewriter()
    forwarded(stream, rtp(ssrc=1, payload=b"12345"), 1.0)
    stream.sender_reported(1, ntp_from_seconds(5.0), 0, SenderClock(), 1.0)
    report = stream.sender_report(50.0)
    assert report is not None
    assert (report.ssrc, report.packet_count, report.octet_count) == (0x77, 1, 5)
    block = ReportBlock(0x77, 0, 0, 1, 0, compact_ntp(report.ntp), round(0.3 * 65536))
    measured = round_trip_s(block, 50.95)
    assert measured == pytest.approx(0.65, abs=1e-3)


def test_reports_of_other_sources_do_not_count() -> None:
    """After a switch the old source's mapping is gone until the new source has reported."""
    stream, clock = rewriter(), SenderClock()
    forwarded(stream, rtp(ssrc=1), 1.0)
    stream.sender_reported(9, ntp_from_seconds(5.0), 0, clock, 1.0)
    assert stream.sender_report(1.0) is None
    stream.sender_reported(1, ntp_from_seconds(5.0), 0, clock, 1.0)
    assert stream.sender_report(1.0) is not None
    forwarded(stream, rtp(ssrc=2), 2.0)
    assert stream.sender_report(2.0) is None


def test_a_senders_clock_that_is_set_anew_is_followed() -> None:
    """Delay does not move the mapping; a step of the sender's clock beyond ten seconds does."""
    clock = SenderClock()
    assert clock.local(ntp_from_seconds(1_000.0), 5.0) == 5.0
    assert clock.local(ntp_from_seconds(1_010.0), 18.0) == 15.0
    assert clock.local(ntp_from_seconds(9_000.0), 20.0) == 20.0
