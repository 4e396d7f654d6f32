// SPDX-License-Identifier: Apache-2.0
// Whether media arrives, and when ICE is restarted so that it does: the same for every endpoint. No DOM.

import {watchNetwork} from "./network.js";
import {Phases, packets, read} from "./stats.js";

/** @typedef {import("./endpoint.js").EndpointState} EndpointState */
/** @typedef {import("./endpoint.js").RestartTrigger} RestartTrigger */
/** @typedef {import("./endpoint.js").RestartReport} RestartReport */
/** @typedef {import("./stats.js").Sample} Sample */
/** @typedef {import("./stats.js").SetupReport} SetupReport */
/**
 * What an endpoint tells its owner.
 * - `ontrouble`: media stopped; is signalling still alive?
 * - `onlost`: nothing comes for so long though ICE was restarted, not even an answer to a check; again every 2 s
 * - `onvoice`: voice has come since the last look
 * @typedef {{
 *   onstate?: (state: EndpointState) => void,
 *   onreport?: (kind: "setup" | "restart", report: SetupReport | RestartReport) => void,
 *   ontrouble?: () => void,
 *   onlost?: (silentMs: number) => void,
 *   onvoice?: () => void,
 * }} Listener
 */

/** While setting up, so that phases are measured to a tenth of a second, and while nothing arrives. */
const POLL_FAST_MS = 100;
const POLL_MS = 500;
/** Before the call there is nothing to see but whether the connection stands. */
const POLL_WARM_MS = 2_000;
/** Looks are fast so long after media stopped; then nobody waits for a tenth of a second any more. */
const FAST_FOR_MS = 10_000;
/** No RTP for so long, though it flowed, is trouble: voice comes each 20–60 ms, and bursts of loss last under 1 s. */
const SILENCE_MS = 2_000;
/** The same after a sign that the network or the page changed: a prototype found 700 ms without false alarms. */
const SILENCE_SUSPECT_MS = 700;
const SUSPECT_FOR_MS = 6_000;
/** When a call begins, its first voice may take so much longer: the other side's devices open first. */
const BEGIN_MS = 2_000;
/** Between restarts: a slow link never finishes one if the next comes within 2 round trips (measured at 650 ms). */
const RESTART_SPACING_MS = 2_000;
/** After a minute of restarts in vain there is no hurry left. */
const RESTART_SLOW_MS = 5_000;
const RESTART_SLOW_AFTER_MS = 60_000;
/** A restart's first check is answered after a round trip; so long at least is waited before it counts as in vain. */
const LOST_AFTER_MS = 500;
const LOST_SPACING_MS = 2_000;
/** What arrives so soon after a restart was on its way before it. */
const BEFORE_RESTART_MS = 200;

/**
 * Looks at the statistics of a connection, says how the endpoint is, and asks for ICE restarts: after a network change,
 * on silence, on failure, again and again until media flows.
 */
export class Continuity {
  /** @type {EndpointState} */
  state = "connecting";
  /** Whether a restart could be made now; one that is asked for meanwhile comes when it can. */
  able = true;
  /** The other side is known to be gone: silence is no trouble. */
  away = false;
  #options;
  #watching = false;
  /** Grows whenever looking begins anew, so that the look under way is the last of its kind. */
  #round = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #poll;
  #listeners = new AbortController();
  #phases = new Phases(performance.now());
  /** @type {Sample | null} */
  #sample = null;
  /** When RTP last arrived; 0 = none yet, or the other side is known to send nothing. */
  #flowedAt = 0;
  #picturedAt = 0;
  /** Answers to checks, over all pairs that there ever were. */
  #answers = 0;
  #suspectUntil = 0;
  /** @type {RestartTrigger} */
  #suspicion = "no_media";
  /** @type {RestartTrigger | null} */
  #postponed = null;
  /** @type {{trigger: RestartTrigger, at: number, first: number, answers: number} | null} */
  #restart = null;
  #lostAt = 0;

