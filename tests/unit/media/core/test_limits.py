# SPDX-License-Identifier: Apache-2.0
"""The table from a rate to what a page may send, and when it is told."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.limits import (
    LEAVE_S,
    PICTURE_MAX_BPS,
    PICTURE_MIN_BPS,
    PICTURE_SHARE,
    TABLE,
    Cap,
    limits_for,
    row_for,
    voice_wire_bps,
)


def wire_bps(limits):
    voice = voice_wire_bps(limits.audio_max_bps, limits.ptime_ms, doubled=limits.red == "first")
    return voice + limits.video_max_bps / PICTURE_SHARE


@pytest.mark.parametrize(
    ("audio_bps", "ptime_ms", "doubled", "measured_bps"),
    [(12_000, 60, False, 20_100), (8_000, 60, False, 16_300), (12_000, 60, True, 31_400)],
)
def test_a_voice_costs_what_was_measured(audio_bps, ptime_ms, doubled, measured_bps):
    """Computed within 6 % of what Chromium sent."""
    assert voice_wire_bps(audio_bps, ptime_ms, doubled=doubled) == pytest.approx(measured_bps, rel=0.06)  # fmt: skip


@given(st.floats(20_000, 3_000_000), st.booleans())
def test_what_is_told_fits_the_rate(rate, lossy):
    """Voice and picture together take no more than the rate, and use most of it where there is a picture."""
    limits = limits_for(rate, TABLE[row_for(rate)], lossy=lossy)
    assert wire_bps(limits) <= rate * 1.03
    if 40_000 <= rate < 2_000_000:
        assert wire_bps(limits) >= 0.8 * rate
    assert limits.video_max_bps == 0 or PICTURE_MIN_BPS <= limits.video_max_bps <= PICTURE_MAX_BPS


@given(st.floats(5_000, 3_000_000), st.floats(1.01, 3))
def test_more_rate_is_never_less_picture_size(rate, factor):
    """Height, frames per second and the total never fall when the rate rises."""
    less = limits_for(rate, TABLE[row_for(rate)], lossy=False)
    more = limits_for(rate * factor, TABLE[row_for(rate * factor)], lossy=False)
    assert (more.video_max_height or 0) >= (less.video_max_height or 0)
    assert (more.video_max_fps or 0) >= (less.video_max_fps or 0)
    assert wire_bps(more) >= wire_bps(less) * 0.97


def test_each_row_can_be_reached_from_the_one_below():
    """What a row sends is at least 80 % of where the next one begins: that is what an estimate needs to grow."""
    for low, high in itertools.pairwise(TABLE):
        sent = wire_bps(limits_for(high.from_bps, low, lossy=False))
        assert sent >= 0.8 * high.from_bps, high


def test_down_is_told_at_once_and_up_with_a_margin():
    """A third less is told in the same moment; 5 % more is not told, 20 % more is, half a second later."""
    cap = Cap()
    first = cap.update(100_000, 100_000, 0.0, 0.0)
    assert first is not None
    assert cap.update(105_000, 105_000, 0.0, 10.0) is None
    more = cap.update(120_000, 120_000, 0.0, 10.5)
    assert more.video_max_bps > first.video_max_bps
    less = cap.update(70_000, 100_000, 0.0, 10.6)
    assert less.video_max_bps < 0.7 * more.video_max_bps
    assert less.video_max_height == more.video_max_height


def test_a_row_is_left_when_the_link_is_known_to_be_too_thin():
    """A queue alone changes no size; a rate below the row's for a second does; a voice's link has no picture."""
    cap = Cap()
    assert cap.update(100_000, 100_000, 0.0, 0.0).video_max_height == 180
    assert cap.update(50_000, 100_000, 0.0, 1.0).video_max_height == 180
    cap.update(50_000, 50_000, 0.0, 2.0)
    assert cap.update(50_000, 50_000, 0.0, 2.0 + LEAVE_S).video_max_height == 120
    cap.update(15_000, 15_000, 0.0, 4.0)
    assert cap.update(15_000, 15_000, 0.0, 4.0 + LEAVE_S).video_max_bps == 0


def test_losses_double_the_voice_where_that_can_be_paid():
    """On 150 kbit/s 3 % of loss bring redundancy; on 18 kbit/s it would take the voice's own place."""
    cap = Cap()
    assert cap.update(150_000, 150_000, 0.0, 0.0).red == "yes"
    assert cap.update(150_000, 150_000, 0.03, 1.0).red == "first"
    assert cap.update(150_000, 150_000, 0.007, 2.0) is None
    assert Cap().update(18_000, 18_000, 0.05, 0.0).red == "yes"
