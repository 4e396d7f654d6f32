# SPDX-License-Identifier: Apache-2.0
"""`selat serve`: run a node, and say where it is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.metadata
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import typer
import uvloop

from auth.roles import Role
from signalling import collector, logs
from signalling.app import Node, open_node
from signalling.cli.invite import qr_text
from signalling.cli.relay_addresses import own_relays
from signalling.cli.shell import AsJson, config_options, fail, settings, show_json
from signalling.config import Config, ConfigError, MediaConfig, read_turn_secret
from signalling.edge.certificate import certificate_files, local_addresses, server_context
from signalling.edge.clock import now
from signalling.edge.control import AddAccount, Desk, PasswordMade, serve_control
from signalling.edge.keyfile import SecretsUnusable, prepare_data_dir
from signalling.edge.supervisor import Supervisor, Wanted
from signalling.errors import Refused
from signalling.store.base import StoreUnavailable
from signalling.wire.codes import Code
from signalling.wire.terms import Specialty

FIRST_ACCOUNTS = (
    AddAccount("operator", Role.OPERATOR, "Operator", [], ["id", "en"]),
    AddAccount("specialist", Role.SPECIALIST, "Specialist", [Specialty.GENERAL], ["id", "en"]),
)
"""Made on the first start of a node without a public address, so that a newcomer can try it at once."""


SWITCH_S = 0.0005
"""The store's threads must win the interpreter lock back from a busy event loop; at Python's 5 ms a read took up to 110 ms
beside a saturated loop, at this 22 ms."""


class Login(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account that this start tells about."""

    login: str
    role: Role
    password: str | None = None
    """Known only on the start that made the account."""


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `selat serve --json` prints when the node takes visitors: one line."""

    pid: int
    port: int
    public_url: str
    specialist_url: str
    operator_url: str
    metrics_url: str
    accounts: list[Login] = []
    """Accounts made on this start, with their passwords."""
    patient_url: str = ""
    """A consult to try with; the fragment is its invitation."""
    code: str = ""
    """The same consult's short code."""
    relays: int = 0
    """Media relays that this node starts."""
    network_url: str = ""
    """Under which other devices of this network reach the node, if it has no public address."""


