# SPDX-License-Identifier: Apache-2.0
"""What pages say that they received becomes words for both people, histograms and a word on the board."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from signalling.core import quality_of_posts
from signalling.edge import quality
from signalling.wire.ids import PostCode
from tests.support.clinic import QUICK, Call, Clinic, config, open_clinic
from tests.support.fake_relay import FakeRelay, Page
from tests.support.peer import Message, Peer
from tests.support.redis_server import RedisServer

GOOD = bytes([50, 50, 0, 0, 5, 15, 0])
LOSSY = bytes([50, 50, 4, 2, 5, 15, 0])


def packed(second: bytes = GOOD, *, rtt_ms: int = 40, flags: int = 1, opus: int = 64) -> str:
    """Return five equal seconds as a page packs them."""
    head = bytes([rtt_ms >> 8, rtt_ms & 0xFF, opus, 20, 60, flags])
    return base64.b64encode(head + second * 5).decode().rstrip("=")


@pytest.fixture
def real_spacing() -> None:
    """For tests of the rate itself."""


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Receptions of these tests come at once, but where their rate is what is tested."""
    if "real_spacing" not in request.fixturenames:
        monkeypatch.setattr(quality, "SPACING_S", 0.0)


async def receive(side: Peer, data: str) -> None:
    await side.send("reception", consult=side.consult, data=data)


def last(side: Peer) -> Message:
    return side.of("quality")[-1] if side.of("quality") else {}


async def both(call: Call, patient: str, specialist: str, rounds: int = 3) -> None:
    """Let both pages say the same for some seconds' worth of messages."""
    for _ in range(rounds):
        await receive(call.patient, patient)
        await receive(call.specialist, specialist)


async def test_words_reach_both(clinic: Clinic) -> None:
    """The patient hears gaps: both are told, each from where they are; the same is not told twice."""
    call = await clinic.call()
    await both(call, packed(LOSSY), packed())
    await call.patient.wait_until(lambda: last(call.patient).get("mine", {}).get("word") == "poor")
    await call.specialist.wait_until(
        lambda: last(call.specialist).get("theirs", {}).get("word") == "poor"
    )
    assert last(call.specialist)["mine"]["word"] == "excellent"
    assert last(call.patient)["mine"]["reason"] == "loss"
    told = len(call.patient.of("quality")), len(call.specialist.of("quality"))
    await both(call, packed(LOSSY), packed(), rounds=5)
    assert await call.patient.request("ping")
    assert await call.specialist.request("ping")
    assert (len(call.patient.of("quality")), len(call.specialist.of("quality"))) == told
    route = {"route": "direct"}
    assert clinic.metric("voice_score_ratio_count", role="patient", **route) == 40
    assert clinic.metric("concealed_ratio_sum", role="patient", **route) == pytest.approx(0.08 * 8)
    assert clinic.metric("mouth_to_ear_seconds_count", role="specialist", **route) == 8
    assert clinic.metric("quality_seconds_total", word="poor", whose="unknown") == 40


async def test_a_microphone_that_was_taken_is_told_to_the_other_side(clinic: Clinic) -> None:
    """A phone call takes the patient's microphone: the specialist's page knows with the next message."""
    call = await clinic.call()
    await both(call, packed(), packed())
    await receive(call.patient, packed(flags=5, opus=0))
    await call.specialist.wait_until(lambda: last(call.specialist).get("microphone") == "taken")
    await receive(call.patient, packed(flags=9))
    await call.specialist.wait_until(lambda: last(call.specialist).get("hidden"))
    assert "microphone" not in last(call.specialist)


async def test_the_weak_link_is_named(clinic: Clinic) -> None:
    """By way of a relay that measures both links, the satellite is named and not the doctor; the board shows it too."""
    relay = await FakeRelay.start(clinic)
    operator = await clinic.operator()
    specialist = await clinic.specialist()
    patient = await clinic.patient()
    pages = [Page(specialist), Page(patient)]
    call = await clinic.connect(patient, specialist)
    await call.patient.wait_until(lambda: relay.has(f"p_{call.consult}"))
    links = [
        {
            "leg": leg,
            "rttMs": 650 if seat["role"] == "patient" else 30,
            "upLoss": 0.0,
            "downLoss": 0.08 if seat["role"] == "patient" else 0.0,
            "upBps": 0,
            "downBps": 0,
        }
        for leg, seat in relay.seats.items()
    ]
    assert len(links) == 2
    await relay.send("leg_links", links=links)
    assert await relay.request("ping")
    await both(call, packed(LOSSY, rtt_ms=650), packed(rtt_ms=30))
    await call.patient.wait_until(lambda: last(call.patient).get("mine", {}).get("where") == "own")
    await call.specialist.wait_until(
        lambda: last(call.specialist).get("theirs", {}).get("where") == "other"
    )
    await operator.wait_until(
        lambda: [c.get("weak") for c in operator.of("board")[-1].get("calls", [])] == ["patient"]
    )
    (row,) = operator.of("board")[-1]["calls"]
    assert row["quality"] in ("poor", "bad")
    assert await relay.refused("leg_links", links=[{**links[0], "leg": "l_nobody"}]) == "not_found"
    for page in pages:
        await page.stop()


