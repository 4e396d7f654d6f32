// SPDX-License-Identifier: Apache-2.0
// Put into every page that is measured, before its own scripts: what it sends, gets, says and plays, and when.
(() => {
  if (globalThis.meter) return;
  const EVERY_MS = 100;
  const BLOCK = 512; // samples of one value of loudness: 10.7 ms at 48 kHz
  const connections = [];
  const meter = globalThis.meter = {rows: [], loudness: {said: [], played: []}, usable: 0, voiceAt: 0, pictureAt: 0, since: 0};
  const wall = () => performance.timeOrigin + performance.now();

  // -- loudness: what is said here and what is played here, as mean squares in time ------------------

  const WORKLET = `registerProcessor("loudness", class extends AudioWorkletProcessor {
    sum = 0; count = 0; values = []; from = 0;
    process([input]) {
      for (const x of input[0] ?? []) this.sum += x * x;
      this.count += 128;
      if (this.count < ${BLOCK}) return true;
      if (!this.values.length) this.from = currentFrame + 128 - this.count;
      this.values.push(this.sum / this.count);
      this.sum = this.count = 0;
      if (this.values.length === 32) { this.port.postMessage([this.from, this.values]); this.values = []; }
      return true;
    }
  });`;
  let listening;
  const listen = async (side, track) => {
    listening ??= (async () => {
      const context = new AudioContext({sampleRate: 48000});
      await context.resume();
      await context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], {type: "text/javascript"})));
      const ears = {};
      for (const name of ["said", "played"]) {
        ears[name] = new AudioWorkletNode(context, "loudness");
        ears[name].port.onmessage = ({data: [frame, values]}) => meter.loudness[name].push([wall(), frame, values]);
        ears[name].connect(context.destination); // writes nothing: only so that it is asked
      }
      return {context, ears};
    })();
    const {context, ears} = await listening;
    context.createMediaStreamSource(new MediaStream([track])).connect(ears[side]);
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
