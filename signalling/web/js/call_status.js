// SPDX-License-Identifier: Apache-2.0
// How a call is, looked at once a second: the sentence for the person, the figures for the node. No DOM.

import {LinkWords} from "./link_words.js";
import {received} from "./received.js";
import {Reception} from "./reception.js";

/** @typedef {import("./devices.js").Devices} Devices */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./transport.js").Message} Message */
/** @typedef {import("./link_words.js").Verdict} Verdict */

/** Chromium's own choice, where nobody set a limit. */
const OPUS_BPS = 32_000;
const FRAME_MS = 20;
/** Rungs on which a message of figures is worth a frame of voice. */
const THIN = ["text", "voice-min", "voice"];
/** Without a relay the page says more of its link, in all no more than 1 kbit/s. */
const THIN_DIRECT = [...THIN, "glimpse", "small"];
/** Looks come with every change too; figures are taken no more often than this. */
const EACH_MS = 900;
/** From `voice` a good link is up in 8 s, a rung each 1.5 s (`media.core.ladder`): before that nothing is said of it. */
const YOUNG_MS = 8_000;
/**
 * A call of which nothing has come for so long has lost its other side: silence is a packet each 400 ms (Opus with DTX,
 * RFC 7587 §3.1.3), and bursts of loss last less than a second.
 */
const SILENT_MS = 2_500;

/** One call's. */
export class CallStatus {
  #words = new LinkWords();
  #reception = new Reception();
  /** @type {import("./wire.js").Quality | null} */
  #quality = null;
  #consult = "";
  /** What the connection in use has counted, as of the last look. @type {import("./received.js").Received | null} */
  received = null;
  /** @type {unknown} */
  #endpoint = null;
  #lookedAt = -Infinity;
  #connectedAt = 0;
  /** When this endpoint last had got something; 0 = it never has. */
  #heardAt = 0;
  #options;

  /** @param {{session: () => Session | null, devices: () => Devices | null}} options */
  constructor(options) {
    this.#options = options;
  }

  /** @param {Message} message */
  receive(message) {
    if (message.type === "quality") this.#quality = /** @type {any} */ (message);
  }

  /** What the service says of the call's two directions. */
  get quality() {
    return this.#quality?.consult === this.#consult ? this.#quality : null;
  }

  /** Since when nothing comes through, in the clock of `look`; 0 = it does. */
  get since() {
    return this.#words.since;
  }

  /**
   * @param {import("./wire.js").ConsultView} view
   * @param {number} now in ms
   * @returns {Verdict} what is to be said
   */
  look(view, now) {
    const session = this.#options.session();
    if (!session) return this.#words.shown;
    if (view.consult !== this.#consult) {
      this.#consult = view.consult;
      this.#quality = null;
      this.#words.reset();
      this.#reception.reset();
      this.#connectedAt = 0;
    }
    this.#measure(session, now);
    const {link, endpoint, me, rungs} = session.state;
    const {mine = null, theirs = null} = rungs ?? {};
    if (endpoint === "connected") this.#connectedAt ||= now;
    const others = (view.away ?? []).some((role) => role !== me?.role);
    return this.#words.look({
      link: link === "open",
      media: endpoint,
      away: others || !view.peer?.instance,
      mine,
      theirs,
      quality: this.quality,
      microphone: this.#options.devices()?.state.audio ?? "off",
      young: now - this.#connectedAt < YOUNG_MS,
      silent: endpoint === "connected" && theirs?.rung !== "text" && this.#heardAt > 0 && now - this.#heardAt >= SILENT_MS,
    }, now);
  }

  /** @param {Session} session @param {number} now */
  #measure(session, now) {
    const endpoint = session.endpoint;
    if (endpoint !== this.#endpoint) {
      this.#reception.reset();
      this.received = null;
      this.#heardAt = 0;
    }
    this.#endpoint = endpoint;
    if (!endpoint || now - this.#lookedAt < EACH_MS) return;
    this.#lookedAt = now;
    const limits = "limits" in endpoint ? endpoint.limits : null;
    const devices = this.#options.devices();
    const state = devices?.state.audio ?? "off";
    const before = this.received?.packets ?? 0;
    this.received = received(endpoint.stats());
    if ((this.received?.packets ?? 0) > before) this.#heardAt = now;
    const data = this.#reception.look(this.received, {
      picture: Boolean(devices?.tracks.video) && limits?.videoMaxBps !== 0,
      opusBps: devices?.tracks.audio ? limits?.audioMaxBps ?? OPUS_BPS : 0,
      frameMs: limits?.ptimeMs ?? FRAME_MS,
      microphone: state === "muted" || state === "taken" ? state : "on",
      hidden: globalThis.document?.visibilityState === "hidden",
    }, now, (session.consult?.route === "relayed" ? THIN : THIN_DIRECT).includes(limits?.rung ?? ""));
    if (data) session.transport.send("reception", {consult: this.#consult, data});
  }
}
