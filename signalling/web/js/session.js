// SPDX-License-Identifier: Apache-2.0
// What the server told us, and the life of the connection. No DOM.

import {newKey, plain} from "./net.js";
import {Refused, Transport} from "./transport.js";

/** @typedef {import("./endpoint.js").Kind} Kind */
/** @typedef {import("./endpoint.js").EndpointState} EndpointState */
/** @typedef {import("./transport.js").Message} Message */
/** @typedef {import("./transport.js").TransportState} TransportState */
/** @typedef {import("./wire.js").ConsultView} ConsultView */
/** @typedef {import("./wire.js").Entry} Entry */
/** @typedef {import("./wire.js").IntakeForm} IntakeForm */
/** @typedef {{consult: string, key: string, text: string, failed?: string}} Line a line of chat that is not recorded yet */
/**
 * Everything a page renders from. `views` and `entries` go by consult; `current` is the one that the person is in.
 * @typedef {{
 *   link: TransportState,
 *   linkCode: string,
 *   me: import("./wire.js").Welcome | null,
 *   skewMs: number,
 *   current: string,
 *   views: Map<string, ConsultView>,
 *   entries: Map<string, Entry[]>,
 *   unsent: Line[],
 *   desk: import("./wire.js").Desk | null,
 *   board: import("./wire.js").Board | null,
 *   endpoint: EndpointState | null,
 *   rungs: import("./endpoints.js").Rungs | null,
 * }} State
 */

const IN_CALL = new Set(["in_call", "interrupted"]);
const TERMINAL = new Set(["ended", "abandoned", "expired"]);
/** What is about media waits for the part of the page that makes calls: two legs, an offer and its candidates. */
const MEDIA = new Set(["leg", "leg_switch", "limits", "peer_link", "description", "candidate"]);
const EARLY_MAX = 64;
/** TURN credentials are renewed this long before they run out, or at once. */
const ICE_MARGIN_MS = 60_000;
/** A refused line of chat is tried again by itself after that. */
const CHAT_RETRY_MS = 3_000;
const SILENT = new Set(["connection_lost", "unavailable", "internal", "rate_limited", "throttled", "restarting"]);

/**
 * A participant's session: mirrors the server's views, resumes after a lost socket (each entry once, in order), sends
 * what must not be lost until it is recorded, and tells the endpoints (which may be loaded later) where the person is.
 */
export class Session {
  /** @type {State} */
  state = {
    link: "idle", linkCode: "", me: null, skewMs: 0, current: "", views: new Map(), entries: new Map(), unsent: [],
    desk: null, board: null, endpoint: null, rungs: null,
  };
  /** @type {Transport} */
  transport;
  #options;
  #instance = newKey();
  /** @type {import("./endpoints.js").Endpoints | null} */
  #endpoints = null;
  /** @type {{audio: MediaStreamTrack | null, video: MediaStreamTrack | null}} */
  #tracks = {audio: null, video: null};
  /** @type {Message[]} */
  #early = [];
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #iceTimer;
  /** @type {IntakeForm | null} */
  #intake = null;
  #leaving = false;
  /** Keys of lines whose answer is awaited on this socket. @type {Set<string>} */
  #sending = new Set();

  /**
   * @param {{
   *   url: string,
   *   getToken: (expired: boolean) => Promise<string>,
   *   onchange: (state: State) => void,
   *   onmessage?: (message: Message) => void,
   *   ontrack?: (kind: Kind, track: MediaStreamTrack) => void,
   *   storage?: Storage | undefined,
   * }} options `storage` keeps lines of chat that a reload would lose
   */
  constructor(options) {
    this.#options = options;
    this.transport = new Transport({
      url: options.url,
      instance: this.#instance,
      getToken: options.getToken,
      resume: () => this.#resume(),
      onmessage: (message) => this.#receive(message),
      onstate: (link, code) => this.#linkChanged(link, code),
    });
    try {
      this.state.unsent = JSON.parse(options.storage?.getItem("selat.unsent") ?? "[]");
    } catch {
      // not ours any more
    }
  }

  start() {
    this.transport.connect();
  }

