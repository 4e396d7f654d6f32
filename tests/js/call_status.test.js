// SPDX-License-Identifier: Apache-2.0
// The status of a call between a session and a page: what is said, and what is sent.
import assert from "node:assert/strict";
import test from "node:test";
import {CallStatus} from "../../signalling/web/js/call_status.js";

/** A session in a call, a connection that receives, and what was sent. */
function scene() {
  /** @type {{type: string, data: string, consult: string}[]} */
  const sent = [];
  const counted = {at: 0, heard: 0, frames: 0, packets: 0, silent: false};
  const endpoint = {
    limits: /** @type {any} */ (null),
    stats: () => ({rttMs: 40, report: new Map(Object.entries({
      a: {
        type: "inbound-rtp", kind: "audio", timestamp: counted.at, totalSamplesReceived: counted.heard,
        packetsReceived: counted.packets,
      },
      v: {type: "inbound-rtp", kind: "video", timestamp: counted.at, framesDecoded: counted.frames, frameHeight: 240},
      t: {type: "transport", bytesSent: 10, bytesReceived: 20, packetsSent: 1, packetsReceived: 1},
    }))}),
  };
  const session = /** @type {any} */ ({
    state: {link: "open", endpoint: "connected", me: {role: "patient"}, rungs: null},
    endpoint,
    transport: {send: (/** @type {string} */ type, /** @type {any} */ fields) => sent.push({type, ...fields})},
  });
  const devices = /** @type {any} */ ({state: {audio: "live", video: "live"}, tracks: {audio: {}, video: {}}});
  const status = new CallStatus({session: () => session, devices: () => devices});
  const view = /** @type {any} */ ({consult: "c1", away: [], peer: {instance: "i1"}});
  let now = 0;
  /** @param {number} seconds */
  const pass = (seconds) => {
    let said = status.look(view, now);
    for (let n = 0; n < seconds * 2; n++) {
      now += 500;
      Object.assign(counted, {at: now + 1_000, heard: now * 48, frames: now / 100});
      if (!counted.silent) counted.packets += 10;
      said = status.look(view, now);
    }
    return said;
  };
  return {sent, endpoint, session, devices, status, view, pass, counted};
}

/** @param {string} data */
const octets = (data) => [...atob(data)].map((char) => char.charCodeAt(0));

test("figures go every five seconds, five of them, though the page looks twice a second", () => {
  const {sent, pass} = scene();
  pass(16);
  assert.equal(sent.length, 3);
  for (const {type, consult, data} of sent) {
    assert.deepEqual([type, consult], ["reception", "c1"]);
    assert.ok([5, 6].includes((octets(data).length - 6) / 7), String(octets(data).length));
  }
  const [, , opus, frame, lines, flags] = octets(sent[1]?.data ?? "");
  assert.deepEqual([opus, frame, lines, flags], [64, 20, 30, 1]);
});

test("what the relay allows is what this page says that it sends", () => {
  const {sent, endpoint, pass} = scene();
  endpoint.limits = {videoMaxBps: 0, audioMaxBps: 8_000, ptimeMs: 60, rung: "voice-min"};
  pass(24);
  assert.equal(sent.length, 2, "half as often on a thin rung");
  const [, , opus, frame, , flags] = octets(sent[0]?.data ?? "");
  assert.deepEqual([opus, frame, flags], [16, 60, 0]);
});

test("the service's word is said for its own consult only", () => {
  const {status, pass} = scene();
  pass(1);
  status.receive({type: "quality", consult: "c0", microphone: "muted"});
  assert.equal(status.quality, null);
  status.receive({type: "quality", consult: "c1", microphone: "muted"});
  assert.equal(pass(1).sentence, "other_muted");
});

test("whose page is gone is known from the view, and another consult begins afresh", () => {
  const {session, status, view, pass} = scene();
  pass(1);
  session.state.endpoint = "interrupted";
  view.away = ["specialist"];
  assert.equal(pass(1).sentence, "other_down");
  assert.ok(status.since > 0);
  session.state.endpoint = "connected";
  view.away = [];
  view.consult = "c2";
  assert.equal(pass(1).sentence, "");
  assert.equal(status.since, 0);
});

test("nothing comes of the other side though the endpoint stands: said, until something comes", () => {
  const {session, status, counted, pass} = scene();
  pass(3);
  counted.silent = true;
  assert.equal(pass(2).sentence, "");
  assert.equal(pass(2).sentence, "other_down");
  assert.ok(status.since > 0);
  counted.silent = false;
  assert.equal(pass(3).sentence, "");
  session.state.rungs = {mine: null, theirs: {rung: "text", reason: "rate", whose: "other"}};
  counted.silent = true;
  assert.equal(pass(5).sentence, "text_other", "no voice is sent at all: that is not silence");
});

test("who has never been heard is no outage", () => {
  const {counted, pass} = scene();
  counted.silent = true;
  assert.equal(pass(10).sentence, "");
});

test("without a connection nothing is sent, and what it cost is known with one", () => {
  const {sent, session, status, pass} = scene();
  pass(1);
  assert.equal(status.received?.bytes, 30 + 2 * 28);
  session.endpoint = null;
  pass(20);
  assert.deepEqual(sent, []);
  assert.equal(status.received, null);
});
