// SPDX-License-Identifier: Apache-2.0
// Which endpoint the media of a consult goes to, and how one takes the place of another. No DOM.

import {DirectEndpoint, KINDS} from "./endpoint.js";
import {RelayEndpoint} from "./relay_endpoint.js";
import {VoiceCopies} from "./voice_copies.js";

/** @typedef {import("./endpoint.js").Kind} Kind */
/** @typedef {import("./endpoint.js").EndpointState} EndpointState */
/** @typedef {import("./transport.js").Message} Message */
/** @typedef {import("./wire.js").ConsultView} ConsultView */
/** @typedef {import("./wire.js").LegOffer} LegOffer */
/** @typedef {import("./wire.js").Limits} Limits */
/** @typedef {{rung: string, reason: string, whose?: Whose}} Rung what a direction may carry now, why (the relay's ladder), and by whose link */
/** @typedef {"own" | "other" | null} Whose this page's link, the other side's; null: nobody's, or not known */
/** @typedef {{mine: Rung | null, theirs: Rung | null}} Rungs of what this side sends and of what it is sent; null = not known */
/**
 * What the endpoints need of the session.
 * @typedef {{
 *   send: (type: string, fields: Record<string, unknown>) => boolean,
 *   onstate: (state: EndpointState | null) => void,
 *   ontrack: (kind: Kind, track: MediaStreamTrack) => void,
 *   ontrouble: () => void,
 *   onrung?: (rungs: Rungs) => void,
 *   direct?: typeof DirectEndpoint,
 *   relay?: typeof RelayEndpoint,
 * }} Host `onstate`: how the endpoint of the call is, null without a call
 */
/**
 * Where the person is, as the session knows it.
 * @typedef {{
 *   view?: ConsultView | undefined,
 *   role: string,
 *   consults: string[],
 * }} Attendance `consults`: those that legs may be kept for: the person is in them, waits in them or is rung for them
 */
/**
 * A leg at a relay, or (without a leg) the connection to another browser.
 * @typedef {{
 *   consult: string,
 *   leg: string,
 *   key: string,
 *   offer?: LegOffer,
 *   endpoint: DirectEndpoint | RelayEndpoint | null,
 *   incoming: Map<Kind, MediaStreamTrack>,
 *   attended: boolean,
 *   talking: boolean,
 *   madeAt: number,
 *   timer?: ReturnType<typeof setTimeout>,
 * }} Way
 */

const CALL_STATES = ["in_call", "interrupted"];
/** Signals that come before the view which explains them (two nodes, two ways) are kept: an offer and its candidates. */
const SIGNALS_MAX = 64;
/** A leg may come before the ring that it is for; by then the ring has come or was over. */
const UNATTENDED_MS = 10_000;
/** Who sends no voice can't be waited for: a new way that stands takes over after that. */
const TAKE_OVER_MS = 3_000;

/** The node's word to switch may be under way when the first relay comes back. */
const SWITCH_LATE_MS = 10_000;

/**
 * The endpoints of one person: made as the server says, warm before the call, one in use. A new way takes the old one's
 * place at its first voice, or at once when nothing comes over the old one.
 */
