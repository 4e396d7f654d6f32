// SPDX-License-Identifier: Apache-2.0
// What a participant's media goes to. Here: straight to the other participant's browser. No DOM.

import {watchNetwork} from "./network.js";
import {START_MS, preferCodecs, voiceFirst} from "./senders.js";
import {Phases, packets, read} from "./stats.js";

/** @typedef {import("./stats.js").Sample} Sample */
/** @typedef {import("./stats.js").SetupReport} SetupReport */
/** @typedef {{trigger: RestartTrigger, recoveredMs?: number}} RestartReport */
/** @typedef {"audio" | "video"} Kind */
/**
 * How the endpoint is.
 * - `connecting`: nothing has come through yet
 * - `connected`: ICE and DTLS stand, and what the other side sends arrives
 * - `interrupted`: it stood, and now nothing arrives; ICE is restarted until it does
 * - `closed`
 * @typedef {"connecting" | "connected" | "interrupted" | "closed"} EndpointState
 */
/** @typedef {"online" | "connection_change" | "no_media" | "failed" | "resumed" | "page_shown"} RestartTrigger */
/** @typedef {{type: string, [field: string]: any}} Signal a `description` or `candidate` message's fields */
/** @type {Kind[]} */
export const KINDS = ["audio", "video"];

/** While setting up, so that phases are measured to a tenth of a second; afterwards the watch for silence. */
const POLL_SETUP_MS = 100;
const POLL_MS = 500;
/** No RTP for so long, though it flowed, is trouble: voice comes each 20–60 ms, and bursts of loss last under 1 s. */
const SILENCE_MS = 2_000;
/** The same after a sign that the network or the page changed: a prototype found 700 ms without false alarms. */
const SILENCE_SUSPECT_MS = 700;
const SUSPECT_FOR_MS = 6_000;
/** Between restarts: a slow link never finishes one if the next comes within 2 round trips (measured at 650 ms). */
const RESTART_SPACING_MS = 2_000;
/** After a minute of restarts in vain there is no hurry left. */
const RESTART_SLOW_MS = 5_000;
const RESTART_SLOW_AFTER_MS = 60_000;
/** An offer unanswered for so long was lost on the way (signalling forwards and forgets): it is sent again. */
const REOFFER_MS = 4_000;

/**
 * One RTCPeerConnection to one other browser, by perfect negotiation (W3C webrtc §10.7, RFC 9429), with trickle ICE
 * and ICE restarts. One audio and one video transceiver exist from the first description on; tracks come and go by
 * replaceTrack, so that the transport never waits for a permission prompt.
 *
 * Must be told by its owner: `receive()` for each message of the other side, `signalling(up)` when the socket goes and
 * comes, `away(yes)` when the other side is known to be gone (then silence is no trouble).
 */
export class DirectEndpoint {
  /** @type {EndpointState} */
  state = "connecting";
  /** @type {RTCPeerConnection} */
  #pc;
  #options;
  /** @type {{audio: MediaStreamTrack | null, video: MediaStreamTrack | null}} */
  #tracks = {audio: null, video: null};
  /** Local tracks share a stream, so that the other side plays picture and voice in step. */
  #stream = new MediaStream();
  /** @type {Promise<unknown>} */
  #chain = Promise.resolve();
  /** @type {RTCIceCandidateInit[]} */
  #early = [];
  #ignoredOffer = false;
  #offeredAt = 0;
  #signalling = true;
  #away = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #poll;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #raise;
  #listeners = new AbortController();
  #phases = new Phases(performance.now());
  /** @type {Sample | null} */
  #sample = null;
  /** When RTP last arrived; 0 = none yet, or the other side is known to send nothing. */
  #flowedAt = 0;
  #picturedAt = 0;
  #responsesAtRestart = 0;
  #suspectUntil = 0;
  /** @type {RestartTrigger} */
  #suspicion = "no_media";
  /** @type {RestartTrigger | null} */
  #postponed = null;
  /** @type {{trigger: RestartTrigger, at: number, first: number} | null} */
  #restart = null;

