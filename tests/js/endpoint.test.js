// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import {DirectEndpoint} from "../../signalling/web/js/endpoint.js";
import {read} from "../../signalling/web/js/stats.js";
import {pass, settle, stage, unstage} from "./fakes.js";
import {FakeConnection} from "./peer.js";

/** As much of RTCPeerConnection as negotiation needs (W3C webrtc §4.4). */
class FakePeer extends FakeConnection {
  /** @type {any[]} */
  static all = [];
  /** @type {any[]} */
  candidates = [];
  restarts = 0;
  refuses = false;
  #needed = false;
  #generation = 1;
  /** @type {any} */
  onnegotiationneeded;
  /** @type {any} */
  onicecandidate;

  static get last() {
    return /** @type {FakePeer} */ (FakePeer.all.at(-1));
  }

  /** @param {any} kind @param {any} init */
  addTransceiver(kind, init) {
    this.transceivers.push(transceiver(kind, init.direction));
    this.#need();
  }

  restartIce() {
    this.restarts++;
    this.#generation++;
    this.#need();
  }

  async createOffer() {
    return {type: "offer"};
  }

  async setLocalDescription() {
    const type = this.signalingState === "have-remote-offer" ? "answer" : "offer";
    this.localDescription = {type, sdp: `v=0 local ${this.#generation}\r\na=ice-ufrag:${this.#generation}\r\n`};
    this.signalingState = type === "offer" ? "have-local-offer" : "stable";
    this.#needed = false;
  }

  /** @param {any} description */
  async setRemoteDescription(description) {
    if (this.refuses) throw new Error("does not fit");
    this.remoteDescription = description;
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
    if (!this.getTransceivers().length) {
      this.transceivers = ["audio", "video"].map((kind) => transceiver(kind, "recvonly"));
    }
    this.#fire();
  }

  /** @param {any} candidate */
  async addIceCandidate(candidate) {
    this.candidates.push(candidate.candidate);
  }

  #need() {
    this.#needed = true;
    this.#fire();
  }

  #fire() {
    queueMicrotask(() => {
      if (this.#needed && this.signalingState === "stable") this.onnegotiationneeded?.();
    });
  }
}

/** @param {any} kind @param {string} direction */
function transceiver(kind, direction) {
  return {
    direction,
    receiver: {track: {kind}},
    sender: {
      track: null,
      setStreams() {},
      getParameters: () => ({encodings: [{}]}),
      /** @param {any} parameters */
      async setParameters(parameters) {
        this.parameters = parameters;
      },
      /** @type {any} */
      parameters: null,
      /** @param {any} track */
      async replaceTrack(track) {
        this.track = track;
      },
    },
  };
}

/** @type {EventTarget} */
let page;
/** @type {any[]} */
let sent;
/** @type {any[]} */
let reports;
/** @type {string[]} */
let states;
/** @type {DirectEndpoint} */
let endpoint;
let rtp = 0;
let responses = 0;

beforeEach(() => {
  page = stage();
  sent = [];
  reports = [];
  states = [];
  FakePeer.all = [];
  rtp = responses = 0;
  Object.assign(globalThis, {RTCPeerConnection: FakePeer, MediaStream: class {}});
});

afterEach(() => {
  endpoint.close();
  unstage();
});

/** @param {any} [more] */
async function make(more = {}) {
  endpoint = new DirectEndpoint({
    polite: false, offers: true,
    send: (message) => {
      sent.push(message);
      return true;
    },
    onstate: (state) => states.push(state),
    onreport: (kind, report) => reports.push([kind, report]),
    part: () => import("../../signalling/web/js/direct_limits.js"),
    ...more,
  });
  await settle();
}

