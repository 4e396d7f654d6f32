// SPDX-License-Identifier: Apache-2.0
// A JPEG with the picture alone. No DOM.

const SOS = 0xda;
/** Application segments that say how to show the picture: JFIF, colour profile, Adobe's transform. @type {Record<number, string>} */
const KEPT = {0xe0: "JFIF", 0xe2: "ICC_PROFILE", 0xee: "Adobe"};

/**
 * Leaves out everything that is not the picture: some browsers' canvases write EXIF, if only with the picture's size. The
 * server refuses it, since EXIF is where a place would be.
 * @param {Uint8Array} jpeg
 * @returns {Uint8Array}
 * @throws {RangeError} it is no JPEG
 */
export function bare(jpeg) {
  const parts = [jpeg.subarray(0, 2)];
  if (jpeg[0] !== 0xff || jpeg[1] !== 0xd8) throw new RangeError("no JPEG");
  let at = 2;
  while (at + 4 <= jpeg.length) {
    if (jpeg[at] !== 0xff) throw new RangeError("no JPEG");
    const marker = /** @type {number} */ (jpeg[at + 1]);
    if (marker === 0xff) {
      at++;
      continue;
    }
    if (marker === SOS) {
      parts.push(jpeg.subarray(at));
      return join(parts);
    }
    const end = at + 2 + ((/** @type {number} */ (jpeg[at + 2]) << 8) | /** @type {number} */ (jpeg[at + 3]));
    const name = KEPT[marker];
    const begins = String.fromCharCode(...jpeg.subarray(at + 4, at + 4 + (name?.length ?? 0)));
    const application = (marker & 0xf0) === 0xe0 || marker === 0xfe;
    if (!application || (name && begins === name)) parts.push(jpeg.subarray(at, end));
    at = end;
  }
  throw new RangeError("no JPEG");
}

/** @param {Uint8Array[]} parts */
function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
