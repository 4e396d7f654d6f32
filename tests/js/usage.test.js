// SPDX-License-Identifier: Apache-2.0
// What a consult costs, over its connections and reloads, and its cap.
import assert from "node:assert/strict";
import test from "node:test";
import {Usage} from "../../signalling/web/js/usage.js";

/** @returns {any} */
function storage() {
  const kept = new Map();
  return {getItem: (/** @type {string} */ key) => kept.get(key) ?? null, setItem: (/** @type {string} */ key, /** @type {string} */ text) => kept.set(key, text)};
}

test("connections are added up, whether their counters go on or begin anew", () => {
  const usage = new Usage(undefined);
  usage.begin("c1");
  const first = {};
  for (const bytes of [100_000, 400_000, 1_000_000]) usage.count(first, bytes);
  usage.count({}, 500_000);
  usage.count(first, 200_000); // an ICE restart that counts from nothing
  assert.equal(usage.bytes, 1_700_000);
  assert.equal(usage.mb, 1.7);
});

test("a reload goes on with what there was, another consult begins at nothing", () => {
  const kept = storage();
  const before = new Usage(kept);
  before.begin("c1");
  before.count("socket", 12_400_000);
  before.limit(25);
  before.keep(10_000);
  const after = new Usage(kept);
  after.begin("c1");
  after.count("socket", 100_000);
  assert.deepEqual([after.bytes, after.mb, after.cap], [12_500_000, 13, 25_000_000]);
  after.begin("c2");
  assert.deepEqual([after.bytes, after.cap], [0, 0]);
});

test("a cap warns at 80 % and is over at all of it; none never is", () => {
  const usage = new Usage(undefined);
  usage.begin("c1");
  const states = [];
  for (const bytes of [7_900_000, 8_000_000, 9_999_999, 10_000_000]) {
    usage.limit(10);
    usage.count("pc", bytes);
    states.push([usage.near, usage.over]);
  }
  assert.deepEqual(states, [[false, false], [true, false], [true, false], [true, true]]);
  usage.limit(25);
  assert.deepEqual([usage.near, usage.over], [false, false]);
  usage.limit(0);
  assert.deepEqual([usage.near, usage.over], [false, false]);
});

test("storage that is full, forbidden or somebody else's changes nothing", () => {
  const usage = new Usage(/** @type {any} */ ({getItem: () => "no json", setItem: () => { throw new Error("full"); }}));
  usage.begin("c1");
  usage.count("pc", 5);
  usage.keep(1);
  assert.equal(usage.bytes, 5);
});

test("it is written down at most every five seconds", () => {
  let writes = 0;
  const usage = new Usage(/** @type {any} */ ({getItem: () => null, setItem: () => writes++}));
  usage.begin("c1");
  for (let at = 0; at <= 20_000; at += 500) usage.keep(at);
  assert.equal(writes, 5);
});
