// SPDX-License-Identifier: Apache-2.0
// What this page receives in a call, second by second, packed for the node that rates it. No DOM.

/** @typedef {import("./received.js").Received} Received */
/**
 * What this page sends, and how it is.
 * @typedef {{
 *   picture: boolean, opusBps: number, frameMs: number, microphone: "on" | "muted" | "taken", hidden: boolean,
 * }} Sending `opusBps` 0: no voice is sent
 */

/** Between two messages: the words are made of 5 s; on the thinnest rungs each byte is the voice's. */
export const RECEPTION_MS = 5_000;
export const RECEPTION_THIN_MS = 10_000;
/** A microphone that was taken, or a page that was hidden, is told sooner, but the node counts one in 2 s. */
const SOONEST_MS = 2_200;
/** Looks nearer than this are none: timers of a busy page come in pairs. */
const LOOK_MS = 700;
/** As `signalling.wire.quality` lays it out. */
const SECONDS_MAX = 12;
const UNIT_MS = 20;
const SAMPLES_PER_MS = 48;
/** No new picture for so long is a freeze. */
const GAP_MS = 1_000;
const RTT_MAX_MS = 65_535;

/** Takes a look each second, gives a message every few. */
export class Reception {
  /** @type {Received | null} */
  #before = null;
  /** @type {number[][]} */
  #seconds = [];
  #sentAt = -Infinity;
  #told = "";
  /** When the newest picture came, and how much of the gap since is counted. */
  #picturedAt = 0;
  #counted = 0;
  /** What did not fill a unit yet. */
  #rest = [0, 0, 0];

  /** Another call, or another connection: what was counted has nothing to do with it. */
  reset() {
    this.#before = null;
    this.#seconds = [];
    this.#picturedAt = this.#counted = 0;
    this.#rest = [0, 0, 0];
  }

  /**
   * @param {Received | null} sample the newest
   * @param {Sending} sending
   * @param {number} now in ms
   * @param {boolean} [thin] each byte counts
   * @returns {string | null} what is to be sent now, if something is
   */
  look(sample, sending, now, thin = false) {
    const before = this.#before;
    if (!sample?.atMs) return null;
    if (before && (sample.heardSamples < before.heardSamples || sample.framesDecoded < before.framesDecoded)) this.reset();
    if (!this.#before || !before) {
      this.#before = sample;
      this.#sentAt = now;
      this.#picturedAt = sample.atMs;
      return null;
    }
    if (sample.atMs - before.atMs >= LOOK_MS) {
      this.#seconds.push(this.#second(before, sample));
      this.#seconds = this.#seconds.slice(-SECONDS_MAX);
      this.#before = sample;
    }
    const state = `${sending.microphone} ${sending.hidden}`;
    const every = state !== this.#told && this.#told ? SOONEST_MS : thin ? RECEPTION_THIN_MS : RECEPTION_MS;
    if (!this.#seconds.length || now - this.#sentAt < every) return null;
    this.#sentAt = now;
    this.#told = state;
    return pack(sample, sending, this.#seconds.splice(0));
  }

  /** @param {Received} before @param {Received} sample */
  #second(before, sample) {
    const spanMs = sample.atMs - before.atMs;
    const frames = sample.framesDecoded - before.framesDecoded;
    const emitted = sample.emitted - before.emitted;
    const bufferMs = emitted > 0 ? ((sample.bufferS - before.bufferS) / emitted) * 1000 : 0;
    return [
      spanMs / UNIT_MS,
      this.#units(0, (sample.heardSamples - before.heardSamples) / SAMPLES_PER_MS),
      this.#units(1, (sample.concealedSamples - before.concealedSamples) / SAMPLES_PER_MS),
      sample.bursts - before.bursts,
      bufferMs / 10,
      frames,
      this.#units(2, this.#frozenMs(frames, sample), spanMs),
    ];
  }

  /** How much of gaps over 1 s there was since the last look, the gap's first second too once it is one. @param {number} frames @param {Received} sample */
  #frozenMs(frames, {atMs, framesDecoded}) {
    if (frames > 0 || !framesDecoded) { // none yet is no freeze
      this.#picturedAt = atMs;
      this.#counted = 0;
      return 0;
    }
    const gapMs = atMs - this.#picturedAt;
    if (gapMs <= GAP_MS) return 0;
    const more = gapMs - this.#counted;
    this.#counted = gapMs;
    return more;
  }

  /** Whole units of a span, no more than fit; what is left counts with the next one. @param {number} which @param {number} ms @param {number} [mostMs] */
  #units(which, ms, mostMs = 60_000) {
    const all = Math.max(0, ms) + (this.#rest[which] ?? 0);
    const units = Math.min(255, Math.floor(mostMs / UNIT_MS), Math.floor(all / UNIT_MS + 1e-6));
    this.#rest[which] = Math.min(all - units * UNIT_MS, 255 * UNIT_MS);
    return units;
  }
}

/** @param {Received} sample @param {Sending} sending @param {number[][]} seconds */
function pack(sample, sending, seconds) {
  const rttMs = Math.min(RTT_MAX_MS, Math.round(sample.rttMs));
  const flags = Number(sending.picture) + 2 * Number(sending.microphone === "muted") +
    4 * Number(sending.microphone === "taken") + 8 * Number(sending.hidden);
  const octets = [rttMs >> 8, rttMs & 255, sending.opusBps / 500, sending.frameMs, sample.lines / 8, flags, ...seconds.flat()]
    .map((each) => Math.max(0, Math.min(255, Math.round(each) || 0)));
  return btoa(String.fromCharCode(...octets)).replace(/=+$/, "");
}
