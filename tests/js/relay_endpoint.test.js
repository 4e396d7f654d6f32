// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {afterEach, beforeEach, test} from "node:test";

import {RelayEndpoint} from "../../signalling/web/js/relay_endpoint.js";
import {pass, settle, stage, unstage} from "./fakes.js";
import {FakeAnswerer} from "./peer.js";

/** @param {string} name */
const golden = (name) => readFileSync(new URL(`../wire/golden/${name}`, import.meta.url), "utf8");
/** @type {import("../../signalling/web/js/wire.js").LegOffer} */
const OFFER = JSON.parse(golden("relay_offer.json"));

/** @type {RelayEndpoint} */
let endpoint;
/** @type {any[]} */
let answers;
/** @type {any[]} */
let reports;
/** @type {string[]} */
let states;
/** @type {number[]} */
let lost;
let voices = 0;
let rtp = 0;
let responses = 0;
/** @type {EventTarget} */
let page;

beforeEach(() => {
  page = stage();
  FakeAnswerer.all = [];
  FakeAnswerer.answer = golden("relay_answer.sdp");
  Object.assign(globalThis, {RTCPeerConnection: FakeAnswerer});
  cores(4);
  answers = [];
  reports = [];
  states = [];
  lost = [];
  voices = rtp = responses = 0;
});

afterEach(() => {
  endpoint.close();
  unstage();
});

/** @param {number} many */
const cores = (many) => Object.defineProperty(globalThis, "navigator", {configurable: true, value: {hardwareConcurrency: many}});

/** @param {any} [more] */
async function make(more = {}) {
  endpoint = new RelayEndpoint({
    offer: OFFER,
    onanswer: (answer) => answers.push(answer),
    onreport: (...report) => reports.push(report),
    onstate: (state) => states.push(state),
    onlost: (silentMs) => lost.push(silentMs),
    onvoice: () => voices++,
    ...more,
  });
  await settle();
}

/** @param {number} [rttS] */
function measure(rttS = 0.1) {
  FakeAnswerer.last.stats = new Map(Object.entries({
    a: {type: "inbound-rtp", kind: "audio", packetsReceived: rtp},
    v: {type: "inbound-rtp", kind: "video", packetsReceived: 0, framesDecoded: rtp},
    t: {type: "transport", selectedCandidatePairId: "p"},
    p: {type: "candidate-pair", currentRoundTripTime: rttS, responsesReceived: responses},
  }));
}

/** Media flows for so long. @param {number} ms @param {number} [rttS] */
async function flow(ms, rttS) {
  for (let left = ms; left > 0; left -= 100) {
    rtp += 5;
    measure(rttS);
    await pass(100);
  }
}

/** A leg that stands, in a call unless told otherwise. @param {{warm?: boolean, rttS?: number}} [how] */
async function connected({warm = false, rttS = 0.1} = {}) {
  await make();
  FakeAnswerer.last.become("connected");
  if (warm) return;
  endpoint.talk(true);
  await flow(1_000, rttS);
  reports = [];
}

const restarts = () => FakeAnswerer.last.steps.filter((step) => step === "local restart").length;
const ufrag = () => /a=ice-ufrag:(.*)\r/.exec(FakeAnswerer.last.told.at(-1) ?? "")?.[1];
const [audio, video] = [0, 1].map((at) => () => FakeAnswerer.last.transceivers[at]);

test("the relay's offer is answered at once, in both directions, with nothing to send", async () => {
  const track = /** @type {any} */ ({});
  await make();
  endpoint.setTrack("audio", track);
  assert.deepEqual(FakeAnswerer.last.steps, ["remote offer", "local answer"]);
  assert.deepEqual(answers, [JSON.parse(golden("relay_answer.json"))]);
  assert.deepEqual(FakeAnswerer.last.transceivers.map((each) => each.direction), ["sendrecv", "sendrecv"]);
  FakeAnswerer.last.become("connected");
  await pass(10_000);
  assert.equal(audio?.().sender.track, null);
  assert.equal(endpoint.state, "connected");
  assert.deepEqual(reports, []);
});

