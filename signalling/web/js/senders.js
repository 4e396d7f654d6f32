// SPDX-License-Identifier: Apache-2.0
// What is sent, and in which order of importance. No DOM.

import {SDP_TEMPLATE} from "./sdp_template.js";

/** @typedef {import("./endpoint.js").Kind} Kind */
/** @typedef {import("./wire.js").Limits} Limits */

/** Mandatory to implement (RFC 7742 §5, RFC 7874 §3), and what repairs their losses. */
const CODECS = ["audio/opus", "audio/red", "video/VP8", "video/rtx"];
/** Before limits come: Chromium's own 300 kbit/s filled the queue of a 128 kbit/s up-link, and its picture came after 20 s. */
const VIDEO_START_BPS = 100_000;
/** Meanwhile half as wide and high: at 640x480 so little is one frame a second (measured), at 320x240 it moves. */
const VIDEO_START_SCALE = 2;

/** A machine of so few cores is an old phone: VP9 is said to cost those half as much again, and the voice comes first. */
const FEW_CORES = 4;

/**
 * Puts first what this machine would rather send: VP9 shows more for the same rate (docs/adr/0016).
 * @param {number[]} types of the picture, that the browser took
 */
export function prefer(types) {
  const {VP8, VP9} = SDP_TEMPLATE.payload_types;
  const first = navigator.hardwareConcurrency > FEW_CORES ? VP9 : VP8;
  types.sort((a, b) => +(b === first) - +(a === first));
}

/**
 * Offers only what every browser has: 2.6 KB of description instead of 5.2 (Chromium), without the candidates.
 * @param {RTCRtpTransceiver} transceiver
 * @param {Kind} kind
 */
export function preferCodecs(transceiver, kind) {
  const all = globalThis.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs ?? [];
  const some = all.filter(({mimeType}) => CODECS.includes(mimeType));
  if (some.length) transceiver.setCodecPreferences?.(some);
}

/**
 * Voice before picture, in the browser's own allocation and in its pacer; and no more picture than is allowed.
 * @param {RTCRtpTransceiver[]} transceivers
 * @param {{limits?: Limits | null, camera?: MediaStreamTrack | null}} [how] `limits`: before there are any the picture is low;
 *   `camera`: the track of the picture, which the sender may not have yet
 * @returns {Promise<unknown>} once it holds
 */
export function voiceFirst(transceivers, {limits = null, camera = null} = {}) {
  return Promise.all(transceivers.map(({sender, receiver}) => {
    const audio = receiver.track.kind === "audio";
    /** @param {boolean} [plain] without what a browser may refuse, and everything else with it */
    const apply = async (plain) => {
      const parameters = sender.getParameters();
      const encoding = parameters.encodings?.[0];
      if (!encoding) return;
      encoding.priority = encoding.networkPriority = audio ? "high" : "low";
      if (!audio && limits) {
        holdPicture(encoding, limits, camera ?? sender.track);
        // Without a new description, which could interrupt what comes (W3C webrtc-extensions).
        const codec = parameters.codecs?.find(({mimeType}) => mimeType === `video/${limits.codec ?? "VP8"}`);
        // @ts-expect-error not in TypeScript's library: Chromium has it
        if (codec) encoding.codec = codec;
        // Rung and rate say how large and how often; left to itself Chromium halves one of both (7 of 13 frames a second, measured).
        // @ts-expect-error the same
        parameters.degradationPreference = limits.detail ? "maintain-resolution" : plain || !limits.videoMaxFps ? "balanced" : "maintain-framerate-and-resolution";
        // Of a lost frame in the upper layer nothing else depends: the next one shows at once, without a repair (docs/adr/0019).
        // @ts-expect-error the same
        if (!plain) encoding.scalabilityMode = limits.codec === "VP9" ? "L1T1" : "L1T2";
      }
      else if (!audio) {
        encoding.maxBitrate = VIDEO_START_BPS;
        encoding.scaleResolutionDownBy = VIDEO_START_SCALE;
      }
      await sender.setParameters(parameters);
    };
    return apply().catch(() => apply(true)).catch(() => {});
  }));
}

/**
 * Whether the picture's codec was chosen so; otherwise the description must say it (Firefox).
 * @param {RTCRtpTransceiver[]} transceivers
 */
export const choosesCodec = (transceivers) => transceivers.some(
  // @ts-expect-error the same
  ({sender}) => sender.getParameters().encodings?.[0]?.codec,
);

/** A picture that lends most of its rate is as small as on the rung `glimpse` (media/core/rungs.py): larger ones would stand still. */
const GLIMPSE_BPS = 30_000;

/**
 * What is left of the limits of a picture that lends a share of its rate.
 * @param {Limits} limits
 * @param {number} share 0…1
 * @returns {Limits}
 */
export function lending(limits, share) {
  const videoMaxBps = Math.round(limits.videoMaxBps * (1 - share));
  if (!share || videoMaxBps >= GLIMPSE_BPS) return {...limits, videoMaxBps};
  const [height, fps] = limits.detail ? [180, 4] : [120, 8];
  return {
    ...limits, videoMaxBps,
    videoMaxHeight: Math.min(limits.videoMaxHeight ?? height, height), videoMaxFps: Math.min(limits.videoMaxFps ?? fps, fps),
  };
}

/** @param {RTCRtpEncodingParameters} encoding @param {Limits} limits @param {MediaStreamTrack | null} track */
function holdPicture(encoding, limits, track) {
  encoding.active = limits.videoMaxBps > 0;
  if (encoding.active) encoding.maxBitrate = limits.videoMaxBps;
  if (limits.videoMaxFps) encoding.maxFramerate = limits.videoMaxFps;
  else delete encoding.maxFramerate;
  // Of a phone held upright the shorter side is the width: as many pixels either way.
  const {width = 0, height = 0} = track?.getSettings?.() ?? {};
  const lines = Math.min(width, height);
  encoding.scaleResolutionDownBy = Math.max(1, lines / (limits.videoMaxHeight ?? lines)) || 1;
}
