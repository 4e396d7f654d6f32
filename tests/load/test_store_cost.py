# SPDX-License-Identifier: Apache-2.0
"""What durable appends cost; prints the bench's table."""

import pytest
import uvloop

from tests.load.bench_store import rows

CPU_US = 100
"""A call's set-up takes about 8 appends and has 3 ms of CPU in all: a quarter of it for the store. Measured on 2 cores:
20 to 50 µs with ten callers and more; one caller alone pays for its own flush (230 µs, most of it in the kernel)."""


@pytest.mark.load
@pytest.mark.redis
@pytest.mark.timeout(180)
def test_an_append_under_concurrency_is_cheap() -> None:
    """With ten callers and more an append costs this process at most 100 µs of CPU, on both stores."""
    found = uvloop.run(rows())
    shared = [row for row in found if row.what == "appends" and row.callers >= 10]
    assert len(shared) == 8
    assert {row for row in shared if row.cpu_us > CPU_US} == set()
