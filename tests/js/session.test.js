// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {Endpoints} from "../../signalling/web/js/endpoints.js";
import {Session} from "../../signalling/web/js/session.js";
import {FakeSocket, pass, settle, stage, unstage} from "./fakes.js";

/** What the session does with an endpoint. */
class FakeEndpoint {
  /** @type {FakeEndpoint[]} */
  static all = [];
  state = "connecting";
  /** @type {any[]} */
  calls = [];

  /** @param {any} options */
  constructor(options) {
    this.options = options;
    FakeEndpoint.all.push(this);
  }

  static get last() {
    return /** @type {FakeEndpoint} */ (FakeEndpoint.all.at(-1));
  }

  /** @param {any} message */
  receive(message) {
    this.calls.push(["receive", message.description?.type ?? "candidate"]);
  }

  /** @param {string} kind @param {any} track */
  setTrack(kind, track) {
    this.calls.push(["setTrack", kind, track]);
  }

  /** @param {any} servers */
  setIceServers(servers) {
    this.calls.push(["setIceServers", servers]);
  }

  /** @param {boolean} up */
  signalling(up) {
    this.calls.push(["signalling", up]);
  }

  away() {}

  close() {
    this.state = "closed";
  }
}

/** @type {Map<string, string>} */
let kept;
/** @type {Session} */
let session;

function make() {
  const made = new Session({
    url: "ws://x/ws",
    getToken: async () => "token",
    onchange: () => {},
    storage: /** @type {any} */ ({
      getItem: (/** @type {string} */ key) => kept.get(key) ?? null,
      setItem: (/** @type {string} */ key, /** @type {string} */ value) => kept.set(key, value),
    }),
  });
  made.attach(Endpoints, {direct: /** @type {any} */ (FakeEndpoint)});
  return made;
}

beforeEach(() => {
  stage();
  FakeEndpoint.all = [];
  kept = new Map();
  session = make();
});

afterEach(() => {
  session.close();
  unstage();
});

/** @param {object} [more] of the welcome */
async function open(more) {
  session.start();
  await settle();
  FakeSocket.last.welcome(more);
  await settle();
}

/** Loses the socket and comes back. */
async function reconnect() {
  FakeSocket.last.end();
  await pass(600);
  FakeSocket.last.welcome();
  await settle();
}

let version = 0;

/** @param {object} [more] */
function view(more = {}) {
  FakeSocket.last.tell({type: "consult", consult: "c1", version: ++version, state: "waiting", specialty: "general", ...more});
}

const PEER = {participant: "s1", role: "specialist", name: "dr. Sari", instance: "i_special"};

/** @param {object} [more] */
function callView(more = {}) {
  view({state: "in_call", polite: true, peer: PEER, acceptedAt: 5, ...more});
}

/** @param {number} cursor @param {object} [more] */
function entry(cursor, more = {}) {
  FakeSocket.last.tell({type: "entry", consult: "c1", cursor, at: cursor, kind: "chat", author: "specialist", ...more});
}

test("entries are kept once and in order, and the next hello asks for what comes after them", async () => {
  await open();
  view();
  for (const cursor of [3, 5, 5, 4, 9]) entry(cursor);
  assert.deepEqual(session.state.entries.get("c1")?.map((each) => each.cursor), [3, 5, 9]);
  await reconnect();
  const [hello] = FakeSocket.last.of("hello");
  assert.equal(hello.consult, "c1");
  assert.equal(hello.cursor, 9);
});

test("the page load keeps its name over all its connections", async () => {
  await open();
  const [first] = FakeSocket.last.of("hello");
  await reconnect();
  assert.equal(FakeSocket.last.of("hello")[0].instance, first.instance);
  assert.match(first.instance, /^[A-Za-z0-9_-]{8,36}$/);
});

test("an older view never replaces a newer one", async () => {
  await open();
  view({version: 900, state: "ringing"});
  view({version: 899, state: "waiting"});
  assert.equal(session.consult?.state, "ringing");
});

test("a line of chat goes out again with the same key until it is recorded, and survives a reload", async () => {
  await open();
  view();
  session.chat("  hello  ");
  const [line] = FakeSocket.last.of("chat");
  assert.equal(line.text, "hello");
  await reconnect();
  view();
  assert.deepEqual(FakeSocket.last.of("chat").map(({key, text}) => [key, text]), [[line.key, "hello"]]);
  const reloaded = make();
  assert.deepEqual(reloaded.state.unsent.map(({key}) => key), [line.key]);
  entry(4, {key: line.key, author: "patient", text: "hello"});
  assert.deepEqual(session.state.unsent, []);
  assert.equal(kept.get("selat.unsent"), "[]");
});

test("what a word processor put among the words does not keep them from being sent", async () => {
  await open();
  view();
  session.chat("two\x0blines\nand a\ttab\x07");
  assert.equal(FakeSocket.last.of("chat")[0].text, "two lines\nand a\ttab");
});

test("a line that was answered is not sent twice on one connection; a refused one waits for the person", async () => {
  await open();
  view();
  session.chat("one");
  session.chat("two");
  const [one, two] = FakeSocket.last.of("chat");
  assert.equal(FakeSocket.last.of("chat").length, 2);
  FakeSocket.last.tell({type: "error", re: one.id, code: "consult_over"});
  FakeSocket.last.tell({type: "error", re: two.id, code: "unavailable"});
  await pass(3_100);
  assert.deepEqual(FakeSocket.last.of("chat").map(({key}) => key), [one.key, two.key, two.key]);
  assert.equal(session.state.unsent[0]?.failed, "consult_over");
  session.retry(one.key);
  assert.equal(FakeSocket.last.of("chat").at(-1).key, one.key);
});

