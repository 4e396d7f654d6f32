// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {RedCopies} from "../../signalling/web/js/red_copies.js";
import {VoiceCopies} from "../../signalling/web/js/voice_copies.js";
import {work} from "../../signalling/web/js/voice_worker.js";

const RED = 63, OPUS = 111, FRAME = 2_880;
const octetsOf = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** A packet as Chromium makes it, with the frame before. @param {number} number */
function packet(number) {
  const [old, now] = [octetsOf(`frame ${number - 1}`), octetsOf(`frame ${number}`)];
  const head = [0x80 | OPUS, (FRAME << 10) >> 16, ((FRAME << 10) >> 8) & 0xFF | old.length >> 8, old.length];
  return new Uint8Array([...head, OPUS, ...old, ...now]).buffer;
}

/** @param {ArrayBuffer} payload */
function read(payload) {
  const octets = new Uint8Array(payload);
  const text = (/** @type {number} */ from, /** @type {number} */ until) => new TextDecoder().decode(octets.slice(from, until));
  if (!((octets[0] ?? 0) & 0x80)) return {frame: text(1, octets.length), type: octets[0]};
  const word = new DataView(payload).getUint32(0);
  const length = word & 0x3FF;
  return {
    offset: (word >> 10) & 0x3FFF, copy: text(5, 5 + length), frame: text(5 + length, octets.length), type: octets[4],
    inside: (word >>> 24) & 0x7F,
  };
}

test("a copy follows as far behind as was asked for, with the frames as they were", () => {
  const copies = new RedCopies();
  copies.copyMs = 300;
  const start = 2 ** 32 - 3 * FRAME; // over the wrap
  for (let number = 0; number < 12; number++) {
    const found = read(copies.write(packet(number), RED, (start + number * FRAME) % 2 ** 32));
    assert.equal(found.frame, `frame ${number}`);
    assert.equal(found.type, OPUS);
    const back = Math.min(number, 5);
    assert.equal(found.copy, back ? `frame ${number - back}` : undefined);
    if (back) assert.deepEqual([found.offset, found.inside], [back * FRAME, OPUS]);
  }
});

test("the offset's fourteen bits bound it, and silence is not copied", () => {
  const copies = new RedCopies();
  copies.copyMs = 340;
  const made = [];
  for (let number = 0; number < 20; number++) made.push(read(copies.write(packet(number), RED, number * 960)));
  assert.deepEqual([made[19]?.offset, made[19]?.copy], [17 * 960, "frame 2"]);
  const silent = new Uint8Array([OPUS, 8]).buffer;
  for (let number = 20; number < 40; number++) made.push(read(copies.write(silent, RED, number * 960)));
  assert.equal(made[39]?.copy, undefined);
});

test("without a distance, without RED and out of shape packets stay as they are", () => {
  const copies = new RedCopies();
  const own = packet(1);
  assert.equal(copies.write(own, RED, FRAME), own);
  copies.copyMs = 120;
  const plain = octetsOf("frame 2").buffer;
  assert.equal(copies.write(plain, OPUS, 2 * FRAME), plain);
  const broken = new Uint8Array([0xEF, 0, 3, 0xFF, OPUS]).buffer;
  assert.equal(copies.write(broken, RED, 3 * FRAME), broken);
  // Frames that were sent plain are copied as well.
  assert.equal(read(copies.write(packet(4), RED, 4 * FRAME)).copy, "frame 2");
});

/** @type {FakeWorker[]} */
let workers = [];
class FakeWorker {
  /** @type {unknown[]} */
  said = [];
  onmessage = () => {};
  onerror = () => {};
  /** @param {string} address */
  constructor(address) {
    this.address = address;
    workers.push(this);
  }
  /** @param {unknown} message */
  postMessage(message) {
    this.said.push(message);
  }
}

/** A browser with these codecs for voices. @param {string[]} mimeTypes */
function browser(...mimeTypes) {
  workers = [];
  const codecs = mimeTypes.map((mimeType) => ({mimeType}));
  class Transform {
    constructor(/** @type {unknown} */ worker, /** @type {any} */ options) {
      Object.assign(this, {worker, options});
    }
  }
  Object.assign(globalThis, {Worker: FakeWorker, RTCRtpScriptTransform: Transform, RTCRtpSender: {getCapabilities: () => ({codecs})}});
}

