// SPDX-License-Identifier: Apache-2.0
// The words for closed lists of the wire, for staff. No DOM.

import {_} from "./i18n.js";

/** @import {Assistant, Code, ConsultState, DeclineReason, Outcome, Sex, SpecialistState, Specialty, Urgency} from "./wire.js" */

/** @type {Record<Specialty, string>} */
export const SPECIALTIES = {
  general: _("General practice"),
  emergency: _("Emergency medicine"),
  internal: _("Internal medicine"),
  paediatrics: _("Children (paediatrics)"),
  obstetrics: _("Pregnancy and birth (obstetrics)"),
  surgery: _("Surgery"),
  dermatology: _("Skin (dermatology)"),
  psychiatry: _("Mental health (psychiatry)"),
};

/** Colour, shape and word: any one of them is enough. @type {Record<Urgency, {word: string, shape: string}>} */
export const URGENCIES = {
  red: {word: _("Red: emergency"), shape: "▲"},
  yellow: {word: _("Yellow: urgent"), shape: "◆"},
  green: {word: _("Green: can wait"), shape: "●"},
};

/** @type {Record<SpecialistState, string>} */
export const SPECIALIST_STATES = {
  off_call: _("Off call"),
  available: _("On call, free"),
  ringing: _("Being rung"),
  in_call: _("In a call"),
};

/** @type {Record<ConsultState, string>} */
export const CONSULT_STATES = {
  invited: _("Invited, not here yet"),
  waiting: _("Waiting"),
  ringing: _("Ringing a specialist"),
  in_call: _("In a call"),
  interrupted: _("Interrupted, being brought back"),
  callback: _("Call-back promised"),
  ended: _("Ended"),
  abandoned: _("Left before the call"),
  expired: _("Ran out"),
};

/** What a specialist may choose when ending. @type {Partial<Record<Outcome, string>>} */
export const SPECIALIST_OUTCOMES = {
  advice: _("Advice given"),
  prescription: _("Prescription"),
  referral: _("Referral to a facility"),
  emergency: _("Emergency transport"),
  follow_up: _("Follow-up agreed"),
};

/** @type {Partial<Record<Outcome, string>>} */
export const OUTCOMES = {
  ...SPECIALIST_OUTCOMES,
  patient_left: _("Ended by the patient"),
  lost: _("Connection lost for too long"),
};

/** @type {Record<DeclineReason, string>} */
export const DECLINE_REASONS = {
  busy: _("Busy right now"),
  not_my_field: _("Not my field"),
  language: _("Language"),
  other: _("Other reason"),
};

/** @type {Record<Sex, string>} */
export const SEXES = {
  female: _("female"),
  male: _("male"),
  other: _("other sex"),
  unknown: _("sex not given"),
};

/** @type {Record<Assistant, string>} */
export const ASSISTANTS = {
  nobody: _("alone"),
  relative: _("with a relative"),
  health_worker: _("with a health worker"),
  other: _("with somebody"),
};

/** Languages that staff can be given, by BCP 47 tag; each in its own name. */
export const LANGUAGES = /** @type {Record<string, string>} */ ({
  id: "Bahasa Indonesia",
  en: "English",
  jv: "Basa Jawa",
  su: "Basa Sunda",
  mad: "Madhurâ",
  min: "Minangkabau",
  bug: "Basa Ugi",
  ban: "Basa Bali",
  mak: "Makassar",
  tet: "Tetun",
});

/** @param {string} tag */
export const languageName = (tag) => LANGUAGES[tag] ?? tag;

/** What staff read for a refusal. @type {Partial<Record<Code | "connection_lost", string>>} */
const REFUSALS = {
  credentials_invalid: _("Name or password is wrong."),
  throttled: _("Too many tries. Please wait a moment, then try again."),
  rate_limited: _("Too fast. Please wait a moment."),
  too_many_connections: _("The server is full just now. We try again by ourselves."),
  forbidden: _("This account may not do that."),
  not_found: _("This does not exist any more."),
  wrong_state: _("Not possible now; nothing was changed."),
  ring_over: _("The ring is over: it went to a colleague or the patient left."),
  consult_over: _("This consult has ended."),
  account_exists: _("There is an account with this sign-in name already."),
  password_weak: _("This password is too easy to guess."),
  peer_absent: _("The patient is not connected just now."),
  unauthenticated: _("Please sign in again."),
  signed_out: _("You were signed out."),
  token_invalid: _("Please sign in again."),
  token_expired: _("Please sign in again."),
  displaced: _("Opened on another tab or device."),
  version_unsupported: _("The server was updated. Please load this page again."),
  malformed: _("Something in this form is not right."),
  too_large: _("This text is too long."),
  restarting: _("The server starts again. We come back by ourselves."),
  unavailable: _("The service is not available just now. Please try again."),
  internal: _("Something went wrong on our side. Please try again."),
  origin_forbidden: _("This page's address is not allowed by the server."),
  connection_lost: _("No connection. Please try again in a moment."),
};

/**
 * @param {string} code
 * @returns {string} a sentence for a person
 */
export function refusalText(code) {
  return REFUSALS[/** @type {Code} */ (code)] ?? `${_("That did not work.")} (${code})`;
}

/**
 * A span in words short enough for a list: "40 s", "12 min", "3 h 05 min".
 * @param {number} seconds
 */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return _("{n} s", {n: whole});
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return _("{n} min", {n: minutes});
  const rest = String(minutes % 60).padStart(2, "0");
  return _("{h} h {m} min", {h: Math.floor(minutes / 60), m: rest});
}

/**
 * Age as a clinician says it: months below two years.
 * @param {number} months
 */
export function age(months) {
  return months < 24 ? _("{n} months", {n: months}) : _("{n} years", {n: Math.floor(months / 12)});
}
