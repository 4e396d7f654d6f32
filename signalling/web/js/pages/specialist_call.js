// SPDX-License-Identifier: Apache-2.0
// The specialist's call: pictures, controls, patient, note, chat, transfer, end.

import {Devices, WakeLock} from "../devices.js";
import {$, el, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {SPECIALIST_OUTCOMES, SPECIALTIES, refusalText} from "../labels.js";
import {Note} from "../note.js";
import {CallStatus} from "../call_status.js";
import {clock} from "../link_words.js";
import {qualityWords} from "../quality_words.js";
import {attempt, choices, codeOf, complain, dialog, fillList, timeOfDay} from "./staff.js";
import {running, takeoverNotice} from "./staff_cases.js";
import {renderIntake} from "./specialist_intake.js";
import {WishControl} from "./specialist_wish.js";

/** @import {Kind} from "../endpoint.js" */
/** @import {Session} from "../session.js" */
/** @import {ConsultView, Entry} from "../wire.js" */

/** @type {Record<Exclude<import("../link_words.js").Sentence, "">, string>} */
const STATUS_WORDS = {
  all_down: _("Your link is down. The call is kept and comes back by itself."),
  other_down: _("The patient’s link is down. They are brought back by themselves."),
  media_down: _("The connection to the patient is broken. It is being brought back …"),
  microphone_taken: _("Your microphone is in use by something else, perhaps a phone call: the patient can’t hear you."),
  other_microphone_taken: _("The patient’s microphone is taken, perhaps by a phone call. Wait, or write."),
  text_own: _("Your link is too weak for voice just now. Please write."),
  text_other: _("The patient’s link is too weak for voice just now. Please write."),
  text: _("The link is too weak for voice just now. Please write."),
  paused_own: _("Your link is weak: picture paused, voice goes on."),
  paused_other: _("The patient’s link is weak: picture paused, voice goes on."),
  paused: _("The link is weak: picture paused, voice goes on."),
  connecting: _("Connecting to the patient …"),
  service_down: _("Voice and picture go on; chat and note wait for the server."),
  other_service_down: _("The patient’s page has lost the server; voice and picture go on."),
  gaps_own: _("Your link is weak: the voice has gaps."),
  gaps_other: _("The patient’s link is weak: the voice has gaps. Speak slowly."),
  gaps: _("The voice has gaps. Speak slowly."),
  stands_own: _("Your link is weak: the picture stands still at times."),
  stands_other: _("The patient’s link is weak: the picture stands still at times."),
  stands: _("The picture stands still at times."),
  paused_wish: _("Picture paused as wanted; voice goes on."),
  other_muted: _("The patient’s microphone is switched off."),
  other_hidden: _("The patient looks at something else just now, and hears you."),
  late: _("Long delay: wait a moment after each sentence."),
};

/** @type {Record<import("../note.js").NoteState, string>} */
const NOTE_WORDS = {
  empty: "",
  unsaved: _("Not saved yet"),
  saving: _("Saving …"),
  saved: _("Saved"),
  kept: _("Not saved: kept in this tab, sent again by itself"),
};

export class CallView {
  /** @type {Devices | null} */
  devices = null;
  /** @type {Note | null} */
  #note = null;
  #consult = "";
  #stream = new MediaStream();
  #wake = new WakeLock();
  #muted = false;
  /** Both devices were asked for: the call has begun, or was accepted. */
  #opened = false;
  #preparing = false;
  #options;
  #status;
  #wish;

  /**
   * @param {{session: () => Session | null, ondevices: () => void, contents: import("./specialist_content.js").StaffContents}} options
   *   `ondevices`: something a page shows changed
   */
  constructor(options) {
    this.#options = options;
    choices("transfer-specialty", SPECIALTIES);
    for (const [value, words] of Object.entries(SPECIALIST_OUTCOMES)) {
      $("end-outcomes").append(el("label", {className: "choice"},
        el("input", {type: "radio", name: "outcome", value, required: true}), words));
    }
    this.#status = new CallStatus({session: options.session, devices: () => this.devices});
    this.#wish = new WishControl(options.session);
    onclick("mute", () => this.#mute());
    onclick("camera", () => this.#camera());
    onclick("play", () => this.#play());
    onclick("transfer-open", () => this.#ask("transfer"));
    onclick("end-open", () => this.#ask("end"));
    $("note").addEventListener("input", () => this.#note?.write(this.#noteField.value));
    $("note").addEventListener("blur", () => void this.#note?.flush());
    addEventListener("pagehide", () => void this.#note?.flush());
    this.#form("chat-form", () => this.#sendLine());
    this.#form("transfer-form", (form) => this.#transfer(form));
    this.#form("end-form", (form) => this.#end(form));
  }

  /** Asks for camera and microphone; from a tap where possible. @returns {Devices} */
  open() {
    const devices = this.devices ?? this.#make();
    if (this.#opened) return devices;
    this.#opened = true;
    void devices.open({audio: !devices.tracks.audio, video: true});
    return devices;
  }

  /**
   * While it rings: opens the microphone alone, unless the browser would have to ask. Its voice is there at once then when
   * the ring is accepted; nothing is sent before.
   * @param {() => boolean} rings whether it still rings once the browser has answered
   */
  async prepare(rings) {
    if (this.devices || this.#preparing) return;
    this.#preparing = true;
    const granted = await mayListen();
    this.#preparing = false;
    if (granted && rings() && !this.devices) void this.#make().open({audio: true});
  }

  /** The microphone is open, the call has not begun. */
  get prepared() {
    return !this.#opened && Boolean(this.devices?.tracks.audio);
  }

  #make() {
    const devices = new Devices({
      onchange: () => {
        this.#renderDevices();
        this.#options.ondevices();
      },
      ontrack: (kind, track) => this.#options.session()?.setTrack(kind, track),
      onlevel: (level) => {
        /** @type {HTMLMeterElement} */ ($("level")).value = level;
      },
      storage: localStorage,
    });
    this.devices = devices;
    this.#muted = false;
    return devices;
  }

  /** @param {import("../transport.js").Message} message */
  receive(message) {
    this.#status.receive(message);
  }

  /** Lets go of camera, microphone, picture and papers. */
  close() {
    for (const kind of /** @type {Kind[]} */ (["audio", "video"])) this.#options.session()?.setTrack(kind, null);
    this.devices?.close();
    this.devices = null;
    this.#opened = false;
    this.#wake.keep(false);
    this.#note?.close();
    this.#note = null;
    this.#consult = "";
    this.#stream = new MediaStream();
    for (const id of ["remote", "self"]) /** @type {HTMLVideoElement} */ ($(id)).srcObject = null;
    for (const id of ["transfer", "end", "devices"]) dialog(id).close();
    $("lines").replaceChildren();
    this.#noteField.value = "";
  }

  /** @param {Kind} kind @param {MediaStreamTrack} track what the other side sends */
  track(kind, track) {
    for (const old of this.#stream.getTracks()) if (old.kind === kind) this.#stream.removeTrack(old);
    this.#stream.addTrack(track);
    const remote = /** @type {HTMLVideoElement} */ ($("remote"));
    if (remote.srcObject !== this.#stream) remote.srcObject = this.#stream;
    void this.#play();
  }

  /**
   * @param {Session} session
   * @param {ConsultView} view
   */
  render(session, view) {
    if (this.#consult !== view.consult) this.#begin(session, view);
    this.#wake.keep(true);
    this.open();
    const endpoint = session.state.endpoint;
    document.body.dataset["endpoint"] = endpoint ?? "";
    this.#renderStatus(view);
    this.#renderPicture(view);
    this.#wish.render(view);
    this.#renderNotices(session, view);
    renderIntake(view);
    if (this.#note?.fromServer(view.note ?? "")) this.#noteField.value = this.#note.text;
    this.#renderLines(session, view.consult);
    if (session.state.link === "open" && this.#note?.state === "kept") void this.#note.flush();
  }

  /** @param {Session} session @param {ConsultView} view */
  #begin(session, view) {
    this.#note?.close();
    this.#consult = view.consult;
    const consult = view.consult;
    this.#noteField.value = "";
    this.#note = new Note({
      consult,
      save: (text) => session.request("note", {consult, text}),
      storage: sessionStorage,
      onstate: (state) => {
        say("note-state", NOTE_WORDS[state]);
        $("note-state").dataset["note"] = state;
      },
    });
    $("lines").replaceChildren();
  }

  get #noteField() {
    return /** @type {HTMLTextAreaElement} */ ($("note"));
  }

  /** @param {string} id @param {(form: HTMLElement) => Promise<void> | void} action */
  #form(id, action) {
    const form = $(id);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const complaint = form.querySelector("[role=alert]");
      if (complaint instanceof HTMLElement) complain(complaint, "");
      try {
        await action(form);
      } catch (error) {
        if (complaint instanceof HTMLElement) complain(complaint, refusalText(codeOf(error)));
      }
    });
  }

  /** @param {"transfer" | "end"} id */
  #ask(id) {
    const complaint = $(id).querySelector("[role=alert]");
    if (complaint instanceof HTMLElement) complain(complaint, "");
    dialog(id).showModal();
  }

  async #play() {
    try {
      await /** @type {HTMLVideoElement} */ ($("remote")).play();
      show("play", false);
    } catch (error) {
      // After a reload the browser wants a tap before it plays sound.
      show("play", error instanceof DOMException && error.name === "NotAllowedError");
    }
  }

  #mute() {
    this.#muted = !this.#muted;
    this.devices?.mute(this.#muted);
    this.#renderDevices();
  }

  async #camera() {
    if (this.devices?.tracks.video) this.devices.cameraOff();
    else await this.devices?.open({video: true});
    this.#renderDevices();
  }

  #renderDevices() {
    const devices = this.devices;
    if (!devices) return;
    const self = /** @type {HTMLVideoElement} */ ($("self"));
    const track = devices.tracks.video;
    const shown = /** @type {MediaStream | null} */ (self.srcObject)?.getVideoTracks()[0] ?? null;
    if (shown !== track) self.srcObject = track ? new MediaStream([track]) : null;
    self.hidden = !track;
    $("mute").setAttribute("aria-pressed", String(this.#muted));
    say("mute-words", this.#muted ? _("Unmute") : _("Mute"));
    const off = !track;
    $("camera").setAttribute("aria-pressed", String(off));
    say("camera-words", off ? _("Camera on") : _("Camera off"));
  }

  /** One sentence on what is going on, and one word for each direction. @param {ConsultView} view */
  #renderStatus(view) {
    const now = performance.now();
    const {sentence, level} = this.#status.look(view, now);
    const {since, quality} = this.#status;
    say("call-words", sentence ? STATUS_WORDS[sentence] : "");
    say("call-lasts", level === 3 && since ? clock(now - since) : "");
    $("call-status").hidden = !sentence;
    $("call-status").dataset["level"] = String(level);
    const other = _("the patient’s link");
    say("call-quality", level === 3 ? "" : [
      quality?.mine && `${_("You receive")}: ${qualityWords(quality.mine, other)}`,
      quality?.theirs && `${_("The patient receives")}: ${qualityWords(quality.theirs, other)}`,
    ].filter(Boolean).join("\n"));
  }

  /** @param {ConsultView} view */
  #renderPicture(view) {
    const remote = /** @type {HTMLVideoElement} */ ($("remote"));
    const seen = remote.videoWidth > 0 && !view.away?.includes("patient");
    $("pictures").dataset["seen"] = String(seen);
    say("no-picture", seen ? "" : _("No picture of the patient"));
  }

  /** @param {Session} session @param {ConsultView} view */
  #renderNotices(session, view) {
    /** @type {{key: string, make: () => HTMLElement}[]} */
    const notices = [];
    if (view.state === "interrupted" && view.away?.includes("patient")) {
      notices.push({key: `away ${view.deadlineAt}`, make: () => awayNotice(session, view)});
    }
    for (const takeover of view.takeovers ?? []) {
      notices.push({key: takeover.request, make: () => takeoverNotice(session, view.consult, takeover)});
    }
    for (const [kind, state] of Object.entries(this.devices?.state ?? {})) {
      const words = deviceWords(/** @type {Kind} */ (kind), state);
      if (words) notices.push({key: `${kind} ${state}`, make: () => el("p", {className: "notice bad", role: "alert"}, words)});
    }
    fillList($("call-notices"), notices, ({key}) => key, ({make}) => make());
  }

  /** @param {Session} session @param {string} consult */
  #renderLines(session, consult) {
    const list = $("lines");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const lines = [
      ...(session.state.entries.get(consult) ?? []).filter((entry) => this.#options.contents.take(entry)).map((entry) => ({...entry, unsent: ""})),
      ...session.state.unsent.filter((line) => line.consult === consult).map((line) => ({
        cursor: -1, at: 0, kind: /** @type {const} */ ("chat"), author: "specialist", key: line.key, text: line.text,
        unsent: line.failed ?? "waiting",
      })),
    ];
    const before = list.children.length;
    fillList(list, lines, (line) => line.key || String(line.cursor), (line) => ("content" in line ? this.#options.contents.row(line) : entryRow(session, line)));
    if (list.children.length !== before && atEnd) list.scrollTop = list.scrollHeight;
  }

  #sendLine() {
    const field = /** @type {HTMLInputElement} */ ($("chat-text"));
    this.#options.session()?.chat(field.value);
    field.value = "";
    field.focus();
  }

  /** @param {HTMLElement} form */
  async #transfer(form) {
    const value = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id)).value.trim();
    await this.#note?.flush();
    await this.#options.session()?.request("transfer", {
      consult: this.#consult, specialty: value("transfer-specialty"), reason: value("transfer-reason"),
    });
    this.#done(form);
  }

  /** @param {HTMLElement} form */
  async #end(form) {
    const chosen = /** @type {HTMLInputElement | null} */ (form.querySelector("input[name=outcome]:checked"));
    const summary = /** @type {HTMLTextAreaElement} */ ($("end-summary")).value.trim();
    await this.#note?.flush();
    await this.#options.session()?.request("end", {consult: this.#consult, outcome: chosen?.value, summary});
    this.#done(form);
  }

  /** @param {HTMLElement} form */
  #done(form) {
    /** @type {HTMLFormElement} */ (form).reset();
    form.closest("dialog")?.close();
  }
}

