// SPDX-License-Identifier: Apache-2.0
// What only calls from browser to browser need: fetched by itself when there is one. No DOM.

import {heldSdp} from "./held_sdp.js";
import {startKbps} from "./start_rate.js";
import {WayReport} from "./way_report.js";

/** @typedef {import("./wire.js").Limits} Limits */

/** How one connection is held to limits; what is reported of it. */
export class DirectLimits extends WayReport {
  /** Of the picture's control, in kbit/s; null: as the browser likes. @type {number | null} */
  #start = null;
  /** What the other side described last, as it came. @type {RTCSessionDescriptionInit | null} */
  #theirs = null;
  /** The same with limits, as it was applied. @type {string | undefined} */
  #held;

  /**
   * A description of the other side's, as it is to be applied.
   * @param {RTCSessionDescriptionInit} theirs
   * @param {Limits | null} limits
   * @param {boolean} begins whether the browser's own control has not begun yet: then it begins with what is allowed
   */
  take(theirs, limits, begins) {
    if (limits && begins) this.#start ??= startKbps(limits);
    this.#theirs = theirs;
    this.#held = heldSdp(theirs.sdp ?? "", limits, this.#start);
    return {type: theirs.type, sdp: this.#held};
  }

  /**
   * Reports what is due.
   * @param {RTCStatsReport | undefined} report
   * @param {Limits | null} limits
   * @param {import("./brake.js").Brake} brake it is told with each report while it holds the picture
   * @param {(data: string) => boolean} onway
   */
  tell(report, limits, brake, onway) {
    this.look(report, {rung: limits?.rung, braked: brake.tells}, (data) => {
      const sent = onway(data);
      if (sent && brake.tells) brake.told();
      return sent;
    });
  }

  /**
   * Applies the other side's description once more, if the limits make another one of it: among ourselves, they don't notice.
   * @param {RTCPeerConnection} pc
   * @param {Limits | null} limits
   * @param {() => void} send our description to the other side
   */
  async hold(pc, limits, send) {
    const theirs = this.#theirs ?? pc.remoteDescription;
    if (!theirs || pc.signalingState !== "stable") return; // the description under way will be held
    if (heldSdp(theirs.sdp ?? "", limits, this.#start) === (this.#held ?? theirs.sdp)) return;
    if (theirs.type === "offer") {
      await pc.setRemoteDescription(this.take(theirs, limits, false));
      await pc.setLocalDescription();
      return;
    }
    const before = iceCredentials(pc.localDescription);
    await pc.setLocalDescription(await pc.createOffer());
    // An ICE restart that was asked for just now has come into it: then it is for the other side, and its answer will be held.
    if (iceCredentials(pc.localDescription) !== before) send();
    else await pc.setRemoteDescription(this.take(theirs, limits, false));
  }
}

/** @param {RTCSessionDescription | null} description */
const iceCredentials = (description) => /^a=ice-ufrag:.*$/m.exec(description?.sdp ?? "")?.[0];
