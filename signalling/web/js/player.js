// SPDX-License-Identifier: Apache-2.0
// A voice message as a button that becomes a player: it is fetched when somebody wants to hear it.

import {el} from "./dom.js";
import {_} from "./i18n.js";

/**
 * @param {{
 *   key: string,
 *   sha256: string,
 *   words: string,
 *   read: (told: (share: number) => void) => Promise<Blob> | undefined,
 * }} message `read` fetches it, nothing while it can't; `told` hears what share of it has come
 */
export function player({key, sha256, words, read}) {
  const button = el("button", {type: "button", className: "quiet", "data-voice": key}, words);
  button.addEventListener("click", async () => {
    if (button.disabled) return;
    const blob = read((share) => {
      button.textContent = _("{percent} % loaded", {percent: Math.floor(100 * share)});
    });
    if (!blob) return;
    button.disabled = true;
    try {
      const audio = el("audio", {controls: true, src: URL.createObjectURL(await blob), "data-sha256": sha256});
      button.replaceWith(audio);
      await audio.play();
    } catch {
      button.disabled = false;
      button.textContent = words;
    }
  });
  return button;
}
