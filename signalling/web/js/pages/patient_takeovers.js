// SPDX-License-Identifier: Apache-2.0
// Another device wants to go on with this consult: the person at this one may allow it.

import {$} from "../dom.js";
import {_} from "../i18n.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../wire.js").ConsultView} ConsultView */

/** The dialog about such a request, as long as there is one. */
export class Takeovers {
  #session;
  #ask;
  /** The request that the dialog is about. */
  #asked = "";

  /** @param {Session} session @param {(question: string, yes: string, no: string) => Promise<boolean>} ask */
  constructor(session, ask) {
    this.#session = session;
    this.#ask = ask;
  }

  /** @param {ConsultView} view */
  async render(view) {
    const request = view.takeovers?.[0]?.request ?? "";
    if (request === this.#asked) return;
    this.#asked = request;
    if (!request) {
      /** @type {HTMLDialogElement} */ ($("dialog")).close();
      return;
    }
    const question = _("Another device wants to move this consult to itself. Allow it only if you know who it is.");
    const allow = await this.#ask(question, _("Allow"), _("Refuse"));
    if (this.#asked !== request) return;
    await this.#session.request("decide_takeover", {consult: view.consult, request, allow}).catch(() => {
      this.#asked = ""; // asked again with the next view
    });
  }
}
