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
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass

from aiohttp import web

from signalling.config import Config, read_turn_secret
from signalling.edge import http, keys, listeners
from signalling.edge.census import Census
from signalling.edge.clock import now
from signalling.edge.commands import Commands
from signalling.edge.connections import Connections
from signalling.edge.consults import Consults
from signalling.edge.contents import Contents
from signalling.edge.direct import Direct
from signalling.edge.gate import Gate
from signalling.edge.house import House
from signalling.edge.keyfile import KeyFile, SecretsUnusable, code_pepper, read_master_key
from signalling.edge.ledger import Ledger
from signalling.edge.legs import Legs
from signalling.edge.pages import Pages
from signalling.edge.push import Push
from signalling.edge.relays import Relays
from signalling.edge.rota import Rota
from signalling.edge.routing import Routing
from signalling.edge.spools import PIECES, Spools
from signalling.edge.watched import WatchedStore
from signalling.metrics import Metrics, make_registry
from signalling.store.base import Store
from signalling.store.embedded import EmbeddedStore
from signalling.store.open import open_store

log = logging.getLogger(__name__)

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
    contents: Contents
    metrics: Metrics
    public_url: str
    """Scheme, host and port under which people reach the pages."""
    port: int
    """Where the main listener listens: the configured port, or the one that the system chose for 0."""
    metrics_port: int


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a node keeps to itself."""

    master_key: bytes
    keyfile: KeyFile
    turn: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A node's parts, built but not started."""

    app: web.Application
    ledger: Ledger
    house: House
    consults: Consults
    gate: Gate
    push: Push
    loops: tuple[Loop, ...]


@contextlib.asynccontextmanager
async def open_node(config: Config, tls: ssl.SSLContext | None) -> AsyncIterator[Node]:
    """Start a node and yield it; leaving ends it.

    Raises:
        StoreUnavailable, SecretsUnusable, ConfigError, OSError: a part can't start; its text says why.
    """
    server = config.server
    known = Secrets(
        read_master_key(server.data_dir),
        KeyFile(server.data_dir, now()),
        read_turn_secret(config.turn) or "",
    )
    metrics = Metrics(make_registry())
    async with contextlib.AsyncExitStack() as stack:
        store = await _open_store(config, known.master_key, metrics)
        stack.push_async_callback(store.close)
        listener = await listeners.listen(server)
        stack.callback(listener.close)
        port = int(listener.getsockname()[1])
        parts = _build(config, known, store, metrics, port)
        await parts.ledger.start()
        stack.push_async_callback(parts.ledger.stop)
        await parts.house.start()
        await parts.push.recall()
        stack.push_async_callback(parts.house.stop)
        await stack.enter_async_context(_running(*parts.loops))
        runner = await stack.enter_async_context(listeners.serving(parts.app))
        await web.SockSite(runner, listener, ssl_context=tls, backlog=1_024).start()
        metrics_port = await stack.enter_async_context(listeners.serving_metrics(server, metrics))
        stack.push_async_callback(parts.gate.drain)
        yield Node(
            app=parts.app,
            config=config,
            store=store,
            ledger=parts.ledger,
            house=parts.house,
            consults=parts.consults,
            contents=parts.gate.contents,
            metrics=metrics,
            public_url=listeners.public_url(server, port),
            port=port,
            metrics_port=metrics_port,
        )


async def _open_store(config: Config, master_key: bytes, metrics: Metrics) -> WatchedStore:
    url = config.store.url or str(config.database_file)
    store = await open_store(url, master_key, synchronous=config.store.synchronous)
    embedded = isinstance(store, EmbeddedStore)
    metrics.build(importlib.metadata.version("selat"), "embedded" if embedded else "redis")
    return WatchedStore(store, metrics)


def _build(config: Config, known: Secrets, store: Store, metrics: Metrics, port: int) -> Parts:
    """Put the parts together: each is given what it needs, nothing reaches for anything."""
    ledger = Ledger(store, config.consult)
    house = House(ledger)
    connections = Connections(store, config.consult.presence_s)
    push = Push(ledger, house, connections)
    relays = Relays(ledger, connections, metrics, push.spawn)
    routing = Routing(relays, ledger, connections, push, metrics, config.media.route)
    direct = Direct(ledger, connections, push, metrics)
    legs = Legs(ledger, connections, push, routing, direct)
    spools = Spools(ledger, metrics)
    contents = Contents(ledger, spools, connections, push, metrics)
    contents.on_inflow = legs.carried
    keyfile, pepper = known.keyfile, code_pepper(known.master_key)
    consults = Consults(ledger, lambda: keyfile.ring, pepper, config.identity, metrics)
    commands = Commands(
        ledger=ledger,
        house=house,
        consults=consults,
        connections=connections,
        push=push,
        legs=legs,
        contents=contents,
        metrics=metrics,
        turn_config=config.turn,
        turn_secret=known.turn,
        public_url=listeners.public_url(config.server, port),
    )
    origins = listeners.own_origins(config.server, port)
    gate = Gate(
        config=config,
        ledger=ledger,
        house=house,
        consults=consults,
        connections=connections,
        push=push,
        commands=commands,
        legs=legs,
        contents=contents,
        metrics=metrics,
        origins=origins,
    )
    app = web.Application(middlewares=[http.refusals], client_max_size=config.limits.max_body_bytes)
    app[keys.CONFIG], app[keys.METRICS] = config, metrics
    app[keys.CONSULTS], app[keys.GATE] = consults, gate
    app[keys.HOUSE], app[keys.LEDGER] = house, ledger
    app.add_routes([*http.Http(app, origins).routes(), *Pages().routes(metrics.page_served)])
    app.add_routes([web.get("/ws", gate.handler)])
    rota = Rota(ledger, push.rota, connections.elsewhere, node=secrets.token_hex(6))
    rota.others[PIECES] = spools.attend
    census = Census(ledger, push.rota, metrics)
    loops = (
        *(connections.listen, connections.renew, push.tick, rota.run),
        *(gate.sweep, census.run, routing.run),
        lambda: _sample_lag(metrics),
        lambda: _maintain_keys(keyfile, config),
    )
    return Parts(app, ledger, house, consults, gate, push, loops)


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
