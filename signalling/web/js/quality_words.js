// SPDX-License-Identifier: Apache-2.0
// One word for a direction of a call, with its reason and whose link that comes from. No DOM.

import {_} from "./i18n.js";

/** @import {DirectionQuality, QueueItem} from "./wire.js" */

/** @type {Record<DirectionQuality["word"], string>} */
const IN_A_WORD = {
  excellent: _("very good"),
  good: _("good"),
  fair: _("fair"),
  poor: _("poor"),
  bad: _("very poor"),
};
/** @type {Record<NonNullable<DirectionQuality["reason"]>, string>} */
const BECAUSE = {
  none: "",
  delay: _("long delay"),
  loss: _("gaps in the voice"),
  codec: _("thin voice"),
  frozen: _("the picture stands still"),
  "frame-rate": _("few pictures a second"),
};

/**
 * @param {DirectionQuality} one
 * @param {string} other whose link the other one is: "the patient’s link"
 */
export function qualityWords({word, reason = "none", where = "unknown"}, other) {
  const link = {own: _("your link"), other, both: _("both links"), server: _("neither link"), unknown: ""}[where];
  const why = [BECAUSE[reason], reason === "none" ? "" : link].filter(Boolean).join(", ");
  return why ? `${IN_A_WORD[word]} (${why})` : IN_A_WORD[word];
}

/** @type {Record<NonNullable<QueueItem["weak"]>, string>} */
const WEAK = {
  patient: _("the patient’s link"),
  specialist: _("the specialist’s link"),
  both: _("both links"),
  server: _("neither link"),
  unknown: "",
};

/** A call on the board: its worse direction in a word, and whose link that comes from. @param {QueueItem} item */
export function callQuality({quality, weak = "unknown"}) {
  if (!quality) return "";
  return WEAK[weak] && quality !== "excellent" ? `${IN_A_WORD[quality]} (${WEAK[weak]})` : IN_A_WORD[quality];
}
