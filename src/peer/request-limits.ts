// What a client refuses to send, because no server would take it: each check gives the error, or null.

import type { BlockRef } from "#model";
import { blockBytesMax, TorusError } from "#model";
import { refsMax } from "./wire/frame-codec.ts";

export function outside(what: string, value: number, min: number, max = blockBytesMax): TorusError | null {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return null;
  return new TorusError("invalid-argument", `the ${what} ${value} is not between ${min} and ${max}`);
}

export function tooLong(bytes: Uint8Array): TorusError | null {
  return outside("number of bytes", bytes.length, 0);
}

export function tooMany(refs: readonly BlockRef[], countMax = refsMax): Promise<never> | null {
  if (refs.length <= countMax) return null;
  return Promise.reject(
    new TorusError("limit", `${refs.length} blocks are asked about at once, at most ${countMax} can be`),
  );
}
