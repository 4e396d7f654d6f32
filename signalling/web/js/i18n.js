// SPDX-License-Identifier: Apache-2.0
// Texts in the page's language. No DOM.

/**
 * A text. `_("…")` with a literal in double quotes is found by the catalogues and replaced by its translation when the
 * page is rendered; `{name}` in it stands for a value.
 * @param {string} text
 * @param {Record<string, string | number>} [values]
 */
export function _(text, values) {
  return values ? text.replace(/{(\w+)}/g, (_all, name) => String(values[name])) : text;
}
