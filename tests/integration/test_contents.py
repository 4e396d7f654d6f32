# SPDX-License-Identifier: Apache-2.0
"""Photographs and voice messages in pieces, on both stores: in, resumed, out, refused, dropped, erased."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from signalling.core import contents as core
from signalling.core.policy import ConsultPolicy
from signalling.edge import contents as edge
from signalling.edge.spools import Spools
from signalling.wire.content import ACK, ACK_FRAME, MIN_PIECE_BYTES, WAITED_STEP_S
from signalling.wire.ids import ConsultId
from tests.integration.conftest import OpenNode
from tests.support import content as c
from tests.support.clinic import Call, Clinic, config, open_clinic

QUICK_PROMISE = ConsultPolicy(away_grace_s=0.3, nobody_s=0.3)


@pytest.fixture
async def call(clinic: Clinic) -> Call:
    """A call that is up."""
    return await clinic.call()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was read back from the store, as it was asked for."""
    asked: list[object] = []
    fetch = Spools.fetch

    async def counted(self: Spools, *args: Any) -> Any:
        asked.append(args)
        return await fetch(self, *args)

    monkeypatch.setattr(Spools, "fetch", counted)
    return asked


async def sealed(clinic: Clinic, consult: str) -> list[int]:
    """Return the sizes of all that is kept for a consult."""
    found = await clinic.node.store.content(f"consult:{consult}")  # type: ignore[arg-type]
    return [len(body) for body in found.values()]


async def test_a_photograph_is_seen_by_both_sides_in_order_with_the_chat(
    clinic: Clinic, call: Call
) -> None:
    """Pieces become one line of the timeline, between the lines around it, and the specialist fetches the same bytes."""
    data = c.jpeg(90_000)
    await call.patient.chat("sebelum")
    key = await c.send(call.patient, data)
    await call.patient.chat("sesudah")
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: "sesudah" in s.said)  # type: ignore[misc]
        kinds = [e["kind"] for e in side.entries if e["kind"] in ("chat", "still")]
        assert kinds == ["chat", "still", "chat"]
    line = next(e for e in call.specialist.entries if e["kind"] == "still")
    assert (line["key"], line["author"]) == (key, "patient")
    assert line["content"]["sha256"] == c.announce(call.patient, data)["sha256"]
    assert await c.fetch(call.specialist, call.consult, key, len(data)) == data
    assert await c.fetch(call.patient, call.consult, key, len(data), step=700) == data
    assert clinic.metric("contents_total", stage="completed", kind="still") == 1
    assert clinic.metric("content_bytes_total", direction="in") == len(data)


async def test_the_other_side_sees_progress(clinic: Clinic, call: Call) -> None:
    """While a picture comes in, the specialist is told how much of it is there."""
    data = c.jpeg(60_000)
    opened = await c.begin(call.patient, c.announce(call.patient, data))
    await c.send_pieces(call.patient, opened["handle"], data, end=20_000)
    told = await call.specialist.wait_for(lambda m: m["type"] == "content_progress")
    assert 0 < told["received"] < told["bytes"] == len(data)


async def test_a_slow_sender_is_acknowledged_in_few_bytes(clinic: Clinic, call: Call) -> None:
    """Small pieces that come one after the other share acknowledgements of 16 bytes, which say when they came."""
    data = c.jpeg(6_000)
    opened = await c.begin(call.patient, c.announce(call.patient, data))
    for at in range(0, 3_200, 400):
        await c.piece(call.patient, opened["handle"], at, data[at : at + 400])
        await asyncio.sleep(0.045)  # a piece on a link of about 70 kbit/s
    await call.patient.wait_until(lambda: c.acked(call.patient, opened["handle"]) == 3_200)
    frames = [f for f in call.patient.frames if f[0] == ACK]
    assert len(frames) <= 4  # 8 pieces in 360 ms
    assert {len(frame) for frame in frames} == {16}
    arrived_ms = [ACK_FRAME.unpack(frame)[5] for frame in frames]
    assert arrived_ms == sorted(set(arrived_ms))
    waited_s = max(ACK_FRAME.unpack(frame)[1] for frame in frames) * WAITED_STEP_S
    assert waited_s <= edge.ACK_LATE_S + 0.1


