// SPDX-License-Identifier: Apache-2.0
// The golden samples of tests/wire/golden against the typedefs of wire.js: JavaScript and Python mean the same wire.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import { CLOSE_CODES, PROTOCOL_VERSIONS, RETRY_CODES } from "../../signalling/web/js/wire.js";

const WIRE = readFileSync(new URL("../../signalling/web/js/wire.js", import.meta.url), "utf8");
const GOLDEN = new URL("../wire/golden/", import.meta.url);

/** @typedef {{type: string, required: boolean}} Property */

/** @type {Map<string, Map<string, Property>>} */
const objects = new Map();
/** @type {Map<string, string>} */
const aliases = new Map();

for (const [, comment] of WIRE.matchAll(/\/\*\*(.*?)\*\//gs)) {
  const typedef = /@typedef \{(.+)\} (\w+)/.exec(comment ?? "");
  if (!typedef) continue;
  const [, type = "", name = ""] = typedef;
  if (type !== "object") {
    aliases.set(name, type);
    continue;
  }
  /** @type {Map<string, Property>} */
  const properties = new Map();
  for (const line of (comment ?? "").matchAll(/@property \{(.+?)\} (\[?)(\w+)/g)) {
    properties.set(line[3] ?? "", { type: line[1] ?? "", required: line[2] === "" });
  }
  objects.set(name, properties);
}

/**
 * Whether `value` is what the type expression says; the expressions are those that the generator writes.
 * @param {unknown} value
 * @param {string} type
 * @returns {boolean}
 */
function is(value, type) {
  const group = /^\((.+)\)\[\]$/.exec(type);
  if (group) return Array.isArray(value) && value.every((item) => is(item, group[1] ?? ""));
  if (type.includes("|")) return type.split("|").some((part) => is(value, part));
  if (type.endsWith("[]")) return Array.isArray(value) && value.every((item) => is(item, type.slice(0, -2)));
  const record = /^Record<string, (.+)>$/.exec(type);
  if (record) return isObject(value) && Object.values(value).every((item) => is(item, record[1] ?? ""));
  if (/^["\d]/.test(type)) return value === JSON.parse(type);
  if (type === "null") return value === null;
  if (["string", "number", "boolean"].includes(type)) return typeof value === type;
  const alias = aliases.get(type);
  if (alias) return is(value, alias);
  const properties = objects.get(type);
  assert.ok(properties, `no typedef ${type}`);
  return isObject(value) && fits(value, properties);
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param {Record<string, unknown>} value
 * @param {Map<string, Property>} properties
 */
function fits(value, properties) {
  if (Object.keys(value).some((name) => !properties.has(name))) return false;
  return [...properties].every(([name, property]) =>
    name in value ? is(value[name], property.type) : !property.required,
  );
}

/** @param {string} side */
const samples = (side) =>
  readdirSync(GOLDEN)
    .filter((name) => name.startsWith(`${side}.`))
    .map((name) => ({ name, message: JSON.parse(readFileSync(new URL(name, GOLDEN), "utf8")) }));

for (const [side, union] of /** @type {const} */ ([["client", "ClientMessage"], ["server", "ServerMessage"]])) {
  const members = (aliases.get(union) ?? "").split("|");
  const tags = members.map((name) => JSON.parse(objects.get(name)?.get("type")?.type ?? '""'));

  test(`every ${side} message has a sample and a typedef`, () => {
    assert.deepEqual(samples(side).map(({ message }) => message.type).sort(), tags.sort());
  });

  for (const { name, message } of samples(side)) {
    test(`${name} is what its typedef says, and nothing else`, () => {
      assert.ok(is(message, union));
      assert.ok(!is({ ...message, unheardOf: 1 }, union), "an unknown property must not fit");
      assert.ok(!is({ ...message, type: "unheard_of" }, union), "an unknown type must not fit");
    });
  }
}

test("close codes and retry codes are codes", () => {
  for (const code of [...Object.values(CLOSE_CODES), ...RETRY_CODES]) assert.ok(is(code, "Code"), code);
  assert.ok(Object.keys(CLOSE_CODES).every((close) => Number(close) >= 4000 && Number(close) < 5000));
  assert.ok(PROTOCOL_VERSIONS.length > 0);
});
