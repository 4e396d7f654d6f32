// SPDX-License-Identifier: Apache-2.0
// Accounts of specialists and operators.

import {accountsInOrder, suggestLogin} from "../board.js";
import {$, el, onclick, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {LANGUAGES, SPECIALTIES, languageName, refusalText} from "../labels.js";
import {call} from "../net.js";
import {attempt, codeOf, complain, dialog, fillList, toast} from "./staff.js";

/** @import {Account} from "../board.js" */

export class Accounts {
  /** The account that the dialog is about; null = a new one. @type {Account | null} */
  #edited = null;
  #suggested = "";
  /** @type {() => Promise<unknown>} */
  #sure = async () => {};

  constructor() {
    for (const [id, words] of /** @type {const} */ ([["specialties", SPECIALTIES], ["languages", LANGUAGES]])) {
      $(`account-${id}`).append(...Object.entries(words).map(([value, text]) =>
        el("label", {className: "choice"}, el("input", {type: "checkbox", value}), text)));
    }
    onclick("account-new", () => this.#edit(null));
    $("account-role").addEventListener("change", () => this.#roleChanged());
    $("account-name").addEventListener("input", () => this.#nameChanged());
    $("account-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#save();
    });
    onclick("sure-yes", async () => {
      if (await attempt(this.#sure)) dialog("sure").close();
    });
    onclick("password-copy", async () => {
      await navigator.clipboard.writeText($("password-text").textContent ?? "").then(
        () => toast(_("Password copied.")), () => toast(_("Please write it down.")));
    });
    dialog("password-once").addEventListener("close", () => say("password-text", ""));
  }

  /** Reads the list again. */
  async refresh() {
    try {
      const answer = await call("/api/accounts");
      complain("accounts-error", "");
      const accounts = accountsInOrder(/** @type {Account[]} */ (answer["accounts"]));
      fillList($("accounts"), accounts, (each) => each.account, (each) => this.#row(each));
    } catch (error) {
      complain("accounts-error", refusalText(codeOf(error)));
    }
  }

  /** @param {Account} account */
  #row(account) {
    const role = account.role === "operator" ? _("Operator") : _("Specialist");
    const facts = [
      role,
      _("signs in as {login}", {login: account.login}),
      account.specialties.map((specialty) => SPECIALTIES[specialty]).join(", "),
      account.languages.map(languageName).join(", "),
    ];
    const actions = [
      action(_("Edit"), () => this.#edit(account)),
      action(_("New password"), () => this.#ask(
        _("Make a new password for {name}?", {name: account.name}),
        _("The old one stops working at once, and the person is signed out everywhere."),
        _("New password"),
        async () => this.#showPassword(account.login, await change(account, {resetPassword: true})),
      )),
      account.disabled
        ? action(_("Enable"), () => attempt(async () => {
          await change(account, {disabled: false});
          await this.refresh();
        }))
        : action(_("Disable"), () => this.#ask(
          _("Disable the account of {name}?", {name: account.name}),
          _("The person is signed out and can’t sign in until you enable it again. Nothing is deleted."),
          _("Disable"),
          async () => {
            await change(account, {disabled: true});
            await this.refresh();
          },
        )),
    ];
    return el("li", {className: "person", "data-disabled": account.disabled, "data-account": account.account},
      el("strong", {}, account.name),
      account.disabled ? el("span", {className: "state"}, _("disabled")) : null,
      el("p", {className: "case-facts"}, facts.filter(Boolean).join(" · ")),
      el("div", {className: "case-actions"}, ...actions));
  }

  /** @param {string} title @param {string} text @param {string} yes @param {() => Promise<unknown>} then */
  #ask(title, text, yes, then) {
    say("sure-title", title);
    say("sure-text", text);
    say("sure-yes", yes);
    this.#sure = then;
    dialog("sure").showModal();
  }

  /** @param {Account | null} account */
  #edit(account) {
    this.#edited = account;
    this.#suggested = "";
    complain("account-error", "");
    say("account-title", account ? _("Edit account") : _("New account"));
    show("account-once", !account);
    field("account-name").value = account?.name ?? "";
    field("account-login").value = account?.login ?? "";
    field("account-role").value = account?.role ?? "specialist";
    tickBoxes("account-specialties", account?.specialties ?? []);
    tickBoxes("account-languages", account?.languages ?? [document.documentElement.lang]);
    this.#roleChanged();
    dialog("account").showModal();
  }

  #roleChanged() {
    show("account-specialties-set", field("account-role").value === "specialist");
  }

  #nameChanged() {
    const login = field("account-login");
    if (this.#edited || login.value !== this.#suggested) return; // the person chose one
    this.#suggested = suggestLogin(field("account-name").value);
    login.value = this.#suggested;
  }

  async #save() {
    const role = field("account-role").value;
    const name = field("account-name").value.trim();
    const login = field("account-login").value.trim();
    const specialties = role === "specialist" ? ticked("account-specialties") : [];
    const languages = ticked("account-languages");
    if (!name || (!this.#edited && !login)) {
      (name ? field("account-login") : field("account-name")).focus();
      return;
    }
    if (role === "specialist" && !specialties.length) {
      complain("account-error", _("Choose at least one specialty: nobody is rung without."));
      return;
    }
    complain("account-error", "");
    try {
      if (this.#edited) {
        await change(this.#edited, {name, languages, specialties});
        toast(_("Saved."));
      } else {
        const made = await call("/api/accounts", {login, name, role, specialties, languages});
        this.#showPassword(login, made);
      }
      dialog("account").close();
      await this.refresh();
    } catch (error) {
      complain("account-error", refusalText(codeOf(error)));
    }
  }

  /** @param {string} login @param {{[field: string]: any}} answer */
  #showPassword(login, answer) {
    if (!answer["password"]) return;
    say("password-for", _("For {login}", {login}));
    say("password-text", answer["password"]);
    dialog("password-once").showModal();
  }
}

/** @param {Account} account @param {object} changes */
function change(account, changes) {
  return call(`/api/accounts/${encodeURIComponent(account.account)}`, changes);
}

/** @param {string} words @param {() => unknown} then */
function action(words, then) {
  const button = el("button", {type: "button"}, words);
  button.addEventListener("click", () => then());
  return button;
}

/** @param {string} id */
function field(id) {
  return /** @type {HTMLInputElement} */ ($(id));
}

/** @param {string} id @returns {NodeListOf<HTMLInputElement>} */
function boxes(id) {
  return $(id).querySelectorAll("input");
}

/** @param {string} id @param {string[]} values */
function tickBoxes(id, values) {
  for (const box of boxes(id)) box.checked = values.includes(box.value);
}

/** @param {string} id @returns {string[]} */
function ticked(id) {
  return [...boxes(id)].filter((box) => box.checked).map((box) => box.value);
}