test("an intake that may have been lost is handed in again, one that arrived is not", async () => {
  await open();
  view({state: "invited"});
  session.intake(/** @type {any} */ ({complaint: "x"}));
  await reconnect();
  view({state: "invited"});
  assert.equal(FakeSocket.last.of("intake").length, 1);
  await reconnect();
  view({state: "waiting"});
  assert.equal(FakeSocket.last.of("intake").length, 0);
});

test("who leaves while the link is down has left when it is back", async () => {
  await open();
  view();
  FakeSocket.last.end();
  await session.leave();
  await pass(600);
  FakeSocket.last.welcome();
  assert.equal(FakeSocket.last.of("leave").length, 1);
  view({state: "abandoned"});
  await reconnect();
  assert.equal(FakeSocket.last.of("leave").length, 0);
});

test("a call makes an endpoint with the tracks there are; the polite side does not offer", async () => {
  await open();
  const track = /** @type {any} */ ({});
  session.setTrack("audio", track);
  callView();
  assert.equal(FakeEndpoint.all.length, 1);
  assert.equal(FakeEndpoint.last.options.polite, true);
  assert.equal(FakeEndpoint.last.options.offers, false);
  assert.deepEqual(FakeEndpoint.last.calls[0], ["setTrack", "audio", track]);
});

test("the endpoint lives through lost sockets on either side, and goes with the other page load or the call", async () => {
  await open();
  callView();
  const first = FakeEndpoint.last;
  callView({state: "interrupted", peer: {...PEER, instance: undefined}, away: ["specialist"]});
  await reconnect();
  callView();
  assert.equal(FakeEndpoint.all.length, 1);
  assert.equal(first.state, "connecting");
  assert.deepEqual(first.calls.filter(([what]) => what === "signalling"), [
    ["signalling", false], ["signalling", false], ["signalling", false], ["signalling", true],
  ]);
  callView({peer: {...PEER, instance: "i_reloaded"}});
  assert.equal(first.state, "closed");
  assert.equal(FakeEndpoint.all.length, 2);
  callView({peer: {...PEER, instance: "i_reloaded"}, acceptedAt: 99});
  assert.equal(FakeEndpoint.all.length, 3, "another call with the same page is another connection there, so here");
  view({state: "ended"});
  assert.equal(FakeEndpoint.last.state, "closed");
  assert.equal(session.state.endpoint, null);
});

test("an offer that overtakes the view which explains it is kept, one of a gone page load is not", async () => {
  await open();
  const signal = {consult: "c1", sender: "s1", instance: "i_gone"};
  FakeSocket.last.tell({type: "candidate", ...signal, candidate: {candidate: "old"}});
  signal.instance = "i_special";
  FakeSocket.last.tell({type: "description", ...signal, description: {type: "offer", sdp: "v=0"}});
  FakeSocket.last.tell({type: "candidate", ...signal, candidate: {candidate: "x"}});
  callView();
  assert.deepEqual(FakeEndpoint.last.calls.filter(([what]) => what === "receive"), [
    ["receive", "offer"], ["receive", "candidate"],
  ]);
});

test("what the endpoint says goes out with the consult, and it is told whether it went", async () => {
  await open();
  callView();
  assert.equal(FakeEndpoint.last.options.send({type: "candidate", candidate: {candidate: "x"}}), true);
  assert.deepEqual(FakeSocket.last.of("candidate")[0].consult, "c1");
  FakeEndpoint.last.options.onreport("setup", {connectedMs: 12});
  assert.equal(FakeSocket.last.of("setup_report")[0].connectedMs, 12);
  FakeSocket.last.end();
  assert.equal(FakeEndpoint.last.options.send({type: "candidate"}), false);
});

test("TURN credentials are renewed a minute before they run out", async () => {
  await open({heartbeatS: 1_000, iceServers: [{urls: ["turn:a"]}], iceExpiresAt: Date.now() / 1000 + 300});
  callView();
  assert.deepEqual(FakeEndpoint.last.options.iceServers, [{urls: ["turn:a"]}]);
  await pass(239_000);
  assert.equal(FakeSocket.last.of("turn").length, 0);
  await pass(2_000);
  const [ask] = FakeSocket.last.of("turn");
  FakeSocket.last.tell({type: "ice", re: ask.id, iceServers: [{urls: ["turn:b"]}], iceExpiresAt: Date.now() / 1000 + 300});
  assert.deepEqual(FakeEndpoint.last.calls.at(-1), ["setIceServers", [{urls: ["turn:b"]}]]);
});

test("a desk names the consult that its specialist is in", async () => {
  await open();
  view({consult: "c0", state: "ended"});
  callView();
  FakeSocket.last.tell({type: "desk", state: "in_call", consult: "c1"});
  assert.equal(session.consult?.consult, "c1");
  assert.equal(FakeEndpoint.last.state, "connecting");
});

test("spans are counted by the server's clock", async () => {
  await open({now: Date.now() / 1000 + 3_600});
  assert.equal(Math.round(session.now() - Date.now() / 1000), 3_600);
});
