// BlockBuffers: memory for whole blocks on their way to other peers, used again. A fresh buffer for each block has the garbage collector stop the thread
// for tens of milliseconds several times a second, since megabytes that are dropped count as pressure: users would wait for that.

/** Each is a power of two from here on, so that blocks of nearly one size share them. */
const bytesMin = 64 * 1024;

export class BlockBuffers {
  readonly #sparesMax: number;
  #spares: Uint8Array[] = [];

  constructor(options: { readonly sparesMax: number }) {
    this.#sparesMax = options.sparesMax;
  }

  /** Memory of exactly `bytes`, with whatever is in it. */
  take(bytes: number): Uint8Array {
    // The largest first: most blocks are full.
    const at = this.#spares.findIndex((spare) => spare.length >= bytes);
    const [spare] = at === -1 ? [] : this.#spares.splice(at, 1);
    const memory = spare ?? new Uint8Array(Math.max(bytesMin, 2 ** Math.ceil(Math.log2(bytes))));
    return memory.subarray(0, bytes);
  }

  /** Nobody reads or writes it any more. What is never given is left to the garbage collector. */
  give(memory: Uint8Array): void {
    this.#spares.push(new Uint8Array(memory.buffer));
    this.#spares.sort((a, b) => b.length - a.length);
    this.#spares.length = Math.min(this.#spares.length, this.#sparesMax);
  }

  /** Nothing is moved for a while: the memory is not kept. */
  drop(): void {
    this.#spares = [];
  }
}
