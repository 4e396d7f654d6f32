// SPDX-License-Identifier: Apache-2.0
// What the staff pages show, decided without a document: states, order, spans.
import assert from "node:assert/strict";
import test from "node:test";
import {accountsInOrder, byNeed, byState, figures, operatorPageState, suggestLogin} from "../../signalling/web/js/board.js";
import {byDeadline, inCall, inOrder, mergePast, pageState} from "../../signalling/web/js/desk.js";
import {age, refusalText, span} from "../../signalling/web/js/labels.js";
import {CLOSE_CODES} from "../../signalling/web/js/wire.js";

/** @import {ConsultView, Desk, PastConsult, QueueItem} from "../../signalling/web/js/wire.js" */

/** @param {Partial<Desk>} more @returns {Desk} */
const desk = (more) => ({type: "desk", state: "available", ...more});
/** @param {Partial<ConsultView>} more @returns {ConsultView} */
const view = (more) => ({type: "consult", consult: "c_1", version: 1, state: "in_call", specialty: "general", ...more});
/** @param {Partial<QueueItem>} more @returns {QueueItem} */
const item = (more) =>
  ({consult: "c_1", state: "waiting", urgency: "green", specialty: "general", language: "id", since: 100, ...more});
const model = {access: /** @type {const} */ ("signed_in"), desk: null, consult: null, mediaLost: false};

test("the page's state follows the desk", () => {
  assert.equal(pageState({...model, access: "signed_out"}), "signed_out");
  assert.equal(pageState(model), "connecting");
  assert.equal(pageState({...model, desk: desk({state: "off_call"})}), "off_call");
  assert.equal(pageState({...model, desk: desk({})}), "available");
  const ring = {consult: "c_1", until: 1, urgency: /** @type {const} */ ("red"),
    specialty: /** @type {const} */ ("general"), language: "id", since: 1};
  assert.equal(pageState({...model, desk: desk({state: "ringing", ring})}), "ringing");
});

test("a desk in a call is in a call, also before the consult's view has come", () => {
  assert.equal(pageState({...model, desk: desk({state: "in_call", consult: "c_1"})}), "in_call");
  const other = view({consult: "c_0", state: "ended"});
  assert.equal(pageState({...model, desk: desk({consult: "c_1"}), consult: other}), "in_call");
});

test("an ended consult ends the call, though the desk's message is still on its way", () => {
  assert.equal(inCall(desk({consult: "c_1"}), view({state: "ended"})), false);
  assert.equal(inCall(desk({consult: "c_1"}), view({state: "waiting"})), false);
});

test("a call is interrupted when the server or the media says so", () => {
  const there = {...model, desk: desk({consult: "c_1"})};
  assert.equal(pageState({...there, consult: view({state: "interrupted"})}), "interrupted");
  assert.equal(pageState({...there, consult: view({}), mediaLost: true}), "interrupted");
  assert.equal(pageState({...there, consult: view({})}), "in_call");
});

test("the queue goes by colour, then by waiting time, and leaves its argument alone", () => {
  const items = [
    item({consult: "g", since: 1}), item({consult: "r2", urgency: "red", since: 50}),
    item({consult: "y", urgency: "yellow", since: 2}), item({consult: "r1", urgency: "red", since: 40}),
  ];
  assert.deepEqual(inOrder(items).map((each) => each.consult), ["r1", "r2", "y", "g"]);
  assert.equal(items[0]?.consult, "g");
});

test("call-backs go by deadline; one without a deadline comes last", () => {
  const items = [item({consult: "b", callbackBy: 20}), item({consult: "none"}), item({consult: "a", callbackBy: 10})];
  assert.deepEqual(byDeadline(items).map((each) => each.consult), ["a", "b", "none"]);
});

