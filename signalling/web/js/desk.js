// SPDX-License-Identifier: Apache-2.0
// What a specialist's page shows, decided from what the server told. No DOM, no clock.

/** @import {ConsultView, Desk, PastConsult, QueueItem, Urgency} from "./wire.js" */

/**
 * States of the specialist's page; `docs/states.md` describes each.
 * @typedef {"loading" | "signed_out" | "connecting" | "off_call" | "available" | "ringing" | "in_call" | "interrupted"
 *   | "displaced" | "stopped"} SpecialistPageState
 */

/**
 * @typedef {object} DeskModel
 * @property {"loading" | "signed_out" | "signed_in" | "displaced" | "stopped"} access
 * @property {Desk | null} desk
 * @property {ConsultView | null} consult
 * @property {boolean} mediaLost the endpoint says `interrupted`
 */

/**
 * @param {DeskModel} model
 * @returns {SpecialistPageState}
 */
export function pageState({access, desk, consult, mediaLost}) {
  if (access !== "signed_in") return access;
  if (!desk) return "connecting";
  if (inCall(desk, consult)) return consult?.state === "interrupted" || mediaLost ? "interrupted" : "in_call";
  if (desk.ring) return "ringing";
  return desk.state === "off_call" ? "off_call" : "available";
}

/**
 * Whether this desk is in a call: the desk's own word counts, the consult may lag behind it by a message.
 * @param {Desk} desk
 * @param {ConsultView | null} consult
 */
export function inCall(desk, consult) {
  if (!desk.consult) return false;
  return !consult || consult.consult !== desk.consult || consult.state === "in_call" || consult.state === "interrupted";
}

/** @type {Record<Urgency, number>} */
const RANK = {red: 0, yellow: 1, green: 2};

/**
 * The queue in the order in which it is rung: colour, then waiting time.
 * @param {QueueItem[]} items
 * @returns {QueueItem[]}
 */
export function inOrder(items) {
  return [...items].sort((a, b) => RANK[a.urgency] - RANK[b.urgency] || a.since - b.since);
}

/**
 * Promised call-backs, the most pressing deadline first.
 * @param {QueueItem[]} items
 * @returns {QueueItem[]}
 */
export function byDeadline(items) {
  return [...items].sort((a, b) => (a.callbackBy ?? Infinity) - (b.callbackBy ?? Infinity));
}

/**
 * Adds a page of history; a consult that is in it already is replaced, never shown twice.
 * @param {PastConsult[]} shown newest first
 * @param {PastConsult[]} page
 * @returns {PastConsult[]}
 */
export function mergePast(shown, page) {
  const byId = new Map([...shown, ...page].map((item) => [item.consult, item]));
  return [...byId.values()].sort((a, b) => b.at - a.at);
}
