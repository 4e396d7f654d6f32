// SPDX-License-Identifier: Apache-2.0
// Camera, microphone and screen: what the browser lets us have, and what became of it. No DOM.

import {KINDS} from "./endpoint.js";

/** @typedef {import("./endpoint.js").Kind} Kind */
/**
 * How a camera or microphone is.
 * - `off`: not asked for, or switched off by the person
 * - `asking`: the browser asks the person
 * - `live`: it works
 * - `muted`: open, but the person muted it
 * - `taken`: open, but the system gave it to something else, as a phone call (the track's `mute` event)
 * - `silent`: open, but it gives nothing (a lid covers it, a switch on the headset)
 * - `denied`: the person or the browser said no
 * - `missing`: there is none
 * - `busy`: another program has it
 * @typedef {"off" | "asking" | "live" | "muted" | "taken" | "silent" | "denied" | "missing" | "busy"} DeviceState
 */
/** @typedef {{kind: Kind, id: string, label: string}} Choice */

/** Getting nothing above this for so long is no pause in speech: every room has noise 20 dB above it. */
const SILENCE_PEAK = 0.0005;
const MIC_SILENCE_MS = 5_000;
const LEVEL_MS = 200;

/** What a small screen shows; the encoder scales down from here. @type {MediaTrackConstraints} */
const CAMERA = {width: {ideal: 640}, height: {ideal: 480}, frameRate: {ideal: 15, max: 20}};
/** @type {MediaTrackConstraints} */
const MICROPHONE = {echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1};

/**
 * Camera and microphone of this device.
 *
 * `onchange` is called whenever something that a page shows has changed; `ontrack` whenever another track (or none) is
 * to be sent. The level of the microphone is in `level` (0…1), and `onlevel` tells it five times a second.
 */
export class Devices {
  /** @type {Record<Kind, DeviceState>} */
  state = {audio: "off", video: "off"};
  /** @type {Record<Kind, MediaStreamTrack | null>} */
  tracks = {audio: null, video: null};
  /** @type {Choice[]} */
  choices = [];
  /** Ids of the devices in use. @type {Record<Kind, string>} */
  chosen = {audio: "", video: ""};
  /** @type {"user" | "environment"} */
  facing = "user";
  level = 0;
  #options;
  #muted = false;
  /** What the person wants, whether we have it or not. @type {Record<Kind, boolean>} */
  #wanted = {audio: false, video: false};
  /** @type {AudioContext | undefined} */
  #context;
  /** @type {AnalyserNode | undefined} */
  #analyser;
  /** @type {MediaStreamAudioSourceNode | undefined} */
  #source;
  #heardAt = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #meter;
  #listeners = new AbortController();

