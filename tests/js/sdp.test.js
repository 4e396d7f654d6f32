// SPDX-License-Identifier: Apache-2.0
// Descriptions as fields, against the golden samples that Python reads as well.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { answerFields, offerSdp } from "../../signalling/web/js/sdp.js";

/** @param {string} name */
const golden = (name) => readFileSync(new URL(`../wire/golden/${name}`, import.meta.url), "utf8");
/** @type {import("../../signalling/web/js/sdp.js").LegOffer} */
const offer = JSON.parse(golden("relay_offer.json"));

test("the fields of an offer become the SDP that Python makes of them", () => {
  assert.equal(offerSdp(offer).replaceAll("\r\n", "\n"), golden("relay_offer.sdp"));
});

test("an offer of the least that it must have uses the defaults that Python uses", () => {
  const least = JSON.parse(golden("relay_offer_least.json"));
  assert.equal(offerSdp(least).replaceAll("\r\n", "\n"), golden("relay_offer_least.sdp"));
});

test("a restart changes the credentials and the version, nothing else", () => {
  const first = offerSdp(offer).split("\r\n");
  const second = offerSdp(offer, {pair: 1, version: 2}).split("\r\n");
  const changed = second.filter((line, index) => line !== first[index]);
  assert.deepEqual([...new Set(changed)], [
    "o=- 1 2 IN IP4 0.0.0.0", "a=ice-ufrag:GBkaGxwd", "a=ice-pwd:Hh8gISIjJCUmJygpKissLS4v",
  ]);
  assert.equal(offerSdp(offer, {pair: 2}), offerSdp(offer), "after the last pair comes the first");
});

test("a changed frame length changes one line", () => {
  const changed = offerSdp({...offer, audio: {...offer.audio, ptimeMs: 20}}).split("\r\n");
  const before = new Set(offerSdp(offer).split("\r\n"));
  assert.deepEqual(changed.filter((line) => !before.has(line)), ["a=ptime:20"]);
});

test("a browser's answer becomes the fields that Python reads", () => {
  for (const browser of ["relay_answer", "relay_answer_firefox"]) {
    const fields = answerFields(golden(`${browser}.sdp`));
    assert.deepEqual(fields, JSON.parse(golden(`${browser}.json`)));
    assert.deepEqual(answerFields(golden(`${browser}.sdp`).replaceAll("\n", "\r\n")), fields);
    assert.ok(JSON.stringify(fields).length < 2_500);
  }
});

test("a refused picture has no payload types", () => {
  const refused = golden("relay_answer.sdp").replace("m=video 9 ", "m=video 0 ");
  assert.deepEqual(answerFields(refused).video.payloadTypes, []);
  assert.deepEqual(answerFields(refused).audio.payloadTypes, [63, 111]);
});

test("credentials and fingerprint at session level are found", () => {
  const sdp = ["v=0", "a=fingerprint:sha-256 AA", "a=ice-ufrag:u", "a=ice-pwd:p", "a=setup:passive", "m=audio 9 X 111", ""];
  const {ice, fingerprints, setup, audio} = answerFields(sdp.join("\r\n"));
  assert.deepEqual({ice, fingerprints, setup}, {ice: "u:p", fingerprints: ["sha-256 AA"], setup: "passive"});
  assert.deepEqual(audio, {payloadTypes: [111], ssrcs: [], extensions: [], direction: "sendrecv"});
});

test("the answer to a browser's restart names only what the browser took", () => {
  const taken = answerFields(golden("relay_answer_firefox.sdp"));
  const lines = offerSdp(offer, {pair: 1, version: 2, taken}).split("\r\n");
  assert.ok(lines.includes("m=audio 9 UDP/TLS/RTP/SAVPF 111"), "Firefox took no RED");
  const numbers = lines.filter((line) => line.startsWith("a=extmap:")).map((line) => Number.parseInt(line.slice(9), 10));
  assert.deepEqual(numbers, [...taken.audio.extensions, ...taken.video.extensions], "audio, then video");
  assert.ok(!lines.some((line) => line.includes("red/48000")));
});
