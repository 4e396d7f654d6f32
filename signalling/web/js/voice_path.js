// SPDX-License-Identifier: Apache-2.0
// Copies of the voice that outlive bursts of losses, where a browser's own follow one frame later: fetched in calls that need
// them, and run as a worker between the encoder and its packets (W3C webrtc-encoded-transform). No DOM.

import {RedCopies} from "./red_copies.js";

/** The voice of one connection, for the page. */
export class VoicePath {
  /** @type {Worker | null} */
  #worker = null;
  #copyMs = 0;

  /** @param {RTCRtpSender} sender @param {string} address of this script */
  constructor(sender, address) {
    const Transform = globalThis.RTCRtpScriptTransform;
    const red = sender.getParameters().codecs.some(({mimeType}) => mimeType === "audio/red");
    if (!red || !Transform || !globalThis.Worker) return;
    // The address is the page's own, which is what the policy asks for.
    // @ts-expect-error not in TypeScript's library: W3C trusted-types
    const policy = globalThis.trustedTypes?.createPolicy("voice", {createScriptURL: (/** @type {string} */ url) => url});
    const worker = (this.#worker = new Worker(policy?.createScriptURL(address) ?? address, {type: "module"}));
    // Not before it runs: a voice that waits for a script which doesn't come is silence.
    worker.onmessage = () => {
      worker.postMessage(this.#copyMs);
      if (this.#worker) sender.transform = new Transform(worker, {});
    };
    worker.onerror = () => this.close();
  }

  /** @param {number} copyMs how far behind its frame each copy follows; 0: as the browser does it */
  spread(copyMs) {
    if (copyMs === this.#copyMs) return;
    this.#copyMs = copyMs;
    this.#worker?.postMessage(copyMs);
  }

  close() {
    this.#worker?.terminate();
    this.#worker = null;
  }
}

/** What the worker does, in its own scope. @param {any} scope */
export function work(scope) {
  const copies = new RedCopies();
  scope.onmessage = (/** @type {MessageEvent} */ {data}) => {
    copies.copyMs = data;
  };
  scope.onrtctransform = (/** @type {any} */ {transformer}) => {
    const rewrite = new TransformStream({
      /** @param {any} frame @param {TransformStreamDefaultController} controller */
      transform(frame, controller) {
        try {
          const {payloadType, rtpTimestamp} = frame.getMetadata();
          frame.data = copies.write(frame.data, payloadType, rtpTimestamp ?? frame.timestamp);
        } catch {
          // Whatever a browser does differently: the voice goes as it is.
        }
        controller.enqueue(frame);
      },
    });
    transformer.readable.pipeThrough(rewrite).pipeTo(transformer.writable);
  };
  scope.postMessage("ready");
}

if ("DedicatedWorkerGlobalScope" in globalThis) work(globalThis);
