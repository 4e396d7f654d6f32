# SPDX-License-Identifier: Apache-2.0
"""Writes the traces: a sender that obeys nobody over an emulated link.

`python -m tests.unit.media.core.bwe.record`. One line per packet that arrived: sent (ms, the
sender's clock), arrived (ms), octets, whether packets before it were lost. The first line says what
the link carried, from when on, in seconds and bits per second.
"""

from __future__ import annotations

import random
from pathlib import Path

from tests.link.model import LinkModel, LinkParameters

TRACES = Path(__file__).parent / "traces"
LINKS: dict[str, tuple[LinkParameters, list[tuple[float, float]], float]] = {
    "edge": (
        LinkParameters(48e3, 250, 80, burst_loss_ratio=0.06), [(0, 48e3)], 70e3
    ),
    "falls": (
        LinkParameters(512e3, 125, 20, loss_ratio=0.02), [(0, 512e3), (8, 96e3)], 140e3
    ),
}  # fmt: skip


def record(name: str) -> str:
    """Return a trace of 24 s."""
    parameters, steps, rate_bps = LINKS[name]
    link = LinkModel(parameters, name)
    rng = random.Random(name)
    sent: list[tuple[float, int]] = []
    lines: list[str] = []
    now, highest = 0.0, -1
    pending = steps[1:]
    while now < 24:
        if pending and now >= pending[0][0]:
            link.change(now, rate_bps=pending.pop(0)[1])
        # 3 s on, 1 s of voice alone: queues build and drain.
        size = 130 if now % 4 > 3 else rng.randint(200, 600)
        sent.append((now, size))
        link.offer(now, (len(sent) - 1).to_bytes(4, "big"), size)
        until = now + (0.06 if size == 130 else size * 8 / rate_bps)
        while (at := link.next_at_s()) <= until:
            for payload in link.poll(at):
                number = int.from_bytes(payload, "big")
                gap = int(number != highest + 1)
                highest = max(highest, number)
                lines.append(f"{sent[number][0] * 1e3:.0f} {at * 1e3:.0f} {sent[number][1]} {gap}")
        now = until
    head = " ".join(f"{at:g}:{rate:g}" for at, rate in steps)
    return "\n".join([head, *lines]) + "\n"


if __name__ == "__main__":
    for trace in LINKS:
        (TRACES / f"{trace}.txt").write_text(record(trace), encoding="utf-8")
