// SPDX-License-Identifier: Apache-2.0
// What a patient reads for a refusal: what it means for them, and what they can do. No DOM.

import {_} from "./i18n.js";

const AGAIN = _("Please try again in a moment.");
const RELOAD = _("Please load this page again.");
const NEW_LINK = _("This link is no longer valid. Please ask for a new one.");
const OVER = _("This consult is over.");
const CHANGED = _("This is not possible just now; nothing was changed.");
const BUSY = _("The service is busy just now. We try again by ourselves.");

/** @type {Record<import("./wire.js").Code | "connection_lost", string>} */
const TEXTS = {
  malformed: _("Something in these answers could not be read. Please check them."),
  too_large: _("This text is too long."),
  out_of_order: RELOAD,
  version_unsupported: RELOAD,
  binary_unsupported: RELOAD,
  hello_timeout: AGAIN,
  unauthenticated: RELOAD,
  token_invalid: _("This link is not complete. Please open it again, or type the code."),
  token_expired: NEW_LINK,
  origin_forbidden: RELOAD,
  credentials_invalid: RELOAD,
  code_invalid: _("There is no consult with this code. Please check it."),
  invitation_used: _("This consult is open on another device."),
  resume_invalid: _("This device can no longer come back into the consult. Please use the link or the code again."),
  takeover_refused: _("Moving the consult to this device was not allowed."),
  forbidden: CHANGED,
  not_found: OVER,
  wrong_state: CHANGED,
  ring_over: CHANGED,
  consult_over: OVER,
  consent_missing: _("Without your agreement the call cannot begin."),
  account_exists: CHANGED,
  password_weak: CHANGED,
  rate_limited: AGAIN,
  throttled: _("Too many tries. Please wait a little."),
  too_many_connections: BUSY,
  peer_absent: AGAIN,
  slow_reader: AGAIN,
  displaced: _("This consult is open on another device."),
  signed_out: RELOAD,
  restarting: BUSY,
  unavailable: _("No connection to the service. Please try again in a moment."),
  internal: _("Something went wrong on our side. Please try again."),
  connection_lost: _("No connection. We keep your place and try again by ourselves."),
};

/**
 * @param {unknown} error
 * @returns {string} a sentence for the patient; of an unknown code, the code
 */
export function refusal(error) {
  const {code, retryAfterMs = 0} = /** @type {{code?: string, retryAfterMs?: number}} */ (error ?? {});
  const text = TEXTS[/** @type {import("./wire.js").Code} */ (code ?? "internal")] ?? code;
  return retryAfterMs > 2000 ? `${text} (${Math.ceil(retryAfterMs / 1000)} s)` : text;
}
