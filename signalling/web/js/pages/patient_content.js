// SPDX-License-Identifier: Apache-2.0
// The patient's photographs and voice messages: nobody leaves without having been heard.

import {AutoStills} from "../auto_stills.js";
import {contentKey} from "../content.js";
import {contentsOf} from "../content_link.js";
import {$, el} from "../dom.js";
import {_} from "../i18n.js";
import {player} from "../player.js";
import {LONGEST_MS, Recorder} from "../recorder.js";
import {small} from "../stills.js";
import {Shot} from "./patient_shot.js";

/** @typedef {import("../content.js").Parcel} Parcel */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../wire.js").Entry} Entry */

const IN_A_CALL = ["in_call", "interrupted"];
const BEFORE_A_CALL = ["waiting", "ringing", "callback"];
/** An outage that lasts longer is one in which something better than waiting is offered. */
const LONG_OUTAGE_MS = 60_000;

/** @type {Record<string, string>} */
const REFUSED = {
  content_quota: _("This consult can't take more. Please delete it here and write instead."),
  content_size: _("It is too large."),
  consult_over: _("The consult is over."),
};

/** Rules that this part brings along. @type {string} */
const STYLE = `
#word { padding: .7rem 1rem; border-radius: .6rem; background: var(--wash); border: 2px solid var(--teal); }
#word p { margin: 0 0 .3rem; }
#tape { padding: .5rem 1rem; border-radius: .6rem; background: var(--wash); margin: .6rem 0; }
#tape audio, #lines audio { display: block; width: 100%; min-width: 13rem; margin: .4rem 0; }
#tape .rec::before { content: "● "; color: var(--red); }
#parcels { list-style: none; margin: 0 0 .6rem; padding: 0; }
#parcels li { margin: .4rem 0 .4rem auto; padding: .5rem .8rem; border: 1px dashed var(--line); border-radius: .8rem; width: fit-content; max-width: 90%; }
#parcels progress { display: block; width: 10rem; max-width: 100%; accent-color: var(--teal); }
#parcels button { margin: .4rem 0 0; }
#lines button { margin: .2rem 0; padding: .3rem .9rem; }
#lines .me button { border-color: var(--on-teal); color: var(--on-teal); }
#lines img { display: block; max-width: 9rem; max-height: 9rem; border-radius: .4rem; }
#shot video, #shot img { width: 100%; height: auto; max-height: 50vh; object-fit: contain; border-radius: .6rem; background: #0b1416; }
#shot button { margin: .5rem 0; }
#shot h2 { margin-top: 0; }
`;

/** Photographs, voice messages, and what they look like among the lines. */
export class Extra {
  #options;
  #link;
  #recorder;
  #shot;
  #word = el("div", {id: "word", hidden: true, role: "status"});
  #tape = el("div", {id: "tape", hidden: true});
  #parcels = el("ol", {id: "parcels"});
  #photo;
  #record;
  /** Lines of content, kept while the list around them is made anew. @type {Map<string, HTMLElement>} */
  #lines = new Map();
  /** Pictures of this page, by key. @type {Map<string, string>} */
  #thumbs = new Map();
  #goneAt = 0;
  #shown = "";
  #auto = new AutoStills();
  #cleared = "";