  /**
   * From now on there can be media.
   * @param {typeof import("./endpoints.js").Endpoints} Endpoints
   * @param {Partial<import("./endpoints.js").Host>} [more] instead of the real endpoints
   */
  attach(Endpoints, more = {}) {
    this.#endpoints = new Endpoints({
      send: (type, fields) => this.transport.send(type, fields) > 0,
      onstate: (state) => {
        if (this.state.endpoint === state) return;
        // Media tells first that the link is back: a socket that waits for its turn to try again, or hangs, need not.
        if (this.state.endpoint === "interrupted" && state === "connected") this.transport.retry();
        this.state.endpoint = state;
        this.#changed();
      },
      ontrack: (kind, track) => this.#options.ontrack?.(kind, track),
      onrung: (rungs) => {
        this.state.rungs = rungs;
        this.#changed();
      },
      ontrouble: () => this.transport.check(),
      ...more,
    });
    for (const kind of /** @type {Kind[]} */ (["audio", "video"])) this.#endpoints.setTrack(kind, this.#tracks[kind]);
    this.#tellIce();
    this.#attend();
    for (const message of this.#early.splice(0)) this.#endpoints.receive(message);
  }

  /** The endpoint of the call. */
  get endpoint() {
    return this.#endpoints?.endpoint ?? null;
  }

  /** The consult that the person is in. @returns {ConsultView | undefined} */
  get consult() {
    return this.state.views.get(this.state.current);
  }

  /** The server's clock now, UTC epoch seconds. */
  now() {
    return (Date.now() + this.state.skewMs) / 1000;
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<Message>} the answer; rejects with `Refused`
   */
  request(type, fields) {
    return this.transport.request(type, fields);
  }

  /**
   * Hands in the intake, again after a lost socket, until the consult waits.
   * @param {IntakeForm} form
   * @throws {Refused}
   */
  async intake(form) {
    this.#intake = form;
    await this.#sendIntake();
  }

  /** Leaves the consult, again after a lost socket, until it is over. @throws {Refused} */
  async leave() {
    this.#leaving = true;
    this.#attend(); // whatever the link does: from now on nobody is seen or heard
    await this.#sendLeave();
  }

  /** A line of chat in the current consult; it is in `state.unsent` until it is recorded. @param {string} text */
  chat(text) {
    const trimmed = plain(text).slice(0, 2_000);
    if (!trimmed || !this.state.current) return;
    this.state.unsent.push({consult: this.state.current, key: newKey(), text: trimmed});
    this.#keepUnsent();
    this.#sendLines();
    this.#changed();
  }

  /** Sends a refused line once more. @param {string} key */
  retry(key) {
    for (const line of this.state.unsent) if (line.key === key) delete line.failed;
    this.#sendLines();
    this.#changed();
  }

  /** The track to send from now on, in this endpoint and in the next. @param {Kind} kind @param {MediaStreamTrack | null} track */
  setTrack(kind, track) {
    this.#tracks[kind] = track;
    this.#endpoints?.setTrack(kind, track);
  }

  close() {
    clearTimeout(this.#iceTimer);
    this.#endpoints?.close();
    this.transport.close();
  }

  #changed() {
    this.#options.onchange(this.state);
  }

  #resume() {
    const consult = this.state.current;
    if (!consult) return {};
    return {consult, cursor: this.state.entries.get(consult)?.at(-1)?.cursor ?? 0};
  }

  /** @param {TransportState} link @param {string} code */
  #linkChanged(link, code) {
    this.state.link = link;
    this.state.linkCode = code;
    this.#sending.clear();
    if (link !== "open") this.#endpoints?.signalling(false);
    this.#changed();
  }

  /** @param {Message} message */
  #receive(message) {
    if (MEDIA.has(message.type)) {
      if (this.#endpoints) this.#endpoints.receive(message);
      else this.#early = [...this.#early.slice(-EARLY_MAX), message];
      return;
    }
    switch (message.type) {
      case "welcome":
        this.#welcomed(/** @type {any} */ (message));
        break;
      case "consult":
        this.#viewed(/** @type {any} */ (message));
        break;
      case "entry":
        this.#recorded(/** @type {any} */ (message));
        break;
      case "ice":
        this.#refreshIce(message["iceServers"], message["iceExpiresAt"]);
        break;
      case "desk":
        this.state.desk = /** @type {any} */ (message);
        if (message["consult"]) this.state.current = message["consult"];
        this.#attend();
        break;
      case "board":
        this.state.board = /** @type {any} */ (message);
        break;
    }
    this.#options.onmessage?.(message);
    this.#changed();
  }

  /** @param {import("./wire.js").Welcome} welcome */
  #welcomed(welcome) {
    this.state.me = welcome;
    this.state.skewMs = welcome.now * 1000 - Date.now();
    this.#refreshIce(welcome.iceServers, welcome.iceExpiresAt);
    this.#endpoints?.signalling(true);
    this.#sendLines();
    if (this.#leaving) this.#sendLeave().catch(() => {});
  }

  /** @param {ConsultView} view */
  #viewed(view) {
    const known = this.state.views.get(view.consult);
    if (known && known.version > view.version) return;
    this.state.views.set(view.consult, view);
    if (IN_CALL.has(view.state) || !this.state.current) this.state.current = view.consult;
    if (TERMINAL.has(view.state)) {
      this.#leaving = false;
      this.state.unsent = this.state.unsent.filter((line) => line.consult !== view.consult);
      this.#keepUnsent();
    }
    if (view.state !== "invited") this.#intake = null;
    else if (this.#intake) this.#sendIntake().catch(() => {});
    this.#attend();
  }

  /** @param {Entry} entry */
  #recorded(entry) {
    const entries = this.state.entries.get(entry.consult) ?? [];
    if (entry.cursor <= (entries.at(-1)?.cursor ?? -1)) return;
    this.state.entries.set(entry.consult, [...entries, entry]);
    if (!entry.key) return;
    this.state.unsent = this.state.unsent.filter((line) => line.key !== entry.key);
    this.#keepUnsent();
  }

  #keepUnsent() {
    try {
      this.#options.storage?.setItem("selat.unsent", JSON.stringify(this.state.unsent));
    } catch {
      // full or forbidden: then a reload loses what was not sent yet
    }
  }

  #sendLines() {
    if (this.transport.state !== "open") return;
    for (const {consult, key, text, failed} of [...this.state.unsent]) {
      if (failed || this.#sending.has(key)) continue;
      this.#sending.add(key);
      this.request("chat", {consult, key, text}).catch((error) => this.#lineRefused(key, error.code));
    }
  }

  /** @param {string} key @param {string} code */
  #lineRefused(key, code) {
    this.#sending.delete(key);
    if (code === "connection_lost") return; // sent again after the next welcome
    if (SILENT.has(code)) {
      setTimeout(() => this.#sendLines(), CHAT_RETRY_MS);
      return;
    }
    const line = this.state.unsent.find((each) => each.key === key);
    if (line) line.failed = code;
    this.#changed();
  }

  async #sendIntake() {
    const form = this.#intake;
    try {
      await this.request("intake", {form});
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.code === "connection_lost") return; // once more after the view of the next connection
      if (this.#intake === form) this.#intake = null;
      // The repeat of an intake that did arrive, though its answer got lost.
      if (error.code === "wrong_state" && this.consult && this.consult.state !== "invited") return;
      throw error;
    }
  }

  async #sendLeave() {
    try {
      await this.request("leave");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.code === "connection_lost") return;
      this.#leaving = false;
      this.#attend();
      throw error;
    }
  }

  /** @param {RTCIceServer[] | undefined} iceServers @param {number | null | undefined} expiresAt */
  #refreshIce(iceServers = [], expiresAt) {
    this.#iceServers = iceServers;
    this.#tellIce();
    clearTimeout(this.#iceTimer);
    if (!expiresAt) return;
    const left = (expiresAt - this.now()) * 1000;
    const wait = Math.max(Math.min(left - ICE_MARGIN_MS, 2 ** 31 - 1), 5_000);
    this.#iceTimer = setTimeout(() => this.transport.send("turn"), wait);
  }

  #tellIce() {
    this.#endpoints?.setIce(this.#iceServers, this.state.me?.iceTransportPolicy ?? "all");
  }

  /** Tells the endpoints where the person is, and what they may be kept for. */
  #attend() {
    const view = this.consult;
    const {desk, me} = this.state;
    const role = me?.role ?? "";
    /** @type {(string | undefined)[]} */
    const consults = [desk?.ring?.consult, desk?.consult];
    if (view && (role === "patient" ? !TERMINAL.has(view.state) : IN_CALL.has(view.state))) consults.push(view.consult);
    this.#endpoints?.attend({view, role, consults: this.#leaving ? [] : consults.filter((each) => each !== undefined)});
  }
}
