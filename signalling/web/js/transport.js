// SPDX-License-Identifier: Apache-2.0
// One WebSocket to the signalling node, kept up as long as the page wants it. No DOM.

import {watchNetwork} from "./network.js";
import {CLOSE_CODES, PROTOCOL_VERSIONS} from "./wire.js";

/**
 * Where the socket stands.
 * - `idle`: `connect()` was not called yet
 * - `connecting`: a token is being fetched while the socket opens
 * - `greeting`: the hello is on its way
 * - `open`: the welcome came; requests may be sent
 * - `waiting`: lost; the next try is armed
 * - `closed`: for good, by us or by a close code after which trying again is wrong
 * @typedef {"idle" | "connecting" | "greeting" | "open" | "waiting" | "closed"} TransportState
 */

/**
 * A server's message; `type` tells which one (see wire.js).
 * @typedef {{type: string, re?: number, [field: string]: any}} Message
 */

/** A refusal, or a request that the connection lost. `code` is one of `signalling.wire.codes`, or `connection_lost`. */
export class Refused extends Error {
  /**
   * @param {string} code
   * @param {number} [retryAfterMs]
   */
  constructor(code, retryAfterMs) {
    super(code);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** After these, the same page trying again would be refused again, or would throw out who displaced it. */
const FINAL = new Set([
  "unauthenticated", "version_unsupported", "binary_unsupported", "too_large", "displaced", "signed_out",
]);
/** Refusals of `getToken` that no waiting mends. */
const FINAL_TOKEN = new Set([
  "unauthenticated", "resume_invalid", "consult_over", "token_invalid", "forbidden", "signed_out",
]);

/** First and longest wait between tries: a link that flaps is back within a second, a dead server is not hammered. */
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
/** TCP, TLS, upgrade and hello are 5 round trips: 4 s at 800 ms, and as much again for losses. */
const OPEN_WITHIN_MS = 12_000;
/**
 * A try older than this was begun in the dark and hangs: TCP repeats its first packet after 1, 3, 7, 15 s (RFC 6298 §5.7),
 * and four round trips of 800 ms are 3.2 s.
 */
const HANGING_MS = 4_000;
/** The shortest time that an answer to a check is waited for; else 4 round trips. */
const CHECK_FLOOR_MS = 1_500;
const HEARTBEAT_S = 15;

/**
 * One WebSocket that comes back by itself.
 *
 * Liveness: browsers hide the server's pings from scripts. So the page asks for itself: after one heartbeat without a
 * message it sends `ping`, after three it gives the socket up and opens another one. After a sign that the network
 * changed (`online`) the socket is replaced at once, because its TCP connection may hang on an address that is gone;
 * after a weaker sign (page shown, `check()`) a ping must be answered within 4 round trips.
 */
export class Transport {
  /** @type {TransportState} */
  state = "idle";
  /** Smoothed time from a request to its answer; 0 = nothing measured yet. */
  rttMs = 0;
  /** Of messages both ways, with what is around them (TLS, TCP, IP and the acknowledgement): about 130 bytes each. */
  bytes = 0;
  /** @type {WebSocket | null} */
  #socket = null;
  #id = 0;
  /** @type {Map<number, {resolve: (reply: Message) => void, reject: (error: Refused) => void, at: number}>} */
  #open = new Map();
  #tries = 0;
  #heartbeatMs = HEARTBEAT_S * 1000;
  #heardAt = 0;
  #expired = false;
  #triedAt = 0;
  /** Grows with every try, so that what a given-up try still does is ignored. */
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #checkTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #beat;
  #listeners = new AbortController();
  #options;

  /**
   * @param {{
   *   url: string,
   *   instance: string,
   *   getToken: (expired: boolean) => Promise<string>,
   *   resume?: () => {consult?: string, cursor?: number},
   *   onmessage?: (message: Message) => void,
   *   onstate?: (state: TransportState, code: string) => void,
   *   random?: () => number,
   * }} options `getToken(expired)` gives a session token, a new one if `expired`; it may throw `Refused`.
   *   `resume` says what the hello asks to be told since. `onstate` gets the code of the refusal that led there, or "".
   */
  constructor(options) {
    this.#options = options;
  }

  /** The socket as it is now, for what sends binary frames. */
  get socket() {
    return this.#socket;
  }

  /** Opens the socket and keeps it open until `close()`. */
  connect() {
    if (this.state !== "idle") return;
    watchNetwork({
      online: () => this.reconnectNow(),
      shown: () => (this.state === "waiting" ? this.reconnectNow() : this.check()),
    }, this.#listeners.signal);
    this.#try();
  }

  /**
   * Sends a request and waits for its answer. Rejects with `Refused`: the server's code, or `connection_lost` if the
   * socket is not open or goes before the answer (it may have been carried out nevertheless).
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<Message>}
   */
  request(type, fields) {
    return new Promise((resolve, reject) => {
      const id = this.send(type, fields);
      if (id) this.#open.set(id, {resolve, reject, at: Date.now()});
      else reject(new Refused("connection_lost"));
    });
  }

  /**
   * Sends without waiting for an answer; refusals of it are dropped.
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @returns {number} the request's id; 0 = the socket is not open, nothing was sent
   */
  send(type, fields) {
    return this.state === "open" ? this.#put(type, fields) : 0;
  }

  /** Replaces the socket by a new one at once, whatever it looks like. */
  reconnectNow() {
    if (this.state === "idle" || this.state === "closed") return;
    this.#drop();
    this.#tries = 0;
    this.#try();
  }

  /** The link is back: makes sure that the socket is alive, or tries again now, unless a try has just begun. */
  retry() {
    if (this.state === "open") this.check();
    else if (this.state === "waiting" || Date.now() - this.#triedAt > HANGING_MS) this.reconnectNow();
  }

  /** Makes sure that the socket is alive: replaced unless something is heard within 4 round trips. */
  check() {
    if (this.state !== "open" || this.#checkTimer) return;
    const asked = Date.now();
    this.#put("ping");
    this.#checkTimer = setTimeout(() => {
      this.#checkTimer = undefined;
      if (this.#heardAt < asked) this.reconnectNow();
    }, Math.max(CHECK_FLOOR_MS, 4 * this.rttMs));
  }

  /** Closes for good. */
  close() {
    if (this.state === "closed") return;
    this.#listeners.abort();
    this.#drop();
    this.#enter("closed", "");
  }

  /** @param {TransportState} state @param {string} code */
  #enter(state, code) {
    this.state = state;
    this.#options.onstate?.(state, code);
  }

  /** @param {string} type @param {Record<string, unknown>} [fields] */
  #put(type, fields) {
    const text = JSON.stringify({type, id: ++this.#id, ...fields});
    this.#socket?.send(text);
    this.bytes += text.length + 130;
    return this.#id;
  }

  async #try() {
    const attempt = ++this.#attempt;
    this.#triedAt = Date.now();
    this.#enter("connecting", "");
    const asked = this.#options.getToken(this.#expired);
    // TCP, TLS and upgrade take three round trips; a token that has to be fetched comes meanwhile.
    const socket = new WebSocket(this.#options.url);
    this.#socket = socket;
    this.#timer = setTimeout(() => attempt === this.#attempt && this.#lost(""), OPEN_WITHIN_MS);
    let token = "";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      if (token && attempt === this.#attempt) this.#greet(token);
    };
    socket.onmessage = (event) => {
      if (attempt === this.#attempt) this.#receive(event.data);
    };
    socket.onclose = (event) => {
      if (attempt === this.#attempt) this.#lost(CLOSE_CODES[event.code] ?? "");
    };
    try {
      token = await asked;
    } catch (error) {
      if (attempt === this.#attempt) this.#lost(error instanceof Refused ? error.code : "unavailable", FINAL_TOKEN);
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#expired = false;
    if (opened) this.#greet(token);
  }

  /** @param {string} token */
  #greet(token) {
    this.#enter("greeting", "");
    const at = Date.now();
    const {instance, resume} = this.#options;
    const id = this.#put("hello", {protocols: PROTOCOL_VERSIONS, token, instance, ...resume?.()});
    this.#open.set(id, {
      at,
      resolve: (welcome) => {
        clearTimeout(this.#timer);
        this.#tries = 0;
        this.#heartbeatMs = (welcome.heartbeatS || HEARTBEAT_S) * 1000;
        this.#beat = setInterval(() => this.#listen(), this.#heartbeatMs);
        this.#enter("open", "");
      },
      reject: (error) => {
        if (error.code !== "connection_lost") this.#lost(error.code, FINAL, error.retryAfterMs);
      },
    });
  }

  /** @param {any} data text, or a piece of content: then it is none of ours */
  #receive(data) {
    this.#heardAt = Date.now();
    this.bytes += (data.length ?? data.byteLength) + 130;
    let message;
    try {
      message = /** @type {Message} */ (JSON.parse(data));
    } catch {
      return; // not ours to mend; the server is older or newer than this page
    }
    const request = message.re && this.#open.get(message.re);
    if (request) {
      this.#open.delete(/** @type {number} */ (message.re));
      const spent = this.#heardAt - request.at;
      this.rttMs = this.rttMs ? this.rttMs * 0.75 + spent * 0.25 : spent;
      if (message.type === "error") request.reject(new Refused(message["code"], message["retryAfterMs"]));
      else request.resolve(message);
    }
    this.#options.onmessage?.(message);
  }

  #listen() {
    const silentMs = Date.now() - this.#heardAt;
    if (silentMs > 3 * this.#heartbeatMs) this.reconnectNow();
    else if (silentMs >= this.#heartbeatMs * 0.9) this.#put("ping");
  }

  /** Forgets the socket; what waits for an answer learns that none will come. */
  #drop() {
    this.#attempt++;
    clearTimeout(this.#timer);
    clearTimeout(this.#checkTimer);
    this.#checkTimer = undefined;
    clearInterval(this.#beat);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#id = 0;
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const request of open) request.reject(new Refused("connection_lost"));
  }

  /** @param {string} code @param {Set<string>} [final] @param {number} [retryAfterMs] */
  #lost(code, final = FINAL, retryAfterMs = 0) {
    this.#drop();
    if (final.has(code)) {
      this.#listeners.abort();
      this.#enter("closed", code);
      return;
    }
    this.#expired = code === "token_expired";
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#tries++);
    const random = this.#options.random ?? Math.random;
    // Half fixed, half random: after a server's restart a thousand pages must not come back in one instant.
    const wait = this.#expired && this.#tries === 1 ? 0 : Math.max(retryAfterMs, ceiling * (0.5 + random() / 2));
    this.#enter("waiting", code);
    const attempt = this.#attempt;
    this.#timer = setTimeout(() => attempt === this.#attempt && this.#try(), wait);
  }
}