test("in a call the tracks go out at once, without negotiation; after it they are taken off", async () => {
  await connected({warm: true});
  const track = /** @type {any} */ ({});
  endpoint.setTrack("audio", track);
  const steps = FakeAnswerer.last.steps.length;
  endpoint.talk(true);
  assert.equal(audio?.().sender.track, track);
  const camera = /** @type {any} */ ({});
  endpoint.setTrack("video", camera);
  assert.equal(video?.().sender.track, camera);
  endpoint.talk(false);
  assert.equal(audio?.().sender.track, null);
  assert.equal(video?.().sender.track, null);
  assert.equal(FakeAnswerer.last.steps.length, steps);
});

/** What the page of a machine of so many cores answers; its browser has VP9. @param {number} many */
async function takesVp9(many) {
  cores(many);
  await make();
  return answers.at(-1).video.payloadTypes;
}
const pictures = () => FakeAnswerer.last.told.map((sdp) => /SAVPF (96|98) /.exec(sdp.slice(sdp.indexOf("m=video")))?.[1]);
/** @type {import("../../signalling/web/js/wire.js").Limits} */
const IN_VP9 = {videoMaxBps: 60_000, codec: "VP9"};

test("VP9 is what a machine of many cores would rather send, VP8 what one of few", async () => {
  assert.deepEqual(await takesVp9(8), [98, 96, 97, 99]);
  endpoint.close();
  assert.deepEqual(await takesVp9(4), [96, 97, 98, 99]);
});

test("another codec is sent by a word to the sender, without a description", async () => {
  await takesVp9(8);
  const sender = video?.().sender;
  const names = ["video/VP8", "video/rtx", "video/VP9", "video/rtx"];
  sender.parameters = {encodings: [{}], codecs: names.map((mimeType) => ({mimeType}))};
  endpoint.limit({videoMaxBps: 60_000});
  await settle();
  assert.equal(sender.parameters.encodings[0].codec.mimeType, "video/VP8");
  const steps = FakeAnswerer.last.steps.length;
  endpoint.limit(IN_VP9);
  await settle();
  assert.equal(sender.parameters.encodings[0].codec.mimeType, "video/VP9");
  assert.equal(sender.parameters.encodings[0].scalabilityMode, "L1T1");
  assert.equal(FakeAnswerer.last.steps.length, steps);
});

test("where the sender takes no such word the description names the codec first, once", async () => {
  await takesVp9(8);
  endpoint.talk(true); // before, each rate is one to begin with
  endpoint.limit({videoMaxBps: 60_000});
  await settle();
  const first = pictures().length;
  assert.equal(pictures().at(-1), "96");
  endpoint.limit(IN_VP9);
  await settle();
  endpoint.limit({...IN_VP9, videoMaxBps: 70_000});
  await settle();
  assert.deepEqual(pictures().slice(first), ["98"]);
  endpoint.limit({videoMaxBps: 60_000});
  await settle();
  assert.deepEqual(pictures().slice(first), ["98", "96"]);
});

test("a call's set-up is counted from its begin, not from the leg's", async () => {
  await connected({warm: true});
  await pass(60_000);
  endpoint.talk(true);
  await pass(300);
  await flow(500);
  assert.equal(reports.length, 1);
  const [kind, report] = reports[0];
  assert.equal(kind, "setup");
  assert.equal(report.connectedMs, 0);
  assert.ok(report.firstAudioMs >= 200 && report.firstAudioMs <= 500, `${report.firstAudioMs}`);
});

test("silence of a leg that only waits is no trouble", async () => {
  await connected({warm: true});
  await pass(60_000);
  assert.equal(restarts(), 0);
  assert.deepEqual(states, ["connected"]);
});

test("2 s of silence in a call restart ICE by the page alone, each time with the next pair, until media flows", async () => {
  await connected();
  await pass(1_900);
  assert.equal(restarts(), 0);
  await pass(700);
  assert.equal(restarts(), 1);
  assert.deepEqual(FakeAnswerer.last.steps.slice(-2), ["local restart", "remote answer"]);
  assert.equal(ufrag(), OFFER.ice[1]?.split(":")[0]);
  assert.equal(endpoint.state, "interrupted");
  await pass(2_100);
  assert.equal(restarts(), 2);
  assert.equal(ufrag(), OFFER.ice[2 % OFFER.ice.length]?.split(":")[0]);
  await flow(600);
  assert.equal(endpoint.state, "connected");
  assert.deepEqual(reports.map(([, {trigger}]) => trigger), ["no_media", "no_media"]);
  assert.equal(answers.length, 1, "nobody was told");
  await flow(5_000);
  assert.equal(restarts(), 2);
});

