// SPDX-License-Identifier: Apache-2.0
// What a participant's media goes to: a relay. No DOM.

import {Brake} from "./brake.js";
import {Continuity} from "./continuity.js";
import {answerFields, offerSdp} from "./sdp.js";
import {choosesCodec, lending, prefer, voiceFirst} from "./senders.js";
import {startsWith} from "./start_rate.js";

/** @typedef {import("./continuity.js").Listener} Listener */
/** @typedef {import("./endpoint.js").EndpointState} EndpointState */
/** @typedef {import("./endpoint.js").Kind} Kind */
/** @typedef {import("./endpoint.js").RestartTrigger} RestartTrigger */
/** @typedef {import("./wire.js").LegAnswer} LegAnswer */
/** @typedef {import("./wire.js").LegOffer} LegOffer */
/** @typedef {import("./wire.js").Limits} Limits */

/** Where nothing but TLS passes, TURN is tried after so long: UDP takes 2 round trips, TCP 4, 3.2 s at 800 ms. */
const TURN_AFTER_MS = 5_000;
/** And when so many restarts were in vain: the network may be one where it is needed now. */
const TURN_AFTER_RESTARTS = 3;

/**
 * One RTCPeerConnection to one leg of a relay, made from the offer's fields before anybody is called and before camera and
 * microphone are asked for: then Chromium follows an address change by itself. Both kinds are negotiated in both directions
 * at once; nothing is sent before `talk(true)`.
 *
 * ICE is restarted without a message to anyone (an ICE-lite relay knows its spare credentials): a local offer, then the
 * relay's description once more, as the answer, with the next pair. The DTLS association and the keys stay.
 */
