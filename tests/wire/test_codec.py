# SPDX-License-Identifier: Apache-2.0
"""The decoder against whatever may arrive: a client message or ``WireError``, nothing else."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalling.wire import codec
from signalling.wire.base import FromClient
from signalling.wire.codes import CODES, Code
from signalling.wire.messages import MAX_MESSAGE_BYTES, Candidate, Chat

SAMPLES = [
    path.read_bytes() for path in sorted((Path(__file__).parent / "golden").glob("client.*.json"))
]

ODD_TEXTS = st.sampled_from(["\ud800", "\udfff\ud800", "\x00", "\u202e", "é" * 50, "v=0\r\n", "😀"])
ODD_NUMBERS = st.sampled_from(
    [0, -1, 2**53, 2**64, -(2**64), 10**400, 1e308, -0.0, float("nan"), float("inf"), 0.5, 1e-400]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_NUMBERS | st.text() | ODD_TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
)


def reads(data: bytes) -> FromClient | Code:
    """Return the message or the code of the refusal; any other exception fails the test."""
    try:
        return codec.decode(data)
    except codec.WireError as error:
        refusal = error
    assert refusal.code in CODES
    assert refusal.request_id is None or 0 < refusal.request_id < 2**53
    return refusal.code


@given(st.binary(max_size=300))
def test_bytes_are_read_or_refused(data):
    """Arbitrary bytes never raise anything but WireError."""
    assert isinstance(reads(data), FromClient | Code)


@given(VALUES)
def test_json_is_read_or_refused(value):
    """Arbitrary JSON (with NaN, infinities, lone surrogates) never raises anything but WireError."""
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    assert isinstance(reads(data), FromClient | Code)


@settings(max_examples=400)
@given(st.sampled_from(SAMPLES), st.data())
def test_a_changed_field_is_read_or_refused(sample, data):
    """A true message with any one value replaced, at any depth, is read or refused."""
    message = json.loads(sample)
    place = message
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(VALUES)
        break
    raw = json.dumps(message, ensure_ascii=data.draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )
    assert isinstance(reads(raw), FromClient | Code)


@given(st.sampled_from(SAMPLES), st.integers(min_value=0), st.binary(min_size=1, max_size=4))
def test_damaged_messages_are_read_or_refused(sample, at, junk):
    """A true message with bytes overwritten anywhere is read or refused."""
    at %= len(sample)
    assert isinstance(reads(sample[:at] + junk + sample[at + len(junk) :]), FromClient | Code)


@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_a_truncated_message_is_malformed(sample):
    """Cut anywhere, a message is refused as malformed."""
    whole = sample.rstrip()
    assert {reads(whole[:length]) for length in range(len(whole))} == {Code.MALFORMED}


def chat(**fields: object) -> bytes:
    """Return a chat line as JSON, with some fields replaced."""
    whole = {
        "type": "chat",
        "id": 7,
        "consult": "c_1",
        "key": "k_12345678",
        "text": "halo",
    } | fields
    return json.dumps(whole).encode()


def test_a_chat_line_is_read():
    """The plain case works, so that the refusals below mean something."""
    assert codec.decode(chat()) == Chat(id=7, consult="c_1", key="k_12345678", text="halo")


def test_a_text_has_lines_and_tabs():
    """What a keyboard or a paste has between words is taken, in every script; other control characters are refused below."""
    text = "satu\n\tdua\r\ntiga \u00a0 සිංහල \U0001f600\n"
    assert codec.decode(chat(text=text)).text == text


@pytest.mark.parametrize(
    "data",
    [
        chat(extra=1),
        chat(id=0),
        chat(id=2**53),
        chat(id=1.5),
        chat(id=True),
        chat(id="7"),
        chat(key="short"),
        chat(consult="a/b"),
        chat(text=""),
        chat(text="x" * 2_001),
        chat(text=None),
        chat(text="beep\x07"),
        chat(text="\x1b[2J"),
        chat(text="two\x0blines"),
        chat(type="unheard_of"),
        chat(type=None),
        b'{"id":7,"consult":"c_1","key":"k_12345678","text":"halo"}',
        b'{"type":"chat","id":7,"consult":"c_1","key":"k_12345678","text":"\xff\xfe"}',
        b'{"type":"chat","id":7,"consult":"c_1","key":"k_12345678","text":"\\ud800"}',
        b'{"type":"chat","id":NaN,"consult":"c_1","key":"k_12345678","text":"halo"}',
        b'\xef\xbb\xbf{"type":"leave","id":1}',
        b'{"type":"leave","id":1}{"type":"leave","id":2}',
        b'{"type":"leave","id":' + b"9" * 5_000 + b"}",
        b"[" * 60_000,
        b'{"type":"intake","id":1,"form":' + b'{"form":' * 5_000,
        b"",
        b"null",
    ],
)
def test_what_is_wrong_is_malformed(data):
    """Unknown fields and types, values out of bounds, NaN, bad UTF-8, surrogates, depth: all one code."""
    assert reads(data) is Code.MALFORMED


def test_a_duplicate_key_counts_once():
    """Of a repeated key the last counts and is held to the same limits: no way around a check."""
    message = codec.decode(b'{"type":"leave","id":1,"id":2}')
    assert message.id == 2
    assert reads(b'{"type":"leave","id":1,"id":-2}') is Code.MALFORMED


def test_the_size_limit_is_exact():
    """65,536 bytes are looked at, one more is not."""
    room = MAX_MESSAGE_BYTES - len(b'{"type":"leave","id":1}')
    at_limit = b'{"type":"leave","id":1}' + b" " * room
    assert not isinstance(reads(at_limit), Code)
    assert reads(at_limit + b" ") is Code.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "request_id"),
    [
        (b'{"type":"chat","id":9}', 9),
        (b'{"type":"unheard_of","id":10,"more":[1,2,{"a":3}]}', 10),
        (b'{"type":"chat","id":0}', None),
        (b'{"type":"chat","id":"9"}', None),
        (b'{"type":"chat","id":9', None),
        (b"[9]", None),
    ],
)
def test_a_refusal_names_the_request_where_it_can(data, request_id):
    """The id of a message that is otherwise wrong is read, so that the sender knows what was refused."""
    with pytest.raises(codec.WireError) as caught:
        codec.decode(data)
    assert caught.value.request_id == request_id


def test_every_code_has_its_row():
    """No code lacks status and close code; those that end the connection use the private range, once each."""
    assert set(CODES) == set(Code)
    closes = [info.close for info in CODES.values() if info.close is not None]
    assert all(4000 <= close < 5000 for close in closes)
    assert all(400 <= info.status < 600 for info in CODES.values())


@pytest.mark.parametrize(
    "text", ["x", "a=candidate:1", " candidate:1", "candidate:1\n", "candidate:1\ra=x", "\n"]
)
def test_a_candidate_is_one_line(text: str) -> None:
    """A candidate that could add a line to the recipient's SDP, or is none, is malformed; its id is still read."""
    sent = {"type": "candidate", "id": 7, "consult": "c", "candidate": {"candidate": text}}
    with pytest.raises(codec.WireError) as refused:
        codec.decode(json.dumps(sent).encode())
    assert refused.value.code is Code.MALFORMED
    assert refused.value.request_id == 7


@pytest.mark.parametrize("text", ["", "candidate:1 1 udp 1 192.0.2.1 9 typ host"])
def test_a_good_candidate_is_taken(text: str) -> None:
    """A candidate's line is taken, and so is the empty one that ends a generation."""
    sent = {"type": "candidate", "id": 7, "consult": "c", "candidate": {"candidate": text}}
    message = codec.decode(json.dumps(sent).encode())
    assert isinstance(message, Candidate)
    assert message.candidate is not None
    assert message.candidate.candidate == text
