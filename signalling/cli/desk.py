# SPDX-License-Identifier: Apache-2.0
"""Asking the running node, or doing it here when none runs.

The embedded store belongs to one process, so while a node runs everything goes through its control socket. Without one
the same classes are put together here, on the store itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from prometheus_client import CollectorRegistry

from signalling.config import Config
from signalling.edge import control
from signalling.edge.clock import now
from signalling.edge.consults import Consults
from signalling.edge.house import House
from signalling.edge.keyfile import KeyFile, code_pepper, prepare_data_dir, read_master_key
from signalling.edge.ledger import Ledger
from signalling.metrics import Metrics
from signalling.store.open import open_store

T = TypeVar("T")


async def ask(config: Config, request: control.Request, kind: type[T]) -> T:
    """Have ``request`` done, by the running node if there is one; return the answer.

    Raises:
        Refused: it was refused.
        StoreUnavailable, SecretsUnusable: no node runs, and the store or the keys can't be used from here.
    """
    try:
        answer = await control.ask(config.server.control_socket, request)
    except control.Unreachable:
        async with own_desk(config) as desk:
            answer = msgspec.json.encode(await desk.perform(request))
    return msgspec.json.decode(answer, type=kind)


@contextlib.asynccontextmanager
async def own_desk(config: Config) -> AsyncIterator[control.Desk]:
    """Yield a desk on the store, without a node."""
    data_dir = config.server.data_dir
    prepare_data_dir(data_dir)
    master_key = read_master_key(data_dir)
    keyfile = KeyFile(data_dir, now())
    url = config.store.url or str(config.database_file)
    store = await open_store(url, master_key, synchronous=config.store.synchronous)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        ledger = Ledger(store, config.consult)
        house = House(ledger)
        consults = Consults(
            ledger,
            lambda: keyfile.ring,
            code_pepper(master_key),
            config.identity,
            Metrics(CollectorRegistry()),
        )
        await ledger.start()
        stack.push_async_callback(ledger.stop)
        await house.start()
        stack.push_async_callback(house.stop)
        yield control.Desk(house, consults, config.server.url)
