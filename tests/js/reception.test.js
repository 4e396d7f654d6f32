// SPDX-License-Identifier: Apache-2.0
// What a page says that it received: differences of counters, packed, every few seconds.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import test from "node:test";
import {RECEPTION_MS, RECEPTION_THIN_MS, Reception} from "../../signalling/web/js/reception.js";
import {received} from "../../signalling/web/js/received.js";
import {read} from "../../signalling/web/js/stats.js";

/** @type {import("../../signalling/web/js/reception.js").Sending} */
const sending = {picture: true, opusBps: 12_000, frameMs: 60, microphone: "on", hidden: false};

/** A connection that is looked at each second. */
class Call {
  reception = new Reception();
  at = 1_000_000;
  /** @type {any} */
  sample = {
    framesDecoded: 0, rttMs: 650, atMs: 0, heardSamples: 0, concealedSamples: 0, bursts: 0, bufferS: 0, emitted: 0,
    lines: 120, bytes: 0,
  };

  /** @param {{concealedMs?: number, bursts?: number, bufferMs?: number, frames?: number, spanMs?: number}} [more] @param {Partial<import("../../signalling/web/js/reception.js").Sending>} [now] @param {boolean} [thin] */
  second({concealedMs = 0, bursts = 0, bufferMs = 180, frames = 10, spanMs = 1_000} = {}, now = {}, thin = false) {
    const before = this.sample;
    this.at += spanMs;
    this.sample = {
      ...before, atMs: this.at, heardSamples: before.heardSamples + spanMs * 48,
      concealedSamples: before.concealedSamples + concealedMs * 48, bursts: before.bursts + bursts,
      emitted: before.emitted + 48_000, bufferS: before.bufferS + 48 * bufferMs, framesDecoded: before.framesDecoded + frames,
    };
    return this.reception.look(this.sample, {...sending, ...now}, this.at, thin);
  }
}

/** @param {string | null} data */
function octets(data) {
  assert.ok(data);
  return [...atob(data)].map((char) => char.charCodeAt(0));
}

test("five seconds are packed as the node unpacks them", () => {
  const call = new Call();
  call.second();
  assert.equal(call.second(), null);
  assert.equal(call.second({concealedMs: 60, bursts: 1, frames: 9}), null);
  call.second({frames: 0});
  call.second({frames: 0, concealedMs: 120, bursts: 2});
  const data = call.second({frames: 11});
  const golden = JSON.parse(readFileSync(new URL("../wire/golden/client.reception.json", import.meta.url), "utf8"));
  const [mine, theirs] = [octets(data), octets(golden.data)];
  assert.equal(mine.length, theirs.length);
  assert.deepEqual(mine.slice(0, 6), theirs.slice(0, 6));
  assert.deepEqual(mine.slice(6, 20), theirs.slice(6, 20));
  // The gap is none for a second; what was left out then is counted with the seconds after it.
  assert.deepEqual([mine[26], mine[33], mine[40]], [0, 50, 50]);
  assert.ok((data ?? "").length <= 56);
});

test("what does not fill a unit counts with the next second", () => {
  const call = new Call();
  call.second();
  for (let n = 0; n < 4; n++) call.second({concealedMs: 10});
  const all = octets(call.second({concealedMs: 10}));
  const concealed = [0, 1, 2, 3, 4].map((n) => all[6 + 7 * n + 2]);
  assert.deepEqual(concealed, [0, 1, 0, 1, 0]);
});

test("on thin rungs it comes half as often, and is no longer than twelve seconds", () => {
  const call = new Call();
  let sent = 0;
  call.second();
  for (let n = 0; n < 40; n++) {
    const data = call.second({}, {}, true);
    if (data) {
      sent++;
      assert.ok(octets(data).length <= 6 + 12 * 7);
    }
  }
  assert.equal(sent, 4);
  assert.deepEqual([RECEPTION_MS, RECEPTION_THIN_MS], [5_000, 10_000]);
});

test("a microphone that is taken is told soon, but never sooner than the node takes it", () => {
  const call = new Call();
  call.second();
  for (let n = 0; n < 4; n++) call.second();
  assert.ok(call.second());
  assert.equal(call.second({}, {microphone: "taken", opusBps: 0}), null);
  assert.equal(call.second({}, {microphone: "taken", opusBps: 0}), null);
  const [, , opus, , , flags] = octets(call.second({}, {microphone: "taken", opusBps: 0}));
  assert.deepEqual([opus, flags], [0, 5]);
});

test("another connection counts from nothing: nothing negative is ever said", () => {
  const call = new Call();
  for (let n = 0; n < 4; n++) call.second();
  call.sample = {...call.sample, heardSamples: 0, framesDecoded: 0, bufferS: 0, emitted: 0, concealedSamples: 0, bursts: 0};
  let data = null;
  for (let n = 0; n < 8 && !data; n++) data = call.second();
  assert.ok(octets(data).every((each) => each < 120 || each === 138));
  assert.equal(new Reception().look(null, sending, 1), null);
});

test("silence that was concealed is no loss, and bytes have an allowance for headers", () => {
  const report = new Map(Object.entries({
    a: {type: "inbound-rtp", kind: "audio", timestamp: 5, packetsReceived: 7, totalSamplesReceived: 960, concealedSamples: 480,
      silentConcealedSamples: 400, concealmentEvents: 3, jitterBufferDelay: 9, jitterBufferEmittedCount: 960},
    v: {type: "inbound-rtp", kind: "video", timestamp: 5, framesDecoded: 4, frameHeight: 180},
    t: {type: "transport", selectedCandidatePairId: "p", bytesSent: 1_000, bytesReceived: 2_000, packetsSent: 10, packetsReceived: 20},
    p: {type: "candidate-pair", bytesSent: 9, currentRoundTripTime: 0.6},
  }));
  const sample = received(read(/** @type {any} */ (report)));
  assert.ok(sample);
  assert.equal(sample.rttMs, 600);
  assert.deepEqual([sample.concealedSamples, sample.heardSamples, sample.bursts, sample.lines, sample.atMs], [80, 960, 3, 180, 5]);
  assert.equal(sample.bytes, 3_000 + 30 * 28);
  assert.equal(received(null), null);
  const pair = {type: "candidate-pair", selected: true, bytesSent: 100, bytesReceived: 50, packetsSent: 1, packetsReceived: 1};
  assert.equal(received(read(/** @type {any} */ (new Map([["p", pair]]))))?.bytes, 150 + 2 * 28, "Firefox has no transport statistics");
});
