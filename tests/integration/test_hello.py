# SPDX-License-Identifier: Apache-2.0
"""Who gets past the hello, and how a connection ends."""

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path

import aiohttp
import pytest

from auth import tokens
from auth.keys import KeyRing
from auth.roles import Role
from auth.tokens import Audience, Claims
from signalling.config import LimitsConfig, TurnConfig
from signalling.edge import keys
from signalling.edge.clock import now
from tests.integration.conftest import OpenNode
from tests.support.clinic import Clinic, config, open_clinic
from tests.support.raw_socket import RawSocket
from tests.support.until import until


@pytest.fixture
def store_url() -> str:
    """One store is enough here."""
    return ""


def token_of(clinic: Clinic, **changes: object) -> str:
    """Return a session token that the node signed, with some claims changed."""
    claims = {
        "sub": "p_x",
        "role": Role.PATIENT,
        "audience": Audience.SESSION,
        "jti": "0123456789abcdef",
        "expires_at": now() + 600,
        "consult_id": "x",
        **changes,
    }
    at = min(now(), float(str(claims["expires_at"])) - 1)
    return tokens.issue(clinic.node.consults.ring, Claims(**claims), at)  # type: ignore[arg-type]


async def test_silence_before_the_hello_ends(open_node: OpenNode) -> None:
    """Who says nothing is asked to go after the deadline, with a code of its own."""
    clinic = await open_node(limits=LimitsConfig(hello_timeout_s=0.2))
    peer = clinic.peer("")
    await peer.dial()
    assert await peer.until_closed() == 4004
    assert peer.messages[-1]["code"] == "hello_timeout"
    assert clinic.refusals("hello_timeout") == 1


async def test_hello_within_the_deadline_stays(open_node: OpenNode) -> None:
    """The deadline is for the hello alone."""
    clinic = await open_node(limits=LimitsConfig(hello_timeout_s=0.3))
    patient = await clinic.patient(intake=False)
    await asyncio.sleep(0.5)
    await patient.ping()


@pytest.mark.parametrize("message", ["ping", "chat", "turn", "on_call"])
async def test_nothing_before_the_hello(clinic: Clinic, message: str) -> None:
    """Whatever comes first and is no hello ends the connection."""
    peer = clinic.peer("")
    await peer.dial()
    fields = {
        "chat": {"consult": "x", "key": "k1234567", "text": "x"},
        "on_call": {"on": True},
    }.get(message, {})
    await peer.send(message, **fields)
    assert await peer.until_closed() == 4001
    assert peer.messages[-1]["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("protocols", "code"), [([1], ""), ([9, 1], ""), ([2], "version_unsupported")]
)
async def test_version_is_negotiated(clinic: Clinic, protocols: list[int], code: str) -> None:
    """The first common version is spoken; without one the connection ends with its own code."""
    patient = await clinic.patient(intake=False)
    answer = await patient.reconnect(protocols=protocols)
    if code:
        assert answer["code"] == code
        assert await patient.until_closed() == 4002
    else:
        assert answer["protocol"] == 1


async def test_welcome_comes_first_and_says_who(clinic: Clinic) -> None:
    """The first message is the welcome: role, participant, clock, heartbeat."""
    patient = await clinic.patient(intake=False)
    welcome = patient.messages[0]
    assert welcome["type"] == "welcome"
    assert welcome["role"] == "patient"
    assert welcome["participant"] == f"p_{patient.consult}"
    assert abs(welcome["now"] - now()) < 5
    assert welcome["heartbeatS"] == clinic.node.config.limits.heartbeat_s


@pytest.mark.parametrize(
    ("changes", "close", "code"),
    [
        ({"expires_at": 1_000_000.0}, 4005, "token_expired"),
        ({"audience": Audience.WEB}, 4001, "token_invalid"),
        ({"consult_id": "nosuchconsult"}, 4001, "not_found"),
        ({"role": Role.SPECIALIST, "sub": "a_nobody"}, 4011, "signed_out"),
        ({"role": Role.RELAY, "sub": "r_1"}, 4001, "token_invalid"),
        ({"audience": Audience.RELAY}, 4001, "token_invalid"),
        (
            {"role": Role.RELAY, "audience": Audience.RELAY, "expires_at": 1_000_000.0},
            4005,
            "token_expired",
        ),
    ],
)
async def test_tokens_that_open_nothing(
    clinic: Clinic, changes: dict[str, object], close: int, code: str
) -> None:
    """Expired, for another door, for nobody: each with its code, and the connection ends."""
    peer = clinic.peer(token_of(clinic, **changes))
    assert (await peer.open())["code"] == code
    assert await peer.until_closed() == close
    assert len(peer.messages) == 1


