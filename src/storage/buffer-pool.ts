// BufferPool: the memory of open blocks. Aligned memory is never given back to the system, so buffers are reused, and
// there is a bound on how many there are of each slot class: with more open blocks than that, those that rest lose theirs.

import type { Disk } from "#host";

export interface BufferPoolOptions {
  /** Buffer size and greatest number, by slot class. */
  readonly classes: readonly { readonly bytes: number; readonly buffersMax: number }[];
}

export class BufferPool {
  readonly #classes: readonly { bytes: number; buffersMax: number; made: number; free: Uint8Array[] }[];
  readonly #disk: Disk;

  constructor(options: BufferPoolOptions, deps: { disk: Disk }) {
    this.#disk = deps.disk;
    this.#classes = options.classes.map((each) => ({ ...each, made: 0, free: [] }));
  }

  /** A buffer with whatever is in it; null when all are in use. */
  take(slotClass: number): Uint8Array | null {
    const pool = this.#classes[slotClass];
    const free = pool.free.pop();
    if (free !== undefined) return free;
    if (pool.made === pool.buffersMax) return null;
    pool.made += 1;
    return this.#disk.allocateAligned(pool.bytes);
  }

  give(slotClass: number, buffer: Uint8Array): void {
    this.#classes[slotClass].free.push(buffer);
  }
}
