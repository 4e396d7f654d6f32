// SPDX-License-Identifier: Apache-2.0
// Content on a session's connection: which frames are its, and what a call leaves it of the link.

import {openBox} from "./box.js";
import {Contents} from "./content.js";

/** @import {Session} from "./session.js" */

/** What content may use in a call before anything was said of its link: voice has its room first. */
const UNTOLD_BPS = 16_000;
/** While a photograph or a message is on its way the picture gives so much of its own rate to it: it was asked for … */
const LENT = 0.5;
/** … and below this more: on 128 kbit/s beside half a picture 2.0 KB went in a second, so 2.2 to 2.8 (measured) … */
const THIN_PICTURE_BPS = 150_000;
const LENT_THIN = 0.8;
/** … but it keeps so much, or its half if that is less: four frames a second of 160x120. */
const KEPT_BPS = 12_000;
/** Where voice has its copies it can spare so much: a person waits for the photograph, and 3 KB show what it will be. */
const LEAST_BPS = 4_000;
/** No live voice: the link is content's. */
const SILENT_RUNGS = new Set(["text"]);
const TALKING = new Set(["in_call", "interrupted"]);
/** Messages of the server that matter here, known by their beginning: a page parses no other message twice. */
const OURS = /^\{"type":"(?:content_|still")/;

/** What share of its rate a picture gives up. @param {number} bps */
export function lentShare(bps) {
  if (bps > THIN_PICTURE_BPS) return LENT;
  const kept = Math.max(Math.min(KEPT_BPS, bps * (1 - LENT)), bps * (1 - LENT_THIN));
  return bps ? 1 - kept / bps : LENT;
}

/**
 * The contents of a session; they follow its connection by themselves.
 * @param {Session} session
 * @param {{
 *   onchange: () => void,
 *   onmessage?: (message: any) => void,
 *   consult?: () => string,
 *   box?: string,
 * }} options `onmessage`: `still` and `content_progress` of the server; `consult`: whose parcels are sent, if not all;
 *   `box`: another name for what is kept in the browser
 */
export function contentsOf(session, {onchange, onmessage, consult, box}) {
  /** @type {WebSocket | null} */
  let attached = null;
  const transport = session.transport;
  /** @type {Contents | null} */
  let contents = null;
  const link = {
    open: () => transport.state === "open" && attached === transport.socket,
    socket: () => {
      const socket = transport.socket;
      return socket && {
        get bufferedAmount() {
          return socket.bufferedAmount;
        },
        send: (/** @type {any} */ data) => {
          transport.bytes += data.byteLength + 83;
          socket.send(data);
        },
      };
    },
    request: (/** @type {string} */ type, /** @type {Record<string, unknown>} */ fields) => transport.request(type, fields),
    rttMs: () => transport.rttMs,
  };
  /** Whether live voice has the first right to the link. */
  const isTalking = () => TALKING.has(session.consult?.state ?? "") && session.state.endpoint !== null;
  /** What the page may send now, if that was said. */
  const limits = () => /** @type {any} */ (session.endpoint)?.limits;
  const rate = () => {
    if (!isTalking() || SILENT_RUNGS.has(session.state.rungs?.mine?.rung ?? limits()?.rung ?? "")) return null;
    const told = limits();
    if (!told) return UNTOLD_BPS;
    const least = told.rung === "voice-min" ? 0 : LEAST_BPS;
    return Math.max(least, (told.stillsBps ?? 0) + lentShare(told.videoMaxBps) * told.videoMaxBps);
  };
  /** The picture gives way while something is on its way. */
  function lend() {
    const busy = contents?.parcels.some((parcel) => !parcel.failed && parcel.kind !== "auto_still") ?? false;
    /** @type {any} */ (session.endpoint)?.lend?.(busy && isTalking() ? lentShare : null);
  }

  /** @param {MessageEvent} event */
  function received({data}) {
    if (typeof data !== "string") return contents?.receiveBytes(data);
    if (!OURS.test(data)) return;
    const message = JSON.parse(data);
    contents?.receive(message);
    onmessage?.(message);
  }

  function changed() {
    lend();
    onchange();
  }

  return {
    /** The contents, once the box is open. */
    get contents() {
      return contents;
    },
    /** What content may use now, as in `Pace`. */
    rate,
    /** What the call leaves to pictures that nobody asked for. */
    room: () => (isTalking() ? (limits()?.stillsBps ?? 0) : 0),
    /** Opens the box of this browser, and sends what waits in it. */
    async start() {
      contents = new Contents({link, box: await openBox(box), rate, onchange: changed, consult: consult ?? (() => "")});
      await contents.load();
      this.follow();
    },
    /** To be called whenever the session changed: takes up a new connection. */
    follow() {
      if (!contents) return;
      lend();
      const socket = transport.state === "open" ? transport.socket : null;
      if (socket === attached) return contents.wake(); // what may be sent may have changed
      attached = socket;
      if (!socket) return contents.lost();
      socket.binaryType = "arraybuffer";
      socket.addEventListener("message", received);
      contents.opened();
    },
  };
}
