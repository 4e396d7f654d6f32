// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {Refused, Transport} from "../../signalling/web/js/transport.js";
import {FakeSocket, pass, settle, stage, unstage} from "./fakes.js";

/** @type {EventTarget} */
let page;
/** @type {[string, string][]} */
let states;
/** @type {boolean[]} */
let tokens;
/** @type {Transport} */
let transport;

beforeEach(() => {
  page = stage();
  states = [];
  tokens = [];
  transport = new Transport({
    url: "ws://x/ws",
    instance: "i_12345678",
    getToken: async (expired) => {
      tokens.push(expired);
      return "token";
    },
    resume: () => ({consult: "c1", cursor: 7}),
    onstate: (state, code) => states.push([state, code]),
    random: () => 1,
  });
});

afterEach(() => {
  transport.close();
  unstage();
});

async function open() {
  transport.connect();
  await settle();
  FakeSocket.last.welcome();
}

test("the hello comes first and says what the page has already", async () => {
  transport.connect();
  await settle();
  FakeSocket.last.onopen?.();
  assert.deepEqual(FakeSocket.last.sent, [
    {type: "hello", id: 1, protocols: [1], token: "token", instance: "i_12345678", consult: "c1", cursor: 7},
  ]);
  assert.equal(transport.send("chat"), 0, "nothing goes out before the welcome");
  FakeSocket.last.tell({type: "welcome", re: 1, heartbeatS: 15});
  assert.deepEqual(states.map(([state]) => state), ["connecting", "greeting", "open"]);
});

test("a request resolves with its own answer, and rejects with the server's code", async () => {
  await open();
  const first = transport.request("leave");
  const second = transport.request("chat", {text: "x"});
  assert.deepEqual(FakeSocket.last.sent.slice(1).map(({id}) => id), [2, 3]);
  FakeSocket.last.tell({type: "error", re: 3, code: "rate_limited", retryAfterMs: 200});
  FakeSocket.last.tell({type: "ok", re: 2});
  assert.equal((await first).type, "ok");
  await assert.rejects(second, (error) =>
    error instanceof Refused && error.code === "rate_limited" && error.retryAfterMs === 200);
});

