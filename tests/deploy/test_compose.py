# SPDX-License-Identifier: Apache-2.0
"""The compose file: of the right form, complete, and the node understands what it is told."""

import ipaddress
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from signalling.cli.entry import app
from signalling.config import load

pytestmark = pytest.mark.deploy

COMPOSE = Path(__file__).parents[2] / "deploy/compose"
FILE = COMPOSE / "compose.yaml"


@pytest.fixture(name="compose")
def read_compose() -> dict[str, Any]:
    example = dict(
        line.split("=", 1)
        for line in (COMPOSE / "env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )

    def value(match: re.Match[str]) -> str:
        return example.get(match["name"], "")

    text = re.sub(r"\$\{(?P<name>\w+)[^}]*\}", value, FILE.read_text())
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def test_compose_file_follows_the_specification() -> None:
    """The file is valid by the compose specification's own schema."""
    command = [
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_every_part_is_there(compose: dict[str, Any]) -> None:
    """Node, relay, Redis, coturn, Prometheus and Caddy; and only Caddy, coturn and the relay face the world."""
    assert set(compose["services"]) == {
        "node", "relay", "redis", "coturn", "prometheus", "caddy"
    }  # fmt: skip
    open_to_all = {
        name
        for name, service in compose["services"].items()
        if any(not port.startswith("127.0.0.1:") for port in service.get("ports", []))
        or service.get("network_mode") == "host"
    }
    assert open_to_all == {"caddy", "coturn", "relay"}


def test_mounted_files_exist(compose: dict[str, Any]) -> None:
    """What is mounted from this repository is in it (the operator brings certificates and secrets)."""
    sources = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("../")
    }
    assert len(sources) >= 4
    assert not {source for source in sources if not (COMPOSE / source).exists()}


def test_named_things_are_declared(compose: dict[str, Any]) -> None:
    """Volumes, networks, secrets and dependencies that services name are declared."""
    for service in compose["services"].values():
        assert set(service.get("networks", [])) <= set(compose["networks"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        named = {v.split(":")[0] for v in service.get("volumes", []) if v[0] not in "./"}
        assert named <= set(compose["volumes"])


def test_node_understands_the_settings(compose: dict[str, Any]) -> None:
    """Image and compose file together give settings that the node takes, with Redis as the store."""
    image = (COMPOSE / "Dockerfile").read_text()
    of_image = dict(re.findall(r"(SELAT_\w+)=(\S+)", image))
    config = load(None, of_image | compose["services"]["node"]["environment"])
    assert config.store.url.startswith("redis://redis:")
    assert config.server.metrics_host == "0.0.0.0"
    assert config.server.public_url == "https://selat.example.org"
    assert len(config.turn.urls) == 3
    assert f"EXPOSE {config.server.port} {config.server.metrics_port}" in image


def test_relay_understands_the_settings(compose: dict[str, Any]) -> None:
    """Image and compose file give settings that a relay takes; its metrics are where Prometheus looks, out of strangers' reach."""
    image = (COMPOSE / "Dockerfile").read_text()
    of_image = dict(re.findall(r"(SELAT_\w+)=(\S+)", image))
    relay = compose["services"]["relay"]
    config = load(None, of_image | relay["environment"])
    assert config.media.public_addresses == ()
    (group,) = yaml.safe_load((COMPOSE.parent / "prometheus/relay-targets/selat.yaml").read_text())
    assert group["targets"] == [f"{config.media.metrics_host}:{config.media.metrics_port}"]
    (inner,) = compose["networks"]["inner"]["ipam"]["config"]
    network = ipaddress.ip_network(inner["subnet"])
    assert config.media.metrics_host == str(next(network.hosts()))
    result = CliRunner().invoke(app, [*relay["command"][:1], "--help"])
    assert result.exit_code == 0
    assert {part for part in relay["command"] if part.startswith("--")} <= set(
        re.findall(r"--[a-z-]+", result.output)
    )


def test_proxies_of_the_inner_network_are_believed(compose: dict[str, Any]) -> None:
    """The network that Caddy is in is the one whose word the node takes for a client's address."""
    believed = compose["services"]["node"]["environment"]["SELAT_SERVER_TRUSTED_PROXIES"]
    assert compose["networks"]["inner"]["ipam"]["config"] == [{"subnet": believed}]


def test_image_copies_what_the_package_needs() -> None:
    """What the Dockerfile copies exists and is let through by its ignore file."""
    image = (COMPOSE / "Dockerfile").read_text()
    let_through = set(
        re.findall(r"^!(\S+)", (COMPOSE / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    )
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", image, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == let_through
    assert not {source for source in copied if not (COMPOSE.parents[1] / source).exists()}
