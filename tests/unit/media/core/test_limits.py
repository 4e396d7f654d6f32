# SPDX-License-Identifier: Apache-2.0
"""What a page is told of its direction."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core.fit import STILL_BPS, Link
from media.core.ladder import Reason, begin
from media.core.limits import TOLD_BPS, limits_of, stills_bps
from media.core.link_probe import Outlook
from media.core.rungs import Rung, Wish
from signalling.wire import legs as wire


def link(rate_bps, loss=0.0, rtt_s=0.1, usable_bps=None):
    return Link(rate_bps, usable_bps or rate_bps, loss, rtt_s)


def told(rung, *path, wish=Wish.MOTION):
    return limits_of(begin(rung, path, 0.0, wish), Reason.START, path, 0.1)


def test_the_words_on_the_wire_are_the_ladders():
    """Rungs, reasons, wishes and outlooks are spelled alike in both packages, in the same order."""
    assert get_args(wire.RungName) == tuple(rung.label for rung in Rung)
    assert get_args(wire.RungReason) == tuple(Reason)
    assert get_args(wire.WishName) == tuple(Wish)
    assert get_args(wire.OutlookName) == tuple(Outlook)


@given(st.floats(4e3, 5e6), st.floats(0, 0.2), st.sampled_from(list(Wish)))
def test_what_is_told_fits_the_wire(rate, loss, wish):
    """Whatever the link, the fields are within what a message may say, and the whole within the link's rate."""
    limits = told(Rung.OPEN, link(rate, loss), wish=wish)
    said = {
        name: getattr(limits, name)
        for name in wire.Limits.__struct_fields__
        if name not in ("rung", "reason", "whose", "brake")
    }
    wire.Limits(**said)
    assert limits.video_max_bps == 0 or limits.video_max_bps >= 10_000
    assert (limits.video_max_height is None) == (limits.video_max_bps == 0)
    assert limits.video_max_bps + limits.stills_bps < rate
    assert (limits.brake is None) == (limits.video_max_bps == 0)


def test_the_voice_goes_on_without_a_rung_for_it():
    """On 8 kbit/s the rung is `text`, and the least voice is sent: nobody else finds out that the link is back."""
    limits = told(Rung.OPEN, link(8_000))
    assert (limits.rung, limits.audio_max_bps, limits.ptime_ms) == (Rung.TEXT, 8_000, 60)


def test_in_the_open_the_browser_rules_its_own_link_and_this_the_watchers():
    """5 Mbit/s up, 1.5 down to the watcher: the cap is below 1.5; the watcher's link alone makes it so."""
    alone = told(Rung.OPEN, link(5e6))
    assert alone.video_max_bps == 2_500_000
    watched = told(Rung.OPEN, link(5e6), link(1.5e6))
    assert 850_000 <= watched.video_max_bps < 1_400_000


def test_detail_is_told():
    """The browser is to keep the resolution and let the frame rate go."""
    assert told(Rung.MEDIUM, link(300e3), wish=Wish.DETAIL).detail
    assert not told(Rung.MEDIUM, link(300e3)).detail


def test_stills_get_what_the_call_leaves():
    """Beside a voice of 20 on 64 kbit/s more than 30; while a queue drains nothing that isn't usable."""
    path = (link(64e3),)
    sending = begin(Rung.VOICE, path, 0.0).sending
    assert 30_000 < stills_bps(sending, path) < 40_000
    assert stills_bps(sending, (link(64e3, usable_bps=20e3),)) == 0


def test_stills_may_try_what_is_hoped_of_a_link():
    """A voice alone on 24 kbit/s leaves nothing of what is known; of a half more there is room for a still each 15 s."""
    path = (link(24e3),)
    state = begin(Rung.VOICE, path, 0.0)
    assert limits_of(state, Reason.START, path, 0.1).stills_bps < STILL_BPS
    assert limits_of(state, Reason.START, path, 0.1, (link(36e3),)).stills_bps >= STILL_BPS


@pytest.mark.parametrize(("rate", "drifts"), [(64e3 + TOLD_BPS / 2, False), (128e3, True)])
def test_only_what_is_worth_a_message_is_told(rate, drifts):
    """A few hundred bits more for stills are not worth 400 octets; twice as much is."""
    before, after = told(Rung.VOICE, link(64e3)), told(Rung.VOICE, link(rate))
    assert not after.differs(before)
    assert after.drifted(before) is drifts
