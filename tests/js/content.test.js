// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";
import {webcrypto} from "node:crypto";

import {memoryBox} from "../../signalling/web/js/box.js";
import {Contents, frame} from "../../signalling/web/js/content.js";
import {Pace} from "../../signalling/web/js/content_pace.js";
import {bare} from "../../signalling/web/js/jpeg.js";
import {pass, stage, unstage} from "./fakes.js";

/** @param {number} handle @param {number} offset @param {number} [waited] in steps of 4 ms */
function ack(handle, offset, waited = 0) {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint8(0, 2);
  view.setUint8(1, waited);
  view.setUint16(2, handle);
  view.setUint32(4, offset);
  view.setUint32(8, offset);
  view.setUint32(12, (Date.now() + 3_000_000_000) >>> 0); // a clock of its own, soon to go round
  return view.buffer;
}

/** A server behind a link: so many bits per second, so long a round trip; it keeps what comes. */
class Far {
  /** @type {Map<string, Uint8Array>} */
  whole = new Map();
  /** Durable bytes by key. @type {Map<string, Uint8Array>} */
  kept = new Map();
  /** @type {{at: number, bytes: number}[]} */
  frames = [];
  /** @type {[string, any][]} */
  asked = [];
  queueMsMost = 0;
  /** Bytes on their way or in the queue, at most. */
  inFlightMost = 0;
  /** @type {string[]} codes to refuse the next begins with */
  refusals = [];
  open = true;
  #handles = new Map();
  #inFlight = 0;
  #freeAt = 0;
  #epoch = 0;

