# SPDX-License-Identifier: Apache-2.0
"""`selat check` against the deployed coturn: what works, what does not, and what it says then."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from auth.turn import credentials
from signalling.cli.checks import check_turn
from signalling.cli.findings import Level
from signalling.cli.turn_probe import allocate, parse_address
from signalling.config import Config, TurnConfig
from tests.deploy.conftest import Certificate, TurnServer
from tests.support.processes import free_port

pytestmark = pytest.mark.deploy


def settings(tmp_path: Path, secret: str, *urls: str) -> Config:
    secret_file = tmp_path / "check-secret"
    secret_file.write_text(secret)
    return Config(turn=TurnConfig(urls=urls, secret_file=secret_file))


async def test_working_ways_are_ok(turn_server: TurnServer, tmp_path: Path) -> None:
    """With the right secret an allocation over UDP and one over TCP succeed, and a STUN address is left alone."""
    urls = [f"turn:127.0.0.1:{turn_server.port}?transport={way}" for way in ("udp", "tcp")]
    config = settings(tmp_path, turn_server.secret, *urls, "stun:127.0.0.1:9")
    findings = await check_turn(config)
    assert [finding.level for finding in findings] == [Level.OK, Level.OK]
    assert "over UDP gave a relayed address" in findings[0].text
    assert "over TCP gave a relayed address" in findings[1].text


async def test_a_wrong_secret_is_named(turn_server: TurnServer, tmp_path: Path) -> None:
    """Credentials from another secret are refused with 401, and the finding says to compare the secrets."""
    config = settings(tmp_path, "another secret", f"turn:127.0.0.1:{turn_server.port}")
    (finding,) = await check_turn(config)
    assert finding.level is Level.ERROR
    assert "refused with 401" in finding.text
    assert "the secrets differ" in finding.mend


async def test_tls_works_and_an_unknown_authority_is_an_error(
    turn_server: TurnServer, certificate: Certificate, tmp_path: Path
) -> None:
    """Over TLS an allocation succeeds where the certificate is trusted; where it is not, the finding says so."""
    url = f"turns:localhost:{turn_server.tls_port}?transport=tcp"
    by = credentials(turn_server.secret, "check", time.time())
    host, _ = await allocate(parse_address(url), by, certificate.trusting())
    assert host == "127.0.0.1"
    (finding,) = await check_turn(settings(tmp_path, turn_server.secret, url))
    assert finding.level is Level.ERROR
    assert "not trusted" in finding.text


@pytest.mark.parametrize("way", ["tcp", "udp"])
async def test_no_server_is_an_error(way: str, tmp_path: Path, monkeypatch) -> None:
    """Where nothing listens the finding says that nothing answers, within the deadline."""
    monkeypatch.setattr("signalling.cli.checks.DEADLINE_S", 1.0)
    config = settings(tmp_path, "secret", f"turn:127.0.0.1:{free_port()}?transport={way}")
    async with asyncio.timeout(10):
        (finding,) = await check_turn(config)
    assert finding.level is Level.ERROR
    assert "is coturn running" in finding.mend
