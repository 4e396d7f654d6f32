// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {test} from "node:test";

import {AutoStills} from "../../signalling/web/js/auto_stills.js";

const fine = {rung: "voice", connected: true, bps: 16_000, busy: false, camera: true};

/** Ticks once a second. @param {AutoStills} stills @param {typeof fine} how @param {number} from @param {number} to in seconds */
async function taken(stills, how, from, to) {
  /** @type {number[]} */
  const at = [];
  for (let second = from; second < to; second++) await stills.tick(how, second * 1_000, async () => void at.push(second));
  return at;
}

test("on rung voice a picture goes every ten to fifteen seconds, as there is room, the first after as long without video", async () => {
  assert.deepEqual(await taken(new AutoStills(), fine, 100, 140), [110, 120, 130]);
  assert.deepEqual(await taken(new AutoStills(), {...fine, bps: 4_000}, 100, 140), [112, 124, 136]);
  assert.deepEqual(await taken(new AutoStills(), {...fine, bps: 3_200}, 100, 140), [115, 130]);
});

test("and on the least voice just so", async () => {
  assert.deepEqual(await taken(new AutoStills(), {...fine, rung: "voice-min"}, 100, 140), [110, 120, 130]);
});

test("none goes without room, without a connection or a camera, on another rung, or beside something else", async () => {
  for (const change of [{bps: 3_199}, {bps: 0}, {bps: null}, {connected: false}, {camera: false}, {rung: "glimpse"}, {rung: "text"}, {busy: true}]) {
    assert.deepEqual(await taken(new AutoStills(), /** @type {any} */ ({...fine, ...change}), 0, 30), [], JSON.stringify(change));
  }
});

test("room that comes is used at once; one that is being taken is waited for, and a camera that fails is tried again", async () => {
  const stills = new AutoStills();
  assert.deepEqual(await taken(stills, {...fine, rung: "glimpse"}, 0, 5), []);
  assert.deepEqual(await taken(stills, fine, 5, 15), [14]);
  assert.deepEqual(await taken(stills, {...fine, busy: true}, 15, 30), []);
  assert.deepEqual(await taken(stills, fine, 30, 32), [30]);
  /** @type {() => void} */
  let done = () => {};
  const slow = stills.tick(fine, 40_000, () => new Promise((resolve) => (done = () => resolve(undefined))));
  assert.deepEqual(await taken(stills, fine, 52, 60), []);
  done();
  await slow;
  await stills.tick(fine, 60_000, () => Promise.reject(new Error("gone")));
  assert.deepEqual(await taken(stills, fine, 61, 74), [70]);
});
