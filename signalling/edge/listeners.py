# SPDX-License-Identifier: Apache-2.0
"""Where a node listens, and under which addresses people find it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from auth.origins import canonical
from signalling.config import ServerConfig
from signalling.edge.certificate import local_addresses
from signalling.edge.paced import SEGMENT_BYTES, SO_MAX_PACING_RATE, UNBOUNDED
from signalling.metrics import Metrics


async def listen(server: ServerConfig) -> socket.socket:
    """Bind the main listener, so that its port is known before the parts are built; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, proto, _, address = found[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        with contextlib.suppress(OSError):  # a kernel without it sends in bursts
            listener.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, UNBOUNDED)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[web.AppRunner]:
    """Run an application until the block ends; its sites are the caller's."""
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=1.0,
        keepalive_timeout=75.0,
        # What is left of a refused request's body is read for this long only: after that the client is wasting us.
        lingering_time=1.0,
    )
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def serving_metrics(server: ServerConfig, metrics: Metrics) -> AsyncIterator[int]:
    """Serve ``/metrics`` on its own listener; give its port."""

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape)])
    async with serving(app) as runner:
        await web.TCPSite(runner, server.metrics_host, server.metrics_port).start()
        yield int(runner.addresses[0][1])


def public_url(server: ServerConfig, port: int) -> str:
    """Return the address that goes into links: the configured one, or this machine's own."""
    return server.public_url.rstrip("/") or f"{server.scheme}://localhost:{port}"


def own_origins(server: ServerConfig, port: int) -> frozenset[str]:
    """Return the origins of our own pages: the public one, or without one, this machine's names and addresses."""
    if server.public_url:
        origins = [canonical(server.public_url.rstrip("/"))]
    else:
        hosts = ["localhost", "127.0.0.1", "::1", *local_addresses()]
        names = [f"[{host}]" if ":" in host else host for host in hosts]
        origins = [canonical(f"{server.scheme}://{name}:{port}") for name in names]
    return frozenset(origin for origin in origins if origin is not None)