async def test_a_lost_socket_costs_nothing_that_came(clinic: Clinic, call: Call) -> None:
    """After a lost socket the same key goes on where the server is: every byte that arrived is kept."""
    data = c.jpeg(50_000)
    fields = c.announce(call.patient, data)
    opened = await c.begin(call.patient, fields)
    await c.send_pieces(call.patient, opened["handle"], data, end=21_600)
    await call.patient.wait_until(lambda: c.acked(call.patient, opened["handle"]) == 21_600)
    await call.patient.reconnect()
    again = await c.begin(call.patient, fields)
    assert again["offset"] == 21_600
    call.patient.messages.clear()
    await c.send_pieces(call.patient, again["handle"], data, again["offset"])
    assert await c.until_closed(call.patient, again["handle"]) == ""
    assert clinic.metric("content_resumes_total") == 1
    assert await c.fetch(call.specialist, call.consult, fields["key"], len(data)) == data


async def test_beginning_again_and_again_reads_nothing_again(
    call: Call, fetched: list[object]
) -> None:
    """What this node has checked already isn't read back from the store, however often a page begins anew."""
    data = c.jpeg(60_000)
    fields = c.announce(call.patient, data)
    opened = await c.begin(call.patient, fields)
    await c.send_pieces(call.patient, opened["handle"], data, end=40_000)
    await call.patient.wait_until(lambda: c.acked(call.patient, opened["handle"]) == 40_000)
    for _ in range(5):
        opened = await c.begin(call.patient, fields)
        assert opened["offset"] == 40_000
    assert not fetched
    await c.send_pieces(call.patient, opened["handle"], data, 40_000)
    assert await c.until_closed(call.patient, opened["handle"]) == ""


