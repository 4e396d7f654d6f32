// SPDX-License-Identifier: Apache-2.0
// The specialist asks for photographs, hears and answers messages: in the call, and from the desk where a call-back is owed.

import {contentKey} from "../content.js";
import {contentsOf} from "../content_link.js";
import {$, el, onclick, say} from "../dom.js";
import {_} from "../i18n.js";
import {refusalText} from "../labels.js";
import {plain} from "../net.js";
import {Recorder} from "../recorder.js";
import {Pictures} from "./specialist_pictures.js";
import {codeOf, complain, dayAndTime, dialog, fillList, toast} from "./staff.js";

/** @import {Session} from "../session.js" */
/** @import {Entry, MessageLine, QueueItem} from "../wire.js" */

/** What the specialist's page does with content. */
export class StaffContents {
  #session;
  /** @type {Session | null} */
  #of = null;
  /** @type {ReturnType<typeof contentsOf> | null} */
  #link = null;
  /** Of the call. @type {{consult: string, pictures: Pictures} | null} */
  #call = null;
  #callTape;
  /** Of the dialog on the desk. @type {{consult: string, count: number, over: boolean, pictures: Pictures} | null} */
  #open = null;
  #dialogTape;
  /** When a photograph was asked for, by the server's clock; a picture after that is the answer. */
  #askedAt = Infinity;

  /** @param {{session: () => Session | null, microphone: () => MediaStreamTrack | null}} options */
  constructor({session, microphone}) {
    this.#session = session;
    onclick("ask-still", () => this.#askStill());
    const contents = () => this.#link?.contents ?? null;
    this.#callTape = new Tape("call", {contents, microphone, consult: () => this.#call?.consult ?? ""});
    this.#dialogTape = new Tape("messages", {
      contents, microphone, consult: () => this.#open?.consult ?? "", onsent: () => void this.#refetch(),
    });
    $("chat-form").after(this.#callTape.element);
    this.#wireDialog();
    setInterval(() => {
      this.#call?.pictures.tick();
      this.#callTape.tick();
      this.#dialogTape.tick();
    }, 1_000);
  }

  /** To be called whenever the page is rendered. @param {string} inCall the consult of the call that is on, or empty */
  render(inCall) {
    const session = this.#session();
    if (session !== this.#of) {
      this.#of = session;
      this.#link = null;
      this.#call = null;
      this.#closeDialog();
    }
    if (!this.#link && session?.state.me) {
      const link = contentsOf(session, {
        box: `selat-${session.state.me.participant}`,
        onchange: () => this.#changed(),
        onmessage: (message) => this.#receive(message),
      });
      this.#link = link;
      void link.start();
    }
    this.#link?.follow();
    if (this.#call && this.#call.consult !== inCall) {
      this.#call.pictures.close();
      this.#callTape.discard();
      say("ask-still-state", "");
      this.#call = null;
    }
    if (inCall && session && !this.#call) {
      this.#call = {consult: inCall, pictures: new Pictures(inCall, () => this.#link?.contents ?? null, (line) => this.#who(session, line))};
    }
    if (inCall) this.#closeDialog();
    this.#callTape.render();
    const item = this.#open && session?.state.desk?.callbacks?.find((each) => each.consult === this.#open?.consult);
    if (item && this.#open && !this.#open.over && (item.messages ?? 0) !== this.#open.count) void this.#refetch();
  }

  /** Whether a line of the call's timeline has a row of its own. @param {Entry} entry */
  take(entry) {
    if (entry.kind === "still" && entry.at > this.#askedAt) {
      this.#askedAt = Infinity;
      say("ask-still-state", "");
    }
    return this.#call?.pictures.take(entry) ?? true;
  }

  /** @param {Entry} entry of content */
  row(entry) {
    return /** @type {Pictures} */ (this.#call?.pictures).row(entry);
  }

  /** A button that opens what a patient wrote and said. @param {QueueItem} item of the call-backs */
  button(item) {
    const count = item.messages ?? 0;
    const words = count ? _("Messages: {count} not answered", {count}) : _("Messages");
    const button = el("button", {type: "button", className: count ? "main messages" : "messages"}, words);
    button.addEventListener("click", () => void this.open(item.consult, false));
    return button;
  }

  /** Opens the messages of a consult. @param {string} consult @param {boolean} over nothing can be answered any more */
  async open(consult, over) {
    const session = this.#session();
    if (!session) return;
    const pictures = new Pictures(consult, () => this.#link?.contents ?? null, (line) => this.#who(session, line));
    this.#open = {consult, count: 0, over, pictures};
    $("messages-lines").replaceChildren();
    $("messages-form").hidden = over;
    this.#dialogTape.element.hidden = over;
    $("messages-close").hidden = true;
    complain("messages-error", "");
    dialog("messages").showModal();
    await this.#refetch();
  }

  /** @param {Session} session @param {{author?: string, by?: string | undefined}} line empty = oneself */
  #who(session, line) {
    if (line.author === "patient") return _("Patient");
    return line.by && line.by !== session.state.me?.participant ? _("Colleague") : "";
  }

  #changed() {
    this.#callTape.render();
    this.#dialogTape.render();
  }

  /** @param {any} message */
  #receive(message) {
    if (message.type === "content_progress") this.#call?.pictures.progress(message);
    if (message.type !== "still") return;
    if (message.step === "taking") say("ask-still-state", _("The patient has taken a photograph and looks at it."));
    if (message.step === "declined") say("ask-still-state", _("The patient doesn't want to send a photograph now."));
  }

