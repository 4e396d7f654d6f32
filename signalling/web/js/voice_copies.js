// SPDX-License-Identifier: Apache-2.0
// The page's side of the worker that writes copies of the voice (`voice_worker.js`). No DOM.

const PATH = "/static/voice_worker.js";
/** So long a leg waits for the worker at most: one that is made warm, before a call; and one that a call waits for. */
const READY_MS = 2_000;
const READY_NOW_MS = 150;

/**
 * Lets the copies of voices outlive bursts of losses; a browser's own follow one frame later.
 *
 * Chromium gives frames only to a transform that was set when the sender was made: one that came with the first burst was never
 * asked (156, measured). So the voice of each leg goes by way of the worker from the beginning, untouched until copies are asked for.
 */
export class VoiceCopies {
  /** @type {Worker | null} */
  #worker = null;
  #running = false;
  /** @type {Promise<unknown>} */
  #started = Promise.resolve();
  /** By which number the worker knows them. @type {WeakMap<RTCRtpSender, number>} */
  #voices = new WeakMap();
  #taken = 0;

  constructor() {
    try {
      this.#start();
    } catch {
      // Whatever forbids a worker: browsers' own copies stay.
    }
  }

  #start() {
    const red = globalThis.RTCRtpSender?.getCapabilities?.("audio")?.codecs.some(({mimeType}) => mimeType === "audio/red");
    if (!red || !globalThis.RTCRtpScriptTransform || !globalThis.Worker) return;
    // The address is the page's own, which is what the policy asks for.
    // @ts-expect-error not in TypeScript's library: W3C trusted-types
    const policy = globalThis.trustedTypes?.createPolicy("voice", {createScriptURL: (/** @type {string} */ url) => url});
    const worker = (this.#worker = new Worker(policy?.createScriptURL(PATH) ?? PATH, {type: "module"}));
    this.#started = new Promise((done) => {
      worker.onmessage = () => done((this.#running = true));
      worker.onerror = done; // there is no script; an error in one that runs doesn't end it
    });
  }

  /** Waits for the worker, a moment at most. @param {boolean} talking there is a call already */
  ready(talking) {
    return Promise.race([this.#started, new Promise((done) => setTimeout(done, talking ? READY_NOW_MS : READY_MS))]);
  }

  /**
   * Takes a voice, in the task that made its sender; if the worker runs: a voice that waits for a script is silence. Never taken
   * back: without its transform Chromium sends nothing (measured).
   * @param {RTCRtpSender | undefined} sender
   */
  take(sender) {
    if (!sender || !this.#running) return;
    const voice = ++this.#taken;
    try {
      sender.transform = new RTCRtpScriptTransform(/** @type {Worker} */ (this.#worker), {voice});
      this.#voices.set(sender, voice);
    } catch {
      // the browser's own copies stay
    }
  }

  /** @param {RTCRtpSender} sender @param {number} copyMs how far behind its frame each copy follows; 0: as the browser does it */
  spread(sender, copyMs) {
    const voice = this.#voices.get(sender);
    if (voice) this.#worker?.postMessage({voice, copyMs});
  }
}
