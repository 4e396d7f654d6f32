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

/** Where a picture may have no more, it is a glimpse, and the link a thin one. */
const THIN_START_BPS = 20_000;
const RAISED = 1.5;

/**
 * The same for a leg: only a thin link's is held. In a call it is raised as soon as clearly more is allowed, and never lowered:
 * where 2 to 10 % are lost Chromium's own estimate stays where it began (loss-based control, draft-ietf-rmcat-gcc §6).
 * @param {Limits} limits @param {number | null} before null: as the browser likes @param {boolean} talking
 */
export function startsWith(limits, before, talking) {
  const allowed = startKbps(limits);
  if (talking) return before && allowed >= RAISED * before ? allowed : before;
  return limits.videoMaxBps <= THIN_START_BPS ? allowed : before && MOST_START_KBPS;
}
