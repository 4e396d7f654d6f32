// SPDX-License-Identifier: Apache-2.0
// The timeline of the consult, with what was written.

import {$, el} from "../dom.js";
import {_} from "../i18n.js";
import {refusal} from "../refusals.js";

/** @typedef {import("../wire.js").Entry} Entry */
/** @typedef {import("../session.js").Line} Line */

const lang = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(lang, {hour: "2-digit", minute: "2-digit"});

/** @type {Partial<Record<Entry["kind"], string>>} */
const NOTES = {
  accepted: _("The specialist has joined."),
  transferred: _("You are handed over to another specialist."),
  held: _("The call is kept until you are back."),
  device_changed: _("The consult moved to another device."),
  ended: _("The consult has ended."),
};

/** A time of day in the patient's words. @param {number} at UTC epoch seconds */
export function timeOf(at) {
  return clock.format(at * 1000);
}

/** The list of messages and the field below. */
export class Chat {
  #shown = "";
  /** Makes lines of photographs and voice messages, once that part of the page is there. @type {(entry: Entry) => HTMLElement[] | null} */
  #special = () => null;

  /** @param {(text: string) => void} onsend @param {(key: string) => void} onretry */
  constructor(onsend, onretry) {
    $("chatform").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = /** @type {HTMLInputElement} */ ($("text"));
      onsend(text.value);
      text.value = "";
    });
    $("lines").addEventListener("click", (event) => {
      const key = /** @type {HTMLElement} */ (event.target).dataset["key"];
      if (key) onretry(key);
    });
  }

  /** @param {(entry: Entry) => HTMLElement[] | null} special */
  extend(special) {
    this.#special = special;
    this.#shown = "";
  }

  /** @param {Entry[]} entries @param {Line[]} unsent @param {boolean} over */
  render(entries, unsent, over) {
    $("chatform").hidden = over;
    const key = JSON.stringify([entries.length, unsent]);
    if (key === this.#shown) return;
    this.#shown = key;
    const lines = entries.flatMap((entry) => {
      if (entry.kind === "chat") return [bubble(entry.text ?? "", entry.author === "patient", timeOf(entry.at))];
      const note = NOTES[entry.kind];
      return this.#special(entry) ?? (note ? [el("li", {className: "note"}, `${timeOf(entry.at)} · ${note}`)] : []);
    });
    for (const {text, key: line, failed} of unsent) {
      const mark = failed
        ? el("button", {className: "quiet", textContent: `${refusal({code: failed})} ${_("Send again")}`, "data-key": line})
        : _("not sent yet");
      lines.push(bubble(text, true, mark));
    }
    const list = $("lines");
    list.replaceChildren(...lines);
    list.scrollTop = list.scrollHeight;
  }
}

/** @param {string} text @param {boolean} mine @param {string | HTMLElement} mark */
function bubble(text, mine, mark) {
  const who = mine ? _("You") : _("Specialist");
  return el("li", {className: mine ? "me" : ""}, el("span", {className: "unseen"}, `${who}: `), text, el("small", {}, mark));
}