  async #askStill() {
    const consult = this.#call?.consult;
    if (!consult) return;
    try {
      this.#askedAt = this.#session()?.now() ?? Infinity;
      await this.#session()?.request("still", {consult, step: "asked"});
      say("ask-still-state", _("Asked. The patient takes it, looks at it, and sends it if they agree."));
    } catch (error) {
      toast(refusalText(codeOf(error)));
    }
  }

  #wireDialog() {
    $("messages-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#write(/** @type {HTMLInputElement} */ ($("messages-text")));
    });
    $("messages-form").after(this.#dialogTape.element);
    onclick("messages-answered", () => this.#answered());
    $("messages").addEventListener("close", () => {
      this.#open = null;
      this.#dialogTape.discard();
    });
  }

  #closeDialog() {
    if (dialog("messages").open) dialog("messages").close();
  }

  /** @param {HTMLInputElement} field */
  async #write(field) {
    const text = plain(field.value);
    if (!text || !this.#open) return;
    complain("messages-error", "");
    try {
      await this.#session()?.request("chat", {consult: this.#open.consult, key: contentKey(), text});
      field.value = "";
      await this.#refetch();
    } catch (error) {
      complain("messages-error", refusalText(codeOf(error)));
    }
  }

  /** The message that was sent last is the answer: the promise is closed. */
  async #answered() {
    const consult = this.#open?.consult;
    if (!consult) return;
    complain("messages-error", "");
    try {
      await this.#session()?.request("callback_answered", {consult});
      this.#closeDialog();
      toast(_("Closed. The patient reads and hears your answer with their link."));
    } catch (error) {
      if (codeOf(error) !== "wrong_state") return complain("messages-error", refusalText(codeOf(error)));
      complain("messages-error", _("The patient or a colleague has said something since. Please read it first."));
      await this.#refetch();
    }
  }

  async #refetch() {
    const open = this.#open;
    const session = this.#session();
    if (!open || !session) return;
    const item = session.state.desk?.callbacks?.find((each) => each.consult === open.consult);
    open.count = item?.messages ?? 0;
    try {
      const said = await this.#said(session, open.consult);
      if (this.#open !== open) return;
      const lines = said.filter((line) => open.pictures.take(line));
      fillList($("messages-lines"), lines, (line) => line.key, (line) => (line.content ? open.pictures.row(line) : this.#textRow(session, line)));
      $("messages-none").hidden = lines.length > 0;
      const last = said.at(-1);
      $("messages-close").hidden = open.over || last?.author !== "specialist" || last.by !== session.state.me?.participant;
      $("messages-lines").scrollTop = $("messages-lines").scrollHeight;
    } catch (error) {
      complain("messages-error", refusalText(codeOf(error)));
    }
  }

  /** All that was written and said, slice by slice. @param {Session} session @param {string} consult */
  async #said(session, consult) {
    /** @type {MessageLine[]} */
    const lines = [];
    for (;;) {
      const answer = /** @type {import("../wire.js").Messages} */ (/** @type {unknown} */ (await session.request("messages", {consult, skip: lines.length})));
      lines.push(...answer.lines);
      if (!answer.more || !answer.lines.length || this.#open?.consult !== consult) return lines;
    }
  }

  /** @param {Session} session @param {MessageLine} line */
  #textRow(session, line) {
    const who = this.#who(session, line);
    return el("li", {className: who ? "line" : "line mine"},
      el("span", {className: "unseen"}, who || _("You"), ": "), el("span", {className: "text"}, line.text ?? ""),
      el("span", {className: "at"}, dayAndTime(line.at)));
  }
}

