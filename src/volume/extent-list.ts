// ExtentList: extents as they are found, one behind the other: neighbours that are alike become one, and what lies outside the range is cut off.

import { assert } from "#model";
import type { Extent } from "./block-device.ts";

/** Bytes that are asked about, and into how many extents the answer may fall. */
export interface ExtentRange {
  readonly offset: number;
  readonly length: number;
  readonly countMax: number;
}

export class ExtentList {
  readonly #start: number;
  readonly #end: number;
  readonly #countMax: number;
  readonly #extents: { length: number; marked: boolean }[] = [];
  #position: number;

  constructor({ offset, length, countMax }: ExtentRange) {
    assert(countMax >= 1, "an answer has at least one extent");
    this.#start = offset;
    this.#end = offset + length;
    this.#countMax = countMax;
    this.#position = offset;
  }

  /** Everything from where the last one ended up to byte `end` of the device. False when no more is wanted. */
  reach(end: number, marked: boolean): boolean {
    const length = Math.min(end, this.#end) - this.#position;
    const last = this.#extents.at(-1);
    if (length > 0) {
      if (last?.marked === marked) last.length += length;
      else if (this.#extents.length === this.#countMax) return false;
      else this.#extents.push({ length, marked });
      this.#position += length;
    }
    return this.#position < this.#end;
  }

  /** At least one, unless the range is empty. */
  take(): readonly Extent[] {
    assert(this.#position > this.#start || this.#end === this.#start, "an extent was found");
    return this.#extents;
  }
}
