// SPDX-License-Identifier: Apache-2.0
// The page's own brake: stops its picture when the way to the relay gives it reason, whether or not anybody can be told. No DOM.

/** @typedef {import("./wire.js").Brake} Thresholds */

/** Limits may be under way when the brake is pulled: those that allow a picture count only so long after the report, and a round trip. */
const UNDER_WAY_MS = 1_000;

/**
 * Watches what comes back about the picture that is sent: reports that stay away, and round trips far above the shortest. It
 * stops, and never raises: that is the relay's to decide, by new limits.
 *
 * An outage is another thing: nothing comes at all. The picture is stopped too, or a modem would keep it and send it before the
 * voice afterwards; but it says nothing of what the link carries, and nobody could be told. So it is let go by the first sign
 * of life, at what was allowed before.
 */
export class Brake {
  /** Whether the picture was stopped here and the relay has not answered yet. */
  pulled = false;
  /** Whether that was for an outage. */
  #dark = false;
  #options;
  /** @type {Thresholds | null} */
  #thresholds = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #poll;
  /** What the newest report said; another one is a new report. */
  #report = "";
  #reportedAt = 0;
  #high = 0;
  #rttMs = 0;
  /** When the relay was told; 0 = not yet. */
  #toldAt = 0;

  /**
   * @param {{
   *   sender: () => RTCRtpSender | undefined,
   *   silent: () => boolean,
   *   onpull: (tell: boolean) => void,
   * }} options `sender`: of the picture; `silent`: nothing arrives at all; `onpull`: `pulled` has changed, and whether the relay
   *   must be told
   */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Limits came. @param {import("./wire.js").Limits} limits
   */
  limit({videoMaxBps, brake}) {
    if (this.pulled && (!videoMaxBps || this.#answered())) this.pulled = this.#dark = false;
    this.#thresholds = (videoMaxBps && brake) || null;
  }

  /** The call begins or ends. @param {boolean} yes */
  watch(yes) {
    clearTimeout(this.#poll);
    this.#poll = undefined;
    this.pulled = this.#dark = false;
    this.#begin();
    if (yes) this.#later();
  }

  /** Whether the relay is to be told, and told again, that it was pulled. */
  get tells() {
    return this.pulled && !this.#dark;
  }

  /** Something arrived. */
  heard() {
    if (!this.#dark) return;
    this.pulled = this.#dark = false;
    this.#begin();
    this.#options.onpull(false);
  }

  /** The relay has been told that the picture was stopped. */
  told() {
    this.#toldAt = performance.now();
  }

  #answered() {
    return this.#toldAt > 0 && performance.now() - this.#toldAt > UNDER_WAY_MS + this.#rttMs;
  }

  #begin() {
    this.#report = "";
    this.#reportedAt = this.#high = this.#toldAt = 0;
  }

  #later() {
    this.#poll = setTimeout(() => this.#look(), this.#thresholds?.pollMs ?? 500);
  }

  async #look() {
    const poll = this.#poll;
    const sender = this.#options.sender();
    let said = null;
    try {
      if (this.#thresholds && !this.pulled && sender?.track) said = reported(await sender.getStats());
    } catch {
      // the connection is gone, or being replaced
    }
    if (poll !== this.#poll) return; // watching has begun anew, or ended
    if (said) this.#judge(said);
    else if (!this.pulled) this.#begin();
    this.#later();
  }

  /** @param {{report: string, rttMs: number}} said */
  #judge({report, rttMs}) {
    const now = performance.now();
    const {noReportMs, roundTripMs, polls} = /** @type {Thresholds} */ (this.#thresholds);
    if (report !== this.#report) {
      this.#report = report;
      this.#reportedAt = now;
      this.#rttMs = rttMs;
      this.#high = rttMs > roundTripMs ? this.#high + 1 : 0; // the same report seen again says nothing new
    }
    if (now - this.#reportedAt <= noReportMs && this.#high < polls) return;
    this.pulled = true;
    this.#dark = this.#options.silent();
    this.#begin();
    this.#options.onpull(!this.#dark);
  }
}

/**
 * The newest report on the picture, null before the first.
 * @param {RTCStatsReport} stats
 */
function reported(stats) {
  for (const stat of stats.values()) {
    if (stat.type !== "remote-inbound-rtp" || stat.kind !== "video") continue;
    const rttMs = (stat.roundTripTime ?? 0) * 1_000;
    // Firefox counts no measurements; but each report has its time.
    return {report: `${stat.timestamp} ${stat.roundTripTimeMeasurements ?? ""} ${stat.packetsLost ?? ""}`, rttMs};
  }
  return null;
}
