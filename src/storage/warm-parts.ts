// WarmParts: which parts of a store's file the system is believed to have in its page cache: those that were read through it, and not
// written since. A guess that nothing but speed rests on: the system tells nobody what it drops. It is bounded, and forgets the segment
// first that was longest without a part new to it.

import { assert } from "#model";

export const warmPartBytes = 64 * 1024;

const bitsPerWord = 32;

export interface WarmPartsOptions {
  /** Parts of a segment, at most. */
  readonly segmentParts: number;
  /** What the system has room for, as far as anybody knows. */
  readonly partsMax: number;
}

export class WarmParts {
  readonly #options: WarmPartsOptions;
  /** A bit for each part, by segment, in the order of their last new part. */
  readonly #segments = new Map<number, { readonly words: Uint32Array; parts: number }>();
  #parts = 0;

  constructor(options: WarmPartsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#parts;
  }

  /** Another part makes others be forgotten. */
  get isFull(): boolean {
    return this.#parts >= this.#options.partsMax;
  }

  /** Of parts [first, end) of `segment` all are warm. */
  has(segment: number, first: number, end: number): boolean {
    const found = this.#segments.get(segment);
    if (found === undefined) return false;
    for (let part = first; part < end; part++) {
      if ((found.words[part >>> 5] & (1 << (part % bitsPerWord))) === 0) return false;
    }
    return true;
  }

  add(segment: number, first: number, end: number): void {
    const { segmentParts, partsMax } = this.#options;
    assert(first >= 0 && end <= segmentParts, "parts lie in their segment");
    const words = Math.ceil(segmentParts / bitsPerWord);
    const found = this.#segments.get(segment) ?? { words: new Uint32Array(words), parts: 0 };
    this.#segments.delete(segment);
    this.#segments.set(segment, found);
    this.#change(found, first, end, true);
    for (const [oldest, { parts }] of this.#segments) {
      if (this.#parts <= partsMax || oldest === segment) return;
      this.#segments.delete(oldest);
      this.#parts -= parts;
    }
  }

  /** They were written past the page cache, which has them no more. */
  drop(segment: number, first: number, end: number): void {
    const found = this.#segments.get(segment);
    if (found === undefined) return;
    this.#change(found, first, end, false);
    if (found.parts === 0) this.#segments.delete(segment);
  }

  #change(
    segment: { readonly words: Uint32Array; parts: number },
    first: number,
    end: number,
    isWarm: boolean,
  ): void {
    const { words } = segment;
    const before = segment.parts;
    for (let part = first; part < end; part++) {
      const bit = 1 << (part % bitsPerWord);
      const was = (words[part >>> 5] & bit) !== 0;
      if (was === isWarm) continue;
      words[part >>> 5] ^= bit;
      segment.parts += isWarm ? 1 : -1;
    }
    this.#parts += segment.parts - before;
  }
}
