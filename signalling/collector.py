# SPDX-License-Identifier: Apache-2.0
"""Python's garbage collector, set for a server that lives for months."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (10_000, 20, 20)
"""Python's 700 containers, 10 and 10 are for scripts: a node makes that many in a tenth of a call's set-up, nearly all of
which go by reference count, and spent 5 % of its CPU looking at them (measured by perf). What is in cycles (finished
connections, failed tasks) waits a little longer; 10,000 small containers are about a megabyte."""


def settle() -> None:
    """Call once when the node is up: what exists now lives as long as the process, so the collector passes it by."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