export class Endpoints {
  #host;
  /** Not before the person has come in: previews load pages too. @type {VoiceCopies | undefined} */
  #voices;
  /** @type {RTCConfiguration} */
  #ice = {};
  /** @type {Record<Kind, MediaStreamTrack | null>} */
  #tracks = {audio: null, video: null};
  /** @type {Attendance} */
  #where = {role: "", consults: []};
  /** The call, if there is one now. @type {ConsultView | null} */
  #call = null;
  /** @type {Way | null} */
  #current = null;
  /** What shall take the place of `current`. @type {Way | null} */
  #next = null;
  /** Of another relay; only data until nothing comes from the first. @type {Way | null} */
  #standby = null;
  /** @type {Message[]} */
  #early = [];
  /** What the other side may send, of which consult. @type {(Rung & {consult: string}) | null} */
  #theirs = null;
  /** Limits that came before their leg. @type {{consult: string, leg: string, limits: Limits} | null} */
  #limits = null;

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
  }

  /** The endpoint of the call. */
  get endpoint() {
    return this.#call ? this.#current?.endpoint ?? null : null;
  }

  /** The person is somewhere else, or something about it changed. @param {Attendance} where */
  attend(where) {
    this.#where = where;
    if (where.role) this.#voices ??= new VoiceCopies();
    const {view} = where;
    this.#call = view && CALL_STATES.includes(view.state) && where.consults.includes(view.consult) ? view : null;
    this.#dropUnattended();
    if (!this.#call) {
      this.#rest();
      return;
    }
    const away = Boolean(this.#call.away?.some((role) => role !== where.role));
    for (const way of [this.#current, this.#next]) way?.endpoint?.away(away);
    if (this.#call.route !== "relayed") this.#direct(this.#call);
    else if (this.#current?.leg) this.#begin(this.#current);
  }

  /** @param {Kind} kind @param {MediaStreamTrack | null} track to send from now on, while in a call */
  setTrack(kind, track) {
    this.#tracks[kind] = track;
    if (this.#current) this.#feed(this.#current);
    if (this.#next) this.#feed(this.#next);
  }

  /** @param {RTCIceServer[]} iceServers @param {RTCIceTransportPolicy} iceTransportPolicy */
  setIce(iceServers, iceTransportPolicy) {
    this.#ice = {iceServers, iceTransportPolicy};
    for (const way of this.#all()) way.endpoint?.setIceServers(iceServers);
  }

  /** @param {boolean} up whether messages reach us, and ours the server */
  signalling(up) {
    for (const way of this.#all()) way.endpoint?.signalling(up);
  }

  /** @param {Message} message about a leg, or a description or candidate of the other side */
  receive(message) {
    switch (message.type) {
      case "leg":
        this.#given(message);
        break;
      case "leg_switch":
        if (this.#standby?.leg === message["leg"]) {
          const way = /** @type {Way} */ (this.#standby);
          this.#standby = null;
          this.#take(way);
        }
        break;
      case "peer_link":
        this.#theirs = {
          consult: message["consult"], rung: message["rung"], reason: message["reason"], whose: sideSeen(message["whose"], "receiver"),
        };
        this.#tellRungs();
        break;
      case "limits":
        this.#limited(message["consult"], message["leg"], message["limits"]);
        break;
      default:
        this.#signalled(message);
    }
  }

  close() {
    for (const way of this.#all()) this.#drop(way);
    this.#call = null;
  }

  #all() {
    return [this.#current, this.#next, this.#standby].filter((way) => way !== null);
  }

  /** Closes what is of no consult any more that the person has to do with. */
  #dropUnattended() {
    for (const way of this.#all()) {
      if (this.#where.consults.includes(way.consult)) way.attended = true;
      else if (way.attended || performance.now() - way.madeAt > UNATTENDED_MS) this.#drop(way);
    }
  }

  /** No call: what leads to another browser is over, legs fall silent and stay. */
  #rest() {
    for (const way of this.#all()) {
      if (!way.leg) this.#drop(way);
      else if (way.endpoint && "talk" in way.endpoint) way.endpoint.talk(false);
      way.talking = false;
    }
    this.#host.onstate(null);
    this.#tellRungs();
  }

  /** @param {Message} message */
  #given({consult, leg, offer, standby}) {
    if (this.#all().some((way) => way.leg === leg)) return; // told again
    const way = this.#way(consult, leg, leg);
    way.offer = offer;
    setTimeout(() => this.#dropUnattended(), UNATTENDED_MS + 100);
    if (!standby) {
      this.#take(way);
      return;
    }
    if (this.#standby) this.#drop(this.#standby);
    this.#standby = way;
  }

  /** @param {string} consult @param {string} leg @param {string} key @returns {Way} */
  #way(consult, leg, key) {
    const attended = this.#where.consults.includes(consult);
    return {consult, leg, key, endpoint: null, incoming: new Map(), attended, talking: false, madeAt: performance.now()};
  }

  /** Makes a way the one in use: at once, or when it carries voice. @param {Way} way */
  #take(way) {
    const old = this.#current;
    if (this.#next) this.#drop(this.#next);
    this.#open(way);
    if (old?.talking && this.#call?.consult === way.consult && old.endpoint?.state === "connected") {
      this.#next = way;
      this.#begin(way);
      if (way.endpoint?.state === "connected") this.#changed(way, "connected");
    } else this.#promote(way);
  }

  /** @param {Way} way */
  #promote(way) {
    const old = this.#current;
    clearTimeout(way.timer);
    this.#next = null;
    this.#current = way;
    if (old && old !== way) this.#drop(old);
    way.talking = false; // all of it is begun: the picture too
    this.#begin(way);
  }

  /** The call goes over this way, if there is a call. @param {Way} way */
  #begin(way) {
    const {endpoint} = way;
    if (!endpoint || way.talking || this.#call?.consult !== way.consult) return;
    way.talking = true;
    this.#feed(way);
    if ("talk" in endpoint) endpoint.talk(true);
    if (way !== this.#current) return;
    for (const [kind, track] of way.incoming) this.#host.ontrack(kind, track);
    this.#host.onstate(endpoint.state);
    this.#tellRungs();
  }

  /** @param {Way} way */
  #feed(way) {
    // Twice the picture would fill a thin link: until the new way is in use, it is sent on the old one alone.
    const kinds = way === this.#next ? KINDS.slice(0, 1) : KINDS;
    for (const kind of kinds) way.endpoint?.setTrack(kind, this.#tracks[kind]);
  }

  /** @param {Way} way */
  #drop(way) {
    clearTimeout(way.timer);
    if (this.#current === way) this.#current = null;
    if (this.#next === way) this.#next = null;
    if (this.#standby === way) this.#standby = null;
    way.endpoint?.close();
  }

  /** Connects to a leg, or takes the connection that was made while it stood by. @param {Way} way */
  #open(way) {
    if (way.endpoint || !way.offer) return;
    const Endpoint = this.#host.relay ?? RelayEndpoint;
    const {consult, leg} = way;
    const endpoint = new Endpoint({
      ...this.#ice,
      ...this.#listener(way),
      offer: way.offer,
      ...(this.#voices && {voices: this.#voices}),
      onanswer: (answer) => this.#host.send("leg_answer", {consult, leg, answer}),
      onbraked: () => this.#host.send("braked", {consult, leg}),
    });
    way.endpoint = endpoint;
    this.#limit(way);
  }

  /** @param {Way} way */
  #listener(way) {
    const {consult} = way;
    /** @type {import("./continuity.js").Listener & {ontrack: (kind: Kind, track: MediaStreamTrack) => void}} */
    const listener = {
      ontrack: (kind, track) => {
        way.incoming.set(kind, track);
        if (way === this.#current && this.#call) this.#host.ontrack(kind, track);
      },
      onstate: (state) => this.#changed(way, state),
      onreport: (kind, report) => this.#host.send(`${kind}_report`, {consult, ...report}),
      ontrouble: () => this.#host.ontrouble(),
      onvoice: () => {
        if (way === this.#next) this.#promote(way);
      },
      onlost: (silentMs) => {
        if (way === this.#current && way.leg) this.#lost(way, silentMs);
      },
    };
    return listener;
  }

  /** @param {Way} way @param {EndpointState} state */
  #changed(way, state) {
    if (way === this.#next && state === "connected") {
      way.timer = setTimeout(() => way === this.#next && this.#promote(way), TAKE_OVER_MS);
    }
    if (way !== this.#current || !this.#call) return;
    if (state === "interrupted" && this.#next) this.#promote(this.#next);
    else if (state !== "closed") this.#host.onstate(state);
    if (state === "connected" && this.#standby?.endpoint) this.#useUp(this.#standby, way);
  }

  /** The first is back before the node judged: a standby that was connected meanwhile is used up. @param {Way} standby @param {Way} first */
  #useUp(standby, first) {
    clearTimeout(standby.timer);
    standby.timer = setTimeout(() => {
      if (standby === this.#standby && first.endpoint?.state === "connected") this.#drop(standby);
    }, SWITCH_LATE_MS);
  }

  /** Nothing comes from the relay, and no check is answered: the node may know more, and the standby gets ready. @param {Way} way @param {number} silentMs */
  #lost({consult, leg}, silentMs) {
    if (this.#standby?.consult === consult) this.#open(this.#standby);
    this.#host.send("leg_trouble", {consult, leg, silentMs});
  }

  /** @param {string} consult @param {string} leg empty: of the connection to the other browser @param {Limits} limits */
  #limited(consult, leg, limits) {
    const way = this.#all().find((each) => each.leg === leg && (leg || each.consult === consult));
    this.#limits = {consult, leg, limits};
    way?.endpoint?.limit(limits);
    if (way === this.#current) this.#tellRungs();
  }

  /** A new way is told what came before it. @param {Way} way */
  #limit({consult, leg, endpoint}) {
    if (this.#limits?.leg === leg && (leg || this.#limits.consult === consult)) endpoint?.limit(this.#limits.limits);
  }

  /** What both sides may send: of this one the leg's newest limits say it. */
  #tellRungs() {
    const way = this.#current;
    const limits = way?.endpoint?.limits ?? null;
    const theirs = this.#theirs?.consult === way?.consult ? this.#theirs : null;
    this.#host.onrung?.({
      mine: this.#call && limits ? {
        rung: limits.rung ?? "voice", reason: limits.reason ?? "start", whose: sideSeen(limits.whose, "sender"),
      } : null,
      theirs: this.#call && theirs ? {rung: theirs.rung, reason: theirs.reason, whose: theirs.whose ?? null} : null,
    });
  }

  /** Makes the connection to the other browser that the view asks for, keeps the one that fits. @param {ConsultView} call */
  #direct(call) {
    const peer = call.peer;
    if (!peer?.instance) return; // not connected now; media may go on without signalling
    // Another page load, or another call: another RTCPeerConnection on their side, so on ours.
    const key = [call.consult, peer.participant, peer.instance, call.acceptedAt].join(" ");
    if (this.#current?.key === key || this.#next?.key === key) return;
    if (this.#current && !this.#current.leg) this.#drop(this.#current);
    const way = this.#way(call.consult, "", key);
    const Endpoint = this.#host.direct ?? DirectEndpoint;
    way.endpoint = new Endpoint({
      ...this.#ice,
      ...this.#listener(way),
      polite: Boolean(call.polite),
      offers: !call.polite,
      send: ({type, ...fields}) => this.#host.send(type, {consult: call.consult, ...fields}),
      onway: (data) => this.#host.send("way", {consult: call.consult, data}),
    });
    this.#limit(way);
    this.#take(way);
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.#signalled(message);
  }

  /** @param {Message} message a description or candidate of the other side */
  #signalled(message) {
    const key = `${message["consult"]} ${message["sender"]} ${message["instance"]} `;
    const way = this.#all().find((each) => !each.leg && each.key.startsWith(key));
    if (way?.endpoint && "receive" in way.endpoint) {
      way.endpoint.receive(message);
      return;
    }
    this.#early = this.#early.filter((each) => each["instance"] === message["instance"]).slice(-SIGNALS_MAX);
    this.#early.push(message);
  }
}

/**
 * Whose link that is, as this page sees it.
 * @param {unknown} whose of the direction: sender or receiver
 * @param {"sender" | "receiver"} own what this page is in it
 * @returns {Whose}
 */
function sideSeen(whose, own) {
  if (whose !== "sender" && whose !== "receiver") return null;
  return whose === own ? "own" : "other";
}
