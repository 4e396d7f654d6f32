# SPDX-License-Identifier: Apache-2.0
"""Route direct: what both pages count of their way becomes limits for each of them, on one node and across two."""

import base64
import struct
from pathlib import Path
from typing import Any

import pytest

from signalling.edge import direct
from tests.support.clinic import QUICK, Call, Clinic, config, open_clinic
from tests.support.fake_relay import FakeRelay, Page
from tests.support.peer import Message, Peer
from tests.support.redis_server import RedisServer

RUNGS = ["text", "voice-min", "voice", "glimpse", "small", "medium", "standard", "open"]
SECONDS = 40


class Clock:
    """The nodes' clock for what is decided here: reports of a minute come in a second."""

    now = 1_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """Time stands unless a test lets it pass."""
    Clock.now = 1_000.0
    monkeypatch.setattr(direct, "_time", lambda: Clock.now)
    return Clock


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[direct.Direct]:
    """What the nodes of this test decide with."""
    found: list[direct.Direct] = []
    begin = direct.Direct.__init__

    def note(self: direct.Direct, *given: Any) -> None:
        begin(self, *given)
        found.append(self)

    monkeypatch.setattr(direct.Direct, "__init__", note)
    return found


def packed(
    came_bps: float,
    *,
    found_bps: float = 0,
    missing: int = 0,
    delay_ms: int = 0,
    flags: int = 0,
) -> str:
    """Return a second as a page packs it: 60 packets on a way of 300 ms."""
    kbps, came = int(found_bps / 1_000), int(came_bps / 8)
    values = (100, came, 60 - missing, missing, came, 300, delay_ms, kbps, flags)
    return base64.b64encode(struct.pack(">HIHHIHhHB", *values)).decode().rstrip("=")


async def count(side: Peer, data: str) -> None:
    await side.send("way", consult=side.consult, data=data)


def limits(side: Peer) -> Message:
    """Return what a page was told last."""
    told = side.of("limits")
    assert all(each["leg"] == "" and each["consult"] == side.consult for each in told)
    return told[-1]["limits"] if told else {}


def rung(side: Peer) -> int:
    return RUNGS.index(limits(side).get("rung", "voice"))


def sends_bps(side: Peer) -> float:
    """Return what a page that uses all of its limits puts on the wire, about: 50 octets around each packet."""
    told = limits(side)
    packets = 1_000 / told.get("ptimeMs", 20) + told.get("videoMaxFps", 0) * 1.3
    return told["videoMaxBps"] * 1.05 + told.get("audioMaxBps", 32_000) + packets * 400


class Link:
    """One direction: what it carries, and what waits for it."""

    def __init__(self, rate_bps: float) -> None:
        self.rate_bps = rate_bps
        self.queue_s = 0.0

    def carry(self, sent_bps: float) -> tuple[float, int]:
        """Return what comes through in a second, and how many ms it waited; 600 ms are kept."""
        offered = sent_bps + self.queue_s * self.rate_bps
        self.queue_s = min(0.6, max(0.0, offered / self.rate_bps - 1))
        return min(self.rate_bps, offered), int(self.queue_s * 1_000)


async def talk(call: Call, up: Link, down: Link, seconds: int = SECONDS) -> None:
    """Let a call go on for so long: both send all that they may, and each side counts what its link lets through."""
    for _ in range(seconds):
        Clock.now += 1.0
        sent_up, sent_down = sends_bps(call.patient), sends_bps(call.specialist)
        (came_up, up_ms), (came_down, down_ms) = up.carry(sent_up), down.carry(sent_down)
        found_up = min(0.9 * up.rate_bps, 1.7 * sent_up)
        found_down = min(0.9 * down.rate_bps, 1.7 * sent_down)
        await count(call.patient, packed(came_down, found_bps=found_up, delay_ms=down_ms))
        await count(call.specialist, packed(came_up, found_bps=found_down, delay_ms=up_ms))
        for side in (call.patient, call.specialist):
            await side.ping()


async def test_both_begin_low_and_climb_as_their_links_allow(clinic: Clinic) -> None:
    """Each is told at the beginning, with a brake for the picture; one's link carries a megabit and the other's 48 kbit/s."""
    call = await clinic.call()
    for side in (call.patient, call.specialist):
        await side.wait_until(lambda s=side: limits(s))  # type: ignore[misc]
        assert limits(side)["rung"] == "glimpse"
        assert limits(side)["videoMaxBps"] < 30_000
        assert limits(side)["brake"]["noReportMs"] >= 3_000
        assert "whose" not in limits(side)
    await talk(call, Link(48_000), Link(1_000_000))
    assert RUNGS[rung(call.patient)] == "glimpse"
    assert rung(call.specialist) >= RUNGS.index("medium")
    assert limits(call.specialist)["reason"] == "proved"
    heard = [each["rung"] for each in call.patient.of("peer_link")]
    assert heard[0] == "glimpse"
    assert heard[-1] == limits(call.specialist)["rung"]
    assert heard == [each for i, each in enumerate(heard) if not i or each != heard[i - 1]]
    assert clinic.metric("direct_moves_total", rung="small", reason="proved") >= 1


