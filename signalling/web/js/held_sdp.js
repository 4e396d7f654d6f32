// SPDX-License-Identifier: Apache-2.0
// Another browser's description, held to limits: what a browser sends follows what it believes the other one asked for. No DOM.

/** @typedef {import("./wire.js").Limits} Limits */

/**
 * The same description with the voice as it is to be sent (RFC 7587 §6.1, RFC 8866 §6.4): rate, frame length, copies (RFC 2198).
 * @param {string} sdp
 * @param {Limits | null} limits null: nothing is held
 * @param {number | null} [start] of the picture, in kbit/s
 */
export function heldSdp(sdp, limits, start = null) {
  if (!limits) return sdp;
  return sdp.split(/^(?=m=)/m).map((part) => {
    if (part.startsWith("m=audio ")) return heldVoice(part, limits);
    return part.startsWith("m=video ") && start ? begun(part, start) : part;
  }).join("");
}

/** @param {string} part @param {Limits} limits */
function heldVoice(part, {audioMaxBps, ptimeMs = 20, fec = true, dtx = false, red = "yes"}) {
  const opus = payloadType(part, "opus");
  const copies = payloadType(part, "red");
  if (!opus) return part;
  const first = red === "first" && copies ? [copies, opus] : [opus];
  /** @type {Record<string, string | number | null>} */
  const parameters = {useinbandfec: Number(fec), usedtx: Number(dtx), maxaveragebitrate: audioMaxBps ?? null};
  const preferred = part.replace(/^(m=audio \S+ \S+) (.*)$/m, (_, start, types) => {
    const rest = types.split(" ").filter((/** @type {string} */ type) => !first.includes(type));
    return [start, ...first, ...rest].join(" ");
  });
  const framed = preferred.replace(/^a=(?:max)?ptime:.*\r?\n/gm, "");
  return withParameters(`${framed}a=ptime:${ptimeMs}\r\n`, opus, parameters);
}

/** @param {string} part @param {number} start */
function begun(part, start) {
  const type = payloadType(part, "VP8");
  return type ? withParameters(part, type, {"x-google-start-bitrate": start}) : part;
}

/** @param {string} part @param {string} codec */
const payloadType = (part, codec) => new RegExp(`^a=rtpmap:(\\d+) ${codec}/`, "mi").exec(part)?.[1];

/** @param {string} part @param {string} type @param {Record<string, string | number | null>} changes null takes a parameter out */
function withParameters(part, type, changes) {
  const line = new RegExp(`^a=fmtp:${type} (.*)$`, "m");
  const before = (line.exec(part)?.[1] ?? "").split(";").filter(Boolean);
  const kept = before.filter((each) => !((each.split("=")[0] ?? "").trim() in changes));
  const added = Object.entries(changes).filter(([, value]) => value !== null).map(([name, value]) => `${name}=${value}`);
  const text = `a=fmtp:${type} ${[...kept, ...added].join(";")}`;
  return line.test(part) ? part.replace(line, text) : `${part}${text}\r\n`;
}
