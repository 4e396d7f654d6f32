// SPDX-License-Identifier: Apache-2.0
// What is going on, in the patient's words, what it costs, and what is seldom needed: fetched by itself when calls can be made.

import {CallStatus} from "../call_status.js";
import {$, el, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {clock} from "../link_words.js";
import {qualityWords} from "../quality_words.js";
import {Usage, pageBytes, savesData} from "../usage.js";
import {keepable} from "./patient_keepable.js";
import {Takeovers} from "./patient_takeovers.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../devices.js").Devices} Devices */
/** @typedef {import("../link_words.js").Sentence} Sentence */
/** @typedef {import("../wire.js").ConsultView} ConsultView */

/** @type {Record<Exclude<Sentence, "">, string>} */
const SENTENCES = {
  all_down: _("Your link is down. We keep your place and call again by ourselves."),
  other_down: _("The specialist's connection is lost. We keep the call for you."),
  media_down: _("The connection is interrupted. Please stay, the call comes back by itself."),
  microphone_taken: _("Your microphone is in use by something else, perhaps a phone call. You are not heard until it ends."),
  other_microphone_taken: _("The specialist's microphone is taken by something else just now. Please wait."),
  text_own: _("Your link is too weak for voice just now. Please write."),
  text_other: _("The specialist's link is too weak for voice just now. Please write."),
  text: _("The link is too weak for voice just now. Please write."),
  paused_own: _("Your link is weak: the picture is paused, voice goes on."),
  paused_other: _("The specialist's link is weak: the picture is paused, voice goes on."),
  paused: _("The link is weak: the picture is paused, voice goes on."),
  connecting: _("Connecting picture and sound …"),
  service_down: _("The connection to our service is lost. We try again by ourselves; you can go on talking."),
  other_service_down: _("The specialist's page has lost our service. You can go on talking."),
  gaps_own: _("Your link is weak: the voice has gaps. Speak slowly, and say again what matters."),
  gaps_other: _("The specialist's link is weak: the voice has gaps. Speak slowly, and say again what matters."),
  gaps: _("The voice has gaps. Speak slowly, and say again what matters."),
  stands_own: _("Your link is weak: the picture stands still at times. Voice goes on."),
  stands_other: _("The specialist's link is weak: the picture stands still at times. Voice goes on."),
  stands: _("The picture stands still at times. Voice goes on."),
  paused_wish: _("The picture is paused because somebody wanted it so. Voice goes on."),
  other_muted: _("The specialist has switched the microphone off."),
  other_hidden: _("The specialist looks at something else just now, and hears you."),
  late: _("What you say arrives late. Please wait a moment after each sentence."),
};
/** What the link will make possible, measured while the person waits. @type {Record<string, string>} */
const OUTLOOKS = {
  messages: _("Your link is too weak for voice just now. You can write and leave messages."),
  "voice-with-gaps": _("Voice will have gaps: your link loses a part of it."),
  voice: _("Voice will be clear. Instead of a moving picture you can send photographs."),
  "slow-picture": _("Voice will be clear. Picture will be small and slow."),
  "small-picture": _("Voice will be clear. Picture will be small."),
  "good-picture": _("Voice and picture will be clear."),
};
/** @type {Record<import("../wire.js").Outcome, string>} */
const OUTCOMES = {
  advice: _("The specialist gave you advice."),
  prescription: _("The specialist prescribes a medicine."),
  referral: _("You are referred: please go where the specialist told you."),
  emergency: _("This is an emergency: please do now what the specialist told you."),
  follow_up: _("The specialist wants to speak with you again."),
  patient_left: _("You ended the call."),
  lost: _("The connection was lost for too long."),
};
/** @type {Record<import("../wire.js").CallbackReason, string>} */
const REASONS = {
  nobody_on_call: _("No specialist is on call just now."),
  nobody_answered: _("No specialist could answer just now."),
  waited_too_long: _("You have waited too long already."),
  link_lost: _("The connection was lost for too long."),
};
/** MB that can be chosen: 25 are ten minutes of a good picture, or two hours of voice. */
const CAPS_MB = [10, 25, 50, 100, 250];

/** The status line of a call, and the data that it uses. */
export class Status {
  #status;
  #usage = new Usage(globalThis.sessionStorage);
  #options;
  /** The picture was stopped by the cap; the person may go on after raising it. */
  #capped = false;
  #outlook = "";
  #select = el("select", {id: "cap"});

  /**
   * @param {{session: Session, devices: () => Devices | null}} options
   */
  constructor(options) {
    this.#options = options;
    this.#status = new CallStatus({session: () => options.session, devices: options.devices});
    // Who saves data begins without a picture, and may switch it on; what they chose before counts more.
    if (savesData() && !sessionStorage.getItem("selat.camera")) sessionStorage.setItem("selat.camera", "off");
    this.#build();
  }

  /** @param {import("../transport.js").Message} message */
  receive(message) {
    if (message.type === "outlook") this.#outlook = message["outlook"];
    this.#status.receive(message);
  }

