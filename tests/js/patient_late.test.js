// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {Late} from "../../signalling/web/js/pages/patient_late.js";
import {pass, settle, stage, unstage} from "./fakes.js";

/** @type {EventTarget} */
let page;
/** @type {string[]} */
let asked;
/** @type {any[]} */
let loaded;
let failures = 0;
/** @type {"ok" | "fail" | "hang"} */
let answer = "ok";
const PARTS = /** @type {any} */ ({});

beforeEach(() => {
  page = stage();
  asked = [];
  loaded = [];
  failures = 0;
});

afterEach(unstage);

function make() {
  const late = new Late("/static/call-id.js?v=1", {
    onload: (parts) => loaded.push(parts),
    onfail: () => failures++,
    load: (address) => {
      asked.push(address);
      if (answer === "hang") return new Promise(() => {});
      return answer === "ok" ? Promise.resolve({default: {parts: PARTS}}) : Promise.reject(new Error("offline"));
    },
  });
  late.start();
  return late;
}

test("it is asked for once, a second after the start where nothing is painted", async () => {
  answer = "ok";
  const late = make();
  assert.deepEqual(asked, []);
  await pass(1_000);
  assert.deepEqual([asked.length, loaded, late.failed], [1, [PARTS], false]);
  await pass(60_000);
  assert.equal(asked.length, 1);
});

test("a failed try is told and made again, each by an address of its own; at once when the network is back", async () => {
  answer = "fail";
  const late = make();
  await pass(5_000);
  assert.equal(late.failed, true);
  assert.ok(failures >= 2);
  assert.equal(new Set(asked).size, asked.length);
  assert.ok(asked[1]?.startsWith("/static/call-id.js?v=1&again="));
  answer = "ok";
  const before = asked.length;
  page.dispatchEvent(new Event("online"));
  await settle();
  assert.deepEqual([asked.length, loaded.length, late.failed], [before + 1, 1, false]);
});

test("a try that hangs doesn't hold the next one up", async () => {
  answer = "hang";
  make();
  await pass(2_000);
  answer = "ok";
  await pass(20_000);
  assert.deepEqual([asked.length, loaded.length], [2, 1]);
});
