// SPDX-License-Identifier: Apache-2.0
// What this page counts of its connection to another browser, packed for the node that decides what may be sent. No DOM.

/** A report each second; where each byte is the voice's, each two: 0.7 kbit/s in packets. */
const REPORT_MS = 1_000;
const REPORT_THIN_MS = 2_000;
const THIN_RUNGS = ["text", "voice-min", "voice", "glimpse", "small"];
/** What the statistics of two looks leave apart. */
const LOOKS_APART_MS = 120;
/** As `signalling.wire.direct` lays it out. */
const NO_RTT = 65_535;
const NO_DELAY = -32_768;
/** IPv4 and UDP around each packet, which no statistic counts. */
const PACKET_BYTES = 28;

/**
 * What a connection has counted since it began, and what was measured last; the texts tell one measurement from the next.
 * @typedef {{
 *   atMs: number, cameBytes: number, sentBytes: number, packets: number, missing: number,
 *   trips: Map<string, number>, delays: Map<string, number>,
 *   availableBps: number,
 * }} Counters
 */

/** One connection's reports. */
export class WayReport {
  /** @type {Counters | null} */
  #before = null;
  #fresh = true;
  /** Measurements that were told, or were there at first. @type {Set<string>} */
  #known = new Set();
  /** The shortest of those that are to be told. @type {number | null} */
  #rttMs = null;
  /** @type {number | null} */
  #delayMs = null;
  /** The delay that others are told against: the two clocks differ by anything. @type {number | null} */
  #originMs = null;
  #braked = false;

  /**
   * @param {RTCStatsReport | undefined} report the newest
   * @param {{rung?: string | undefined, braked: boolean}} how the rung of what is sent, and whether the brake holds the picture
   * @param {(data: string) => boolean} send returns whether it went out; else the next one says it too
   */
  look(report, {rung, braked}, send) {
    const now = report && countersOf(report);
    if (!now?.atMs) return;
    const before = this.#before;
    if (before && (now.cameBytes < before.cameBytes || now.sentBytes < before.sentBytes || now.packets < before.packets)) {
      this.#before = null; // another connection
      this.#fresh = true;
      this.#originMs = this.#delayMs = this.#rttMs = null;
    }
    if (!this.#before || !before) {
      this.#before = now;
      this.#known = new Set([...now.trips.keys(), ...now.delays.keys()]);
      return;
    }
    this.#measure(now);
    const spanMs = now.atMs - before.atMs;
    const eachMs = rung === undefined || !THIN_RUNGS.includes(rung) ? REPORT_MS : REPORT_THIN_MS;
    const urgent = braked && !this.#braked;
    if (spanMs < eachMs - LOOKS_APART_MS && !(urgent && spanMs > 0)) return;
    if (!send(this.#pack(before, now, spanMs, braked))) return;
    this.#before = now;
    this.#braked = braked;
    this.#fresh = false;
    this.#rttMs = this.#delayMs = null;
  }

  /** Takes what is new: the shortest of all says most of the way, the others of jitter. @param {Counters} now */
  #measure({trips, delays}) {
    for (const [name, rttMs] of trips) {
      if (!this.#known.has(name)) this.#rttMs = Math.min(this.#rttMs ?? Infinity, rttMs);
    }
    for (const [name, delayMs] of delays) {
      if (this.#known.has(name)) continue;
      this.#originMs ??= delayMs;
      this.#delayMs = Math.min(this.#delayMs ?? Infinity, delayMs - this.#originMs);
    }
    this.#known = new Set([...trips.keys(), ...delays.keys()]);
  }

  /** @param {Counters} before @param {Counters} now @param {number} spanMs @param {boolean} braked */
  #pack(before, now, spanMs, braked) {
    const view = new DataView(new ArrayBuffer(21));
    view.setUint16(0, bounded(spanMs / 10, 65_535));
    view.setUint32(2, bounded(now.cameBytes - before.cameBytes, 2 ** 32 - 1));
    view.setUint16(6, bounded(now.packets - before.packets, 65_535));
    view.setUint16(8, bounded(now.missing - before.missing, 65_535));
    view.setUint32(10, bounded(now.sentBytes - before.sentBytes, 2 ** 32 - 1));
    view.setUint16(14, this.#rttMs === null ? NO_RTT : bounded(this.#rttMs, NO_RTT - 1));
    view.setInt16(16, this.#delayMs === null ? NO_DELAY : Math.round(Math.max(NO_DELAY + 1, Math.min(-1 - NO_DELAY, this.#delayMs))));
    view.setUint16(18, bounded(now.availableBps / 1_000, 65_535));
    view.setUint8(20, Number(this.#fresh) + 2 * Number(braked));
    return btoa(String.fromCharCode(...new Uint8Array(view.buffer))).replace(/=+$/, "");
  }
}

/** @param {number} value @param {number} most */
const bounded = (value, most) => Math.round(Math.max(0, Math.min(most, value)));

/** @param {RTCStatsReport} report @returns {Counters} */
function countersOf(report) {
  /** @type {Counters} */
  const found = {
    atMs: 0, cameBytes: 0, sentBytes: 0, packets: 0, missing: 0, trips: new Map(), delays: new Map(), availableBps: 0,
  };
  const pairs = {cameBytes: 0, sentBytes: 0};
  for (const stat of report.values()) {
    if (stat.type === "inbound-rtp") {
      const repeats = stat.retransmittedPacketsReceived ?? 0; // of packets that are missing in their first place
      found.packets += (stat.packetsReceived ?? 0) - repeats;
      found.missing += stat.packetsLost ?? 0;
    } else if (stat.type === "transport") {
      found.atMs = stat.timestamp;
      addTraffic(found, stat);
    } else if (stat.type === "candidate-pair") {
      found.atMs ||= stat.timestamp;
      addTraffic(pairs, stat); // Firefox has no transport statistics
      addTrip(found, stat, stat.currentRoundTripTime, stat.responsesReceived);
      found.availableBps = Math.max(found.availableBps, stat.availableOutgoingBitrate ?? 0);
    } else if (stat.type === "remote-inbound-rtp") {
      addTrip(found, stat, stat.roundTripTime, stat.roundTripTimeMeasurements ?? stat.timestamp);
    } else if (stat.type === "remote-outbound-rtp" && stat.remoteTimestamp) {
      found.delays.set(`${stat.id} ${stat.remoteTimestamp}`, stat.timestamp - stat.remoteTimestamp);
    }
  }
  if (!found.cameBytes && !found.sentBytes) Object.assign(found, pairs);
  return found;
}

/** @param {Counters} found @param {any} stat @param {number | undefined} rttS @param {unknown} number of the measurement */
function addTrip(found, stat, rttS, number) {
  if (rttS) found.trips.set(`${stat.id} ${number}`, rttS * 1_000);
}

/** @param {{cameBytes: number, sentBytes: number}} sum @param {any} stat a transport or a candidate pair */
function addTraffic(sum, stat) {
  sum.cameBytes += (stat.bytesReceived ?? 0) + PACKET_BYTES * (stat.packetsReceived ?? 0);
  sum.sentBytes += (stat.bytesSent ?? 0) + PACKET_BYTES * (stat.packetsSent ?? 0);
}