/** @param {Session} session @param {ConsultView} view */
function awayNotice(session, view) {
  const hold = el("button", {type: "button", id: "hold", className: "main"}, _("Take another patient meanwhile"));
  hold.addEventListener("click", () => attempt(() => session.request("hold", {consult: view.consult})));
  return el("div", {className: "notice ask"},
    view.deadlineAt ? el("p", {}, _("The consult is kept until {time}", {time: timeOfDay(view.deadlineAt)}), " (", running("until", view.deadlineAt), ")") : null,
    el("div", {className: "row"}, hold),
    el("p", {className: "hint"}, _("You are rung first when the patient is back. Or wait, write your note, or end the consult.")));
}

/**
 * What the person should know about a device that doesn't work.
 * @param {Kind} kind
 * @param {string} state
 */
export function deviceWords(kind, state) {
  if (kind === "audio") {
    if (state === "denied") return _("The microphone is blocked: the patient can’t hear you. Allow it in the browser’s address bar.");
    if (state === "missing") return _("No microphone found: the patient can’t hear you.");
    if (state === "busy") return _("Another program uses the microphone: the patient can’t hear you.");
    if (state === "silent") return _("Your microphone gives no sound. Is it covered, or switched off?");
    return "";
  }
  if (state === "denied") return _("The camera is blocked: the patient can’t see you. Allow it in the browser’s address bar.");
  if (state === "busy") return _("Another program uses the camera: the patient can’t see you.");
  return "";
}

