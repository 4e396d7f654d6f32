// SPDX-License-Identifier: Apache-2.0
// What is said of a call, for what is known of it; and that sentences stand long enough to be read.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import test from "node:test";
import {LinkWords, clock, verdict} from "../../signalling/web/js/link_words.js";

/** @import {Situation} from "../../signalling/web/js/link_words.js" */

/** @type {Situation} */
const well = {link: true, media: "connected", away: false};
/** @param {string} rung @param {string} reason @param {import("../../signalling/web/js/endpoints.js").Whose} [whose] */
const may = (rung, reason, whose = null) => ({rung, reason, whose});
/** @param {Partial<import("../../signalling/web/js/wire.js").Quality>} more @returns {any} */
const quality = (more) => ({type: "quality", consult: "c", ...more});

/** @type {[string, string, number, Partial<Situation>][]} */
const TABLE = [
  ["all is well", "", 0, {}],
  ["nothing reaches anybody", "all_down", 3, {link: false, media: "interrupted"}],
  ["nothing, and the other side is away too", "all_down", 3, {link: false, media: "interrupted", away: true}],
  ["nothing at the start", "all_down", 3, {link: false, media: null}],
  ["the other side is gone", "other_down", 3, {away: true, media: "interrupted"}],
  ["the other side is gone before there was media", "other_down", 3, {away: true, media: null}],
  ["nothing comes of the other side, whatever was last said of its link", "other_down", 3,
    {silent: true, theirs: may("voice", "queue", "other"), mine: may("voice", "silence", "other")}],
  ["nothing comes of the other side, and its page is gone too", "other_down", 3, {silent: true, away: true}],
  ["nothing comes of the other side: a phone call there", "other_microphone_taken", 2,
    {silent: true, quality: quality({microphone: "taken"})}],
  ["media broke, messages go", "media_down", 3, {media: "interrupted"}],
  ["a phone call here", "microphone_taken", 2, {microphone: "taken", quality: quality({microphone: "taken"})}],
  ["a phone call there", "other_microphone_taken", 2, {quality: quality({microphone: "taken"})}],
  ["a phone call here while the link is down", "all_down", 3, {microphone: "taken", link: false, media: null}],
  ["it begins", "connecting", 1, {media: "connecting"}],
  ["there is nothing yet", "connecting", 1, {media: null}],
  ["my link carries no voice", "text_own", 2, {mine: may("text", "rate", "own")}],
  ["their link carries no voice", "text_other", 2, {theirs: may("text", "loss", "other")}],
  ["my link, my picture", "paused_own", 2, {mine: may("voice", "rate", "own")}],
  ["my link, their picture", "paused_own", 2, {theirs: may("voice", "watcher", "own")}],
  ["my page's brake", "paused_own", 2, {mine: may("voice-min", "brake", "own")}],
  ["their link, their picture", "paused_other", 2, {theirs: may("voice", "queue", "other")}],
  ["their link, my picture", "paused_other", 2, {mine: may("voice", "watcher", "other")}],
  ["an outage there, my picture", "paused_other", 2, {mine: may("voice", "silence", "other")}],
  ["an outage here, their picture", "paused_own", 2, {theirs: may("voice", "silence", "own")}],
  ["a rung of mine that the other's link keeps low, whatever was last done within it", "paused_other", 2, {mine: may("voice", "proved", "other")}],
  ["a brake of theirs is their link's", "paused_other", 2, {theirs: may("voice", "brake", "other")}],
  ["theirs, copies of the voice on my link", "paused_own", 2, {theirs: may("voice", "redundancy", "own")}],
  ["nobody's link is blamed where nobody said whose", "paused", 2, {mine: may("voice", "rate"), theirs: may("text", "proved")}],
  ["at the start nothing is known of the link", "", 0, {mine: may("voice", "start", "own"), theirs: may("voice", "start", "other"), young: true}],
  ["a start that goes no further", "paused_own", 2, {mine: may("voice", "start", "own")}],
  ["a link that sinks at once", "paused_own", 2, {mine: may("voice", "rate", "own"), young: true}],
  ["a small picture is a picture", "", 0, {mine: may("glimpse", "rate", "own"), theirs: may("small", "watcher", "own")}],
  ["nor with the voice gone", "text", 2, {theirs: may("text", "rate")}],
  ["a rung that is climbed from is no trouble", "", 0, {mine: may("voice", "proved")}],
  ["a picture that is not wanted", "paused_wish", 1, {theirs: may("voice", "wish")}],
  ["messages don't go, voice does", "service_down", 1, {link: false}],
  ["the other page has lost the service, voice goes", "other_service_down", 1, {away: true}],
  ["gaps by my link", "gaps_own", 2, {quality: quality({mine: {word: "poor", reason: "loss", where: "own"}})}],
  ["gaps by their link", "gaps_other", 2, {quality: quality({theirs: {word: "bad", reason: "loss", where: "other"}})}],
  ["gaps in the first seconds", "", 0, {young: true, quality: quality({mine: {word: "bad", reason: "loss", where: "own"}})}],
  ["gaps by nobody's link", "gaps", 2, {quality: quality({mine: {word: "poor", reason: "loss", where: "server"}})}],
  ["gaps, and nobody knows whose", "gaps", 2, {quality: quality({mine: {word: "poor", reason: "codec"}})}],
  ["the worse direction counts", "stands_other", 2, {quality: quality({
    mine: {word: "poor", reason: "loss", where: "own"}, theirs: {word: "bad", reason: "frozen", where: "other"},
  })}],
  ["a picture that stands, by my link", "stands_own", 2, {quality: quality({mine: {word: "bad", reason: "frozen", where: "own"}})}],
  ["a slow picture", "stands", 2, {quality: quality({mine: {word: "poor", reason: "frame-rate", where: "both"}})}],
  ["fair is good enough to say nothing", "", 0, {quality: quality({mine: {word: "fair", reason: "loss", where: "own"}})}],
  ["a satellite", "late", 1, {quality: quality({mine: {word: "fair", reason: "delay", where: "own"}})}],
  ["the other one is muted", "other_muted", 1, {quality: quality({microphone: "muted"})}],
  ["the other one looks elsewhere", "other_hidden", 1, {quality: quality({hidden: true})}],
  ["a paused picture says more than gaps", "paused_own", 2, {
    mine: may("voice", "rate", "own"), quality: quality({mine: {word: "bad", reason: "loss", where: "own"}}),
  }],
];

