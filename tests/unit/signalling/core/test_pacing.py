# SPDX-License-Identifier: Apache-2.0
"""The pace of a page, in virtual time over modelled links."""

from collections import deque
from dataclasses import dataclass

import pytest

from signalling.core.pacing import (
    FIRST_LEAST_BPS,
    HEADERS_BYTES,
    UNKNOWN_BPS,
    Bound,
    Path,
    first_bound_bps,
)
from tests.link.model import DropCause, LinkModel, LinkParameters

SEGMENT = 524
PACKET = SEGMENT + HEADERS_BYTES
PAGE = 33
"""Segments of 16 kB."""
STEP_S = 0.005


def after_handshake(
    rate_bps: float, round_trip_s: float, flight: int = 822, *, repeated: int = 0
) -> Path:
    """What the kernel knows when a flight of a handshake has crossed a link of that rate."""
    segments = -(-flight // SEGMENT)
    took_s = round_trip_s + (flight + segments * HEADERS_BYTES) * 8 / rate_bps
    return Path(
        least_round_trip_s=round_trip_s,
        segment_bytes=SEGMENT,
        acknowledged_bytes=flight,
        arrived_segments=segments,
        flying_segments=0,
        waiting_bytes=0,
        repeated_segments=repeated,
        delivery_bps=segments * SEGMENT * 8 / took_s,
    )


@pytest.mark.parametrize("flight", [300, 822, 2_600])
def test_a_handshake_tells_the_rate_of_a_thin_link(flight: int) -> None:
    """With a certificate of our own, with a chain; less well where a session is resumed. Never far above 24 kbit/s."""
    bps = first_bound_bps(after_handshake(24_000, 0.6, flight))
    assert bps is not None
    assert FIRST_LEAST_BPS <= bps <= (2.6 if flight == 300 else 1.3) * 24_000


def test_what_can_be_jitter_is_no_thin_link() -> None:
    """384 kbit/s at 250 ms work 20 ms on it: less than what a round trip may differ by itself."""
    bps = first_bound_bps(after_handshake(384_000, 0.25))
    assert bps is not None
    assert bps >= 250_000


def test_who_is_near_is_not_bounded() -> None:
    """20 ms: a city, or the proxy before us."""
    assert first_bound_bps(after_handshake(50e6, 0.02)) is None


def test_a_handshake_that_was_repeated_tells_nothing() -> None:
    """Its time is that of a timeout."""
    assert first_bound_bps(after_handshake(5_000, 0.5, repeated=1)) == UNKNOWN_BPS


@dataclass
class Sent:
    """How a page went over a link."""

    took_s: float
    dropped: int
    bps: float
    """The bound at the end."""


def send(link: LinkParameters, first_bps: float, segments: int = PAGE, window: int = 10) -> Sent:
    """Send so many packets at the bound's pace, in a window that slow start widens; nothing is sent again."""
    model = LinkModel(link, 1)
    out, arrived = 0, 0
    back: deque[float] = deque()
    next_s = now = 0.0

    def path() -> Path:
        flying = out - arrived - model.tally.lost_packets[DropCause.QUEUE]
        waiting = (segments - out) * SEGMENT
        return Path(2 * link.delay_ms / 1_000, SEGMENT, 0, arrived, flying, waiting, 0, 0.0)

    bound = Bound(first_bps, path())
    while arrived + model.tally.lost_packets[DropCause.QUEUE] < segments:
        assert now < 60
        back.extend(now + link.delay_ms / 1_000 for _ in model.poll(now))
        while back and back[0] <= now:
            back.popleft()
            arrived += 1
            window += 1
        bound.step(path(), now)
        if out < segments and now >= next_s and path().flying_segments < window:
            out += 1
            model.offer(now, bytes(PACKET))
            next_s = now + PACKET * 8 / bound.bps
        now += STEP_S
    return Sent(now, model.tally.lost_packets[DropCause.QUEUE], bound.bps)


def test_the_queue_of_the_thinnest_link_is_not_overfilled() -> None:
    """Of 24 kbit/s a queue of 600 ms holds three packets: a page goes through, and the link is hardly ever idle."""
    link = LinkParameters(rate_bps=24_000, delay_ms=300)
    first = first_bound_bps(after_handshake(24_000, 0.6))
    assert first is not None
    ours, tcps = send(link, first), send(link, 250_000)
    assert ours.dropped <= 1 < 5 <= tcps.dropped
    assert ours.took_s <= 1.15 * PAGE * PACKET * 8 / 24_000 + 0.6


@pytest.mark.parametrize(("rate_bps", "delay_ms"), [(256_000, 325), (384_000, 125), (1e6, 60)])
def test_a_link_that_was_taken_for_a_thin_one_is_found_out(
    rate_bps: float, delay_ms: float
) -> None:
    """From the least bound to the link's own rate: as slow start, and nothing is dropped."""
    sent = send(LinkParameters(rate_bps=rate_bps, delay_ms=delay_ms), FIRST_LEAST_BPS, 200)
    assert sent.bps >= 0.7 * rate_bps
    assert sent.dropped == 0


def test_a_queue_that_became_long_becomes_shorter() -> None:
    """A link of a quarter of what it was taken for, with a deep queue: the bound comes down to what it carries."""
    link = LinkParameters(rate_bps=48_000, delay_ms=250, queue_ms=4_000)
    assert send(link, 190_000, 60).bps <= 1.3 * 48_000


def test_a_rest_is_no_slow_link() -> None:
    """What comes after a pause is measured from then on."""

    def path(arrived: int, flying: int = 4) -> Path:
        return Path(0.5, SEGMENT, 0, arrived, flying, 0, 0, 0.0)

    bound = Bound(100_000, path(10, 0))
    for step in range(8):
        bound.step(path(10 + step), 1 + 0.05 * step)
    before = bound.bps
    bound.step(path(21, 0), 1.5)
    for step in range(1, 8):
        bound.step(path(21 + step), 60 + 0.05 * step)
        assert bound.bps >= before
