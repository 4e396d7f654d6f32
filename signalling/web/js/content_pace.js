// SPDX-License-Identifier: Apache-2.0
// How fast content goes: as much as a call leaves, or as a link without one takes. No clock, no DOM.

/** The server gathers acknowledgements for so long (ACK_LATE_S there); what it makes a sender wait is not the link's. */
const GATHERED_MS = 200;
/** What may be sent in one frame: at least this, which costs a fifth more around it, and takes 60 ms of 64 kbit/s … */
export const SMALL_PIECE_BYTES = 400;
/** … where more is allowed so much of that, for content is half of such a link and voice waits behind a piece … */
const PIECE_MS = 80;
/** … at most, in a call. */
export const PIECE_BYTES = 1_200;
/** Nowhere more: what the server takes (MAX_PIECE_BYTES there). */
const LARGE_PIECE_BYTES = 16_384;
/** TCP, TLS and WebSocket around each piece: 40 + 29 + 14 bytes. */
export const AROUND_BYTES = 83;
/** Pieces count as messages, of which a connection has 50 a second (`limits.messages_per_s`): half of them. */
const PIECES_PER_S = 25;
const MOST_BPS = PIECES_PER_S * LARGE_PIECE_BYTES * 8;
/** Without a call: the window to begin with; it grows while the round trip doesn't. The largest, in a call too: what the server holds. */
export const WINDOW_FIRST_BYTES = 4_800;
const WINDOW_MAX_BYTES = 131_072;
/** In it: enough for acknowledgements to keep it moving. The largest window has the largest pieces. */
const WINDOW_PIECES = WINDOW_MAX_BYTES / LARGE_PIECE_BYTES;
/** A round trip that has grown by so much is a queue that we filled (RFC 6817 allows 100 ms) … */
export const QUEUE_MS = 100;
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
/** While nothing may be sent. */
export const ASK_AGAIN_MS = 500;

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
    return rate && Math.min(MOST_BPS, rate * this.#boost);
  }

  /** How large the next piece is; 0 = nothing may be sent now. */
  pieceBytes() {
    const rate = this.#allowed();
    if (rate === null) return Math.max(PIECE_BYTES, Math.floor(this.#windowBytes / WINDOW_PIECES));
    if (rate <= 0) return 0;
    const least = Math.min(PIECE_BYTES, Math.max(SMALL_PIECE_BYTES, Math.floor((rate / 8_000) * PIECE_MS)));
    return Math.max(least, Math.ceil(rate / 8 / PIECES_PER_S));
  }

  /** How long to wait before the next piece. @param {number} inFlight bytes @param {number} bytes of the piece @param {number} now */
  waitMs(inFlight, bytes, now) {
    const rate = this.#allowed();
    if (rate === 0) return ASK_AGAIN_MS;
    // A round trip that grows is a queue: more on its way would only make it longer.
    const most = rate === null ? this.#windowBytes : Math.min(this.#room(rate) + bytes, this.#callBytes);
    if (inFlight && inFlight + bytes > most) return Infinity; // an acknowledgement wakes us
    return Math.max(0, this.#nextAt - now);
  }

  /** What is on its way at a rate, without a queue. @param {number} rate */
  #room(rate) {
    return (rate / 8_000) * ((Math.min(this.rttMs, 1.5 * this.#baseMs) || RTT_FIRST_MS) + GATHERED_MS);
  }

  /** @param {number} bytes that were just sent @param {number} now */
  sent(bytes, now) {
    const rate = this.#allowed();
    const paceMs = rate ? ((bytes + AROUND_BYTES) * 8_000) / rate : 0;
    this.#nextAt = Math.max(now, this.#nextAt) + Math.max(paceMs, 1_000 / PIECES_PER_S);
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
      const most = Math.min(WINDOW_MAX_BYTES, Math.max(CALL_FIRST_BYTES, 2 * this.#room(rate)));
      this.#callBytes = Math.min(most, this.#callBytes + more);
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
