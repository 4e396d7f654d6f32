// SPDX-License-Identifier: Apache-2.0
// What a device keeps of a consult, to come back with.

/**
 * What a device needs to come back, and the link by which it came (used up, but a person opens it again).
 * @typedef {{consult: string, resume: string, token?: string}} Credentials
 */

const STORED = "selat.consult";

/**
 * What the address, or what was kept of it, comes back with; nothing: it is a link to be redeemed, or none.
 * @returns {Credentials | null}
 */
export function wayBack() {
  const fragment = location.hash.slice(1);
  const [mark, consult, resume] = fragment.split(".");
  const kept = stored();
  if (mark === "r" && consult && resume) return kept?.resume === resume ? kept : {consult, resume};
  // The link by which this device came in: no need to ask.
  return fragment && kept?.token === fragment ? kept : null;
}

/** Keeps it; where nothing can be kept, the address alone brings us back. @param {Credentials} credentials */
export function keep(credentials) {
  try {
    localStorage.setItem(STORED, JSON.stringify(credentials));
  } catch {
    // the address has it
  }
}

/** Forgets a consult on this device, for it may be shared: this one, or whichever is kept. @param {string} [consult] */
export function forget(consult) {
  if (consult && stored()?.consult !== consult) return;
  try {
    localStorage.removeItem(STORED);
    localStorage.removeItem("selat.unsent");
  } catch {
    // nothing was kept
  }
}

/** @returns {Credentials | null} */
export function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "null");
  } catch {
    return null;
  }
}
