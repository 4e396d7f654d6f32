# SPDX-License-Identifier: Apache-2.0
"""When voice and pictures arrive at a page, to 50 ms: what continuity is measured by.

Counted at the receiver, from `getStats` of every connection that the page has: packets of voice and frames that were
decoded. Times are `Date.now()` of this machine, which all browsers of a test share.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.async_api import Page

Kind = Literal["voice", "picture"]

SAMPLE_MS = 50
"""Chromium keeps statistics for 50 ms: asking more often gives the same again."""

_SAMPLER = f"""() => {{
  globalThis.flow = [];
  const before = new WeakMap();
  const sample = async () => {{
    let voice = 0, picture = 0;
    for (const pc of globalThis.peerConnections ?? []) {{
      if (pc.connectionState === "closed") continue;
      const known = before.get(pc) ?? {{voice: 0, picture: 0}};
      const seen = {{voice: 0, picture: 0}};
      for (const stat of (await pc.getStats()).values()) {{
        if (stat.type !== "inbound-rtp") continue;
        if (stat.kind === "audio") seen.voice += stat.packetsReceived ?? 0;
        else seen.picture += stat.framesDecoded ?? 0;
      }}
      voice += Math.max(0, seen.voice - known.voice);
      picture += Math.max(0, seen.picture - known.picture);
      before.set(pc, seen);
    }}
    globalThis.flow.push([Date.now(), voice, picture]);
    if (globalThis.flow.length > 12000) globalThis.flow.splice(0, 2000);
  }};
  const again = async () => {{ try {{ await sample(); }} catch {{}} setTimeout(again, {SAMPLE_MS}); }};
  again();
}}"""


@dataclass(frozen=True, slots=True)
class Flow:
    """What arrived at one page."""

    samples: list[tuple[float, int, int]]
    """(instant in epoch seconds, packets of voice, frames) since the sample before."""

    def after_s(self, since: float, kind: Kind) -> float | None:
        """Return how long after an instant the first voice or picture came; None: none yet."""
        column = 1 if kind == "voice" else 2
        for sample in self.samples:
            if sample[0] > since and sample[column]:
                return sample[0] - since
        return None

    def longest_gap_s(self, since: float, until: float, kind: Kind) -> float:
        """Return the longest time without any, between two instants."""
        column = 1 if kind == "voice" else 2
        at = [s[0] for s in self.samples if since <= s[0] <= until and s[column]]
        return max(b - a for a, b in pairwise([since, *at, until]))


async def watch(*pages: Page) -> None:
    """Begin to count."""
    for page in pages:
        await page.evaluate(_SAMPLER)


async def flow(page: Page) -> Flow:
    """Return what arrived at a page so far."""
    found = await page.evaluate("() => globalThis.flow")
    return Flow([(at / 1_000, voice, picture) for at, voice, picture in found])


async def back_after_s(page: Page, since: float, kind: Kind, within_s: float) -> float:
    """Wait for the first voice or picture after an instant; return how long after it that was.

    Raises:
        AssertionError: none within ``within_s`` of the instant.
    """
    while True:
        found = (await flow(page)).after_s(since, kind)
        if found is not None:
            return found
        assert time.time() < since + within_s, f"no {kind} within {within_s} s"
        await asyncio.sleep(SAMPLE_MS / 1_000)