/** @param {string} [type] @param {string} [sdp] */
const describe = (type = "offer", sdp = "v=0\r\na=ice-ufrag:AAAA\r\n") => ({type: "description", description: {type, sdp}});
/** @param {string} name @param {string} [usernameFragment] */
const candidate = (name, usernameFragment) => ({type: "candidate", candidate: {candidate: name, usernameFragment}});
const offers = () => sent.filter((each) => each.description?.type === "offer").length;
/** @param {number} [frames] @param {number} [rttS] */
function measure(frames = 0, rttS = 0.1) {
  FakePeer.last.stats = new Map(Object.entries({
    a: {type: "inbound-rtp", kind: "audio", packetsReceived: rtp},
    v: {type: "inbound-rtp", kind: "video", packetsReceived: 0, framesDecoded: frames},
    t: {type: "transport", selectedCandidatePairId: "p", timestamp: 1 + performance.now(), bytesReceived: 100 * rtp, bytesSent: rtp},
    p: {type: "candidate-pair", localCandidateId: "l", remoteCandidateId: "r", currentRoundTripTime: rttS, responsesReceived: responses},
    l: {type: "local-candidate", candidateType: "relay", relayProtocol: "tls", protocol: "udp"},
    r: {type: "remote-candidate", candidateType: "srflx"},
  }));
}

/** Media flows for so long. @param {number} ms @param {number} [rttS] @param {number} [frames] */
async function flow(ms, rttS, frames = 1) {
  for (let left = ms; left > 0; left -= 100) {
    rtp += 5;
    measure(frames, rttS);
    await pass(100);
  }
}

/** A call that stands. @param {number} [rttS] @param {any} [more] */
async function connected(rttS, more) {
  await make(more);
  await endpoint.receive(describe("answer"));
  FakePeer.last.become("connected");
  await flow(1_000, rttS);
  sent = [];
  reports = [];
}

test("the offering side offers both kinds at once, with no track and no permission", async () => {
  await make();
  assert.deepEqual(FakePeer.last.transceivers.map((each) => each.receiver.track.kind), ["audio", "video"]);
  assert.equal(offers(), 1);
});

test("the other side waits for the offer, then sends in both directions; tracks come later without negotiation", async () => {
  await make({polite: true, offers: false});
  assert.equal(sent.length, 0);
  await endpoint.receive(describe());
  assert.deepEqual(sent.map((each) => each.description.type), ["answer"]);
  assert.deepEqual(FakePeer.last.transceivers.map((each) => each.direction), ["sendrecv", "sendrecv"]);
  const track = /** @type {any} */ ({});
  endpoint.setTrack("audio", track);
  assert.equal(FakePeer.last.transceivers[0].sender.track, track);
  await settle();
  assert.equal(sent.length, 1);
});

test("when both offer, the impolite side ignores the offer and its candidates, the polite side gives way", async () => {
  await make({polite: false});
  await endpoint.receive(describe());
  await endpoint.receive(candidate("x", "AAAA"));
  assert.equal(FakePeer.last.remoteDescription, null);
  await endpoint.receive(describe("answer"));
  assert.deepEqual(FakePeer.last.candidates, []);
  endpoint.close();
  await make({polite: true});
  await endpoint.receive(describe());
  assert.equal(sent.at(-1).description.type, "answer");
});

test("candidates wait for the description; those of another generation are dropped", async () => {
  await make({polite: true, offers: false});
  await endpoint.receive(candidate("early", "AAAA"));
  await endpoint.receive(candidate("stale", "OLD"));
  await endpoint.receive(describe());
  await endpoint.receive(candidate("late", "AAAA"));
  await endpoint.receive(candidate("stale again", "OLD"));
  assert.deepEqual(FakePeer.last.candidates, ["early", "late"]);
});

test("the answer to an offer that was sent twice does no harm", async () => {
  await connected();
  await endpoint.receive(describe("answer", "second"));
  assert.notEqual(FakePeer.last.remoteDescription.sdp, "second");
});

test("an offer that doesn't fit is of another connection: another one is made for it", async () => {
  await connected();
  FakePeer.last.refuses = true;
  const track = /** @type {any} */ ({});
  endpoint.setTrack("audio", track);
  await endpoint.receive(describe());
  assert.equal(FakePeer.all.length, 2);
  assert.equal(FakePeer.all[0]?.connectionState, "closed");
  assert.equal(sent.at(-1).description.type, "answer");
  assert.equal(FakePeer.last.transceivers[0].sender.track, track);
});

