# SPDX-License-Identifier: Apache-2.0
"""The packed figures of a reception: what pages pack, and what nobody may send."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from signalling.wire import codec
from signalling.wire.quality import SECONDS_MAX, Reception, Second, unpack

GOLDEN = Path(__file__).parents[4] / "tests/wire/golden/client.reception.json"


def packed(head: bytes, seconds: bytes) -> str:
    """Return a message's data."""
    return base64.b64encode(head + seconds).decode().rstrip("=")


HEAD = bytes([650 >> 8, 650 & 0xFF, 24, 60, 23, 1])
SECOND = bytes([50, 50, 3, 1, 12, 15, 0])


def test_what_a_page_packs_is_read() -> None:
    """Each octet is where the layout says, with its unit."""
    received = unpack(packed(HEAD, SECOND))
    assert (received.rtt_s, received.opus_bps, received.frame_s) == (0.65, 12_000, 0.06)
    assert (received.lines, received.picture, received.hidden) == (184, True, False)
    assert received.microphone == "on"
    assert received.seconds == (Second(1.0, 1.0, 0.06, 1, 0.12, 15, 0.0),)


@pytest.mark.parametrize(
    ("opus", "flags", "microphone"),
    [(24, 0, "on"), (0, 0, "none"), (24, 2, "muted"), (0, 4, "taken"), (24, 6, "taken")],
)
def test_the_microphone(opus: int, flags: int, microphone: str) -> None:
    """That the system took it says more than that it is muted, and that more than that nothing is sent."""
    assert unpack(packed(bytes([0, 9, opus, 20, 0, flags]), SECOND)).microphone == microphone


def test_more_than_there_was_is_not_believed() -> None:
    """Concealed is no more than what was heard, frozen no more than the second was long."""
    (second,) = unpack(packed(HEAD, bytes([50, 40, 255, 1, 0, 0, 255]))).seconds
    assert (second.concealed_s, second.frozen_s) == (0.8, 1.0)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "A",
        packed(HEAD, b""),
        packed(HEAD, SECOND[:-1]),
        packed(HEAD, SECOND + b"\0"),
        packed(HEAD, SECOND * (SECONDS_MAX + 1)),
        packed(HEAD, SECOND) + "!",
    ],
)
def test_other_layouts_are_refused(data: str) -> None:
    """Neither half a second, nor none, nor too many, nor what is not base 64."""
    with pytest.raises(ValueError, match="not "):
        unpack(data)


def test_five_seconds_fit_into_150_octets() -> None:
    """The message of five bad seconds, as it goes on the wire."""
    data = packed(HEAD, SECOND * 5)
    message = {"type": "reception", "id": 99_999, "consult": "AbCdEfGhIjKlMnOp", "data": data}
    text = json.dumps(message, separators=(",", ":")).encode()
    assert isinstance(codec.decode(text), Reception)
    assert len(text) < 150


def test_the_golden_sample_is_five_seconds() -> None:
    """What JavaScript packs in its own test is what Python reads."""
    message = msgspec.json.decode(GOLDEN.read_bytes(), type=Reception)
    received = unpack(message.data)
    assert (received.rtt_s, received.opus_bps, received.lines) == (0.65, 12_000, 120)
    assert [s.bursts for s in received.seconds] == [0, 1, 0, 2, 0]
    assert [s.frames for s in received.seconds] == [10, 9, 0, 0, 11]
    assert [round(s.frozen_s, 2) for s in received.seconds] == [0, 0, 1, 1, 0.1]