  /** Whether a sentence says already why there is no picture. */
  get says() {
    return Boolean($("callnote").textContent);
  }

  /** The call as it is now. @param {ConsultView} view */
  render(view) {
    const now = performance.now();
    const {sentence, level} = this.#status.look(view, now);
    const {since} = this.#status;
    say("callnote", sentence ? SENTENCES[sentence] : "");
    $("callnote").className = level > 1 ? "error" : "";
    const lasts = level === 3 && since > 0;
    show("lasts", lasts);
    if (lasts) say("lasts", clock(now - since));
    const mine = level === 3 ? null : this.#status.quality?.mine;
    say("quality", mine ? _("Quality: {words}", {words: qualityWords(mine, _("the specialist's link"))}) : "");
    this.#count(view, now);
  }

  /** While the person waits: whose call it was, when and why we call back. @param {ConsultView} view */
  renderWait(view) {
    show("kept", Boolean(view.kept));
    if (view.state === "callback") this.#renderCallback(view);
    this.#count(view, performance.now());
    const promised = view.state === "callback" ? "" : OUTLOOKS[this.#outlook] ?? "";
    say("outlook", promised);
    show("outlook", Boolean(promised));
    if (!view.answeredAt) return;
    say("waittitle", _("A specialist has answered you"));
    say("estimate", "");
    say("waitnote", _("If you need more, write or speak here: then somebody calls you back."));
  }

  /** @param {ConsultView} view */
  #renderCallback({callbackBy, callbackReason, answeredAt}) {
    say("place", callbackBy ? _("By {time} at the latest", {time: day(callbackBy)}) : "");
    if (answeredAt) return;
    say("estimate", callbackReason ? REASONS[callbackReason] : "");
    say("waitnote", _("Keep this page open, or come back with the same link. Keep your phone switched on."));
  }

  /** When it is over: what came of it. @param {ConsultView} view */
  renderEnd(view) {
    say("outcome", view.outcome ? OUTCOMES[view.outcome] : "");
  }

  #build() {
    $("callnote").after(el("p", {id: "lasts", className: "big", hidden: true, "aria-live": "off"}));
    $("waitnote").after(el("p", {id: "outlook", role: "status", hidden: true}), el("p", {id: "kept", hidden: true},
      _("Your call was interrupted. The specialist who was with you is called first.")));
    const choice = (/** @type {number} */ mb) =>
      el("option", {value: String(mb)}, mb ? _("{mb} MB", {mb}) : _("no limit"));
    $("seen").before(el("small", {id: "quality"}));
    this.#select.append(...[0, ...CAPS_MB].map(choice));
    this.#select.addEventListener("change", () => this.#limit());
    $("choices").before(el("details", {id: "usage"},
      el("summary", {id: "used"}),
      savesData() ? el("p", {}, _("Your browser saves data, so the call begins without your picture.")) : null,
      el("label", {for: "cap"}, _("Use at most")), this.#select),
    el("p", {id: "capnote", role: "status"}));
  }

  #limit() {
    this.#usage.limit(Number(this.#select.value));
    if (this.#capped && !this.#usage.over) this.#lift();
    this.#say();
  }

  /** @param {ConsultView} view @param {number} now */
  #count(view, now) {
    const {session} = this.#options;
    this.#usage.begin(view.consult);
    this.#usage.count("page", pageBytes());
    this.#usage.count("socket", session.transport.bytes);
    const {endpoint} = session;
    if (endpoint && this.#status.received) this.#usage.count(endpoint, this.#status.received.bytes);
    this.#usage.keep(now);
    if (document.activeElement !== this.#select) this.#select.value = String(this.#usage.cap / 1_000_000);
    if (this.#usage.over && ["in_call", "interrupted"].includes(view.state)) this.#stop(view);
    this.#say();
  }

  #say() {
    const {mb, near, over} = this.#usage;
    say("used", _("Data used: {mb} MB", {mb: mb.toLocaleString(document.documentElement.lang)}));
    say("capnote", over ? _("Your limit of data is reached: the picture is stopped, voice goes on.")
      : near ? _("Most of your limit of data is used. At the limit the picture stops; voice goes on.") : "");
  }

  /** Neither picture costs any more: ours is switched off, the other side is asked to stop. Until the limit is raised. @param {ConsultView} view */
  #stop(view) {
    const devices = this.#options.devices();
    if (devices?.tracks.video) devices.cameraOff();
    this.#capped ||= this.#options.session.transport.send("wish", {consult: view.consult, wish: "voice"}) > 0;
  }

  #lift() {
    this.#capped = false;
    this.#options.session.transport.send("wish", {consult: this.#options.session.state.current, wish: "motion"});
  }
}

/** A time that may be tomorrow. @param {number} at */
function day(at) {
  const date = new Date(at * 1000);
  if (date.toDateString() === new Date().toDateString()) return date.toLocaleTimeString(document.documentElement.lang, {hour: "2-digit", minute: "2-digit"});
  return date.toLocaleString(document.documentElement.lang, {weekday: "long", hour: "2-digit", minute: "2-digit"});
}

export const parts = {Status, Takeovers, keepable};