  /** @param {{bps: number, rttMs: number}} link */
  constructor(link) {
    this.link = link;
    this.socket = {bufferedAmount: 0, send: (/** @type {any} */ data) => this.#frame(data)};
  }

  /** @param {Contents} contents */
  serve(contents) {
    this.contents = contents;
  }

  lose() {
    this.#epoch++;
    this.open = false;
    this.#inFlight = 0;
    this.#handles.clear();
    this.contents?.lost();
  }

  back() {
    this.open = true;
    this.contents?.opened();
  }

  /** @param {string} type @param {any} fields */
  request(type, fields) {
    this.asked.push([type, fields]);
    const epoch = this.#epoch;
    return new Promise((resolve, reject) => setTimeout(() => {
      if (epoch !== this.#epoch) return void reject(Object.assign(new Error(), {code: "connection_lost"}));
      if (type === "content_begin") return this.#begin(fields, resolve, reject);
      const data = this.whole.get(fields.key);
      if (!data) return void reject(Object.assign(new Error(), {code: "not_found"}));
      for (let at = 0; at < fields.bytes; at += fields.pieceBytes) {
        const end = Math.min(fields.offset + at + fields.pieceBytes, fields.offset + fields.bytes);
        this.contents?.receiveBytes(frame(fields.handle, fields.offset + at, data.subarray(fields.offset + at, end)).buffer);
      }
      resolve({type: "ok"});
    }, this.link.rttMs + (type === "content_read" ? (fields.bytes * 8_000) / this.link.bps : 0)));
  }

  /** @param {any} fields @param {(reply: any) => void} resolve @param {(error: Error) => void} reject */
  #begin(fields, resolve, reject) {
    const code = this.refusals.shift();
    if (code) return void reject(Object.assign(new Error(), {code}));
    if (this.whole.has(fields.key)) return void resolve({handle: 0, offset: fields.bytes, done: true});
    const have = this.kept.get(fields.key) ?? new Uint8Array();
    this.kept.set(fields.key, have);
    const handle = this.#handles.size + 1 + 100 * this.#epoch;
    this.#handles.set(handle, fields);
    resolve({handle, offset: have.length});
  }

  /** @param {Uint8Array} data */
  #frame(data) {
    const now = Date.now();
    this.frames.push({at: now, bytes: data.length - 8});
    this.#inFlight += data.length - 8;
    this.inFlightMost = Math.max(this.inFlightMost, this.#inFlight);
    const begin = Math.max(now, this.#freeAt);
    this.queueMsMost = Math.max(this.queueMsMost, begin - now);
    this.#freeAt = begin + ((data.length + 75) * 8_000) / this.link.bps;
    const epoch = this.#epoch;
    setTimeout(() => epoch === this.#epoch && this.#arrived(data), this.#freeAt - now + this.link.rttMs);
  }

  /** @param {Uint8Array} data */
  #arrived(data) {
    const view = new DataView(data.buffer, data.byteOffset);
    const handle = view.getUint16(2);
    const fields = this.#handles.get(handle);
    if (!fields) return;
    const have = /** @type {Uint8Array} */ (this.kept.get(fields.key));
    assert.equal(view.getUint32(4), have.length, "pieces follow on each other");
    this.#inFlight -= data.length - 8;
    const more = new Uint8Array([...have, ...data.subarray(8)]);
    this.kept.set(fields.key, more);
    this.contents?.receiveBytes(ack(handle, more.length));
    if (more.length === fields.bytes) {
      this.whole.set(fields.key, more);
      this.contents?.receive({type: "content_closed", handle});
    }
  }

  /** Bits per second between two instants, without what is around each piece. @param {number} from @param {number} to */
  bps(from, to) {
    return this.frames.filter(({at}) => at >= from && at < to).reduce((sum, {bytes}) => sum + bytes * 8, 0) / ((to - from) / 1000);
  }
}

/** @type {Far} */
let far;
/** @type {number | null} */
let rate = null;
/** @type {import("../../signalling/web/js/content.js").Box} */
let box;

beforeEach(() => {
  if (!globalThis.crypto) Object.assign(globalThis, {crypto: webcrypto});
  stage();
  rate = null;
  box = memoryBox();
});
afterEach(unstage);

/** @param {{bps: number, rttMs: number}} link */
function page(link = {bps: 128_000, rttMs: 500}) {
  far = new Far(link);
  const contents = new Contents({
    link: {
      open: () => far.open, socket: () => far.socket, rttMs: () => link.rttMs,
      request: (type, fields) => far.request(type, fields),
    },
    box, rate: () => rate, onchange: () => {}, consult: () => "c1",
  });
  far.serve(contents);
  return contents;
}

/** @param {number} size */
function bytes(size) {
  return Uint8Array.from({length: size}, (_, at) => (at * 31 + (at >> 8)) & 0xff);
}

/** @param {string} key @param {number} size @param {Record<string, any>} [more] */
function parcel(key, size, more = {}) {
  return {key, consult: "c1", kind: /** @type {const} */ ("still"), mime: "image/jpeg", blob: new Blob([bytes(size)]), ...more};
}

/** Real work (hashes) and the clock in turns. @param {number} ms */
async function go(ms) {
  for (let left = ms; left > 0; left -= 1_000) {
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    await pass(Math.min(1_000, left));
  }
  await new Promise((resolve) => setImmediate(resolve));
}

test("in a call pieces are small and keep to the limits, with little on its way", async () => {
  rate = 16_000;
  const contents = page({bps: 64_000, rttMs: 700});
  await contents.add(parcel("k1", 12_000));
  await go(2_000);
  const from = Date.now();
  await go(4_000);
  assert.ok(far.frames.every((each) => each.bytes <= 400), "400 bytes at most below 150 kbit/s");
  const used = far.bps(from, Date.now());
  assert.ok(used > 10_000 && used <= 16_000, `${used} of 16000 bit/s`);
  assert.ok(far.inFlightMost <= (16_000 / 8_000) * 900 + 400, `${far.inFlightMost} bytes on their way`);
  assert.ok(far.queueMsMost < 60, "never two pieces behind each other");
  await go(10_000);
  assert.deepEqual(far.whole.get("k1"), bytes(12_000));
  assert.equal(contents.parcels.length, 0);
});

test("a short way without a queue takes more than the limits know; a queue ends that", async () => {
  rate = 32_000;
  const contents = page({bps: 5_000_000, rttMs: 60});
  await contents.add(parcel("k1", 100_000));
  await go(12_000);
  assert.ok(far.whole.has("k1"), "32 kbit/s would take 25 s");
  assert.ok(far.queueMsMost < 60);
  const thin = page({bps: 100_000, rttMs: 60});
  await thin.add(parcel("k2", 100_000));
  await go(3_000);
  const from = Date.now();
  await go(5_000);
  assert.ok(far.queueMsMost < 250, `${far.queueMsMost} ms of queue`);
  assert.ok(far.bps(from, Date.now()) < 90_000);
});

for (const [where, bps] of /** @type {[string, number | null][]} */ ([["in a call", 8_000_000], ["without one", null]])) {
  test(`on a fast way, ${where}, pieces are large, and neither larger nor more than the server takes`, async () => {
    rate = bps;
    const contents = page({bps: 50_000_000, rttMs: 20});
    const from = Date.now();
    await contents.add(parcel("k1", 600_000));
    await go(6_000);
    assert.ok(far.whole.has("k1"));
    assert.equal(Math.max(...far.frames.map((each) => each.bytes)), 16_384);
    for (let at = from; at < from + 6_000; at += 500) {
      const count = far.frames.filter((each) => each.at >= at && each.at < at + 1_000).length;
      assert.ok(count <= 26, `${count} pieces in a second`);
    }
    assert.ok(far.inFlightMost <= 131_072, `${far.inFlightMost} bytes on their way: the server holds no more`);
  });
}

test("a long way without a queue takes more too, slowly, and a queue takes it back", async () => {
  rate = 32_000;
  const wide = page({bps: 128_000, rttMs: 650});
  await wide.add(parcel("k1", 400_000));
  await go(20_000);
  const from = Date.now();
  await go(20_000);
  assert.ok(far.bps(from, Date.now()) > 60_000, `${far.bps(from, Date.now())} of 128000 bit/s`);
  await wide.drop("k1");
  const thin = page({bps: 48_000, rttMs: 650});
  await thin.add(parcel("k2", 400_000));
  await go(20_000);
  far.queueMsMost = 0;
  await go(40_000);
  assert.ok(far.queueMsMost < 350, `${far.queueMsMost} ms of queue`);
});

test("limits that the link can't keep fill no queue", async () => {
  rate = 64_000;
  const contents = page({bps: 24_000, rttMs: 500});
  await contents.add(parcel("k1", 60_000));
  await go(10_000);
  assert.ok(far.frames.length > 20);
  far.queueMsMost = 0;
  const from = Date.now();
  await go(20_000);
  assert.ok(far.queueMsMost < 500, `${far.queueMsMost} ms of queue`);
  assert.ok(far.bps(from, Date.now()) > 13_000, `${far.bps(from, Date.now())} of 24000 bit/s`);
});

test("a limit of zero stops everything but a voice message's beginning; more goes on when there is room again", async () => {
  rate = 0;
  const contents = page();
  await contents.add(parcel("k1", 2_000));
  await go(3_000);
  assert.equal(far.asked.length, 0);
  rate = 64_000;
  contents.wake();
  await go(1_000);
  rate = 0;
  const sent = far.frames.length;
  await go(3_000);
  assert.ok(far.frames.length - sent <= 3, "what was on its way, no more");
  rate = 64_000;
  await go(3_000);
  assert.ok(far.whole.has("k1"));
});

test("without a call the link is used well, and its queue stays short", async () => {
  const contents = page({bps: 256_000, rttMs: 600});
  await contents.add(parcel("k1", 120_000));
  await go(5_000);
  const from = Date.now();
  await go(1_500);
  assert.ok(far.bps(from, Date.now()) > 130_000, `${far.bps(from, Date.now())} of 256000 bit/s`);
  assert.ok(far.queueMsMost < 700, `${far.queueMsMost} ms of queue`);
  await go(6_000);
  assert.deepEqual(far.whole.get("k1"), bytes(120_000));
});

test("what the browser still holds is waited for", async () => {
  const contents = page();
  far.socket.bufferedAmount = 5_000;
  await contents.add(parcel("k1", 3_000));
  await go(2_000);
  assert.equal(far.frames.length, 0, "no burst on top of a burst");
  far.socket.bufferedAmount = 0;
  await go(3_000);
  assert.ok(far.whole.has("k1"));
});

test("after lost connections the same content goes on where the server is", async () => {
  rate = 32_000;
  const contents = page();
  await contents.add(parcel("k1", 20_000));
  for (const at of [2_000, 3_000]) {
    await go(at);
    far.lose();
    await go(5_000);
    far.back();
  }
  await go(8_000);
  assert.deepEqual(far.whole.get("k1"), bytes(20_000));
  assert.equal(new Set(far.asked.map(([, fields]) => fields.key)).size, 1);
  assert.equal(far.asked.length, 3);
  const sent = far.frames.reduce((sum, each) => sum + each.bytes, 0);
  assert.ok(sent < 20_000 + 2 * 4_000, `${sent} bytes for 20000`);
});

test("what waits survives the page: the next one sends it, voice before pictures, other consults' not at all", async () => {
  const first = page();
  far.open = false;
  await first.add(parcel("k1", 900));
  await first.add(parcel("k2", 800, {kind: "voice", mime: "audio/webm", durationMs: 1_000}));
  await first.add(parcel("k3", 700, {consult: "c2"}));
  await first.add(parcel("k4", 700, {kind: "auto_still"}));
  const second = page();
  await second.load();
  await go(8_000);
  assert.deepEqual([...far.whole.keys()], ["k2", "k1"]);
  assert.deepEqual((await box.all()).map(({key}) => key), ["k3"]);
  await second.clear("c2");
  assert.deepEqual(await box.all(), []);
});

test("a refusal that time mends is tried again, another one is shown and can be tried by hand", async () => {
  const contents = page();
  far.refusals = ["unavailable", "unavailable", "content_quota"];
  await contents.add(parcel("k1", 500));
  await go(12_000);
  assert.equal(contents.parcels[0]?.failed, "content_quota");
  assert.equal(far.asked.length, 3);
  contents.retry("k1");
  await go(4_000);
  assert.ok(far.whole.has("k1"));
});

test("content is fetched in pieces, through a lost connection, and checked", async () => {
  const contents = page({bps: 1e6, rttMs: 300});
  const data = bytes(50_000);
  far.whole.set("k1", data);
  const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))].map((b) => b.toString(16).padStart(2, "0")).join("");
  /** @type {number[]} */
  const shares = [];
  const what = {consult: "c1", key: "k1", bytes: data.length, mime: "image/jpeg"};
  const reading = contents.read({...what, sha256: hash}, (share) => shares.push(share));
  await go(1_000);
  far.lose();
  await go(2_000);
  far.back();
  await go(5_000);
  assert.deepEqual(new Uint8Array(await (await reading).arrayBuffer()), data);
  assert.equal(shares.at(-1), 1);
  const wrong = assert.rejects(contents.read({...what, sha256: "0".repeat(64)}), {message: "content_hash"});
  await go(6_000);
  await wrong;
  const gone = assert.rejects(contents.read({...what, key: "k9"}), {message: "not_found"});
  await go(2_000);
  await gone;
});

