// FrameMemory: where frames and their bulk lie while somebody needs them. Memory that is given back is taken again: touching new
// pages, and having the garbage collector find them, costs more than copying into old ones.

export interface FrameMemory {
  /** Memory of exactly `bytes`, with whatever is in it, for the frame with this id or for its bulk. */
  take(bytes: number, id: number): Uint8Array;
  /** Nothing of it is needed any more; no effect on other memory. Whoever keeps what was taken never calls this. */
  give(memory: Uint8Array): void;
}

const slabBytes = 64 * 1024;

/** Not a Buffer, whose `slice` is no copy. */
function unfilled(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}

/** For those who pass it on and never see it again: a client and its answers. Small pieces share slabs. */
export class FreshMemory implements FrameMemory {
  #slab: Uint8Array = new Uint8Array(0);
  #used = 0;

  take(bytes: number): Uint8Array {
    if (bytes > slabBytes / 4) return unfilled(bytes);
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = unfilled(slabBytes);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += bytes;
    return this.#slab.subarray(from, from + bytes);
  }

  give(): void {}
}
