# SPDX-License-Identifier: Apache-2.0
"""What one person may do how often: flapping, forwarding, notes, switches, strangers. Each costs who does it."""

import asyncio
import math

import aiohttp
import pytest

from auth.throttle import HELLO_BY_PERSON, HISTORY_BY_ACCOUNT, ON_CALL_BY_ACCOUNT, SIGN_IN_BY_LOGIN
from signalling.config import LimitsConfig
from signalling.edge import gate, keys
from signalling.edge.connections import Connection
from signalling.edge.paces import FORWARDED_BURST_BYTES, NOTE_BURST_BYTES
from tests.integration.conftest import OpenNode
from tests.support.clinic import Clinic
from tests.support.peer import SDP, Peer
from tests.support.raw_socket import RawSocket
from tests.support.until import until

LONG = {"type": "offer", "sdp": SDP + "a=x\r\n" * 4_000}


@pytest.fixture
def store_url() -> str:
    """No rule here knows of the store."""
    return ""


def connection_of(clinic: Clinic, peer: Peer) -> Connection:
    found = next(c for c in clinic.node.app[keys.GATE]._connections if c.instance == peer.instance)
    assert isinstance(found, Connection)
    return found


async def test_who_connects_without_end_waits(clinic: Clinic) -> None:
    """Beyond its free ones a page's connection is refused with when to come back; nobody else waits, and a call goes on."""
    call = await clinic.call()
    views = len(call.specialist.of("consult"))
    answers = [await call.patient.reconnect() for _ in range(HELLO_BY_PERSON.free_tries + 5)]
    refused = [a for a in answers if a["type"] == "error"]
    assert len(refused) >= 3
    assert {a["code"] for a in refused} == {"throttled"}
    assert all(0 < a["retryAfterMs"] <= 1_001 * HELLO_BY_PERSON.max_delay_s for a in refused)
    assert await call.patient.until_closed() == 4012
    await call.specialist.reconnect()
    await call.specialist.ping()
    assert len(call.specialist.of("consult")) - views < 4 * HELLO_BY_PERSON.free_tries
    async with asyncio.timeout(15):
        while (await call.patient.reconnect())["type"] != "welcome":  # noqa: ASYNC110 - its own clock
            await asyncio.sleep(0.2)
    await call.patient.ping()


async def test_who_is_refused_makes_nobody_wait(clinic: Clinic) -> None:
    """A token that opens nothing any more costs the one who holds the good one nothing."""
    account, login, password = await clinic.account()
    desk = await clinic.desk_of(account, await clinic.sign_in(login, password))
    old = clinic.peer(desk.token)
    await clinic.node.house.set_password(desk.account)  # type: ignore[arg-type]
    for _ in range(HELLO_BY_PERSON.free_tries + 2):
        assert (await old.open())["code"] == "signed_out"
        await old.lose()
    new = await clinic.node.house.set_password(desk.account)  # type: ignore[arg-type]
    await (await clinic.desk_of(account, await clinic.sign_in(login, new))).ping()


async def test_descriptions_are_counted_by_their_bytes(clinic: Clinic) -> None:
    """Long descriptions end the sender's connection, also over several of them; the other side keeps its desk."""
    call = await clinic.call()
    sent = 0
    for _ in range(3):
        while call.patient.close_code is None and sent < 50:
            await call.patient.send("description", consult=call.consult, description=LONG)
            await call.patient.send("ping")
            sent += 1
            await call.patient.wait_until(
                lambda n=sent: call.patient.close_code or call.patient._id > n
            )
            await asyncio.sleep(0)
        assert await call.patient.until_closed() == 4029
        await call.patient.reconnect()
    await call.specialist.ping()
    most = FORWARDED_BURST_BYTES / len(str(LONG["sdp"])) + 3
    assert 3 <= len(call.specialist.of("description")) <= most
    assert call.specialist.close_code is None
    await call.patient.chat("still in the call")