test("a reader keeps to the limits of a call too", async () => {
  rate = 16_000;
  const contents = page({bps: 64_000, rttMs: 600});
  far.whole.set("k1", bytes(6_000));
  const from = Date.now();
  let took = 0;
  const reading = contents.read({consult: "c1", key: "k1", bytes: 6_000, mime: "audio/webm"}).then(() => {
    took = Date.now() - from;
  });
  await go(12_000);
  await reading;
  assert.ok(took > 1_500 && took < 8_000, `${took} ms for 3 s at 16 kbit/s`);
  assert.ok(far.asked.every(([, fields]) => fields.bytes <= 3_000 && fields.pieceBytes === 400), "little at a time on a thin way down");
});

test("who reads over a wide way down isn't held to what the way up allows", async () => {
  rate = 60_000;
  const contents = page({bps: 50_000_000, rttMs: 20});
  far.whole.set("k1", bytes(1_000_000));
  const from = Date.now();
  let took = 0;
  const reading = contents.read({consult: "c1", key: "k1", bytes: 1_000_000, mime: "image/jpeg"}).then(() => {
    took = Date.now() - from;
  });
  await go(20_000);
  await reading;
  assert.ok(took < 10_000, `${took} ms; at 60 kbit/s it would be 133 s`);
});

test("the pace grows with a short round trip and yields to a queue", () => {
  const pace = new Pace(() => null);
  for (let turn = 0; turn < 40; turn++) pace.acknowledged(1_200, 200, 100, turn * 50);
  assert.equal(pace.waitMs(40_000, 1_200, 0), 0);
  for (let turn = 0; turn < 20; turn++) pace.acknowledged(1_200, 900, 800, 2_000 + turn * 50);
  assert.equal(pace.waitMs(40_000, 1_200, 0), Infinity);
  assert.equal(pace.waitMs(0, 8_192, 0), 0, "one piece may always go");
});

