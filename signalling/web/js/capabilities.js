// SPDX-License-Identifier: Apache-2.0
// What this browser can do at all. No DOM.

/** Whether this browser can give camera and microphone to a page at all (in-app browsers often can't). */
export function canCapture() {
  return Boolean(globalThis.navigator?.mediaDevices?.getUserMedia);
}

/** Whether this browser can make a call at all. */
export function canCall() {
  return typeof RTCPeerConnection === "function" && typeof WebSocket === "function";
}
