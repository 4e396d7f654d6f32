// SPDX-License-Identifier: Apache-2.0
// What the patient told, as the specialist reads it.

import {el} from "../dom.js";
import {_} from "../i18n.js";
import {ASSISTANTS, SEXES, SPECIALTIES, age, languageName} from "../labels.js";
import {put} from "./staff.js";
import {phoneLink, postWords, running, urgencyMark} from "./staff_cases.js";

/** @import {ConsultView} from "../wire.js" */

/** The tool's words for a danger sign; the page carries them as a hidden list. @param {string} code */
export function signWords(code) {
  return document.querySelector(`#signs [data-sign="${CSS.escape(code)}"]`)?.textContent ?? code;
}

let shownVersion = "";

/**
 * Writes the patient's card.
 * @param {ConsultView} view
 */
export function renderIntake(view) {
  const form = view.intake;
  const version = JSON.stringify([view.consult, form, view.urgency, view.post, view.interpreterNeeded]);
  if (version === shownVersion) return;
  shownVersion = version;
  const name = form?.name || _("Name not given");
  const person = form
    ? [age(form.ageMonths), SEXES[form.sex], form.pregnant ? _("pregnant") : "", ASSISTANTS[form.assistant]]
    : [];
  put("intake",
    el("p", {className: "patient-name"}, el("strong", {}, name), ` ${person.filter(Boolean).join(", ")}`),
    el("p", {className: "case-head"},
      view.urgency ? urgencyMark(view.urgency) : null,
      view.since ? el("span", {className: "case-time"}, _("since the intake"), " ", running("since", view.since)) : null),
    form ? el("p", {className: "complaint"}, form.complaint) : el("p", {className: "none"}, _("No intake.")),
    form?.signs?.length
      ? el("ul", {className: "signs"}, ...form.signs.map((sign) => el("li", {}, signWords(sign))))
      : el("p", {className: "hint"}, _("No danger sign ticked.")),
    el("p", {className: "hint"}, _("Colour and signs were ticked by the patient or a helper: they order the queue and are no diagnosis.")),
    view.interpreterNeeded
      ? el("p", {className: "notice ask"}, _("No common language: an interpreter is needed."))
      : null,
    el("p", {className: "case-facts"},
      [SPECIALTIES[view.specialty], languageName(form?.language ?? view.language ?? ""), postWords(view.post)]
        .filter(Boolean).join(" · ")),
    form?.contact ? el("p", {className: "case-facts"}, _("Reachable at"), " ", phoneLink(form.contact)) : null,
    view.post?.emergencyLine ? el("p", {className: "case-facts"}, _("Emergency line of the post"), " ", phoneLink(view.post.emergencyLine)) : null,
  );
}
