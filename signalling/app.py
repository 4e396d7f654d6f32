# SPDX-License-Identifier: Apache-2.0
"""The composition root: which parts a node has, in which order they start, and how they end.

``open_node`` is one async context manager. Its body is the list of parts, each acquired after what it needs; leaving it
undoes the list backwards: no new visitors, everybody asked to reconnect, work finished, store closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from auth.origins import canonical
from signalling.config import Config
from signalling.edge import http, keys
from signalling.edge.census import Census
from signalling.edge.certificate import local_addresses
from signalling.edge.clock import now
from signalling.edge.commands import Commands
from signalling.edge.connections import Connections
from signalling.edge.consults import Consults
from signalling.edge.gate import Gate
from signalling.edge.house import House
from signalling.edge.keyfile import KeyFile, SecretsUnusable, code_pepper, read_master_key
from signalling.edge.ledger import Ledger
from signalling.edge.pages import Pages
from signalling.edge.push import Push
from signalling.edge.rota import Rota
from signalling.edge.watched import WatchedStore
from signalling.metrics import Metrics
from signalling.store.base import Store
from signalling.store.open import open_store

log = logging.getLogger(__name__)

STORE_FILE = "selat.db"
KEYS_CHECK_S = 60.0
LAG_SAMPLE_S = 0.5
"""How often the event loop's lateness is sampled; twice a second costs nothing and sees every stall above that."""


LOOP_PAUSE_S = 1.0
"""Before a loop that failed begins again: a fault that lasts must not become a storm."""

Loop = Callable[[], Coroutine[object, object, None]]


@dataclass(frozen=True, slots=True)
class Node:
    """A running node."""

    app: web.Application
    config: Config
    store: Store
    ledger: Ledger
    house: House
    consults: Consults
    metrics: Metrics
    public_url: str
    """Scheme, host and port under which people reach the pages."""
    port: int
    """Where the main listener listens: the configured port, or the one that the system chose for 0."""
    metrics_port: int


@contextlib.asynccontextmanager
async def open_node(config: Config, tls: ssl.SSLContext | None) -> AsyncIterator[Node]:
    """Start a node and yield it; leaving ends it.

    Raises:
        StoreUnavailable, SecretsUnusable, OSError: a part can't start; its text says why.
    """
    data_dir = config.server.data_dir
    master_key = read_master_key(data_dir)
    keyfile = KeyFile(data_dir, now())
    url = config.store.url or str(data_dir / STORE_FILE)
    raw_store = await open_store(url, master_key, synchronous=config.store.synchronous)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(raw_store.close)
        metrics = Metrics(CollectorRegistry())
        store = WatchedStore(raw_store, metrics)
        listener = await _listen(config)
        stack.callback(listener.close)
        port = int(listener.getsockname()[1])
        public_url = config.server.public_url.rstrip("/") or _local_url(config, port)

        ledger = Ledger(store, config.consult)
        house = House(ledger)
        connections = Connections(store, config.consult.presence_s)
        push = Push(ledger, house, connections)
        consults = Consults(
            ledger, lambda: keyfile.ring, code_pepper(master_key), config.identity, metrics
        )
        commands = Commands(
            ledger=ledger,
            house=house,
            consults=consults,
            connections=connections,
            push=push,
            metrics=metrics,
            turn_config=config.turn,
            turn_secret=_turn_secret(config),
            public_url=public_url,
        )
        origins = {o for o in (canonical(public_url), *_local_origins(config, port)) if o}
        gate = Gate(
            config=config,
            ledger=ledger,
            house=house,
            consults=consults,
            connections=connections,
            push=push,
            commands=commands,
            metrics=metrics,
            origins=origins,
        )
        rota = Rota(ledger, push.rota, connections.elsewhere, node=secrets.token_hex(6))
        census = Census(ledger, push.rota, metrics)

        app = web.Application(
            middlewares=[http.refusals], client_max_size=config.limits.max_body_bytes
        )
        for key, part in (
            (keys.CONFIG, config),
            (keys.CONSULTS, consults),
            (keys.GATE, gate),
            (keys.HOUSE, house),
            (keys.LEDGER, ledger),
            (keys.METRICS, metrics),
        ):
            app[key] = part  # type: ignore[misc]
        app.add_routes(http.Http(app, origins).routes())
        app.add_routes([web.get("/ws", gate.handler)])
        app.add_routes(Pages().routes())

        await ledger.start()
        stack.push_async_callback(ledger.stop)
        await house.start()
        stack.push_async_callback(house.stop)
        loops: tuple[Loop, ...] = (
            connections.listen,
            connections.renew,
            push.tick,
            rota.run,
            gate.sweep,
            census.run,
            lambda: _sample_lag(metrics),
            lambda: _maintain_keys(keyfile, config),
        )
        await stack.enter_async_context(_running(*loops))
        metrics.build(
            importlib.metadata.version("selat"),
            "redis" if "://" in url and not url.startswith("sqlite") else "embedded",
        )
        runner = await stack.enter_async_context(_serving(app))
        await web.SockSite(runner, listener, ssl_context=tls, backlog=1_024).start()
        metrics_port = await _serve_metrics(stack, config, metrics)
        stack.push_async_callback(gate.drain)
        yield Node(
            app, config, store, ledger, house, consults, metrics, public_url, port, metrics_port
        )


@contextlib.asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=75.0)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _running(*loops: Loop) -> AsyncIterator[None]:
    """Run the node's endless loops; one that fails is logged loudly and begun again."""

    async def keep(loop: Loop) -> None:
        while True:
            try:
                await loop()
            except Exception:
                log.critical("loop_failed", exc_info=True)
            await asyncio.sleep(LOOP_PAUSE_S)

    tasks = [asyncio.create_task(keep(loop)) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(config: Config) -> socket.socket:
    """Bind the main listener now, so that its port is known before the parts are built."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        config.server.host, config.server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, proto, _, address = found[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


async def _serve_metrics(stack: contextlib.AsyncExitStack, config: Config, metrics: Metrics) -> int:
    """Serve ``/metrics`` on its own listener; return its port."""

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape)])
    runner = await stack.enter_async_context(_serving(app))
    site = web.TCPSite(runner, config.server.metrics_host, config.server.metrics_port)
    await site.start()
    return int(runner.addresses[0][1])


def _local_url(config: Config, port: int) -> str:
    return f"{config.server.scheme}://localhost:{port}"


def _local_origins(config: Config, port: int) -> list[str | None]:
    """Return the origins of a node without a public address: this machine's names and addresses."""
    if config.server.public_url:
        return []
    hosts = ["localhost", "127.0.0.1", "::1", *local_addresses()]
    return [
        canonical(f"{config.server.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        for host in hosts
    ]


def _turn_secret(config: Config) -> str:
    if not config.turn.urls:
        return ""
    if config.turn.secret_file is None:
        raise SecretsUnusable("turn.urls are set, but turn.secret_file is not")
    try:
        return config.turn.secret_file.read_text().strip()
    except OSError as error:
        raise SecretsUnusable(f"can't read {config.turn.secret_file} ({error.strerror})") from None


async def _sample_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_SAMPLE_S)
        metrics.loop_lag(max(0.0, loop.time() - before - LAG_SAMPLE_S))


async def _maintain_keys(keyfile: KeyFile, config: Config) -> None:
    while True:
        await asyncio.sleep(KEYS_CHECK_S)
        try:
            keyfile.maintain(now(), config.identity.key_rotation_s)
        except SecretsUnusable:
            log.exception("keys_not_maintained")
