// SPDX-License-Identifier: Apache-2.0
// The note: saved by itself, never lost by a reload or an outage.
import assert from "node:assert/strict";
import test from "node:test";
import {Note} from "../../signalling/web/js/note.js";

class Drawer {
  /** @type {Map<string, string>} */
  things = new Map();
  /** @param {string} key */
  getItem(key) {
    return this.things.get(key) ?? null;
  }
  /** @param {string} key @param {string} value */
  setItem(key, value) {
    this.things.set(key, value);
  }
  /** @param {string} key */
  removeItem(key) {
    this.things.delete(key);
  }
}

/**
 * A note with a server that can be told to fail, or to wait.
 * @param {Drawer} [storage]
 */
function desk(storage = new Drawer()) {
  const desk = {
    storage,
    /** @type {string[]} */
    sent: [],
    /** @type {string[]} */
    states: [],
    fails: false,
    /** @type {Promise<void>} */
    gate: Promise.resolve(),
    note: /** @type {Note} */ (/** @type {unknown} */ (null)),
  };
  desk.note = new Note({
    consult: "c_1",
    storage,
    onstate: (state) => desk.states.push(state),
    save: async (text) => {
      desk.sent.push(text);
      await desk.gate;
      if (desk.fails) throw new Error("connection_lost");
    },
  });
  return desk;
}

test("what is typed is saved after a pause, once, and the draft is gone then", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const {note, sent, states, storage} = desk();
  note.fromServer("");
  note.write("B");
  note.write("Batuk");
  assert.deepEqual(sent, []);
  assert.equal(storage.things.size, 1);
  t.mock.timers.tick(1_200);
  await new Promise(setImmediate);
  assert.deepEqual(sent, ["Batuk"]);
  assert.deepEqual(states, ["unsaved", "saving", "saved"]);
  assert.equal(storage.things.size, 0);
});

test("a reload before the save brings the draft back and saves it", async () => {
  const before = desk();
  before.note.fromServer("old");
  before.note.write("old and new");
  before.note.close();
  const after = desk(before.storage);
  assert.equal(after.note.fromServer("old"), true);
  assert.equal(after.note.text, "old and new");
  await after.note.flush();
  assert.deepEqual(after.sent, ["old and new"]);
  assert.equal(after.note.state, "saved");
  after.note.close();
});

test("without a connection the note is kept, says so, and is sent again by itself", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const there = desk();
  there.note.fromServer("");
  there.fails = true;
  there.note.write("Batuk");
  await there.note.flush();
  assert.equal(there.note.state, "kept");
  assert.equal(there.storage.things.size, 1);
  there.fails = false;
  t.mock.timers.tick(5_000);
  await new Promise(setImmediate);
  assert.equal(there.note.state, "saved");
  assert.deepEqual(there.sent, ["Batuk", "Batuk"]);
});

test("what is being typed is never overwritten by the server's older text", () => {
  const {note} = desk();
  note.fromServer("old");
  note.write("new");
  assert.equal(note.fromServer("old"), false);
  assert.equal(note.text, "new");
  note.close();
});

test("typing while a save is under way ends with the last text on the server", async () => {
  const there = desk();
  there.note.fromServer("");
  let open = () => {};
  there.gate = new Promise((resolve) => {
    open = resolve;
  });
  there.note.write("one");
  const saving = there.note.flush();
  there.note.write("one two");
  open();
  await saving;
  assert.deepEqual(there.sent, ["one", "one two"]);
  assert.equal(there.note.state, "saved");
  there.note.close();
});

test("emptying the note is saved too", async () => {
  const there = desk();
  there.note.fromServer("old");
  there.note.write("");
  await there.note.flush();
  assert.deepEqual(there.sent, [""]);
  assert.equal(there.note.state, "empty");
});

test("a forbidden storage costs the draft, not the note", async () => {
  const storage = new Drawer();
  storage.getItem = storage.setItem = storage.removeItem = () => {
    throw new Error("SecurityError");
  };
  const there = desk(storage);
  there.note.fromServer("old");
  there.note.write("new");
  await there.note.flush();
  assert.deepEqual(there.sent, ["new"]);
});
