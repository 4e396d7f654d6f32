// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {contentsOf} from "../../signalling/web/js/content_link.js";
import {settle, stage, unstage} from "./fakes.js";

/** @type {any} */
let session;
/** @type {(((bps: number) => number) | null)[]} */
let lent;

beforeEach(() => {
  stage();
  lent = [];
  session = {
    state: {current: "c1", endpoint: null, rungs: null},
    consult: {state: "waiting"},
    endpoint: null,
    transport: {state: "idle", socket: null, rttMs: 100, bytes: 0, request: () => new Promise(() => {})},
  };
});
afterEach(unstage);

/** @param {object | null | undefined} limits */
function calling(limits) {
  session.consult = {state: "in_call"};
  session.state.endpoint = "connected";
  session.endpoint = {limits, lend: (/** @type {any} */ share) => lent.push(share)};
}

/** @param {Partial<Parameters<typeof contentsOf>[1]>} [more] */
async function contents(more = {}) {
  const link = contentsOf(session, {onchange: () => {}, ...more});
  await link.start();
  await settle();
  return link;
}

test("what content may use follows the call, the relay's limits and the rung", async () => {
  const link = await contents();
  assert.equal(link.rate(), null, "no call: the link is content's");
  calling(null);
  assert.equal(link.rate(), 16_000, "before the relay has said anything");
  calling({rung: "small", stillsBps: 10_000, videoMaxBps: 80_000});
  assert.equal(link.rate(), 74_000, "what is left, and four fifths of a thin link's picture");
  calling({rung: "glimpse", stillsBps: 0, videoMaxBps: 18_000});
  assert.equal(link.rate(), 9_000, "a glimpse keeps its half …");
  calling({rung: "glimpse", stillsBps: 0, videoMaxBps: 30_000});
  assert.equal(link.rate(), 18_000, "… or 12 kbit/s");
  calling({rung: "standard", stillsBps: 0, videoMaxBps: 400_000});
  assert.equal(link.rate(), 200_000, "where there is enough, half");
  calling({rung: "voice", videoMaxBps: 0});
  assert.equal(link.rate(), 4_000, "no room: a little, for the preview");
  calling({rung: "voice-min", videoMaxBps: 0});
  assert.equal(link.rate(), 0, "voice without copies needs all of it");
  session.state.rungs = {mine: {rung: "text"}, theirs: null};
  assert.equal(link.rate(), null, "no live voice: the link is content's");
  session.state.rungs = null;
  calling(undefined);
  assert.equal(link.rate(), 16_000, "nothing said yet");
});

test("the picture gives way while something is on its way, and takes it back", async () => {
  calling({rung: "small", stillsBps: 0, videoMaxBps: 80_000});
  const link = await contents();
  assert.equal(lent.at(-1), null);
  const adding = link.contents?.add({key: "k1234567", consult: "c1", kind: "still", mime: "image/jpeg", blob: new Blob(["x"])});
  await adding;
  assert.equal(lent.at(-1)?.(80_000), 0.8);
  await link.contents?.drop("k1234567");
  assert.equal(lent.at(-1), null);
});

test("a new socket is taken up, and only messages about content are read twice", async () => {
  /** @type {any[]} */
  const told = [];
  const link = await contents({onmessage: (message) => told.push(message)});
  const socket = Object.assign(new EventTarget(), {bufferedAmount: 0, binaryType: "blob", send: () => {}});
  Object.assign(session.transport, {state: "open", socket});
  link.follow();
  link.follow();
  assert.equal(socket.binaryType, "arraybuffer");
  for (const data of ['{"type":"still","consult":"c1","step":"asked"}', '{"type":"entry","text":"content_"}', "{", new ArrayBuffer(3)]) {
    socket.dispatchEvent(new MessageEvent("message", {data}));
  }
  assert.deepEqual(told, [{type: "still", consult: "c1", step: "asked"}]);
});