test("voice is sent before picture, and picture is held below what fills a thin link", async () => {
  await connected();
  const [audio, video] = FakePeer.last.transceivers.map((each) => each.sender.parameters.encodings[0]);
  assert.equal(audio.priority, "high");
  assert.equal(video.priority, "low");
  assert.ok(video.maxBitrate <= 600_000);
});

test("the phases of the set-up are reported once, all of them, with the candidates", async () => {
  await make();
  await endpoint.receive(describe("answer"));
  await pass(300);
  FakePeer.last.become("connected");
  await pass(200);
  rtp = 5;
  measure(0);
  await pass(300);
  assert.equal(reports.length, 0, "no frame yet");
  measure(1);
  await pass(1_000);
  assert.equal(reports.length, 1);
  const [kind, report] = reports[0];
  assert.equal(kind, "setup");
  assert.equal(report.connectedMs, 300);
  assert.ok(report.firstAudioMs >= 500 && report.firstAudioMs <= 600);
  assert.ok(report.firstFrameMs >= 800 && report.firstFrameMs <= 900);
  assert.deepEqual([report.localCandidate, report.remoteCandidate, report.protocol], ["relay", "srflx", "tls"]);
});

test("without a camera on the other side, the set-up is reported after 15 s without a first frame", async () => {
  await make();
  await endpoint.receive(describe("answer"));
  FakePeer.last.become("connected");
  await flow(14_900, 0.1, 0);
  assert.equal(reports.length, 0);
  await flow(300, 0.1, 0);
  assert.equal(reports.length, 1);
  assert.equal(reports[0][1].firstFrameMs, undefined);
  assert.ok(reports[0][1].firstAudioMs > 0);
});

test("2 s without RTP restart ICE, again every 2 s until media flows; the recovery is reported", async () => {
  await connected();
  await pass(1_900);
  assert.equal(FakePeer.last.restarts, 0);
  await pass(700);
  assert.equal(FakePeer.last.restarts, 1);
  assert.equal(offers(), 1);
  assert.equal(endpoint.state, "interrupted");
  await endpoint.receive(describe("answer"));
  await pass(2_100);
  assert.equal(FakePeer.last.restarts, 2);
  assert.deepEqual(reports, [["restart", {trigger: "no_media"}]], "the first came to nothing");
  await endpoint.receive(describe("answer"));
  await flow(600);
  assert.equal(endpoint.state, "connected");
  const report = /** @type {any} */ (reports).at(-1)[1];
  assert.equal(report.trigger, "no_media");
  assert.ok(report.recoveredMs >= 2_000 && report.recoveredMs < 3_200, `${report.recoveredMs}`);
  const {restarts} = FakePeer.last;
  await flow(5_000);
  assert.equal(FakePeer.last.restarts, restarts);
});

test("on a long link restarts are spaced by three round trips", async () => {
  await connected(1.5);
  await pass(2_600);
  assert.equal(FakePeer.last.restarts, 1);
  await endpoint.receive(describe("answer"));
  await pass(3_500);
  assert.equal(FakePeer.last.restarts, 1);
  await pass(1_500);
  assert.equal(FakePeer.last.restarts, 2);
});

test("after a minute in vain it takes its time", async () => {
  await connected();
  for (let at = 0; at < 66_000; at += 1_000) {
    await pass(1_000);
    await endpoint.receive(describe("answer"));
  }
  const before = FakePeer.last.restarts;
  for (let at = 0; at < 20_000; at += 1_000) {
    await pass(1_000);
    await endpoint.receive(describe("answer"));
  }
  assert.ok(FakePeer.last.restarts - before >= 3 && FakePeer.last.restarts - before <= 5, `${FakePeer.last.restarts - before}`);
});

test("silence is no trouble while the other side is known to be gone, or before anything flowed", async () => {
  await connected();
  endpoint.away(true);
  await pass(10_000);
  assert.equal(FakePeer.last.restarts, 0);
  endpoint.close();
  await make();
  await endpoint.receive(describe("answer"));
  FakePeer.last.become("connected");
  await pass(10_000);
  assert.equal(FakePeer.last.restarts, 0);
});

