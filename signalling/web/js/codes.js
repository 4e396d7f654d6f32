// SPDX-License-Identifier: Apache-2.0
// Short codes, checked before the server is asked: the mirror of auth/codes.py, which gives the reasons. No DOM.

const ALPHABET = "23456789CFHJKMRTWXY";
const LENGTH = 8;
const SEPARATORS = /[ \t\r\n\u00a0\u2009\u202f\-\u2010-\u2012\u2013\u2014\u2212_./,]/g;
/** @type {Record<string, string>} */
const LOOK_ALIKES = {S: "5", Z: "2", G: "6", B: "8", N: "M"};
const MAX_TYPED_LENGTH = 64;

/**
 * What was typed, in canonical symbols without separators; what no code has stays as it is.
 * @param {string} text
 */
export function normaliseCode(text) {
  const symbols = text.replace(SEPARATORS, "").replace(/[a-z]/g, (letter) => {
    const upper = letter.toUpperCase();
    return ALPHABET.includes(upper) || upper in LOOK_ALIKES ? upper : letter;
  });
  return symbols.replace(/[SZGBN]/g, (letter) => LOOK_ALIKES[letter] ?? letter);
}

/**
 * How far a code has come: `partial` (may become one), `wrong` (a symbol that no code has, too long, or the check
 * symbol says that something is mistyped), or `right`.
 * @param {string} text
 * @returns {"partial" | "wrong" | "right"}
 */
export function checkCode(text) {
  const symbols = normaliseCode(text);
  const known = [...symbols].every((symbol) => ALPHABET.includes(symbol));
  if (text.length > MAX_TYPED_LENGTH || symbols.length > LENGTH || !known) return "wrong";
  if (symbols.length < LENGTH) return "partial";
  const sum = [...symbols].reduce((total, symbol, at) => total + (LENGTH - at) * ALPHABET.indexOf(symbol), 0);
  return sum % ALPHABET.length === 0 ? "right" : "wrong";
}

/** A code as people write it, `XXXX-XXXX`. @param {string} text */
export function groupCode(text) {
  const symbols = normaliseCode(text);
  return symbols.length > 4 ? `${symbols.slice(0, 4)}-${symbols.slice(4)}` : symbols;
}
