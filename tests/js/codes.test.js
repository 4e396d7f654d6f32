// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {test} from "node:test";

import {checkCode, groupCode, normaliseCode} from "../../signalling/web/js/codes.js";

const golden = JSON.parse(readFileSync(new URL("../wire/golden/codes.json", import.meta.url), "utf8"));

test("every right code is right, however it was typed, and is written as the server writes it", () => {
  assert.ok(golden.valid.length > 20);
  for (const {typed, code} of golden.valid) {
    assert.equal(checkCode(typed), "right", typed);
    assert.equal(groupCode(typed), code);
  }
});

test("no wrong code is right", () => {
  assert.ok(golden.invalid.length > 20);
  for (const {typed} of golden.invalid) assert.notEqual(checkCode(typed), "right", typed);
});

test("a beginning of a code is no mistake yet, a sign that no code has is one at once", () => {
  assert.equal(checkCode("3W5"), "partial");
  assert.equal(checkCode(""), "partial");
  assert.equal(checkCode("3W0"), "wrong");
  assert.equal(normaliseCode("3w5w 8kj6"), "3W5W8KJ6");
});