test("somebody who sends nothing, on a path where checks are answered, is not restarted for ever", async () => {
  await connected();
  await pass(2_600);
  await endpoint.receive(describe("answer"));
  responses += 5;
  measure(1);
  await pass(30_000);
  assert.equal(FakePeer.last.restarts, 1);
  assert.equal(endpoint.state, "connected");
});

test("online restarts at once; a page that is shown again restarts after 700 ms of silence", async () => {
  await connected();
  page.dispatchEvent(new Event("online"));
  assert.equal(FakePeer.last.restarts, 1);
  await settle();
  await endpoint.receive(describe("answer"));
  await flow(3_000);
  assert.deepEqual(reports.map(([, {trigger}]) => trigger), ["online"]);
  page.dispatchEvent(new Event("pageshow"));
  await flow(1_000);
  assert.equal(FakePeer.last.restarts, 1, "it flows");
  await pass(1_300);
  assert.equal(FakePeer.last.restarts, 2);
});

test("a failed connection is restarted, also one that never stood", async () => {
  await make();
  await endpoint.receive(describe("answer"));
  FakePeer.last.become("failed");
  assert.equal(FakePeer.last.restarts, 1);
  await settle();
  await endpoint.receive(describe("answer"));
  await pass(2_200);
  assert.equal(FakePeer.last.restarts, 2);
  assert.equal(endpoint.state, "interrupted");
});

test("without signalling no restart is made; it is made when signalling is back", async () => {
  await connected();
  endpoint.signalling(false);
  await pass(20_000);
  assert.equal(FakePeer.last.restarts, 0);
  endpoint.signalling(true);
  await settle();
  assert.equal(FakePeer.last.restarts, 1);
  assert.equal(offers(), 1);
});

test("an offer that got lost with the socket is sent again, and again after 4 s without an answer", async () => {
  await make();
  endpoint.signalling(false);
  endpoint.signalling(true);
  assert.equal(offers(), 2);
  await pass(4_200);
  assert.equal(offers(), 3);
  await endpoint.receive(describe("answer"));
  await pass(9_000);
  assert.equal(offers(), 3);
});

test("trouble with media asks whether signalling is alive", async () => {
  let asked = 0;
  await make({ontrouble: () => asked++});
  await endpoint.receive(describe("answer"));
  FakePeer.last.become("connected");
  await flow(1_000);
  await pass(2_600);
  assert.ok(asked >= 1);
});

/** @type {any} */
const LIMITS = {
  videoMaxBps: 20_000, videoMaxHeight: 120, videoMaxFps: 6, audioMaxBps: 12_000, ptimeMs: 60, red: "first", rung: "glimpse",
  brake: {noReportMs: 3_000, roundTripMs: 1_500, polls: 2, pollMs: 500},
};
const VOICE = ["v=0", "a=ice-ufrag:AAAA", "m=audio 9 X 111 63", "a=rtpmap:111 opus/48000/2", "a=rtpmap:63 red/48000/2", "m=video 9 X 96",
  "a=rtpmap:96 VP8/90000", ""].join("\r\n");
const picture = () => FakePeer.last.getTransceivers()[1].sender;

test("limits hold the picture at once, and the voice by the answer applied once more, of which the other side hears nothing", async () => {
  await make();
  await endpoint.receive(describe("answer", VOICE));
  assert.equal(endpoint.limits, null);
  const before = sent.length;
  endpoint.limit(LIMITS);
  await settle();
  assert.deepEqual([picture().parameters.encodings[0].maxBitrate, picture().parameters.encodings[0].maxFramerate], [20_000, 6]);
  const {type, sdp} = FakePeer.last.remoteDescription;
  assert.equal(type, "answer");
  assert.match(sdp, /^m=audio 9 X 63 111\r$/m);
  assert.match(sdp, /maxaveragebitrate=12000/);
  assert.match(sdp, /^a=ptime:60\r$/m);
  assert.equal(FakePeer.last.signalingState, "stable");
  assert.equal(sent.length, before);
  let applied = 0;
  const set = FakePeer.last.setRemoteDescription.bind(FakePeer.last);
  FakePeer.last.setRemoteDescription = async (/** @type {any} */ description) => {
    applied++;
    await set(description);
  };
  endpoint.limit({...LIMITS, videoMaxBps: 25_000});
  await settle();
  assert.equal(applied, 0, "the voice is as it was");
});

