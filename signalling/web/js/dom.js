// SPDX-License-Identifier: Apache-2.0
// What the pages do with the document. Together with pages/, the only place that knows it.

/**
 * The element with this id; it must exist.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function $(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/**
 * A new element: properties, then children (texts are texts, never markup).
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [properties] DOM properties; with a dash or of `role`, attributes
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, String(value));
    else if (value !== undefined) Object.assign(element, {[name]: value});
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets a text only if it changed, so that live regions don't repeat it. @param {string} id @param {string} text */
export function say(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} id @param {boolean} yes */
export function show(id, yes) {
  $(id).hidden = !yes;
}

/**
 * Calls for each click; a promise that it returns makes the button wait.
 * @param {string} id
 * @param {(event: Event) => unknown} action
 */
export function onclick(id, action) {
  const button = $(id);
  button.addEventListener("click", async (event) => {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await action(event);
    } finally {
      button.ariaBusy = "false";
    }
  });
}

/**
 * Shows one state's section (`<section data-in="state …">`) and moves the focus to its heading, so that a screen reader
 * says where we are.
 * @param {string} state
 */
export function enter(state) {
  if (document.body.dataset["state"] === state) return;
  document.body.dataset["state"] = state;
  /** @type {HTMLElement | null} */
  let heading = null;
  let moved = false;
  for (const section of document.querySelectorAll("[data-in]")) {
    if (!(section instanceof HTMLElement)) continue;
    const here = section.dataset["in"]?.split(" ").includes(state) ?? false;
    if (here && !heading) {
      heading = section.querySelector("h1, h2");
      moved = Boolean(section.hidden);
    }
    section.hidden = !here;
  }
  if (!heading || !moved) return; // the same section in another state: whoever writes a message goes on writing
  heading.tabIndex = -1;
  heading.focus({preventScroll: true});
  scrollTo(0, 0);
}