/** A voice message by the specialist: record, hear, send. */
class Tape {
  element;
  #options;
  #recorder;
  #sent = el("p", {className: "hint", role: "status"});
  #body = el("div", {className: "tape-body"});
  #waiting = false;

  /**
   * @param {string} name
   * @param {{
   *   contents: () => import("../content.js").Contents | null,
   *   microphone: () => MediaStreamTrack | null,
   *   consult: () => string,
   *   onsent?: () => void,
   * }} options `onsent`: the server has a message whole
   */
  constructor(name, options) {
    this.#options = options;
    this.element = el("div", {className: "tape", "data-tape": name}, this.#body, this.#sent);
    this.#recorder = new Recorder({onchange: () => this.#renderBody(), live: options.microphone});
    this.#renderBody();
  }

  /** What is being sent, in words. */
  render() {
    const contents = this.#options.contents();
    const parcel = contents?.parcels.find((each) => each.consult === this.#options.consult());
    const arrived = (parcel && contents?.arrived.get(parcel.key)) ?? 0;
    const words = !parcel ? ""
      : parcel.failed ? _("The voice message could not be sent: {reason}", {reason: refusalText(parcel.failed)})
        : _("Voice message: {percent} % sent", {percent: Math.floor((100 * arrived) / parcel.blob.size)});
    if (this.#sent.textContent !== words) this.#sent.textContent = words;
    if (this.#waiting && !parcel) {
      this.#waiting = false;
      this.#options.onsent?.();
    }
  }

  tick() {
    const time = this.#body.querySelector("[role=timer]");
    if (time) time.textContent = _("Recording: {seconds} s", {seconds: Math.round(this.#recorder.elapsedMs / 1000)});
  }

  discard() {
    if (this.#recorder.state !== "idle") this.#recorder.discard();
  }

  #renderBody() {
    const recorder = this.#recorder;
    const button = (/** @type {string} */ act, /** @type {string} */ words, /** @type {string} */ className, /** @type {() => unknown} */ action) => {
      const made = el("button", {type: "button", className, "data-act": act}, words);
      made.addEventListener("click", () => void action());
      return made;
    };
    const begin = button("record", _("Record a voice message"), "", () => recorder.start());
    /** @type {Record<import("../recorder.js").RecorderState, () => (Node | string)[]>} */
    const parts = {
      idle: () => [begin],
      asking: () => [_("The browser asks you for permission …")],
      denied: () => [begin, el("span", {className: "hint"}, _("The browser does not allow the microphone."))],
      unsupported: () => [el("span", {className: "hint"}, _("This browser can't record."))],
      recording: () => [el("span", {role: "timer", className: "recording"}), button("stop", _("Stop"), "main", () => recorder.stop())],
      done: () => [
        el("audio", {controls: true, src: URL.createObjectURL(/** @type {any} */ (recorder.recording).blob)}),
        button("send", _("Send"), "main", () => this.#send()),
        button("drop", _("Delete"), "quiet", () => recorder.discard()),
      ],
    };
    this.#body.replaceChildren(...parts[recorder.state]());
    this.tick();
  }

  async #send() {
    const {recording} = this.#recorder;
    const contents = this.#options.contents();
    const consult = this.#options.consult();
    if (!recording || !contents || !consult) return;
    this.#waiting = true;
    await contents.add({key: contentKey(), consult, kind: "voice", mime: recording.mime, blob: recording.blob, durationMs: recording.durationMs});
    this.#recorder.discard();
  }
}