test("the answer to a restart names what the browser took, and says who is the DTLS client", async () => {
  FakeAnswerer.answer = golden("relay_answer_firefox.sdp");
  await connected();
  page.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(restarts(), 1);
  const told = FakeAnswerer.last.told.at(-1) ?? "";
  assert.ok(told.includes("a=setup:active"));
  assert.ok(!told.includes("red/48000"), "Firefox took no RED");
});

test("restarts are at least three round trips apart", async () => {
  await connected({rttS: 1.5});
  await pass(2_600);
  assert.equal(restarts(), 1);
  await pass(4_000);
  assert.equal(restarts(), 1);
  await pass(800);
  assert.equal(restarts(), 2);
});

test("after a sign of another network 700 ms of silence are enough", async () => {
  await connected();
  page.dispatchEvent(new Event("pageshow"));
  await pass(1_000);
  assert.equal(restarts(), 1);
});

test("a failed connection is restarted, warm or in a call, again and again", async () => {
  await connected({warm: true});
  FakeAnswerer.last.become("failed");
  await settle();
  assert.equal(restarts(), 1);
  await pass(4_100);
  assert.ok(restarts() >= 2);
  FakeAnswerer.last.become("connected");
  responses += 5;
  measure();
  await pass(4_100);
  const before = restarts();
  await pass(20_000);
  assert.equal(restarts(), before);
});

test("silence in spite of a restart is told within 3 s, and again every 2 s; an answered check is none", async () => {
  await connected();
  const before = performance.now();
  while (!lost.length && performance.now() - before < 10_000) await pass(50);
  assert.ok(performance.now() - before <= 3_000, `${performance.now() - before}`);
  assert.ok((lost[0] ?? 0) >= 2_000);
  await pass(4_100);
  assert.equal(lost.length, 3);
});

test("who is silent on a leg that answers checks is not restarted for ever, and the relay isn't accused", async () => {
  await connected();
  await pass(2_600);
  responses += 3;
  measure();
  await pass(30_000);
  assert.equal(restarts(), 1);
  assert.deepEqual(lost, []);
  assert.equal(endpoint.state, "connected");
});

test("limits of the picture are set at once; those of the voice by the description, with the pair in use", async () => {
  await connected();
  endpoint.setTrack("video", /** @type {any} */ ({getSettings: () => ({width: 480, height: 640})}));
  page.dispatchEvent(new Event("online"));
  await settle();
  const steps = FakeAnswerer.last.steps.length;
  endpoint.limit({videoMaxBps: 18_000, videoMaxHeight: 120, videoMaxFps: 4, audioMaxBps: 8_000, ptimeMs: 60, red: "first"});
  const [encoding] = video?.().sender.parameters.encodings;
  assert.equal(encoding.maxBitrate, 18_000);
  assert.equal(encoding.maxFramerate, 4);
  assert.equal(encoding.scalabilityMode, "L1T2");
  assert.equal(video?.().sender.parameters.degradationPreference, "maintain-framerate-and-resolution");
  assert.equal(encoding.scaleResolutionDownBy, 4);
  await settle();
  assert.deepEqual(FakeAnswerer.last.steps.slice(steps), ["remote offer", "local answer"]);
  const told = FakeAnswerer.last.told.at(-1) ?? "";
  for (const line of ["a=ptime:60", "maxaveragebitrate=8000", "m=audio 9 UDP/TLS/RTP/SAVPF 63 111"]) assert.ok(told.includes(line), line);
  assert.equal(ufrag(), OFFER.ice[1]?.split(":")[0], "no restart");
  assert.equal(answers.length, 1);
  endpoint.limit({videoMaxBps: 0, audioMaxBps: 8_000, ptimeMs: 60, red: "first"});
  await settle();
  assert.equal(video?.().sender.parameters.encodings[0].active, false);
  assert.equal(FakeAnswerer.last.steps.length, steps + 2, "the voice is as it was");
});

