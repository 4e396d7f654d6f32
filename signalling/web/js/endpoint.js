// SPDX-License-Identifier: Apache-2.0
// What a participant's media goes to. Here: straight to the other participant's browser. No DOM.

import {Brake} from "./brake.js";
import {Continuity} from "./continuity.js";
import {lending, preferCodecs, voiceFirst} from "./senders.js";

/** @typedef {import("./continuity.js").Listener} Listener */
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
/** @typedef {import("./wire.js").Limits} Limits */
/** @typedef {{type: string, [field: string]: any}} Signal a `description` or `candidate` message's fields */
/** @type {Kind[]} */
export const KINDS = ["audio", "video"];

/** Fetched when there is a direct call: pages of a service with relays need it seldom. */
const DIRECT_PART = "/static/direct_limits.js";
/** The first description waits for it no longer: it comes while the descriptions travel, mostly. */
const PART_WAIT_MS = 1_000;
const PART_AGAIN_MS = 5_000;
/** An offer unanswered for so long was lost on the way (signalling forwards and forgets): it is sent again. */
const REOFFER_MS = 4_000;

/**
 * One RTCPeerConnection to one other browser, by perfect negotiation (W3C webrtc §10.7, RFC 9429), with trickle ICE
 * and ICE restarts. One audio and one video transceiver exist from the first description on; tracks come and go by
 * replaceTrack, so that the transport never waits for a permission prompt.
 *
 * What may be sent the node decides, as a relay does, from what both sides report (`onway`): `limit()`. The voice's share of it
 * is applied by the other side's description once more, with other parameters: nothing is negotiated for it.
 *
 * Must be told by its owner: `receive()` for each message of the other side, `signalling(up)` when the socket goes and
 * comes, `away(yes)` when the other side is known to be gone (then silence is no trouble).
 */
export class DirectEndpoint {
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
  /** @type {Limits | null} */
  #limits = null;
  /** @type {((bps: number) => number) | null} */
  #lent = null;
  /** @type {import("./direct_limits.js").DirectLimits | null} */
  #limiting = null;
  /** @type {Promise<unknown>} */
  #part = Promise.resolve();
  #askedAt = -Infinity;
  #continuity;
  #brake;

