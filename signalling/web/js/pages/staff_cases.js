// SPDX-License-Identifier: Apache-2.0
// How a case looks on both staff pages: urgency, spans that run by the server's clock, and the invitation dialog.

import {groupCode} from "../codes.js";
import {$, el, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {LANGUAGES, SPECIALTIES, URGENCIES, languageName, refusalText, span} from "../labels.js";
import {callQuality} from "../quality_words.js";
import {attempt, choices, codeOf, complain, dayAndTime, dialog, timeOfDay, toast} from "./staff.js";

/** @import {Session} from "../session.js" */
/** @import {PostView, QueueItem, TakeoverView, Urgency} from "../wire.js" */

/**
 * The mark of an urgency: colour, shape and word.
 * @param {Urgency} urgency
 */
export function urgencyMark(urgency) {
  const {word, shape} = URGENCIES[urgency];
  return el("span", {className: "urgency", "data-urgency": urgency}, el("span", {"aria-hidden": "true"}, shape), ` ${word}`);
}

/**
 * A span that runs: since an instant, until one, or so long ago.
 * @param {"since" | "until" | "ago"} kind
 * @param {number} at UTC epoch seconds
 */
export function running(kind, at) {
  return el("time", {className: "running", "data-kind": kind, "data-at": at});
}

/**
 * Brings every running span on the page to `now`.
 * @param {number} now the server's clock
 */
export function tick(now) {
  for (const element of document.querySelectorAll("time.running")) {
    const {kind, at} = /** @type {HTMLElement} */ (element).dataset;
    const passed = now - Number(at);
    let text = span(passed);
    if (kind === "until") text = passed > 0 ? _("{time} overdue", {time: span(passed)}) : _("in {time}", {time: span(-passed)});
    if (kind === "ago") text = _("{time} ago", {time: span(passed)});
    if (element.textContent !== text) element.textContent = text;
    if (kind === "until") element.toggleAttribute("data-overdue", passed > 0);
  }
}

/** @param {PostView | undefined} post */
export function postWords(post) {
  if (!post) return _("Post not known");
  return post.region ? `${post.name}, ${post.region}` : post.name;
}

/** A number to tap. @param {string} number */
export function phoneLink(number) {
  return el("a", {href: `tel:${number.replace(/[^+\d]/g, "")}`}, number);
}

/**
 * One case in a list.
 * @param {QueueItem} item
 * @param {"wait" | "callback" | "call"} kind
 * @param {...HTMLElement} actions
 */
export function caseRow(item, kind, ...actions) {
  const callback = kind === "callback";
  return el("li", {className: "case", "data-urgency": item.urgency, "data-consult": item.consult},
    el("div", {className: "case-head"},
      urgencyMark(item.urgency),
      el("span", {className: "case-time"},
        callback ? _("Call back") : kind === "call" ? _("Since the intake") : _("Waiting"), " ",
        running(callback ? "until" : "since", callback ? (item.callbackBy ?? item.since) : item.since),
        callback && item.callbackBy ? ` (${_("by {time}", {time: timeOfDay(item.callbackBy)})})` : ""),
    ),
    el("p", {className: "case-facts"},
      el("strong", {}, SPECIALTIES[item.specialty]), " · ", languageName(item.language), " · ", postWords(item.post)),
    el("p", {className: "case-facts"},
      el("span", {className: "presence", "data-present": item.present !== false},
        item.present === false ? _("Away: page not connected") : _("Present")),
      item.state === "ringing" ? ` · ${_("a specialist is being rung")}` : "",
      item.state === "interrupted" ? ` · ${_("interrupted, being brought back")}` : "",
      item.keeper ? ` · ${_("call on hold: rings first at who was in it")}` : ""),
    item.quality ? el("p", {className: "case-facts", "data-quality": item.quality}, _("Quality"), ": ", callQuality(item)) : null,
    item.contact ? el("p", {className: "contact"}, _("Phone"), " ", phoneLink(item.contact)) : null,
    actions.length ? el("div", {className: "case-actions"}, ...actions) : null,
  );
}

/**
 * Another device's request to take a patient's place, to be decided by a person who can ask the patient.
 * @param {Session} session
 * @param {string} consult
 * @param {TakeoverView} takeover
 */
export function takeoverNotice(session, consult, takeover) {
  /** @param {boolean} allow @param {string} words */
  const button = (allow, words) => {
    const made = el("button", {type: "button", className: allow ? "main" : ""}, words);
    made.addEventListener("click", () => attempt(() =>
      session.request("decide_takeover", {consult, request: takeover.request, allow})));
    return made;
  };
  return el("div", {className: "notice ask", role: "alert", "data-request": takeover.request},
    el("p", {},
      el("strong", {}, _("Another device asks to take the patient’s place.")), " ",
      _("Allow it only if the patient says it is theirs."), " (", running("ago", takeover.at), ")"),
    el("div", {className: "row"}, button(true, _("Allow")), button(false, _("Refuse"))));
}

/**
 * Prepares the dialog in which a consult is made and its link, QR code and code are shown.
 * @param {() => Session | null} session
 */
export function wireInvite(session) {
  choices("invite-specialty", SPECIALTIES);
  choices("invite-language", LANGUAGES);
  const value = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id)).value.trim();
  const again = () => {
    show("invite-form", true);
    show("invite-result", false);
    complain("invite-error", "");
    $("invite-specialty").focus();
  };
  onclick("invite-open", () => {
    again();
    dialog("invite").showModal();
  });
  onclick("invite-again", again);
  $("invite-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [specialty, language, post] = ["invite-specialty", "invite-language", "invite-post"].map(value);
    complain("invite-error", "");
    try {
      const fields = {specialty, ...(language && {language}), ...(post && {post})};
      showInvited(/** @type {any} */ (await session()?.request("invite", fields)));
    } catch (error) {
      const code = codeOf(error);
      complain("invite-error", code === "not_found" ? _("There is no health post with this code.") : refusalText(code));
    }
  });
  onclick("invite-copy", () => copy(/** @type {HTMLInputElement} */ ($("invite-url"))));
  show("invite-share", Boolean(navigator.share));
  onclick("invite-share", () => navigator.share({url: value("invite-url")}).catch(() => {})); // closed without sending
}

/** Offers the posts that the page knows of. @param {(PostView | undefined)[]} posts */
export function suggestPosts(posts) {
  const byCode = new Map(posts.flatMap((post) => (post ? [[post.code, post]] : [])));
  const list = $("invite-posts");
  if (list.children.length === byCode.size) return;
  list.replaceChildren(...[...byCode.values()].map((post) => el("option", {value: post.code}, postWords(post))));
}

/** @param {import("../wire.js").Invited | undefined} invited */
function showInvited(invited) {
  if (!invited) return;
  show("invite-form", false);
  show("invite-result", true);
  const code = groupCode(invited.code);
  say("invite-code", code);
  say("invite-site", new URL(invited.url).host);
  say("invite-until", _("Good until {time}", {time: dayAndTime(invited.expiresAt)}));
  /** @type {HTMLInputElement} */ ($("invite-url")).value = invited.url;
  // An image runs no script and is no piece of this page, whatever is in it.
  /** @type {HTMLImageElement} */ ($("invite-qr")).src = `data:image/svg+xml,${encodeURIComponent(invited.qr)}`;
  $("invite-ready").focus();
}

/** @param {HTMLInputElement} field */
async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    toast(_("Link copied."));
  } catch {
    field.select();
    toast(_("Please copy the marked link."));
  }
}
