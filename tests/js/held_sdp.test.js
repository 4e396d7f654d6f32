// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {test} from "node:test";

import {heldSdp} from "../../signalling/web/js/held_sdp.js";
import {startKbps} from "../../signalling/web/js/start_rate.js";

const SDP = [
  "v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111 63", "a=mid:0", "a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1",
  "a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111", "a=maxptime:60",
  "m=video 9 UDP/TLS/RTP/SAVPF 96 97", "a=mid:1", "a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96", "",
].join("\r\n");
/** @type {any} */
const LIMITS = {videoMaxBps: 20_000, audioMaxBps: 12_000, ptimeMs: 60, fec: false, red: "first", rung: "glimpse"};

/** @param {string} sdp @param {string} start */
const lines = (sdp, start) => sdp.split("\r\n").filter((line) => line.startsWith(start));

test("the voice is sent as the limits say: rate, frames, copies first", () => {
  const held = heldSdp(SDP, LIMITS);
  assert.deepEqual(lines(held, "m=audio"), ["m=audio 9 UDP/TLS/RTP/SAVPF 63 111"]);
  assert.deepEqual(lines(held, "a=fmtp:111"), ["a=fmtp:111 minptime=10;useinbandfec=0;usedtx=0;maxaveragebitrate=12000"]);
  assert.deepEqual(lines(held, "a=ptime"), ["a=ptime:60"]);
  assert.equal(lines(held, "a=maxptime").length, 0);
  assert.equal(held.indexOf("a=ptime") < held.indexOf("m=video"), true);
  assert.equal(held.split("m=video")[1], SDP.split("m=video")[1], "of the picture nothing");
});

test("without copies Opus comes first, and what is not limited is left to the browser", () => {
  const held = heldSdp(SDP.replace("111 63", "63 111"), {...LIMITS, red: "yes", audioMaxBps: null, fec: true, ptimeMs: 20});
  assert.deepEqual(lines(held, "m=audio"), ["m=audio 9 UDP/TLS/RTP/SAVPF 111 63"]);
  assert.deepEqual(lines(held, "a=fmtp:111"), ["a=fmtp:111 minptime=10;useinbandfec=1;usedtx=0"]);
});

test("other limits replace the first ones, from what the other side said", () => {
  assert.equal(heldSdp(heldSdp(SDP, LIMITS), LIMITS), heldSdp(SDP, LIMITS));
  assert.equal(heldSdp(SDP, null), SDP);
});

test("the picture's control begins with what is allowed, not with 300 kbit/s; a browser without VP8 or Opus is left alone", () => {
  assert.equal(startKbps(LIMITS), 32);
  assert.equal(startKbps({...LIMITS, videoMaxBps: 0}), 30);
  assert.deepEqual(lines(heldSdp(SDP, LIMITS, 32), "a=fmtp:96"), ["a=fmtp:96 x-google-start-bitrate=32"]);
  const other = SDP.replace("VP8", "H264").replace("opus", "PCMU");
  assert.equal(heldSdp(other, LIMITS, 32), other);
});
