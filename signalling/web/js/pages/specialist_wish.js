// SPDX-License-Identifier: Apache-2.0
// What matters to the specialist in the patient's picture: motion, detail, or the voice alone.

import {$} from "../dom.js";

/** @import {Session} from "../session.js" */
/** @import {ConsultView} from "../wire.js" */

const WISH_KEY = "selat.wish";
const FIRST_WISH = "motion";

export class WishControl {
  #session;
  #consult = "";
  /** @type {HTMLButtonElement[]} */
  #buttons;

  /** @param {() => Session | null} session */
  constructor(session) {
    this.#session = session;
    this.#buttons = [...$("wish").querySelectorAll("button")];
    for (const button of this.#buttons) button.addEventListener("click", () => this.#choose(button.value));
  }

  /** @param {ConsultView} view of the call */
  render(view) {
    $("wish").hidden = false;
    if (view.consult === this.#consult) return;
    this.#consult = view.consult;
    this.#show(this.#kept());
  }

  /** @param {string} wish */
  #choose(wish) {
    if (!this.#session()?.transport.send("wish", {consult: this.#consult, wish})) return;
    try {
      sessionStorage.setItem(WISH_KEY, `${this.#consult} ${wish}`);
    } catch {
      // then a reload shows the default, though the ladder has another
    }
    this.#show(wish);
  }

  #kept() {
    try {
      const [consult, wish] = (sessionStorage.getItem(WISH_KEY) ?? "").split(" ");
      return consult === this.#consult && wish ? wish : FIRST_WISH;
    } catch {
      return FIRST_WISH;
    }
  }

  /** @param {string} wish */
  #show(wish) {
    for (const button of this.#buttons) button.ariaPressed = String(button.value === wish);
  }
}
