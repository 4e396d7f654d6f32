// SPDX-License-Identifier: Apache-2.0
// The patient's own camera and microphone, and the picture and sound that come in.

import {Devices, WakeLock} from "../devices.js";
import {$, el, onclick, say, show} from "../dom.js";
import {KINDS} from "../endpoint.js";
import {_} from "../i18n.js";

/** @typedef {import("../devices.js").DeviceState} DeviceState */
/** @typedef {import("../endpoint.js").Kind} Kind */

/** A picture that stands for so long is said to stand; 1 frame a second is still a picture. */
const PICTURE_AGE_MS = 4_000;

/** @type {DeviceState[]} */
const NOT_FREE = ["missing", "busy"];

/** @param {DeviceState} state */
const open = (state) => ["live", "muted", "taken", "silent"].includes(state);

/** The person's devices with their buttons, and the other side's picture. */
export class Media {
  devices;
  #wake = new WakeLock();
  #incoming = new MediaStream();
  #remote = /** @type {HTMLVideoElement} */ ($("remote"));
  #self = /** @type {HTMLVideoElement} */ ($("self"));
  /** Whether the person has said what they want: camera, voice, or nothing. */
  #decided = false;
  #choices = "";

  /** @param {(kind: Kind, track: MediaStreamTrack | null) => void} ontrack a track to send */
  constructor(ontrack) {
    this.devices = new Devices({
      onchange: () => this.render(),
      ontrack: (kind, track) => {
        if (kind === "video") this.#self.srcObject = track && new MediaStream([track]);
        ontrack(kind, track);
      },
      onlevel: (level) => {
        /** @type {HTMLMeterElement} */ ($("level")).value = level;
      },
      storage: globalThis.localStorage,
    });
    const devices = this.devices;
    onclick("both", () => this.#ask(true));
    onclick("voice", () => this.#ask(false));
    onclick("mute", () => devices.mute(devices.state.audio !== "muted"));
    onclick("camera", () => {
      const off = devices.tracks.video !== null;
      this.#remember(!off);
      return off ? devices.cameraOff() : devices.open({video: true});
    });
    onclick("flip", () => devices.flip());
    for (const kind of KINDS) {
      $(`pick${kind}`).addEventListener("change", (event) => {
        devices.choose(kind, /** @type {HTMLSelectElement} */ (event.target).value);
      });
    }
    onclick("hear", () => this.#remote.play().then(() => show("hear", false)));
  }

  /** @param {boolean} yes whether the screen stays on */
  awake(yes) {
    this.#wake.keep(yes);
  }

  /** The call begins: who has not decided is asked now. */
  begin() {
    if (!this.#decided) this.#ask(globalThis.sessionStorage?.getItem("selat.camera") !== "off");
  }

  /** @param {Kind} kind @param {MediaStreamTrack} track from the other side */
  receive(kind, track) {
    for (const old of this.#incoming.getTracks()) if (old.kind === kind) this.#incoming.removeTrack(old);
    this.#incoming.addTrack(track);
    // Not earlier: an element that waits for its first picture holds the document's load event back.
    this.#remote.srcObject ??= this.#incoming;
    // Without a touch on this page (after a reload) a browser may refuse sound until there is one.
    this.#remote.play().catch((error) => show("hear", error.name === "NotAllowedError"));
  }

  end() {
    this.devices.close();
    for (const track of this.#incoming.getTracks()) this.#incoming.removeTrack(track);
  }

  /** @param {boolean} video */
  #ask(video) {
    this.#decided = true;
    this.#remember(video);
    return this.devices.open({audio: true, video});
  }

  /** A reload must not switch a camera on that was off. @param {boolean} camera */
  #remember(camera) {
    globalThis.sessionStorage?.setItem("selat.camera", camera ? "on" : "off");
  }

  render() {
    const {state, facing, choices} = this.devices;
    const call = ["in_call", "interrupted"].includes(document.body.dataset["state"] ?? "");
    const camera = open(state.video);
    const heard = open(state.audio);
    const asking = state.audio === "asking" || state.video === "asking";
    show("both", !camera && !heard && !asking);
    show("voice", !camera && !heard && !asking && !call);
    show("mute", heard);
    show("camera", heard || camera);
    show("flip", camera && choices.filter((each) => each.kind === "video").length > 1);
    show("loud", heard);
    show("selfview", camera);
    this.#self.className = facing === "environment" ? "back" : "";
    const muted = state.audio === "muted";
    $("mute").classList.toggle("off", muted);
    say("mute", muted ? _("Microphone on") : _("Mute"));
    $("camera").classList.toggle("off", !camera);
    say("camera", camera ? _("Camera off") : _("Camera on"));
    say("seen", seen(call, camera, heard && !(call && muted)));
    say("trouble", trouble(state));
    this.#renderChoices();
  }

  #renderChoices() {
    const {choices, chosen} = this.devices;
    const key = JSON.stringify([choices, chosen]);
    show("choices", choices.length > 0);
    if (key === this.#choices) return;
    this.#choices = key;
    for (const kind of KINDS) {
      const options = choices.filter((each) => each.kind === kind).map(({id, label}, at) =>
        el("option", {value: id, textContent: label || `${at + 1}`, selected: id === chosen[kind]}));
      $(`pick${kind}`).replaceChildren(...options);
    }
  }

  /** @param {number} pictureAgeMs since the last new picture @param {string} name of the other side */
  renderPicture(pictureAgeMs, name) {
    const stands = pictureAgeMs > PICTURE_AGE_MS;
    show("nopicture", stands);
    if (stands) say("nopicture", _("No picture from {name} just now. You can talk.", {name}));
  }
}

/** @param {boolean} call @param {boolean} camera @param {boolean} heard */
function seen(call, camera, heard) {
  if (!call) {
    if (camera) return _("The camera is on here, nobody sees you yet.");
    return heard ? _("The microphone is on here, nobody hears you yet.") : _("You can wait without camera and microphone.");
  }
  if (camera) return heard ? "" : _("Your microphone is off. You are seen, not heard.");
  return heard ? _("Your camera is off. You are heard, not seen.") : _("You are neither heard nor seen. You can write.");
}

/** @param {Record<Kind, DeviceState>} state */
function trouble({audio, video}) {
  if (audio === "silent") return _("Your microphone gives no sound. Is a phone call using it?");
  if (audio === "denied") {
    return _("The browser does not allow the microphone. Tap the sign beside the address and allow it.");
  }
  if (NOT_FREE.includes(audio)) return _("No microphone is free. Please close other apps that use it.");
  if (video === "denied") return _("The browser does not allow the camera. You can talk without it.");
  if (NOT_FREE.includes(video)) return _("No camera is free. You can talk without it.");
  if (video === "silent" || video === "taken") return _("Your camera gives no picture.");
  if (audio === "asking") return _("The browser asks for camera and microphone. Please tap “Allow”.");
  return "";
}
