# SPDX-License-Identifier: Apache-2.0
"""The proxy's configuration, by Caddy itself."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import program

pytestmark = pytest.mark.deploy

CADDYFILE = Path(__file__).parents[2] / "deploy/caddy/Caddyfile"


def caddy(*arguments: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), **settings}
    command = [program("caddy"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_caddy_accepts_the_file(tmp_path: Path) -> None:
    """Caddy can load the configuration, and its formatter would change nothing."""
    result = caddy("validate", "--config", str(CADDYFILE), home=tmp_path)
    assert result.returncode == 0, result.stderr
    assert caddy("fmt", str(CADDYFILE), home=tmp_path).stdout == CADDYFILE.read_text()


def test_proxy_passes_to_all_nodes_and_keeps_no_log(tmp_path: Path) -> None:
    """Two nodes named by the environment are two upstreams with a health check; no access log is written."""
    nodes = "node-1:8080 node-2:8080"
    result = caddy(
        "adapt", "--config", str(CADDYFILE), home=tmp_path,
        SELAT_SITE="selat.example.org", SELAT_UPSTREAMS=nodes,
    )  # fmt: skip
    config = json.loads(result.stdout)
    (server,) = config["apps"]["http"]["servers"].values()
    handlers = server["routes"][0]["handle"][0]["routes"][0]["handle"]
    (proxy,) = [each for each in handlers if each["handler"] == "reverse_proxy"]
    assert [upstream["dial"] for upstream in proxy["upstreams"]] == nodes.split()
    assert proxy["health_checks"]["active"]["uri"] == "/readyz"
    assert "logs" not in server
    assert config["admin"] == {"disabled": True}
