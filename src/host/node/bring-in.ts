// BringIn: has the system read parts of a file into its page cache, in the thread pool, a few at a time: enough to keep a disk busy, and
// never all of the pool's threads, on one of which somebody's fdatasync waits. What is read is of no interest here, so all goes to one place.

/** Reads `length` bytes at `offset` into `target`; resolves when it ended, however it did. */
type ReadAside = (target: Uint8Array, offset: number, length: number) => Promise<void>;

const partBytesMax = 256 * 1024;
const readsMax = 3;

/** Where everything goes that is read for the page cache's sake. */
let dump: Uint8Array | null = null;

export class BringIn {
  readonly #read: ReadAside;
  readonly #waiting: (() => void)[] = [];
  #reads = 0;

  constructor(read: ReadAside) {
    this.#read = read;
  }

  async bring(offset: number, length: number): Promise<void> {
    const parts: Promise<void>[] = [];
    for (let at = 0; at < length; at += partBytesMax)
      parts.push(this.#bringPart(offset + at, Math.min(partBytesMax, length - at)));
    await Promise.all(parts);
  }

  async #bringPart(offset: number, length: number): Promise<void> {
    if (this.#reads === readsMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#reads += 1;
    dump ??= new Uint8Array(partBytesMax);
    try {
      await this.#read(dump, offset, length);
    } finally {
      // Its turn goes to who waits longest.
      const next = this.#waiting.shift();
      if (next === undefined) this.#reads -= 1;
      else next();
    }
  }
}
