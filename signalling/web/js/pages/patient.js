// SPDX-License-Identifier: Apache-2.0
// The patient's page: one state at a time, told by the server, in plain sentences.

import {forget} from "../arrival.js";
import {$, enter, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {socketUrl} from "../net.js";
import {refusal} from "../refusals.js";
import {Session} from "../session.js";
import {Chat} from "./patient_chat.js";
import {Door} from "./patient_door.js";
import {Intake} from "./patient_intake.js";
import {Late} from "./patient_late.js";

/** @typedef {import("../wire.js").ConsultView} ConsultView */
/** @typedef {import("./patient_media.js").Media} Media */
/**
 * What `<body data-state>` can be (docs/states.md).
 * @typedef {"loading" | "unsupported" | "in_app" | "join" | "code" | "joining" | "takeover" | "takeover_wait" |
 *   "intake" | "signs" | "consent" | "waiting" | "ringing" | "callback" | "in_call" | "interrupted" | "ended" |
 *   "expired" | "displaced" | "error"} PageState
 */

const CALL = ["in_call", "interrupted"];
const WAITS = ["waiting", "ringing", "callback"];
const STEPS = ["intake", "signs", "consent"];
/** A connection over a thin link, and the link probe's 6 s (`media.core.link_probe`): by then its word has come or won't. */
const SURVEY_MS = 12_000;

const title = document.title;
const door = new Door(() => session.start());
const session = new Session({
  url: socketUrl(),
  getToken: (expired) => door.token(expired),
  onchange: () => render(),
  ontrack: (kind, track) => media?.receive(kind, track),
  onmessage: (message) => {
    if (message.type === "outlook") latest.start();
    if (status) status.receive(message);
    else missed.push(message);
  },
  storage: globalThis.localStorage,
});
/** The person's devices and the other side's picture, as soon as that part of the page is there. @type {Media | null} */
let media = null;
/** What is going on in words, as soon as that part is there. @type {import("./patient_status.js").Status | null} */
let status = null;
/** @type {import("./patient_takeovers.js").Takeovers | null} */
let takeovers = null;
/** What it did not hear yet. @type {import("../transport.js").Message[]} */
const missed = [];
/** @type {Late<typeof import("./patient_status.js").parts>} */
const later = new Late(document.body.dataset["status"] ?? "", {
  onload: ({Status, Takeovers, keepable}) => {
    status = new Status({session, devices: () => media?.devices ?? null});
    takeovers = new Takeovers(session, ask);
    keepable();
    for (const message of missed.splice(0)) status.receive(message);
    render();
  },
  onfail: () => {},
});
/** Photographs and voice messages, as soon as that part is there. @type {import("./patient_content.js").Extra | null} */
let extra = null;
/** @type {Late<typeof import("./patient_content.js").parts>} */
const latest = new Late(document.body.dataset["content"] ?? "", {
  onload: ({Extra}) => {
    const made = extra = new Extra({session, devices: () => media?.devices ?? null, render: () => render()});
    chat.extend((entry) => made.line(entry));
    render();
  },
  onfail: () => {},
});
/** @type {Late<typeof import("./call.js").parts>} */
const late = new Late(document.body.dataset["call"] ?? "", {
  onload: (parts) => {
    media = new parts.Media((kind, track) => session.setTrack(kind, track));
    session.attach(parts.Endpoints);
    if (CALL.includes(document.body.dataset["state"] ?? "")) media.begin();
    render();
  },
  onfail: () => render(),
});
const chat = new Chat((text) => session.chat(text), (key) => session.retry(key));
const intake = new Intake(() => renderEmergency(), (form) => session.intake(form));
let leaving = false;
/** What comes after the parts for calls is asked for. */
let more = false;

/** @returns {PageState} */
function stateOf() {
  const {link, linkCode} = session.state;
  const view = session.consult;
  const over = view && (leaving || ["ended", "abandoned"].includes(view.state));
  if (link === "closed" && !over) {
    if (linkCode === "displaced") return "displaced";
    return ["consult_over", "resume_invalid"].includes(linkCode) ? "expired" : "error";
  }
  if (!view) return "loading";
  if (view.state === "invited") {
    const now = document.body.dataset["state"] ?? "";
    return STEPS.includes(now) ? /** @type {PageState} */ (now) : "intake";
  }
  if (over) return "ended";
  if (view.state === "in_call" && session.state.endpoint === "interrupted") return "interrupted";
  return /** @type {PageState} */ (view.state);
}

function render() {
  if (!door.credentials) return;
  const view = session.consult;
  const {link, endpoint, entries, unsent, linkCode} = session.state;
  const before = document.body.dataset["state"] ?? "";
  const state = stateOf();
  enter(state);
  document.body.dataset["link"] = link;
  document.body.dataset["media"] = endpoint ?? "none";
  const call = CALL.includes(state);
  document.body.classList.toggle("talk", call);
  const waits = WAITS.includes(state);
  if (call && !CALL.includes(before)) begin();
  media?.awake(call || waits);
  const lost = !["open", "closed"].includes(link) && Boolean(session.state.me);
  say("link", refusal({code: linkCode === "restarting" ? linkCode : "connection_lost"}));
  show("link", lost && !call);
  if (["ended", "expired"].includes(state)) forget(door.credentials.consult);
  if (state === "error") say("errortext", refusal({code: linkCode}));
  if (!view) return;
  if (media && !more) {
    more = true; // not before the tap that joins, and not beside what calls need
    later.start();
    // Who waits has their link measured now: 10 KB beside that would hide what it carries.
    setTimeout(() => latest.start(), SURVEY_MS);
  }
  if (more && !waits) latest.start();
  renderEmergency();
  extra?.render(state);
  if (waits) renderWait(view);
  if (waits) status?.renderWait(view);
  if (call) renderCall();
  if (state === "ended") renderEnd(view);
  if (call || waits) {
    if (media) media.render();
    else say("trouble", late.failed ? _("Part of this page did not load. We try again by ourselves; you can write meanwhile.") : "");
    say("leave", call ? _("End the call") : _("Leave"));
  } else if ([...CALL, ...WAITS].includes(before)) media?.end();
  chat.render(entries.get(view.consult) ?? [], unsent.filter((line) => line.consult === view.consult), state === "ended");
  takeovers?.render(view);
}

function begin() {
  media?.begin();
  if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.([300, 150, 300]);
  document.title = `● ${title}`;
}

function renderEmergency() {
  const view = session.consult;
  const state = document.body.dataset["state"] ?? "";
  const red = STEPS.includes(state) ? intake.red : view?.urgency === "red" && WAITS.includes(state);
  show("emergency", Boolean(red));
  const number = view?.post?.emergencyLine ?? "";
  const line = /** @type {HTMLAnchorElement} */ ($("line"));
  line.href = `tel:${number.replace(/[^\d+*#]/g, "")}`;
  say("line", _("Call {number}", {number: number.replaceAll(" ", "\u00a0")}));
  show("line", Boolean(number));
  show("noline", !number);
}

/** @param {ConsultView} view */
function renderWait(view) {
  const {state, place, waitS, onCall, urgency} = view;
  document.title = title;
  say("waittitle", {
    ringing: _("A specialist is being called …"),
    callback: _("A specialist will call you back"),
  }[/** @type {string} */ (state)] ?? _("You are waiting for a specialist"));
  if (state === "callback" && status) return; // it says when and why
  const waiting = state === "waiting";
  say("place", place && waiting ? _("Your place in line: {place}", {place}) : "");
  const minutes = Math.max(1, Math.round((waitS ?? 0) / 60));
  const estimate = waitS == null
    ? _("How long it will take is unknown.")
    : _("Others waited about {minutes} min lately.", {minutes});
  say("estimate", waiting ? estimate : "");
  const nobody = onCall === 0 && waiting;
  say("waitnote", nobody
    ? _("No specialist is on call just now. We keep your place and go on trying.")
    : urgency === "red" ? _("You are urgent and come first.") : "");
}

function renderCall() {
  const view = session.consult;
  const name = view?.peer?.name || _("the specialist");
  say("peer", _("In a call with {name}", {name}));
  if (view) status?.render(view);
  const shown = session.state.endpoint === "connected" && !status?.says;
  media?.renderPicture(shown ? (session.endpoint?.stats()?.pictureAgeMs ?? 0) : 0, name);
}

/** @param {ConsultView} view */
function renderEnd(view) {
  if (!leaving || view.acceptedAt || view.answeredAt) say("endtitle", _("The consult has ended"));
  else say("endtitle", _("You have left the queue"));
  const name = view.peer?.name ?? "";
  const at = view.endedAt ?? session.now();
  const when = new Date(at * 1000).toLocaleString(document.documentElement.lang, {dateStyle: "long", timeStyle: "short"});
  say("endwho", [when, name].filter(Boolean).join(" · "));
  status?.renderEnd(view);
  say("summary", view.summary ?? "");
  document.title = title;
}

/**
 * @param {string} question @param {string} yes @param {string} no
 * @returns {Promise<boolean>}
 */
function ask(question, yes, no) {
  const dialog = /** @type {HTMLDialogElement} */ ($("dialog"));
  dialog.close();
  say("question", question);
  say("yes", yes);
  say("no", no);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}

for (const answer of ["yes", "no"]) {
  onclick(answer, () => /** @type {HTMLDialogElement} */ ($("dialog")).close(answer));
}
onclick("leave", async () => {
  const call = CALL.includes(document.body.dataset["state"] ?? "");
  const sure = call
    ? await ask(_("End the call?"), _("End the call"), _("Stay"))
    : await ask(_("Leave? You lose your place."), _("Leave"), _("Stay"));
  if (!sure) return;
  leaving = true;
  const left = session.leave().catch((error) => {
    leaving = false;
    say("problem", refusal(error));
  });
  render();
  await left;
});
setInterval(() => {
  if (CALL.includes(document.body.dataset["state"] ?? "")) renderCall();
}, 1000);
door.open();
late.start();
