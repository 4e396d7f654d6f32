// SPDX-License-Identifier: Apache-2.0
// What is going on with the call, decided: one sentence at a time, the gravest that is true. No DOM, no texts, no clock.

/**
 * What a page knows of the call.
 * - `link`: messages reach the service
 * - `media`: how the endpoint is; null = there is none yet
 * - `away`: the service has lost the other side's page
 * - `mine`, `theirs`: what this side and the other one may send, and why
 * - `quality`: what the service said of both directions
 * - `microphone`: this side's
 * - `silent`: the endpoint stands, but nothing of the other side comes through it any more
 * - `young`: the call has just begun, the link is still being found out
 * @typedef {{
 *   link: boolean,
 *   media: import("./endpoint.js").EndpointState | null,
 *   away: boolean,
 *   mine?: Rung | null,
 *   theirs?: Rung | null,
 *   quality?: import("./wire.js").Quality | null,
 *   microphone?: import("./devices.js").DeviceState,
 *   young?: boolean,
 *   silent?: boolean,
 * }} Situation
 */
/** @typedef {import("./endpoints.js").Rung} Rung */
/**
 * Which sentence; each page has its words for it.
 * @typedef {"all_down" | "other_down" | "media_down" | "microphone_taken" | "other_microphone_taken" | "text_own" |
 *   "text_other" | "text" | "paused_own" | "paused_other" | "paused" | "connecting" | "service_down" | "other_service_down" | "gaps_own" |
 *   "gaps_other" | "gaps" | "stands_own" | "stands_other" | "stands" | "late" | "other_hidden" | "other_muted" |
 *   "paused_wish" | ""} Sentence
 */
/** @typedef {{sentence: Sentence, level: 0 | 1 | 2 | 3}} Verdict level 3: nothing comes through; 2: less than wanted; 1: good to know */

/** Rungs without a moving picture, the lowest first (`media.core.rungs`). */
const WITHOUT_PICTURE = ["text", "voice-min", "voice"];
/** Reasons of the ladder that only links give. */
const OF_A_LINK = ["rate", "queue", "loss", "silence", "brake"];
const QUALITY_WORDS = ["excellent", "good", "fair", "poor", "bad"];

/** Gravest first: the first that is true is said. @type {[Sentence, 1 | 2 | 3, (now: Situation) => boolean][]} */
const VERDICTS = [
  ["all_down", 3, ({link, media}) => !link && media !== "connected"],
  ["other_down", 3, ({away, media}) => away && media !== "connected"],
  ["other_down", 3, ({silent, quality}) => Boolean(silent) && quality?.microphone !== "taken"],
  ["media_down", 3, ({media}) => media === "interrupted"],
  ["microphone_taken", 2, ({microphone}) => microphone === "taken"],
  ["other_microphone_taken", 2, ({quality}) => quality?.microphone === "taken"],
  ["connecting", 1, ({media}) => media !== "connected"],
  ["text_own", 2, (now) => weak(now, "own", ["text"])],
  ["text_other", 2, (now) => weak(now, "other", ["text"])],
  ["text", 2, (now) => weak(now, null, ["text"])],
  ["paused_own", 2, (now) => weak(now, "own", WITHOUT_PICTURE)],
  ["paused_other", 2, (now) => weak(now, "other", WITHOUT_PICTURE)],
  ["paused", 2, (now) => weak(now, null, WITHOUT_PICTURE)],
  ["gaps_own", 2, (now) => bad(now, ["loss", "codec"], "own")],
  ["gaps_other", 2, (now) => bad(now, ["loss", "codec"], "other")],
  ["gaps", 2, (now) => bad(now, ["loss", "codec"])],
  ["service_down", 1, ({link}) => !link],
  ["other_service_down", 1, ({away}) => away],
  ["stands_own", 2, (now) => bad(now, ["frozen", "frame-rate"], "own")],
  ["stands_other", 2, (now) => bad(now, ["frozen", "frame-rate"], "other")],
  ["stands", 2, (now) => bad(now, ["frozen", "frame-rate"])],
  ["paused_wish", 1, ({mine, theirs}) => [mine, theirs].some((each) => each?.reason === "wish" && WITHOUT_PICTURE.includes(each.rung))],
  ["other_muted", 1, ({quality}) => quality?.microphone === "muted"],
  ["other_hidden", 1, ({quality}) => Boolean(quality?.hidden)],
  ["late", 1, ({quality}) => [quality?.mine, quality?.theirs].some((each) => each?.reason === "delay" && rank(each) >= 2)],
];

/**
 * @param {Situation} now
 * @returns {Verdict}
 */
export function verdict(now) {
  const found = VERDICTS.find(([, , when]) => when(now));
  return found ? {sentence: found[0], level: found[1]} : {sentence: "", level: 0};
}

/**
 * Whether a side may send only what is in `rungs`, and it comes from this link.
 * @param {Situation} now @param {"own" | "other" | null} whose null: a link's, but which end of it is weak is not known (from
 *   browser to browser) @param {string[]} rungs
 */
function weak({mine, theirs, young}, whose, rungs) {
  return [mine, theirs].some((each) => each && (each.whose ?? null) === whose && rungs.includes(each.rung) &&
    !(young && each.reason === "start") && (whose !== null || OF_A_LINK.includes(each.reason)));
}

/** Whether the worse direction is poor for one of these reasons. @param {Situation} now @param {string[]} reasons @param {string} [where] */
function bad({quality, young}, reasons, where) {
  if (young) return false; // the first seconds are no measure: the jitter buffer and the rung settle
  const worse = [quality?.mine, quality?.theirs].filter((each) => each !== undefined && each !== null)
    .sort((a, b) => rank(b) - rank(a))[0];
  if (!worse || rank(worse) < 3 || !reasons.includes(worse.reason ?? "none")) return false;
  return where === undefined || worse.where === where;
}

/** @param {{word: string}} one */
const rank = ({word}) => QUALITY_WORDS.indexOf(word);

/** A sentence is read in so long; one that says that nothing comes through is replaced sooner when all is well again. */
const SHOWN_MS = 4_000;
const DOWN_SHOWN_MS = 1_500;

/** Lets sentences stand long enough to be read: graver ones come at once, others wait for their turn. */
export class LinkWords {
  /** What is to be shown. @type {Verdict} */
  shown = {sentence: "", level: 0};
  /** Since when nothing comes through; 0 = it does. */
  since = 0;
  #at = -Infinity;

  /**
   * @param {Situation} now
   * @param {number} at in ms
   * @returns {Verdict}
   */
  look(now, at) {
    const next = verdict(now);
    if (next.level === 3) this.since ||= at;
    const least = !this.shown.level ? 0 : this.shown.level === 3 ? DOWN_SHOWN_MS : SHOWN_MS;
    if (next.sentence !== this.shown.sentence && (next.level > this.shown.level || at - this.#at >= least)) {
      this.shown = next;
      this.#at = at;
    }
    if (this.shown.level !== 3) this.since = next.level === 3 ? this.since : 0;
    return this.shown;
  }

  /** Another call begins. */
  reset() {
    this.shown = {sentence: "", level: 0};
    this.since = 0;
    this.#at = -Infinity;
  }
}

/** How long something has lasted, as a clock says it. @param {number} ms */
export function clock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
