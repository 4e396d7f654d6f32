# SPDX-License-Identifier: Apache-2.0
"""The packed figures of a way between two browsers: what pages pack, and what nobody may send."""

import base64
import json
import struct
from pathlib import Path

import pytest

from signalling.wire import codec
from signalling.wire.direct import Counted, Way, unpack

GOLDEN = Path(__file__).parents[4] / "tests/wire/golden/client.way.json"


def packed(*values: int) -> str:
    """Return a message's data."""
    return base64.b64encode(struct.pack(">HIHHIHhHB", *values)).decode().rstrip("=")


def test_what_a_page_packs_is_read() -> None:
    """Each octet is where the layout says, with its unit; the sample is what the page's own code packs."""
    said = Counted(1.0, 6_250, 50, 2, 4_000, 0.81, -0.035, 96_000, fresh=False, braked=False)
    assert unpack(packed(100, 6_250, 50, 2, 4_000, 810, -35, 96, 0)) == said
    assert unpack(json.loads(GOLDEN.read_text())["data"]) == said
    assert said.expected == 52


def test_what_is_not_known_is_not_guessed() -> None:
    """Without a new round trip or a new delay there is none, which is not the same as zero."""
    said = unpack(packed(200, 0, 0, 0, 0, 0xFFFF, -0x8000, 0, 3))
    assert (said.rtt_s, said.delay_s, said.fresh, said.braked) == (None, None, True, True)
    assert unpack(packed(200, 0, 0, 0, 0, 0, 0, 0, 0)).rtt_s == 0.0


@pytest.mark.parametrize("data", ["AGQA", "A" * 27, "A" * 29, "A" * 27 + "-", "A" * 27 + "=", ""])
def test_another_length_or_alphabet_is_no_message(data: str) -> None:
    """The codec refuses it before anything is unpacked."""
    message = {"type": "way", "id": 1, "consult": "c_1", "data": data}
    with pytest.raises(codec.WireError):
        codec.decode(json.dumps(message).encode())


def test_a_message_is_small() -> None:
    """With TLS, WebSocket, TCP and IP it is 178 octets: 0.7 kbit/s each two seconds."""
    message = {"type": "way", "id": 9_999, "consult": "x" * 22, "data": packed(*([1] * 9))}
    text = json.dumps(message, separators=(",", ":"))
    assert len(text) + 22 + 6 + 52 <= 178
    assert isinstance(codec.decode(text.encode()), Way)
