# SPDX-License-Identifier: Apache-2.0
"""PeerJS's server for the comparison: its installation, its process, its protocol."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.load.calls import CANDIDATES, Field, Side, candidate, description
from tests.load.client import Client, connect, frame, ignore
from tests.load.process import Server, serving
from tests.support.processes import free_port

HERE = Path(__file__).parent
PACKAGE = HERE / "npm"
TOOLS = HERE.parent / ".cache" / "peerjs"
PROGRAM = TOOLS / "node_modules/peer/dist/bin/peerjs.js"
CLIENT = TOOLS / "node_modules/peerjs/dist/peerjs.min.js"
"""For browsers; only `make link` uses it."""
WAIT_S = 30.0
CONNECTIONS = 20_000
ALIVE_MS = 3_600_000
"""Clients that say nothing are dropped after 60 s by default; our idle ones are to stay."""


def installed() -> bool:
    """Tell whether it can be run here."""
    return PROGRAM.exists() and CLIENT.exists() and shutil.which("node") is not None


def install() -> None:
    """Install the pinned version and its pinned dependencies with npm, unless it is there.

    Raises:
        subprocess.CalledProcessError: npm could not.
    """
    if installed():
        return
    TOOLS.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGE / name, TOOLS / name)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run(["npm", "ci", *options], cwd=TOOLS, check=True)


@asynccontextmanager
async def server(core: int) -> AsyncIterator[Server]:
    """Run it as its own command line does, with room for our connections."""
    port = free_port()
    options = {
        "port": port,
        "host": "127.0.0.1",
        "concurrent_limit": CONNECTIONS,
        "alive_timeout": ALIVE_MS,
    }
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    command = ["node", str(PROGRAM), *arguments]
    async with serving("PeerJS", command, core, b"Started PeerServer", port) as process:
        yield process


@dataclass(frozen=True, slots=True)
class _Ready:
    """A frame that is the same at each sending: PeerJS has no request ids."""

    data: bytes

    def frame(self, _request_id: int) -> bytes:
        """Return it."""
        return self.data


async def arrive(port: int, name: str) -> Client:
    """Connect as the peer ``name``."""
    opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    path = f"/peerjs?key=peerjs&id={name}&token=t{name}&version=1.5.5"
    client = await connect(port, path, opened.set_result)
    async with asyncio.timeout(WAIT_S):
        assert await opened == b'{"type":"OPEN"}'
    client.on_message = ignore
    return client


def side(client: Client, kind: str, other: str) -> Side:
    """Return an end of a call with the peer ``other``, as PeerJS's client for browsers sends it."""
    call = {"type": "media", "connectionId": "mc_8vbd1iknn9m"}

    def message(name: str, payload: dict[str, Any]) -> _Ready:
        return _Ready(
            frame(msgspec.json.encode({"type": name, "payload": {**payload, **call}, "dst": other}))
        )

    messages = [message(kind.upper(), {"sdp": description(kind)})]
    messages += [
        message("CANDIDATE", {"candidate": candidate(n)}) for n in range(1, CANDIDATES + 1)
    ]
    return Side(client, messages)


def empty_field() -> Field:
    """Return a field that knows how PeerJS's messages begin."""
    kinds = (b'{"type":"OFFER"', b'{"type":"ANSWER"', b'{"type":"CANDIDATE"')
    return Field(kinds, (b'{"type":"ERROR"', b'{"type":"LEAVE"', b'{"type":"EXPIRE"'))


_numbers = itertools.count()


async def pair(server: Server, field: Field) -> tuple[Client, Client]:
    """Connect two peers that call each other."""
    number = next(_numbers)
    names = f"s{number}", f"p{number}"
    a, b = [await arrive(server.port, name) for name in names]
    field.add(side(a, "offer", names[1]), side(b, "answer", names[0]))
    return a, b


async def field_of_calls(server: Server, pairs: int) -> Field:
    """Return pairs that call each other."""
    field = empty_field()
    for _ in range(pairs):
        await pair(server, field)
    return field


async def call(server: Server) -> None:
    """One call from two connections to their end: what PeerJS does for a set-up, nothing durable."""
    field = empty_field()
    clients = await pair(server, field)
    await field.once_each()
    for client in clients:
        client.close()
