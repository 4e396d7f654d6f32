// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {test} from "node:test";

import {WayReport} from "../../signalling/web/js/way_report.js";

/** What a browser says so many seconds into a connection on which all goes at one rate. @param {number} s @param {any} [more] */
function report(s, {missing = 0, delayMs = 0, rttS = 0.8, responses = Math.floor(s / 2.5), sr = Math.floor(s)} = {}) {
  return /** @type {any} */ (new Map(Object.entries({
    a: {type: "inbound-rtp", kind: "audio", packetsReceived: 17 * s, packetsLost: missing},
    v: {type: "inbound-rtp", kind: "video", packetsReceived: 10 * s + 3, retransmittedPacketsReceived: 3, packetsLost: 0},
    t: {type: "transport", timestamp: 1e6 + s * 1_000, bytesReceived: 3_000 * s, packetsReceived: 30 * s, bytesSent: 2_000 * s, packetsSent: 20 * s},
    p: {id: "p", type: "candidate-pair", currentRoundTripTime: rttS, responsesReceived: responses, availableOutgoingBitrate: 96_000},
    o: {id: "o", type: "remote-outbound-rtp", timestamp: 1e6 + sr * 1_000 + delayMs, remoteTimestamp: 5e8 + sr * 1_000},
  })));
}

/** @param {string} data */
function unpack(data) {
  const view = new DataView(Uint8Array.from(atob(data), (each) => each.charCodeAt(0)).buffer);
  return {
    span: view.getUint16(0), came: view.getUint32(2), packets: view.getUint16(6), missing: view.getUint16(8),
    sent: view.getUint32(10), rttMs: view.getUint16(14), delayMs: view.getInt16(16), kbps: view.getUint16(18), flags: view.getUint8(20),
  };
}

/** Looks each half second, from `from` on. @param {WayReport} way @param {(s: number) => any} at @param {any} [how] */
function watch(way, at, {from = 0, to = 10, rung = "medium", braked = false, works = true} = {}) {
  /** @type {any[]} */
  const sent = [];
  for (let s = from; s <= to; s += 0.5) {
    way.look(at(s), {rung, braked}, (data) => {
      sent.push({at: s, ...unpack(data)});
      return works;
    });
  }
  return sent;
}

test("each second what came, what is missing and what was sent, with headers and without repeats", () => {
  const sent = watch(new WayReport(), (s) => report(s, {missing: s >= 4 ? 5 : 0}));
  assert.deepEqual(sent.map(({at}) => at), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const {at, rttMs, delayMs, ...first} = sent[0];
  assert.deepEqual(first, {span: 100, came: 3_840, packets: 27, missing: 0, sent: 2_560, kbps: 96, flags: 1});
  assert.equal(sent[3].missing, 5);
  assert.equal(sent[4].missing, 0);
  assert.deepEqual(sent.slice(1).map(({flags}) => flags), Array(9).fill(0));
});

test("on a thin rung each two seconds", () => {
  assert.deepEqual(watch(new WayReport(), report, {rung: "glimpse"}).map(({at, span}) => [at, span]), [[2, 200], [4, 200], [6, 200], [8, 200], [10, 200]]);
});

test("a measurement is told once, and delays as they differ from the first: clocks need not agree", () => {
  const sent = watch(new WayReport(), (s) => report(s, {rttS: s < 5 ? 0.8 : 0.9, delayMs: s >= 6 && s < 7 ? 250 : 0}), {to: 9});
  assert.deepEqual(sent.map(({rttMs}) => rttMs), [65_535, 65_535, 800, 65_535, 900, 65_535, 65_535, 900, 65_535]);
  assert.deepEqual(sent.map(({delayMs}) => delayMs), [0, 0, 0, 0, 0, 250, 0, 0, 0]);
});

test("what could not be sent is in the next one", () => {
  const way = new WayReport();
  assert.equal(watch(way, report, {to: 3, works: false}).at(-1).span, 300);
  const [next] = watch(way, report, {from: 3.5, to: 3.5});
  assert.deepEqual([next.span, next.came, next.flags], [350, 13_440, 1]);
});

test("a brake is told at once, and with each report while it holds", () => {
  const way = new WayReport();
  watch(way, report, {to: 2, rung: "glimpse"});
  const sent = watch(way, report, {from: 2.5, to: 6.5, rung: "glimpse", braked: true});
  assert.deepEqual(sent.map(({at, flags}) => [at, flags]), [[2.5, 2], [4.5, 2], [6.5, 2]]);
  assert.equal(watch(way, report, {from: 7, to: 8.5, rung: "glimpse"})[0].flags, 0);
});

test("another connection is counted from its beginning, and says so", () => {
  const way = new WayReport();
  watch(way, (s) => report(s + 50), {to: 3});
  const sent = watch(way, report, {from: 4, to: 6});
  assert.deepEqual(sent.map(({at, span, flags}) => [at, span, flags]), [[5, 100, 1], [6, 100, 0]]);
});
