// 64-bit numbers on the wire; in memory they are safe integers.

import { assert, TorusError } from "#model";

export function writeUint64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, "a number on the wire is a whole one from 0 up to 2^53");
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** Throws `protocol` when the number does not fit 53 bits. */
export function readUint64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  if (high >= 2 ** 21) throw new TorusError("protocol", "a number in a frame is above 2^53");
  return high * 2 ** 32 + view.getUint32(at, true);
}
