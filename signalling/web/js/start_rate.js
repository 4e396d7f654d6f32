// SPDX-License-Identifier: Apache-2.0
// With what rate a browser's own control begins. No DOM.

/** @typedef {import("./wire.js").Limits} Limits */

const LEAST_START_KBPS = 30;
/** What Chromium begins with by itself. */
const MOST_START_KBPS = 300;

/**
 * With what rate the browser's own control begins. With its first picture Chromium probes at three and six times as much:
 * from 300 kbit/s on that is 5 KB, and fills the queue of a thin link (48 kbit/s: the picture was away for 12 s, measured).
 * @param {Limits} limits
 */
export function startKbps({videoMaxBps, audioMaxBps}) {
  const allowed = Math.round((videoMaxBps + (audioMaxBps ?? 32_000)) / 1_000);
  return Math.min(MOST_START_KBPS, Math.max(LEAST_START_KBPS, allowed));
}
