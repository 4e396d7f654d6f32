// SPDX-License-Identifier: Apache-2.0
// How a patient gets in: by link, by code, by coming back, or by moving here from another device.

import {checkCode, groupCode} from "../codes.js";
import {canCall, canCapture} from "../devices.js";
import {$, enter, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {call} from "../net.js";
import {refusal} from "../refusals.js";
import {Refused} from "../transport.js";

/** @typedef {{consult: string, resume: string}} Credentials what a device needs to come back */
/** @typedef {{token: string} | {code: string}} Invitation */

const STORED = "selat.consult";
/** A person decides; asking more often would not make them faster. */
const TAKEOVER_POLL_MS = 2_500;

/**
 * The door. Nothing is redeemed before the Join tap: previews of links load pages too. What a device needs to come back
 * is in the fragment (so that it survives "open in Chrome" and a reload) and in the local storage.
 */
export class Door {
  /** @type {Credentials | null} */
  credentials = null;
  #session = "";
  /** @type {Invitation} */
  #invitation = {token: ""};
  #onjoined;

  /** @param {() => void} onjoined */
  constructor(onjoined) {
    this.#onjoined = onjoined;
    onclick("join", () => this.#join());
    onclick("continue", () => {
      const kept = stored();
      if (kept) this.#enter(kept);
    });
    onclick("takeover", () => this.#takeOver());
    onclick("stay", () => this.#look());
    onclick("again", () => location.reload());
    onclick("reload", () => location.reload());
    for (const button of document.querySelectorAll("[data-newcode]")) {
      button.addEventListener("click", () => {
        forget();
        history.replaceState(null, "", location.pathname);
        this.#askCode();
      });
    }
    const code = /** @type {HTMLInputElement} */ ($("code"));
    code.addEventListener("input", () => this.#typed(code));
    $("codeform").addEventListener("submit", (event) => {
      event.preventDefault();
      if (checkCode(code.value) !== "right") return;
      this.#invitation = {code: groupCode(code.value)};
      this.#join();
    });
    // The language's links keep what brought us here.
    for (const link of document.querySelectorAll("nav a")) {
      link.addEventListener("click", () => /** @type {HTMLAnchorElement} */ (link).hash = location.hash);
    }
    addEventListener("hashchange", () => location.reload());
  }

  /** Shows where a patient with this browser and this link can begin. */
  open() {
    if (!canCall()) enter("unsupported");
    else if (!canCapture() && isSecureContext) this.#sendElsewhere();
    else this.#look();
  }

  /** A session token, for the transport. @param {boolean} expired @throws {Refused} */
  async token(expired) {
    if (expired) this.#session = "";
    if (!this.#session) this.#session = (await call("/api/resume", this.credentials ?? {}))["session"];
    return this.#session;
  }

  #sendElsewhere() {
    const apple = /iPhone|iPad/.test(navigator.userAgent);
    const link = /** @type {HTMLAnchorElement} */ ($("intent"));
    // Android reads what follows the *last* #: the link's own fragment stays part of the address.
    const {host, pathname, search, hash, protocol} = location;
    const scheme = protocol.slice(0, -1);
    link.href = `intent://${host}${pathname}${search}${hash}#Intent;scheme=${scheme};package=com.android.chrome;end`;
    show("intent", !apple);
    show("ios", apple);
    enter("in_app");
  }

  #look() {
    const fragment = location.hash.slice(1);
    const [mark, consult, resume] = fragment.split(".");
    if (mark === "r" && consult && resume) this.#enter({consult, resume});
    else if (fragment) {
      this.#invitation = {token: fragment};
      const kept = stored();
      // The link of the consult that this device is in: no need to ask.
      if (kept && kept.consult === consultOf(fragment)) this.#enter(kept);
      else enter("join");
    } else this.#askCode();
  }

  #askCode() {
    show("continue", stored() !== null);
    enter("code");
  }

  /** @param {HTMLInputElement} input */
  #typed(input) {
    const state = checkCode(input.value);
    if (state === "right") input.value = groupCode(input.value);
    /** @type {HTMLButtonElement} */ ($("codejoin")).disabled = state !== "right";
    input.setAttribute("aria-invalid", String(state === "wrong"));
    say("codehint", {
      partial: "",
      wrong: _("There is a mistake in this code. Please check it sign by sign."),
      right: _("✓ The code is complete."),
    }[state]);
    say("problem", "");
  }

  /** @param {Credentials} credentials @param {string} [session] */
  #enter(credentials, session = "") {
    this.credentials = credentials;
    this.#session = session;
    const {consult, resume} = credentials;
    history.replaceState(null, "", `#r.${consult}.${resume}`);
    try {
      localStorage.setItem(STORED, JSON.stringify({consult, resume}));
    } catch {
      // then the address alone brings us back
    }
    enter("loading");
    this.#onjoined();
  }

  async #join() {
    const before = document.body.dataset["state"] ?? "join";
    say("problem", "");
    enter("joining");
    try {
      const {consult, resume, session} = await call("/api/join", this.#invitation);
      this.#enter({consult, resume}, session);
    } catch (error) {
      const code = error instanceof Refused ? error.code : "";
      if (code === "invitation_used") enter("takeover");
      else if (code === "token_expired" || code === "consult_over") enter("expired");
      else {
        enter(before);
        say("problem", refusal(error));
      }
    }
  }

  async #takeOver() {
    say("problem", "");
    try {
      const {consult, request, secret} = await call("/api/takeover", this.#invitation);
      enter("takeover_wait");
      // Until somebody decides, or the server says that the request or the consult is over.
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, TAKEOVER_POLL_MS));
        /** @type {{status: number, [field: string]: any}} */
        const answer = await call("/api/takeover/poll", {consult, request, secret}).catch((error) => {
          if (error.code === "unavailable") return {status: 202};
          throw error;
        });
        if (answer.status !== 200) continue;
        this.#enter({consult, resume: answer["resume"]}, answer["session"]);
        return;
      }
    } catch (error) {
      enter("takeover");
      say("problem", refusal(error));
    }
  }
}

/** Forgets the consult on this device: it may be shared. */
export function forget() {
  try {
    localStorage.removeItem(STORED);
  } catch {
    // nothing was kept
  }
}

/** @returns {Credentials | null} */
function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "null");
  } catch {
    return null;
  }
}

/** The consult that an invitation says it is for; only compared, never trusted. @param {string} token */
function consultOf(token) {
  try {
    const payload = token.split(".")[1] ?? "";
    return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")))["c"];
  } catch {
    return undefined;
  }
}