async def test_a_call_that_is_set_up_again_and_again_is_not_counted(clinic: Clinic) -> None:
    """Twelve set-ups in a moment, with descriptions and candidates of real lengths, all arrive."""
    call = await clinic.call()
    description = {"type": "offer", "sdp": SDP + f"a={'x' * 26}\r\n" * 150}
    candidate = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host" + " x" * 60, "sdpMid": "0"}
    for _ in range(12):
        await call.patient.send("description", consult=call.consult, description=description)
        for _ in range(12):
            await call.patient.send("candidate", consult=call.consult, candidate=candidate)
    await call.specialist.wait_until(lambda: len(call.specialist.of("candidate")) == 144)
    assert len(call.specialist.of("description")) == 12


async def test_nobody_is_sent_what_they_do_not_take(clinic: Clinic) -> None:
    """While much waits for one side, the other's descriptions are refused and not added; both keep their connections."""
    call = await clinic.call()
    specialist = connection_of(clinic, call.specialist)
    call.specialist.stop_reading()
    async with asyncio.timeout(10):
        while specialist.socket.buffered_bytes < specialist.high_bytes / 2:
            specialist.socket.send(b" " * 8_192)
            await asyncio.sleep(0)  # the kernel takes some
    before = specialist.socket.buffered_bytes
    for _ in range(3):
        code = await call.patient.refused("description", consult=call.consult, description=LONG)
        assert code == "peer_absent"
    assert specialist.socket.buffered_bytes <= before
    assert specialist.socket.open
    await call.patient.chat("the call goes on")
    call.specialist.abort()  # it would not read the goodbye either


async def test_notes_are_counted_by_their_bytes(clinic: Clinic) -> None:
    """The longest notes, one after the other, are soon refused with when to come back, and nothing is written for them."""
    call = await clinic.call()
    note = {"consult": call.consult, "text": "x" * 20_000}
    most = math.ceil(NOTE_BURST_BYTES / 20_000) + 5
    answers = [await call.specialist.request("note", **note) for _ in range(most)]
    assert [a["type"] for a in answers[:20]] == ["ok"] * 20
    assert answers[-1]["code"] == "throttled"
    assert answers[-1]["retryAfterMs"] < 5_000
    version = await clinic.version(call.consult)
    assert await call.specialist.refused("note", **note) == "throttled"
    assert await clinic.version(call.consult) == version
    await call.specialist.chat("the call goes on")


async def test_going_on_call_has_a_pace(clinic: Clinic) -> None:
    """Going on call again and again is refused after the free ones; going off call never is."""
    specialist = await clinic.specialist(on_call=False)
    codes = []
    for _ in range(ON_CALL_BY_ACCOUNT.free_tries + 3):
        codes.append((await specialist.request("on_call", on=True)).get("code"))
        await specialist.done("on_call", on=False)
    assert codes[: ON_CALL_BY_ACCOUNT.free_tries] == [None] * ON_CALL_BY_ACCOUNT.free_tries
    assert codes[-1] == "throttled"
    written = await clinic.node.store.read(f"specialist:{specialist.account}")  # type: ignore[arg-type]
    assert len(written) <= 2 * (ON_CALL_BY_ACCOUNT.free_tries + 2)


async def test_past_consults_have_a_pace(clinic: Clinic) -> None:
    """Reading all that one did is refused after the free times, with when to ask again."""
    specialist = await clinic.specialist(on_call=False)
    most = HISTORY_BY_ACCOUNT.free_tries
    answers = [await specialist.request("history") for _ in range(most + 3)]
    assert [a["type"] for a in answers[:most]] == ["past"] * most
    assert answers[-1]["code"] == "throttled"
    assert 0 < answers[-1]["retryAfterMs"] <= 2_001


