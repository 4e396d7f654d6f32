// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {Endpoints} from "../../signalling/web/js/endpoints.js";
import {pass, stage, unstage} from "./fakes.js";

/** What is done with an endpoint; the test says what it would tell. */
class Recorded {
  /** @type {any[]} */
  static all = [];
  state = "connecting";
  talking = false;
  /** @type {Record<string, any>} */
  tracks = {audio: null, video: null};
  /** @type {any[]} */
  limits = [];

  /** @param {any} options */
  constructor(options) {
    this.options = options;
    Recorded.all.push(this);
  }

  /** @param {string} kind @param {any} track */
  setTrack(kind, track) {
    this.tracks[kind] = track;
  }

  setIceServers() {}
  away() {}

  /** @param {boolean} up */
  signalling(up) {
    if (up) this.options.onanswer?.("again");
  }

  /** @param {string} state */
  become(state) {
    this.state = state;
    this.options.onstate(state);
  }

  close() {
    this.state = "closed";
  }
}

class Leg extends Recorded {
  /** @param {boolean} yes */
  talk(yes) {
    this.talking = yes;
  }

  /** @param {any} limits */
  limit(limits) {
    this.limits.push(limits);
  }
}

class Direct extends Recorded {
  /** @type {any[]} */
  heard = [];

  /** @param {any} message */
  receive(message) {
    this.heard.push(message);
  }
}

/** @type {Endpoints} */
let endpoints;
/** @type {any[]} */
let sent;
/** @type {any[]} */
let states;
/** @type {any[]} */
let shown;
const VOICE = /** @type {any} */ ({kind: "audio"});
const PICTURE = /** @type {any} */ ({kind: "video"});
const PEER = {participant: "s1", role: "specialist", name: "dr. Sari", instance: "i_special"};

beforeEach(() => {
  stage();
  Recorded.all = [];
  sent = [];
  states = [];
  shown = [];
  endpoints = new Endpoints({
    send: (type, fields) => sent.push({type, ...fields}) > 0,
    onstate: (state) => states.push(state),
    ontrack: (_kind, track) => shown.push(track),
    ontrouble: () => {},
    direct: /** @type {any} */ (Direct),
    relay: /** @type {any} */ (Leg),
  });
  endpoints.setTrack("audio", VOICE);
  endpoints.setTrack("video", PICTURE);
});

afterEach(() => {
  endpoints.close();
  unstage();
});

/** @param {string} state @param {any} [more] */
const patient = (state, more = {}) => endpoints.attend({
  view: /** @type {any} */ ({consult: "c1", state, route: "relayed", acceptedAt: 5, ...(state === "in_call" && {peer: PEER}), ...more}),
  role: "patient",
  consults: state === "ended" ? [] : ["c1"],
});
/** @param {string} leg @param {boolean} [standby] @param {string} [consult] */
function given(leg, standby = false, consult = "c1") {
  endpoints.receive(/** @type {any} */ ({type: "leg", consult, leg, offer: {}, standby}));
  return /** @type {Leg} */ (Recorded.all.at(-1));
}

/** A patient in a call on a leg that stands. */
function calling() {
  patient("waiting");
  const leg = given("l1");
  leg.become("connected");
  patient("in_call");
  return leg;
}

test("a leg is connected while its patient waits, sends nothing, and is the endpoint when the call begins", () => {
  patient("waiting");
  const leg = given("l1");
  leg.options.onanswer({ice: "x"});
  assert.deepEqual(sent, [{type: "leg_answer", consult: "c1", leg: "l1", answer: {ice: "x"}}]);
  leg.options.ontrack("audio", "theirs");
  leg.become("connected");
  assert.equal(leg.talking, false);
  assert.deepEqual(leg.tracks, {audio: null, video: null});
  assert.deepEqual([states.filter(Boolean), shown], [[], []]);
  assert.equal(endpoints.endpoint, null);
  patient("in_call");
  assert.equal(leg.talking, true);
  assert.deepEqual(leg.tracks, {audio: VOICE, video: PICTURE});
  assert.deepEqual([states.at(-1), shown], ["connected", ["theirs"]]);
  assert.equal(endpoints.endpoint, leg);
  assert.equal(Recorded.all.length, 1);
});