  /**
   * @param {{
   *   polite: boolean,
   *   offers: boolean,
   *   iceServers?: RTCIceServer[],
   *   iceTransportPolicy?: RTCIceTransportPolicy,
   *   send: (message: Signal) => boolean,
   *   ontrack?: (kind: Kind, track: MediaStreamTrack) => void,
   *   onway?: (data: string) => boolean,
   *   part?: () => Promise<{DirectLimits: typeof import("./direct_limits.js").DirectLimits}>,
   * } & Listener} options `offers`: adds the transceivers and makes the first offer; the other side waits for it.
   *   `send` and `onway` (what was counted of this connection, packed) return whether the message went out.
   */
  constructor(options) {
    this.#options = options;
    this.#pc = this.#connect();
    this.#load();
    this.#continuity = new Continuity({
      peer: () => this.#pc,
      restartIce: () => this.#pc.restartIce(), // negotiationneeded makes the offer, now or after the answer still missing
      listener: options,
      onlook: (now) => {
        if (!this.#continuity.silent) this.#brake.heard();
        this.#tellWay();
        if (this.#pc.signalingState === "have-local-offer" && now - this.#offeredAt > REOFFER_MS && this.#continuity.able) {
          this.#reoffer();
        }
      },
    });
    this.#brake = new Brake({
      sender: () => this.#transceiver("video")?.sender,
      silent: () => this.#continuity.silent,
      onpull: () => {
        this.#shape();
        this.#tellWay(); // and with every report until new limits come
      },
    });
    this.#continuity.start(true);
    this.#brake.watch(true);
  }

  /** How the endpoint is. @returns {EndpointState} */
  get state() {
    return this.#continuity.state;
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
    if (this.#limits) this.#shape(); // another camera has another size
  }

  /** What may be sent now, null before the node has said so. */
  get limits() {
    return this.#limits;
  }

  /** What share the picture gives up of a rate for what is sent behind the call; null: nothing. @param {((bps: number) => number) | null} share */
  lend(share) {
    if (share === this.#lent) return;
    this.#lent = share;
    if (this.#limits) this.#shape();
  }

  /** What may be sent from now on; takes effect without a gap. @param {Limits} limits */
  limit(limits) {
    this.#limits = limits;
    this.#brake.limit(limits);
    this.#shape();
    this.#holdSoon();
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
    this.#continuity.restart(trigger);
  }

  /** @param {boolean} up whether messages of the other side can reach us, and ours the server */
  signalling(up) {
    const continuity = this.#continuity;
    const back = up && !continuity.able;
    continuity.able = up;
    if (!back || this.state === "closed") return;
    this.#reoffer();
    if (continuity.away) return;
    if (continuity.postponed || this.#pc.connectionState === "failed" || continuity.silent) {
      this.restart(continuity.postponed ?? "resumed");
    }
  }

  /** @param {boolean} yes the other side is known to be gone; `false` again once it is back */
  away(yes) {
    const back = this.#continuity.away && !yes;
    this.#continuity.away = yes;
    if (!back || this.state === "closed") return;
    this.#reoffer();
    this.#continuity.suspect("resumed");
  }

  /** The newest numbers, and since when no new picture came. */
  stats() {
    return this.#continuity.stats();
  }

  close() {
    if (this.state === "closed") return;
    this.#pc.close();
    this.#continuity.close();
    this.#brake.watch(false);
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
    if (!this.#pc.remoteDescription) await Promise.race([this.#part, new Promise((resolve) => setTimeout(resolve, PART_WAIT_MS))]);
    if (!offer && this.#pc.signalingState === "stable") return; // the answer to an offer that was sent twice
    try {
      await this.#pc.setRemoteDescription(this.#asHeld(description));
    } catch (error) {
      // An offer that doesn't fit is of another RTCPeerConnection than we knew: so do we make another one.
      if (!offer) throw error;
      this.#pc.close();
      this.#options.offers = false;
      this.#pc = this.#connect();
      await this.#pc.setRemoteDescription(this.#asHeld(description));
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
    this.#continuity.connected();
    this.#shape();
  }

  #shape() {
    const limits = this.#limits && (this.#brake.pulled ? {...this.#limits, videoMaxBps: 0} : lending(this.#limits, this.#lent?.(this.#limits.videoMaxBps) ?? 0));
    voiceFirst(this.#pc.getTransceivers(), {limits, camera: this.#tracks.video});
  }

  #tellWay() {
    const {onway} = this.#options;
    if (!this.#limiting && performance.now() - this.#askedAt > PART_AGAIN_MS) this.#load();
    if (!onway || !this.#continuity.able || this.state === "connecting" || this.state === "closed") return;
    this.#limiting?.tell(this.#continuity.stats()?.report, this.#limits, this.#brake, onway);
  }

  /** The other side's description with our limits in it. @param {RTCSessionDescriptionInit} description */
  #asHeld(description) {
    return this.#limiting?.take(description, this.#limits, this.state === "connecting") ?? description;
  }

  #load() {
    this.#askedAt = performance.now();
    const fetched = this.#options.part?.() ?? import(DIRECT_PART).then((part) => part.default);
    this.#part = fetched.then(({DirectLimits}) => {
      this.#limiting ??= new DirectLimits();
      this.#holdSoon();
    }).catch(() => {}); // no link: asked for again; until then the picture is held, and the voice as the browser likes
  }

  #holdSoon() {
    const job = () => (this.state === "closed" ? undefined : this.#limiting?.hold(this.#pc, this.#limits, () => this.#sendDescription()));
    this.#chain = this.#chain.then(job).catch(() => {});
  }
}
