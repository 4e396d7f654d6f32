// SPDX-License-Identifier: Apache-2.0
// What the specialist's and the operator's page have in common: the door, the header, dialogs, messages.

import {$, el, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {refusalText} from "../labels.js";
import {call, socketUrl} from "../net.js";
import {Session} from "../session.js";
import {Refused} from "../transport.js";

/** @import {State} from "../session.js" */
/** @typedef {"loading" | "signed_out" | "signed_in" | "displaced" | "stopped"} Access */

/** A session token with less than this left is not worth starting with. */
const TOKEN_MARGIN_S = 30;
/** How long a passing message stays: enough to read two short lines. */
const TOAST_MS = 6_000;

/**
 * The way in, out and back for one role. `session` is null while nobody is signed in; `access` says where we stand, and
 * `onchange` is called when either, or what the server told, has changed.
 */
export class Staff {
  /** @type {Access} */
  access = "loading";
  /** @type {Session | null} */
  session = null;
  name = "";
  #token = "";
  #tokenUntil = 0;
  #options;

  /**
   * @param {{
   *   role: "specialist" | "operator",
   *   onchange: () => void,
   *   onmessage?: (message: import("../transport.js").Message) => void,
   *   ontrack?: (kind: import("../endpoint.js").Kind, track: MediaStreamTrack) => void,
   *   endpoints?: typeof import("../endpoints.js").Endpoints,
   * }} options `endpoints`: of a page that makes calls
   */
  constructor(options) {
    this.#options = options;
    $("sign-in").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#signIn();
    });
    onclick("sign-out", () => this.signOut());
    onclick("password-open", () => dialog("change-password").showModal());
    $("change-password-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void changePassword();
    });
    for (const button of document.querySelectorAll("[data-reload]")) {
      button.addEventListener("click", () => location.reload());
    }
  }

  /** Comes in by the cookie if there is one, else shows the door. */
  async start() {
    try {
      await this.#fetchToken();
    } catch (error) {
      const code = codeOf(error);
      if (code === "unavailable") return void setTimeout(() => this.start(), 3_000);
      this.#enter("signed_out", ["unauthenticated", "signed_out"].includes(code) ? "" : code);
      return;
    }
    this.#open();
  }

  async signOut() {
    this.session?.close();
    this.session = null;
    await call("/api/sign-out", {}).catch(() => {}); // without a connection the cookie runs out by itself
    this.#token = "";
    this.#enter("signed_out", "");
  }

  async #signIn() {
    const login = /** @type {HTMLInputElement} */ ($("login"));
    const password = /** @type {HTMLInputElement} */ ($("password"));
    if (!login.value.trim() || !password.value) {
      (login.value.trim() ? password : login).focus();
      return;
    }
    complain("sign-in-error", "");
    const button = $("sign-in").querySelector("button");
    button?.setAttribute("aria-busy", "true");
    try {
      await call("/api/sign-in", {login: login.value.trim(), password: password.value});
      password.value = "";
      await this.#fetchToken();
      this.#open();
    } catch (error) {
      complain("sign-in-error", doorText(codeOf(error)));
      password.select();
    } finally {
      button?.removeAttribute("aria-busy");
    }
  }

  /** @throws {Refused} also if the account is of another role: it would be refused at every step */
  async #fetchToken() {
    const answer = await call("/api/session", {});
    if (answer["role"] !== this.#options.role) throw new Refused("forbidden");
    this.name = answer["name"];
    this.#token = answer["session"];
    this.#tokenUntil = answer["expiresAt"] ?? 0;
  }

  #open() {
    this.session = new Session({
      url: socketUrl(),
      getToken: async (expired) => {
        if (expired || this.#tokenUntil - Date.now() / 1000 < TOKEN_MARGIN_S) await this.#fetchToken();
        return this.#token;
      },
      onchange: (state) => this.#linkChanged(state),
      onmessage: (message) => this.#options.onmessage?.(message),
      ontrack: (kind, track) => this.#options.ontrack?.(kind, track),
      storage: sessionStorage,
    });
    if (this.#options.endpoints) this.session.attach(this.#options.endpoints);
    this.#enter("signed_in", "");
    this.session.start();
  }

  /** @param {State} state */
  #linkChanged(state) {
    if (state.link === "closed" && state.linkCode) {
      const gone = this.session;
      this.session = null;
      gone?.close(); // its call as well: who took our place talks now
      const code = state.linkCode;
      if (code === "displaced") this.#enter("displaced", "");
      else if (["unauthenticated", "signed_out", "token_invalid"].includes(code)) this.#enter("signed_out", code);
      else this.#enter("stopped", code);
      return;
    }
    renderLink(state);
    this.#options.onchange();
  }

  /** @param {Access} access @param {string} code */
  #enter(access, code) {
    this.access = access;
    const inside = access === "signed_in";
    show("staff-nav", inside);
    show("link", inside);
    say("me", inside ? this.name : "");
    if (access === "signed_out") complain("sign-in-error", code ? doorText(code) : "");
    if (access === "stopped") say("stopped-why", refusalText(code));
    this.#options.onchange();
  }
}

