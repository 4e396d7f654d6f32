// SPDX-License-Identifier: Apache-2.0
// Descriptions as fields: the relay's offer is built here from what it sent, the browser's answer is reduced to what the
// relay needs. The rules of the template are those of media/relay/description.py. No DOM.
import { SDP_TEMPLATE } from "./sdp_template.js";

/** @typedef {import("./wire.js").LegOffer} LegOffer */
/** @typedef {import("./wire.js").LegAnswer} LegAnswer */
/** @typedef {import("./wire.js").MediaAnswer} MediaAnswer */
/** @typedef {Record<string, string | number | (string | number)[] | null | undefined>} SdpValues */

/**
 * Fills in a part of the template: `{name}` is the value, a list repeats its line, null leaves the line out.
 * @param {string[]} lines
 * @param {SdpValues} values
 * @returns {string[]}
 */
function fillSdp(lines, values) {
  return lines.flatMap((line) => {
    const names = [...line.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? "");
    if (names.some((name) => values[name] == null)) return [];
    const many = names.find((name) => Array.isArray(values[name]));
    if (many === undefined) return [line.replace(/\{(\w+)\}/g, (_, name) => String(values[name]))];
    const listed = /** @type {(string | number)[]} */ (values[many]);
    return listed.flatMap((each) => fillSdp([line], {...values, [many]: each}));
  });
}

/**
 * @param {boolean | undefined} yes
 * @returns {"" | null} what keeps or drops a line of the template
 */
const sdpFlag = (yes) => (yes ? "" : null);

/**
 * The relay's description as SDP. Applied as an offer at first; as an answer (`pair` another, to restart ICE without any
 * message) after `createOffer({iceRestart: true})`; changed voice fields change the codec's parameters locally.
 * @param {LegOffer} offer
 * @param {{pair?: number, version?: number, taken?: LegAnswer}} [how] `pair`: which of the credentials; `version`: of the
 *   session, higher with each description; `taken`: what the browser answered at first, because the answer to its restart
 *   may name nothing else
 * @returns {string}
 */
export function offerSdp(offer, {pair = 0, version = 1, taken} = {}) {
  const template = SDP_TEMPLATE;
  /** @type {Record<string, number>} */
  const types = template.payload_types;
  /** @type {Record<string, (string | number)[]>} */
  const known = template.extensions;
  const {audio, video} = offer;
  /** @param {"audio" | "video"} kind @param {string} name */
  const has = (kind, name) => !taken || taken[kind].payloadTypes.includes(types[name] ?? -1);
  const red = has("audio", "red") ? audio.red ?? "yes" : "no";
  const codecs = (video.codecs ?? ["VP8"]).filter((name) => has("video", name));
  const [ufrag = "", pwd = ""] = (offer.ice[pair % offer.ice.length] ?? "").split(":");
  const transport = fillSdp(template.transport, {
    ufrag, pwd,
    fingerprint: offer.fingerprint,
    candidates: offer.candidates.map(({transport, address, port}, index) => {
      const priority = (transport === "udp" ? 126 : 90) * 2 ** 24 + (65_535 - index) * 256 + 255;
      const tail = transport === "tcp" ? " tcptype passive" : "";
      return `${index + 1} 1 ${transport} ${priority} ${address} ${port} typ host${tail}`;
    }),
  });
  /** @param {"audio" | "video"} kind @param {string[]} without */
  const extensions = (kind, without) => offer.extensions
    .filter((name) => !without.includes(name) && (!taken || taken[kind].extensions.includes(Number(known[name]?.[0]))))
    .map((name) => known[name]?.join(" ") ?? "");
  const flags = {transport_cc: sdpFlag(offer.transportCc), remb: sdpFlag(offer.remb)};
  const voice = {
    ...flags,
    types: (red === "first" ? ["red", "opus"] : red === "yes" ? ["opus", "red"] : ["opus"]).map((name) => types[name]).join(" "),
    ptime_ms: audio.ptimeMs ?? 20,
    extensions: extensions("audio", template.not_for_audio),
    opus: fillSdp(template.opus, {
      fec: Number(audio.fec ?? true), dtx: Number(audio.dtx ?? false), max_average_bps: audio.maxAverageBps,
    }).join(";"),
    nack: sdpFlag(audio.nack),
    red: sdpFlag(red !== "no"),
    ssrc: audio.ssrc,
  };
  const picture = {
    ...flags,
    types: codecs.map((name) => `${types[name]} ${types[`${name}/rtx`]}`).join(" "),
    extensions: extensions("video", template.not_for_video),
    max_kbps: video.maxKbps,
    ssrc: video.ssrc,
    rtx_ssrc: video.rtxSsrc,
    fmtp: fillSdp(template.picture, {start_kbps: video.startKbps, max_kbps: video.maxKbps}).join(";") || null,
  };
  const lines = [
    ...fillSdp(template.session, {version}),
    ...fillSdp(template.audio, voice), ...transport,
    ...fillSdp(template.video, picture), ...transport,
    ...codecs.flatMap((name) => fillSdp(template.codec, {...picture, name, type: types[name], rtx: types[`${name}/rtx`]})),
    ...fillSdp(template.video_end, picture),
  ];
  return lines.map((line) => `${line}\r\n`).join("");
}

/**
 * What the relay needs of the browser's answer.
 * @param {string} sdp
 * @returns {LegAnswer}
 */
export function answerFields(sdp) {
  const [session = "", ...sections] = sdp.split(/^(?=m=)/m);
  /** @param {string} name @param {string} part */
  const own = (name, part) => [...part.matchAll(new RegExp(`^a=${name}:(.*?)\\r?$`, "gm"))].map((match) => match[1] ?? "");
  /** @param {string} name @param {string} part where it is missing the session's counts */
  const all = (name, part) => (own(name, part).length ? own(name, part) : own(name, session));
  /** @param {string} kind @returns {MediaAnswer} */
  const media = (kind) => {
    const part = sections.find((each) => each.startsWith(`m=${kind} `)) ?? "";
    const [, port = "0", , ...types] = (/^m=(.*?)\r?$/m.exec(part)?.[1] ?? "").split(" ");
    const ssrcs = all("ssrc", part).map((value) => Number.parseInt(value, 10));
    const group = all("ssrc-group", part).find((value) => value.startsWith("FID "));
    return {
      payloadTypes: port === "0" ? [] : types.map(Number),
      ssrcs: group ? group.slice(4).split(" ").map(Number) : [...new Set(ssrcs)],
      extensions: all("extmap", part).map((value) => Number.parseInt(value, 10)),
      direction: /** @type {MediaAnswer["direction"]} */ (/^a=(sendrecv|sendonly|recvonly|inactive)\r?$/m.exec(part)?.[1] ?? "sendrecv"),
    };
  };
  const first = sections.find((each) => all("ice-ufrag", each).length) ?? session;
  return {
    ice: `${all("ice-ufrag", first)[0]}:${all("ice-pwd", first)[0]}`,
    fingerprints: [...new Set(all("fingerprint", first))],
    setup: /** @type {"passive"} */ (all("setup", first)[0]), // the relay refuses another
    audio: media("audio"),
    video: media("video"),
  };
}
