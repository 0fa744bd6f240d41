// ReadAhead: reads into the cache what a stream of reads will want next, a few blocks' worth at a time. Whoever wants what is on its way
// waits for it. It never fails anybody: what could not be read ahead is read when it is wanted.

import type { Reader } from "#distributor";
import type { ReusedMemory } from "#host";
import type { BlockRef } from "#model";
import { blockRefEquals, pageBytes } from "#model";
import type { PageRun } from "./read-ahead-machine.ts";
import { ReadAheadMachine } from "./read-ahead-machine.ts";

/** Pages of a block that lie near each other: all are read at once, with what lies between them. */
export interface BlockSpan {
  readonly ref: BlockRef;
  /** Where in the block each is, in ascending order. */
  readonly offsets: number[];
  readonly checksums: number[];
}

interface Fetch {
  readonly ref: BlockRef;
  readonly from: number;
  readonly to: number;
  readonly done: Promise<void>;
}

/** Under way of one volume. */
const fetchesMax = 16;
const windowPagesMax = 256;
/** Whoever reads more at once has no need of it. */
const streamPagesMax = 32;
/** A stream has this share of the cache at most. */
const cacheShare = 1 / 8;

export class ReadAhead {
  readonly #reader: Reader;
  readonly #memory: ReusedMemory;
  /** Null without a cache to read into. */
  readonly #machine: ReadAheadMachine | null;
  #fetches: readonly Fetch[] = [];

  constructor(deps: { readonly reader: Reader; readonly readMemory: ReusedMemory }) {
    this.#reader = deps.reader;
    this.#memory = deps.readMemory;
    const pages = Math.floor((deps.reader.cacheBytesMax * cacheShare) / pageBytes);
    this.#machine =
      pages === 0 ? null : new ReadAheadMachine({ windowPagesMax: Math.min(pages, windowPagesMax) });
  }

  /** Pages [first, first + count) are read; returns what is worth being read ahead, or null. */
  note(first: number, count: number): PageRun | null {
    return this.#machine === null || count > streamPagesMax ? null : this.#machine.note(first, count);
  }

  /** It is here, or on its way. */
  has(ref: BlockRef, offset: number): boolean {
    return this.#reader.hasPages(ref, offset, 1) || this.under(ref, offset, 1) !== null;
  }

  /** False when enough is under way. */
  fetch({ ref, offsets, checksums }: BlockSpan): boolean {
    if (this.#fetches.length >= fetchesMax) return false;
    const from = offsets[0];
    const to = offsets[offsets.length - 1] + pageBytes;
    const end = (): void => {
      this.#fetches = this.#fetches.filter((other) => other !== fetch);
    };
    const fetching = this.#reader.fetchPages(ref, from, to - from, offsets, checksums, this.#memory);
    const done = fetching.then(end, end);
    const fetch: Fetch = { ref, from, to, done };
    this.#fetches = [...this.#fetches, fetch];
    return true;
  }

  /** Resolves when the part that is on its way of what is wanted was read, or could not be; null when none is. */
  under(ref: BlockRef, offset: number, count: number): Promise<unknown> | null {
    if (this.#fetches.length === 0) return null;
    const to = offset + count * pageBytes;
    const wanted = this.#fetches.filter(
      (fetch) => fetch.from < to && offset < fetch.to && blockRefEquals(fetch.ref, ref),
    );
    return wanted.length === 0 ? null : Promise.all(wanted.map(({ done }) => done));
  }
}