/** Why the door stays closed. @param {string} code */
function doorText(code) {
  return code === "forbidden" ? _("This account is not for this page. Please sign in with another one.") : refusalText(code);
}

async function changePassword() {
  const old = /** @type {HTMLInputElement} */ ($("password-old"));
  const fresh = /** @type {HTMLInputElement} */ ($("password-new"));
  complain("change-password-error", "");
  try {
    await call("/api/password", {old: old.value, new: fresh.value});
  } catch (error) {
    const code = codeOf(error);
    complain("change-password-error", code === "credentials_invalid" ? _("The old password is wrong.") : refusalText(code));
    return;
  }
  old.value = fresh.value = "";
  dialog("change-password").close();
  toast(_("Password changed."));
}

/** @param {State} state */
function renderLink(state) {
  const up = state.link === "open";
  const fresh = !state.me;
  $("link").dataset["link"] = up ? "up" : fresh ? "opening" : "lost";
  document.body.dataset["link"] = up ? "up" : "down";
  say("link", up ? _("Connected") : fresh ? _("Connecting …") : _("No connection – we try again by ourselves"));
}

/** The code of whatever was thrown. @param {unknown} error */
export function codeOf(error) {
  if (error instanceof Refused) return error.code;
  console.error(error);
  return "internal";
}

/**
 * Shows the sections of a state. The focus moves to the heading only when other sections come up, so that a ring or a
 * switched switch takes nobody's place.
 * @param {string} state
 */
export function showState(state) {
  if (document.body.dataset["state"] === state) return;
  document.body.dataset["state"] = state;
  /** @type {HTMLElement | null} */
  let fresh = null;
  for (const section of document.querySelectorAll("[data-in]")) {
    if (!(section instanceof HTMLElement)) continue;
    const here = section.dataset["in"]?.split(" ").includes(state) ?? false;
    if (here && section.hidden) fresh ??= section;
    section.hidden = !here;
  }
  if (!fresh) return;
  const target = fresh.querySelector("h1");
  if (!target) return;
  target.tabIndex = -1;
  target.focus({preventScroll: true});
  scrollTo(0, 0);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;

/** A message in passing. @param {string} text */
export function toast(text) {
  const target = $("toast");
  // In the top layer where the browser has one, so that it is seen above an open dialog.
  if (target.popover !== undefined) {
    target.popover = "manual";
    target.hidePopover();
    target.showPopover();
  }
  target.textContent = text;
  target.dataset["shown"] = "yes";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    delete target.dataset["shown"];
    target.textContent = "";
    if (target.popover !== undefined) target.hidePopover();
  }, TOAST_MS);
}

/**
 * Does what a button asks for; a refusal is said in passing.
 * @param {() => Promise<unknown>} action
 * @returns {Promise<boolean>} whether it was done
 */
export async function attempt(action) {
  try {
    await action();
    return true;
  } catch (error) {
    toast(refusalText(codeOf(error)));
    return false;
  }
}

/** Shows a complaint in a form, or takes it away. @param {string | HTMLElement} where @param {string} text */
export function complain(where, text) {
  const target = typeof where === "string" ? $(where) : where;
  target.textContent = text;
  target.hidden = !text;
}

/**
 * Replaces an element's children; what is null is left out.
 * @param {string} id
 * @param {...(Node | null)} children
 */
export function put(id, ...children) {
  $(id).replaceChildren(...children.filter((child) => child !== null));
}

/** @param {string} id */
export function dialog(id) {
  return /** @type {HTMLDialogElement} */ ($(id));
}

/** Makes the dialogs' own closing buttons work. */
export function wireDialogs() {
  for (const box of document.querySelectorAll("dialog")) {
    for (const button of box.querySelectorAll("[data-close]")) button.addEventListener("click", () => box.close());
  }
}

/**
 * Fills a select once.
 * @param {string} id
 * @param {Record<string, string>} choices value to words
 */
export function choices(id, choices) {
  const select = /** @type {HTMLSelectElement} */ ($(id));
  for (const [value, words] of Object.entries(choices)) select.append(el("option", {value}, words));
}

/**
 * Replaces a list's items, reusing those whose key and content are the same: focus and clicks under way survive.
 * @template T
 * @param {HTMLElement} list
 * @param {T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} make
 */
export function fillList(list, items, key, make) {
  const old = new Map([...list.children].map((child) => [/** @type {HTMLElement} */ (child).dataset["key"], child]));
  const wanted = items.map((item) => {
    const content = `${key(item)} ${JSON.stringify(item)}`;
    const known = old.get(content);
    if (known) return known;
    const made = make(item);
    made.dataset["key"] = content;
    return made;
  });
  if (wanted.length === list.children.length && wanted.every((item, at) => item === list.children[at])) return;
  list.replaceChildren(...wanted);
}

/** @param {number} at UTC epoch seconds */
export function timeOfDay(at) {
  return new Date(at * 1000).toLocaleTimeString(document.documentElement.lang, {hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
}

/** @param {number} at UTC epoch seconds */
export function dayAndTime(at) {
  const format = /** @type {const} */ ({day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
  return new Date(at * 1000).toLocaleString(document.documentElement.lang, format);
}
