// SPDX-License-Identifier: Apache-2.0
// Photographs and voice messages as the specialist sees them: a picture sharpens as it comes.

import {$, el, say, show} from "../dom.js";
import {_} from "../i18n.js";
import {player} from "../player.js";
import {dialog, timeOfDay} from "./staff.js";

/** @import {Contents} from "../content.js" */
/** @import {ContentView} from "../wire.js" */
/** @typedef {{at: number, author?: string, by?: string | undefined, key?: string, content?: ContentView}} Said a line of the timeline or of messages */

/** An automatic picture older than this says nothing about now. */
const AUTO_SHOWN_MS = 45_000;

/** The pictures and messages of one consult. */
export class Pictures {
  #consult;
  #contents;
  #mine;
  /** @type {Map<string, Sharpening>} */
  #pictures = new Map();
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #seen = new Set();
  #autoUntil = 0;

  /**
   * @param {string} consult
   * @param {() => Contents | null} contents
   * @param {(line: Said) => string} who the author of a line in words; empty = oneself
   */
  constructor(consult, contents, who) {
    this.#consult = consult;
    this.#contents = contents;
    this.#mine = who;
  }

  /** Whether a line has a row of its own: a picture has one, however many layers it comes in. @param {Said} line */
  take(line) {
    const {content, key = ""} = line;
    if (!content) return true;
    const group = content.previewOf || key;
    const first = !this.#rows.has(group) || this.#rows.get(group)?.dataset["first"] === key;
    if (!this.#seen.has(key)) {
      this.#seen.add(key);
      if (content.kind === "still") void this.#picture(group).load(this.#contents, {...content, consult: this.#consult, key});
    }
    return first;
  }

  /** @param {Said} line of content @returns {HTMLElement} */
  row(line) {
    const {content, key = ""} = /** @type {Said & {content: ContentView}} */ (line);
    const group = content.previewOf || key;
    const known = this.#rows.get(group);
    if (known) return known;
    const who = this.#mine(line);
    const body = content.kind === "still" ? this.#picture(group).element : this.#player(key, content);
    const row = el("li", {className: who ? "line" : "line mine", "data-content": group, "data-first": key},
      el("span", {className: "unseen"}, who || _("You"), ": "), body, el("span", {className: "at"}, timeOfDay(line.at)));
    this.#rows.set(group, row);
    return row;
  }

  /** @param {any} progress `content_progress` */
  progress(progress) {
    if (progress.consult !== this.#consult) return;
    if (progress.kind === "auto_still") void this.#auto(progress);
    else if (!progress.previewOf) this.#pictures.get(progress.key)?.arriving(progress.received / progress.bytes);
  }

  /** Hides an automatic picture that is old. */
  tick() {
    if (this.#autoUntil && Date.now() > this.#autoUntil) {
      this.#autoUntil = 0;
      show("auto-still", false);
    }
  }

  close() {
    this.#autoUntil = 0;
    show("auto-still", false);
  }

  /** @param {string} group */
  #picture(group) {
    const picture = this.#pictures.get(group) ?? new Sharpening(group);
    this.#pictures.set(group, picture);
    return picture;
  }

  /** @param {string} key @param {ContentView} content */
  #player(key, content) {
    const seconds = Math.max(1, Math.round((content.durationMs ?? 0) / 1000));
    const words = _("Play the message ({seconds} s)", {seconds});
    const read = (/** @type {(share: number) => void} */ told) =>
      this.#contents()?.read({...content, consult: this.#consult, key}, told);
    return player({key, sha256: content.sha256, words, read});
  }

  /** @param {any} progress of an automatic picture, which is whole */
  async #auto({key, bytes}) {
    const contents = this.#contents();
    if (!contents) return;
    try {
      const blob = await contents.read({consult: this.#consult, key, bytes, mime: "image/jpeg"});
      const figure = $("auto-still");
      const image = /** @type {HTMLImageElement} */ (figure.querySelector("img"));
      URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(blob);
      const caption = /** @type {HTMLElement} */ (figure.querySelector("figcaption"));
      caption.textContent = _("Picture of {time}", {time: new Date().toLocaleTimeString(document.documentElement.lang, {hourCycle: "h23"})});
      this.#autoUntil = Date.now() + AUTO_SHOWN_MS;
      show("auto-still", true);
    } catch {
      // replaced by a newer one meanwhile
    }
  }
}

/** One photograph that comes in layers. */
class Sharpening {
  element;
  #image = el("img", {alt: _("Photograph by the patient")});
  #bar = el("progress", {max: 1, hidden: true});
  #words = el("span", {className: "hint"}, _("A photograph is coming …"));
  #best = 0;
  #group;

  /** @param {string} group the key of the sharp one */
  constructor(group) {
    this.#group = group;
    this.#image.addEventListener("load", () => {
      // The picture has grown; whoever read the newest line sees it whole.
      const row = this.element.closest("li");
      if (row?.parentElement && !row.nextElementSibling) row.parentElement.scrollTop = row.parentElement.scrollHeight;
    });
    const button = el("button", {type: "button", className: "photo", "aria-label": _("Enlarge the photograph")}, this.#image);
    button.addEventListener("click", () => enlarge(this.#group, this.#image.src, this.element.dataset["sharp"] === "true"));
    this.element = el("span", {className: "photo-line", "data-photo": group, "data-sharp": "false"}, button, this.#bar, this.#words);
  }

  /** @param {number} share of the sharp one that has arrived at the server */
  arriving(share) {
    if (this.element.dataset["sharp"] === "true") return;
    this.#bar.hidden = false;
    this.#bar.value = share;
    this.#words.textContent = _("The sharp picture is coming: {percent} %", {percent: Math.floor(100 * share)});
  }

  /** @param {() => Contents | null} contents @param {{consult: string, key: string, bytes: number, sha256: string, mime: string}} layer */
  async load(contents, layer) {
    const sharp = layer.key === this.#group;
    for (let tries = 0; tries < 5; tries++) {
      try {
        const blob = await contents()?.read(layer, (share) => sharp && this.arriving(share));
        if (!blob) return;
        if (layer.bytes <= this.#best) return;
        this.#best = layer.bytes;
        URL.revokeObjectURL(this.#image.src);
        this.#image.src = URL.createObjectURL(blob);
        const enlarged = /** @type {HTMLImageElement} */ ($("enlarged"));
        if (enlarged.dataset["photo"] === this.#group) enlarged.src = this.#image.src; // it sharpens under the eye
        if (!sharp) return;
        this.element.dataset["sharp"] = "true";
        this.element.dataset["sha256"] = layer.sha256;
        this.#bar.hidden = true;
        this.#words.textContent = _("Sharp. Tap to enlarge.");
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 2_000 * (tries + 1)));
      }
    }
    this.#words.textContent = _("The picture can't be loaded.");
  }
}

/** @param {string} group @param {string} src @param {boolean} sharp */
function enlarge(group, src, sharp) {
  if (!src) return;
  const image = /** @type {HTMLImageElement} */ ($("enlarged"));
  image.dataset["photo"] = group;
  image.src = src;
  image.className = "";
  image.onclick = () => image.classList.toggle("actual");
  say("picture-hint", sharp ? _("Tap the picture to see its real size.") : _("Not sharp yet."));
  dialog("picture").showModal();
}