async def test_a_handle_that_ends_early_costs_no_reading(
    call: Call, fetched: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece in the wrong place, or too much at a time, ends a handle; what was checked isn't read again for it."""
    data = c.jpeg(60_000)
    fields = c.announce(call.patient, data)
    for n in range(3):
        opened = await c.begin(call.patient, fields)
        assert opened["offset"] == n * 12_000
        await c.send_pieces(call.patient, opened["handle"], data, n * 12_000, n * 12_000 + 12_000)
        await c.piece(call.patient, opened["handle"], 0, data[:1_200])
        assert await c.until_closed(call.patient, opened["handle"]) == "content_offset"
    with monkeypatch.context() as patched:
        patched.setattr(edge, "PENDING_MAX_BYTES", 1_200)
        opened = await c.begin(call.patient, fields)
        await c.send_pieces(call.patient, opened["handle"], data, 36_000, 38_400)
        assert await c.until_closed(call.patient, opened["handle"]) == "unavailable"
    opened = await c.begin(call.patient, fields)
    assert opened["offset"] == 37_200
    await c.send_pieces(call.patient, opened["handle"], data, 37_200)
    assert await c.until_closed(call.patient, opened["handle"]) == ""
    assert not fetched


async def test_beginning_again_stores_nothing(clinic: Clinic, call: Call) -> None:
    """What came by a handle of this connection goes over to the next one as it is: a page can't make a row of each piece."""
    data = c.jpeg(12_000)
    fields = c.announce(call.patient, data)
    for at in range(0, 8_000, 400):
        opened = await c.begin(call.patient, fields)
        assert opened["offset"] == at
        await c.piece(call.patient, opened["handle"], at, data[at : at + 400])
    item = clinic.node.contents.spools.known(ConsultId(call.consult)).items[fields["key"]]
    assert len(item.pieces) <= 2  # what waits is stored after two seconds, whatever comes
    opened = await c.begin(call.patient, fields)
    await c.send_pieces(call.patient, opened["handle"], data, 8_000)
    assert await c.until_closed(call.patient, opened["handle"]) == ""
    assert await c.fetch(call.specialist, call.consult, fields["key"], len(data)) == data


async def test_a_link_that_is_lost_after_each_piece_gets_it_through(
    clinic: Clinic, call: Call
) -> None:
    """The smallest pieces that pages send, one for each socket: nothing of it is refused, and all of it is there."""
    data = c.voice(2_900)
    fields = c.announce(call.patient, data, "voice")
    for at in range(0, len(data), 400):
        opened = await c.begin(call.patient, fields)
        assert opened["offset"] == at
        await c.piece(call.patient, opened["handle"], at, data[at : at + 400])
        arrived = min(at + 400, len(data))
        await call.patient.wait_until(
            lambda at=arrived, handle=opened["handle"]: (  # type: ignore[misc]
                c.acked(call.patient, handle) == at or c.closed(call.patient, handle)
            )
        )
        if arrived < len(data):
            await call.patient.reconnect()
            call.patient.frames.clear()
            call.patient.messages.clear()
    assert await c.until_closed(call.patient, opened["handle"]) == ""
    assert await c.fetch(call.specialist, call.consult, fields["key"], len(data)) == data


async def test_crumbs_are_refused(clinic: Clinic, call: Call) -> None:
    """A piece below the least is refused, for each may become a row of the store; only the last one of a content may be."""
    data = c.voice(700)
    fields = c.announce(call.patient, data, "voice")
    opened = await c.begin(call.patient, fields)
    await c.piece(call.patient, opened["handle"], 0, data[: MIN_PIECE_BYTES - 1])
    assert await c.until_closed(call.patient, opened["handle"]) == "content_size"
    fields["key"] = "k_another"
    opened = await c.begin(call.patient, fields)
    await c.piece(call.patient, opened["handle"], 0, data[:690])
    await c.piece(call.patient, opened["handle"], 690, data[690:])
    assert await c.until_closed(call.patient, opened["handle"]) == ""


async def test_a_restarted_node_goes_on_where_it_was(
    no_leaks: None, store_url: str, tmp_path: Path
) -> None:
    """A node that stops stores what came; the next one goes on from there, checks the whole and shows it."""
    data = c.voice(40_000)
    async with open_clinic(config(tmp_path, store_url)) as first:
        patient = await first.patient()
        fields = c.announce(patient, data, "voice", durationMs=30_000)
        opened = await c.begin(patient, fields)
        await c.send_pieces(patient, opened["handle"], data, end=19_200)
        await patient.wait_until(lambda: c.acked(patient, opened["handle"]) == 19_200)
    async with open_clinic(config(tmp_path, store_url)) as second:
        again = second.peer(patient.token, patient.consult)
        assert (await again.open())["type"] == "welcome"
        reopened = await c.begin(again, fields)
        assert reopened["offset"] == 19_200
        await c.send_pieces(again, reopened["handle"], data, reopened["offset"])
        assert await c.until_closed(again, reopened["handle"]) == ""
        assert await c.fetch(again, again.consult or "", fields["key"], len(data)) == data


async def test_a_repeat_of_what_is_there_is_harmless(clinic: Clinic, call: Call) -> None:
    """Whoever lost the answer asks again, and is told that all is there; nothing is stored twice."""
    data = c.voice()
    key = await c.send(call.patient, data, "voice")
    opened = await c.begin(call.patient, c.announce(call.patient, data, "voice", key=key))
    assert opened == {
        "type": "content_open",
        "re": opened["re"],
        "handle": 0,
        "offset": len(data),
        "done": True,
    }
    assert len([e for e in call.patient.entries if e["kind"] == "voice"]) == 1


@pytest.mark.parametrize(
    ("data", "changes", "code"),
    [
        (c.jpeg(5_000), {"sha256": "0" * 64}, "content_hash"),
        (c.jpeg(5_000, extra=c.segment(0xE1, b"Exif\0\0" + bytes(60))), {}, "content_metadata"),
        (c.jpeg(5_000, after=b"a video"), {}, "content_metadata"),
        (c.jpeg(5_000)[:-2], {}, "content_type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), {}, "content_type"),
        (b"RIFF" + bytes(200), {"kind": "voice", "mime": "audio/webm"}, "content_type"),
    ],
)
async def test_what_is_not_what_it_says_is_refused_and_dropped(
    clinic: Clinic, call: Call, data: bytes, changes: dict[str, str], code: str
) -> None:
    """A wrong hash, a place in the picture, another format: a code of its own, no line, and nothing stays in the store."""
    before = await sealed(clinic, call.consult)
    counted = clinic.refusals(code)
    fields = {**c.announce(call.patient, data), **changes}
    opened = await c.begin(call.patient, fields)
    await c.send_pieces(call.patient, opened["handle"], data)
    assert await c.until_closed(call.patient, opened["handle"]) == code
    assert clinic.refusals(code) == counted + 1
    await call.patient.ping()
    assert not [e for e in call.patient.entries if e["kind"] in ("still", "voice")]
    assert (
        await call.specialist.refused(
            "content_read",
            consult=call.consult,
            key=fields["key"],
            handle=1,
            offset=0,
            bytes=100,
        )
        == "not_found"
    )
    async with asyncio.timeout(5):
        while [n for n in await sealed(clinic, call.consult) if n] != before:  # noqa: ASYNC110 - what the store has, no message says
            await asyncio.sleep(0.02)


async def test_limits_are_refused_at_the_beginning(clinic: Clinic, call: Call) -> None:
    """Type, size, length, sender, and a key that stands for something else: refused before a byte travels."""
    patient, specialist = call.patient, call.specialist
    still, voice = c.announce(patient, c.jpeg()), c.announce(patient, c.voice(), "voice")
    cases = [
        (patient, {**still, "mime": "image/png"}, "content_type"),
        (patient, {**voice, "mime": "image/jpeg"}, "content_type"),
        (patient, {**still, "bytes": 8 * 2**20 + 1}, "content_size"),
        (patient, {**voice, "bytes": 2 * 2**20 + 1}, "content_size"),
        (patient, {**voice, "durationMs": 300_001}, "content_size"),
        (patient, {**still, "kind": "auto_still", "bytes": 40_000}, "content_size"),
        (specialist, still, "forbidden"),
    ]
    for peer, fields, code in cases:
        assert await peer.refused("content_begin", **fields) == code
    key = await c.send(patient, c.voice(), "voice")
    assert (
        await patient.refused("content_begin", **{**voice, "key": key, "bytes": 9})
        == "content_hash"
    )
    assert await specialist.refused("content_begin", **{**voice, "key": key}) == "not_found"


async def test_pieces_in_the_wrong_place_end_the_handle(clinic: Clinic, call: Call) -> None:
    """A gap, bytes beyond the end, a piece too large: the handle ends with its code; the connection stays."""
    data = c.jpeg(40_000)
    for offset, piece, code in (
        (1, data[1:100], "content_offset"),
        (0, bytes(16_385), "content_size"),
    ):
        opened = await c.begin(call.patient, c.announce(call.patient, data))
        await c.piece(call.patient, opened["handle"], offset, piece)
        assert await c.until_closed(call.patient, opened["handle"]) == code
    short = c.announce(call.patient, data[:100])
    opened = await c.begin(call.patient, short)
    await c.piece(call.patient, opened["handle"], 0, data[:101])
    assert await c.until_closed(call.patient, opened["handle"]) == "content_size"
    await c.piece(call.patient, 999, 0, b"x")
    error = await call.patient.wait_for(lambda m: m["type"] == "error")
    assert error["code"] == "content_offset"
    await call.patient.ping()


async def test_binary_that_is_no_piece_ends_the_connection(clinic: Clinic, call: Call) -> None:
    """Other binary frames, and those of who may send none, end the connection as before."""
    operator = await clinic.operator()
    stranger = clinic.peer("t" * 40)
    await stranger.dial()
    for peer, frame in (
        (call.patient, b"\x02" + bytes(20)),
        (operator, b"\x01" + bytes(20)),
        (stranger, b"\x01" + bytes(20)),
    ):
        await peer.send_bytes(frame)
        assert await peer.until_closed() == 4003


async def test_too_much_at_a_time_is_refused(clinic: Clinic, call: Call) -> None:
    """Handles of a connection and open content of a side are counted; dropping sockets doesn't get around it."""
    fields = [c.announce(call.patient, c.voice(seed=n), "voice") for n in range(core.MAX_OPEN + 1)]
    for each in fields[: edge.HANDLES]:
        await c.begin(call.patient, each)
    assert await call.patient.refused("content_begin", **fields[edge.HANDLES]) == "content_quota"
    await call.patient.reconnect()
    for each in fields[edge.HANDLES : core.MAX_OPEN]:
        await c.begin(call.patient, each)
    assert await call.patient.refused("content_begin", **fields[-1]) == "content_quota"


async def test_a_consult_holds_so_much(
    clinic: Clinic, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all content of a consult may hold together is refused with its code, whoever sends it."""
    monkeypatch.setattr(core, "CONTENT_MAX_BYTES", 20_000)
    await c.send(call.patient, c.voice(12_000), "voice")
    more = c.announce(call.specialist, c.voice(9_000), "voice")
    assert await call.specialist.refused("content_begin", **more) == "content_quota"
    await c.send(call.specialist, c.voice(7_000), "voice")


async def test_strangers_reach_nothing(clinic: Clinic, call: Call) -> None:
    """Another patient, another specialist, an operator: no sending, no reading, no hint whether it is there."""
    key = await c.send(call.patient, c.jpeg(5_000))
    other = await clinic.patient()
    colleague = await clinic.specialist()
    operator = await clinic.operator()
    reading = {"consult": call.consult, "key": key, "handle": 1, "offset": 0, "bytes": 100}
    begin = {**c.announce(other, c.voice(), "voice"), "consult": call.consult}
    for peer, code in ((other, "not_found"), (colleague, "not_found"), (operator, "forbidden")):
        assert await peer.refused("content_read", **reading) == code
        assert await peer.refused("content_begin", **begin) == code
        assert not peer.frames
    assert await colleague.refused("messages", consult=call.consult) == "not_found"
    assert await call.patient.refused("messages", consult=call.consult) == "forbidden"
    beyond = {**reading, "offset": 5_000}
    assert await call.specialist.refused("content_read", **beyond) == "content_offset"


async def test_a_photograph_is_asked_for(clinic: Clinic, call: Call) -> None:
    """The specialist's asking reaches the patient and the patient's answer the specialist, each only its own steps."""
    await call.specialist.done("still", consult=call.consult, step="asked")
    await call.patient.wait_for(lambda m: m["type"] == "still" and m["step"] == "asked")
    await call.patient.done("still", consult=call.consult, step="declined")
    await call.specialist.wait_for(lambda m: m["type"] == "still" and m["step"] == "declined")
    assert await call.patient.refused("still", consult=call.consult, step="asked") == "forbidden"
    assert (
        await call.specialist.refused("still", consult=call.consult, step="taking") == "forbidden"
    )
    await call.patient.lose()
    await call.specialist.until_state("interrupted")
    assert (
        await call.specialist.refused("still", consult=call.consult, step="asked") == "peer_absent"
    )


async def test_automatic_pictures_are_no_record(clinic: Clinic, call: Call) -> None:
    """An automatic picture reaches the specialist, is no line of the timeline, and its bytes are overwritten when it is over."""
    data = c.jpeg(6_000)
    keys = []
    for seed in range(3):
        data = c.jpeg(6_000, seed=seed)
        keys.append(await c.send(call.patient, data, "auto_still"))
        told = await call.specialist.wait_for(
            lambda m: m["type"] == "content_progress" and m["key"] == keys[-1]
        )
        assert told["received"] == told["bytes"] == 6_000
        assert await c.fetch(call.specialist, call.consult, keys[-1], 6_000) == data
    assert not [e for e in call.specialist.entries if e["kind"] == "still"]
    spools = clinic.node.contents.spools
    assert len(spools.known(ConsultId(call.consult)).items) == 2  # the first was replaced
    assert (await sealed(clinic, call.consult)).count(6_000) == 2


async def test_what_is_not_whole_in_time_is_dropped(
    clinic: Clinic, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content whose rest doesn't come is overwritten and counted as abandoned, by itself."""
    monkeypatch.setattr(core, "KEPT_INCOMPLETE_S", 0.3)
    data = c.jpeg(40_000)
    opened = await c.begin(call.patient, c.announce(call.patient, data))
    await c.send_pieces(call.patient, opened["handle"], data, end=20_000)
    await call.patient.wait_until(lambda: c.kept(call.patient, opened["handle"]) >= 16_384)
    await call.patient.lose()
    async with asyncio.timeout(10):
        while not clinic.metric("contents_total", stage="abandoned", kind="still"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    assert max(await sealed(clinic, call.consult)) < 4_000
    assert not clinic.node.contents.spools.known(ConsultId(call.consult)).items


async def test_erasing_a_consult_erases_its_pictures(clinic: Clinic, call: Call) -> None:
    """With the consult's key its photographs and messages are gone, also those that never became whole."""
    key = await c.send(call.patient, c.jpeg(5_000))
    opened = await c.begin(call.patient, c.announce(call.patient, c.jpeg(40_000)))
    await c.send_pieces(call.patient, opened["handle"], c.jpeg(40_000), end=20_000)
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    assert await c.fetch(call.patient, call.consult, key, 5_000) == c.jpeg(5_000)
    await clinic.node.ledger.erase(ConsultId(call.consult), "a_ops")  # type: ignore[arg-type]
    assert not await sealed(clinic, call.consult)
    reading = {"consult": call.consult, "key": key, "handle": 1, "offset": 0, "bytes": 100}
    assert await call.patient.refused("content_read", **reading) == "not_found"
    assert (
        await call.patient.refused("content_begin", **c.announce(call.patient, c.voice(), "voice"))
        == "consult_over"
    )


async def test_nobody_leaves_unheard(open_node: OpenNode) -> None:
    """With nobody on call: a voice message, the promise, an answer by a specialist who is off call, collected later."""
    clinic = await open_node(consult=QUICK_PROMISE)
    patient = await clinic.patient()
    await patient.until_state("callback")
    spoken = c.voice(9_000)
    key = await c.send(patient, spoken, "voice", durationMs=7_000)
    await patient.chat("tolong")
    doctor = await clinic.specialist(on_call=False)
    await doctor.wait_until(lambda: (doctor.desk.get("callbacks") or [{}])[0].get("messages") == 2)
    read = await doctor.done("messages", consult=patient.consult)
    assert [line.get("text") or line["content"]["kind"] for line in read["lines"]] == [
        "voice",
        "tolong",
    ]
    assert await c.fetch(doctor, patient.consult or "", key, len(spoken)) == spoken
    opened = clinic.consult(patient.consult or "").readers
    assert opened == {doctor.account}
    doctor.consult = patient.consult
    await patient.lose()
    answer = await c.send(doctor, c.voice(5_000, seed=9), "voice")
    await doctor.chat("minum air")
    await doctor.wait_until(lambda: not doctor.desk["callbacks"][0].get("messages"))
    await patient.reconnect()
    await patient.wait_until(lambda: "minum air" in patient.said)
    assert [e["author"] for e in patient.entries if e["kind"] == "voice"] == [
        "patient",
        "specialist",
    ]
    assert await c.fetch(patient, patient.consult or "", answer, 5_000) == c.voice(5_000, seed=9)


async def test_an_answer_can_close_the_promise(open_node: OpenNode) -> None:
    """Who answered by message closes the promise: off the lists, nobody rings, the patient reads on; a reply promises anew."""
    clinic = await open_node(consult=QUICK_PROMISE)
    patient = await clinic.patient()
    await patient.until_state("callback")
    await patient.chat("tolong")
    doctor = await clinic.specialist(on_call=False)
    colleague = await clinic.specialist(on_call=False)
    await doctor.wait_until(lambda: doctor.desk.get("callbacks"))
    closing = {"consult": patient.consult}
    assert await doctor.refused("callback_answered", **closing) == "wrong_state"  # said nothing yet
    doctor.consult = patient.consult
    await c.send(doctor, c.voice(5_000, seed=9), "voice")
    assert await colleague.refused("callback_answered", **closing) == "wrong_state"
    assert await patient.refused("callback_answered", **closing) == "forbidden"
    await doctor.done("callback_answered", **closing)
    await doctor.wait_until(lambda: not doctor.desk.get("callbacks"))
    await patient.wait_until(lambda: patient.view.get("answeredAt"))
    view = patient.view
    assert view["state"] == "callback"
    assert "callbackBy" not in view
    await doctor.done("on_call", on=True)
    past = await doctor.done("history")
    assert [(p["consult"], p["answered"]) for p in past["consults"]] == [(patient.consult, True)]
    await asyncio.sleep(0.5)  # several looks at who waits: nobody is rung
    assert not doctor.desk.get("ring")
    await patient.chat("masih demam")
    await doctor.wait_until(lambda: doctor.desk.get("ring"))
    assert clinic.metric("callbacks_total", stage="answered") == 1
    assert clinic.metric("callbacks_total", stage="promised") == 2


async def test_messages_of_who_only_waits_are_nobodys(clinic: Clinic) -> None:
    """Before a call-back is owed no specialist reads a waiting patient's messages; the waiting patient may send them."""
    patient = await clinic.patient()
    key = await c.send(patient, c.voice(), "voice")
    doctor = await clinic.specialist(on_call=False)
    reading = {"consult": patient.consult, "key": key, "handle": 1, "offset": 0, "bytes": 100}
    assert await doctor.refused("messages", consult=patient.consult) == "not_found"
    assert await doctor.refused("content_read", **reading) == "not_found"
    assert (
        await doctor.refused("chat", consult=patient.consult, key="k1234567", text="x")
        == "not_found"
    )


async def test_who_ended_it_reads_on(clinic: Clinic, call: Call) -> None:
    """After the end the specialist who ended it reads what was said, nobody else does, and nobody adds to it."""
    key = await c.send(call.patient, c.voice(3_000), "voice")
    await call.patient.chat("terima kasih")
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    read = await call.specialist.done("messages", consult=call.consult)
    assert read["lines"][0]["key"] == key
    assert read["lines"][1]["text"] == "terima kasih"
    assert await c.fetch(call.specialist, call.consult, key, 3_000) == c.voice(3_000)
    colleague = await clinic.specialist(on_call=False)
    assert await colleague.refused("messages", consult=call.consult) == "not_found"
    more = c.announce(call.specialist, c.voice(seed=4), "voice")
    assert await call.specialist.refused("content_begin", **more) == "consult_over"


async def test_content_has_its_states(clinic: Clinic) -> None:
    """Before the intake nothing is taken, and an automatic picture only in a call."""
    early = await clinic.patient(intake=False)
    assert (
        await early.refused("content_begin", **c.announce(early, c.voice(), "voice"))
        == "wrong_state"
    )
    waiting = await clinic.patient()
    auto = c.announce(waiting, c.jpeg(5_000), "auto_still")
    assert await waiting.refused("content_begin", **auto) == "wrong_state"
    await c.send(waiting, c.jpeg(5_000))


async def test_two_sockets_with_one_key_make_one_content(open_node: OpenNode) -> None:
    """A page that comes back on another node goes on; what the older socket still had is not stored twice."""
    first = await open_node()
    if not first.node.config.store.url:
        pytest.skip("the embedded store has one node")
    second = await open_node()
    patient = await first.patient()
    data = c.jpeg(60_000)
    fields = c.announce(patient, data)
    opened = await c.begin(patient, fields)
    await c.send_pieces(patient, opened["handle"], data, end=30_000)
    await patient.wait_until(lambda: c.kept(patient, opened["handle"]) >= 16_384)
    again = second.peer(patient.token, patient.consult)
    await again.open()
    reopened = await c.begin(again, fields)
    await c.send_pieces(again, reopened["handle"], data, reopened["offset"])
    assert await c.until_closed(again, reopened["handle"]) in ("", "content_offset")
    reopened = await c.begin(again, fields)
    if not reopened.get("done"):
        await c.send_pieces(again, reopened["handle"], data, reopened["offset"])
        assert await c.until_closed(again, reopened["handle"]) == ""
    assert await c.fetch(again, again.consult or "", fields["key"], len(data)) == data


async def test_sides_on_two_nodes(open_node: OpenNode) -> None:
    """Asking, progress and the picture itself reach the other side when it is connected to another node."""
    first = await open_node()
    if not first.node.config.store.url:
        pytest.skip("the embedded store has one node")
    call = await first.call(elsewhere=await open_node())
    await call.specialist.done("still", consult=call.consult, step="asked")
    await call.patient.wait_for(lambda m: m["type"] == "still" and m["step"] == "asked")
    data = c.jpeg(60_000)
    key = await c.send(call.patient, data)
    await call.specialist.wait_for(lambda m: m["type"] == "content_progress" and m["key"] == key)
    await call.specialist.wait_for(lambda m: m["type"] == "entry" and m["kind"] == "still")
    assert await c.fetch(call.specialist, call.consult, key, len(data)) == data
    auto = await c.send(call.patient, c.jpeg(5_000), "auto_still")
    await call.specialist.wait_for(lambda m: m["type"] == "content_progress" and m["key"] == auto)
    assert await c.fetch(call.specialist, call.consult, auto, 5_000) == c.jpeg(5_000)
