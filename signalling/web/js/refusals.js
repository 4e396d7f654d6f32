// SPDX-License-Identifier: Apache-2.0
// What a patient reads for a refusal: what it means for them, and what they can do. No DOM.

import {_} from "./i18n.js";

const AGAIN = _("Please try again in a moment.");
const RELOAD = _("Please load this page again.");
const OVER = _("This consult is over.");
const CHANGED = _("This is not possible just now; nothing was changed.");
const BUSY = _("The service is busy just now. We try again by ourselves.");

/** What has a state of its own is missing here; of any other code a patient reads that something went wrong, and the code. @type {Record<string, string>} */
const TEXTS = {
  malformed: _("Something in these answers could not be read. Please check them."),
  too_large: _("This text is too long."),
  version_unsupported: RELOAD,
  unauthenticated: RELOAD,
  token_invalid: _("This link is not complete. Please open it again, or type the code."),
  code_invalid: _("There is no consult with this code. Please check it."),
  invitation_used: _("This consult is open on another device."),
  takeover_refused: _("Moving the consult to this device was not allowed."),
  forbidden: CHANGED,
  not_found: OVER,
  wrong_state: CHANGED,
  consult_over: OVER,
  consent_missing: _("Without your agreement the call cannot begin."),
  rate_limited: AGAIN,
  throttled: _("Too many tries. Please wait a little."),
  too_many_connections: BUSY,
  restarting: BUSY,
  unavailable: _("No connection to the service. Please try again in a moment."),
  connection_lost: _("No connection. We keep your place and try again by ourselves."),
};

/**
 * @param {unknown} error
 * @returns {string} a sentence for the patient
 */
export function refusal(error) {
  const {code = "", retryAfterMs = 0} = /** @type {{code?: string, retryAfterMs?: number}} */ (error ?? {});
  const text = TEXTS[code] ?? `${_("Something went wrong on our side. Please try again.")} (${code})`;
  return retryAfterMs > 2000 ? `${text} (${Math.ceil(retryAfterMs / 1000)} s)` : text;
}
