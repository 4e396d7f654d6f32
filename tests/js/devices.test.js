// SPDX-License-Identifier: Apache-2.0
// The microphone's life: a phone call takes it and gives it back; muting by the person is another thing.
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";
import {Devices} from "../../signalling/web/js/devices.js";
import {settle, stage, unstage} from "./fakes.js";

/** A track as a browser gives it. */
class Track {
  enabled = true;
  muted = false;
  /** @type {null | (() => void)} */
  onmute = null;
  /** @type {null | (() => void)} */
  onunmute = null;
  onended = null;

  /** @param {string} kind */
  constructor(kind) {
    this.kind = kind;
  }

  getSettings() {
    return {deviceId: `${this.kind}-1`};
  }

  stop() {}

  /** @param {boolean} yes the system takes it, or gives it back */
  taken(yes) {
    this.muted = yes;
    if (yes) this.onmute?.();
    else this.onunmute?.();
  }
}

/** @type {Track} */
let track;
let changes = 0;

beforeEach(() => {
  stage();
  track = new Track("audio");
  changes = 0;
  Object.defineProperty(globalThis, "navigator", {configurable: true, value: {
    mediaDevices: {
      getUserMedia: async () => ({getTracks: () => [track]}), enumerateDevices: async () => [], addEventListener() {},
    },
  }});
});

afterEach(unstage);

async function open() {
  const devices = new Devices({onchange: () => changes++});
  await devices.open({audio: true});
  await settle();
  assert.equal(devices.state.audio, "live");
  return devices;
}

test("a phone call takes the microphone, and all is as before when it ends", async () => {
  const devices = await open();
  const before = changes;
  track.taken(true);
  assert.equal(devices.state.audio, "taken");
  assert.ok(changes > before);
  track.taken(false);
  assert.equal(devices.state.audio, "live");
  assert.equal(devices.tracks.audio, /** @type {any} */ (track), "the same track goes on");
  devices.close();
});

test("who muted stays muted through a phone call", async () => {
  const devices = await open();
  devices.mute(true);
  track.taken(true);
  assert.equal(devices.state.audio, "muted");
  track.taken(false);
  assert.equal(devices.state.audio, "muted");
  assert.equal(track.enabled, false);
  devices.close();
});

test("a track that is not in use any more says nothing", async () => {
  const devices = await open();
  const old = track;
  devices.close();
  old.taken(true);
  assert.equal(devices.state.audio, "off");
});
