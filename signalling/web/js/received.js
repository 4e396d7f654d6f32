// SPDX-License-Identifier: Apache-2.0
// What getStats says of what was received, and of what a connection has cost. No DOM.

/**
 * Counters since the connection began (webrtc-stats names where they have one).
 * @typedef {{
 *   atMs: number, rttMs: number, heardSamples: number, concealedSamples: number, bursts: number, bufferS: number,
 *   emitted: number, framesDecoded: number, lines: number, packets: number, bytes: number,
 * }} Received `concealedSamples` without silent ones; `bytes` of the connection both ways, with an allowance for headers
 */

/** IPv4 and UDP around each packet, which no statistic counts. */
const HEADER_BYTES = 28;

/**
 * @param {import("./stats.js").Sample | null | undefined} sample
 * @returns {Received | null} null before anything was received
 */
export function received(sample) {
  const report = sample?.report;
  if (!report) return null;
  const found = {
    atMs: 0, rttMs: sample.rttMs, heardSamples: 0, concealedSamples: 0, bursts: 0, bufferS: 0, emitted: 0,
    framesDecoded: 0, lines: 0, packets: 0, bytes: 0,
  };
  let pairBytes = 0;
  for (const stat of report.values()) {
    if (stat.type === "inbound-rtp") {
      found.atMs = stat.timestamp;
      found.packets += stat.packetsReceived ?? 0;
      if (stat.kind === "audio") addVoice(found, stat);
      else {
        found.framesDecoded += stat.framesDecoded ?? 0;
        found.lines = stat.frameHeight ?? 0;
      }
    } else if (stat.type === "transport") {
      found.bytes += traffic(stat);
    } else if (stat.type === "candidate-pair") {
      pairBytes += traffic(stat);
    }
  }
  found.bytes ||= pairBytes; // Firefox has no transport statistics
  return found;
}

/** @param {Received} found @param {any} stat */
function addVoice(found, stat) {
  found.heardSamples += stat.totalSamplesReceived ?? 0;
  found.concealedSamples += (stat.concealedSamples ?? 0) - (stat.silentConcealedSamples ?? 0);
  found.bursts += stat.concealmentEvents ?? 0;
  found.bufferS += stat.jitterBufferDelay ?? 0;
  found.emitted += stat.jitterBufferEmittedCount ?? 0;
}

/** @param {any} stat a transport or a candidate pair */
function traffic(stat) {
  const packets = (stat.packetsSent ?? 0) + (stat.packetsReceived ?? 0);
  return (stat.bytesSent ?? 0) + (stat.bytesReceived ?? 0) + HEADER_BYTES * packets;
}