test("a browser that refuses a knob keeps all other limits", async () => {
  await connected({warm: true});
  endpoint.talk(true);
  const sender = video?.().sender;
  const set = sender.setParameters;
  /** @param {any} parameters */
  sender.setParameters = async (parameters) => {
    if (parameters.encodings[0].scalabilityMode) throw new DOMException("not of this codec", "OperationError");
    if (/framerate-and/.test(parameters.degradationPreference)) throw new TypeError("unknown value");
    return set.call(sender, parameters);
  };
  endpoint.limit({videoMaxBps: 18_000, videoMaxHeight: 120, videoMaxFps: 5});
  await settle();
  assert.deepEqual([sender.parameters.encodings[0].maxBitrate, sender.parameters.encodings[0].maxFramerate], [18_000, 5]);
  assert.equal(sender.parameters.degradationPreference, "balanced");
});

test("without limits the picture is low", async () => {
  await connected({warm: true});
  endpoint.talk(true);
  assert.ok(video?.().sender.parameters.encodings[0].maxBitrate <= 100_000);
  await flow(6_000);
  assert.ok(video?.().sender.parameters.encodings[0].maxBitrate <= 100_000);
});

test("TURN is tried where nothing else gets through, not before", async () => {
  const iceServers = [{urls: ["turns:x"]}];
  await make({iceServers});
  assert.deepEqual(FakeAnswerer.last.configuration.iceServers, []);
  await pass(5_100);
  assert.deepEqual(FakeAnswerer.last.configuration.iceServers, iceServers);
  assert.equal(restarts(), 1);
  assert.equal(answers.length, 2, "and the answer is told again: it may have got lost");
});

test("an answer that got lost with the socket is told again, one that arrived is not", async () => {
  await make();
  endpoint.signalling(false);
  endpoint.signalling(true);
  assert.equal(answers.length, 2);
  FakeAnswerer.last.become("connected");
  endpoint.signalling(true);
  assert.equal(answers.length, 2);
});

test("voice is told, and closed it does nothing any more", async () => {
  await connected();
  assert.ok(voices > 0);
  endpoint.close();
  page.dispatchEvent(new Event("online"));
  await pass(10_000);
  assert.equal(restarts(), 0);
  assert.equal(states.at(-1), "closed");
});

test("who listens waits for copies as long as it is told; who speaks spreads them", async () => {
  /** @type {any[]} */
  const done = [];
  const voices = {
    ready: async () => void done.push("ready"),
    take: (/** @type {unknown} */ sender) => done.push(sender),
    spread: (/** @type {unknown} */ sender, /** @type {number} */ copyMs) => done.push(sender, copyMs),
  };
  await make({voices});
  const pc = FakeAnswerer.last;
  endpoint.limit({videoMaxBps: 0, hearMs: 360, copyMs: 300});
  await settle();
  const [voice] = pc.transceivers.filter((/** @type {any} */ {receiver}) => receiver.track.kind === "audio");
  assert.equal(voice.receiver.jitterBufferTarget, 360);
  endpoint.limit({videoMaxBps: 0});
  assert.equal(voice.receiver.jitterBufferTarget, null);
  assert.deepEqual(done, ["ready", voice.sender, voice.sender, 300, voice.sender, 0]);
});

test("where a thin link allows little the browser begins with that; in the call it is raised, never lowered", async () => {
  await make({offer: {...OFFER, video: {...OFFER.video, startKbps: null}}});
  const start = () => /x-google-start-bitrate=(\d+)/.exec(FakeAnswerer.last.remoteDescription?.sdp ?? "")?.[1];
  /** @param {number} videoMaxBps */
  const after = async (videoMaxBps) => {
    endpoint.limit({videoMaxBps, audioMaxBps: 16_000});
    await settle();
    return start();
  };
  assert.equal(start(), undefined);
  assert.equal(await after(450_000), undefined, "as the browser likes");
  assert.equal(await after(0), "30");
  assert.equal(await after(60_000), "300", "it would keep what it was told");
  assert.equal(await after(10_000), "30");
  endpoint.talk(true);
  assert.equal(await after(20_000), "30");
  assert.equal(await after(40_000), "56");
  assert.equal(await after(60_000), "56");
  assert.equal(await after(0), "56");
  assert.equal(await after(2_500_000), "300");
});
