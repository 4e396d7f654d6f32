# SPDX-License-Identifier: Apache-2.0
"""Firefox ESR by WebDriver BiDi, over a WebSocket of its own (W3C webdriver-bidi): start, open a page, evaluate in it.

It lives in a network namespace with one interface: Firefox never pairs a candidate with a loopback address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.link import namespaces
from tests.support.processes import free_port, program

STARTED_S = 60.0
PREFERENCES: dict[str, bool | int | str] = {
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.navigator.audio.fake_frequency": 440,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.gmp-manager.updateEnabled": False,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "extensions.update.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
    "remote.active-protocols": 1,
}


class BidiError(Exception):
    """What Firefox answered instead of a result."""


class Firefox:
    """A session with one tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.context = ""

    async def command(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return its result; events in between are passed over."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") != self._number:
                continue
            if message.get("type") == "error":
                raise BidiError(message.get("message"))
            result: dict[str, Any] = message["result"]
            return result

    async def goto(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        parameters = {"context": self.context, "url": url, "wait": "complete"}
        await self.command("browsingContext.navigate", parameters)

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression, or its promise, gives, by way of JSON."""
        answer = await self.command(
            "script.evaluate",
            {
                "expression": f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
                "target": {"context": self.context},
                "awaitPromise": True,
            },
        )
        if answer["type"] != "success":
            raise BidiError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])


ADDRESS = "10.91.0.2"


@contextlib.contextmanager
def one_network() -> Iterator[str]:
    """A namespace whose only network is an interface of this address; returns its name."""
    namespaces.require_privileges()
    namespaces.sweep()
    name = namespaces.new_name("firefox")
    namespaces.create(name)
    device = namespaces.open_tun(name, "net0")
    try:
        namespaces.ip("address", "add", f"{ADDRESS}/24", "dev", "net0", namespace=name)
        namespaces.ip("link", "set", "net0", "up", namespace=name)
        namespaces.ip("route", "add", "default", "via", "10.91.0.1", namespace=name)
        yield name
    finally:
        namespaces.destroy(name)
        os.close(device)


async def _connect(http: aiohttp.ClientSession, port: int) -> aiohttp.ClientWebSocketResponse:
    async with asyncio.timeout(STARTED_S):
        while True:
            try:
                return await http.ws_connect(f"ws://127.0.0.1:{port}/session", max_msg_size=0)
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)


def nonblocking(made: socket.socket) -> socket.socket:
    """Return the same socket, as event loops want it."""
    made.setblocking(False)
    return made


@contextlib.asynccontextmanager
async def firefox(namespace: str) -> AsyncIterator[Firefox]:
    """A headless Firefox of our own with a fresh profile, in a namespace."""
    port = free_port()
    connector = aiohttp.TCPConnector(
        socket_factory=lambda _: nonblocking(namespaces.open_socket(namespace))
    )
    with tempfile.TemporaryDirectory(
        prefix="selat-firefox-", ignore_cleanup_errors=True
    ) as profile:
        preferences = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in PREFERENCES.items()
        )
        (Path(profile) / "user.js").write_text("".join(preferences))
        command = [
            program("ip"), "netns", "exec", namespace, program("firefox-esr"), "--headless", "--no-remote", "--profile", profile,
            "--remote-debugging-port", str(port), "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession(connector=connector) as http:
                socket = await _connect(http, port)
                made = Firefox(socket)
                await made.command("session.new", {"capabilities": {}})
                tree = await made.command("browsingContext.getTree", {})
                made.context = tree["contexts"][0]["context"]
                yield made
                await socket.close()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
