// SPDX-License-Identifier: Apache-2.0
// Photographs and voice messages on their way, in small pieces behind the live voice. No DOM.

import {AROUND_BYTES, ASK_AGAIN_MS, PIECE_BYTES, Pace, QUEUE_MS, SMALL_PIECE_BYTES, WINDOW_FIRST_BYTES} from "./content_pace.js";

/** @typedef {import("./wire.js").ContentKind} ContentKind */
/**
 * Something that waits to be sent. It is kept in the box until the server has it whole.
 * @typedef {{
 *   key: string, consult: string, kind: ContentKind, mime: string, blob: Blob, sha256: string, at: number,
 *   durationMs?: number, previewOf?: string, failed?: string,
 * }} Parcel
 */
/** Where parcels wait, also while the page is closed. @typedef {{all: () => Promise<Parcel[]>, put: (parcel: Parcel) => Promise<void>, remove: (key: string) => Promise<void>}} Box */
/**
 * The connection, as far as content needs it.
 * @typedef {{
 *   open: () => boolean,
 *   socket: () => Pick<WebSocket, "send" | "bufferedAmount"> | null,
 *   request: (type: string, fields: Record<string, unknown>) => Promise<any>,
 *   rttMs: () => number,
 * }} Link
 */

const PIECE_HEADER_BYTES = 8;
const PIECE = 1;
const ACK = 2;
const ACK_BYTES = 16;
/** How long the newest piece had been at the server is told in steps of this. */
const WAITED_STEP_MS = 4;
/** What is read grows and shrinks by so much with each answer. */
const READ_BOOST = 1.5;
const READ_BOOST_MAX = 64;
/** When the browser has not handed on what it was given. */
const DRAIN_MS = 20;
/** On a way as thin as this, content is asked for in small pieces: voice waits behind each. */
const THIN_BPS = 150_000;
/** After a refusal that time may mend; doubled each time. */
const RESEND_FIRST_MS = 2_000;
const RESEND_MAX_MS = 60_000;
/** Refusals after which the same content is refused again. */
const HOPELESS = new Set([
  "content_type", "content_metadata", "content_size", "content_hash", "content_quota", "forbidden", "not_found",
  "consult_over", "wrong_state", "malformed",
]);
/** @type {Record<ContentKind, number>} */
const ORDER = {voice: 0, still: 1, auto_still: 2};

/** A frame: kind, handle, offset, data (docs/protocol.md). @param {number} handle @param {number} offset @param {Uint8Array} data */
export function frame(handle, offset, data) {
  const bytes = new Uint8Array(PIECE_HEADER_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, PIECE);
  view.setUint16(2, handle);
  view.setUint32(4, offset);
  bytes.set(data, PIECE_HEADER_BYTES);
  return bytes;
}

/** A name for content, unguessable (96 bits). */
export function contentKey() {
  return crypto.getRandomValues(new Uint32Array(3)).join("-");
}

