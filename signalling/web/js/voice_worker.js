// SPDX-License-Identifier: Apache-2.0
// A worker between the encoder of voices and their packets (W3C webrtc-encoded-transform): writes copies that outlive bursts of
// losses, where a browser's own follow one frame later. No DOM.

import {RedCopies} from "./red_copies.js";

/** What the worker does, in its own scope. @param {any} scope */
export function work(scope) {
  /** @type {Map<number, RedCopies>} */
  const voices = new Map();
  const copiesOf = (/** @type {number} */ voice) => {
    const copies = voices.get(voice) ?? new RedCopies();
    voices.set(voice, copies);
    return copies;
  };
  scope.onmessage = (/** @type {MessageEvent} */ {data}) => {
    copiesOf(data.voice).copyMs = data.copyMs;
  };
  scope.onrtctransform = (/** @type {any} */ {transformer}) => {
    const {voice} = transformer.options;
    const copies = copiesOf(voice);
    const rewrite = new TransformStream({
      /** @param {any} frame @param {TransformStreamDefaultController} controller */
      transform(frame, controller) {
        try {
          const {payloadType, rtpTimestamp} = frame.getMetadata();
          const data = copies.write(frame.data, payloadType, rtpTimestamp ?? frame.timestamp);
          if (data !== frame.data) frame.data = data;
        } catch {
          // Whatever a browser does differently: the voice goes as it is.
        }
        controller.enqueue(frame);
      },
    });
    const over = () => void voices.delete(voice); // its connection is closed
    transformer.readable.pipeThrough(rewrite).pipeTo(transformer.writable).then(over, over);
  };
  scope.postMessage("ready");
}

if ("DedicatedWorkerGlobalScope" in globalThis) work(globalThis);
