// SPDX-License-Identifier: Apache-2.0
// Put into every page that is measured, before its own scripts: what it sends, gets, says and plays, and when.
(() => {
  if (globalThis.meter) return;
  const EVERY_MS = 100;
  const BLOCK_S = 0.01; // of one value of loudness
  const MESSAGE = 32; // values that are noted together
  const connections = [];
  const meter = globalThis.meter = {rows: [], loudness: {said: [], played: []}, usable: 0, voiceAt: 0, pictureAt: 0, since: 0};
  const wall = () => performance.timeOrigin + performance.now();

  // -- loudness: what is said here and what is played here, as mean squares in time ------------------

  // By the track's own samples as they come: a node of Web Audio has a queue before it that may hold a quarter of a second.
  let tracks = 0;
  const listen = async (side, track) => {
    const number = ++tracks;
    const reader = new MediaStreamTrackProcessor({track, maxBufferSize: 100}).readable.getReader();
    let samples = new Float32Array(0), sum = 0, count = 0, blocks = 0, values = [];
    for (;;) {
      const {value: data, done} = await reader.read();
      if (done) return;
      const block = data.sampleRate * BLOCK_S;
      if (samples.length !== data.numberOfFrames) samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, {planeIndex: 0, format: "f32-planar"});
      data.close();
      for (const x of samples) {
        sum += x * x;
        if (++count < block) continue;
        values.push(sum / count);
        sum = count = 0;
      }
      if (values.length < MESSAGE) continue;
      meter.loudness[side].push([wall(), blocks, values, number]);
      blocks += values.length;
      values = [];
    }
  };
  const heard = (side, track) => listen(side, track).catch((error) => (meter.deaf = String(error)));

  const Real = RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      connections.push(this);
      this.addEventListener("track", ({track}) => track.kind === "audio" && heard("played", track));
    }
  };
  if (navigator.mediaDevices) {
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await open(wanted);
      for (const track of stream.getAudioTracks()) heard("said", track);
      return stream;
    };
  }

  // -- statistics: every 100 ms, of every connection -------------------------------------------------

  const KEPT = {
    "inbound-rtp/audio": ["packetsReceived", "packetsLost", "totalSamplesReceived", "concealedSamples", "silentConcealedSamples",
      "jitterBufferDelay", "jitterBufferEmittedCount", "bytesReceived"],
    "inbound-rtp/video": ["packetsReceived", "packetsLost", "framesDecoded", "framesDropped", "keyFramesDecoded", "frameWidth",
      "frameHeight", "nackCount", "pliCount", "bytesReceived", "freezeCount", "totalFreezesDuration"],
    "outbound-rtp/audio": ["packetsSent", "bytesSent", "retransmittedBytesSent", "targetBitrate"],
    "outbound-rtp/video": ["packetsSent", "bytesSent", "retransmittedBytesSent", "framesEncoded", "keyFramesEncoded", "frameHeight",
      "targetBitrate", "qualityLimitationReason", "active"],
    "candidate-pair/": ["currentRoundTripTime", "availableOutgoingBitrate"],
  };
  const before = new Map();
  const notice = (key, stat, at) => {
    const count = stat.kind === "audio" ? stat.packetsReceived ?? 0 : stat.framesDecoded ?? 0;
    const more = count > (before.get(key) ?? 0);
    before.set(key, count);
    if (!more || !meter.since || at < meter.since) return;
    if (stat.kind === "audio") meter.voiceAt ||= at;
    else meter.pictureAt ||= at;
  };
  const sample = async () => {
    const at = wall();
    const seen = {};
    for (const [number, pc] of connections.entries()) {
      if (pc.connectionState === "closed") continue;
      for (const stat of (await pc.getStats()).values()) {
        const kind = `${stat.type}/${stat.kind ?? ""}`;
        if (!KEPT[kind] || (kind === "candidate-pair/" && !stat.nominated)) continue;
        const key = `${number}:${stat.id}`;
        const row = seen[key] = {kind};
        for (const name of KEPT[kind]) if (stat[name] !== undefined) row[name] = stat[name];
        if (stat.type === "inbound-rtp") notice(key, stat, at);
      }
    }
    meter.rows.push([at, seen]);
  };
  const again = async () => {
    const begun = performance.now();
    try { await sample(); } catch (error) { meter.broken = String(error); }
    setTimeout(again, Math.max(10, EVERY_MS - (performance.now() - begun)));
  };
  setTimeout(again, EVERY_MS);

  // From now on the first voice and the first picture are noticed.
  meter.begin = () => { meter.since = wall(); meter.voiceAt = meter.pictureAt = 0; return meter.since; };
  const loaded = () => performance.getEntriesByType("resource").map(({name, startTime, responseEnd, transferSize}) =>
    [name.replace(/^.*\//, "").slice(0, 40), performance.timeOrigin + startTime, performance.timeOrigin + responseEnd, transferSize]);
  meter.take = () => ({loaded: loaded(), rows: meter.rows, loudness: meter.loudness, broken: meter.broken, deaf: meter.deaf});

  // -- the page itself: when the patient can tap -----------------------------------------------------

  const look = () => {
    const button = document.getElementById("join");
    if (button && !button.disabled && button.offsetParent !== null) meter.usable = performance.now();
    else requestAnimationFrame(look);
  };
  if (globalThis.top === globalThis) requestAnimationFrame(look);
})();
