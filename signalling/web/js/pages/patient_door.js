// SPDX-License-Identifier: Apache-2.0
// How a patient gets in: by link, by code, by coming back, or by moving here from another device.

import {forget, keep, stored, wayBack} from "../arrival.js";
import {canCall, canCapture} from "../capabilities.js";
import {checkCode, groupCode} from "../codes.js";
import {$, enter, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {call} from "../net.js";
import {refusal} from "../refusals.js";
import {Refused} from "../transport.js";

/** @typedef {import("../arrival.js").Credentials} Credentials */
/** @typedef {{token?: string, code?: string}} Invitation */

/** A person decides; asking more often would not make them faster. After ten minutes nobody is there to decide. */
const TAKEOVER_POLL_MS = 2_500;
const TAKEOVER_POLLS = 240;
/** A token lives 15 minutes: an older one than this isn't worth the five round trips of a refused connection. */
const TOKEN_FRESH_MS = 600_000;

/**
 * The door. Nothing is redeemed before the Join tap: previews of links load pages too. What a device needs to come back
 * is in the fragment (so that it survives "open in Chrome" and a reload) and in the local storage.
 */
export class Door {
  /** @type {Credentials | null} */
  credentials = null;
  #session = "";
  #sessionAt = 0;
  /** @type {Invitation} */
  #invitation = {};
  /** To come back with (256 bits); made here, so that joining can be asked for again when the answer got lost. */
  #secret = crypto.getRandomValues(new Uint32Array(8)).join("-");
  #onjoined;

  /** @param {() => void} onjoined */
  constructor(onjoined) {
    this.#onjoined = onjoined;
    document.body.dataset["whole"] = "";
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
        // A new page: what was said and shown to one person is not left for the next.
        history.replaceState(null, "", location.pathname + location.search);
        location.reload();
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
    const {consult, resume} = this.credentials ?? {};
    if (expired || !this.#session || Date.now() - this.#sessionAt > TOKEN_FRESH_MS) {
      this.#session = (await call("/api/resume", {consult, resume}))["session"];
      this.#sessionAt = Date.now();
    }
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
    const back = wayBack();
    const token = location.hash.slice(1);
    if (back) {
      if (back.token === token) this.#invitation = {token};
      this.#enter(back);
    } else if (!token) this.#askCode();
    else {
      this.#invitation = {token};
      if (document.body.dataset["state"] === "joining") this.#join(); // tapped on the first screen
      else enter("join");
    }
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
    this.#sessionAt = Date.now();
    history.replaceState(null, "", `#r.${credentials.consult}.${credentials.resume}`);
    keep(credentials);
    enter("loading");
    this.#onjoined();
  }

  async #join() {
    say("problem", "");
    enter("joining");
    try {
      const {consult, resume, session} = await call("/api/join", {...this.#invitation, resume: this.#secret});
      this.#enter({consult, resume, ...this.#invitation}, session);
    } catch (error) {
      const code = error instanceof Refused ? error.code : "";
      const kept = stored()?.resume;
      if (code === "invitation_used" && kept && kept !== this.#secret) {
        this.#secret = kept; // perhaps it was this very device: then it is let in
        await this.#join();
      } else if (code === "invitation_used") enter("takeover");
      else if (code === "token_expired" || code === "consult_over") enter("expired");
      else {
        enter(this.#invitation.code ? "code" : "join");
        say("problem", refusal(error));
      }
    }
  }

  async #takeOver() {
    say("problem", "");
    try {
      const {consult, request, secret} = await call("/api/takeover", this.#invitation);
      enter("takeover_wait");
      for (let polls = 0; polls < TAKEOVER_POLLS; polls++) {
        await new Promise((resolve) => setTimeout(resolve, TAKEOVER_POLL_MS));
        /** @type {{status: number, [field: string]: any}} */
        const answer = await call("/api/takeover/poll", {consult, request, secret}).catch((error) => {
          if (error.code === "unavailable") return {status: 202};
          throw error;
        });
        if (answer.status !== 200) continue;
        this.#enter({consult, resume: answer["resume"], ...this.#invitation}, answer["session"]);
        return;
      }
      throw new Refused("takeover_refused");
    } catch (error) {
      enter("takeover");
      say("problem", refusal(error));
    }
  }
}