  /**
   * @param {{
   *   onchange?: () => void,
   *   ontrack?: (kind: Kind, track: MediaStreamTrack | null) => void,
   *   onlevel?: (level: number) => void,
   *   storage?: Storage | undefined,
   * }} options `storage` remembers which devices were chosen
   */
  constructor(options) {
    this.#options = options;
    for (const kind of KINDS) {
      this.chosen[kind] = options.storage?.getItem(`selat.${kind}`) ?? "";
    }
    const signal = this.#listeners.signal;
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#devicesChanged(), {signal});
    globalThis.addEventListener?.("pointerdown", () => this.#context?.resume(), {signal});
  }

  /**
   * Asks for microphone and camera; whatever can be had is had. Never throws: `state` tells.
   * @param {{audio?: boolean, video?: boolean}} [want]
   */
  async open(want = {audio: true, video: true}) {
    const kinds = KINDS.filter((kind) => want[kind]);
    for (const kind of kinds) {
      this.#wanted[kind] = true;
      this.#enter(kind, "asking");
    }
    // One prompt for both; if that fails, each alone: a denied camera must not cost the voice.
    if (kinds.length === 2 && (await this.#capture(kinds)) === "") return;
    for (const kind of kinds) {
      const failure = await this.#capture([kind]);
      if (failure) this.#lose(kind, failure);
    }
  }

  /**
   * Uses another device; at any time.
   * @param {Kind} kind
   * @param {string} id a `Choice`'s id
   */
  async choose(kind, id) {
    this.#remember(kind, id);
    this.#stop(kind); // many phones can't open a second camera while the first is in use
    await this.open({[kind]: true});
  }

  /** Between the camera at the front and the one at the back. */
  async flip() {
    this.facing = this.facing === "user" ? "environment" : "user";
    this.#remember("video", "");
    this.#stop("video");
    await this.open({video: true});
  }

  /** @param {boolean} yes the microphone stays open, and sends silence */
  mute(yes) {
    this.#muted = yes;
    const track = this.tracks.audio;
    if (!track) return;
    track.enabled = !yes;
    this.#heardAt = Date.now();
    this.#enter("audio", yes ? "muted" : "live");
  }

  /** Switches the camera off; its light goes out. `open({video: true})` switches it on again. */
  cameraOff() {
    this.#wanted.video = false;
    this.#lose("video", "off");
  }

  /** Lets go of everything. */
  close() {
    this.#listeners.abort();
    clearInterval(this.#meter);
    for (const kind of KINDS) {
      this.#wanted[kind] = false;
      this.#lose(kind, "off");
    }
    this.#context?.close().catch(() => {});
    this.#context = undefined;
  }

  /** @param {Kind} kind @param {DeviceState} state */
  #enter(kind, state) {
    if (this.state[kind] === state) return;
    this.state[kind] = state;
    this.#options.onchange?.();
  }

  /** @param {Kind} kind @param {string} id */
  #remember(kind, id) {
    this.chosen[kind] = id;
    try {
      this.#options.storage?.setItem(`selat.${kind}`, id);
    } catch {
      // private browsing: forgotten when the page goes
    }
  }

  /**
   * @param {Kind[]} kinds
   * @returns {Promise<DeviceState | "">} "" = had
   */
  async #capture(kinds) {
    // `ideal`, not `exact`: a device that was chosen last week may be gone.
    /** @param {Kind} kind */
    const device = (kind) => (this.chosen[kind] ? {deviceId: {ideal: this.chosen[kind]}} : {});
    /** @type {MediaStreamConstraints} */
    const constraints = {};
    if (kinds.includes("audio")) constraints.audio = {...MICROPHONE, ...device("audio")};
    if (kinds.includes("video")) constraints.video = {...CAMERA, facingMode: this.facing, ...device("video")};
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(constraints);
    } catch (error) {
      return reason(error);
    }
    for (const track of stream.getTracks()) this.#use(/** @type {Kind} */ (track.kind), track);
    await this.#enumerate();
    return "";
  }

