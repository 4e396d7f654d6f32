// SPDX-License-Identifier: Apache-2.0
// The first screen of a patient with a link, alive before the rest of the page has come: on 24 kbit/s that is 4 s later.

import {wayBack} from "../arrival.js";
import {canCall, canCapture} from "../capabilities.js";
import {$, enter} from "../dom.js";

/** The rest of the page is 13 KB; whoever still hasn't got it then gets it by a new connection. */
const REST_WITHIN_MS = 30_000;

if (canCall() && (canCapture() || !isSecureContext) && location.hash.length > 1 && !wayBack()) {
  enter("join");
  // The state is the memory: the door, when it has come, goes on with the tap.
  $("join").addEventListener("click", () => {
    enter("joining");
    setTimeout(() => document.body.dataset["whole"] ?? location.reload(), REST_WITHIN_MS);
  });
}