export class RelayEndpoint {
  #pc;
  #options;
  #offer;
  /** @type {LegAnswer | null} */
  #answer = null;
  #pair = 0;
  #version = 1;
  #restarts = 0;
  #turn = false;
  #talking = false;
  /** @type {Limits | null} */
  #limits = null;
  /** @type {((bps: number) => number) | null} */
  #lent = null;
  /** @type {Record<Kind, MediaStreamTrack | null>} */
  #tracks = {audio: null, video: null};
  /** @type {Promise<unknown>} */
  #chain = Promise.resolve();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #turnTimer;
  #continuity;
  #brake;
  /**
   * @param {{
   *   offer: LegOffer,
   *   iceServers?: RTCIceServer[],
   *   iceTransportPolicy?: RTCIceTransportPolicy,
   *   onanswer: (answer: LegAnswer) => void,
   *   ontrack?: (kind: Kind, track: MediaStreamTrack) => void,
   *   onbraked?: () => boolean,
   *   voices?: import("./voice_copies.js").VoiceCopies,
   * } & Listener} options `onanswer`: what the relay must be told; again if it seems not to know it; `onbraked`: the picture
   *   was stopped here, and the relay must be told so; whether it was
   */
  constructor(options) {
    this.#options = options;
    this.#offer = options.offer;
    this.#turn = options.iceTransportPolicy === "relay";
    this.#pc = this.#connect();
    this.#continuity = new Continuity({
      peer: () => this.#pc,
      restartIce: () => this.#queue(() => this.#restartIce()),
      alone: true,
      listener: options,
      onlook: () => this.#continuity.silent || this.#brake.heard(),
    });
    this.#brake = new Brake({
      sender: () => this.#pc.getTransceivers().find(({receiver}) => receiver.track.kind === "video")?.sender,
      silent: () => this.#continuity.silent,
      onpull: (tell) => {
        this.#shape();
        if (tell) this.#tellBraked();
      },
    });
    this.#continuity.start(false);
    this.#turnTimer = setTimeout(() => this.#addTurn(), TURN_AFTER_MS);
    this.#queue(() => this.#accept());
  }

  /** How the endpoint is; without a call: whether the connection stands. @returns {EndpointState} */
  get state() {
    return this.#continuity.state;
  }

  /** What may be sent now, null before the relay has said so. */
  get limits() {
    return this.#limits;
  }

  /** What share (0…1) of its rate the picture gives up for what is sent behind the call. @param {((bps: number) => number) | null} share */
  lend(share) {
    if (share === this.#lent) return;
    this.#lent = share;
    if (this.#limits) this.#shape();
  }

  /**
   * The call begins, or ends without the leg: only in a call are tracks sent, and is silence trouble.
   * @param {boolean} yes
   */
  talk(yes) {
    if (yes === this.#talking || this.state === "closed") return;
    this.#talking = yes;
    this.#send();
    this.#continuity.watch(yes);
    this.#brake.watch(yes);
    if (yes) this.#shape();
  }

  /**
   * The track that is sent in a call; null sends nothing. At any time.
   * @param {Kind} kind
   * @param {MediaStreamTrack | null} track
   */
  setTrack(kind, track) {
    this.#tracks[kind] = track;
    this.#send();
    if (this.#limits) this.#shape(); // another camera has another size
  }

  /** What may be sent from now on; takes effect without a gap. @param {Limits} limits */
  limit(limits) {
    this.#limits = limits;
    this.#brake.limit(limits);
    const shaped = this.#shape();
    this.#hear(limits);
    const {audio, video} = this.#offer;
    const voice = {
      ...audio, ptimeMs: limits.ptimeMs ?? 20, maxAverageBps: limits.audioMaxBps ?? null, fec: limits.fec ?? true,
      dtx: limits.dtx ?? false, red: limits.red ?? "yes",
    };
    // What the offer allowed at first must not hold back what is allowed now.
    const picture = {
      ...video, maxKbps: (video.maxKbps ?? Infinity) * 1_000 < limits.videoMaxBps ? null : video.maxKbps ?? null,
      startKbps: startsWith(limits, video.startKbps ?? null, this.#talking),
    };
    const before = offerSdp(this.#offer);
    this.#offer = {...this.#offer, audio: voice, video: picture};
    if (offerSdp(this.#offer) !== before) this.#queue(() => this.#reapply());
    this.#queue(() => shaped.then(() => this.#choose(limits.codec ?? "VP8")));
  }

  /** What bursts of losses ask of the voice: copies that outlive them, a listener who waits for those. @param {Limits} limits */
  #hear({hearMs, copyMs = 0}) {
    const voice = this.#voice();
    if (!voice) return;
    voice.receiver.jitterBufferTarget = hearMs || null;
    this.#options.voices?.spread(voice.sender, copyMs);
  }

  /** @param {RTCIceServer[]} iceServers fresh TURN credentials, used from the next gathering on */
  setIceServers(iceServers) {
    this.#options.iceServers = iceServers;
    if (this.state !== "closed") this.#pc.setConfiguration(this.#configuration());
  }

  /** Restarts ICE, at most every max(2 s, 3 round trips); repeats by itself until media flows. @param {RestartTrigger} trigger */
  restart(trigger) {
    this.#continuity.restart(trigger);
  }

  /** Signalling is back: an answer that may have got lost with it is told again. @param {boolean} up */
  signalling(up) {
    if (!up) return;
    this.#tellAgain();
    if (this.#brake.tells) this.#tellBraked();
  }

  /** @param {boolean} yes the other side is known to be gone (then silence is no trouble); `false` again once it is back */
  away(yes) {
    const back = this.#continuity.away && !yes;
    this.#continuity.away = yes;
    if (back) this.#continuity.suspect("resumed");
  }

  /** The newest numbers, and since when no new picture came. */
  stats() {
    return this.#continuity.stats();
  }

  close() {
    if (this.state === "closed") return;
    clearTimeout(this.#turnTimer);
    this.#pc.close();
    this.#continuity.close();
    this.#brake.watch(false);
  }

  /** @returns {RTCConfiguration} */
  #configuration() {
    const {iceServers = [], iceTransportPolicy = "all"} = this.#options;
    // Each server would cost allocations and checks on a leg that only waits; the relay's own address needs none.
    return {iceServers: this.#turn ? iceServers : [], iceTransportPolicy, bundlePolicy: "max-bundle"};
  }

  #connect() {
    const pc = new RTCPeerConnection(this.#configuration());
    pc.ontrack = ({track}) => this.#options.ontrack?.(/** @type {Kind} */ (track.kind), track);
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "connected") this.#connected();
      else if (pc.connectionState === "failed") this.restart("failed");
    };
    return pc;
  }

  /** One negotiation after the other. @param {() => Promise<unknown>} job */
  #queue(job) {
    this.#chain = this.#chain.then(() => (this.state === "closed" ? undefined : job())).catch(() => {});
  }

  #voice() {
    return this.#pc.getTransceivers().find(({receiver}) => receiver.track.kind === "audio");
  }

  async #accept() {
    const {voices} = this.#options;
    await voices?.ready(this.#talking);
    await this.#pc.setRemoteDescription({type: "offer", sdp: offerSdp(this.#offer)});
    voices?.take(this.#voice()?.sender);
    for (const transceiver of this.#pc.getTransceivers()) transceiver.direction = "sendrecv";
    await this.#pc.setLocalDescription();
    this.#answer = answerFields(this.#pc.localDescription?.sdp ?? "");
    prefer(this.#answer.video.payloadTypes);
    // @ts-expect-error not in TypeScript's library: Chromium has it
    if (globalThis.navigator?.connection?.saveData) this.#answer.saveData = true;
    this.#send();
    this.#options.onanswer(this.#answer);
  }

  async #restartIce() {
    if (!this.#answer) return;
    if (++this.#restarts > TURN_AFTER_RESTARTS) this.#useTurn();
    this.#pair++;
    await this.#pc.setLocalDescription(await this.#pc.createOffer({iceRestart: true}));
    await this.#pc.setRemoteDescription({type: "answer", sdp: this.#description(this.#answer)});
    // The relay needs nothing for the restart; but it measures the link of who waits with our credentials.
    this.#answer = {...this.#answer, ice: answerFields(this.#pc.localDescription?.sdp ?? "").ice};
    if (!this.#talking && this.state === "connected") this.#options.onanswer(this.#answer);
  }

  /** The offer as it reads now, with the same credentials: codec parameters change, the transport doesn't. */
  async #reapply() {
    await this.#pc.setRemoteDescription({type: "offer", sdp: this.#description()});
    await this.#pc.setLocalDescription();
  }

  /** Where the browser can't be told, it sends what the description names first. @param {"VP8" | "VP9"} name */
  async #choose(name) {
    const {codecs = ["VP8"]} = this.#offer.video;
    if (codecs[0] === name || choosesCodec(this.#pc.getTransceivers())) return;
    this.#offer = {...this.#offer, video: {...this.#offer.video, codecs: [name, ...codecs.filter((each) => each !== name)]}};
    await this.#reapply();
  }

  /** @param {LegAnswer} [taken] */
  #description(taken) {
    return offerSdp(this.#offer, {pair: this.#pair, version: ++this.#version, ...(taken && {taken})});
  }

  #connected() {
    clearTimeout(this.#turnTimer);
    this.#restarts = 0;
    this.#continuity.connected();
    if (this.#talking) this.#shape();
  }

  /** Before the relay has said what the way can take, the picture is low. */
  #shape() {
    const limits = this.#limits && (this.#brake.pulled ? {...this.#limits, videoMaxBps: 0} : lending(this.#limits, this.#lent?.(this.#limits.videoMaxBps) ?? 0));
    return voiceFirst(this.#pc.getTransceivers(), {limits, camera: this.#tracks.video});
  }

  #send() {
    if (this.state === "closed") return;
    for (const {sender, receiver} of this.#pc.getTransceivers()) {
      const track = this.#talking ? this.#tracks[/** @type {Kind} */ (receiver.track.kind)] : null;
      if (sender.track !== track) sender.replaceTrack(track).catch(() => {});
    }
  }

  #tellAgain() {
    if (this.#answer && this.state === "connecting") this.#options.onanswer(this.#answer);
  }

  #tellBraked() {
    if (this.#options.onbraked?.()) this.#brake.told();
  }

  #addTurn() {
    this.#tellAgain();
    if (this.state !== "connecting" || !this.#options.iceServers?.length) return;
    this.#useTurn();
    this.restart("failed");
  }

  #useTurn() {
    if (this.#turn) return;
    this.#turn = true;
    this.#pc.setConfiguration(this.#configuration());
  }
}
