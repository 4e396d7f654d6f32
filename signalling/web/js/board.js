// SPDX-License-Identifier: Apache-2.0
// What the operator's board shows, decided from what the server told. No DOM, no clock.

/** @import {Board, BoardPost, BoardSpecialist, SpecialistState, Urgency} from "./wire.js" */

/**
 * States of the operator's page; `docs/states.md` describes each.
 * @typedef {"loading" | "signed_out" | "connecting" | "board" | "accounts" | "displaced" | "stopped"} OperatorPageState
 */

/**
 * @param {{access: "loading" | "signed_out" | "signed_in" | "displaced" | "stopped", board: Board | null,
 *   tab: "board" | "accounts"}} model
 * @returns {OperatorPageState}
 */
export function operatorPageState({access, board, tab}) {
  if (access !== "signed_in") return access;
  if (tab === "accounts") return "accounts";
  return board ? "board" : "connecting";
}

/**
 * The figures on top of the board.
 * @param {Board} board
 * @param {number} now the server's clock
 */
export function figures(board, now) {
  const waiting = board.waiting ?? [];
  const specialists = board.specialists ?? [];
  return {
    waiting: waiting.length,
    red: waiting.filter((item) => item.urgency === "red").length,
    longestS: waiting.reduce((longest, item) => Math.max(longest, now - item.since), 0),
    calls: (board.calls ?? []).length,
    owed: (board.callbacks ?? []).length,
    overdue: (board.callbacks ?? []).filter((item) => (item.callbackBy ?? Infinity) < now).length,
    onCall: specialists.filter((each) => each.state !== "off_call").length,
    free: specialists.filter((each) => each.state === "available").length,
  };
}

const QUALITY_RANK = ["bad", "poor", "fair", "good", "excellent"];

/**
 * Calls that go badly first, then the longest.
 * @param {import("./wire.js").QueueItem[]} calls
 */
export function byQuality(calls) {
  /** @param {import("./wire.js").QueueItem} item */
  const rank = ({quality}) => (quality === "bad" || quality === "poor" ? QUALITY_RANK.indexOf(quality) : QUALITY_RANK.length);
  return [...calls].sort((a, b) => rank(a) - rank(b) || a.since - b.since);
}

/** @type {Record<SpecialistState, number>} */
const STATE_RANK = {ringing: 0, available: 1, in_call: 2, off_call: 3};

/**
 * Who can be reached first, then by name.
 * @param {BoardSpecialist[]} specialists
 */
export function byState(specialists) {
  return [...specialists].sort((a, b) => STATE_RANK[a.state] - STATE_RANK[b.state] || a.name.localeCompare(b.name));
}

/**
 * Posts where something happens first, then by name; the quiet ones are not hidden.
 * @param {BoardPost[]} posts
 */
export function byNeed(posts) {
  /** @param {BoardPost} row */
  const need = (row) => (row.waiting ?? 0) * 1000 + (row.inCall ?? 0) * 10 + (row.today ? 1 : 0);
  return [...posts].sort((a, b) => need(b) - need(a) || a.post.name.localeCompare(b.post.name));
}

/** @type {Urgency[]} */
export const URGENCY_ORDER = ["red", "yellow", "green"];

/**
 * An account as the server lists it.
 * @typedef {object} Account
 * @property {string} account
 * @property {string} login
 * @property {string} name
 * @property {"specialist" | "operator"} role
 * @property {import("./wire.js").Specialty[]} specialties
 * @property {string[]} languages
 * @property {boolean} disabled
 */

/**
 * Accounts that can be used first, then by name.
 * @param {Account[]} accounts
 */
export function accountsInOrder(accounts) {
  return [...accounts].sort((a, b) => Number(a.disabled) - Number(b.disabled) || a.name.localeCompare(b.name));
}

/**
 * A sign-in name for a person's name: letters without marks and titles, joined by a dot.
 * @param {string} name
 */
export function suggestLogin(name) {
  const plain = name.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const words = plain.split(",")[0]?.match(/[a-z0-9]+/g) ?? [];
  const titles = new Set(["dr", "drg", "prof", "ns", "bd", "sp"]);
  return words.filter((word) => !titles.has(word)).slice(0, 2).join(".");
}
