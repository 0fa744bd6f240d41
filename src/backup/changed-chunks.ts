// ChangedChunks: the numbers of the chunks in which a difference has pages, upward, each once.

import { pageBytes } from "#model";
import type { PageRange } from "#volume";
import type { Difference } from "./source-volume.ts";

export class ChangedChunks {
  readonly #difference: Difference;
  readonly #chunkPages: number;
  /** Upward; chunks that are changed for another reason. */
  readonly #also: number[];
  #ranges: PageRange[] = [];
  /** Pages below are known. */
  #known = 0;

  constructor(
    options: { readonly chunkBytes: number; readonly also: readonly number[] },
    difference: Difference,
  ) {
    this.#chunkPages = options.chunkBytes / pageBytes;
    this.#also = [...options.also].sort((a, b) => a - b);
    this.#difference = difference;
  }

  /** Those below `end` that were not taken before. */
  async takeBelow(end: number): Promise<number[]> {
    const found = new Set<number>();
    const endPage = end * this.#chunkPages;
    while (this.#known < endPage) {
      const part = await this.#difference.after(this.#known);
      this.#ranges.push(...part.ranges);
      this.#known = part.end;
    }
    while (this.#ranges.length > 0 && this.#ranges[0].first < endPage) {
      const [{ first, count }] = this.#ranges;
      const stop = Math.min(first + count, endPage);
      for (let chunk = this.#chunkOf(first); chunk * this.#chunkPages < stop; chunk++) found.add(chunk);
      if (first + count <= endPage) this.#ranges.shift();
      else this.#ranges[0] = { first: endPage, count: first + count - endPage };
    }
    while (this.#also.length > 0 && this.#also[0] < end) found.add(this.#also.shift() as number);
    return [...found].sort((a, b) => a - b);
  }

  #chunkOf(page: number): number {
    return Math.floor(page / this.#chunkPages);
  }
}
