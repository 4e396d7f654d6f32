// SPDX-License-Identifier: Apache-2.0
// Redundant voice (RED, RFC 2198) with a copy that follows further behind than a browser's own. Runs in a worker: no DOM.

/** Of the relay's offer. */
const RED_TYPE = 63;
const VOICE_TICKS_PER_MS = 48;
/** Offset of a copy: 14 bits of ticks; its length: 10 bits. */
const MAX_OFFSET = 16_383;
const MAX_LENGTH = 1_023;
/** A shorter frame of Opus is silence (RFC 6716 §3.1), which needs no copy. */
const MIN_FRAME_BYTES = 3;
/** Frames of 20 ms that the offset reaches. */
const MAX_FRAMES = 17;

/** Takes the packets of one voice as the browser made them, with a copy of the frame before, and writes them anew. */
export class RedCopies {
  /** How far behind its frame a copy is to follow; 0: packets stay as they are. */
  copyMs = 0;
  /** The newest first. @type {{timestamp: number, octets: Uint8Array}[]} */
  #frames = [];

  /**
   * The packet's payload, or another one with the same frame.
   * @param {ArrayBuffer} payload
   * @param {number} payloadType
   * @param {number} timestamp 32 bits
   * @returns {ArrayBuffer}
   */
  write(payload, payloadType, timestamp) {
    const octets = new Uint8Array(payload);
    const frame = payloadType === RED_TYPE ? primaryOf(octets) : {type: payloadType, octets};
    if (!frame) return payload;
    const copy = this.copyMs && payloadType === RED_TYPE ? this.#furthest(timestamp) : null;
    this.#frames = [{timestamp, octets: frame.octets}, ...this.#frames.slice(0, MAX_FRAMES - 1)];
    if (payloadType !== RED_TYPE || !this.copyMs) return payload;
    const length = copy ? copy.octets.length : 0;
    const out = new Uint8Array((copy ? 4 : 0) + 1 + length + frame.octets.length);
    let at = 0;
    if (copy) {
      const word = (0x80 | frame.type) * 2 ** 24 + copy.offset * 2 ** 10 + length;
      new DataView(out.buffer).setUint32(0, word);
      at = 4;
    }
    out[at] = frame.type;
    if (copy) out.set(copy.octets, at + 1);
    out.set(frame.octets, at + 1 + length);
    return out.buffer;
  }

  /** The frame that is as far back as wanted, or as near to that as there is one. @param {number} timestamp */
  #furthest(timestamp) {
    const wanted = Math.min(this.copyMs * VOICE_TICKS_PER_MS, MAX_OFFSET);
    let best = null;
    for (const frame of this.#frames) {
      const offset = (timestamp - frame.timestamp) >>> 0;
      // Half of the shortest frame of tolerance; frames are in order.
      if (offset > Math.min(wanted + 10 * VOICE_TICKS_PER_MS, MAX_OFFSET)) break;
      if (offset) best = {offset, octets: frame.octets};
    }
    const length = best?.octets.length ?? 0;
    return best && length >= MIN_FRAME_BYTES && length <= MAX_LENGTH ? best : null;
  }
}

/** The newest frame of a RED packet and its type; null if it is malformed. @param {Uint8Array} octets */
function primaryOf(octets) {
  let at = 0;
  let skipped = 0;
  while ((octets[at] ?? 0) & 0x80) {
    skipped += (((octets[at + 2] ?? 0) & 3) << 8) | (octets[at + 3] ?? 0);
    at += 4;
  }
  const from = at + 1 + skipped;
  return from <= octets.length ? {type: octets[at] ?? 0, octets: octets.slice(from)} : null;
}
