// SPDX-License-Identifier: Apache-2.0
// The sound of a ring: two tones made in the page, so that nothing has to be loaded. No DOM.

/** A third apart, like a telephone: heard through talk, easy to locate, not shrill (Hz). */
const TONES = [659.25, 523.25];
const TONE_S = 0.4;
const EVERY_MS = 2_000;
/** Loud enough to be heard from across a room, short of clipping. */
const GAIN = 0.35;

export class Alarm {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #makeContext;
  #onchange;

  /** @param {() => void} [onchange] `blocked` may have changed @param {() => AudioContext} [makeContext] */
  constructor(onchange = () => {}, makeContext = () => new AudioContext()) {
    this.#onchange = onchange;
    this.#makeContext = makeContext;
  }

  /** Whether the browser would keep a ring silent: it wants a tap on the page first. */
  get blocked() {
    return this.#context?.state !== "running";
  }

  /** Makes ringing possible; call it from a tap or key. @returns {Promise<boolean>} whether it is possible now */
  async unlock() {
    try {
      if (!this.#context) {
        this.#context = this.#makeContext();
        this.#context.onstatechange = () => this.#onchange();
      }
      await this.#context.resume();
    } catch {
      return false; // no sound on this device: the title and the notification are left
    }
    return !this.blocked;
  }

  /** Rings until `stop()`. */
  start() {
    if (this.#timer) return;
    this.once();
    this.#timer = setInterval(() => this.once(), EVERY_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** One ring. */
  once() {
    const context = this.#context;
    if (!context || context.state !== "running") return;
    for (const [at, hertz] of TONES.entries()) {
      const start = context.currentTime + at * TONE_S;
      const tone = context.createOscillator();
      const volume = context.createGain();
      tone.frequency.value = hertz;
      // Faded in and out over 20 ms: a tone that is cut clicks.
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(GAIN, start + 0.02);
      volume.gain.setValueAtTime(GAIN, start + TONE_S - 0.02);
      volume.gain.linearRampToValueAtTime(0, start + TONE_S);
      tone.connect(volume).connect(context.destination);
      tone.start(start);
      tone.stop(start + TONE_S);
    }
  }
}
