# SPDX-License-Identifier: Apache-2.0
"""The node under load: ``selat serve`` as it is, with accounts made beforehand and sessions handed out on request.

Started by ``tests.load.broker``. Sessions are the real ones (invited, joined, signed), made inside the node between the
measured windows, because what is measured begins with the hello. Takes requests as JSON lines on its standard input.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from auth import passwords, tokens
from auth.roles import Role
from auth.tokens import Audience, Claims
from signalling import collector
from signalling.app import Node, open_node
from signalling.config import Config, LimitsConfig, ServerConfig
from signalling.core import events as ev
from signalling.edge.certificate import certificate_files, server_context
from signalling.edge.clock import now
from signalling.edge.house import ACCOUNTS, Profile, account_owner
from signalling.edge.keyfile import prepare_data_dir, read_master_key
from signalling.store.base import Append, Content, ContentId
from signalling.store.open import open_store
from signalling.wire.ids import AccountId
from signalling.wire.terms import Specialty

AT_A_TIME = 100
"""Invitations made at a time, and accounts per append."""


async def hire(data_dir: Path, count: int) -> list[AccountId]:
    """Write specialists' accounts into the store of a node that doesn't run yet.

    They share one password hash: making each takes 50 ms, on purpose.
    """
    store = await open_store(str(data_dir / "selat.db"), read_master_key(data_dir))
    password_hash = passwords.hash_password(secrets.token_urlsafe(9))
    accounts = [AccountId(f"a_{secrets.token_hex(8)}") for _ in range(count)]
    for first in range(0, count, AT_A_TIME):
        batch = accounts[first : first + AT_A_TIME]
        created = tuple(
            ev.encode(
                ev.AccountCreated(
                    at=now(),
                    account=account,
                    role=Role.SPECIALIST,
                    specialties=[Specialty.GENERAL],
                    content="profile",
                    password_hash=password_hash,
                )
            )
            for account in batch
        )
        content = [
            Content(
                account_owner(account),
                ContentId("profile"),
                msgspec.json.encode(Profile(account, "Dr Sari Wulandari", ["id", "en"])),
            )
            for account in batch
        ]
        await store.append(Append(ACCOUNTS, first, created), content=content)
    await store.close()
    return accounts


def session_of(node: Node, account_id: AccountId) -> str:
    """Return what ``/api/session`` gives to a specialist who is signed in."""
    at = now()
    account = node.house.account(account_id)
    assert account is not None
    claims = Claims(
        sub=account_id,
        role=Role.SPECIALIST,
        audience=Audience.SESSION,
        jti=account.binding,
        expires_at=at + node.config.identity.session_s,
    )
    return tokens.issue(node.consults.ring, claims, at)


async def admit(node: Node) -> dict[str, str]:
    """Invite a patient and redeem the invitation, as ``/api/join`` does."""
    invitation = await node.consults.invite(language="id")
    got = await node.consults.join(token=invitation.token, code=None, address="127.0.0.1")
    return {"consult": got.consult, "session": got.session}


async def answer(node: Node, accounts: list[AccountId], request: dict[str, Any]) -> object:
    """Return what a request asks for."""
    match request:
        case {"specialists": int()}:
            return [session_of(node, account) for account in accounts]
        case {"patients": int(count)}:
            patients: list[dict[str, str]] = []
            while len(patients) < count:
                batch = range(min(AT_A_TIME, count - len(patients)))
                patients += await asyncio.gather(*(admit(node) for _ in batch))
            return patients
        case _:
            raise ValueError("no such request")


async def serve(data_dir: Path, specialists: int, *, tls: bool) -> None:
    """Run until SIGTERM."""
    prepare_data_dir(data_dir)
    accounts = await hire(data_dir, specialists)
    # Every limit is the default one.
    server = ServerConfig(host="127.0.0.1", port=0, tls=tls, metrics_port=0, data_dir=data_dir)
    config = Config(server=server, limits=LimitsConfig())
    context = server_context(certificate_files(server, now())) if tls else None
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    requests = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    async with open_node(config, context) as node:
        collector.settle()
        print(json.dumps({"port": node.port}), flush=True)
        ended = asyncio.create_task(done.wait())
        while not done.is_set():
            line = asyncio.create_task(requests.readline())
            await asyncio.wait({ended, line}, return_when=asyncio.FIRST_COMPLETED)
            if not line.done() or not line.result():
                line.cancel()
                break
            print(json.dumps(await answer(node, accounts, json.loads(line.result()))), flush=True)
        ended.cancel()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), tls=sys.argv[3:] == ["tls"]))
