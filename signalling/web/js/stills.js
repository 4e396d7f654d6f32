// SPDX-License-Identifier: Apache-2.0
// Photographs from the camera: taken at full resolution, re-encoded so that nothing but the picture is left.

import {bare} from "./jpeg.js";

/** @typedef {{blob: Blob, width: number, height: number}} Picture */

/** The longest side of a photograph; 4096 shows a rash as a 12-megapixel camera does. */
const SHARP_PX = 4_096;
const SHARP_QUALITY = 0.9;
/** What is seen first: 2–4 KB, a second at 32 kbit/s; then 30 KB. */
const LAYERS = [{px: 160, quality: 0.5}, {px: 640, quality: 0.7}];
/** What the server takes (8 MiB), with room. */
const MOST_BYTES = 8_000_000;
/** Automatic pictures: the first of these that is small enough for the little that voice leaves, else the last. */
const AUTO_SIZES = [{px: 320, quality: 0.45}, {px: 240, quality: 0.4}, {px: 160, quality: 0.4}];
const AUTO_FIT_BYTES = 6_000;
const AUTO_MOST_BYTES = 24_000;
/** A camera that doesn't deliver in this time is asked for what it shows instead. */
const TAKE_WITHIN_MS = 6_000;

/**
 * Takes a photograph with the camera's whole resolution if the browser can, else what the camera shows just now.
 * @param {MediaStreamTrack} track
 * @returns {Promise<ImageBitmap>}
 */
export async function take(track) {
  const Capture = /** @type {any} */ (globalThis).ImageCapture;
  if (Capture) {
    try {
      const late = new Promise((_resolve, reject) => setTimeout(() => reject(new Error("late")), TAKE_WITHIN_MS));
      return await open(await Promise.race([new Capture(track).takePhoto(), late]));
    } catch {
      // some cameras can't while they film
    }
  }
  return grab(track);
}

/** What the camera shows now. @param {MediaStreamTrack} track @returns {Promise<ImageBitmap>} */
export async function grab(track) {
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = new MediaStream([track]);
  try {
    await video.play();
    return await createImageBitmap(video);
  } finally {
    video.srcObject = null;
  }
}

/** A picture from a file or a camera, upright. @param {Blob} blob @returns {Promise<ImageBitmap>} */
export function open(blob) {
  return createImageBitmap(blob, {imageOrientation: "from-image"});
}

/**
 * The photograph to send, and its previews, the smallest first.
 * @param {ImageBitmap} bitmap
 * @returns {Promise<{sharp: Picture, previews: Picture[]}>}
 */
export async function develop(bitmap) {
  const longest = Math.max(bitmap.width, bitmap.height);
  let sharp = await encode(bitmap, SHARP_PX, SHARP_QUALITY);
  for (const [px, quality] of [[SHARP_PX, 0.75], [2_560, 0.75], [1_600, 0.7]]) {
    if (sharp.blob.size <= MOST_BYTES) break;
    sharp = await encode(bitmap, /** @type {number} */ (px), /** @type {number} */ (quality));
  }
  const previews = [];
  for (const {px, quality} of LAYERS) if (longest > px * 1.5) previews.push(await encode(bitmap, px, quality));
  return {sharp, previews: previews.filter((each) => each.blob.size < sharp.blob.size / 3)};
}

/** A small picture in the stead of video; null if it can't be small enough. @param {MediaStreamTrack} track */
export async function small(track) {
  const bitmap = await grab(track);
  /** @type {Picture | null} */
  let picture = null;
  for (const {px, quality} of AUTO_SIZES) {
    picture = await encode(bitmap, px, quality);
    if (picture.blob.size <= AUTO_FIT_BYTES) break;
  }
  bitmap.close();
  return picture && picture.blob.size <= AUTO_MOST_BYTES ? picture : null;
}

/** @param {ImageBitmap} bitmap @param {number} px the longest side at most @param {number} quality @returns {Promise<Picture>} */
async function encode(bitmap, px, quality) {
  const scale = Math.min(1, px / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no canvas");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((/** @type {(blob: Blob | null) => void} */ resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
  if (!blob) throw new Error("no picture");
  const {width, height} = canvas;
  canvas.width = canvas.height = 0; // phones run out of memory for canvases
  const picture = /** @type {any} */ (bare(new Uint8Array(await blob.arrayBuffer())));
  return {blob: new Blob([picture], {type: "image/jpeg"}), width, height};
}