/** @param {BufferSource} data @returns {Promise<string>} in hex */
export async function sha256(data) {
  const digest = await crypto.subtle.digest("SHA-256", data);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** All parcels of this page, sent one after the other, and content that is fetched. */
export class Contents {
  /** What waits or is being sent; a page shows it. @type {Parcel[]} */
  parcels = [];
  /** Bytes of the one that is being sent that have arrived, by key. @type {Map<string, number>} */
  arrived = new Map();
  #options;
  #pace;
  /** @type {{parcel: Parcel, bytes: Uint8Array, handle: number, sent: number, acked: number, marks: [number, number][]} | null} */
  #current = null;
  #beginning = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #tries = 0;
  /** Of reads under way: what has come. @type {Map<number, {offset: number, data: Uint8Array}[]>} */
  #reads = new Map();
  #handle = 0;
  /** Wakes reads that wait for the connection. @type {(() => void)[]} */
  #sleepers = [];

  /**
   * @param {{
   *   link: Link, box: Box, rate: () => number | null, onchange: () => void,
   *   consult: () => string,
   * }} options `consult`: parcels of other consults wait (empty = of none); `rate` as in `Pace`
   */
  constructor(options) {
    this.#options = options;
    this.#pace = new Pace(options.rate);
  }

  /** Takes what the box has from earlier. */
  async load() {
    const known = new Set(this.parcels.map((parcel) => parcel.key));
    for (const parcel of await this.#options.box.all()) if (!known.has(parcel.key)) this.parcels.push(parcel);
    this.#sort();
    this.#options.onchange();
    this.#next();
  }

  /**
   * Sends something, now or when it can be.
   * @param {Omit<Parcel, "sha256" | "at">} what
   * @returns {Promise<string>} its SHA-256
   */
  async add(what) {
    const parcel = {...what, sha256: await sha256(await what.blob.arrayBuffer()), at: Date.now()};
    this.parcels.push(parcel);
    this.#sort();
    if (parcel.kind !== "auto_still") await this.#options.box.put(parcel).catch(() => {}); // full or forbidden: then a reload loses it
    this.#options.onchange();
    this.#next();
    return parcel.sha256;
  }

  /** Tries a refused parcel once more. @param {string} key */
  retry(key) {
    for (const parcel of this.parcels) if (parcel.key === key) delete parcel.failed;
    this.#options.onchange();
    this.#next();
  }

  /** Forgets a parcel. @param {string} key */
  async drop(key) {
    if (this.#current?.parcel.key === key) this.#current = null;
    this.parcels = this.parcels.filter((parcel) => parcel.key !== key);
    this.arrived.delete(key);
    await this.#options.box.remove(key).catch(() => {});
    this.#options.onchange();
    this.#next();
  }

  /** Forgets what belongs to a consult that is over. @param {string} consult */
  async clear(consult) {
    for (const {key} of this.parcels.filter((parcel) => parcel.consult === consult)) await this.drop(key);
  }

  /** The connection is there (again). */
  opened() {
    this.#pace.restart();
    this.#tries = 0;
    for (const wake of this.#sleepers.splice(0)) wake();
    this.#next();
  }

  /** The connection is gone: what is on its way goes on where the server is, with the next one. */
  lost() {
    clearTimeout(this.#timer);
    this.#current = null;
    this.#beginning = false;
  }

  /** Something about the limits changed. */
  wake() {
    if (this.#current) this.#send();
    else this.#next();
  }

  /** A text message of the server that is about content. @param {any} message */
  receive(message) {
    const current = this.#current;
    if (!current || message.handle !== current.handle) return;
    if (message.type === "content_closed") this.#closed(current.parcel, message.code ?? "");
  }

  /** A binary frame of the server. @param {ArrayBuffer} data */
  receiveBytes(data) {
    if (data.byteLength <= PIECE_HEADER_BYTES) return;
    const view = new DataView(data);
    if (view.getUint8(0) === ACK) {
      const mine = data.byteLength === ACK_BYTES && view.getUint16(2) === this.#current?.handle;
      if (mine) this.#acknowledged(view.getUint32(4), view.getUint8(1) * WAITED_STEP_MS, view.getUint32(12));
      return;
    }
    this.#reads.get(view.getUint16(2))?.push({offset: view.getUint32(4), data: new Uint8Array(data, PIECE_HEADER_BYTES)});
  }

  /**
   * Fetches content, piece by piece, through lost connections.
   * @param {{consult: string, key: string, bytes: number, sha256?: string, mime: string}} what
   * @param {(share: number) => void} [onprogress]
   * @returns {Promise<Blob>}
   * @throws {Error} with the refusal's code, or `content_hash`
   */
  async read(what, onprogress) {
    const out = new Uint8Array(what.bytes);
    let have = 0;
    let want = WINDOW_FIRST_BYTES;
    let quickest = Infinity;
    let boost = 1;
    while (have < what.bytes) {
      if (!this.#options.link.open()) await new Promise((resolve) => this.#sleepers.push(() => resolve(undefined)));
      const rate = this.#options.rate();
      const pieceBytes = rate !== null && rate < THIN_BPS ? SMALL_PIECE_BYTES : PIECE_BYTES;
      // In a call as much as the limits allow in a round trip, and more while that comes at once; else what comes within a second.
      const most = rate === null ? want : Math.max(pieceBytes, (rate / 8_000) * Math.max(this.#options.link.rttMs(), 250)) * boost;
      const asked = performance.now();
      const got = await this.#fetch(what, have, Math.min(Math.floor(most), 65_536, what.bytes - have), pieceBytes);
      for (const {offset, data} of got) {
        if (offset !== have || have + data.length > what.bytes) break;
        out.set(data, have);
        have += data.length;
      }
      if (got.length) onprogress?.(have / what.bytes);
      const took = performance.now() - asked;
      want = took < 1_000 ? Math.min(65_536, want * 2) : Math.max(PIECE_BYTES, want / 2);
      if (rate === null) continue;
      // Where nothing may go while voice runs, a little does nevertheless: a person waits for it.
      await pause(Math.max(0, ((have ? most : 0) * 8_000) / (Math.max(rate, 4_000) * boost) - took));
      // The limits are of the way up: the way down of who reads may be a city's.
      quickest = Math.min(quickest, took);
      boost = took - quickest <= QUEUE_MS ? Math.min(READ_BOOST_MAX, boost * READ_BOOST) : Math.max(1, boost / 2);
    }
    if (what.sha256 && (await sha256(out)) !== what.sha256) throw new Error("content_hash");
    return new Blob([out], {type: what.mime});
  }

  /**
   * @param {{consult: string, key: string}} what @param {number} offset @param {number} bytes @param {number} pieceBytes
   * @returns {Promise<{offset: number, data: Uint8Array}[]>} empty after a lost connection
   */
  async #fetch({consult, key}, offset, bytes, pieceBytes) {
    const handle = (this.#handle = (this.#handle % 65_535) + 1);
    /** @type {{offset: number, data: Uint8Array}[]} */
    const got = [];
    this.#reads.set(handle, got);
    try {
      await this.#options.link.request("content_read", {consult, key, handle, offset, bytes, pieceBytes});
    } catch (error) {
      const code = /** @type {any} */ (error).code ?? "";
      if (HOPELESS.has(code) || code === "content_offset") throw new Error(code);
      await pause(ASK_AGAIN_MS);
    } finally {
      this.#reads.delete(handle);
    }
    return got;
  }

  #sort() {
    this.parcels.sort((a, b) => ORDER[a.kind] - ORDER[b.kind] || a.at - b.at);
  }

  async #next() {
    const {link, consult} = this.#options;
    if (this.#current || this.#beginning || !link.open()) return;
    const own = consult();
    const parcel = this.parcels.find((each) => !each.failed && (!own || each.consult === own));
    if (!parcel || (parcel.kind !== "voice" && this.#pace.pieceBytes() === 0)) return;
    this.#beginning = true;
    const {key, kind, mime, blob, durationMs, previewOf} = parcel;
    try {
      const bytes = new Uint8Array(await blob.arrayBuffer());
      const opened = await link.request("content_begin", {
        consult: parcel.consult, key, kind, mime, bytes: bytes.length, sha256: parcel.sha256,
        ...(durationMs === undefined ? {} : {durationMs}), ...(previewOf ? {previewOf} : {}),
      });
      this.#beginning = false;
      if (!this.parcels.includes(parcel)) return void this.#next();
      if (opened.done) return void this.#closed(parcel, "");
      const {handle, offset} = opened;
      if (!Number.isInteger(handle) || !Number.isInteger(offset)) throw new Error("no answer to content_begin");
      this.#current = {parcel, bytes, handle, sent: offset, acked: offset, marks: []};
      this.#send();
    } catch (error) {
      this.#beginning = false;
      this.#closed(parcel, /** @type {any} */ (error).code ?? "unavailable");
    }
  }

  #send() {
    clearTimeout(this.#timer);
    const current = this.#current;
    const socket = this.#options.link.socket();
    if (!current || !socket) return;
    for (;;) {
      const left = current.bytes.length - current.sent;
      if (left <= 0) return;
      const size = Math.min(left, this.#pace.pieceBytes() || SMALL_PIECE_BYTES);
      const now = performance.now();
      // What the browser still holds is a burst in the making: not before it has gone.
      const wait = socket.bufferedAmount > size + AROUND_BYTES ? DRAIN_MS : this.#pace.waitMs(current.sent - current.acked, size, now);
      if (wait > 0) {
        if (wait !== Infinity) this.#timer = setTimeout(() => this.#send(), wait);
        return;
      }
      socket.send(frame(current.handle, current.sent, current.bytes.subarray(current.sent, current.sent + size)));
      current.sent += size;
      current.marks.push([current.sent, now]);
      this.#pace.sent(size, now);
    }
  }

  /**
   * @param {number} offset
   * @param {number} waitedMs of the newest piece, before it was acknowledged
   * @param {number} arrivedMs of it, by a clock of the server's
   */
  #acknowledged(offset, waitedMs, arrivedMs) {
    const current = this.#current;
    if (!current || offset <= current.acked) return;
    const now = performance.now();
    let sentAt = 0;
    while (current.marks[0] && current.marks[0][0] <= offset) sentAt = /** @type {[number, number]} */ (current.marks.shift())[1];
    if (sentAt) this.#pace.acknowledged(offset - current.acked, Math.max(1, now - sentAt - waitedMs), arrivedMs - sentAt, now);
    current.acked = offset;
    this.arrived.set(current.parcel.key, offset);
    this.#options.onchange();
    this.#send();
  }

  /** @param {Parcel} parcel @param {string} code empty = the server has it whole */
  #closed(parcel, code) {
    if (this.#current?.parcel === parcel) this.#current = null;
    if (!code || parcel.kind === "auto_still") {
      this.#tries = 0;
      void this.drop(parcel.key);
      return;
    }
    if (code === "connection_lost") return; // again when the connection is there
    if (HOPELESS.has(code)) {
      parcel.failed = code;
      this.#options.onchange();
      void this.#next();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#next(), Math.min(RESEND_MAX_MS, RESEND_FIRST_MS * 2 ** this.#tries++));
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