/** @type {Record<Exclude<Entry["kind"], "chat" | "still" | "voice">, string>} */
const ENTRY_WORDS = {
  joined: _("The patient joined."),
  accepted: _("The call was accepted."),
  transferred: _("Transferred."),
  held: _("Put on hold until the patient is back."),
  lost: _("Connection lost."),
  back: _("Connected again."),
  device_changed: _("The patient goes on with another device."),
  answered: _("Answered by message: no call needed."),
  ended: _("The consult ended."),
};

/**
 * @param {Session} session
 * @param {Pick<Entry, "at" | "kind" | "author" | "by" | "key" | "text"> & {unsent: string}} line
 */
function entryRow(session, line) {
  if (line.kind !== "chat" && line.kind !== "still" && line.kind !== "voice") {
    const who = line.author === "specialist" ? _("You") : line.author === "patient" ? _("Patient") : "";
    const names = line.kind === "lost" || line.kind === "back";
    return el("li", {className: "event"}, names && who ? `${who}: ` : "", ENTRY_WORDS[line.kind] ?? "", line.text ? ` ${line.text}` : "",
      " ", el("span", {className: "at"}, timeOfDay(line.at)));
  }
  const colleague = line.author === "specialist" && Boolean(line.by) && line.by !== session.state.me?.participant;
  const mine = line.author === "specialist" && !colleague;
  const failed = line.unsent && line.unsent !== "waiting";
  const again = failed && line.key ? el("button", {type: "button", className: "quiet"}, _("Send again")) : null;
  again?.addEventListener("click", () => session.retry(line.key ?? ""));
  return el("li", {className: mine ? "line mine" : "line", "data-unsent": line.unsent},
    el("span", {className: "unseen"}, mine ? _("You") : colleague ? _("Colleague") : _("Patient"), ": "),
    el("span", {className: "text"}, line.text ?? ""),
    el("span", {className: "at"}, failed ? refusalText(line.unsent) : line.unsent ? _("sending …") : timeOfDay(line.at)),
    again);
}

/** Whether the microphone may be opened without a question to the person. */
async function mayListen() {
  try {
    return (await navigator.permissions.query({name: /** @type {PermissionName} */ ("microphone")})).state === "granted";
  } catch {
    return false; // an older Firefox doesn't say
  }
}
