// SPDX-License-Identifier: Apache-2.0
// Photographs and voice messages on their way, in small pieces behind the live voice. No DOM.

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
/** The server gathers acknowledgements for so long (ACK_LATE_S there); what it makes a sender wait is not the link's. */
const GATHERED_MS = 200;
/** What may be sent in one frame: at least this, which costs a fifth more around it, and takes 60 ms of 64 kbit/s … */
const SMALL_PIECE_BYTES = 400;
/** … where more is allowed so much of that, for content is half of such a link and voice waits behind a piece … */
const PIECE_MS = 80;
/** … at most, in a call. */
const PIECE_BYTES = 1_200;
const LARGE_PIECE_BYTES = 8_192;
const THIN_BPS = 150_000;
/** TCP, TLS and WebSocket around each piece: 40 + 29 + 14 bytes. */
const AROUND_BYTES = 83;
/** A server that counts messages shall not have to refuse pieces. */
const PIECES_PER_S = 25;
/** Without a call: the window to begin with, and the largest; it grows while the round trip doesn't. */
const WINDOW_FIRST_BYTES = 4_800;
const WINDOW_MAX_BYTES = 131_072;
/** A round trip that has grown by so much is a queue that we filled (RFC 6817 allows 100 ms) … */
const QUEUE_MS = 100;
/** The shortest way there is that of the last two such spans: clocks drift apart by 50 ms in ten minutes. */
const WAY_SPAN_MS = 120_000;
/** … if so many acknowledgements in a row show it: one alone may be jitter, or a loss that TCP repaired. */
const SEEN = 4;
/** In a call: what may be on its way at first, and though there is a queue; what is added in a round trip after one was seen. */
const CALL_FIRST_BYTES = 1_600;
const CALL_LEAST_BYTES = 800;
const CALL_STEP_BYTES = 400;
const RTT_FIRST_MS = 600;
/**
 * In a call the limits know what voice and picture have proved, not what the link would take besides; and a picture that
 * lends its rate proves little (measured: half of 128 kbit/s stayed unused). A way without a queue is asked for more: a short
 * one by a seventh with each acknowledgement, a long one by a hundredth (5 % a second), for what is too much shows later
 * there. At the first standing queue a third of it is given back, and nothing added for a while.
 */
const SHORT_MS = 150;
const QUIET_MS = 60;
const BOOST = 1.15;
const BOOST_MAX = 16;
const BOOST_LONG = 1.01;
const BOOST_LONG_MAX = 6;
const BOOST_BACK = 0.7;
const BOOST_AGAIN_MS = 3_000;
/** What is read grows and shrinks by so much with each answer. */
const READ_BOOST = 1.5;
const READ_BOOST_MAX = 64;
/** While nothing may be sent, and when the browser has not handed on what it was given. */
const ASK_AGAIN_MS = 500;
const DRAIN_MS = 20;
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

/**
 * How much may be on its way: in a call what the limits allow, else what the round trip shows that the link takes.
 */
export class Pace {
  /** Smoothed and lowest round trip of pieces; 0 = not measured yet. */
  rttMs = 0;
  #baseMs = 0;
  #windowBytes = WINDOW_FIRST_BYTES;
  #nextAt = 0;
  #rate;
  /** In a call: what may be on its way. */
  #callBytes = CALL_FIRST_BYTES;
  /** What the newest took the way there, by two clocks. @type {number[]} */
  #recent = [];
  /** The shortest of this span and of the one before. @type {(number | null)[]} */
  #shortest = [null, null];
  #spanAt = 0;
  /** When there was a queue last, in a call. */
  #yieldedAt = 0;
  /** How many times the limits a quiet way has shown that it takes. */
  #boost = 1;

  /** @param {() => number | null} rate bits per second that content may use; 0 = wait; null = no call runs */
  constructor(rate) {
    this.#rate = rate;
  }

