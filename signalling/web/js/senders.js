// SPDX-License-Identifier: Apache-2.0
// What is sent, and in which order of importance. No DOM.

/** @typedef {import("./endpoint.js").Kind} Kind */
/** @typedef {import("./wire.js").Limits} Limits */

/** Mandatory to implement (RFC 7742 §5, RFC 7874 §3), and what repairs their losses. */
const CODECS = ["audio/opus", "audio/red", "video/VP8", "video/rtx"];
/** Enough for 640x480 at 20 frames a second; what is above would only fill a thin link's queue. */
const VIDEO_MAX_BPS = 600_000;
/** At first: Chromium's own 300 kbit/s filled the queue of a 128 kbit/s up-link, and its picture came after 20 s. */
const VIDEO_START_BPS = 100_000;
/** Meanwhile half as wide and high: at 640x480 so little is one frame a second (measured), at 320x240 it moves. */
const VIDEO_START_SCALE = 2;
/** For so long; by then the browser's estimate has seen the link. */
export const START_MS = 5_000;

/** A machine of so few cores is an old phone: VP9 is said to cost those half as much again, and the voice comes first. */
const FEW_CORES = 4;

/**
 * The payload types that a browser took, what it would rather send first: VP9 shows more for the same rate (docs/adr/0016).
 * @param {number[]} types
 * @param {Record<string, number>} known
 */
export function preferring(types, known) {
  const first = (globalThis.navigator?.hardwareConcurrency ?? 0) > FEW_CORES ? known["VP9"] : known["VP8"];
  return [...types].sort((a, b) => Number(b === first) - Number(a === first));
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
 * @param {{starting?: boolean, limits?: Limits | null, camera?: MediaStreamTrack | null}} [how] `starting`: the picture starts
 *   low; `limits` of the relay take the place of our own; `camera`: the track of the picture, which the sender may not have yet
 * @returns {Promise<unknown>} once it holds
 */
export function voiceFirst(transceivers, {starting = false, limits = null, camera = null} = {}) {
  /** @type {Promise<unknown>[]} */
  const set = [];
  for (const {sender, receiver} of transceivers) {
    const parameters = sender.getParameters();
    const encoding = parameters.encodings?.[0];
    if (!encoding) continue;
    const audio = receiver.track.kind === "audio";
    encoding.priority = encoding.networkPriority = audio ? "high" : "low";
    if (!audio && limits) {
      holdPicture(encoding, limits, camera ?? sender.track);
      sendIn(encoding, parameters.codecs ?? [], limits.codec ?? "VP8");
      // Rung and rate say already how large and how often: the rest as browsers do by themselves.
      parameters.degradationPreference = limits.detail ? "maintain-resolution" : "balanced";
    }
    else if (!audio) {
      encoding.maxBitrate = starting ? VIDEO_START_BPS : VIDEO_MAX_BPS;
      encoding.scaleResolutionDownBy = starting ? VIDEO_START_SCALE : 1;
    }
    set.push(sender.setParameters(parameters).catch(() => {}));
  }
  return Promise.all(set);
}

/**
 * What the browser says that it sends the picture in, of what was negotiated; "" where only the description can say it (Firefox).
 * @param {RTCRtpTransceiver[]} transceivers
 */
export function pictureCodec(transceivers) {
  const sender = transceivers.find(({receiver}) => receiver.track.kind === "video")?.sender;
  return chosen(sender?.getParameters().encodings?.[0]);
}

/** @param {(RTCRtpEncodingParameters & {codec?: {mimeType: string}}) | undefined} encoding */
const chosen = (encoding) => encoding?.codec?.mimeType.slice("video/".length) ?? "";

/**
 * Chooses without a new description, which could interrupt what comes (RTCRtpEncodingParameters.codec, W3C webrtc-extensions).
 * @param {RTCRtpEncodingParameters & {codec?: {mimeType: string}}} encoding
 * @param {RTCRtpCodecParameters[]} negotiated
 * @param {string} name
 */
function sendIn(encoding, negotiated, name) {
  const codec = negotiated.find(({mimeType}) => mimeType === `video/${name}`);
  if (codec && chosen(encoding) !== name) encoding.codec = codec;
}

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
  encoding.scaleResolutionDownBy = limits.videoMaxHeight && lines ? Math.max(1, lines / limits.videoMaxHeight) : 1;
}
