# SPDX-License-Identifier: Apache-2.0
"""What a page really hears: energy and pitch of decoded sound, not counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.media_files import PITCH_HZ, End

if TYPE_CHECKING:
    from playwright.async_api import Page

_LISTEN_JS = """
async ([streamExpression, durationS]) => {
  const stream = (0, eval)(streamExpression);
  // Chromium decodes a remote track only while some element plays it.
  const player = new Audio();
  player.muted = true;
  player.srcObject = stream;
  player.play().catch(() => {});  // stays pending while nothing arrives: that is what is measured
  const context = new AudioContext({sampleRate: 48000});
  await context.resume();
  const analyser = new AnalyserNode(context, {fftSize: 4096});
  const source = context.createMediaStreamSource(stream);
  source.connect(analyser);
  const samples = new Float32Array(4096);
  const pitches = [];
  let squares = 0, windows = 0, loud = 0;
  const end = performance.now() + durationS * 1000;
  while (performance.now() < end) {
    await new Promise(resolve => setTimeout(resolve, 90));
    analyser.getFloatTimeDomainData(samples);
    const square = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
    squares += square;
    windows += 1;
    if (square < 1e-4) continue;
    loud += 1;
    // Autocorrelation of every third sample between 60 and 400 Hz.
    let best = 0, bestLag = 0, whole = 0;
    for (let i = 0; i < 2048; i += 3) whole += samples[i] * samples[i];
    for (let lag = 120; lag <= 800; lag += 1) {
      let sum = 0;
      for (let i = 0; i < 2048; i += 3) sum += samples[i] * samples[i + lag];
      if (sum > best) { best = sum; bestLag = lag; }
    }
    if (best > 0.4 * whole) pitches.push(48000 / bestLag);
  }
  source.disconnect();
  await context.close();
  player.srcObject = null;
  pitches.sort((a, b) => a - b);
  return {
    rms: Math.sqrt(squares / Math.max(1, windows)),
    loudRatio: loud / Math.max(1, windows),
    pitchHz: pitches.length ? pitches[pitches.length >> 1] : 0,
  };
}
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard for a while."""

    rms: float
    """Root mean square of the samples, full scale 1; speech is at 0.02 to 0.2."""
    loud_ratio: float
    """Share of the 85 ms windows that were not silent (rms over 0.01)."""
    pitch_hz: float
    """Median fundamental of what was voiced; 0 if nothing was."""

    def voice(self) -> End | None:
        """Tell whose voice of `tests.media_files` it was, or None for neither."""
        for end, (low_hz, high_hz) in PITCH_HZ.items():
            if self.rms > 0.01 and low_hz <= self.pitch_hz <= high_hz:
                return end
        return None


async def heard(page: Page, stream: str, duration_s: float = 4.0) -> Heard:
    """Listen to a MediaStream of a page; `stream` is a JavaScript expression for it.

    Below 3 s the pitch is a guess. Raises Playwright's Error when the expression is no stream.
    """
    result = await page.evaluate(_LISTEN_JS, [stream, duration_s])
    return Heard(result["rms"], result["loudRatio"], result["pitchHz"])
