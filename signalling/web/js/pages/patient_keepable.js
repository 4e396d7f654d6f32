// SPDX-License-Identifier: Apache-2.0
// What was said at the end, to be kept by the patient.

import {$, onclick, show} from "../dom.js";

/** From now on the outcome can be printed, shared or saved. */
export function keepable() {
  onclick("print", () => print());
  onclick("save", async () => {
    const text = ["endwho", "outcome", "summary"].map((id) => $(id).textContent).filter(Boolean).join("\n\n");
    if (navigator.share) {
      await navigator.share({text}).catch(() => {}); // closed without sharing
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/plain"}));
    link.download = "selat.txt";
    link.click();
  });
  show("print", true);
  show("save", true);
}