  /**
   * @param {{
   *   session: Session,
   *   devices: () => import("../devices.js").Devices | null,
   *   render: () => void,
   * }} options
   */
  constructor(options) {
    this.#options = options;
    const {session, devices} = options;
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    this.#link = contentsOf(session, {
      consult: () => session.state.current || "none",
      onchange: () => this.#renderParcels(),
      onmessage: (message) => {
        if (message.type === "still" && message.step === "asked") this.#askedFor();
      },
    });
    this.#recorder = new Recorder({
      onchange: () => this.#renderTape(),
      live: () => (devices()?.tracks.audio?.readyState === "live" ? (devices()?.tracks.audio ?? null) : null),
    });
    this.#shot = new Shot({
      camera: () => (devices()?.tracks.video?.readyState === "live" ? (devices()?.tracks.video ?? null) : null),
      flip: async () => devices()?.flip(),
      send: (picture) => void this.#sendPicture(picture),
      step: (step) => void session.request("still", {consult: session.state.current, step}).catch(() => {}),
    });
    this.#photo = el("button", {id: "photo", className: "tool"}, _("Send a photograph"));
    this.#record = el("button", {id: "record", className: "tool"}, _("Record a message"));
    this.#photo.addEventListener("click", () => void this.#shot.show(false));
    this.#record.addEventListener("click", () => void this.#recorder.start());
    document.querySelector(".own .buttons")?.append(this.#photo, this.#record);
    document.querySelector(".own")?.prepend(this.#word, this.#tape);
    $("chatform").before(this.#parcels);
    setInterval(() => this.#tick(), 1_000);
    void this.#link.start().then(() => options.render());
  }

  /** A line of content, or null for a line of another kind. @param {Entry} entry @returns {HTMLElement[] | null} */
  line(entry) {
    const content = entry.content;
    if (!content) return null;
    if (content.previewOf) return []; // the sharp one stands for it
    const key = entry.key ?? "";
    const known = this.#lines.get(key);
    if (known) return [known];
    const mine = entry.author === "patient";
    const line = el("li", {className: mine ? "me" : ""},
      el("span", {className: "unseen"}, `${mine ? _("You") : _("Specialist")}: `),
      content.kind === "voice" ? this.#player(entry) : this.#picture(key),
      el("small", {}, new Date(entry.at * 1000).toLocaleTimeString(document.documentElement.lang, {hour: "2-digit", minute: "2-digit"})));
    this.#lines.set(key, line);
    return [line];
  }

  /** @param {string} state of the page */
  render(state) {
    this.#link.follow();
    const {session} = this.#options;
    const call = IN_A_CALL.includes(state);
    const here = call || BEFORE_A_CALL.includes(state);
    const moment = here ? this.#moment(state) : "";
    const well = session.state.endpoint === "connected" && session.state.link === "open";
    if (!call || well) this.#goneAt = 0;
    else this.#goneAt ||= Date.now();
    this.#photo.hidden = !here;
    // In a call that works, one talks.
    this.#record.hidden = !here || Boolean(moment) || (call && !this.#spokenHere()) || this.#recorder.state !== "idle";
    this.#renderWord(moment);
    if (state === "ended" && this.#cleared !== session.state.current) {
      this.#cleared = session.state.current;
      this.#recorder.discard();
      this.#shot.close(false);
      void this.#link.contents?.clear(session.state.current);
    }
  }

  /** Whether voice messages are part of this consult already. */
  #spokenHere() {
    return (this.#options.session.state.entries.get(this.#options.session.state.current) ?? []).some((entry) => entry.kind === "voice");
  }

  /** Why a message should be left just now, in words; empty = no reason. @param {string} state */
  #moment(state) {
    const {session} = this.#options;
    const waiting = this.#link.contents?.parcels.some((parcel) => parcel.kind === "voice");
    const entries = session.state.entries.get(session.state.current) ?? [];
    const answered = [...entries].reverse().find(({kind}) => kind === "voice" || kind === "chat")?.author === "specialist";
    if (waiting) return "";
    if (state === "callback") {
      if (session.consult?.answeredAt) return ""; // the page says so already
      if (answered) return _("There is an answer for you below. You can answer it here.");
      return this.#spokenHere()
        ? _("Your message is kept. The specialist hears it before calling you; an answer appears below.")
        : _("Say now what is wrong. The specialist hears it before calling you, and can answer here.");
    }
    if (state === "waiting" && session.consult?.onCall === 0 && !this.#spokenHere()) {
      return _("No specialist is on call just now. Say what is wrong: your message is heard as soon as somebody is there.");
    }
    if (IN_A_CALL.includes(state)) {
      if (this.#goneAt && Date.now() - this.#goneAt > LONG_OUTAGE_MS) {
        return _("The connection has been away for a while. Record a message: it is sent by itself as soon as it can be.");
      }
      if (session.state.rungs?.mine?.rung === "text") return _("The connection is too weak for talking. Record a message: it gets through, and the answer comes here.");
    }
    return "";
  }

  /** @param {string} moment */
  #renderWord(moment) {
    const idle = ["idle", "denied", "unsupported"].includes(this.#recorder.state);
    this.#word.hidden = !moment || !idle;
    if (moment === this.#shown) return;
    this.#shown = moment;
    const button = el("button", {id: "speak"}, _("Record a message"));
    button.addEventListener("click", () => void this.#recorder.start());
    this.#word.replaceChildren(el("p", {}, moment), button);
  }

  #renderTape() {
    const {state, recording} = this.#recorder;
    this.#tape.hidden = state === "idle";
    const button = (/** @type {string} */ id, /** @type {string} */ words, /** @type {string} */ className, /** @type {() => unknown} */ action) => {
      const made = el("button", {id, className}, words);
      made.addEventListener("click", () => void action());
      return made;
    };
    /** @type {(Node | string)[]} */
    let parts = [];
    if (state === "asking") parts = [_("The browser asks for the microphone. Please tap “Allow”.")];
    if (state === "denied") parts = [_("The browser does not allow the microphone. You can write instead.")];
    if (state === "unsupported") parts = [_("This browser can't record. You can write instead.")];
    if (state === "recording") {
      parts = [el("p", {id: "tapetime", className: "rec", role: "timer"}), button("tape-stop", _("Stop"), "", () => this.#recorder.stop())];
    }
    if (state === "done" && recording) {
      parts = [
        el("audio", {controls: true, src: URL.createObjectURL(recording.blob)}),
        button("tape-send", _("Send it"), "", () => this.#sendVoice()),
        button("tape-again", _("Record again"), "quiet", () => this.#recorder.start()),
        button("tape-drop", _("Delete"), "quiet", () => this.#recorder.discard()),
      ];
    }
    this.#tape.replaceChildren(...parts);
    this.#tick();
    this.#options.render();
  }

  #tick() {
    const {state, elapsedMs} = this.#recorder;
    const time = document.getElementById("tapetime");
    if (state === "recording" && time) {
      const left = LONGEST_MS - elapsedMs;
      time.textContent = left < 60_000
        ? _("Recording {time}, {left} s left", {time: clockOf(elapsedMs), left: Math.max(0, Math.round(left / 1000))})
        : _("Recording {time}", {time: clockOf(elapsedMs)});
    }
    this.#renderWord(this.#word.isConnected ? this.#momentNow() : "");
    void this.#autoStill();
  }

  #momentNow() {
    const state = document.body.dataset["state"] ?? "";
    return [...IN_A_CALL, ...BEFORE_A_CALL].includes(state) ? this.#moment(state) : "";
  }

  /** While there is a voice alone a small picture now and then, in the stead of video. */
  async #autoStill() {
    const {session, devices} = this.#options;
    const {contents} = this.#link;
    const track = devices()?.tracks.video;
    if (!contents || !track) return;
    const {rungs, endpoint, current} = session.state;
    const how = {
      rung: rungs?.mine?.rung ?? "", connected: endpoint === "connected", bps: this.#link.room(),
      busy: contents.parcels.length > 0, camera: track.readyState === "live",
    };
    await this.#auto.tick(how, Date.now(), async () => {
      const picture = await small(track);
      if (picture) await contents.add({key: contentKey(), consult: current, kind: "auto_still", mime: "image/jpeg", blob: picture.blob});
    });
  }

  #askedFor() {
    navigator.vibrate?.([200, 100, 200]);
    void this.#shot.show(true);
  }

  /** @param {{sharp: import("../stills.js").Picture, previews: import("../stills.js").Picture[]}} picture */
  async #sendPicture({sharp, previews}) {
    const {contents} = this.#link;
    const consult = this.#options.session.state.current;
    if (!contents || !consult) return;
    const key = contentKey();
    this.#thumbs.set(key, URL.createObjectURL(previews[0]?.blob ?? sharp.blob));
    const common = {consult, kind: /** @type {const} */ ("still"), mime: "image/jpeg"};
    for (const {blob} of previews) await contents.add({...common, key: contentKey(), blob, previewOf: key});
    await contents.add({...common, key, blob: sharp.blob});
  }

  async #sendVoice() {
    const {recording} = this.#recorder;
    const {contents} = this.#link;
    const consult = this.#options.session.state.current;
    if (!recording || !contents || !consult) return;
    const {blob, mime, durationMs} = recording;
    await contents.add({key: contentKey(), consult, kind: "voice", mime, blob, durationMs});
    this.#recorder.discard();
  }

  #renderParcels() {
    const {contents} = this.#link;
    if (!contents) return;
    const mine = contents.parcels.filter((parcel) => parcel.consult === this.#options.session.state.current && !parcel.previewOf && parcel.kind !== "auto_still");
    const lines = mine.map((parcel) => this.#parcel(parcel, contents.arrived.get(parcel.key) ?? 0));
    this.#parcels.replaceChildren(...lines);
  }

  /** @param {Parcel} parcel @param {number} arrived */
  #parcel(parcel, arrived) {
    const {contents} = this.#link;
    const what = parcel.kind === "voice" ? _("Voice message") : _("Photograph");
    if (parcel.failed) {
      const again = el("button", {className: "quiet"}, _("Send again"));
      again.addEventListener("click", () => contents?.retry(parcel.key));
      const drop = el("button", {className: "quiet"}, _("Delete"));
      drop.addEventListener("click", () => void contents?.drop(parcel.key));
      return el("li", {"data-failed": parcel.failed}, `${what}: ${REFUSED[parcel.failed] ?? _("It could not be sent.")}`, again, drop);
    }
    const words = arrived
      ? _("{percent} % sent", {percent: Math.floor((100 * arrived) / parcel.blob.size)})
      : this.#options.session.state.link === "open" ? _("is being sent …") : _("is sent when there is a connection");
    return el("li", {}, `${what}: ${words}`, el("progress", {max: parcel.blob.size, value: arrived}));
  }

  /** @param {string} key */
  #picture(key) {
    const src = this.#thumbs.get(key);
    return el("span", {}, src ? el("img", {src, alt: ""}) : null, _("Photograph"));
  }

  /** @param {Entry} entry */
  #player(entry) {
    const {consult, key = "", content} = entry;
    const words = _("Play the message ({time})", {time: clockOf(content?.durationMs ?? 0)});
    const read = (/** @type {(share: number) => void} */ told) =>
      content && this.#link.contents?.read({...content, consult, key}, told);
    return player({key, sha256: content?.sha256 ?? "", words, read});
  }
}

/** @param {number} ms */
function clockOf(ms) {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export const parts = {Extra};