test("a lost socket rejects what waits, and is tried again ever more slowly, up to 15 s", async () => {
  await open();
  const waiting = transport.request("leave");
  FakeSocket.last.end();
  await assert.rejects(waiting, {code: "connection_lost"});
  await assert.rejects(transport.request("leave"), {code: "connection_lost"});
  for (const wait of [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    const before = FakeSocket.all.length;
    await pass(wait - 50);
    assert.equal(FakeSocket.all.length, before, `not before ${wait} ms`);
    await pass(50);
    assert.equal(FakeSocket.all.length, before + 1, `after ${wait} ms`);
    FakeSocket.last.end();
  }
});

test("half of the wait is chance, so that a restarted server is not met by everybody at once", async () => {
  transport = new Transport({url: "", instance: "i", getToken: async () => "t", random: () => 0});
  transport.connect();
  await settle();
  FakeSocket.last.end();
  await pass(200);
  assert.equal(FakeSocket.all.length, 1);
  await pass(50);
  assert.equal(FakeSocket.all.length, 2);
});

test("a socket that never opens is given up", async () => {
  transport.connect();
  await settle();
  await pass(12_000);
  assert.equal(FakeSocket.all[0]?.closed, true);
  assert.equal(transport.state, "waiting");
});

test("ids begin again with each connection", async () => {
  await open();
  transport.send("turn");
  FakeSocket.last.end();
  await pass(500);
  FakeSocket.last.welcome();
  assert.equal(transport.send("turn"), 2);
});

test("displaced is for good: no second try that would throw the other device out", async () => {
  await open();
  FakeSocket.last.end(4010);
  assert.deepEqual(states.at(-1), ["closed", "displaced"]);
  page.dispatchEvent(new Event("online"));
  await pass(60_000);
  assert.equal(FakeSocket.all.length, 1);
});

test("an expired token is replaced at once; a second refusal waits", async () => {
  await open();
  FakeSocket.last.end(4005);
  await pass(50);
  assert.deepEqual(tokens, [false, true]);
  FakeSocket.last.end(4005);
  await pass(50);
  assert.equal(tokens.length, 2);
  await pass(1_000);
  assert.deepEqual(tokens, [false, true, true]);
});

test("a refused hello is no connection: final codes end, the others wait as long as asked", async () => {
  transport.connect();
  await settle();
  FakeSocket.last.onopen?.();
  FakeSocket.last.tell({type: "error", re: 1, code: "rate_limited", retryAfterMs: 3_000});
  assert.deepEqual(states.at(-1), ["waiting", "rate_limited"]);
  await pass(2_950);
  assert.equal(FakeSocket.all.length, 1);
  await pass(50);
  FakeSocket.last.onopen?.();
  FakeSocket.last.tell({type: "error", re: 1, code: "version_unsupported"});
  assert.deepEqual(states.at(-1), ["closed", "version_unsupported"]);
});

test("the socket is dialled while the token is fetched, and greets with the later of the two", async () => {
  for (const first of ["socket", "token"]) {
    FakeSocket.all = [];
    /** @type {(token: string) => void} */
    let fetched = () => {};
    transport = new Transport({url: "", instance: "i", getToken: () => new Promise((resolve) => (fetched = resolve))});
    transport.connect();
    assert.equal(FakeSocket.all.length, 1);
    const steps = [() => FakeSocket.last.onopen?.(), () => fetched("late")];
    for (const step of first === "socket" ? steps : steps.reverse()) {
      assert.deepEqual(FakeSocket.last.sent, []);
      step();
      await settle();
    }
    assert.deepEqual(FakeSocket.last.sent.map(({type, token}) => [type, token]), [["hello", "late"]]);
    transport.close();
  }
});

test("a socket that goes before the token comes is another try's", async () => {
  /** @type {((token: string) => void)[]} */
  const fetched = [];
  transport = new Transport({url: "", instance: "i", getToken: () => new Promise((resolve) => fetched.push(resolve)), random: () => 1});
  transport.connect();
  const lost = FakeSocket.last;
  lost.end();
  await pass(500);
  fetched[0]?.("old");
  await settle();
  FakeSocket.last.onopen?.();
  assert.deepEqual([...lost.sent, ...FakeSocket.last.sent], []);
  fetched[1]?.("new");
  await settle();
  assert.deepEqual(FakeSocket.last.sent.map(({token}) => token), ["new"]);
});

test("a token that can't be had ends it, one that can't be fetched just now does not", async () => {
  const codes = ["unavailable", "resume_invalid"];
  transport = new Transport({
    url: "", instance: "i",
    getToken: async () => {
      throw new Refused(codes.shift() ?? "");
    },
    onstate: (state, code) => states.push([state, code]),
  });
  transport.connect();
  await settle();
  assert.deepEqual(states.at(-1), ["waiting", "unavailable"]);
  await pass(1_000);
  assert.deepEqual(states.at(-1), ["closed", "resume_invalid"]);
});

test("online replaces the socket at once, whatever it looks like", async () => {
  await open();
  const old = FakeSocket.last;
  page.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(old.closed, true);
  assert.equal(FakeSocket.all.length, 2);
  old.onmessage?.({data: "{}"});
  assert.equal(transport.state, "connecting");
});

test("silence: a ping after one heartbeat, another socket after three", async () => {
  await open();
  await pass(15_000);
  assert.equal(FakeSocket.last.of("ping").length, 1);
  FakeSocket.last.tell({type: "ok", re: FakeSocket.last.of("ping")[0].id});
  await pass(45_000);
  assert.equal(FakeSocket.all.length, 1, "three heartbeats are not over yet");
  await pass(15_000);
  assert.equal(FakeSocket.all.length, 2);
});

test("what the server says by itself is a sign of life", async () => {
  await open();
  for (let beat = 0; beat < 5; beat++) {
    await pass(14_000);
    FakeSocket.last.tell({type: "desk"});
  }
  assert.equal(FakeSocket.all.length, 1);
});

test("a checked socket must answer within 4 round trips, at least 1.5 s", async () => {
  await open();
  page.dispatchEvent(new Event("pageshow"));
  assert.equal(FakeSocket.last.of("ping").length, 1);
  FakeSocket.last.tell({type: "ok", re: FakeSocket.last.of("ping")[0].id});
  await pass(2_000);
  assert.equal(FakeSocket.all.length, 1, "it answered");
  transport.check();
  await pass(1_450);
  assert.equal(FakeSocket.all.length, 1);
  await pass(50);
  assert.equal(FakeSocket.all.length, 2);
});

test("when the link is back a try that hangs is replaced, one that has just begun goes on", async () => {
  await open();
  FakeSocket.last.onclose?.({code: 1006});
  transport.retry();
  await settle();
  assert.equal(FakeSocket.all.length, 2, "it waited for its turn");
  await pass(3_900);
  transport.retry();
  await settle();
  assert.equal(FakeSocket.all.length, 2);
  await pass(200);
  transport.retry();
  await settle();
  assert.equal(FakeSocket.all.length, 3);
  FakeSocket.last.welcome();
  transport.retry();
  assert.equal(FakeSocket.last.of("ping").length, 1, "an open one is asked for a sign of life");
});

test("closed by the page, it stays closed", async () => {
  await open();
  transport.close();
  transport.reconnectNow();
  page.dispatchEvent(new Event("online"));
  await pass(20_000);
  assert.equal(FakeSocket.all.length, 1);
  assert.equal(FakeSocket.last.closed, true);
});