async def test_a_long_career_is_read_in_pieces(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the events are cut into pieces, the past consults are the same."""
    call = await clinic.call()
    await call.specialist.done("note", consult=call.consult, text="seen")
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    whole = (await call.specialist.done("history"))["consults"]
    monkeypatch.setattr("signalling.edge.history.DECODED_AT_ONCE", 1)
    assert (await call.specialist.done("history"))["consults"] == whole
    assert [past["note"] for past in whole] == ["seen"]


async def test_strangers_of_one_address_leave_room(
    open_node: OpenNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One address may have so many sockets that say nothing; others, and who was let in before, notice nothing."""
    monkeypatch.setattr(gate, "STRANGERS_PER_ADDRESS_MAX", 4)
    clinic = await open_node(server={"trusted_proxies": ("127.0.0.1",)})
    visitors = clinic.node.app[keys.GATE]

    async def stranger(address: str) -> RawSocket:
        headers = {"Origin": clinic.url, "X-Forwarded-For": address}
        return await RawSocket.connect(clinic.node.port, **headers)

    patients = [await clinic.patient(intake=False) for _ in range(6)]  # known ones don't count
    assert visitors._strangers == {}
    many = [await stranger(f"2001:db8::{n}") for n in range(4)]
    url = clinic.url.replace("http", "ws", 1) + "/ws"
    headers = {"Origin": clinic.url, "X-Forwarded-For": "2001:db8::5:1"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await clinic.http.ws_connect(url, headers=headers)
    assert refused.value.status == 503
    assert clinic.refusals("too_many_connections") == 1
    many.append(await stranger("2001:db8:0:1::1"))
    await clinic.patient(intake=False)
    await patients[0].ping()
    await many[0].close()
    await until(lambda: len(visitors._strangers) == 2 and sum(visitors._strangers.values()) == 4)
    many[0] = await stranger("2001:db8::5:1")
    for each in many:
        await each.close()
    await until(lambda: visitors._strangers == {})


async def test_half_of_a_small_node_is_nobodys(open_node: OpenNode) -> None:
    """Where a node has few places, strangers of one address take no more than half of them and one."""
    clinic = await open_node(limits=LimitsConfig(max_connections=10))
    strangers = [clinic.peer("") for _ in range(6)]
    for stranger in strangers:
        await stranger.dial()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await clinic.peer("").dial()
    assert refused.value.status == 503


async def test_who_knows_a_login_keeps_nobody_out(open_node: OpenNode) -> None:
    """Wrong passwords for a login slow down the address that they come from; the owner, elsewhere, gets in at once."""
    clinic = await open_node(server={"trusted_proxies": ("127.0.0.1",)})
    _, login, password = await clinic.account()

    async def sign_in(address: str, word: str) -> str:
        body = {"login": login, "password": word}
        reply = await clinic.api("/api/sign-in", body, headers={"X-Forwarded-For": address})
        return reply.code or str(reply.status)

    seen = [await sign_in("203.0.113.9", "not this one") for _ in range(12)]
    assert seen.count("credentials_invalid") <= 8
    assert seen[-1] == "throttled"
    assert await sign_in("203.0.113.9", password) == "throttled"
    assert await sign_in("198.51.100.7", password) == "200"
    assert await sign_in("203.0.113.9", password) == "throttled"  # the owner's wipes nobody else's


async def test_guesses_from_everywhere_are_slowed_down(open_node: OpenNode) -> None:
    """One login from many addresses: the wait is short, and where the owner has been before there is none."""
    clinic = await open_node(server={"trusted_proxies": ("127.0.0.1",)})
    _, login, password = await clinic.account()
    body = {"login": login, "password": password}
    home, new = {"X-Forwarded-For": "198.51.100.7"}, {"X-Forwarded-For": "198.51.100.8"}
    assert (await clinic.api("/api/sign-in", body, headers=home)).status == 200
    guess = {"login": login, "password": "not this one"}
    for n in range(SIGN_IN_BY_LOGIN.free_tries + 10):
        headers = {"X-Forwarded-For": f"203.0.113.{n}"}
        await clinic.api("/api/sign-in", guess, headers=headers)
    reply = await clinic.api("/api/sign-in", body, headers=new)
    assert (reply.status, reply.code) == (429, "throttled")
    assert reply.body["retryAfterMs"] <= 1_001 * SIGN_IN_BY_LOGIN.max_delay_s
    assert (await clinic.api("/api/sign-in", body, headers=home)).status == 200
