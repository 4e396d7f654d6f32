# SPDX-License-Identifier: Apache-2.0
"""What was sent lately, and the retransmission stream."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.core import rtx
from media.core.cache import PacketCache, useful_s
from media.core.extensions import ExtensionMap, ExtensionWriter
from media.core.rtx import RtxWriter
from tests.support.rtp_packets import IDS, element, extension_block, parsed, rtp

EXTENSIONS = ExtensionMap(IDS)
PLAN = ExtensionWriter(EXTENSIONS, {}).plan(parsed(rtp()).layout)
PACKET = parsed(rtp())


def filled(count: int, spacing_s: float = 0.01, **limits: float) -> PacketCache:
    cache = PacketCache(**limits)  # type: ignore[arg-type]
    for number in range(count):
        cache.put(number & 0xFFFF, number, PACKET, PLAN, number * spacing_s)
    return cache


def test_what_was_sent_is_found() -> None:
    """Inside count and age every packet is there, with the timestamp that it went out with."""
    cache = filled(100)
    for number in range(100):
        sent = cache.find(number, 0.1, 1.0)
        assert sent is not None
        assert (sent.number, sent.timestamp) == (number, number)
    assert cache.find(100, 0.1, 1.0) is None


def test_repeats_within_a_round_trip_are_ignored() -> None:
    """An answer on its way is not sent again; after a round trip it is."""
    cache = filled(10)
    assert cache.find(3, 0.5, 1.0) is not None
    cache.resent(3, 1.0)
    assert cache.find(3, 0.5, 1.01) is None
    assert cache.find(3, 0.5, 1.49) is None
    assert cache.repeats == 2
    assert cache.find(3, 0.5, 1.5) is not None
    assert cache.find(4, 0.5, 1.01) is not None


@given(st.integers(1, 3_000), st.floats(0.0001, 0.1))
@settings(max_examples=40)
def test_bounded_by_count_and_age(count: int, spacing_s: float) -> None:
    """At any rate it holds at most its capacity and, once flowing, nothing much older than its age."""
    cache = filled(count, spacing_s, capacity=256, age_s=1.0)
    assert len(cache) <= min(256, count)
    now = (count - 1) * spacing_s
    assert len(cache) <= 1.0 / spacing_s + 3
    assert cache.find((count - 1) & 0xFFFF, 0.1, now) is not None
    cache.expire(now + 2.0)
    assert len(cache) == 0


def test_old_packets_are_not_answered() -> None:
    """Nobody waits for a packet beyond the age, even if it is still there."""
    cache = filled(5, age_s=1.0)
    assert cache.find(4, 0.1, 1.0) is not None
    assert cache.find(4, 0.1, 1.1) is None


def test_numbers_wrap() -> None:
    """65535 and 0 are neighbours; a number of an earlier cycle is not taken for today's."""
    cache = filled(70_000, 0.001, capacity=512)
    assert cache.find((69_999) & 0xFFFF, 0.1, 70.0) is not None
    assert cache.find((69_999 - 512) & 0xFFFF, 0.1, 70.0) is None


def test_memory_of_repeats_is_bounded() -> None:
    """However much is asked for, what was resent is remembered for one ring at most."""
    cache = PacketCache(capacity=64)
    for number in range(1_000):
        cache.put(number, 0, PACKET, PLAN, 1.0)
        cache.resent(number, 1.0)
        assert len(cache._resent_at) <= 65


def test_it_shrinks_again_after_silence() -> None:
    """After everything has expired the next packets are aged out as the first ones were."""
    cache = filled(200, capacity=256, age_s=1.0)
    cache.expire(100.0)
    for number in range(200, 600):
        cache.put(number, 0, PACKET, PLAN, 100.0 + number * 0.1)
    assert len(cache) <= 13


@pytest.mark.parametrize(("rtt_s", "kept_s"), [(0.01, 1.0), (0.3, 1.8), (3.0, 2.5)])
def test_what_nobody_can_ask_for_any_more_is_not_kept(rtt_s: float, kept_s: float) -> None:
    """On a short way a second's packets are kept, on a long one as long as a receiver may wait."""
    cache = filled(1_000, age_s=useful_s(rtt_s))
    assert len(cache) == pytest.approx(kept_s / 0.01, abs=2)


def test_a_retransmission_carries_the_original() -> None:
    """RFC 4588: own SSRC, type and number; timestamp and marker the original's; OSN, then payload."""
    extensions = ExtensionMap(IDS)
    block = extension_block(element(3, b"\0\1"))
    packet = parsed(rtp(9, marker=True, payload=b"frame", extension=block), extensions=extensions)
    plan = ExtensionWriter(extensions, {**IDS}).plan(packet.layout)
    cache = PacketCache()
    cache.put(0xFFFE, 12_345, packet, plan, 1.0)
    sent = cache.find(0xFFFE, 0.1, 1.0)
    assert sent is not None
    writer = RtxWriter(0x88, 65_535)
    out = bytearray(2_000)
    for number in (65_535, 0):
        size = writer.write(sent, 97, out, 1.0, 500)
        got = parsed(bytes(out[:size]))
        assert (got.ssrc, got.payload_type, got.sequence_number) == (0x88, 97, number)
        assert (got.timestamp, got.marker, got.transport_number) == (12_345, 128, 500)
        assert got.payload == b"\xff\xfeframe"
    assert (writer.packet_count, writer.octet_count) == (2, 14)
    assert rtx.restore(got, 0x77, 96)
    assert (got.ssrc, got.payload_type, got.sequence_number) == (0x77, 96, 0xFFFE)
    assert got.payload == b"frame"


@pytest.mark.parametrize("payload", [b"", b"\x01"])
def test_padding_is_no_retransmission(payload: bytes) -> None:
    """Probing on the retransmission stream carries nothing and is refused unchanged."""
    packet = parsed(rtp(7, ssrc=5, payload=payload, padding=50))
    assert not rtx.restore(packet, 1, 96)
    assert (packet.ssrc, packet.sequence_number, packet.payload) == (5, 7, payload)