  /**
   * @param {{
   *   peer: () => RTCPeerConnection,
   *   restartIce: () => void,
   *   alone?: boolean,
   *   listener: Listener,
   *   onlook?: (now: number) => void,
   * }} options `alone`: a restart needs nobody on the other side
   */
  constructor(options) {
    this.#options = options;
    watchNetwork({
      online: () => this.restart("online"),
      shown: () => this.suspect("page_shown"),
      changed: (another) => (another ? this.restart("connection_change") : this.suspect("connection_change")),
    }, this.#listeners.signal);
  }

  /** Begins to look. @param {boolean} call whether media is to be expected already */
  start(call) {
    this.#watching = call;
    this.#look();
  }

  /** A call begins or ends on a connection that may stand already. @param {boolean} yes */
  watch(yes) {
    if (yes === this.#watching || this.state === "closed") return;
    this.#watching = yes;
    const now = performance.now();
    this.#flowedAt = yes ? now + BEGIN_MS : 0;
    this.#round++;
    clearTimeout(this.#poll);
    if (yes) {
      this.#phases = new Phases(now);
      this.#picturedAt = now;
      const {connectionState} = this.#peer;
      if (connectionState === "connected") this.#phases.connected(now);
      else if (connectionState === "failed" || connectionState === "disconnected") this.restart("failed");
    }
    this.#look();
  }

  /** The newest numbers, and since when no new picture came. */
  stats() {
    return this.#sample && {...this.#sample, pictureAgeMs: performance.now() - this.#picturedAt};
  }

  /** For how long nothing has arrived though something did; 0 before. */
  get silentMs() {
    return this.#flowedAt ? Math.max(0, performance.now() - this.#flowedAt) : 0;
  }

  /** Silence that is trouble without any other sign of it. */
  get silent() {
    return this.silentMs > SILENCE_MS;
  }

  /** What a restart waits for that could not be made. */
  get postponed() {
    return this.#postponed;
  }

  /** ICE and DTLS stand. */
  connected() {
    const now = performance.now();
    this.#phases.connected(now);
    this.#picturedAt ||= now;
    this.enter("connected");
  }

  /** @param {EndpointState} state */
  enter(state) {
    if (this.state === state || this.state === "closed") return;
    this.state = state;
    this.#options.listener.onstate?.(state);
  }

  /**
   * Asks for a restart of ICE. At most every max(2 s, 3 round trips); asked for more often, it waits its turn.
   * @param {RestartTrigger} trigger
   */
  restart(trigger) {
    const now = performance.now();
    if (this.state === "closed" || !this.#peer.remoteDescription) return; // the first offer is still under way
    if (!this.able || (this.#restart && now - this.#restart.at < this.#spacingMs(now))) {
      this.#postponed ??= trigger;
      return;
    }
    if (this.#restart) this.#report({trigger: this.#restart.trigger});
    this.#restart = {trigger, at: now, first: this.#restart?.first ?? now, answers: this.#answers};
    this.#postponed = null;
    this.#options.restartIce();
  }

  /** There was a sign that the path may be another one now. @param {RestartTrigger} trigger */
  suspect(trigger) {
    this.#suspicion = trigger;
    this.#suspectUntil = performance.now() + SUSPECT_FOR_MS;
    if (this.#peer.connectionState === "failed") this.restart(trigger);
  }

  close() {
    clearTimeout(this.#poll);
    this.#listeners.abort();
    this.enter("closed");
  }

  get #peer() {
    return this.#options.peer();
  }

  /** @param {RestartReport} report */
  #report(report) {
    if (this.#watching) this.#options.listener.onreport?.("restart", report);
  }

  /** @param {number} now */
  #spacingMs(now) {
    const inVain = this.#restart && now - this.#restart.first > RESTART_SLOW_AFTER_MS;
    return Math.max(inVain ? RESTART_SLOW_MS : RESTART_SPACING_MS, 3 * (this.#sample?.rttMs ?? 0));
  }

  #pollMs() {
    if (!this.#watching) return POLL_WARM_MS;
    const silentMs = this.silentMs;
    return !this.#phases.told || (silentMs > POLL_FAST_MS && silentMs < FAST_FOR_MS) ? POLL_FAST_MS : POLL_MS;
  }

  /** Looks at the statistics, acts on them, and comes again. */
  async #look() {
    const round = this.#round;
    try {
      const sample = read(await this.#peer.getStats());
      if (this.state === "closed" || round !== this.#round) return;
      this.#measure(sample);
    } catch {
      // getStats fails while a connection is replaced; the next look finds the new one
    }
    if (this.state === "closed" || round !== this.#round) return;
    this.#poll = setTimeout(() => this.#look(), this.#pollMs());
  }

  /** @param {Sample} sample */
  #measure(sample) {
    const now = performance.now();
    const before = this.#sample;
    this.#sample = sample;
    this.#answers += Math.max(0, sample.responses - (before?.responses ?? 0));
    if (sample.framesDecoded !== (before?.framesDecoded ?? 0)) this.#picturedAt = now;
    const flows = packets(sample) > (before ? packets(before) : 0);
    if (flows) {
      this.#flowedAt = now;
      this.#recovered(now);
      if (this.#peer.connectionState === "connected") this.enter("connected");
      if (sample.audioPackets > (before?.audioPackets ?? 0)) this.#options.listener.onvoice?.();
    } else if (before && packets(sample) < packets(before)) {
      this.#flowedAt = 0; // another connection
    }
    if (!this.#watching) {
      this.#keepWarm(now);
      return;
    }
    const setup = this.#phases.look(sample, now);
    if (setup) this.#options.listener.onreport?.("setup", setup);
    this.#options.onlook?.(now);
    if (!flows) this.#mend(now);
  }

  /** Without media, whether the connection stands is all there is to see. @param {number} now */
  #keepWarm(now) {
    if (this.#peer.connectionState === "failed" || this.#postponed) this.restart(this.#postponed ?? "failed");
    else if (this.#answered()) this.#recovered(now);
  }

  /** Whether checks have been answered since the restart. */
  #answered() {
    const alive = this.#peer.connectionState === "connected" && this.#peer.signalingState === "stable";
    return Boolean(this.#restart && alive && this.#answers > this.#restart.answers + 1);
  }

  /** @param {number} now */
  #recovered(now) {
    if (!this.#restart || this.#peer.signalingState !== "stable" || now - this.#restart.at < BEFORE_RESTART_MS) return;
    this.#report({trigger: this.#restart.trigger, recoveredMs: Math.round(now - this.#restart.first)});
    this.#restart = null;
    this.#postponed = null;
  }

  /** Nothing arrived: is that trouble, and what is to be done? @param {number} now */
  #mend(now) {
    const suspect = now < this.#suspectUntil;
    const failed = this.#peer.connectionState === "failed";
    if (this.away) {
      if (this.silent) this.enter("interrupted"); // but there may be nobody to restart with
      if (failed && this.#options.alone) this.#again(now, "failed");
    } else if (this.silentMs > (suspect ? SILENCE_SUSPECT_MS : SILENCE_MS)) {
      if (this.#answered()) {
        // Checks are answered on the new path: the other side sends nothing, and that is not ours to mend.
        this.#flowedAt = 0;
        this.#recovered(now);
        this.enter("connected");
        return;
      }
      this.enter("interrupted");
      this.#options.listener.ontrouble?.();
      this.#again(now, suspect ? this.#suspicion : "no_media");
    } else if (this.#postponed || failed) {
      if (failed) this.enter("interrupted");
      this.#again(now, this.#postponed ?? "failed");
    }
  }

  /** @param {number} now @param {RestartTrigger} trigger */
  #again(now, trigger) {
    const restart = this.#restart;
    const waited = restart && now - restart.first >= Math.max(LOST_AFTER_MS, this.#sample?.rttMs ?? 0);
    const inVain = waited && this.#answers <= restart.answers;
    const lost = this.silent || this.#peer.connectionState === "failed";
    if (inVain && lost && now - this.#lostAt >= LOST_SPACING_MS) {
      this.#lostAt = now;
      this.#options.listener.onlost?.(Math.round(this.silentMs));
    }
    this.restart(trigger);
  }
}
