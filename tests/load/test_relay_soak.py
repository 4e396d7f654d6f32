# SPDX-License-Identifier: Apache-2.0
"""Twenty calls for an hour from generated SRTP peers: nothing grows, and after the last hang-up nothing is left."""

from __future__ import annotations

import os

import pytest

from tests.load.media_load import End, Load
from tests.load.process import python, serving
from tests.load.relay import Selat

SOAK_S = float(os.environ.get("SELAT_SOAK_S", "3600"))
"""How long; an hour in `make test-all`."""
CALLS = 20
SAMPLES = 12
GROWTH_RATIO = 1.03
GROWTH_BYTES = 1_500_000
"""What an allocator's fragments may be: 37 KB per leg, a third of what a leg is."""


@pytest.mark.slow
@pytest.mark.timeout(SOAK_S * 1.2 + 300)
async def test_an_hour_of_twenty_calls_leaves_nothing() -> None:
    """Memory of the last third of the time is that of the second third; tasks, descriptors, tables are as before."""
    cores = sorted(os.sched_getaffinity(0))
    async with serving("Selat", python("tests.load.relay_process"), cores[0], b"{") as server:
        relay = Selat(server)
        for peer in await relay.connect():
            await peer.close()
        await relay.clear()
        before = await server.ask({"do": "left"})
        ends: list[End] = []
        for _ in range(CALLS):
            ends += await relay.call()
        for end in ends[::3]:
            end.lose_every = 40
        load = Load(ends)
        memory, sent, received = [], 0, 0
        for _ in range(SAMPLES):
            found = load.paced(max(1.0, SOAK_S / SAMPLES))
            sent, received = sent + found.sent, received + found.received
            counts = await server.ask({"do": "counts"})
            memory.append(server.rss_bytes())
        print(f"sent {sent}, received {received}, MB {[round(rss / 1e6, 1) for rss in memory]}")
        # A third loses packets and repeats none: most of its pictures are held back, 10 % of all that is sent.
        assert received > 0.85 * sent
        assert "fault" not in counts["drops"]
        third = SAMPLES // 3
        assert max(memory[-third:]) <= max(memory[third:-third]) * GROWTH_RATIO + GROWTH_BYTES
        load.close()
        for end in ends:
            await end.peer.close()
        await relay.clear()
        assert await server.ask({"do": "left"}) == before
