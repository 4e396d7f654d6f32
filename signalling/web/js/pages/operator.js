// SPDX-License-Identifier: Apache-2.0
// The operator's page: the live board.

import {URGENCY_ORDER, byNeed, byQuality, byState, figures, operatorPageState} from "../board.js";
import {byDeadline, inOrder} from "../desk.js";
import {$, el, onclick, show} from "../dom.js";
import {_} from "../i18n.js";
import {SPECIALIST_STATES, SPECIALTIES, URGENCIES, languageName, span} from "../labels.js";
import {Accounts} from "./operator_accounts.js";
import {Staff, dialog, fillList, put, showState, wireDialogs} from "./staff.js";
import {caseRow, phoneLink, suggestPosts, takeoverNotice, tick, urgencyMark, wireInvite} from "./staff_cases.js";

/** @import {Board, BoardPost, BoardSpecialist, QueueItem} from "../wire.js" */

/** @type {"board" | "accounts"} */
let tab = location.hash === "#accounts" ? "accounts" : "board";
const staff = new Staff({role: "operator", onchange: () => render()});
const accounts = new Accounts();

function render() {
  const inside = staff.access === "signed_in";
  const board = (inside && staff.session?.state.board) || null;
  const page = operatorPageState({access: staff.access, board, tab});
  if (page === "accounts" && document.body.dataset["state"] !== "accounts") void accounts.refresh();
  showState(page);
  for (const name of ["board", "accounts"]) {
    if (name === tab) $(`show-${name}`).setAttribute("aria-current", "page");
    else $(`show-${name}`).removeAttribute("aria-current");
  }
  if (!inside) for (const box of document.querySelectorAll("dialog")) box.close();
  if (board) renderBoard(board);
  tick(now());
}

function now() {
  return staff.session?.now() ?? Date.now() / 1000;
}

/** @param {Board} board */
function renderBoard(board) {
  renderFigures(board);
  renderTakeovers(board);
  cases("waiting", inOrder(board.waiting ?? []), "wait");
  cases("callbacks", byDeadline(board.callbacks ?? []), "callback");
  cases("calls", byQuality(board.calls ?? []), "call");
  const specialists = byState(board.specialists ?? []);
  fillList($("specialists"), specialists, (each) => each.account, specialistRow);
  show("specialists-none", !specialists.length);
  const posts = byNeed(board.posts ?? []);
  fillList($("posts"), posts, (row) => row.post.code, postRow);
  show("posts-none", !posts.length);
  show("posts-table", posts.length > 0);
  suggestPosts(posts.map((row) => row.post));
}

/** @param {"waiting" | "callbacks" | "calls"} id @param {QueueItem[]} items @param {"wait" | "callback" | "call"} kind */
function cases(id, items, kind) {
  fillList($(id), items, (item) => item.consult, (item) => caseRow(item, kind));
  show(`${id}-none`, !items.length);
}

/** @param {Board} board */
function renderFigures(board) {
  const sum = figures(board, now());
  const median = URGENCY_ORDER.map((urgency) => {
    const seconds = board.waitMedianS?.[urgency];
    return el("small", {}, urgencyMark(urgency), " ", seconds === undefined ? _("unknown") : span(seconds));
  });
  put("figures",
    figure(_("Waiting"), String(sum.waiting), sum.waiting ? _("longest {time}", {time: span(sum.longestS)}) : ""),
    figure(_("Red, waiting"), `${URGENCIES.red.shape} ${sum.red}`, "", sum.red > 0),
    figure(_("In a call"), String(sum.calls)),
    figure(_("Call-backs owed"), String(sum.owed), sum.overdue ? _("{n} overdue", {n: sum.overdue}) : "", sum.overdue > 0),
    figure(_("On call"), String(sum.onCall), _("{n} free", {n: sum.free}), sum.onCall === 0),
    el("div", {className: "medians"}, el("dt", {}, _("Median wait")), el("dd", {}, ...median)),
  );
}

/** @param {string} name @param {string} value @param {string} [more] @param {boolean} [alarm] */
function figure(name, value, more = "", alarm = false) {
  return el("div", {"data-alarm": alarm}, el("dt", {}, name),
    el("dd", {}, value, more ? el("small", {}, more) : null));
}

/** @param {Board} board */
function renderTakeovers(board) {
  const asked = Object.entries(board.takeovers ?? {}).flatMap(([consult, requests]) =>
    requests.map((request) => ({consult, request})));
  fillList($("takeovers"), asked, ({request}) => request.request, ({consult, request}) => {
    if (!staff.session) return el("p");
    const notice = takeoverNotice(staff.session, consult, request);
    const item = [...(board.waiting ?? []), ...(board.calls ?? []), ...(board.callbacks ?? [])].find((each) => each.consult === consult);
    if (item) notice.prepend(el("ul", {className: "cases"}, caseRow(item, item.state === "in_call" ? "call" : "wait")));
    return notice;
  });
}

/** @param {BoardSpecialist} each */
function specialistRow(each) {
  return el("li", {className: "person"},
    el("strong", {}, each.name),
    el("span", {className: "state", "data-state": each.state}, SPECIALIST_STATES[each.state]),
    el("p", {className: "case-facts"},
      [each.specialties.map((specialty) => SPECIALTIES[specialty]).join(", "), each.languages.map(languageName).join(", ")]
        .filter(Boolean).join(" · ")));
}

/** @param {BoardPost} row */
function postRow({post, waiting = 0, inCall = 0, today = 0}) {
  /** @param {string} label @param {number} n */
  const number = (label, n) => el("td", {className: "number", "data-label": label, "data-some": n > 0}, String(n));
  const open = post.openNow === undefined ? "" : post.openNow ? _("open now") : _("closed now");
  return el("tr", {},
    el("th", {scope: "row"}, post.name,
      el("small", {}, [post.code, post.region, post.linkType, open].filter(Boolean).join(" · "))),
    number(_("Waiting"), waiting), number(_("In call"), inCall), number(_("Today (UTC)"), today),
    el("td", {"data-label": _("Emergency line")},
      post.emergencyLine ? phoneLink(post.emergencyLine) : ""));
}

/** @param {"board" | "accounts"} name */
function go(name) {
  tab = name;
  history.replaceState(null, "", name === "accounts" ? "#accounts" : location.pathname + location.search);
  render();
}

wireDialogs();
wireInvite(() => staff.session);
onclick("show-board", () => go("board"));
onclick("show-accounts", () => go("accounts"));
dialog("password-once").addEventListener("cancel", (event) => event.preventDefault()); // seen once: no slip of Escape
setInterval(() => {
  const board = staff.session?.state.board;
  if (board && tab === "board") renderFigures(board);
  tick(now());
}, 1_000);
render();
void staff.start();