  /** @param {Kind} kind @param {MediaStreamTrack} track */
  #use(kind, track) {
    if (!this.#wanted[kind]) {
      track.stop(); // switched off while the browser asked
      return;
    }
    this.#stop(kind);
    this.tracks[kind] = track;
    if ("contentHint" in track) track.contentHint = kind === "audio" ? "speech" : "motion";
    this.chosen[kind] = track.getSettings().deviceId ?? "";
    track.onended = () => this.#ended(kind, track);
    track.onmute = () => track === this.tracks[kind] && !this.#muted && this.#enter(kind, "taken");
    track.onunmute = () => {
      this.#heardAt = Date.now();
      if (track === this.tracks[kind]) this.#enter(kind, this.#live(kind));
    };
    if (kind === "audio") {
      track.enabled = !this.#muted;
      this.#measure(track);
    }
    this.state[kind] = this.#live(kind);
    this.#options.ontrack?.(kind, track);
    this.#options.onchange?.();
  }

  /** @param {Kind} kind @returns {DeviceState} */
  #live(kind) {
    return kind === "audio" && this.#muted ? "muted" : "live";
  }

  /** @param {Kind} kind */
  #stop(kind) {
    const track = this.tracks[kind];
    this.tracks[kind] = null;
    if (!track) return;
    track.onended = track.onmute = track.onunmute = null;
    track.stop();
  }

  /** @param {Kind} kind @param {DeviceState} state */
  #lose(kind, state) {
    const had = this.tracks[kind];
    this.#stop(kind);
    if (had) this.#options.ontrack?.(kind, null);
    this.#enter(kind, state);
  }

  /** Unplugged, or taken by the system: whatever else there is, is used. @param {Kind} kind @param {MediaStreamTrack} track */
  #ended(kind, track) {
    if (track !== this.tracks[kind]) return;
    this.#lose(kind, "missing");
    if (this.#wanted[kind]) this.open({[kind]: true});
  }

  async #devicesChanged() {
    await this.#enumerate();
    for (const kind of KINDS) {
      if (!this.#wanted[kind] || !["missing", "busy"].includes(this.state[kind])) continue;
      if (this.choices.some((choice) => choice.kind === kind)) await this.open({[kind]: true});
    }
  }

  async #enumerate() {
    try {
      const found = await navigator.mediaDevices.enumerateDevices();
      this.choices = found
        .filter((each) => each.deviceId && each.kind !== "audiooutput")
        .map((each) => ({kind: each.kind === "audioinput" ? "audio" : "video", id: each.deviceId, label: each.label}));
    } catch {
      this.choices = [];
    }
    this.#options.onchange?.();
  }

  /** @param {MediaStreamTrack} track */
  #measure(track) {
    this.#heardAt = Date.now();
    try {
      this.#context ??= new AudioContext();
      this.#source?.disconnect();
      this.#analyser ??= this.#context.createAnalyser();
      this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
      this.#source.connect(this.#analyser);
    } catch {
      return; // no meter then; the call doesn't need one
    }
    this.#context.resume().catch(() => {});
    const samples = new Float32Array(this.#analyser.fftSize);
    clearInterval(this.#meter);
    this.#meter = setInterval(() => this.#hear(samples), LEVEL_MS);
  }

  /** @param {Float32Array<ArrayBuffer>} samples */
  #hear(samples) {
    // A suspended context (no touch on the page yet) gives zeros and proves nothing.
    const judges = this.#context?.state === "running" && this.tracks.audio && !this.#muted;
    let peak = 0;
    if (judges) {
      this.#analyser?.getFloatTimeDomainData(samples);
      for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    }
    this.level = Math.min(1, Math.sqrt(peak));
    this.#options.onlevel?.(this.level);
    if (!judges || peak > SILENCE_PEAK) {
      this.#heardAt = Date.now();
      if (judges && this.state.audio === "silent" && !this.tracks.audio?.muted) this.#enter("audio", "live");
    } else if (this.state.audio !== "taken" && Date.now() - this.#heardAt > MIC_SILENCE_MS) {
      this.#enter("audio", "silent");
    }
  }
}

/** What getUserMedia's refusal means (W3C mediacapture-main §10.2). @param {unknown} error @returns {DeviceState} */
function reason(error) {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "missing";
  if (name === "NotReadableError" || name === "AbortError") return "busy";
  return "denied";
}

/** Keeps the screen on; the browser lets go whenever the page is hidden. */
export class WakeLock {
  #wanted = false;
  /** @type {WakeLockSentinel | null} */
  #lock = null;

  constructor() {
    globalThis.addEventListener?.("visibilitychange", () => this.#ask());
  }

  /** @param {boolean} yes */
  keep(yes) {
    if (yes === this.#wanted) return;
    this.#wanted = yes;
    if (yes) this.#ask();
    else this.#lock?.release().catch(() => {});
  }

  async #ask() {
    if (!this.#wanted || globalThis.document?.visibilityState !== "visible") return;
    try {
      this.#lock = (await navigator.wakeLock?.request("screen")) ?? null;
      if (!this.#wanted) await this.#lock?.release();
    } catch {
      // an empty battery, or a browser without it: the screen may go dark, the call goes on
    }
  }
}
