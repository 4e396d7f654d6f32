# SPDX-License-Identifier: Apache-2.0
"""Descriptions as fields: golden samples that JavaScript reads as well, sizes, and what is refused."""

from pathlib import Path

import msgspec
import pytest

from media.core import extensions
from media.relay import description, ice
from media.relay.description import Answer, Offer, offer_sdp

ROOT = Path(__file__).parents[4]
GOLDEN = ROOT / "tests/wire/golden"


def offer(name: str = "relay_offer") -> Offer:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=Offer)


@pytest.mark.parametrize("name", ["relay_offer", "relay_offer_least"])
def test_an_offer_becomes_the_golden_sdp(name: str) -> None:
    """The same fields give the same description here and in the pages."""
    text = (GOLDEN / f"{name}.sdp").read_text()
    assert offer_sdp(offer(name)) == text.replace("\n", "\r\n")


def test_the_fullest_offer_is_small() -> None:
    """With 7 credential pairs, 8 candidates and every parameter: half of what is allowed."""
    full = msgspec.structs.replace(
        offer(),
        ice=[str(ice.Credentials.of(bytes([n] * 24))) for n in range(7)],
        candidates=description.candidates(
            ["203.0.113.200", "2001:db8:1234:5678::200"] * 2, 50_000, 443
        ),
    )
    assert len(full.candidates) == 8
    assert len(msgspec.json.encode(full)) < description.OFFER_MAX_BYTES - 600


@pytest.mark.parametrize("name", ["relay_answer", "relay_answer_firefox"])
def test_answers_of_browsers_are_read(name: str) -> None:
    """What the pages make of a real browser's answer is what the relay takes, and small."""
    data = (GOLDEN / f"{name}.json").read_bytes()
    answer = description.read_answer(data)
    assert len(answer.audio.ssrcs) == 1
    assert 111 in answer.audio.payload_types
    assert len(msgspec.json.encode(answer)) < 1_000


ANSWER = msgspec.json.decode((GOLDEN / "relay_answer.json").read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"setup": "active"},
        {"fingerprints": []},
        {"fingerprints": ["sha-256 AA"] * 5},
        {"fingerprints": ["sha-256 AA\r\na=x"]},
        {"ice": "x" * 257},
        {"audio": {**ANSWER["audio"], "ssrcs": [0]}},
        {"audio": {**ANSWER["audio"], "ssrcs": [1 << 32]}},
        {"audio": {**ANSWER["audio"], "ssrcs": [1, 2, 3, 4, 5]}},
        {"audio": {**ANSWER["audio"], "payload_types": [128]}},
        {"video": {**ANSWER["video"], "direction": "both"}},
        {"video": None},
        {"more": 1},
    ],
    ids=str,
)
def test_answers_out_of_bounds_are_refused(change: dict) -> None:
    """A wrong role, a second line in a value, too many or too big numbers, unknown fields: refused as a whole."""
    with pytest.raises(msgspec.ValidationError):
        description.read_answer(msgspec.json.encode(ANSWER | change))


def test_a_long_answer_is_not_even_read() -> None:
    """Beyond 2,500 bytes nothing is parsed."""
    with pytest.raises(msgspec.ValidationError, match="too long"):
        description.read_answer(b" " * 2_501)


def test_a_value_cannot_begin_a_line() -> None:
    """What would add a line to a description is no field of an offer."""
    fields = msgspec.to_builtins(offer()) | {"fingerprint": "sha-256 AA\r\na=ice-ufrag:x"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Offer)


def test_candidates_prefer_udp() -> None:
    """Every UDP candidate outranks every TCP one, and the first address the second."""
    lines = [line for line in offer_sdp(offer()).split("\r\n") if line.startswith("a=candidate")][
        :3
    ]
    priorities = [int(line.split()[3]) for line in lines]
    assert priorities == sorted(priorities, reverse=True)
    assert [line.split()[2] for line in lines] == ["udp", "udp", "tcp"]
    assert description.candidates(["192.0.2.1"], None, 443)[0].transport == "tcp"


def test_identifiers_are_those_of_the_core() -> None:
    """The URIs of the template are the ones that the packet path looks for."""
    wanted = {
        extensions.MID,
        extensions.ABS_SEND_TIME,
        extensions.TRANSPORT_CC,
        extensions.AUDIO_LEVEL,
    }
    assert wanted <= description.EXTENSION_IDS.keys()
    assert sorted(description.EXTENSION_IDS.values()) == list(range(1, 7))


def test_the_pages_copy_of_the_template_is_fresh() -> None:
    """sdp_template.js is what `python -m media.relay.description` writes."""
    assert (ROOT / description.PAGE_COPY).read_text(encoding="utf-8") == description.page_copy()


def test_pairs_come_back() -> None:
    """The credentials of an offer are those that it was made of."""
    pair = ice.Credentials.of(bytes(range(24)))
    assert description.pairs_of(offer())[0] == pair


def test_all_ssrcs_of_an_answer() -> None:
    """Voice, picture and repeats, in that order."""
    answer = msgspec.convert(ANSWER, Answer)
    assert answer.ssrcs == [*ANSWER["audio"]["ssrcs"], *ANSWER["video"]["ssrcs"]]
