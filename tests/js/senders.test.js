// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {test} from "node:test";

import {lending} from "../../signalling/web/js/senders.js";

/** @type {any} */
const small = {rung: "small", videoMaxBps: 60_000, videoMaxHeight: 180, videoMaxFps: 12};

test("a picture that lends most of its rate is as small as a glimpse; one that keeps enough stays as it was", () => {
  assert.deepEqual(lending(small, 0), small);
  assert.deepEqual(lending(small, 0.5), {...small, videoMaxBps: 30_000});
  assert.deepEqual(lending(small, 0.8), {...small, videoMaxBps: 12_000, videoMaxHeight: 120, videoMaxFps: 8});
  assert.deepEqual(lending({...small, detail: true}, 0.8), {...small, detail: true, videoMaxBps: 12_000, videoMaxHeight: 180, videoMaxFps: 4});
  assert.equal(lending({...small, videoMaxHeight: 90}, 0.8).videoMaxHeight, 90, "never larger than allowed");
  assert.equal(lending({...small, videoMaxBps: 0}, 0.5).videoMaxBps, 0);
});
