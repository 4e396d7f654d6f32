# SPDX-License-Identifier: Apache-2.0
"""How long people wait: accept to first voice and picture, and cold join to both directions ready, in real browsers.

``python -m tests.load.accept [--calls N] [--rtt MS ...]`` prints a table; it needs root, for the emulated links. The island's
link has 384/128 kbit/s and the round trip asked for; the specialist sits in the city.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.async_api import Page

from tests.browser.flow import back_after_s, watch
from tests.browser.scene import Actor, Scene, scene
from tests.link.lab import Lab
from tests.link.profiles import link

CALLS = 20
RTTS_MS = (20.0, 250.0, 650.0)
WARM_S = 4.0
"""From ringing to accepting: a person needs that long to look at the ring."""
WITHIN_S = 20.0
WAYS = [
    (where, f"accept to {kind}") for where in ("island", "city") for kind in ("voice", "picture")
]
WAYS += [(where, "cold join to voice") for where in ("island", "city")]
_NOTE_DIAL = """
const Socket = WebSocket;
globalThis.WebSocket = class extends Socket {
  constructor(...args) { globalThis.dialled ??= Date.now(); super(...args); }
};
"""
_SHOWN = """() => {
  if (globalThis.shownAt) { globalThis.shownAt.length = 0; return; }
  const times = globalThis.shownAt = [];
  const video = document.getElementById("remote");
  const shown = (_, {presentationTime}) => {
    if (times.length < 100) times.push((performance.timeOrigin + presentationTime) / 1000);
    video.requestVideoFrameCallback(shown);
  };
  video.requestVideoFrameCallback(shown);
}"""
"""When frames of the other side were shown: statistics are up to 100 ms late (kept for 50 ms, asked each 50)."""
_CLICK = "id => { const at = Date.now(); document.getElementById(id).click(); return at / 1000; }"


async def one_call(stage: Scene, patient: Actor, specialist: Actor) -> list[float]:
    """Make one call; return the seconds of `WAYS`.

    The patient joins cold by a reload in the call: counted from when the page's script runs and dials.
    """
    invited = stage.server.cli("invite")
    # A link differs from the one before in its fragment only: going there alone would load nothing.
    await patient.page.goto("about:blank")
    await patient.page.goto(invited["url"])
    await stage.join(patient)
    await specialist.state("ringing", within_s=15)
    pages = (patient.page, specialist.page)
    await watch(*pages)
    for page in pages:
        await page.evaluate(_SHOWN)
    await asyncio.sleep(WARM_S)
    at = float(await specialist.page.evaluate(_CLICK, "accept"))
    waits = [
        wait for page in pages for wait in (back_after_s(page, at, "voice", WITHIN_S), shown_after_s(page, at))
    ]  # fmt: skip
    took = list(await asyncio.gather(*waits))
    await patient.page.reload()
    await watch(patient.page)
    dialled = await patient.page.wait_for_function("() => globalThis.dialled")
    at = float(await dialled.json_value()) / 1_000
    took += await asyncio.gather(*(back_after_s(page, at, "voice", WITHIN_S) for page in pages))
    await specialist.page.click("#end-open")
    await specialist.page.click("#end-outcomes label >> nth=0")
    await specialist.page.click("#end-form button.danger")
    await specialist.state("available")
    await patient.state("ended")
    return took


async def shown_after_s(page: Page, since: float) -> float:
    """Wait for the first picture that is shown after an instant; return how long after it that was."""
    found = await page.wait_for_function(
        "since => globalThis.shownAt.find((at) => at > since)",
        arg=since,
        timeout=WITHIN_S * 1_000,
        polling=50,
    )
    return float(await found.json_value()) - since


async def measure(rtt_ms: float, calls: int) -> list[list[float]]:
    """Return the times of some calls over one link."""
    profile = link(f"rtt_{rtt_ms:.0f}", 384, 128, rtt_ms, "the links of the aims")
    with tempfile.TemporaryDirectory() as folder, Lab(profile, seed=1) as lab:
        async with scene(Path(folder), lab=lab) as stage:
            specialist = await stage.specialist()
            patient = await stage.browser("island", permission="remembered")
            await patient.context.add_init_script(_NOTE_DIAL)
            return [await one_call(stage, patient, specialist) for _ in range(calls)]


def table(rows: Sequence[tuple[float, list[list[float]]]]) -> str:
    """Return the table: medians and 95th percentiles against the aims."""
    lines = [
        "| round trip ms | what | where | median s | aim | p95 s | aim |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rtt_ms, calls in rows:
        rtt_s = rtt_ms / 1_000
        for index, (where, what) in enumerate(WAYS):
            values = sorted(call[index] for call in calls)
            p95 = values[min(len(values) - 1, round(0.95 * (len(values) - 1)))]
            cold = what.startswith("cold")
            median_aim = 6 * rtt_s + 0.5 if cold else rtt_s + 0.3
            p95_aim = f"{2 * rtt_s + 0.6:.2f}" if not cold else ""
            lines.append(
                f"| {rtt_ms:.0f} | {what} | {where} | {statistics.median(values):.2f} | {median_aim:.2f}"
                f" | {p95:.2f} | {p95_aim} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rtt", type=float, nargs="*", default=list(RTTS_MS))
    options = parser.parse_args()
    rows = []
    for rtt_ms in options.rtt:
        begun = time.monotonic()
        rows.append((rtt_ms, asyncio.run(measure(rtt_ms, options.calls))))
        print(
            f"{rtt_ms:.0f} ms: {options.calls} calls in {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    print(table(rows))


if __name__ == "__main__":
    main()