for (const [name, sentence, level, more] of TABLE) {
  test(`${name}: ${sentence || "nothing"}`, () => {
    assert.deepEqual(verdict({...well, ...more}), {sentence, level});
  });
}

test("both pages have words for every sentence, and the table above says each of them", () => {
  const said = new Set(TABLE.map(([, sentence]) => sentence).filter(Boolean));
  const source = readFileSync(new URL("../../signalling/web/js/link_words.js", import.meta.url), "utf8");
  const known = new Set([...source.matchAll(/^ {2}\["(\w+)", [123],/gm)].map((match) => match[1] ?? ""));
  assert.deepEqual([...said].sort(), [...known].sort());
  for (const page of ["patient_status", "specialist_call"]) {
    const text = readFileSync(new URL(`../../signalling/web/js/pages/${page}.js`, import.meta.url), "utf8");
    for (const sentence of known) assert.match(text, new RegExp(`^ {2}${sentence}: _\\("`, "m"), `${page}: ${sentence}`);
  }
});

test("a graver sentence comes at once, a lighter one when this one could be read", () => {
  const words = new LinkWords();
  const say = (/** @type {Partial<Situation>} */ more, /** @type {number} */ at) => words.look({...well, ...more}, at).sentence;
  assert.equal(say({}, 0), "");
  assert.equal(say({quality: quality({hidden: true})}, 100), "other_hidden");
  assert.equal(say({mine: may("voice", "rate", "own")}, 200), "paused_own");
  assert.equal(say({}, 300), "paused_own");
  assert.equal(say({media: "interrupted"}, 400), "media_down");
  assert.equal(say({}, 900), "media_down", "a blink of an outage");
  assert.equal(say({media: "interrupted"}, 1_000), "media_down");
  assert.equal(say({}, 2_000), "");
  assert.equal(say({mine: may("voice", "rate", "own")}, 2_100), "paused_own");
  assert.equal(say({}, 6_000), "paused_own");
  assert.equal(say({}, 6_100), "");
});

test("an outage is timed from its beginning, whatever is said of it meanwhile", () => {
  const words = new LinkWords();
  const look = (/** @type {Partial<Situation>} */ more, /** @type {number} */ at) => words.look({...well, ...more}, at);
  look({}, 0);
  assert.equal(words.since, 0);
  look({media: "interrupted"}, 1_000);
  look({media: "interrupted", away: true}, 5_000);
  look({media: "interrupted", link: false}, 9_000);
  assert.equal(words.since, 1_000);
  look({}, 12_000);
  assert.equal(words.since, 0);
  look({media: "interrupted"}, 20_000);
  assert.equal(words.since, 20_000);
});

test("sentences don't change more often than they can be read, whatever the link does", () => {
  const words = new LinkWords();
  const states = [{}, {mine: may("voice", "rate", "own")}, {quality: quality({hidden: true})}, {theirs: may("voice", "loss", "other")}];
  let changes = 0;
  let before = "";
  for (let at = 0; at < 60_000; at += 250) {
    const {sentence} = words.look({...well, ...states[(at / 250 * 7) % 4]}, at);
    if (sentence !== before) changes++;
    before = sentence;
  }
  assert.ok(changes <= 30, `${changes} changes in a minute`);
});

test("a clock", () => {
  assert.deepEqual([0, 999, 65_000, 600_000, -5].map(clock), ["0:00", "0:00", "1:05", "10:00", "0:00"]);
});
