# SPDX-License-Identifier: Apache-2.0
"""The deployed coturn, running: it takes the node's credentials, and leads into no private network."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aioice import stun, turn

from auth.turn import TurnCredentials, credentials
from tests.deploy.conftest import COTURN, Certificate, TurnServer, running_turn_server

pytestmark = pytest.mark.deploy

PUBLIC_PEER = ("1.0.0.1", 50_000)
"""Any public address; permission is asked for, nothing is sent."""

PRIVATE_PEERS = [
    "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.254", "192.168.1.1",
    "198.18.0.1", "224.0.0.251", "0.0.0.0", "255.255.255.255",
]  # fmt: skip


@asynccontextmanager
async def allocation(
    server: TurnServer,
    by: TurnCredentials,
    transport: str = "udp",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Any]:
    """Make an allocation as a browser does; gives the client's side of it, and ends it afterwards."""
    relayed, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        ("localhost" if tls else "127.0.0.1", server.tls_port if tls else server.port),
        by.username,
        by.credential,
        ssl=tls,
        transport=transport,
    )
    # The part that speaks TURN; the library shows it to nobody, and what the server refuses neither.
    client = relayed.__dict__["_TurnTransport__inner_protocol"]
    try:
        yield client
    finally:
        await client.delete()
        await asyncio.sleep(0)  # lets the closed transport go


@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
async def test_node_credentials_open_an_allocation(
    way: str, turn_server: TurnServer, certificate: Certificate
) -> None:
    """Credentials made by the node give a relayed address of the opened port range over UDP, TCP and TLS."""
    tls = certificate.trusting() if way == "tls" else None
    by = credentials(turn_server.secret, "participant-1", time.time())
    async with allocation(turn_server, by, "udp" if way == "udp" else "tcp", tls) as client:
        host, port = client.relayed_address
    assert host == "127.0.0.1"
    assert 49_160 <= port <= 49_659


async def test_stale_or_forged_credentials_open_nothing(turn_server: TurnServer) -> None:
    """Expired credentials and credentials of another secret are refused as unauthorised."""
    now = time.time()
    stale = credentials(turn_server.secret, "participant-1", now - 600, lifetime_s=300)
    forged = credentials("another secret, just as long as it has to be", "participant-1", now)
    for refused in (stale, forged):
        with pytest.raises(stun.TransactionFailed, match="401"):
            async with allocation(turn_server, refused):
                pass


async def test_private_networks_are_out_of_reach(turn_server: TurnServer) -> None:
    """A public peer is permitted; loopback, private, link-local, shared and broadcast addresses are not."""
    by = credentials(turn_server.secret, "participant-1", time.time())
    async with allocation(turn_server, by) as client:
        await client.channel_bind(0x4000, PUBLIC_PEER)
        for channel, address in enumerate(PRIVATE_PEERS, 0x4001):
            with pytest.raises(stun.TransactionFailed, match="403"):
                await client.channel_bind(channel, (address, 50_000))


async def test_log_tells_nothing_of_a_session(tmp_path: Path, certificate: Certificate) -> None:
    """coturn writes down nothing about a session: no address, no user, no credential."""
    with running_turn_server(tmp_path, certificate) as server:
        by = credentials(server.secret, "participant-1", time.time())
        async with allocation(server, by, "tcp") as client:
            own_port = client.transport.get_extra_info("sockname")[1]
    log = server.log.read_text()  # complete only now: coturn's output is buffered
    assert "Total General servers" in log
    for told in ("session 0", "participant-1", by.credential, server.secret, f":{own_port}"):
        assert told not in log


def test_short_secret_stops_the_start(tmp_path: Path) -> None:
    """A secret that could be guessed is refused with a sentence that says how to make one."""
    (tmp_path / "secret").write_text("secret\n")
    result = subprocess.run(
        [COTURN / "start", tmp_path / "secret", COTURN / "turnserver.conf"],
        capture_output=True, text=True, env={**os.environ, "RUNTIME_DIRECTORY": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 1
    assert "openssl rand" in result.stderr
    assert not (tmp_path / "turnserver.conf").exists()


def test_secret_is_for_the_server_alone(turn_server: TurnServer, tmp_path: Path) -> None:
    """The configuration that holds the secret is readable by its owner only, and no command line shows it."""
    assert (tmp_path / "turn/turnserver.conf").stat().st_mode & 0o077 == 0
    command_lines = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    ]
    assert command_lines
    assert not [line for line in command_lines if turn_server.secret.encode() in line]