def serve(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(help="Port to listen on (server.port).")] = None,
    store: Annotated[
        str | None, typer.Option(help="Store (store.url), e.g. redis://127.0.0.1:6379/0.")
    ] = None,
    demo: Annotated[
        bool | None,
        typer.Option(
            help="Make accounts on the first start and a consult on each; by default without a public address only."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a node until SIGINT or SIGTERM."""
    overrides = {}
    if port is not None:
        overrides["SELAT_HTTP_PORT"] = str(port)
    if store is not None:
        overrides["SELAT_STORE_URL"] = store
    config = settings(context, overrides)
    logs.configure(config.log)
    with_demo = not config.server.public_url if demo is None else demo
    sys.setswitchinterval(SWITCH_S)
    try:
        tls = _prepare(config)
        uvloop.run(_serve(config, tls, with_demo, as_json, config_options(context)))
    except (StoreUnavailable, SecretsUnusable, ConfigError) as error:
        fail(str(error))
    except (ssl.SSLError, ValueError) as error:
        fail(f"the certificate can't be used ({type(error).__name__}); `selat check` says more")
    except OSError as error:
        fail(_why(error, config))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _prepare(config: Config) -> ssl.SSLContext | None:
    """Make what a start needs, and find what is wrong before anything listens."""
    prepare_data_dir(config.server.data_dir)
    read_turn_secret(config.turn)
    if not config.server.tls:
        return None
    return server_context(certificate_files(config.server, now()))


async def _serve(
    config: Config, tls: ssl.SSLContext | None, demo: bool, as_json: bool, options: list[str]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        # Before the node and so ended after it: a node that goes down must not move calls away from relays that stay.
        relays = await stack.enter_async_context(_supervised(config, options))
        node = await stack.enter_async_context(open_node(config, tls))
        relays.begin(_wanted(node))
        desk = Desk(node.house, node.consults, node.public_url)
        await stack.enter_async_context(serve_control(desk, config.server.control_socket))
        collector.settle()
        ready = await _ready(node, desk, demo)
        if as_json:
            show_json(ready)
        else:
            _show(node, ready)
        await stop.wait()


@contextlib.asynccontextmanager
async def _supervised(config: Config, options: list[str]) -> AsyncIterator[Supervisor]:
    """Look after this node's own relays until the block ends; those that are used then outlive it."""
    supervisor = Supervisor(config.server.data_dir, config.server.port, options=options)
    try:
        yield supervisor
    finally:
        await supervisor.end()


def _wanted(node: Node) -> Wanted:
    """Return which relays this node starts, and how they find it."""
    config, server = node.config, node.config.server
    host = _host(server.host)
    certificate = certificate_files(server, now()).certificate if server.tls else None
    return Wanted(
        count=own_relays(config.media),
        server=f"{'wss' if server.tls else 'ws'}://{host}:{node.port}",
        origin=node.public_url,
        certificate=certificate,
    )


async def _ready(node: Node, desk: Desk, demo: bool) -> Ready:
    server = node.config.server
    accounts = await _first_accounts(node, desk) if demo else []
    made = await desk.consults.invite() if demo else None
    network_url = ""
    if not server.public_url and server.host in ("0.0.0.0", "::") and (found := local_addresses()):
        host = f"[{found[0]}]" if ":" in found[0] else found[0]
        network_url = f"{server.scheme}://{host}:{node.port}"
    return Ready(
        pid=os.getpid(),
        port=node.port,
        public_url=node.public_url,
        specialist_url=f"{node.public_url}/specialist",
        operator_url=f"{node.public_url}/operator",
        metrics_url=f"http://{_host(server.metrics_host)}:{node.metrics_port}/metrics",
        accounts=accounts,
        patient_url=f"{node.public_url}/#{made.token}" if made else "",
        code=made.code if made else "",
        relays=own_relays(node.config.media),
        network_url=network_url,
    )


async def _first_accounts(node: Node, desk: Desk) -> list[Login]:
    """Make the first accounts of an empty store; return them with the passwords, which are kept nowhere."""
    if node.house.accounts():
        return []
    logins = []
    for account in FIRST_ACCOUNTS:
        try:
            made = await desk.perform(account)
        except Refused as refused:
            if refused.code is not Code.ACCOUNT_EXISTS:
                raise
            continue  # another node on the same store was faster, and told its own terminal
        assert isinstance(made, PasswordMade)
        logins.append(Login(account.login, account.role, made.password))
    return logins


def _host(host: str) -> str:
    """Return an address as a URL has it; a listener on all addresses is reached on the loopback."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{local}]" if ":" in local else local


def _show(node: Node, ready: Ready) -> None:
    version = importlib.metadata.version("selat")
    lines = [f"Selat {version} is running at {ready.public_url} (Ctrl-C stops it)", ""]
    passwords = {account.role: account for account in ready.accounts}
    if ready.patient_url:
        lines += [f"  Patient     {ready.patient_url}", f"              or the code {ready.code}"]
    for role, url in (
        (Role.SPECIALIST, ready.specialist_url),
        (Role.OPERATOR, ready.operator_url),
    ):
        lines.append(f"  {role.value.capitalize():<11} {url}")
        if account := passwords.get(role):
            lines.append(f"              login {account.login}, password {account.password}")
    lines.append(f"  Metrics     {ready.metrics_url}")
    if ready.relays:
        lines.append(f"  Relays      {ready.relays}, {_ports(node.config.media)}")
    if ready.accounts:
        lines += [
            "",
            "The passwords are shown this once; `selat account reset LOGIN` makes new ones.",
        ]
    elif not node.house.accounts():
        lines += [
            "",
            "There are no accounts yet: `selat account add LOGIN --role operator` makes one.",
        ]
    typer.echo("\n".join(lines))
    if ready.patient_url and sys.stdout.isatty():
        fragment = ready.patient_url.partition("#")[2]
        base = ready.network_url or ready.public_url
        typer.echo(f"\nThe patient's link as a QR code, at {base}:\n")
        typer.echo(qr_text(f"{base}/#{fragment}"))
    if node.config.server.tls and node.config.server.certificate_file is None:
        typer.echo("Browsers warn once: the certificate was made here, for development.")
    sys.stdout.flush()


def _ports(media: MediaConfig) -> str:
    """Say which ports browsers need for the relays."""
    if not media.udp_port or not media.tcp_port:
        return "on any free ports"
    return f"UDP from port {media.udp_port}, TCP from port {media.tcp_port}"


def _why(error: OSError, config: Config) -> str:
    server = config.server
    where = f"{server.host}:{server.port} or {server.metrics_host}:{server.metrics_port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"a port is in use: {where}; stop what listens there, or set SELAT_HTTP_PORT and SELAT_METRICS_PORT"
        case errno.EACCES if server.port < 1_024:
            return f"port {server.port} is for root only; choose one above 1023 and put a proxy in front"
        case errno.EADDRNOTAVAIL:
            return f"this machine doesn't have that address: {where}"
        case _:
            return f"{error.strerror or type(error).__name__}; `selat check` says more"
