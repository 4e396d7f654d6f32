# SPDX-License-Identifier: Apache-2.0
"""A large photograph behind the live voice, over a thin link with outages: it arrives whole, and the voice doesn't suffer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.browser.scene import Actor, meet, scene
from tests.link.lab import Lab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.link,
    pytest.mark.slow,
    pytest.mark.timeout(2_400),
]

OUTAGE_S = 15.0
SETTLED_S = 6.0
"""After an outage the voice is back and its buffers are as before."""
GOOD_AUDIO = 0.99
"""Of the voice that goes the photograph's way."""
OTHER_WAY = 0.98
"""Of the voice that comes back: only acknowledgements go with it, 1 % of its packets are lost by the link."""

_AUDIO = """
async () => {
  let received = 0, concealed = 0;
  for (const pc of globalThis.peerConnections) {
    for (const stat of (await pc.getStats()).values()) {
      if (stat.type !== "inbound-rtp" || stat.kind !== "audio") continue;
      received += stat.totalSamplesReceived ?? 0;
      // Silence that stands in for packets which nobody sent (DTX) is no loss.
      concealed += (stat.concealedSamples ?? 0) - (stat.silentConcealedSamples ?? 0);
    }
  }
  return [received, concealed];
}
"""


class Ear:
    """What is heard at a page, second by second, outages left out."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self.received = self.concealed = 0.0
        self.excluded_until = 0.0

    async def listen(self) -> None:
        """Count for ever."""
        before: list[float] | None = None
        while True:
            now = await self._actor.page.evaluate(_AUDIO)
            if before is not None and time.monotonic() > self.excluded_until:
                self.received += max(0.0, now[0] - before[0])
                self.concealed += max(0.0, now[1] - before[1])
            before = now
            await asyncio.sleep(1.0)

    @property
    def good(self) -> float:
        return 1.0 - self.concealed / self.received if self.received else 0.0


def photograph(folder: Path, pixels: str) -> Path:
    """Make a picture of noise, which compresses badly: about 0.75 bytes a pixel."""
    path = folder / "photo.jpg"
    source = f"nullsrc=s={pixels},geq=lum='random(1)*255':cb=128:cr=128"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "1", "-q:v", "2"]
    subprocess.run([*command, str(path)], check=True, timeout=120)
    return path


async def percent(actor: Actor) -> int:
    """Return how much of the photograph has gone, as the patient's page says; 100 when it no longer waits."""
    text = await actor.page.inner_text("#parcels")
    digits = "".join(c for c in text.split("%")[0] if c.isdigit())
    return int(digits) if digits else (0 if text.strip() else 100)


async def until_percent(actor: Actor, least: int, within_s: float) -> None:
    """Wait until so much has gone."""
    deadline = time.monotonic() + within_s
    while await percent(actor) < least:
        assert time.monotonic() < deadline, f"{await percent(actor)} % in {within_s} s"
        await asyncio.sleep(1.0)


@pytest.mark.parametrize("pixels", ["560x420", "3000x2250"], ids=["200KB", "5MB"])
async def test_a_photograph_arrives_whole_and_voice_goes_on(tmp_path: Path, pixels: str) -> None:
    """Over 256/128 kbit/s, 650 ms and 1 % loss, with two outages: the same bytes, and 99 % good voice beside them."""
    within_s = 900.0 if pixels == "3000x2250" else 240.0
    with Lab("island_256", seed=7) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, doctor = await stage.call()
            await meet(patient, doctor, within_s=40)
            ears = [Ear(patient), Ear(doctor)]
            listening = [asyncio.create_task(ear.listen()) for ear in ears]
            begun = time.monotonic()
            await patient.page.click("#photo", timeout=30_000)
            await patient.page.set_input_files("#shot input", photograph(tmp_path, pixels))
            await patient.page.click("#shot-send", timeout=30_000)
            for share in (20, 60):
                await until_percent(patient, share, within_s)
                for ear in ears:
                    ear.excluded_until = time.monotonic() + OUTAGE_S + SETTLED_S
                lab.blackout(OUTAGE_S)
                await asyncio.sleep(OUTAGE_S)
            await doctor.page.wait_for_selector(
                ".photo-line[data-sharp=true]", timeout=within_s * 1_000
            )
            took = time.monotonic() - begun
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
            print(json.dumps({"took_s": round(took), "good": [round(e.good, 4) for e in ears]}))
            assert ears[1].good >= GOOD_AUDIO
            assert ears[0].good >= OTHER_WAY
