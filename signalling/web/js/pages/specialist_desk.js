// SPDX-License-Identifier: Apache-2.0
// The specialist's desk: on-call switch, queue, call-backs, past consults.

import {byDeadline, inOrder, mergePast} from "../desk.js";
import {$, el, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {CONSULT_STATES, OUTCOMES, SPECIALTIES, span} from "../labels.js";
import {attempt, dayAndTime, fillList} from "./staff.js";
import {caseRow, suggestPosts, urgencyMark} from "./staff_cases.js";

/** @import {Session} from "../session.js" */
/** @import {Desk, PastConsult, QueueItem} from "../wire.js" */

export class DeskView {
  /** @type {PastConsult[]} */
  #past = [];
  #more = false;
  #asked = false;
  #options;

  /**
   * @param {{
   *   session: () => Session | null,
   *   ongoing: () => Promise<void>,
   *   contents: import("./specialist_content.js").StaffContents,
   * }} options `ongoing` runs in the tap that goes on call, before the server is told
   */
  constructor(options) {
    this.#options = options;
    onclick("oncall", () => this.#switch());
    onclick("past-more", () => attempt(() => this.#fetchPast(this.#past.at(-1)?.at)));
  }

  /** @param {Desk} desk @param {boolean} connected without a connection nobody can ring here, whatever the desk said last */
  render(desk, connected) {
    const on = desk.state !== "off_call";
    $("oncall").setAttribute("aria-checked", String(on));
    const [words, hint] = !on
      ? [_("You are off call"), _("Nobody is put through to you. Go on call when you are ready.")]
      : connected
        ? [_("You are on call"), _("Patients are put through to you. Keep this page open; it rings aloud.")]
        : [_("On call, but not connected"), _("Nobody can ring you until the connection is back. We try again by ourselves.")];
    say("oncall-words", words);
    say("oncall-hint", hint);
    const queue = inOrder(desk.queue ?? []);
    fillList($("queue"), queue, (item) => item.consult, (item) => caseRow(item, "wait"));
    say("queue-count", queue.length ? String(queue.length) : "");
    show("queue-none", !queue.length);
    const callbacks = byDeadline(desk.callbacks ?? []);
    fillList($("callbacks"), callbacks, (item) => item.consult, (item) => this.#callback(item));
    say("callbacks-count", callbacks.length ? String(callbacks.length) : "");
    show("callbacks-none", !callbacks.length);
    suggestPosts([...queue, ...callbacks].map((item) => item.post));
    if (!this.#asked) this.refreshPast();
  }

  /** Reads the newest past consults again; after a call. */
  refreshPast() {
    this.#asked = true;
    this.#fetchPast().catch(() => {
      this.#asked = false;
    });
  }

  async #switch() {
    const on = $("oncall").getAttribute("aria-checked") !== "true";
    if (on) await this.#options.ongoing();
    await attempt(async () => this.#options.session()?.request("on_call", {on}));
  }

  /** @param {QueueItem} item */
  #callback(item) {
    const button = el("button", {type: "button", className: "main"}, _("Call back now"));
    const row = caseRow(item, "callback", button, this.#options.contents.button(item));
    button.addEventListener("click", async () => {
      await this.#options.ongoing();
      await attempt(async () => this.#options.session()?.request("call_back", {consult: item.consult}));
    });
    if (item.present === false) {
      button.disabled = true;
      button.after(el("span", {className: "hint"}, _("The patient’s page is not open. Phone them, and ask them to open their link.")));
    }
    return row;
  }

  /** @param {PastConsult} item */
  #pastRow(item) {
    if (item.state !== "ended") return pastRow(item, null);
    const messages = el("button", {type: "button", className: "quiet"}, _("Messages and pictures"));
    messages.addEventListener("click", () => void this.#options.contents.open(item.consult, true));
    return pastRow(item, messages);
  }

  /** @param {number} [before] */
  async #fetchPast(before) {
    const session = this.#options.session();
    if (!session) return;
    const answer = /** @type {any} */ (await session.request("history", before === undefined ? {} : {before}));
    this.#past = mergePast(this.#past, answer.consults ?? []);
    if (before !== undefined || this.#past.length <= (answer.consults ?? []).length) this.#more = Boolean(answer.more);
    fillList($("past"), this.#past, (item) => item.consult, (item) => this.#pastRow(item));
    show("past-none", !this.#past.length);
    show("past-more", this.#more);
  }
}

/** @param {PastConsult} item @param {HTMLElement | null} messages */
function pastRow(item, messages) {
  const result = item.answered ? _("Answered by message") : item.outcome ? OUTCOMES[item.outcome] : CONSULT_STATES[item.state];
  return el("li", {className: "case", "data-urgency": item.urgency},
    el("div", {className: "case-head"},
      urgencyMark(item.urgency),
      el("span", {className: "case-time"}, dayAndTime(item.at), item.durationS ? ` · ${span(item.durationS)}` : "")),
    el("p", {className: "case-facts"}, el("strong", {}, result ?? ""), " · ", SPECIALTIES[item.specialty]),
    item.complaint ? el("p", {className: "case-facts"}, item.complaint) : null,
    item.note ? el("details", {}, el("summary", {}, _("Note")), el("p", {className: "note-text"}, item.note)) : null,
    messages);
}
