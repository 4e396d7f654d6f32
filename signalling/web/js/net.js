// SPDX-License-Identifier: Apache-2.0
// JSON over HTTP to our own server. No DOM.

import {Refused} from "./transport.js";

/** Three round trips and a slow store, twice over. */
const WITHIN_MS = 20_000;

/**
 * Posts JSON (or gets, without a body) and reads the JSON that comes back.
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<{status: number, [field: string]: any}>} the answer's fields and its status
 * @throws {Refused} with the server's code; `unavailable` if there was no answer, or none of ours
 */
export async function call(path, body) {
  let response;
  let answer;
  try {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), WITHIN_MS);
    response = await fetch(path, {
      ...(body && {method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json"}}),
      credentials: "same-origin",
      cache: "no-store",
      signal: abort.signal,
    });
    const text = await response.text();
    clearTimeout(timer);
    answer = text ? JSON.parse(text) : {};
  } catch {
    throw new Refused("unavailable");
  }
  if (!response.ok) throw new Refused(answer.code ?? "unavailable", answer.retryAfterMs);
  return {...answer, status: response.status};
}

/** The WebSocket's address on this server. */
export function socketUrl() {
  return `${location.origin.replace("http", "ws")}/ws`;
}

/** An unguessable name (96 bits): of a page load, or of a line of chat. */
export function newKey() {
  return crypto.getRandomValues(new Uint32Array(3)).join("-");
}

/** What a person typed or pasted, as the server takes it (`Text` there): a word processor's control characters become spaces. @param {string} text */
export function plain(text) {
  return text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, " ").trim();
}