test("pages of history are joined without doubles, newest first", () => {
  /** @param {string} consult @param {number} at @returns {PastConsult} */
  const past = (consult, at) => ({consult, at, state: "ended", urgency: "green", specialty: "general"});
  const first = [past("c", 3), past("b", 2)];
  const joined = mergePast(first, [{...past("b", 2), note: "new"}, past("a", 1)]);
  assert.deepEqual(joined.map((each) => each.consult), ["c", "b", "a"]);
  assert.equal(joined[1]?.note, "new");
});

test("spans are short and never negative", () => {
  assert.deepEqual([-5, 0, 59.9, 60, 3_599, 3_600, 3_900].map(span),
    ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h 00 min", "1 h 05 min"]);
});

test("ages below two years are in months", () => {
  assert.deepEqual([0, 14, 23, 24, 412].map(age), ["0 months", "14 months", "23 months", "2 years", "34 years"]);
});

test("every refusal that ends a connection has a sentence; an unknown code is shown as it is", () => {
  for (const code of Object.values(CLOSE_CODES)) {
    if (["hello_timeout", "slow_reader", "binary_unsupported"].includes(code)) continue; // the page's own affair
    assert.doesNotMatch(refusalText(code), /\(/, code);
  }
  assert.match(refusalText("unheard_of"), /\(unheard_of\)/);
});

test("the operator's page is the board only once there is one", () => {
  const board = /** @type {const} */ ({type: "board", now: 0});
  assert.equal(operatorPageState({access: "signed_in", board: null, tab: "board"}), "connecting");
  assert.equal(operatorPageState({access: "signed_in", board, tab: "board"}), "board");
  assert.equal(operatorPageState({access: "signed_in", board: null, tab: "accounts"}), "accounts");
  assert.equal(operatorPageState({access: "signed_out", board, tab: "accounts"}), "signed_out");
});

test("the board's figures count what needs somebody", () => {
  const board = /** @type {const} */ ({
    type: "board", now: 1_000,
    waiting: [item({since: 400, urgency: "red"}), item({since: 900})],
    callbacks: [item({callbackBy: 999}), item({callbackBy: 1_001})],
    specialists: [
      {account: "a", name: "A", state: "available", specialties: [], languages: []},
      {account: "b", name: "B", state: "in_call", specialties: [], languages: []},
      {account: "c", name: "C", state: "off_call", specialties: [], languages: []},
    ],
  });
  assert.deepEqual(figures(/** @type {any} */ (board), 1_000),
    {waiting: 2, red: 1, longestS: 600, calls: 0, owed: 2, overdue: 1, onCall: 2, free: 1});
  assert.equal(figures({type: "board", now: 0}, 0).waiting, 0);
});

test("who can be reached comes first; posts in need come first; usable accounts come first", () => {
  /** @param {string} name @param {import("../../signalling/web/js/wire.js").SpecialistState} state */
  const person = (name, state) => ({account: name, name, state, specialties: [], languages: []});
  assert.deepEqual(
    byState([person("b", "off_call"), person("a", "in_call"), person("d", "available"), person("c", "available")])
      .map((each) => each.name), ["c", "d", "a", "b"]);
  const post = (/** @type {string} */ name, /** @type {number} */ waiting) => ({post: {code: name, name}, waiting});
  assert.deepEqual(byNeed([post("a", 0), post("b", 2), post("c", 1)]).map((row) => row.post.name), ["b", "c", "a"]);
  const account = (/** @type {string} */ name, disabled = false) => /** @type {any} */ ({name, disabled});
  assert.deepEqual(accountsInOrder([account("a", true), account("c"), account("b")]).map((each) => each.name), ["b", "c", "a"]);
});

test("a sign-in name is made from a name without titles and marks", () => {
  assert.deepEqual(["dr. Sari Wulandari, Sp.A", "Prof. Dr. Ágnes", "Yohanes Lalu Bria", ""].map(suggestLogin),
    ["sari.wulandari", "agnes", "yohanes.lalu", ""]);
});