test("whoever answered applies the offer once more; limits that come first hold the first description", async () => {
  await make({polite: true, offers: false});
  endpoint.limit(LIMITS);
  await endpoint.receive(describe("offer", VOICE));
  assert.match(FakePeer.last.remoteDescription.sdp, /x-google-start-bitrate=32/);
  assert.match(FakePeer.last.remoteDescription.sdp, /maxaveragebitrate=12000/);
  const before = sent.length;
  endpoint.limit({...LIMITS, audioMaxBps: 8_000});
  await settle();
  assert.equal(FakePeer.last.remoteDescription.type, "offer");
  assert.match(FakePeer.last.remoteDescription.sdp, /maxaveragebitrate=8000/);
  assert.equal(FakePeer.last.signalingState, "stable");
  assert.equal(sent.length, before);
});

test("an ICE restart that comes into a local description is offered, not hidden", async () => {
  await make();
  await endpoint.receive(describe("answer", VOICE));
  const before = offers();
  FakePeer.last.restartIce();
  endpoint.limit(LIMITS);
  await settle();
  assert.equal(offers(), before + 1);
  assert.equal(FakePeer.last.signalingState, "have-local-offer");
  await endpoint.receive(describe("answer", VOICE));
  assert.match(FakePeer.last.remoteDescription.sdp, /maxaveragebitrate=12000/);
});

test("limits of a connection that stands take the place of our own for good", async () => {
  await connected();
  endpoint.limit({...LIMITS, videoMaxBps: 100_000});
  await flow(8_000);
  assert.equal(picture().parameters.encodings[0].maxBitrate, 100_000);
});

test("what is counted goes to the node; without signalling it waits, and the brake stops the picture all the same", async () => {
  /** @type {string[]} */
  const ways = [];
  const onway = (/** @type {string} */ data) => ways.push(data) > 0;
  await connected(undefined, {onway});
  endpoint.limit(LIMITS);
  const sender = picture();
  sender.track = {};
  let reports = 0;
  sender.getStats = async () => new Map([["r", {type: "remote-inbound-rtp", kind: "video", timestamp: reports++, roundTripTime: 0.1}]]);
  await flow(6_000);
  assert.ok(ways.length >= 2 && ways.length <= 4, `${ways.length} reports`);
  endpoint.signalling(false);
  sender.getStats = async () => new Map([["r", {type: "remote-inbound-rtp", kind: "video", timestamp: 1, roundTripTime: 0.1}]]);
  const told = ways.length;
  await flow(5_000);
  assert.equal(sender.parameters.encodings[0].active, false);
  assert.equal(ways.length, told);
  endpoint.signalling(true);
  await flow(2_500);
  assert.equal(atob(ways.at(-1) ?? "").charCodeAt(20) & 2, 2, "the brake is told with the next report");
  endpoint.limit({...LIMITS, videoMaxBps: 0, rung: "voice", brake: null});
  endpoint.limit(LIMITS);
  assert.equal(sender.parameters.encodings[0].active, true);
});

test("closed, it does nothing any more", async () => {
  await connected();
  endpoint.close();
  await endpoint.receive(describe());
  page.dispatchEvent(new Event("online"));
  await pass(10_000);
  assert.equal(sent.length, 0);
  assert.equal(FakePeer.last.connectionState, "closed");
  assert.equal(states.at(-1), "closed");
});

test("statistics are read where there are no transport statistics too", () => {
  const sample = read(/** @type {any} */ (new Map(Object.entries({
    p: {type: "candidate-pair", selected: true, localCandidateId: "l", remoteCandidateId: "r", currentRoundTripTime: 0.25},
    l: {candidateType: "host", protocol: "udp"},
    r: {candidateType: "prflx"},
  }))));
  assert.deepEqual([sample.rttMs, sample.localCandidate, sample.remoteCandidate, sample.protocol], [250, "host", "prflx", "udp"]);
});
