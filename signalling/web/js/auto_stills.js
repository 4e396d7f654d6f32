// SPDX-License-Identifier: Apache-2.0
// Small pictures in the stead of video: when one is due. No DOM, no clock.

/** What one of 320x240 is (STILL_BYTES in media/core/fit.py); `small` in stills.js keeps to it. */
const AUTO_BYTES = 6_000;
/** As often as the room that voice leaves allows, but no more often than … and not at all where it would be less. */
const AUTO_EVERY_MS = 10_000;
const AUTO_LATE_MS = 15_000;
/** The rungs without a picture on which a voice is heard. */
const VOICES = new Set(["voice-min", "voice"]);

/** Says when the next automatic picture is due. */
export class AutoStills {
  /** When the last one was taken, or a voice alone began. @type {number | null} */
  #at = null;
  #taking = false;

  /**
   * Takes one if it is due: while there is a voice alone, over a connection that stands, with room, and nothing else on its way.
   * @param {{rung: string, connected: boolean, bps: number | null, busy: boolean, camera: boolean}} how `bps`: what
   *   voice leaves; `busy`: something is on its way
   * @param {number} now milliseconds
   * @param {() => Promise<void>} take
   */
  async tick({rung, connected, bps, busy, camera}, now, take) {
    // A picture that moves comes first: it is tried within some seconds, and not beside a still that is on its way.
    if (this.#at === null || !VOICES.has(rung)) this.#at = now;
    const neededMs = bps ? (AUTO_BYTES * 8_000) / bps : Infinity;
    const wanted = VOICES.has(rung) && connected && neededMs <= AUTO_LATE_MS;
    if (!wanted || busy || !camera || this.#taking || now - this.#at < Math.max(AUTO_EVERY_MS, neededMs)) return;
    this.#at = now;
    this.#taking = true;
    try {
      await take();
    } catch {
      // the camera went away
    } finally {
      this.#taking = false;
    }
  }
}
