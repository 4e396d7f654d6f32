# SPDX-License-Identifier: Apache-2.0
"""`selat check`: each thing that can be wrong is found, and named with what mends it."""

from __future__ import annotations

import json
import os
import resource
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from signalling.cli import checks
from signalling.cli.entry import app
from signalling.cli.findings import Finding, Level
from signalling.config import (
    Config,
    LimitsConfig,
    MediaConfig,
    ServerConfig,
    StoreConfig,
    TurnConfig,
)
from signalling.edge.certificate import certificate_files
from signalling.edge.clock import now
from signalling.edge.keyfile import prepare_data_dir
from tests.support.redis_server import RedisServer
from tests.support.serving import Serving, environment


@pytest.fixture
def config(tmp_path: Path) -> Config:
    server = ServerConfig(data_dir=tmp_path / "data", host="127.0.0.1", port=0, metrics_port=0)
    prepare_data_dir(server.data_dir)
    media = MediaConfig(relays=1, host="127.0.0.1", udp_port=0, tcp_port=0, metrics_port=0)
    return Config(server=server, limits=LimitsConfig(max_connections=10), media=media)


def levels(findings: list[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def only(findings: list[Finding], level: Level) -> Finding:
    (finding,) = [each for each in findings if each.level is level]
    return finding


async def test_a_fresh_machine_has_no_errors(config: Config) -> None:
    """With default settings nothing is an error; what is missing is a warning with its remedy."""
    findings = await checks.check_all(config)
    assert Level.ERROR not in levels(findings), findings
    assert {finding.check for finding in findings} >= {
        "clock", "data", "limits", "ports", "certificate", "store", "accounts", "turn", "media", "pages",
    }  # fmt: skip
    assert all(finding.mend for finding in findings if finding.level is not Level.OK)


async def test_a_port_in_use(config: Config) -> None:
    """A port that something else has is an error with its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = replace(config.server, metrics_port=port)
        findings = await checks.check_ports(replace(config, server=server))
    finding = only(findings, Level.ERROR)
    assert finding.text.startswith(f"metrics: 127.0.0.1:{port}: ")
    assert f"sport = :{port}" in finding.mend


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_relay_port_in_use(config: Config, kind: socket.SocketKind) -> None:
    """A port of the second relay that something else has is an error with its number and the setting."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        name = "udp_port" if kind is socket.SOCK_DGRAM else "tcp_port"
        media = replace(config.media, relays=2, **{name: port - 1})
        findings = await checks.check_media(replace(config, media=media))
    finding = next(each for each in findings if f":{port}:" in each.text)
    assert finding.level is Level.ERROR
    assert f"SELAT_MEDIA_{name.upper()}" in finding.mend


async def test_a_relay_address_that_is_not_ours(config: Config) -> None:
    """A listening address of another machine is an error that tells where the outer address belongs."""
    media = replace(config.media, host="203.0.113.7")
    finding = only(await checks.check_media(replace(config, media=media)), Level.ERROR)
    assert "203.0.113.7" in finding.text
    assert "public_addresses" in finding.mend


async def test_relays_that_only_this_network_reaches(config: Config) -> None:
    """With a public name and private addresses alone there is a warning; a declared outer address settles it."""
    server = replace(config.server, public_url="https://selat.example.org")
    public = replace(config, server=server)
    assert only(await checks.check_media(public), Level.WARNING).mend.startswith("set SELAT_MEDIA_")
    declared = replace(config.media, public_addresses=("9.9.9.9",))
    assert levels(await checks.check_media(replace(public, media=declared))) == [Level.OK]


async def test_relays_elsewhere_or_none(config: Config) -> None:
    """No own relays is a warning; route direct is as wanted."""
    none = replace(config, media=replace(config.media, relays=0))
    assert levels(await checks.check_media(none)) == [Level.WARNING]
    direct = replace(config, media=replace(config.media, route="direct"))
    assert levels(await checks.check_media(direct)) == [Level.OK]


async def test_keys_that_others_may_read(config: Config) -> None:
    """A secret file with wrong rights is an error with the command that mends it."""
    await checks.check_data(config)
    (config.server.data_dir / "master.key").chmod(0o644)
    finding = only(await checks.check_data(config), Level.ERROR)
    assert "chmod 600" in finding.text


async def test_a_clock_that_is_wrong(config: Config, monkeypatch) -> None:
    """A clock before this version is an error, an unsynchronised one a warning."""
    monkeypatch.setattr(checks, "_adjtimex", lambda: checks.TIME_ERROR)
    assert levels(await checks.check_clock(config)) == [Level.WARNING]
    monkeypatch.setattr(checks, "_adjtimex", lambda: 0)
    assert levels(await checks.check_clock(config)) == [Level.OK]
    monkeypatch.setattr(checks, "now", lambda: 0.0)
    assert levels(await checks.check_clock(config)) == [Level.ERROR]


async def test_too_few_open_files(config: Config) -> None:
    """More connections than the system allows open files is a warning with the number that is needed."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits = LimitsConfig(max_connections=min(allowed, 1_000_000))
    finding = only(await checks.check_limits(replace(config, limits=limits)), Level.WARNING)
    assert str(limits.max_connections + checks.DESCRIPTORS_BESIDE) in finding.mend


async def test_certificates(config: Config, tmp_path: Path, monkeypatch) -> None:
    """A certificate is judged by name, time and key, as a browser would."""
    assert levels(await checks.check_certificate(config)) == [Level.OK]
    made = certificate_files(config.server, now())

    async def judged(**server: object) -> Finding:
        changed = replace(config.server, **server)  # type: ignore[arg-type]
        (finding,) = await checks.check_certificate(replace(config, server=changed))
        return finding

    given = {"certificate_file": made.certificate, "key_file": made.key}
    assert (await judged(**given)).level is Level.OK
    wrong_name = await judged(**given, public_url="https://selat.example")
    assert (wrong_name.level, wrong_name.text) == (Level.ERROR, "is not valid for selat.example")
    assert (await judged(public_url="https://127.0.0.1")).level is Level.WARNING, "development one"
    assert (await judged(tls=False, public_url="http://selat.example")).level is Level.ERROR
    assert (await judged(tls=False, public_url="https://selat.example")).level is Level.OK
    missing = await judged(certificate_file=tmp_path / "none", key_file=made.key)
    assert missing.level is Level.ERROR
    swapped = await judged(certificate_file=made.key, key_file=made.certificate)
    assert swapped.level is Level.ERROR
    end = now() + 397 * 86_400
    for at, level in ((end - 5 * 86_400, Level.WARNING), (end + 1, Level.ERROR)):
        monkeypatch.setattr(checks, "now", lambda at=at: at)
        assert (await judged(**given)).level is level


async def test_a_store_that_can_lose_something(config: Config) -> None:
    """A setting that trades durability for speed is a warning that says what may be lost."""
    store = StoreConfig(synchronous="NORMAL")
    findings = await checks.check_store(replace(config, store=store))
    warned = [finding.text for finding in findings if finding.level is Level.WARNING]
    assert any("power cut" in text for text in warned)


async def test_redis(config: Config) -> None:
    """A Redis that answers is ok, one that may lose events a warning, one that is away an error."""
    server = RedisServer("everysec")
    try:
        with_redis = replace(config, store=StoreConfig(url=server.url))
        findings = await checks.check_store(with_redis)
        assert findings[0].level is Level.OK
        assert "appendfsync" in findings[1].text
    finally:
        server.stop()
    finding = only(await checks.check_store(with_redis), Level.ERROR)
    assert "is Redis running" in finding.mend


async def test_a_damaged_database_is_an_error(config: Config) -> None:
    """A database file that is none is an error, and it is not touched."""
    path = config.server.data_dir / "selat.db"
    path.write_bytes(b"this is no database" * 1_000)
    assert Level.ERROR in levels(await checks.check_store(config))
    assert path.read_bytes().startswith(b"this is no database")


async def test_turn_without_its_secret(config: Config, tmp_path: Path) -> None:
    """No TURN server is a warning, a secret that can't be read an error."""
    assert levels(await checks.check_turn(config)) == [Level.WARNING]
    turn = TurnConfig(urls=("turn:127.0.0.1",), secret_file=tmp_path / "none")
    assert levels(await checks.check_turn(replace(config, turn=turn))) == [Level.ERROR]


async def test_a_public_address_is_asked_while_a_node_runs(tmp_path: Path) -> None:
    """The address in links is asked for this service; one that leads nowhere is an error."""
    data_dir = tmp_path / "data"
    with Serving(data_dir, SELAT_TLS="off") as serving:
        here = ServerConfig(data_dir=data_dir, public_url=serving.ready["public_url"])
        assert levels(await checks.check_public(Config(server=here))) == [Level.OK]
        assert levels(await checks.check_ports(Config(server=here))) == [Level.OK]
        assert levels(await checks.check_store(Config(server=here))) == [Level.OK, Level.OK]
        nowhere = replace(here, public_url="http://127.0.0.1:9")
        assert levels(await checks.check_public(Config(server=nowhere))) == [Level.ERROR]
    assert await checks.check_public(Config(server=here)) == []


def test_the_command_says_it_and_fails(tmp_path: Path, monkeypatch) -> None:
    """With an error the exit code is 1, in words and in JSON; without one it is 0."""
    for name in [name for name in os.environ if name.startswith("SELAT_")]:
        monkeypatch.delenv(name)
    secret = {"SELAT_TURN_SECRET_FILE": str(tmp_path / "none"), "SELAT_TURN_URLS": "turn:127.0.0.1"}
    variables = environment(tmp_path / "data", SELAT_LIMITS_MAX_CONNECTIONS="10")
    bad = CliRunner().invoke(app, ["check", "--json"], env={**variables, **secret})
    assert bad.exit_code == 1
    answer = json.loads(bad.stdout)
    assert answer["ok"] is False
    (finding,) = [each for each in answer["findings"] if each["level"] == "error"]
    assert finding["check"] == "turn"
    assert finding["mend"]
    words = CliRunner().invoke(app, ["check"], env={**variables, **secret})
    assert "ERROR    turn: " in words.output
    assert "         -> write the same secret" in words.output
    assert CliRunner().invoke(app, ["check"], env=variables).exit_code == 0
