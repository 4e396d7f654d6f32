// SPDX-License-Identifier: Apache-2.0
// The part of the page that makes calls comes by itself after the first paint, so that joining never waits for it.

/** First and longest wait between tries. */
const LATE_RETRY_FIRST_MS = 1_000;
const LATE_RETRY_MAX_MS = 15_000;
/** A request that hangs is given up: 15 KB are 2 s at 64 kbit/s, and round trips of 800 ms come on top. */
const LATE_WITHIN_MS = 20_000;
/** An hour of tries; a page without it that long is loaded again by hand. */
const LATE_TRIES = 240;

/**
 * Loads the rest of the page, again until it is there.
 * @template Parts what it exports
 */
export class Late {
  /** Whether the last try failed. */
  failed = false;
  #address;
  #options;
  #tries = 0;
  #there = false;
  #asked = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {string} address of the script, with a query
   * @param {{onload: (parts: Parts) => void, onfail: () => void, load?: (address: string) => Promise<{default: {parts: Parts}}>}} options
   */
  constructor(address, options) {
    this.#address = address;
    this.#options = options;
    globalThis.addEventListener?.("online", () => this.#tries && this.#try());
  }

  /** Begins when the page has been painted once, or when it could have been; once. */
  start() {
    if (this.#asked) return;
    this.#asked = true;
    globalThis.requestAnimationFrame?.(() => setTimeout(() => this.#tries || this.#try()));
    setTimeout(() => this.#tries || this.#try(), LATE_RETRY_FIRST_MS); // a hidden page is not painted
  }

  async #try() {
    if (this.#there || this.#tries >= LATE_TRIES) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), LATE_WITHIN_MS);
    // Some browsers remember a failed import for ever: each try has an address of its own.
    const again = this.#tries++ ? `&again=${this.#tries}` : "";
    const load = this.#options.load ?? ((address) => import(address));
    try {
      const {parts} = (await load(this.#address + again)).default;
      clearTimeout(this.#timer);
      if (this.#there) return; // an earlier try that took its time
      this.#there = true;
      this.failed = false;
      this.#options.onload(parts);
    } catch {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#try(), Math.min(LATE_RETRY_MAX_MS, LATE_RETRY_FIRST_MS * 2 ** (this.#tries - 1)));
      this.#fail();
    }
  }

  #again() {
    this.#fail();
    this.#try();
  }

  #fail() {
    if (this.#there) return;
    this.failed = true;
    this.#options.onfail();
  }
}
