// SPDX-License-Identifier: Apache-2.0
// The specialist's note: saved by itself, never lost by a reload or an outage. No DOM.

/**
 * - `empty`: nothing written
 * - `unsaved`: written, to be sent in a moment
 * - `saving`: on its way
 * - `saved`: durable on the server
 * - `kept`: could not be sent; kept in this tab and sent again
 * @typedef {"empty" | "unsaved" | "saving" | "saved" | "kept"} NoteState
 */

/** A pause in typing, long enough not to send every word, short enough to lose little. */
const PAUSE_MS = 1_200;
/** Sent again this long after a refusal that was not the connection's. */
const AGAIN_MS = 5_000;

export class Note {
  /** @type {NoteState} */
  state = "empty";
  text = "";
  /** Newest text that the server has. */
  #saved = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #sending = false;
  #closed = false;
  #options;

  /**
   * @param {{
   *   consult: string,
   *   save: (text: string) => Promise<unknown>,
   *   storage: Pick<Storage, "getItem" | "setItem" | "removeItem">,
   *   onstate: (state: NoteState) => void,
   * }} options `save` rejects if the text was not taken. `storage` is this tab's own: a draft is personal.
   */
  constructor(options) {
    this.#options = options;
  }

  /**
   * What the server has. A draft that this tab kept wins over it; what is being typed is never overwritten.
   * @param {string} text
   * @returns {boolean} whether the text to show changed
   */
  fromServer(text) {
    if (this.state !== "empty" && this.state !== "saved") return false;
    const draft = this.#draft();
    this.#saved = text;
    if (draft !== null && draft !== text) {
      this.write(draft);
      return true;
    }
    const changed = this.text !== text;
    this.text = text;
    this.#forget();
    this.#enter(text ? "saved" : "empty");
    return changed;
  }

  /** @param {string} text the whole note, as typed */
  write(text) {
    if (this.#closed) return;
    this.text = text;
    this.#keep();
    this.#enter("unsaved");
    this.#arm(PAUSE_MS);
  }

  /** Sends now what is unsaved; for leaving the field, coming back on line, or ending. @returns {Promise<void>} */
  async flush() {
    clearTimeout(this.#timer);
    if (this.#sending || this.text === this.#saved || this.#closed) {
      if (!this.#sending && this.state !== "empty" && this.text === this.#saved) this.#settled();
      return;
    }
    this.#sending = true;
    const text = this.text;
    this.#enter("saving");
    try {
      await this.#options.save(text);
      this.#saved = text;
    } catch {
      this.#sending = false;
      if (this.#closed) return;
      this.#enter("kept");
      this.#arm(AGAIN_MS);
      return;
    }
    this.#sending = false;
    if (this.text === text) this.#settled();
    else await this.flush();
  }

  /** Stops; an unsaved draft stays in the tab's storage. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #settled() {
    this.#forget();
    this.#enter(this.text ? "saved" : "empty");
  }

  /** @param {number} ms */
  #arm(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), ms);
  }

  /** @param {NoteState} state */
  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.#options.onstate(state);
  }

  get #key() {
    return `selat.note.${this.#options.consult}`;
  }

  #draft() {
    try {
      return this.#options.storage.getItem(this.#key);
    } catch {
      return null; // storage may be forbidden; then there is no draft
    }
  }

  #keep() {
    try {
      this.#options.storage.setItem(this.#key, this.text);
    } catch {
      // full or forbidden: the text is still in the page
    }
  }

  #forget() {
    try {
      this.#options.storage.removeItem(this.#key);
    } catch {
      // forbidden: there was nothing to remove
    }
  }
}
