# SPDX-License-Identifier: Apache-2.0
"""The spool's fold and limits, the check of what came, and who may read and answer."""

import hashlib
import itertools

import pytest
from msgspec.structs import replace

from signalling.core import audience, contents
from signalling.core import events as ev
from signalling.core.contents import Check, ContentRefused, Spool
from signalling.core.lifecycle import Consult
from signalling.wire.codes import Code
from signalling.wire.content import ContentBegin
from signalling.wire.terms import CallbackReason, ConsultState, ContentKind
from tests.support.content import jpeg, voice

C = "c_1"
AT = 1_000.0


def message(key="k1234567", data=b"x" * 100, **changes):
    fields = {
        "id": 1,
        "consult": C,
        "key": key,
        "kind": ContentKind.VOICE,
        "mime": "audio/webm",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return ContentBegin(**{**fields, **changes})


def begin(spool, msg, role="patient", by=None, kept=(), now=AT):
    events = contents.begin(spool, msg, role=role, by=by, kept=kept, now=now)
    for event in events:
        spool = contents.apply(spool, event)
    return spool


def stored(key, offset, size, content="p1", until=AT + 9):
    return ev.ContentStored(AT, C, key, offset, size, content, until)


def test_pieces_follow_on_each_other():
    """Only bytes that follow on those before count; others change nothing but the version."""
    spool = begin(Spool(C), message())
    spool = contents.apply(spool, stored("k1234567", 0, 60))
    same = contents.apply(spool, stored("k1234567", 0, 60, "p2"))
    assert same.items == spool.items
    assert same.version == spool.version + 1
    whole = contents.apply(same, stored("k1234567", 60, 40, "p3"))
    item = whole.items["k1234567"]
    assert item.whole
    assert [p.content for p in item.pieces] == ["p1", "p3"]
    assert not contents.apply(whole, ev.ContentDropped(AT, C, "k1234567")).items


def test_a_known_key_makes_nothing_new():
    """Announcing again is no event; the same key for other bytes, or by somebody else, is refused."""
    spool = begin(Spool(C), message())
    assert begin(spool, message()) == spool
    for changed, role, code in (
        (message(data=b"y" * 100), "patient", Code.CONTENT_HASH),
        (message(), "specialist", Code.NOT_FOUND),
    ):
        with pytest.raises(ContentRefused) as refused:
            begin(spool, changed, role=role)
        assert refused.value.code is code


def test_limits_by_kind():
    """Each kind has its types and sizes; pictures are the patient's."""
    cases = [
        (message(mime="image/jpeg"), "patient", Code.CONTENT_TYPE),
        (message(kind=ContentKind.STILL), "patient", Code.CONTENT_TYPE),
        (message(bytes=contents.VOICE_BYTES + 1), "patient", Code.CONTENT_SIZE),
        (message(duration_ms=contents.VOICE_MS + 1), "patient", Code.CONTENT_SIZE),
        (message(kind=ContentKind.STILL, mime="image/jpeg"), "specialist", Code.FORBIDDEN),
        (
            message(kind=ContentKind.AUTO_STILL, mime="image/jpeg", bytes=25_000),
            "patient",
            Code.CONTENT_SIZE,
        ),
    ]
    for msg, role, code in cases:
        with pytest.raises(ContentRefused) as refused:
            begin(Spool(C), msg, role=role)
        assert refused.value.code is code, msg


def test_open_content_is_counted_by_side_and_kept_content_is_not(monkeypatch):
    """A side has so many open at a time; what is whole in the consult doesn't count; everything ever begun is bounded."""
    spool = Spool(C)
    keys = [f"k123456{n}" for n in range(contents.MAX_OPEN)]
    for key in keys:
        spool = begin(spool, message(key))
    with pytest.raises(ContentRefused):
        begin(spool, message("k_another1"))
    assert begin(spool, message("k_another1"), role="specialist", by="a_1").begun == len(keys) + 1
    assert begin(spool, message("k_another1"), kept=keys[:1]).begun == len(keys) + 1
    monkeypatch.setattr(contents, "MAX_BEGUN", spool.begun)
    with pytest.raises(ContentRefused):
        begin(spool, message("k_another1"), kept=keys)


def test_the_next_to_be_dropped_is_due():
    """The stream is due when the first content that isn't kept runs out; kept content never does."""
    spool = begin(begin(Spool(C), message("k_first12")), message("k_second1"), now=AT + 50)
    assert contents.due_at(spool, ()) == AT + contents.KEPT_INCOMPLETE_S
    assert contents.due_at(spool, {"k_first12"}) == AT + 50 + contents.KEPT_INCOMPLETE_S
    assert contents.due_at(spool, {"k_first12", "k_second1"}) is None


def test_automatic_pictures_give_way_but_for_the_newest():
    """The newest one may be being fetched; those before it are dropped."""
    spool = Spool(C)
    for n in range(3):
        still = message(f"k_auto000{n}", kind=ContentKind.AUTO_STILL, mime="image/jpeg")
        assert contents.replaced(spool, still.kind, "patient") == [
            f"k_auto000{i}" for i in range(n - 1)
        ]
        spool = begin(spool, still)
    assert contents.replaced(spool, ContentKind.VOICE, "patient") == []


@pytest.mark.parametrize("mime", ["audio/webm", "audio/ogg", "audio/mp4"])
def test_voice_must_begin_as_its_type_does(mime):
    """Each container is known by its first bytes, also when they come one by one; another one's are refused."""
    heads = {
        "audio/webm": b"\x1a\x45\xdf\xa3" + bytes(20),
        "audio/ogg": b"OggS" + bytes(20),
        "audio/mp4": b"\0\0\0\x18ftypM4A " + bytes(20),
    }
    for other, data in heads.items():
        begun = contents.begin(
            Spool(C), message(data=data, mime=mime), role="patient", by=None, kept=(), now=AT
        )
        check = Check(begun[0])
        if other == mime:
            for at in range(len(data)):
                check.feed(data[at : at + 1])
            check.finish()
        else:
            with pytest.raises(ContentRefused) as refused:
                check.feed(data)
            assert refused.value.code is Code.CONTENT_TYPE


def test_the_hash_decides_at_the_end():
    """Whole, well-formed and other bytes than announced: refused; the announced ones pass."""
    data = jpeg(2_000)
    msg = message(data=data, kind=ContentKind.STILL, mime="image/jpeg")
    begun = contents.begin(Spool(C), msg, role="patient", by=None, kept=(), now=AT)[0]
    for sent, code in ((data, None), (jpeg(2_000, seed=5), Code.CONTENT_HASH)):
        check = Check(begun)
        check.feed(sent)
        if code is None:
            check.finish()
        else:
            with pytest.raises(ContentRefused) as refused:
                check.finish()
            assert refused.value.code is code
    assert voice(20)[:4] == b"\x1a\x45\xdf\xa3"


def test_who_may_read_and_answer():
    """In each state: the specialist of the call, a colleague, with and without a promise."""
    for state, promised in itertools.product(ConsultState, (False, True)):
        consult = replace(
            Consult(id=C, state=state, specialist="a_1"),
            callback_by=AT if promised else None,
            callback_reason=CallbackReason.NOBODY_ON_CALL if promised else None,
        )
        in_call = state in (ConsultState.IN_CALL, ConsultState.INTERRUPTED)
        owed = promised and not consult.over
        assert audience.specialist_may_answer(consult, "a_1") == (in_call or owed)
        assert audience.specialist_may_answer(consult, "a_2") == owed
        assert audience.specialist_may_read(consult, "a_1") == (in_call or owed or consult.over)
        assert audience.specialist_may_read(consult, "a_2") == owed
        assert not audience.specialist_may_read(consult, None)


def test_a_check_that_was_left_is_taken_up_once():
    """Only where exactly what it has read is stored, of the same announcement, and only by one; the oldest are forgotten."""
    left = contents.LeftChecks()
    begun = begin(Spool(C), message()).items["k1234567"].begun
    other = begin(Spool(C), message(data=b"y" * 100)).items["k1234567"].begun
    for asked, read in ((begun, 61), (other, 60)):
        left.keep(begun, 60, Check(begun))
        assert left.take(asked, read) is None
    check = Check(begun)
    left.keep(begun, 60, check)
    assert left.take(begun, 60) is check
    assert left.take(begun, 60) is None
    left.keep(begun, 60, check)
    for at in range(contents.LEFT_MAX):
        one = replace(begun, key=f"k{at}")
        left.keep(one, 1, Check(one))
    assert left.take(begun, 60) is None