test("a call that goes back to the queue leaves the leg warm and silent; one that is over closes it", () => {
  const leg = calling();
  patient("waiting");
  assert.equal(leg.talking, false);
  assert.equal(leg.state, "connected");
  patient("in_call", {acceptedAt: 9});
  assert.equal(leg.talking, true);
  patient("ended");
  assert.equal(leg.state, "closed");
});

test("a specialist's leg may overtake the ring, and goes with a ring that is declined", async () => {
  endpoints.attend({role: "specialist", consults: []});
  const leg = given("l1", false, "c9");
  await pass(500);
  endpoints.attend({role: "specialist", consults: ["c9"]});
  await pass(30_000);
  assert.equal(leg.state, "connecting");
  assert.equal(leg.talking, false);
  endpoints.attend({role: "specialist", consults: []});
  assert.equal(leg.state, "closed");
});

test("both sides' rungs are told with whose link keeps them there, as this page sees it", () => {
  class Telling extends Recorded {
    talk() {}

    /** @param {any} limits */
    limit(limits) {
      this.limits = limits;
    }
  }
  /** @type {any} */
  let rungs = null;
  endpoints.close();
  endpoints = new Endpoints({
    send: () => true, onstate: () => {}, ontrack: () => {}, ontrouble: () => {}, onrung: (told) => rungs = told,
    direct: /** @type {any} */ (Direct), relay: /** @type {any} */ (Telling),
  });
  calling();
  for (const [said, mine, theirs] of [["sender", "own", "other"], ["receiver", "other", "own"], [null, null, null], [undefined, null, null]]) {
    endpoints.receive(/** @type {any} */ ({type: "limits", leg: "l1", limits: {videoMaxBps: 0, rung: "voice", reason: "proved", whose: said}}));
    endpoints.receive(/** @type {any} */ ({type: "peer_link", consult: "c1", rung: "glimpse", reason: "rate", whose: said}));
    assert.deepEqual(rungs, {
      mine: {rung: "voice", reason: "proved", whose: mine}, theirs: {rung: "glimpse", reason: "rate", whose: theirs},
    });
  }
});

test("a leg for a ring that never comes is closed", async () => {
  endpoints.attend({role: "specialist", consults: []});
  const leg = given("l1", false, "c9");
  await pass(10_200);
  assert.equal(leg.state, "closed");
});

test("a new leg takes over at its first voice: the voice is sent both ways till then, the picture on one", () => {
  const old = calling();
  shown = [];
  const leg = given("l2");
  leg.options.ontrack("audio", "new voice");
  assert.equal(leg.talking, true);
  assert.deepEqual(leg.tracks, {audio: VOICE, video: null});
  leg.become("connected");
  assert.deepEqual([old.state, old.talking, shown], ["connected", true, []]);
  assert.equal(endpoints.endpoint, old);
  leg.options.onvoice();
  assert.equal(old.state, "closed");
  assert.deepEqual([endpoints.endpoint, shown, leg.tracks["video"]], [leg, ["new voice"], PICTURE]);
});

test("a new leg takes over at once from one over which nothing comes, and after 3 s from one that says nothing new", async () => {
  const old = calling();
  old.become("interrupted");
  const second = given("l2");
  assert.deepEqual([old.state, endpoints.endpoint], ["closed", second]);
  assert.deepEqual(second.tracks, {audio: VOICE, video: PICTURE});
  second.become("connected");
  const third = given("l3");
  third.become("connected");
  await pass(2_900);
  assert.equal(endpoints.endpoint, second);
  await pass(200);
  assert.deepEqual([second.state, endpoints.endpoint], ["closed", third]);
});

test("a second leg that comes while the first is only warm takes its place at once", () => {
  patient("waiting");
  const first = given("l1");
  first.become("connected");
  const second = given("l2");
  assert.deepEqual([first.state, second.state], ["closed", "connecting"]);
  assert.equal(given("l2"), second, "told again, it is the same");
});

