// SPDX-License-Identifier: Apache-2.0
// A ring on the specialist's page: card, sound, title, notification.

import {Alarm} from "../alarm.js";
import {$, el, onclick, say} from "../dom.js";
import {_} from "../i18n.js";
import {DECLINE_REASONS, SPECIALTIES, URGENCIES, age, languageName, refusalText} from "../labels.js";
import {codeOf, complain, dialog, put, toast} from "./staff.js";
import {postWords, running, urgencyMark} from "./staff_cases.js";
import {signWords} from "./specialist_intake.js";

/** @import {Session} from "../session.js" */
/** @import {RingView} from "../wire.js" */

/** What the patient's link can carry. @type {Record<string, string>} */
const OUTLOOKS = {
  messages: _("no live voice, only messages"),
  "voice-with-gaps": _("voice with gaps"),
  voice: _("clear voice, photographs instead of a picture"),
  "slow-picture": _("clear voice, a small and slow picture"),
  "small-picture": _("clear voice, a small picture"),
  "good-picture": _("clear voice, a good picture"),
};

/** The title changes so often while it rings. */
const FLASH_MS = 1_000;

export class Ring {
  alarm;
  /** @type {RingView | null} */
  #shown = null;
  #title = document.title;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #flash;
  /** @type {Notification | null} */
  #notification = null;
  /** Consult whose ring was answered here, and what the server has not confirmed yet. */
  #answering = "";
  #options;

  /**
   * @param {{session: () => Session | null, onaccept: () => void, onsound: () => void}} options `onaccept` runs in the tap itself, so that
   *   the browser lets camera, microphone and sound start
   */
  constructor(options) {
    this.#options = options;
    this.alarm = new Alarm(options.onsound);
    onclick("accept", () => this.#accept());
    for (const [reason, words] of Object.entries(DECLINE_REASONS)) {
      const button = el("button", {type: "button", "data-reason": reason}, words);
      button.addEventListener("click", () => this.#decline(reason));
      $("decline-reasons").append(button);
    }
    dialog("ring").addEventListener("cancel", (event) => event.preventDefault()); // Escape must not hide a patient
  }

  /** @param {RingView | undefined} ring what the desk says now */
  render(ring) {
    if (!ring) return this.#hide();
    if (this.#shown?.consult === ring.consult && this.#shown.until === ring.until) {
      if (this.#shown.outlook !== ring.outlook) this.#facts(ring); // the link is measured while it rings
      this.#shown = ring;
      return;
    }
    this.#hide();
    this.#shown = ring;
    this.#fill(ring);
    dialog("ring").showModal();
    $("ring-title").focus();
    this.alarm.start();
    this.#announce(ring);
  }

  /** @param {number} now the server's clock */
  tick(now) {
    if (!this.#shown) return;
    const left = Math.max(0, this.#shown.until - now);
    say("ring-left", String(Math.ceil(left)));
    const bar = /** @type {HTMLProgressElement} */ ($("ring-bar"));
    bar.max = Math.max(bar.max, left);
    bar.value = left;
  }

  #hide() {
    if (!this.#shown) return;
    this.#shown = null;
    this.#answering = "";
    this.alarm.stop();
    clearInterval(this.#flash);
    document.title = this.#title;
    this.#notification?.close();
    this.#notification = null;
    dialog("ring").close();
  }

  /** @param {RingView} ring */
  #fill(ring) {
    dialog("ring").dataset["urgency"] = ring.urgency;
    say("ring-title", _("A patient is calling"));
    complain("ring-error", "");
    /** @type {HTMLDetailsElement} */ ($("decline")).open = false;
    /** @type {HTMLProgressElement} */ ($("ring-bar")).max = 30;
    this.#facts(ring);
  }

  /** @param {RingView} ring */
  #facts(ring) {
    const who = [
      ring.ageMonths === undefined ? "" : age(ring.ageMonths),
      SPECIALTIES[ring.specialty],
      languageName(ring.language),
      postWords(ring.post),
    ].filter(Boolean).join(" · ");
    put("ring-facts",
      el("p", {className: "ring-head"}, urgencyMark(ring.urgency), el("span", {}, _("waiting"), " ", running("since", ring.since))),
      el("p", {className: "complaint"}, ring.complaint ?? ""),
      el("p", {}, who),
      ring.signs?.length ? el("ul", {className: "signs"}, ...ring.signs.map((sign) => el("li", {}, signWords(sign)))) : null,
      ring.outlook && OUTLOOKS[ring.outlook] ? el("p", {}, _("Link of the patient: {words}", {words: OUTLOOKS[ring.outlook]})) : null,
      ring.interpreterNeeded ? el("p", {className: "notice ask"}, _("No common language: an interpreter is needed.")) : null,
    );
  }

  /** @param {RingView} ring */
  #announce(ring) {
    const {word, shape} = URGENCIES[ring.urgency];
    const call = `${shape} ${_("A patient is calling")}`;
    let on = false;
    this.#flash = setInterval(() => {
      on = !on;
      document.title = on ? call : this.#title;
    }, FLASH_MS);
    document.title = call;
    if (document.visibilityState === "visible" && document.hasFocus()) return;
    try {
      // Nothing about the patient: a notification may stand on a locked screen.
      this.#notification = new Notification(_("Selat: a patient is calling"), {
        body: word, tag: "selat-ring", requireInteraction: true,
      });
      this.#notification.onclick = () => window.focus();
    } catch {
      // not allowed, or only for service workers on this browser: sound and title are left
    }
  }

  async #accept() {
    const ring = this.#shown;
    if (!ring || this.#answering) return;
    this.#answering = ring.consult;
    this.alarm.stop();
    this.#options.onaccept();
    try {
      await this.#options.session()?.request("accept", {consult: ring.consult});
    } catch (error) {
      this.#refused(error, ring);
    }
  }

  /** @param {string} reason */
  async #decline(reason) {
    const ring = this.#shown;
    if (!ring || this.#answering) return;
    this.#answering = ring.consult;
    this.alarm.stop();
    try {
      await this.#options.session()?.request("decline", {consult: ring.consult, reason});
    } catch (error) {
      this.#refused(error, ring);
    }
  }

  /** @param {unknown} error @param {RingView} ring */
  #refused(error, ring) {
    this.#answering = "";
    const text = refusalText(codeOf(error));
    if (this.#shown === ring) complain("ring-error", text);
    else toast(text);
  }
}

/** Asks for notifications, once; from a tap. */
export async function askNotifications() {
  if (typeof Notification !== "function" || Notification.permission !== "default") return;
  await Notification.requestPermission().catch(() => {});
}
