// SPDX-License-Identifier: Apache-2.0
// What a consult costs in data, and when it is enough. No DOM.

const MB = 1_000_000;
/** Said when so much of a cap is used: enough is left for what matters. */
const NEAR_RATIO = 0.8;
/** Written down no more often: storage is slow on old phones. */
const KEEP_MS = 5_000;

/**
 * Adds up the bytes of a consult over all its connections and reloads of the page.
 * `near`: most of the cap is used; `over`: all of it, the picture is to stop.
 */
export class Usage {
  #consult = "";
  #before = 0;
  #of = /** @type {Map<unknown, number>} */ (new Map());
  #total = 0;
  #keptAt = -Infinity;
  #storage;
  /** In bytes; 0 = none. */
  cap = 0;

  /** @param {Storage | undefined} storage of this tab */
  constructor(storage) {
    this.#storage = storage;
  }

  /** @param {string} consult */
  begin(consult) {
    if (consult === this.#consult) return;
    this.#consult = consult;
    this.#of.clear();
    this.#total = 0;
    /** @type {any} */
    let kept = {};
    try {
      kept = JSON.parse(this.#storage?.getItem("selat.usage") ?? "{}");
    } catch {
      // somebody else's
    }
    const ours = kept?.consult === consult;
    this.#before = ours ? Number(kept.bytes) || 0 : 0;
    this.cap = ours ? Number(kept.cap) || 0 : 0;
  }

  /**
   * @param {unknown} source whose counter it is: a connection, the socket, the page itself
   * @param {number} bytes that it has counted so far; fewer than before: it counts anew
   */
  count(source, bytes) {
    const before = this.#of.get(source) ?? 0;
    this.#total += bytes >= before ? bytes - before : bytes;
    this.#of.set(source, bytes);
  }

  get bytes() {
    return this.#before + this.#total;
  }

  /** Without decimals from 10 MB on. */
  get mb() {
    const mb = this.bytes / MB;
    return mb < 10 ? Math.round(mb * 10) / 10 : Math.round(mb);
  }

  get near() {
    return this.cap > 0 && this.bytes >= NEAR_RATIO * this.cap;
  }

  get over() {
    return this.cap > 0 && this.bytes >= this.cap;
  }

  /** @param {number} mb the most that the person wants to use; 0 = no cap */
  limit(mb) {
    this.cap = Math.max(0, Number.isFinite(mb) ? mb : 0) * MB;
    this.keep(Infinity);
  }

  /** Writes down what a reload would lose. @param {number} now in ms */
  keep(now) {
    if (now - this.#keptAt < KEEP_MS) return;
    if (now !== Infinity) this.#keptAt = now;
    try {
      this.#storage?.setItem("selat.usage", JSON.stringify({consult: this.#consult, bytes: Math.round(this.bytes), cap: this.cap}));
    } catch {
      // private browsing: a reload begins at nothing
    }
  }
}

/** What the page itself has cost: its documents, scripts and images. */
export function pageBytes() {
  const entries = [...(performance.getEntriesByType?.("navigation") ?? []), ...(performance.getEntriesByType?.("resource") ?? [])];
  return entries.reduce((sum, entry) => sum + (/** @type {any} */ (entry).transferSize ?? 0), 0);
}

/** Whether the browser was asked to save data. */
export function savesData() {
  return Boolean(/** @type {any} */ (globalThis.navigator)?.connection?.saveData);
}
