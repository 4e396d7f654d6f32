// SPDX-License-Identifier: Apache-2.0
// Scripted RTCPeerConnections; descriptions are not read.

/** What every scripted connection has; the test sets its states and statistics. A subclass has an `all` of its own. */
export class FakeConnection {
  /** @type {any[]} */
  static all = [];
  /** @type {any} */
  signalingState = "stable";
  connectionState = "new";
  /** @type {any} */
  localDescription = null;
  /** @type {any} */
  remoteDescription = null;
  /** @type {any[]} */
  transceivers = [];
  /** @type {Map<string, any>} */
  stats = new Map();
  /** @type {any} */
  onconnectionstatechange;

  /** @param {any} configuration */
  constructor(configuration) {
    this.configuration = configuration;
    new.target.all.push(this);
  }

  getTransceivers() {
    return this.transceivers;
  }

  async getStats() {
    return this.stats;
  }

  /** @param {any} configuration */
  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  close() {
    this.connectionState = "closed";
  }

  /** @param {string} state */
  become(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

/** As much as a leg needs, which answers a relay's offer (W3C webrtc §4.4). */
export class FakeAnswerer extends FakeConnection {
  /** @type {any[]} */
  static all = [];
  /** @type {any} */
  static answer = "v=0\r\n";
  /** Types of the descriptions that were set, in order. @type {string[]} */
  steps = [];
  /** Remote descriptions that were set. @type {string[]} */
  told = [];
  /** @type {any} */
  ontrack;

  static get last() {
    return /** @type {FakeAnswerer} */ (FakeAnswerer.all.at(-1));
  }

  /** @param {any} options */
  async createOffer(options) {
    return {type: options?.iceRestart ? "restart" : "offer", sdp: ""};
  }

  /** @param {any} [description] */
  async setLocalDescription(description) {
    this.steps.push(`local ${description?.type ?? "answer"}`);
    this.localDescription = {type: "answer", sdp: FakeAnswerer.answer};
    this.signalingState = description ? "have-local-offer" : "stable";
  }

  /** @param {any} description */
  async setRemoteDescription(description) {
    this.steps.push(`remote ${description.type}`);
    this.told.push(description.sdp);
    this.remoteDescription = description;
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
    if (this.getTransceivers().length) return;
    this.transceivers = ["audio", "video"].map((kind) => fakeTransceiver(kind));
    for (const {receiver} of this.transceivers) this.ontrack?.({track: receiver.track});
  }
}

/** @param {string} kind */
function fakeTransceiver(kind) {
  const sender = {
    /** @type {any} */
    track: null,
    /** @type {any} */
    parameters: {encodings: [{}]},
    getParameters: () => structuredClone(sender.parameters),
    /** @param {any} parameters */
    setParameters: async (parameters) => {
      sender.parameters = parameters;
    },
    /** @param {any} track */
    replaceTrack: async (track) => {
      sender.track = track;
    },
  };
  return {direction: "recvonly", receiver: {track: {kind}}, sender};
}