test("in a call a queue on the way back changes nothing, one on the way there does", () => {
  const fresh = () => {
    const pace = new Pace(() => 64_000);
    for (let turn = 0; turn < 100; turn++) pace.acknowledged(800, 650, 325, turn * 200);
    return pace;
  };
  const back = fresh();
  for (let turn = 0; turn < 20; turn++) back.acknowledged(800, 1_100, 325, 20_000 + turn * 200);
  assert.equal(back.waitMs(20_000, 400, Infinity), 0);
  const there = fresh();
  for (let turn = 0; turn < 20; turn++) there.acknowledged(800, 1_100, 775, 20_000 + turn * 200);
  assert.equal(there.waitMs(20_000, 400, Infinity), Infinity);
});

test("a JPEG is left with the picture alone", () => {
  const segment = (/** @type {number} */ marker, /** @type {string} */ text) =>
    [0xff, marker, 0, text.length + 2, ...[...text].map((each) => each.charCodeAt(0))];
  const picture = [0xff, 0xda, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd9];
  const frameSegment = segment(0xc0, "frame");
  const jfif = segment(0xe0, "JFIF\0 and so on");
  const icc = segment(0xe2, "ICC_PROFILE\0\x01");
  const whole = new Uint8Array([
    0xff, 0xd8, ...jfif, ...segment(0xe1, "Exif\0\0 where it was"), ...icc, ...segment(0xed, "Photoshop"),
    ...segment(0xe2, "MPF\0"), ...segment(0xfe, "who took it"), ...frameSegment, ...picture,
  ]);
  assert.deepEqual(bare(whole), new Uint8Array([0xff, 0xd8, ...jfif, ...icc, ...frameSegment, ...picture]));
  assert.throws(() => bare(new Uint8Array([0x89, 0x50, 0x4e, 0x47])), RangeError);
  assert.throws(() => bare(whole.subarray(0, 60)), RangeError);
});
