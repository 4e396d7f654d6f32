# SPDX-License-Identifier: Apache-2.0
"""A large photograph behind the live voice, over a thin link with outages: it arrives whole, and the voice doesn't suffer."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.scene import Actor, meet, scene
from tests.browser.test_content import record
from tests.link.lab import Lab
from tests.link.profiles import link

pytestmark = [
    pytest.mark.browser,
    pytest.mark.link,
    pytest.mark.slow,
    pytest.mark.timeout(3_000),
]

OUTAGE_S = 15.0
SETTLED_S = 6.0
"""After an outage the voice is back and its buffers are as before."""
GOOD_AUDIO = {"up": 0.98, "down": 0.985}
"""The aims on a link of 128/64 kbit/s: of what the photograph's side says, and of what it hears."""
LINK = link(
    "photograph", 128, 128, 650,
    "A shared geostationary point: 128 kbit/s each way, 1 % lost.", jitter_ms=20, loss_ratio=0.01,
)  # fmt: skip

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


def photograph(folder: Path, width: int, height: int) -> Path:
    """Make a picture of noise, which compresses badly: 0.71 bytes a pixel as the page encodes it."""
    path = folder / "photo.jpg"
    grey = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-i", "-"]
    command = ["ffmpeg", "-v", "error", *grey, "-frames:v", "1", "-q:v", "2", str(path)]
    subprocess.run(command, input=os.urandom(width * height), check=True, timeout=120)
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


_ANNOUNCED = """
globalThis.announced = [];
const Announcing = WebSocket;
globalThis.WebSocket = class extends Announcing {
  send(data) {
    if (typeof data === "string" && data.includes('"content_begin"')) globalThis.announced.push(JSON.parse(data));
    super.send(data);
  }
};
"""


async def announced(patient: Actor) -> tuple[int, str]:
    """Return size and hash of the sharp photograph, as the patient's page announced it."""
    found = await patient.page.evaluate(
        "() => announced.filter((each) => !each.previewOf).map((each) => [each.bytes, each.sha256])"
    )
    assert len({tuple(each) for each in found}) == 1
    return int(found[0][0]), str(found[0][1])


@pytest.mark.parametrize(
    ("size", "least", "within_s"),
    [((640, 480), 200_000, 180.0), ((3_072, 2_304), 5_000_000, 2_400.0)],
    ids=["200KB", "5MB"],
)
async def test_a_photograph_arrives_whole_and_voice_goes_on(
    tmp_path: Path, size: tuple[int, int], least: int, within_s: float
) -> None:
    """Over 128 kbit/s, 650 ms and 1 % loss, with two outages: the same bytes, and the voices keep their aims beside them."""
    with Lab(LINK, seed=7) as lab:
        async with scene(tmp_path, lab=lab, script=_ANNOUNCED) as stage:
            patient, doctor = await stage.call()
            await meet(patient, doctor, within_s=40)
            ears = {"down": Ear(patient), "up": Ear(doctor)}
            listening = [asyncio.create_task(ear.listen()) for ear in ears.values()]
            await patient.page.click("#photo", timeout=30_000)
            await patient.page.set_input_files("#shot input", photograph(tmp_path, *size))
            await patient.page.click("#shot-send", timeout=60_000)
            begun = time.monotonic()
            for share in (20, 60):
                await until_percent(
                    patient, share, within_s * share / 60
                )  # known early if it can't
                print(json.dumps({"percent": share, "at_s": round(time.monotonic() - begun)}))
                for ear in ears.values():
                    ear.excluded_until = time.monotonic() + OUTAGE_S + SETTLED_S
                lab.blackout(OUTAGE_S)
                await asyncio.sleep(OUTAGE_S)
            await until_percent(patient, 100, within_s)
            sent_s = time.monotonic() - begun
            good = {side: round(ear.good, 4) for side, ear in ears.items()}
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
            lost = {way: lab.report()[way]["lost_packets"]["queue"] for way in ("up", "down")}
            sharp = ".photo-line[data-sharp=true]"  # shown only when the hash of what came fits
            await doctor.page.wait_for_selector(sharp, timeout=120_000)
            count, digest = await announced(patient)
            assert await doctor.page.get_attribute(sharp, "data-sha256") == digest
            print(
                json.dumps({"bytes": count, "sent_s": round(sent_s), "good": good, "queue": lost})
            )
            assert count >= least
            assert all(good[side] >= aim for side, aim in GOOD_AUDIO.items())


THIN = link(
    "voice_and_a_little", 256, 32, 300, "Room for a voice and for a small picture now and then."
)


async def test_on_rung_voice_pictures_come_now_and_then(tmp_path: Path) -> None:
    """Where only a voice fits, the specialist sees small pictures 10-15 s apart; the voice keeps its aim beside them."""
    with Lab(THIN, seed=3) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            _, doctor = await stage.call()
            ear = Ear(doctor)
            listening = asyncio.create_task(ear.listen())
            picture = doctor.page.locator("#auto-still img")
            came: list[float] = []
            shown = ""
            deadline = time.monotonic() + 150
            while len(came) < 6 and time.monotonic() < deadline:
                now = await picture.get_attribute("src") or ""
                if now != shown:
                    shown = now
                    came.append(time.monotonic())
                await asyncio.sleep(0.2)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            gaps = [round(b - a, 1) for a, b in itertools.pairwise(came)]
            print(json.dumps({"gaps_s": gaps, "good": round(ear.good, 4)}))
            assert len(came) == 6
            # Taken 10 s apart at the least (`auto_stills.test.js`); how long each is on its way differs by some seconds.
            assert max(gaps) <= 25.0
            assert 9.0 <= statistics.mean(gaps) <= 18.0
            size = await doctor.page.eval_on_selector("#auto-still img", "i => i.naturalWidth")
            assert 160 <= size <= 320
            assert ear.good >= 0.97


async def test_a_call_in_which_nobody_can_talk_offers_a_message(tmp_path: Path) -> None:
    """On a link too thin for a voice, and in an outage of over a minute, the patient is asked to record; both are heard."""
    with Lab(link("too_thin", 256, 128, 250, "A call that begins well."), seed=5) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, doctor = await stage.call()
            await meet(patient, doctor, within_s=40)
            heard = doctor.page.locator("[data-voice]")
            asked = patient.page.locator("#word p")
            lab.set("up", rate_bps=7_000)
            await expect(asked).to_contain_text("terlalu lemah untuk berbicara", timeout=60_000)
            await record(patient.page, "#speak", "#tape-stop", "#tape-send")
            lab.set("up", rate_bps=128_000)
            await expect(heard).to_have_count(1, timeout=60_000)
            await expect(asked).to_be_hidden(timeout=60_000)
            lab.blackout(80)
            await expect(asked).to_contain_text("sudah lama terputus", timeout=75_000)
            await record(patient.page, "#speak", "#tape-stop", "#tape-send")
            await expect(heard).to_have_count(2, timeout=60_000)
            await expect(asked).to_be_hidden(timeout=10_000)
            await meet(patient, doctor, within_s=40)
