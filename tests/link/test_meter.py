# SPDX-License-Identifier: Apache-2.0
"""What the comparison counts, on made-up samples whose figures can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.link import meter
from tests.link.meter import Taken

BEGAN = 1_700_000_000.0


def taken(stats: list[tuple[float, dict[str, Any]]], key: str = "0:a") -> Taken:
    return Taken([(BEGAN + at, {key: stat}) for at, stat in stats], [], [])


def voice(at: float, played: int, concealed: int, packets: int) -> tuple[float, dict[str, Any]]:
    counts = {
        "totalSamplesReceived": played,
        "concealedSamples": concealed,
        "packetsReceived": packets,
    }
    return at, {"kind": "inbound-rtp/audio", **counts}


def test_good_audio_is_what_was_not_concealed() -> None:
    """Ten seconds: two before the first packet, one concealed for half of it, one not played at all: 65 % good."""
    rows, played, concealed = [], 0, 0
    for tick in range(101):
        at = tick / 10
        rows.append(voice(at, played, concealed, 0 if at < 2 else tick))
        if 8.99 < at < 9.99:
            continue
        played += 4_800
        concealed += 2_400 if 4.99 < at < 5.99 else 0
    assert meter.good_audio(taken(rows), BEGAN, BEGAN + 10) == pytest.approx(0.65, abs=0.01)


def test_a_new_connection_counts_from_nothing() -> None:
    """What a second connection got is added to what the first one got."""
    rows = [
        (BEGAN, {"0:a": voice(0, 0, 0, 10)[1]}),
        (BEGAN + 1, {"0:a": voice(1, 0, 0, 60)[1]}),
        (BEGAN + 2, {"1:a": voice(2, 0, 0, 40)[1]}),
    ]
    both = Taken(rows, [], [])
    assert meter.growth(both, BEGAN, BEGAN + 2, "inbound-rtp/audio", "packetsReceived") == 90


def test_frozen() -> None:
    """Gaps over a second count whole; a short first wait does not, a long one does, no frame at all is all of it."""
    frames = [BEGAN + 2.0, BEGAN + 2.5, BEGAN + 4.5, BEGAN + 5.5, BEGAN + 9.5]
    assert meter.frozen(frames, BEGAN, BEGAN + 10) == pytest.approx(0.6)
    assert meter.frozen([BEGAN + 6 + n / 4 for n in range(16)], BEGAN, BEGAN + 10) == pytest.approx(
        0.6
    )
    assert meter.frozen([], BEGAN, BEGAN + 10) == 1


def test_frames_and_their_size() -> None:
    """Frames are told by the counter's growth inside the stretch, their size is that of most of them."""
    rows = []
    for tick in range(100):
        size = (
            {"frameWidth": 160, "frameHeight": 120}
            if tick < 20
            else {"frameWidth": 320, "frameHeight": 240}
        )
        rows.append((tick / 10, {"kind": "inbound-rtp/video", "framesDecoded": tick * 2, **size}))
    seen = taken(rows)
    assert len(meter.frames(seen, BEGAN + 1, BEGAN + 5)) == 82
    assert meter.height(seen, BEGAN, BEGAN + 10) == (320, 240)
    assert meter.height(seen, BEGAN, BEGAN + 2) == (160, 120)


def loudness(values: np.ndarray[Any, Any], began: float, seed: int) -> list[meter.Loudness]:
    """Messages of 32 values, each a little late, and those of a silent track between them."""
    random = np.random.default_rng(seed)
    blocks: list[meter.Loudness] = []
    for number in range(len(values) // 32):
        ends = began + (number + 1) * 32 * meter.BLOCK_S
        late = 0.002 + random.exponential(0.01)
        blocks.append(
            (ends + late, number * 32, values[number * 32 : number * 32 + 32].tolist(), 1)
        )
        blocks.append((ends + 0.5, number * 32, [0.0] * 32, 2))
    return blocks


def words(random: np.random.Generator) -> np.ndarray[Any, Any]:
    """A minute of loudness like that of speech: syllables of 60 to 300 ms between silences half as long."""
    parts: list[float] = []
    while len(parts) < 6_000:
        parts += [random.exponential(0.02)] * int(random.integers(6, 28))
        parts += [1e-7] * int(random.integers(3, 14))
    return np.array(parts[:6_000])


@pytest.mark.parametrize("delay_ms", [40, 505, 1_928])
def test_mouth_to_ear(delay_ms: int) -> None:
    """A delay of what is played behind what is said is found to 15 ms, through losses and in late messages."""
    random = np.random.default_rng(1)
    speech = words(random)
    shift = round(delay_ms / 1_000 / meter.BLOCK_S)
    ear = np.concatenate([np.full(shift, 1e-6), speech[:-shift]])
    ear[np.repeat(random.random(len(ear) // 6) < 0.1, 6)] = 1e-6
    mouth, hearer = (
        Taken([], loudness(speech, BEGAN, 2), []),
        Taken([], [], loudness(ear, BEGAN, 3)),
    )
    found = meter.mouth_to_ear_ms(mouth, hearer, BEGAN, BEGAN + 60)
    assert found == pytest.approx(shift * meter.BLOCK_S * 1_000, abs=15)


def test_different_speech_is_not_taken_for_a_delay() -> None:
    """Where another voice is played, or none, no delay is made up."""
    random = np.random.default_rng(5)
    one, other = words(random), words(random)
    mouth = Taken([], loudness(one, BEGAN, 2), [])
    for ear in (other, np.zeros(6_000)):
        hearer = Taken([], [], loudness(ear, BEGAN, 3))
        assert meter.mouth_to_ear_ms(mouth, hearer, BEGAN, BEGAN + 60) is None
    assert meter.mouth_to_ear_ms(mouth, Taken([], [], []), BEGAN, BEGAN + 60) is None