async def test_tokens_that_were_not_ours(clinic: Clinic) -> None:
    """A token altered in one character, without signature, or signed by another ring opens nothing."""
    patient = await clinic.patient(intake=False)
    head, payload, signature = patient.token.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    flipped = ("A" if signature[10] != "A" else "B").join((signature[:10], signature[11:]))
    foreign = KeyRing.generate(now()) if hasattr(KeyRing, "generate") else None
    forged = [
        f"{head}.{payload}.{flipped}",
        f"{head}.{payload}.",
        f"{none}.{payload}.",
        f"{head}.{payload[:-2]}AA.{signature}",
    ]
    if foreign is not None:
        claims = Claims("p_x", Role.PATIENT, Audience.SESSION, "j" * 16, now() + 60, "x")
        forged.append(tokens.issue(foreign, claims, now()))
    for token in forged:
        peer = clinic.peer(token)
        assert (await peer.open())["code"] == "token_invalid"
        assert await peer.until_closed() == 4001
    await patient.ping()


async def test_second_hello(clinic: Clinic) -> None:
    """A second hello is refused; the connection goes on as who it is."""
    patient = await clinic.patient(intake=False)
    other = await clinic.patient(intake=False)
    assert (await patient.hello(token=other.token))["code"] == "out_of_order"
    await patient.ping()
    assert other.close_code is None


async def test_request_ids_increase(clinic: Clinic) -> None:
    """An id that was used or lies below the last one is refused, and the request is not done."""
    patient = await clinic.patient()
    before = await clinic.version(patient.consult or "")
    for request_id in (1, 2):
        await patient.send_text(
            f'{{"type":"chat","id":{request_id},"consult":"{patient.consult}","key":"k1234567","text":"again"}}'
        )
    await patient.wait_until(lambda: len(patient.of("error")) == 2)
    assert [(e["re"], e["code"]) for e in patient.of("error")] == [
        (1, "out_of_order"),
        (2, "out_of_order"),
    ]
    assert await clinic.version(patient.consult or "") == before


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1.evil"])
async def test_other_origins_get_no_socket(clinic: Clinic, origin: str) -> None:
    """A WebSocket from another origin, or none, is refused before the upgrade."""
    headers = {"Origin": origin} if origin else {}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await clinic.http.ws_connect(clinic.url.replace("http", "ws") + "/ws", headers=headers)
    assert refused.value.status == 403
    assert clinic.refusals("origin_forbidden") == 1


async def test_too_many_connections(open_node: OpenNode) -> None:
    """Above the limit an upgrade is refused with 503 and a time to come back; a free place is given again."""
    clinic = await open_node(limits=LimitsConfig(max_connections=2))
    first, second = clinic.peer(""), clinic.peer("")
    await first.dial()
    await second.dial()
    url = clinic.url.replace("http", "ws") + "/ws"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await clinic.http.ws_connect(url, headers={"Origin": clinic.url})
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"]
    await second.close()
    gate = clinic.node.app[keys.GATE]
    await until(lambda: len(gate._visitors) == 1)
    await clinic.patient(intake=False)


async def test_silent_connections_are_dropped(open_node: OpenNode) -> None:
    """A peer that answers no ping for three heartbeats is cut off; one that answers stays."""
    clinic = await open_node(limits=LimitsConfig(heartbeat_s=0.3))
    patient = await clinic.patient(intake=False)
    silent = await RawSocket.connect(clinic.node.port, Origin=clinic.url)
    assert await silent.ended()
    await silent.close()
    await patient.ping()


async def test_drain(tmp_path: Path) -> None:
    """A node that stops tells each connection so with 4012, and takes no new one."""
    async with open_clinic(config(tmp_path)) as clinic:
        patient = await clinic.patient()
        specialist = await clinic.specialist()
        waiting = clinic.peer("")
        await waiting.dial()
        gate = clinic.node.app[keys.GATE]
        draining = asyncio.create_task(gate.drain())
        for peer in (patient, specialist, waiting):
            assert await peer.until_closed() == 4012
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await patient.open()
        assert refused.value.status == 503
        await draining


async def test_turn_credentials(open_node: OpenNode, tmp_path: Path) -> None:
    """The welcome and each request carry coturn credentials: username with its end, HMAC of the shared secret."""
    secret = tmp_path / "turn-secret"
    secret.write_text("north\n")
    urls = ("turn:127.0.0.1:3478?transport=udp",)
    clinic = await open_node(turn=TurnConfig(urls=urls, secret_file=secret, lifetime_s=300.0))
    patient = await clinic.patient(intake=False)
    answer = await patient.done("turn")
    for message in (patient.messages[0], answer):
        (server,) = message["iceServers"]
        ends = int(server["username"].split(":")[0])
        assert 290 < ends - now() < 302
        digest = hmac.digest(b"north", server["username"].encode(), hashlib.sha1)
        assert server["credential"] == base64.b64encode(digest).decode()
        assert server["urls"] == list(urls)
        assert patient.consult not in server["username"]
    assert clinic.metric("turn_credentials_total") == 2


async def test_no_turn_configured(clinic: Clinic) -> None:
    """Without a TURN server the answer is an empty list, not an error."""
    patient = await clinic.patient(intake=False)
    assert (await patient.done("turn")).get("iceServers", []) == []