@pytest.mark.parametrize("data", ["AAAA", packed()[:-2], packed() + "AAAAAAA"])
async def test_what_is_not_laid_out_as_it_must_be_is_refused(clinic: Clinic, data: str) -> None:
    """Another length is malformed, and changes nothing."""
    call = await clinic.call()
    assert await call.patient.refused("reception", consult=call.consult, data=data) == "malformed"
    assert clinic.metric("voice_score_ratio_count", role="patient", route="direct") == 0


async def test_who_may_say_what_was_received(clinic: Clinic) -> None:
    """The two in the call, of their call, while it lasts: an operator and a stranger are refused, a late one ignored."""
    call, stranger, operator = await clinic.call(), await clinic.patient(), await clinic.operator()
    given = {"consult": call.consult, "data": packed()}
    assert await operator.refused("reception", **given) == "forbidden"
    assert await stranger.refused("reception", **given) == "not_found"
    link = {"leg": "l_1", "rttMs": 9, "upLoss": 0, "downLoss": 0, "upBps": 0, "downBps": 0}
    assert await call.patient.refused("leg_links", links=[link]) == "forbidden"
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await call.patient.until_state("ended")
    before = clinic.metric("receptions_ignored_total", reason="no_call")
    await receive(call.patient, packed())
    assert await call.patient.request("ping")
    assert clinic.metric("receptions_ignored_total", reason="no_call") == before + 1
    assert [e["code"] for e in call.patient.of("error")] == ["forbidden"]


async def test_too_many_are_not_counted(clinic: Clinic, real_spacing: None) -> None:
    """More than one in two seconds is ignored, with a counter; nobody is thrown out for a timer that ran twice."""
    call = await clinic.call()
    for _ in range(4):
        await receive(call.patient, packed())
    assert await call.patient.request("ping")
    assert clinic.metric("receptions_ignored_total", reason="too_soon") == 3
    assert clinic.metric("voice_score_ratio_count", role="patient", route="direct") == 5


@pytest.mark.redis
async def test_two_nodes(no_leaks: None, redis_server: RedisServer, tmp_path: Path) -> None:
    """Sides on different nodes get the same words; each side's figures are counted once, at its own node."""
    redis_server.command("FLUSHALL")
    settings = config(tmp_path, redis_server.url, consult=QUICK)
    async with open_clinic(settings) as a, open_clinic(settings) as b:
        call = await a.call(elsewhere=b)
        async with asyncio.timeout(10):
            while last(call.specialist).get("theirs", {}).get("word") != "poor":
                await both(call, packed(LOSSY), packed(), rounds=1)
                await asyncio.sleep(0.05)
        await call.patient.wait_until(lambda: last(call.patient)["mine"]["word"] == "poor")
        route = {"route": "direct"}
        assert a.metric("voice_score_ratio_count", role="patient", **route) > 0
        assert b.metric("voice_score_ratio_count", role="specialist", **route) > 0
        assert a.metric("voice_score_ratio_count", role="specialist", **route) == 0
        assert b.metric("voice_score_ratio_count", role="patient", **route) == 0


@pytest.mark.redis
async def test_the_board_of_a_third_node_has_the_word(
    no_leaks: None, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator elsewhere sees the word of a call that has no side there; one who comes later too; it goes with the call."""
    redis_server.command("FLUSHALL")
    monkeypatch.setattr(quality, "WORD_AGAIN_S", 0.2)
    settings = config(tmp_path, redis_server.url, consult=QUICK)
    async with (
        open_clinic(settings) as a,
        open_clinic(settings) as b,
        open_clinic(settings) as third,
    ):
        operator = await third.operator()
        call = await a.call(elsewhere=b)

        def words(board: Peer) -> list[str | None]:
            return [c.get("quality") for c in (board.of("board") or [{}])[-1].get("calls", [])]

        async with asyncio.timeout(10):
            while words(operator) != ["poor"]:
                await both(call, packed(LOSSY), packed(), rounds=1)
                await asyncio.sleep(0.05)
        late = await third.operator()
        async with asyncio.timeout(10):
            while words(late) != ["poor"]:
                await both(call, packed(LOSSY), packed(), rounds=1)
                await asyncio.sleep(0.05)
        await call.specialist.done("end", consult=call.consult, outcome="advice")
        await operator.wait_until(lambda: words(operator) == [])


async def test_posts_are_counted_and_not_named(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the patient's side and the specialist's received counts for the patient's post; no post is in the metrics."""
    monkeypatch.setattr(quality_of_posts, "LEAST_S", 20.0)
    specialist = await clinic.specialist()
    call = await clinic.connect(await clinic.patient(post=PostCode("MTW-01")), specialist)
    await both(call, packed(LOSSY), packed())
    await call.patient.wait_until(lambda: last(call.patient).get("mine", {}).get("word") == "poor")
    for _ in range(20):
        await both(call, packed(LOSSY), packed(LOSSY), rounds=1)
    await call.patient.request("ping")
    await call.specialist.request("ping")
    assert clinic.metric("posts_in_calls", calls="poor") == 1
    assert clinic.metric("posts_in_calls", calls="fine") == 0


async def test_a_word_is_small(clinic: Clinic) -> None:
    """A reception of five seconds is below 150 octets, a word about it below 300."""
    call = await clinic.call()
    message = {"type": "reception", "id": 9_999, "consult": call.consult, "data": packed(LOSSY)}
    assert len(json.dumps(message, separators=(",", ":"))) < 150
    await both(call, packed(LOSSY), packed())
    await call.patient.wait_until(lambda: last(call.patient).get("theirs"))
    assert len(json.dumps(last(call.patient), separators=(",", ":"))) < 300
