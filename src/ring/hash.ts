// The hash behind every placement. It is frozen: were one bit of it to change, every block would be looked for at
// the wrong peers (testdata/placements.json guards it). Only 32-bit integer operations and single IEEE additions,
// multiplications and divisions are used, which every JavaScript engine and CPU rounds alike; Math.log is not
// among them, since engines may differ in its last bit.

import type { BlockRef } from "#model";

/** Two 32-bit halves of a hash: an array, so that computing one allocates nothing. */
export type HashWords = Int32Array;

export function newHashWords(): HashWords {
  return new Int32Array(2);
}

/** The finaliser of MurmurHash3 (Appleby, public domain): every input bit reaches every output bit. */
function mix(word: number): number {
  let value = word;
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return value ^ (value >>> 16);
}

/** Takes 32 bits into `words`: two Feistel rounds, a bijection of 64 bits, so nothing taken in before is lost. */
function absorb(words: HashWords, input: number): void {
  const low = words[0] ^ input;
  const high = words[1] ^ mix((low + 0x9e3779b9) | 0);
  words[1] = high;
  words[0] = low ^ mix((high + 0x7f4a7c15) | 0);
}

/** Of a peer's id (its UTF-16 code units) and, for ketama, which of its points. */
export function hashPeer(peer: string, point: number, target: HashWords): void {
  target[0] = 0x70656572; // "peer"
  target[1] = point;
  for (let i = 0; i < peer.length; i++) absorb(target, peer.charCodeAt(i));
  absorb(target, peer.length);
}

export function hashRef(ref: BlockRef, target: HashWords): void {
  target[0] = 0x626c6f63; // "bloc"
  target[1] = ref.type;
  absorb(target, ref.volume | 0);
  absorb(target, (ref.volume / 2 ** 32) | 0);
  absorb(target, ref.epoch | 0);
  absorb(target, (ref.epoch / 2 ** 32) | 0);
  absorb(target, ref.index | 0);
  absorb(target, (ref.index / 2 ** 32) | 0);
}

const powersOfHalf = new Float64Array(54).map((_, exponent) => 2 ** -exponent);

/**
 * An exponentially distributed number above zero (mean 1) that depends on all bits of two hashes, given as halves:
 * -ln(u) of a u that is uniform over 2^52 values between 0 and 1.
 */
export function exponentialOf(low: number, high: number, otherLow: number, otherHigh: number): number {
  let x = low ^ otherLow;
  let y = high ^ otherHigh;
  y ^= mix((x + 0x9e3779b9) | 0);
  x ^= mix((y + 0x7f4a7c15) | 0);
  y ^= mix((x + 0x3c6ef372) | 0);
  x ^= mix((y + 0x1b873593) | 0);
  // The value is (top * 2^32 + bottom + 1/2) / 2^52: 52 bits, so that adding the half is exact.
  const top = y & 0xfffff;
  const bottom = x >>> 0;
  let exponent = top !== 0 ? 63 - Math.clz32(top) : 31 - Math.clz32(bottom);
  let mantissa = top * 2 ** 32 + bottom + 0.5;
  mantissa = exponent >= 0 ? mantissa * powersOfHalf[exponent] : mantissa * 2;
  if (mantissa > Math.SQRT2) {
    mantissa *= 0.5;
    exponent += 1;
  }
  return (52 - exponent) * Math.LN2 - lnNearOne(mantissa);
}

/** ln(x) for x in [sqrt(1/2), sqrt(2)], as 2 artanh((x - 1) / (x + 1)): good to 1e-15. */
function lnNearOne(x: number): number {
  const s = (x - 1) / (x + 1);
  const z = s * s;
  // biome-ignore format: the series
  const series = 1 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * (1 / 15 +
    z * (1 / 17))))))));
  return 2 * s * series;
}