  /**
   * @param {{
   *   polite: boolean,
   *   offers: boolean,
   *   iceServers?: RTCIceServer[],
   *   iceTransportPolicy?: RTCIceTransportPolicy,
   *   send: (message: Signal) => boolean,
   *   ontrack?: (kind: Kind, track: MediaStreamTrack) => void,
   *   onstate?: (state: EndpointState) => void,
   *   onreport?: (kind: "setup" | "restart", report: SetupReport | RestartReport) => void,
   *   ontrouble?: () => void,
   * }} options `offers`: adds the transceivers and makes the first offer; the other side waits for it.
   *   `send` returns whether the message went out. `ontrouble`: media stopped; is signalling still alive?
   */
  constructor(options) {
    this.#options = options;
    this.#pc = this.#connect();
    watchNetwork({
      online: () => this.restart("online"),
      shown: () => this.#suspect("page_shown"),
      changed: (another) => (another ? this.restart("connection_change") : this.#suspect("connection_change")),
    }, this.#listeners.signal);
    this.#look();
  }

  /**
   * The track that is sent from now on; null sends nothing. At any time, also before there is a connection.
   * @param {Kind} kind
   * @param {MediaStreamTrack | null} track
   */
  setTrack(kind, track) {
    this.#tracks[kind] = track;
    const transceiver = this.#transceiver(kind);
    if (transceiver) transceiver.sender.replaceTrack(track).catch(() => {});
  }

  /** @param {RTCIceServer[]} iceServers fresh TURN credentials, used from the next gathering on */
  setIceServers(iceServers) {
    this.#options.iceServers = iceServers;
    if (this.state !== "closed") this.#pc.setConfiguration(this.#configuration());
  }

  /**
   * A message of the other side; they must come in the order in which they were sent.
   * @param {Signal} message
   * @returns {Promise<unknown>}
   */
  receive(message) {
    const job = () => {
      if (this.state === "closed") return undefined;
      return message.type === "description"
        ? this.#receiveDescription(message["description"])
        : this.#receiveCandidate(message["candidate"]);
    };
    this.#chain = this.#chain.then(job).catch(() => {});
    return this.#chain;
  }

  /**
   * Restarts ICE: new credentials, new candidates, the same DTLS association. At most every max(2 s, 3 round trips);
   * asked for more often, it waits its turn. Repeats by itself until media flows.
   * @param {RestartTrigger} trigger
   */
  restart(trigger) {
    const now = performance.now();
    if (this.state === "closed" || !this.#pc.remoteDescription) return; // the first offer is still under way
    if (this.#restart && now - this.#restart.at < this.#spacingMs(now)) {
      this.#postponed ??= trigger;
      return;
    }
    if (!this.#signalling) {
      this.#postponed ??= trigger;
      return;
    }
    if (this.#restart) this.#options.onreport?.("restart", {trigger: this.#restart.trigger});
    this.#restart = {trigger, at: now, first: this.#restart?.first ?? now};
    this.#responsesAtRestart = this.#sample?.responses ?? 0;
    this.#postponed = null;
    this.#pc.restartIce(); // negotiationneeded makes the offer, now or after the answer that is still missing
  }

  /** @param {boolean} up whether messages of the other side can reach us, and ours the server */
  signalling(up) {
    const back = up && !this.#signalling;
    this.#signalling = up;
    if (!back || this.state === "closed") return;
    this.#reoffer();
    if (this.#away) return;
    if (this.#postponed || this.#pc.connectionState === "failed" || this.#silentMs() > SILENCE_MS) {
      this.restart(this.#postponed ?? "resumed");
    }
  }

  /** @param {boolean} yes the other side is known to be gone; `false` again once it is back */
  away(yes) {
    const back = this.#away && !yes;
    this.#away = yes;
    if (!back || this.state === "closed") return;
    this.#reoffer();
    this.#suspect("resumed");
  }

  /** @returns {(Sample & {pictureAgeMs: number}) | null} the newest numbers, and since when no new picture came */
  stats() {
    return this.#sample && {...this.#sample, pictureAgeMs: performance.now() - this.#picturedAt};
  }

  close() {
    if (this.state === "closed") return;
    clearTimeout(this.#poll);
    clearTimeout(this.#raise);
    this.#listeners.abort();
    this.#pc.close();
    this.#enter("closed");
  }

  /** @returns {RTCConfiguration} */
  #configuration() {
    const {iceServers = [], iceTransportPolicy = "all"} = this.#options;
    return {iceServers, iceTransportPolicy, bundlePolicy: "max-bundle"};
  }

  #connect() {
    const pc = new RTCPeerConnection(this.#configuration());
    pc.onnegotiationneeded = () => {
      this.#chain = this.#chain.then(() => (pc === this.#pc ? this.#offer() : undefined)).catch(() => {});
    };
    pc.onicecandidate = ({candidate}) => {
      if (candidate && pc === this.#pc) this.#options.send({type: "candidate", candidate: candidate.toJSON()});
    };
    pc.ontrack = ({track}) => this.#options.ontrack?.(/** @type {Kind} */ (track.kind), track);
    pc.onconnectionstatechange = () => {
      if (pc !== this.#pc) return;
      if (pc.connectionState === "connected") this.#connected();
      else if (pc.connectionState === "failed") this.restart("failed");
    };
    if (this.#options.offers) {
      for (const kind of KINDS) {
        preferCodecs(pc.addTransceiver(this.#tracks[kind] ?? kind, {direction: "sendrecv", streams: [this.#stream]}), kind);
      }
    }
    return pc;
  }

  /** @param {Kind} kind */
  #transceiver(kind) {
    return this.#pc.getTransceivers().find((each) => each.receiver.track.kind === kind);
  }

  /** @param {EndpointState} state */
  #enter(state) {
    if (this.state === state || this.state === "closed") return;
    this.state = state;
    this.#options.onstate?.(state);
  }

  async #offer() {
    const pc = this.#pc;
    if (this.state === "closed" || pc.signalingState !== "stable") return;
    await pc.setLocalDescription();
    this.#sendDescription();
  }

  #sendDescription() {
    const description = this.#pc.localDescription;
    if (!description) return;
    if (description.type === "offer") this.#offeredAt = performance.now();
    this.#options.send({type: "description", description: {type: description.type, sdp: description.sdp}});
  }

  /** Sends an unanswered offer again; its candidates are in it by now. */
  #reoffer() {
    if (this.#pc.signalingState === "have-local-offer") this.#sendDescription();
  }

  /** @param {RTCSessionDescriptionInit} description */
  async #receiveDescription(description) {
    const offer = description.type === "offer";
    // Our own offers are made in the same chain as this: none can be half made now.
    this.#ignoredOffer = offer && this.#pc.signalingState !== "stable" && !this.#options.polite;
    if (this.#ignoredOffer) return;
    if (!offer && this.#pc.signalingState === "stable") return; // the answer to an offer that was sent twice
    try {
      await this.#pc.setRemoteDescription(description);
    } catch (error) {
      // An offer that doesn't fit is of another RTCPeerConnection than we knew: so do we make another one.
      if (!offer) throw error;
      this.#pc.close();
      this.#options.offers = false;
      this.#pc = this.#connect();
      await this.#pc.setRemoteDescription(description);
    }
    if (offer) {
      for (const kind of KINDS) {
        const transceiver = this.#transceiver(kind);
        if (!transceiver || transceiver.direction === "sendrecv") continue;
        transceiver.direction = "sendrecv";
        transceiver.sender.setStreams?.(this.#stream);
        preferCodecs(transceiver, kind);
        await transceiver.sender.replaceTrack(this.#tracks[kind]);
      }
      await this.#pc.setLocalDescription();
      this.#sendDescription();
    }
    const early = this.#early;
    this.#early = [];
    for (const candidate of early) await this.#receiveCandidate(candidate);
  }

  /** @param {RTCIceCandidateInit | null} candidate */
  async #receiveCandidate(candidate) {
    if (!candidate || this.#ignoredOffer) return;
    const remote = this.#pc.remoteDescription;
    if (!remote) {
      this.#early.push(candidate);
      return;
    }
    const ufrag = candidate.usernameFragment;
    if (ufrag && !remote.sdp.includes(`a=ice-ufrag:${ufrag}`)) return; // of an earlier generation
    await this.#pc.addIceCandidate(candidate);
  }

  #connected() {
    this.#phases.connected(performance.now());
    this.#picturedAt ||= performance.now();
    this.#enter("connected");
    voiceFirst(this.#pc.getTransceivers(), true);
    clearTimeout(this.#raise);
    this.#raise = setTimeout(() => voiceFirst(this.#pc.getTransceivers(), false), START_MS);
  }

  /** @param {RestartTrigger} trigger */
  #suspect(trigger) {
    this.#suspicion = trigger;
    this.#suspectUntil = performance.now() + SUSPECT_FOR_MS;
    if (this.#pc.connectionState === "failed") this.restart(trigger);
  }

  /** @param {number} now */
  #spacingMs(now) {
    const inVain = this.#restart && now - this.#restart.first > RESTART_SLOW_AFTER_MS;
    return Math.max(inVain ? RESTART_SLOW_MS : RESTART_SPACING_MS, 3 * (this.#sample?.rttMs ?? 0));
  }

  #silentMs() {
    return this.#flowedAt ? performance.now() - this.#flowedAt : 0;
  }

  /** Looks at the statistics, acts on them, and comes again. */
  async #look() {
    try {
      const sample = read(await this.#pc.getStats());
      if (this.state === "closed") return;
      this.#measure(sample);
    } catch {
      // getStats fails while a connection is replaced; the next look finds the new one
    }
    if (this.state === "closed") return;
    this.#poll = setTimeout(() => this.#look(), this.#phases.told ? POLL_MS : POLL_SETUP_MS);
  }

  /** @param {Sample} sample */
  #measure(sample) {
    const now = performance.now();
    const before = this.#sample;
    this.#sample = sample;
    if (sample.framesDecoded !== (before?.framesDecoded ?? 0)) this.#picturedAt = now;
    const flows = packets(sample) > (before ? packets(before) : 0);
    if (flows) {
      this.#flowedAt = now;
      this.#recovered(now);
      if (this.#pc.connectionState === "connected") this.#enter("connected");
    } else if (before && packets(sample) < packets(before)) {
      this.#flowedAt = 0; // another connection
    }
    const setup = this.#phases.look(sample, now);
    if (setup) this.#options.onreport?.("setup", setup);
    if (this.#pc.signalingState === "have-local-offer" && now - this.#offeredAt > REOFFER_MS && this.#signalling) {
      this.#reoffer();
    }
    if (!flows) this.#mend(sample, now);
  }

  /** @param {number} now */
  #recovered(now) {
    // What arrived just after the restart was on its way before it.
    if (!this.#restart || this.#pc.signalingState !== "stable" || now - this.#restart.at < 200) return;
    const recoveredMs = Math.round(now - this.#restart.first);
    this.#options.onreport?.("restart", {trigger: this.#restart.trigger, recoveredMs});
    this.#restart = null;
    this.#postponed = null;
  }

  /** Nothing arrived: is that trouble, and what is to be done? @param {Sample} sample @param {number} now */
  #mend(sample, now) {
    const suspect = now < this.#suspectUntil;
    if (this.#away) {
      if (this.#silentMs() > SILENCE_MS) this.#enter("interrupted"); // but there is nobody to restart with
    } else if (this.#silentMs() > (suspect ? SILENCE_SUSPECT_MS : SILENCE_MS)) {
      const alive = this.#pc.connectionState === "connected" && this.#pc.signalingState === "stable";
      if (this.#restart && alive && sample.responses > this.#responsesAtRestart + 1) {
        // Checks are answered on the new path: the other side sends nothing, and that is not ours to mend.
        this.#flowedAt = 0;
        this.#recovered(now);
        this.#enter("connected");
        return;
      }
      this.#enter("interrupted");
      this.#options.ontrouble?.();
      this.restart(suspect ? this.#suspicion : "no_media");
    } else if (this.#postponed || this.#pc.connectionState === "failed") {
      if (this.#pc.connectionState === "failed") this.#enter("interrupted");
      this.restart(this.#postponed ?? "failed");
    }
  }
}