  /** Bits per second; 0 = wait; null = no call runs. */
  #allowed() {
    const rate = this.#rate();
    return rate && rate * this.#boost;
  }

  /** How large the next piece is; 0 = nothing may be sent now. */
  pieceBytes() {
    const rate = this.#allowed();
    if (rate === null) return this.#windowBytes > 65_536 ? LARGE_PIECE_BYTES : this.#windowBytes > 16_384 ? PIECE_BYTES * 2 : PIECE_BYTES;
    if (rate <= 0) return 0;
    const least = Math.min(PIECE_BYTES, Math.max(SMALL_PIECE_BYTES, Math.floor((rate / 8_000) * PIECE_MS)));
    return Math.max(least, Math.ceil(rate / 8 / PIECES_PER_S));
  }

  /** How long to wait before the next piece. @param {number} inFlight bytes @param {number} bytes of the piece @param {number} now */
  waitMs(inFlight, bytes, now) {
    const rate = this.#allowed();
    if (rate === null) return inFlight && inFlight + bytes > this.#windowBytes ? Infinity : 0;
    if (rate <= 0) return ASK_AGAIN_MS;
    // A round trip that grows is a queue: more on its way would only make it longer.
    if (inFlight && inFlight + bytes > Math.min(this.#room(rate) + bytes, this.#callBytes)) return Infinity; // an acknowledgement wakes us
    return Math.max(0, this.#nextAt - now);
  }

  /** What is on its way at a rate, without a queue. @param {number} rate */
  #room(rate) {
    return (rate / 8_000) * ((Math.min(this.rttMs, 1.5 * this.#baseMs) || RTT_FIRST_MS) + GATHERED_MS);
  }

  /** @param {number} bytes that were just sent @param {number} now */
  sent(bytes, now) {
    const rate = this.#allowed();
    if (!rate) return;
    this.#nextAt = Math.max(now, this.#nextAt) + ((bytes + AROUND_BYTES) * 8_000) / rate;
  }

  /**
   * @param {number} bytes acknowledged @param {number} tookMs since the newest of them was sent, without its wait at the server
   * @param {number} wayMs what it took there, by two clocks: only its changes mean something; 32 bits
   * @param {number} now
   */
  acknowledged(bytes, tookMs, wayMs, now) {
    this.rttMs = this.rttMs ? this.rttMs * 0.75 + tookMs * 0.25 : tookMs;
    this.#baseMs = Math.min(this.#baseMs || Infinity, tookMs);
    const rate = this.#allowed();
    if (rate !== null) {
      const newest = this.#queueMs(wayMs, now);
      this.#recent = [...this.#recent.slice(1 - SEEN), newest];
      const standing = Math.min(...this.#recent);
      this.#askMore(newest, standing, now);
      return this.#keepCallClear(bytes, rate, standing, now);
    }
    const queued = tookMs - this.#baseMs;
    if (queued <= QUEUE_MS) this.#windowBytes = Math.min(WINDOW_MAX_BYTES, this.#windowBytes + bytes);
    else this.#windowBytes = Math.max(WINDOW_FIRST_BYTES, this.#windowBytes * Math.max(0.5, 1 - (queued - QUEUE_MS) / 1_000));
  }

  /** How much longer than the shortest this way was: a queue there, whatever the way back does. @param {number} wayMs @param {number} now */
  #queueMs(wayMs, now) {
    const way = wayMs | 0;
    if (now - this.#spanAt > WAY_SPAN_MS) {
      this.#shortest = [null, this.#shortest[0] ?? null];
      this.#spanAt = now;
    }
    const [own = null, before = null] = this.#shortest;
    if (own === null || ((way - own) | 0) < 0) this.#shortest[0] = way;
    const known = this.#shortest[0] ?? way;
    return Math.max((way - known) | 0, before === null ? 0 : (way - before) | 0);
  }

  /** @param {number} queued what the newest round trip shows @param {number} standing what the last ones show @param {number} now */
  #askMore(queued, standing, now) {
    const short = this.#baseMs <= SHORT_MS;
    if (short && queued > QUIET_MS) this.#boost = 1;
    else if (standing > QUEUE_MS) {
      if (this.#boost > 1 && now - this.#yieldedAt >= this.rttMs) this.#boost = Math.max(1, this.#boost * BOOST_BACK);
    } else if (short) this.#boost = Math.min(BOOST_MAX, this.#boost * BOOST);
    else if (standing <= QUIET_MS && this.#recent.length >= SEEN && now - this.#yieldedAt > BOOST_AGAIN_MS) {
      this.#boost = Math.min(Math.max(BOOST_LONG_MAX, this.#boost), this.#boost * BOOST_LONG);
    }
  }

  /**
   * Limits may promise what the link no longer keeps: a queue takes back at once what is too much.
   * @param {number} bytes @param {number} rate @param {number} standing @param {number} now
   */
  #keepCallClear(bytes, rate, standing, now) {
    if (standing <= QUEUE_MS) {
      const more = this.#yieldedAt ? (bytes * CALL_STEP_BYTES) / this.#callBytes : bytes;
      this.#callBytes = Math.min(Math.max(CALL_FIRST_BYTES, 2 * this.#room(rate)), this.#callBytes + more);
    } else if (now - this.#yieldedAt >= this.rttMs) {
      this.#yieldedAt = now; // what this changes shows a round trip later
      this.#callBytes = Math.max(CALL_LEAST_BYTES, (this.#callBytes * (this.#baseMs + QUEUE_MS)) / (this.#baseMs + standing));
    }
  }

  /** A new connection: nothing is known of it. */
  restart() {
    this.#windowBytes = WINDOW_FIRST_BYTES;
    this.#callBytes = CALL_FIRST_BYTES;
    this.#boost = 1;
    this.#recent = [];
    this.#shortest = [null, null];
    this.#spanAt = 0;
    this.#baseMs = this.rttMs = this.#nextAt = this.#yieldedAt = 0;
  }
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
      const asked = Date.now();
      const got = await this.#fetch(what, have, Math.min(Math.floor(most), 65_536, what.bytes - have), pieceBytes);
      for (const {offset, data} of got) {
        if (offset !== have || have + data.length > what.bytes) break;
        out.set(data, have);
        have += data.length;
      }
      if (got.length) onprogress?.(have / what.bytes);
      const took = Date.now() - asked;
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
      const now = Date.now();
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
    const now = Date.now();
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
