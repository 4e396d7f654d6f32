// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {Brake} from "../../signalling/web/js/brake.js";
import {pass, stage, unstage} from "./fakes.js";

/** @type {any} */
const LIMITS = {videoMaxBps: 50_000, brake: {noReportMs: 3_300, roundTripMs: 1_500, polls: 2, pollMs: 500}};
/** @type {any} */
const VOICE = {videoMaxBps: 0};

let reports = 0;
let rttS = 0.6;
let pulls = 0;
let silent = false;
/** Whether the relay was to be told, each time. @type {boolean[]} */
let tells;
/** @type {Brake} */
let brake;

beforeEach(() => {
  stage();
  reports = pulls = 0;
  silent = false;
  tells = [];
  rttS = 0.6;
  const stats = () => new Map(reports ? [["r", {
    type: "remote-inbound-rtp", kind: "video", timestamp: reports, roundTripTime: rttS, roundTripTimeMeasurements: reports,
  }]] : []);
  const sender = /** @type {any} */ ({track: {}, getStats: async () => stats()});
  brake = new Brake({
    sender: () => sender,
    silent: () => silent,
    onpull: (tell) => {
      pulls++;
      tells.push(tell);
    },
  });
  brake.limit(LIMITS);
  brake.watch(true);
});

afterEach(() => {
  brake.watch(false);
  unstage();
});

/** So long with a report each second. @param {number} ms */
async function reported(ms) {
  for (let left = ms; left > 0; left -= 1_000) {
    reports++;
    await pass(1_000);
  }
}

test("while reports come and the way is as long as ever, nothing is stopped", async () => {
  await reported(60_000);
  assert.equal(pulls, 0);
});

test("without a report for so long the picture is stopped, once", async () => {
  await reported(3_000);
  await pass(2_500);
  assert.equal(pulls, 0);
  await pass(1_500);
  assert.equal(pulls, 1);
  assert.ok(brake.pulled);
  await pass(20_000);
  assert.equal(pulls, 1);
});

test("an outage stops it without a word, and the first sign of life lets it go", async () => {
  await reported(3_000);
  silent = true;
  await pass(30_000);
  assert.ok(brake.pulled);
  brake.heard();
  assert.ok(!brake.pulled);
  assert.deepEqual(tells, [false, false]);
  await reported(10_000);
  assert.equal(pulls, 2);
});

test("what was stopped for another reason waits for the relay, whatever arrives", async () => {
  await reported(3_000);
  rttS = 1.8;
  await reported(2_000);
  brake.heard();
  assert.ok(brake.pulled);
  assert.deepEqual(tells, [true]);
});

test("a round trip far above the shortest, in two reports in a row, stops it; one late report does not, however often it is seen", async () => {
  await reported(3_000);
  rttS = 1.8;
  await reported(1_000);
  await pass(1_500);
  assert.equal(pulls, 0);
  rttS = 0.6;
  await reported(3_000);
  assert.equal(pulls, 0);
  rttS = 1.8;
  await reported(2_000);
  assert.equal(pulls, 1);
});

test("before the first report, and on a rung without a picture, there is nothing to stop", async () => {
  await pass(20_000);
  assert.equal(pulls, 0);
  await reported(2_000);
  brake.limit(VOICE);
  await pass(20_000);
  assert.equal(pulls, 0);
});

test("only the relay raises: limits that were under way don't, later ones and those without a picture do", async () => {
  await reported(2_000);
  await pass(5_000);
  assert.ok(brake.pulled);
  brake.limit(LIMITS); // nobody has been told yet
  assert.ok(brake.pulled);
  brake.told();
  brake.limit(LIMITS); // sent before the relay knew
  assert.ok(brake.pulled);
  brake.limit(VOICE);
  assert.ok(!brake.pulled);
  brake.limit(LIMITS);
  assert.ok(!brake.pulled);
});

test("a relay that had stopped it itself says nothing of the brake: its next limits count", async () => {
  await reported(2_000);
  await pass(5_000);
  brake.told();
  await pass(2_000);
  brake.limit(LIMITS);
  assert.ok(!brake.pulled);
});
