// SPDX-License-Identifier: Apache-2.0
// Parcels that wait to be sent, kept in the browser (IndexedDB): they survive a reload and a closed browser. No DOM.

/** @typedef {import("./content.js").Box} Box */
/** @typedef {import("./content.js").Parcel} Parcel */

/** What nobody could send for so long is nobody's any more; a promise is kept for three days at most. */
const KEPT_MS = 7 * 86_400_000;

/**
 * The box of this browser; where the browser has none (private windows), one that lasts as long as the page.
 * @param {string} [name]
 * @returns {Promise<Box>}
 */
export async function openBox(name = "selat") {
  try {
    const database = await asked(Object.assign(indexedDB.open(name, 1), {
      /** @param {any} event */
      onupgradeneeded: (event) => event.target.result.createObjectStore("parcels", {keyPath: "key"}),
    }));
    const parcels = (/** @type {IDBTransactionMode} */ mode) => database.transaction("parcels", mode).objectStore("parcels");
    return {
      all: async () => {
        const all = /** @type {Parcel[]} */ (await asked(parcels("readonly").getAll()));
        const [old, kept] = [all.filter((each) => each.at < Date.now() - KEPT_MS), all.filter((each) => each.at >= Date.now() - KEPT_MS)];
        for (const {key} of old) await asked(parcels("readwrite").delete(key));
        return kept;
      },
      put: async (parcel) => void (await asked(parcels("readwrite").put(parcel))),
      remove: async (key) => void (await asked(parcels("readwrite").delete(key))),
    };
  } catch {
    return memoryBox();
  }
}

/** A box that lasts as long as the page. @returns {Box} */
export function memoryBox() {
  /** @type {Map<string, Parcel>} */
  const parcels = new Map();
  return {
    all: async () => [...parcels.values()],
    put: async (parcel) => void parcels.set(parcel.key, parcel),
    remove: async (key) => void parcels.delete(key),
  };
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