async def test_losses_protect_the_voice_and_take_the_picture(clinic: Clinic) -> None:
    """At a tenth of losses on a long way the patient sends copies; at a half voice alone, and both are told so."""
    call = await clinic.call()
    await talk(call, Link(200_000), Link(200_000), 20)
    assert rung(call.patient) > RUNGS.index("glimpse")
    for missing, seconds in ((6, 12), (30, 12)):
        for _ in range(seconds):
            Clock.now += 1.0
            await count(call.patient, packed(100_000))
            await count(call.specialist, packed(80_000, missing=missing))
            await call.specialist.ping()
        await call.patient.ping()
        assert limits(call.patient)["red"] == "first"
    assert RUNGS[rung(call.patient)] == "voice"
    assert limits(call.patient)["videoMaxBps"] == 0
    assert limits(call.patient)["reason"] == "loss"
    await call.specialist.ping()
    assert call.specialist.of("peer_link")[-1]["rung"] == "voice"
    assert rung(call.specialist) > RUNGS.index("glimpse"), "the other direction is another link"


async def test_a_brake_and_a_wish(clinic: Clinic) -> None:
    """A page that stopped its picture is on `voice` at once; whoever looks gets detail, or the voice alone."""
    call = await clinic.call()
    await talk(call, Link(300_000), Link(300_000), 30)
    assert rung(call.patient) >= RUNGS.index("small")
    await count(call.patient, packed(100_000, flags=2))
    await call.patient.wait_until(lambda: limits(call.patient)["reason"] == "brake")
    assert RUNGS[rung(call.patient)] == "voice"
    assert rung(call.specialist) >= RUNGS.index("small")
    await call.patient.send("wish", consult=call.consult, wish="detail")
    await talk(call, Link(300_000), Link(300_000), 10)
    assert limits(call.specialist)["detail"]
    assert not limits(call.patient).get("detail")
    await call.patient.send("wish", consult=call.consult, wish="voice")
    await talk(call, Link(300_000), Link(300_000), 2)
    assert (RUNGS[rung(call.specialist)], limits(call.specialist)["reason"]) == ("voice", "wish")


async def test_who_comes_back_is_told_again(made: list[direct.Direct], clinic: Clinic) -> None:
    """A page that lost its socket goes on where it was; a node that knows nothing of the call begins where it finds it."""
    call = await clinic.call()
    await talk(call, Link(300_000), Link(300_000), 30)
    told = limits(call.patient)
    assert RUNGS.index(told["rung"]) >= RUNGS.index("small")
    before = len(call.patient.of("limits"))
    await call.patient.reconnect()
    await call.patient.wait_until(lambda: len(call.patient.of("limits")) > before)
    assert limits(call.patient) == told
    made[-1]._calls.clear()  # as after a restart of the node
    for _ in range(3):
        Clock.now += 1.0
        await count(call.patient, packed(250_000))
        await count(call.specialist, packed(250_000))
        await call.patient.ping()
    assert rung(call.patient) >= RUNGS.index("medium")


async def test_only_a_call_from_browser_to_browser_is_counted(clinic: Clinic) -> None:
    """Nobody counts for another consult, nonsense is malformed, and what comes when the call is over is passed over."""
    call = await clinic.call()
    other = await clinic.patient()
    assert await other.refused("way", consult=call.consult, data=packed(1)) == "not_found"
    assert await other.refused("way", consult="c_nobody", data=packed(1)) == "not_found"
    assert await call.patient.refused("way", consult=call.consult, data="AGQA") == "malformed"
    assert await other.refused("wish", consult=other.consult, wish="voice") == "wrong_state"
    before = clinic.metric("ways_ignored_total")
    await count(other, packed(1))
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await count(call.patient, packed(100_000))
    await other.ping()
    await call.patient.ping()
    assert clinic.metric("ways_ignored_total") == before + 2


async def test_a_relayed_call_is_the_relays(clinic: Clinic) -> None:
    """By way of a relay a node decides nothing, whatever pages count; when no relay is left it does."""
    relay = await FakeRelay.start(clinic)
    specialist = await clinic.specialist()
    patient = await clinic.patient()
    pages = [Page(patient), Page(specialist)]
    call = await clinic.connect(patient, specialist)
    await count(patient, packed(100_000))
    await patient.ping()
    assert not patient.of("limits")
    await relay.close()
    for side in (patient, specialist):
        leg = side.of("leg")[0]["leg"]
        await side.send("leg_trouble", consult=call.consult, leg=leg, silentMs=3_000)
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: s.view.get("route", "direct") == "direct", 15)  # type: ignore[misc]
        await side.wait_until(lambda s=side: limits(s))  # type: ignore[misc]
    for page in pages:
        await page.stop()


@pytest.mark.redis
async def test_across_two_nodes(redis_server: RedisServer, tmp_path: Path) -> None:
    """Each node decides for its own page from what both count, and the other page hears of it; a wish crosses too."""
    redis_server.command("FLUSHALL")
    settings = config(tmp_path, redis_server.url, consult=QUICK)
    async with open_clinic(settings) as a, open_clinic(settings) as b:
        call = await a.call(elsewhere=b)
        for side in (call.patient, call.specialist):
            await side.wait_until(lambda s=side: limits(s))  # type: ignore[misc]
        await call.patient.send("wish", consult=call.consult, wish="detail")
        up, down = Link(48_000), Link(500_000)
        for _ in range(400):
            await talk(call, up, down, 1)
            if rung(call.specialist) >= RUNGS.index("medium"):
                break
        assert rung(call.specialist) >= RUNGS.index("medium")
        assert limits(call.specialist)["detail"]
        assert RUNGS[rung(call.patient)] == "glimpse"
        said = limits(call.specialist)["rung"]
        await call.patient.wait_until(lambda: call.patient.of("peer_link")[-1]["rung"] == said)
        assert b.metric("direct_moves_total", rung="medium", reason="proved") >= 1
        assert a.metric("direct_moves_total", rung="medium", reason="proved") == 0
