// SPDX-License-Identifier: Apache-2.0
// The patient's answers before the call.

import {$, enter, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {plain} from "../net.js";
import {refusal} from "../refusals.js";

/** @typedef {import("../wire.js").IntakeForm} IntakeForm */

/** Between these ages somebody who is not male is asked about pregnancy. */
const FERTILE_MONTHS = [120, 660];
const MAX_MONTHS = 1_560;

/** @param {string} id */
const field = (id) => /** @type {HTMLInputElement} */ ($(id));
const labels = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#signs label")]);
/** @param {HTMLElement} label */
const box = (label) => /** @type {HTMLInputElement} */ (label.firstElementChild);

/** The intake in three steps: who and what, danger signs, agreement. */
export class Intake {
  /** Whether the ticked signs are red: two of a group, or one alone (signalling/core/triage.py). */
  red = false;
  #onchange;

  /**
   * @param {() => void} onchange the signs ticked have changed
   * @param {(form: IntakeForm) => Promise<void>} hand hands the form in
   */
  constructor(onchange, hand) {
    this.#onchange = onchange;
    field("language").value = document.documentElement.lang;
    $("intake").addEventListener("input", () => this.#look());
    onclick("tosigns", () => {
      if (this.#check()) enter("signs");
    });
    onclick("toconsent", () => enter("consent"));
    onclick("backintake", () => enter("intake"));
    onclick("backsigns", () => enter("signs"));
    $("intake").addEventListener("submit", async (event) => {
      event.preventDefault();
      if (document.body.dataset["state"] !== "consent") return;
      if (!field("consent").checked) {
        this.#refuse("consenterror", "consent", refusal({code: "consent_missing"}));
        return;
      }
      say("consenterror", "");
      const send = /** @type {HTMLButtonElement} */ ($("send"));
      send.disabled = true;
      try {
        await hand(this.#form());
      } catch (error) {
        say("consenterror", refusal(error));
      } finally {
        send.disabled = false;
      }
    });
    this.#look();
  }

  #months() {
    const text = field("age").value.trim();
    return /^\d+$/.test(text) ? Number(text) * Number(field("unit").value) : -1;
  }

  #sex() {
    return /** @type {HTMLInputElement | null} */ (document.querySelector("[name=sex]:checked"))?.value ?? "";
  }

  #pregnant() {
    return !$("pregnantrow").hidden && field("pregnant").checked;
  }

  #look() {
    const months = this.#months();
    const [from = 0, below = 0] = FERTILE_MONTHS;
    show("pregnantrow", months >= from && months < below && ["female", "other"].includes(this.#sex()));
    /** @type {Record<string, number>} */
    const groups = {};
    let ticked = false;
    this.red = false;
    for (const label of labels()) {
      const {red, from: first = 0, below: end = MAX_MONTHS + 1, group, pregnant} = label.dataset;
      label.hidden = months < Number(first) || months >= Number(end) || (pregnant !== undefined && !this.#pregnant());
      if (label.hidden || !box(label).checked) continue;
      ticked = true;
      this.red ||= red !== undefined;
      if (group) this.red ||= (groups[group] = (groups[group] ?? 0) + 1) > 1;
    }
    say("toconsent", ticked ? _("Next") : _("None of these"));
    this.#onchange();
  }

  #check() {
    const months = this.#months();
    say("intakeerror", "");
    if (!field("complaint").value.trim()) return this.#refuse("intakeerror", "complaint", _("Please tell what the problem is."));
    if (months < 0 || months > MAX_MONTHS) return this.#refuse("intakeerror", "age", _("Please give the age as a number."));
    return true;
  }

  /** @param {string} where @param {string} id @param {string} text */
  #refuse(where, id, text) {
    say(where, text);
    $(id).focus();
    return false;
  }

  /** @returns {IntakeForm} */
  #form() {
    const ticked = labels().filter((label) => !label.hidden && box(label).checked);
    return {
      complaint: plain(field("complaint").value),
      ageMonths: this.#months(),
      sex: /** @type {any} */ (this.#sex() || "unknown"),
      assistant: /** @type {any} */ (field("assistant").value),
      language: field("language").value,
      consent: field("consent").checked,
      signs: ticked.map((label) => box(label).value),
      pregnant: this.#pregnant(),
      name: field("name").value.trim(),
      contact: field("contact").value.trim(),
    };
  }
}