test("the standby is connected when nothing comes any more, and is the endpoint when the node says so", () => {
  const first = calling();
  given("l2", true);
  assert.equal(Recorded.all.length, 1, "only data");
  first.become("interrupted");
  first.options.onlost(2_400);
  assert.deepEqual(sent.at(-1), {type: "leg_trouble", consult: "c1", leg: "l1", silentMs: 2_400});
  const standby = /** @type {Leg} */ (Recorded.all.at(-1));
  standby.options.onanswer("fields");
  assert.deepEqual(sent.at(-1), {type: "leg_answer", consult: "c1", leg: "l2", answer: "fields"});
  standby.become("connected");
  assert.deepEqual([standby.talking, endpoints.endpoint], [false, first]);
  first.options.onlost(4_400);
  assert.equal(Recorded.all.length, 2);
  endpoints.receive({type: "leg_switch", consult: "c1", leg: "l2"});
  assert.deepEqual([first.state, standby.talking, endpoints.endpoint], ["closed", true, standby]);
  assert.equal(states.at(-1), "connected");
});

test("a first leg that comes back before the switch costs the standby that was connected", async () => {
  const first = calling();
  given("l2", true);
  first.become("interrupted");
  first.options.onlost(2_400);
  const standby = /** @type {Leg} */ (Recorded.all.at(-1));
  first.become("connected");
  await pass(9_000);
  assert.equal(standby.state, "connecting", "the switch may be under way");
  await pass(1_100);
  assert.equal(standby.state, "closed");
  assert.equal(first.state, "connected");
  endpoints.receive({type: "leg_switch", consult: "c1", leg: "l2"});
  assert.equal(endpoints.endpoint, first);
});

test("a switch on a link that works takes over at the first voice", () => {
  const first = calling();
  given("l2", true);
  endpoints.receive({type: "leg_switch", consult: "c1", leg: "l2"});
  const second = /** @type {Leg} */ (Recorded.all.at(-1));
  assert.deepEqual([first.state, second.talking], ["connected", true]);
  second.options.onvoice();
  assert.deepEqual([first.state, endpoints.endpoint], ["closed", second]);
});

test("limits find their leg, also those that overtake it", () => {
  endpoints.receive({type: "limits", consult: "c1", leg: "l1", limits: {videoMaxBps: 1}});
  const first = calling();
  endpoints.receive({type: "limits", consult: "c1", leg: "l1", limits: {videoMaxBps: 2}});
  endpoints.receive({type: "limits", consult: "c1", leg: "l7", limits: {videoMaxBps: 3}});
  assert.deepEqual(first.limits.map((each) => each.videoMaxBps), [1, 2]);
});

test("a route that becomes direct keeps the leg until the other browser is heard, and the other way round", () => {
  const leg = calling();
  patient("in_call", {route: "direct"});
  const direct = /** @type {Direct} */ (Recorded.all.at(-1));
  assert.ok(direct instanceof Direct);
  endpoints.receive({type: "description", consult: "c1", sender: "s1", instance: "i_special"});
  assert.equal(direct.heard.length, 1);
  assert.equal(leg.state, "connected");
  direct.become("connected");
  direct.options.onvoice();
  assert.deepEqual([leg.state, endpoints.endpoint], ["closed", direct]);
  patient("in_call");
  const second = given("l2");
  second.options.onvoice();
  assert.deepEqual([direct.state, endpoints.endpoint], ["closed", second]);
});

test("a direct call with a leg that was never used doesn't wait for it", () => {
  patient("waiting");
  const leg = given("l1");
  leg.become("connected");
  patient("in_call", {route: "direct"});
  assert.equal(leg.state, "closed");
  assert.ok(endpoints.endpoint instanceof Direct);
});

test("the other side's reload is nothing to a leg", () => {
  const leg = calling();
  patient("in_call", {peer: {...PEER, instance: undefined}, away: ["specialist"]});
  patient("in_call", {peer: {...PEER, instance: "i_reloaded"}});
  assert.deepEqual([Recorded.all.length, leg.talking], [1, true]);
});
