// SPDX-License-Identifier: Apache-2.0
// A voice message: recorded, heard again, sent or not. No DOM.

/** @typedef {"idle" | "asking" | "recording" | "done" | "denied" | "unsupported"} RecorderState */
/** @typedef {{blob: Blob, mime: string, durationMs: number}} Recording */

/** Opus at this rate is clear speech: 1.5 KB a second, half a minute is 45 KB. */
const VOICE_BPS = 12_000;
/** What the server takes. */
export const LONGEST_MS = 5 * 60_000;
const SHORTEST_MS = 500;
const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];

/** Records one message at a time; `onchange` is called when `state` changes. */
export class Recorder {
  /** @type {RecorderState} */
  state = "idle";
  /** @type {Recording | null} */
  recording = null;
  #options;
  /** @type {MediaRecorder | null} */
  #recorder = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  #startedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {{onchange: () => void, live?: () => MediaStreamTrack | null}} options `live`: the microphone that is open
   *   already, if one is; it goes on as it was
   */
  constructor(options) {
    this.#options = options;
  }

  /** How long it has been recording. */
  get elapsedMs() {
    return this.state === "recording" ? Date.now() - this.#startedAt : (this.recording?.durationMs ?? 0);
  }

  async start() {
    if (this.state === "recording" || this.state === "asking") return;
    this.recording = null;
    const type = typeof MediaRecorder === "function" ? TYPES.find((each) => MediaRecorder.isTypeSupported(each)) : undefined;
    if (!type) return this.#enter("unsupported");
    this.#enter("asking");
    try {
      this.#track = this.#options.live?.()?.clone() ?? (await microphone());
    } catch {
      return this.#enter("denied");
    }
    this.#track.enabled = true; // muted towards the call, not towards the message
    const recorder = new MediaRecorder(new MediaStream([this.#track]), {mimeType: type, audioBitsPerSecond: VOICE_BPS});
    /** @type {Blob[]} */
    const parts = [];
    recorder.ondataavailable = ({data}) => data.size && parts.push(data);
    recorder.onstop = () => this.#stopped(recorder, parts);
    this.#recorder = recorder;
    this.#startedAt = Date.now();
    recorder.start(1_000);
    this.#timer = setTimeout(() => this.stop(), LONGEST_MS - 500);
    this.#enter("recording");
  }

  stop() {
    clearTimeout(this.#timer);
    if (this.#recorder?.state === "recording") this.#recorder.stop();
  }

  /** Forgets what was recorded, or is being recorded. */
  discard() {
    const recorder = this.#recorder;
    this.#recorder = null;
    clearTimeout(this.#timer);
    if (recorder?.state === "recording") recorder.stop();
    this.#track?.stop();
    this.#track = null;
    this.recording = null;
    this.#enter("idle");
  }

  /** @param {MediaRecorder} recorder @param {Blob[]} parts */
  #stopped(recorder, parts) {
    if (recorder !== this.#recorder) return;
    const durationMs = Math.min(Date.now() - this.#startedAt, LONGEST_MS);
    this.#recorder = null;
    this.#track?.stop();
    this.#track = null;
    const mime = (recorder.mimeType || "audio/webm").split(";")[0] ?? "";
    const blob = new Blob(parts, {type: mime});
    if (!blob.size || durationMs < SHORTEST_MS) return this.#enter("idle");
    this.recording = {blob, mime, durationMs};
    this.#enter("done");
  }

  /** @param {RecorderState} state */
  #enter(state) {
    this.state = state;
    this.#options.onchange();
  }
}

async function microphone() {
  const stream = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: true, noiseSuppression: true, channelCount: 1}});
  return /** @type {MediaStreamTrack} */ (stream.getAudioTracks()[0]);
}
