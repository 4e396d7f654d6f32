// SPDX-License-Identifier: Apache-2.0
// The patient's photograph: aim, take, look at it, and only then send it or not.

import {el} from "../dom.js";
import {_} from "../i18n.js";
import {develop, open, take} from "../stills.js";

/** @typedef {import("../stills.js").Picture} Picture */

/** What the dialog's own camera is asked for: the back one, as sharp as it can. @type {MediaTrackConstraints} */
const SHARP_CAMERA = {facingMode: {ideal: "environment"}, width: {ideal: 4_096}, height: {ideal: 2_160}};

/** The dialog in which a photograph is taken. */
export class Shot {
  #options;
  #title = el("h2");
  #note = el("p");
  #aim = el("video", {autoplay: true, playsInline: true, muted: true});
  #look = el("img", {alt: _("Your photograph")});
  #file = el("input", {type: "file", accept: "image/*", hidden: true});
  #buttons;
  #dialog;
  /** The dialog's own camera, where none was open. @type {MediaStreamTrack | null} */
  #own = null;
  /** @type {{sharp: Picture, previews: Picture[]} | null} */
  #picture = null;
  #asked = false;

  /**
   * @param {{
   *   camera: () => MediaStreamTrack | null,
   *   flip: () => Promise<void>,
   *   send: (picture: {sharp: Picture, previews: Picture[]}) => void,
   *   step: (step: import("../wire.js").StillStep) => void,
   * }} options `camera`: the one that is open already; `step`: told to the specialist who asked
   */
  constructor(options) {
    this.#options = options;
    this.#file.setAttribute("capture", "environment");
    const button = (/** @type {string} */ id, /** @type {string} */ words, /** @type {string} */ className, /** @type {() => unknown} */ action) => {
      const made = el("button", {id, type: "button", className}, words);
      made.addEventListener("click", async () => {
        if (made.ariaBusy === "true") return;
        made.ariaBusy = "true";
        await action();
        made.ariaBusy = "false";
      });
      return made;
    };
    this.#buttons = {
      take: button("shot-take", _("Take the picture"), "", () => this.#take()),
      send: button("shot-send", _("Send it"), "", () => this.#send()),
      again: button("shot-again", _("Take another one"), "quiet", () => this.#begin()),
      flip: button("shot-flip", _("Other camera"), "quiet", () => this.#flip()),
      file: button("shot-file", _("Use the phone's camera app"), "quiet", () => this.#file.click()),
      no: button("shot-no", _("Don't send"), "quiet", () => this.close(true)),
    };
    this.#file.addEventListener("change", () => void this.#chosen());
    this.#dialog = el("dialog", {id: "shot", "aria-labelledby": "shot-title"},
      this.#title, this.#note, this.#aim, this.#look, ...Object.values(this.#buttons), this.#file);
    this.#title.id = "shot-title";
    this.#dialog.addEventListener("cancel", () => this.close(true));
    document.body.append(this.#dialog);
  }

  /** @param {boolean} asked whether the specialist asked for it */
  async show(asked) {
    this.#asked ||= asked;
    this.#title.textContent = this.#asked ? _("The specialist asks for a photograph") : _("Send a photograph");
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    await this.#begin();
  }

  /** @param {boolean} refused the patient doesn't want to */
  close(refused) {
    if (refused && this.#asked) this.#options.step("declined");
    this.#asked = false;
    this.#own?.stop();
    this.#own = null;
    this.#picture = null;
    this.#aim.srcObject = null;
    if (this.#look.src) URL.revokeObjectURL(this.#look.src);
    this.#look.removeAttribute("src");
    if (this.#dialog.open) this.#dialog.close();
  }

  async #begin() {
    this.#picture = null;
    this.#render(_("Hold the phone still, near and in good light."));
    const track = this.#options.camera() ?? (await this.#openOwn());
    this.#aim.srcObject = track ? new MediaStream([track]) : null;
    this.#render(track
      ? _("Hold the phone still, near and in good light.")
      : _("The camera is not open here. Use the phone's camera app."));
  }

  async #openOwn() {
    if (this.#own?.readyState === "live") return this.#own;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({video: SHARP_CAMERA});
      if (!this.#dialog.open) return void stream.getTracks().forEach((track) => track.stop());
      this.#own = stream.getVideoTracks()[0] ?? null;
    } catch {
      this.#own = null;
    }
    return this.#own;
  }

  async #flip() {
    await this.#options.flip();
    await this.#begin();
  }

  async #take() {
    const track = this.#options.camera() ?? this.#own;
    if (!track) return;
    try {
      await this.#show(await take(track));
    } catch {
      this.#render(_("That did not work. Try once more, or use the phone's camera app."));
    }
  }

  async #chosen() {
    const file = this.#file.files?.[0];
    this.#file.value = "";
    if (!file) return;
    try {
      await this.#show(await open(file));
    } catch {
      this.#render(_("This picture can't be read. Please take another one."));
    }
  }

  /** @param {ImageBitmap} bitmap */
  async #show(bitmap) {
    const picture = await develop(bitmap);
    bitmap.close();
    if (!this.#dialog.open) return;
    this.#picture = picture;
    if (this.#asked) this.#options.step("taking");
    if (this.#look.src) URL.revokeObjectURL(this.#look.src);
    this.#look.src = URL.createObjectURL(picture.sharp.blob);
    this.#render(_("Is it sharp? Only the picture is sent: no place, no time, nothing else from your phone."));
  }

  #send() {
    if (!this.#picture) return;
    this.#options.send(this.#picture);
    this.#asked = false;
    this.close(false);
  }

  /** @param {string} note */
  #render(note) {
    const taken = this.#picture !== null;
    const aims = !taken && this.#aim.srcObject !== null;
    this.#note.textContent = note;
    this.#aim.hidden = !aims;
    this.#look.hidden = !taken;
    const {take: shoot, send, again, flip, file, no} = this.#buttons;
    shoot.hidden = !aims;
    send.hidden = again.hidden = !taken;
    flip.hidden = !aims || this.#options.camera() === null;
    file.hidden = taken;
    file.className = aims ? "quiet" : "";
    no.textContent = taken ? _("Don't send") : _("Not now");
  }
}
