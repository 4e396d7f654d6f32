// SPDX-License-Identifier: Apache-2.0
// What getStats says, as far as we act on it. No DOM.

/**
 * Numbers of the last look at getStats (webrtc-stats names where they have one); `responses` of all candidate pairs.
 * @typedef {{
 *   audioPackets: number, videoPackets: number, framesDecoded: number,
 *   rttMs: number, responses: number,
 *   localCandidate: string, remoteCandidate: string, protocol: string,
 *   report?: RTCStatsReport,
 * }} Sample
 */

/**
 * How long the phases of a call's set-up took; without a picture or a sound if none came.
 * @typedef {{
 *   connectedMs: number, firstAudioMs?: number, firstFrameMs?: number,
 *   localCandidate: string, remoteCandidate: string, protocol: string,
 * }} SetupReport
 */

/** The report goes without the phases that did not come by then. */
const SETUP_REPORT_MS = 15_000;

/** Times the phases of a set-up, from when it is made. */
export class Phases {
  /** Whether the report was given. */
  told = false;
  /** @type {Partial<SetupReport>} */
  #report = {};
  #startedAt;

  /** @param {number} now */
  constructor(now) {
    this.#startedAt = now;
  }

  /** ICE and DTLS stand. @param {number} now */
  connected(now) {
    this.#report.connectedMs ??= Math.round(now - this.#startedAt);
  }

  /**
   * @param {Sample} sample @param {number} now
   * @returns {SetupReport | undefined} the report, once: when all phases are there, or no more is to be expected
   */
  look({audioPackets, framesDecoded, localCandidate, remoteCandidate, protocol}, now) {
    const report = this.#report;
    const spentMs = Math.round(now - this.#startedAt);
    if (audioPackets) report.firstAudioMs ??= spentMs;
    if (framesDecoded) report.firstFrameMs ??= spentMs;
    if (this.told || report.connectedMs === undefined) return undefined;
    const complete = report.firstAudioMs !== undefined && report.firstFrameMs !== undefined;
    if (!complete && spentMs < report.connectedMs + SETUP_REPORT_MS) return undefined;
    this.told = true;
    return {.../** @type {SetupReport} */ (report), localCandidate, remoteCandidate, protocol};
  }
}

/** @param {Sample} sample */
export function packets(sample) {
  return sample.audioPackets + sample.videoPackets;
}

/**
 * @param {RTCStatsReport} report
 * @returns {Sample}
 */
export function read(report) {
  const sample = {
    audioPackets: 0, videoPackets: 0, framesDecoded: 0,
    rttMs: 0, responses: 0, localCandidate: "none", remoteCandidate: "none", protocol: "none",
    report,
  };
  let selected;
  for (const stat of report.values()) {
    if (stat.type === "inbound-rtp" && stat.kind === "audio") {
      sample.audioPackets += stat.packetsReceived ?? 0;
    } else if (stat.type === "inbound-rtp") {
      sample.videoPackets += stat.packetsReceived ?? 0;
      sample.framesDecoded += stat.framesDecoded ?? 0;
    } else if (stat.type === "transport") {
      selected = report.get(stat.selectedCandidatePairId);
    } else if (stat.type === "candidate-pair") {
      sample.responses += stat.responsesReceived ?? 0;
      if (stat.selected) selected ??= stat; // Firefox has no transport statistics
    }
  }
  if (selected) {
    const local = report.get(selected.localCandidateId);
    sample.rttMs = (selected.currentRoundTripTime ?? 0) * 1000;
    sample.localCandidate = local?.candidateType ?? "none";
    sample.remoteCandidate = report.get(selected.remoteCandidateId)?.candidateType ?? "none";
    sample.protocol = local?.relayProtocol || local?.protocol || "none";
  }
  return sample;
}
