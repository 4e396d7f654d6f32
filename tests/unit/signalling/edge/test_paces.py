# SPDX-License-Identifier: Apache-2.0
"""What an honest page does never meets a pace, however long it does it."""

import pytest

from signalling.core.allowance import Allowance
from signalling.edge import paces

NOW = 1_790_000_000.0


@pytest.mark.parametrize(("characters", "span_s"), [(5_000, 7_200.0), (20_000, 40.0)])
def test_a_note_that_saves_itself(characters: int, span_s: float) -> None:
    """The page saves after pauses of 1.2 s (``PAUSE_MS`` of ``note.js``): two hours of that pass, with a long note."""
    notes = Allowance(paces.NOTE_BURST_BYTES, paces.NOTE_PER_S)
    waits = [
        notes.charge("a", paces.NOTE_BYTES + characters, NOW + 1.2 * n)
        for n in range(int(span_s / 1.2))
    ]
    assert not any(waits)


def test_a_flapping_link_negotiates() -> None:
    """An ICE restart every other second, with 6 KB of description and twelve candidates, goes on for an hour."""
    forwarded = Allowance(paces.FORWARDED_BURST_BYTES, paces.FORWARDED_PER_S)
    for n in range(1_800):
        for size in (6_000, *[300] * 12):
            assert not forwarded.charge("p", size, NOW + 2.0 * n)
