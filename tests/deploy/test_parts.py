# SPDX-License-Identifier: Apache-2.0
"""The whole service from what is in deploy/: node, Redis, coturn, Caddy and Prometheus as plain processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aioice import turn

from tests.deploy.conftest import ROOT, Certificate, TurnServer, running_turn_server
from tests.support.processes import answers, free_port, program, running

pytestmark = [pytest.mark.deploy, pytest.mark.redis]

SELAT = Path(sys.executable).with_name("selat")
DEADLINE_S = 60.0
"""Prometheus scrapes every five seconds and looks at its list of targets every ten."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, as its operator and its visitors see it."""

    url: str
    prometheus: str
    turn: TurnServer
    settings: dict[str, str]
    tls: ssl.SSLContext

    def selat(self, *arguments: str) -> Any:
        """Run a command of `selat` on the node's machine; return what it answers to a script."""
        command = [SELAT, *arguments, "--json"]
        environment = {**os.environ, **self.settings}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)


def node_settings(
    directory: Path, url: str, redis: int, turn_server: TurnServer, certificate: Certificate
) -> dict[str, str]:
    """Return the settings of deploy/systemd/selat.env for this machine."""
    return {
        "SELAT_PUBLIC_URL": url,
        "SELAT_HTTP_HOST": "127.0.0.1",
        "SELAT_HTTP_PORT": str(free_port()),
        "SELAT_TLS": "off",
        "SELAT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
        "SELAT_METRICS_PORT": str(free_port()),
        "SELAT_STORE_URL": f"redis://127.0.0.1:{redis}/0",
        "SELAT_DATA_DIR": str(directory / "data"),
        "SELAT_TURN_URLS": f"turn:127.0.0.1:{turn_server.port}?transport=udp",
        "SELAT_TURN_SECRET_FILE": str(directory / "turn-secret"),
        "SSL_CERT_FILE": str(certificate.chain),
    }


def caddy_configuration(directory: Path, certificate: Certificate, url: str, node: str) -> Path:
    """Return the deployed Caddyfile as JSON, without the redirect from port 80, which is not ours here."""
    adapted = subprocess.run(
        [program("caddy"), "adapt", "--config", ROOT / "deploy/caddy/Caddyfile"],
        env={
            **os.environ,
            "HOME": str(directory),
            "SELAT_SITE": url,
            "SELAT_UPSTREAMS": node,
            "SELAT_CERTIFICATE": f"tls {certificate.chain} {certificate.key}",
        },
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    configuration = json.loads(adapted)
    (server,) = configuration["apps"]["http"]["servers"].values()
    server["automatic_https"] = {"disable_redirects": True}
    file = directory / "caddy.json"
    file.write_text(json.dumps(configuration))
    return file


def prometheus_configuration(directory: Path, target: str) -> Path:
    """Return a copy of the deployed configuration whose list of nodes names ours."""
    copy = directory / "prometheus"
    shutil.copytree(ROOT / "deploy/prometheus", copy)
    (copy / "targets/selat.yaml").write_text(json.dumps([{"targets": [target]}]))
    return copy / "prometheus.yml"


@contextmanager
def running_service(directory: Path, certificate: Certificate) -> Iterator[Service]:
    """Start every part of deploy/ on free ports of 127.0.0.1."""
    redis, caddy, prometheus = free_port(), free_port(), free_port()
    url = f"https://localhost:{caddy}"
    with ExitStack() as stack:

        def start(name: str, port: int, *command: str | Path, **environment: str) -> None:
            log = directory / f"{name}.log"
            ready = lambda: answers(port)  # noqa: E731 - one line is enough
            stack.enter_context(running(command, ready, log, environment, directory))

        turn_server = stack.enter_context(running_turn_server(directory, certificate))
        start(
            "redis", redis, program("redis-server"), "--bind", "127.0.0.1", "--port", str(redis),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            "--maxmemory-policy", "noeviction",
        )  # fmt: skip
        settings = node_settings(directory, url, redis, turn_server, certificate)
        node = f"127.0.0.1:{settings['SELAT_HTTP_PORT']}"
        start("node", int(settings["SELAT_HTTP_PORT"]), SELAT, "serve", **settings)
        configuration = caddy_configuration(directory, certificate, url, node)
        start(
            "caddy", caddy, program("caddy"), "run", "--config", configuration, HOME=str(directory)
        )
        configuration = prometheus_configuration(
            directory, f"127.0.0.1:{settings['SELAT_METRICS_PORT']}"
        )
        start(
            "prometheus", prometheus, program("prometheus"), f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{prometheus}",
        )  # fmt: skip
        yield Service(
            url, f"http://127.0.0.1:{prometheus}", turn_server, settings, certificate.trusting()
        )


@asynccontextmanager
async def visitor(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a browser's view of the service: through Caddy, over TLS."""
    connector = aiohttp.TCPConnector(ssl=service.tls)
    headers = {"Origin": service.url}
    async with aiohttp.ClientSession(service.url, connector=connector, headers=headers) as session:
        yield session
    await asyncio.sleep(0.1)  # aiohttp lets go of TLS connections a moment after the session


async def prometheus_value(service: Service, expression: str) -> float | None:
    """Return what Prometheus knows, or None if it knows nothing yet."""
    async with (
        aiohttp.ClientSession(service.prometheus) as session,
        session.get("/api/v1/query", params={"query": expression}) as response,
    ):
        result = (await response.json())["data"]["result"]
    return float(result[0]["value"][1]) if result else None


@pytest.mark.timeout(300)
async def test_parts_work_together(tmp_path: Path, certificate: Certificate) -> None:
    """`selat check` is content; through Caddy a patient joins; coturn takes what the node gave; Prometheus counts."""
    with running_service(tmp_path, certificate) as service:
        verdict = service.selat("check")
        assert verdict["ok"], verdict
        invitation = service.selat("invite")
        token = invitation["url"].partition("#")[2]
        async with visitor(service) as browser:
            async with browser.get("/id") as page:
                assert page.status == 200
                assert "Server" not in page.headers
            async with browser.get("/metrics") as hidden:
                assert hidden.status == 404
            async with browser.post("/api/join", json={"token": token}) as joined:
                assert joined.status == 200, await joined.text()
                session = (await joined.json())["session"]
            async with browser.ws_connect("/ws") as socket:
                hello = {
                    "type": "hello",
                    "id": 1,
                    "protocols": [1],
                    "token": session,
                    "instance": "page-load-1",
                }
                await socket.send_json(hello)
                welcome = await socket.receive_json(timeout=10)
        assert welcome["type"] == "welcome"
        assert welcome["role"] == "patient"

        (server,) = welcome["iceServers"]
        relayed, _ = await turn.create_turn_endpoint(
            asyncio.DatagramProtocol, ("127.0.0.1", service.turn.port), server["username"], server["credential"]
        )  # fmt: skip
        assert relayed.get_extra_info("sockname")[0] == "127.0.0.1"
        await relayed.__dict__["_TurnTransport__inner_protocol"].delete()

        async with asyncio.timeout(DEADLINE_S):
            while await prometheus_value(service, "selat_joins_total") != 1:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)
        assert await prometheus_value(service, 'up{job="selat"}') == 1
        assert await prometheus_value(service, 'selat_build_info{store="redis"}') == 1
        assert await prometheus_value(service, "count(ALERTS{severity='page'})") is None
