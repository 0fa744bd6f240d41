// ReadAheadMachine: tells streams of reads, each of which begins where the one before it ended, from others, and what is worth being
// read ahead of them. Several streams may run beside each other and beside reads all over the place.

export interface PageRun {
  readonly first: number;
  readonly count: number;
}

interface Stream {
  /** Where it goes on. */
  next: number;
  /** Reads that did. */
  length: number;
  /** Up to here it was read ahead. */
  ahead: number;
  windowPages: number;
}

const streamsMax = 16;
/** So many reads in a row are no accident. */
const streamReadsMin = 2;
const windowPagesMin = 32;

export class ReadAheadMachine {
  readonly #windowPagesMax: number;
  readonly #streams: Stream[] = [];
  #oldest = 0;

  /** `windowPagesMax`: how far ahead of a stream is read, at most. */
  constructor(options: { readonly windowPagesMax: number }) {
    this.#windowPagesMax = options.windowPagesMax;
  }

  /** Pages [first, first + count) are read; returns what to read ahead now, or null. */
  note(first: number, count: number): PageRun | null {
    const end = first + count;
    for (const stream of this.#streams) {
      if (stream.next !== first) continue;
      stream.next = end;
      stream.length += 1;
      return stream.length < streamReadsMin ? null : this.#advance(stream);
    }
    const stream = { next: end, length: 0, ahead: 0, windowPages: windowPagesMin };
    if (this.#streams.length < streamsMax) this.#streams.push(stream);
    else {
      this.#streams[this.#oldest] = stream;
      this.#oldest = (this.#oldest + 1) % streamsMax;
    }
    return null;
  }

  /** When half of what was read ahead is used up, twice as much is next. */
  #advance(stream: Stream): PageRun | null {
    const { next, ahead, windowPages } = stream;
    if (ahead - next > windowPages / 2) return null;
    const first = Math.max(next, ahead);
    const target = next + Math.min(windowPages, this.#windowPagesMax);
    stream.windowPages = Math.min(2 * windowPages, this.#windowPagesMax);
    stream.ahead = target;
    return target > first ? { first, count: target - first } : null;
  }
}