/** @returns {any} */
const voiceSender = () => ({transform: null});

beforeEach(() => browser("audio/opus", "audio/red"));
afterEach(() => {
  for (const name of ["Worker", "RTCRtpScriptTransform", "RTCRtpSender"]) Reflect.deleteProperty(globalThis, name);
});

test("each voice goes through the worker from the beginning on, if that runs, with its own distance", async () => {
  const voices = new VoiceCopies();
  const [one, two] = [voiceSender(), voiceSender()];
  const [worker] = workers;
  assert.equal(worker?.address, "/static/voice_worker.js");
  voices.take(one);
  assert.equal(one.transform, null, "it does not run yet");
  worker?.onmessage();
  await voices.ready(true);
  for (const sender of [one, two]) voices.take(sender);
  assert.deepEqual([one.transform.options, two.transform.options], [{voice: 1}, {voice: 2}]);
  voices.spread(two, 300);
  voices.spread(one, 0);
  voices.spread(voiceSender(), 200);
  assert.deepEqual(worker?.said, [{voice: 2, copyMs: 300}, {voice: 1, copyMs: 0}]);
});

test("nobody waits for long for a worker, and not at all for one that can't be had", async () => {
  const voices = new VoiceCopies();
  const sender = voiceSender();
  const began = performance.now();
  await voices.ready(true);
  const waited = performance.now() - began;
  assert.ok(waited > 100 && waited < 1_000, String(waited));
  const late = voices.ready(true); // each leg waits as long, also one that comes much later
  workers[0]?.onmessage();
  await late;
  voices.take(sender);
  assert.notEqual(sender.transform, null);
  sender.transform = null;
  const none = new VoiceCopies();
  workers[1]?.onerror();
  await none.ready(false);
  none.take(sender);
  assert.equal(sender.transform, null);
});

test("a page that may have no worker, and a sender that takes no transform, make their calls all the same", async () => {
  Object.assign(globalThis, {Worker: class {
    constructor() {
      throw new TypeError("forbidden");
    }
  }});
  await new VoiceCopies().ready(false);
  browser("audio/red");
  const voices = new VoiceCopies();
  workers[0]?.onmessage();
  const sender = Object.defineProperty({}, "transform", {set: () => { throw new TypeError("taken"); }});
  voices.take(/** @type {any} */ (sender));
  voices.spread(/** @type {any} */ (sender), 200);
  assert.deepEqual(workers[0]?.said, []);
});

test("browsers without transforms, workers or redundant voice are asked for nothing", async () => {
  browser("audio/opus");
  await new VoiceCopies().ready(false);
  browser("audio/red");
  Reflect.deleteProperty(globalThis, "RTCRtpScriptTransform");
  const voices = new VoiceCopies();
  const sender = voiceSender();
  voices.take(sender);
  voices.spread(sender, 200);
  assert.equal(workers.length, 0);
  assert.equal(sender.transform, null);
});

test("the worker writes the packets anew, and lets pass what it does not understand", async () => {
  /** @type {any} */
  const scope = {said: [], postMessage: (/** @type {unknown} */ word) => scope.said.push(word)};
  work(scope);
  assert.deepEqual(scope.said, ["ready"]);
  scope.onmessage({data: {voice: 1, copyMs: 120}});
  scope.onmessage({data: {voice: 2, copyMs: 0}});
  const sent = [0, 1, 2, 3].map((number) => ({data: packet(number), getMetadata: () => ({payloadType: RED, rtpTimestamp: number * FRAME})}));
  const strange = {data: packet(4), getMetadata: () => undefined};
  /** @type {any[]} */
  const came = [];
  await new Promise((done) => scope.onrtctransform({transformer: {
    options: {voice: 1},
    readable: new ReadableStream({start: (to) => ([...sent, strange].forEach((each) => to.enqueue(each)), to.close())}),
    writable: new WritableStream({write: (frame) => void came.push(frame), close: () => done(undefined)}),
  }}));
  assert.equal(came.length, 5);
  assert.equal(read(came[3].data).copy, "frame 1");
  assert.equal(read(came[4].data).copy, "frame 3");
});
