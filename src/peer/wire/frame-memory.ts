// FrameMemory: where frames and their bulk lie while somebody needs them. Memory that is given back is taken again: touching new
// pages, and having the garbage collector find them, costs more than copying into old ones.

export interface FrameMemory {
  /** Memory of exactly `bytes`, with whatever is in it. */
  take(bytes: number): Uint8Array;
  /** Nothing of it is needed any more; no effect on other memory. Whoever keeps what was taken never calls this. */
  give(memory: Uint8Array): void;
}

const spareBytesMin = 64 * 1024;
const spareBytesMax = 8 * 1024 * 1024;
const slabBytes = 64 * 1024;

/** Not a Buffer, whose `slice` is no copy. */
function unfilled(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}

/** For those who give everything back: a server and its requests. */
export class ReusedMemory implements FrameMemory {
  /** By the power of two that is their size. */
  readonly #spares = new Map<number, Uint8Array[]>();
  #spareBytes = 0;
  /** Taken and not given back: what is given twice, or is not of here, must not be lent. */
  readonly #lent = new WeakSet<ArrayBufferLike>();

  take(bytes: number): Uint8Array {
    const size = sizeFor(bytes);
    const spare = this.#spares.get(size)?.pop();
    const memory = spare ?? unfilled(size);
    if (spare !== undefined) this.#spareBytes -= size;
    this.#lent.add(memory.buffer);
    return memory.subarray(0, bytes);
  }

  give(memory: Uint8Array): void {
    const size = memory.buffer.byteLength;
    if (!this.#lent.delete(memory.buffer) || this.#spareBytes + size > spareBytesMax) return;
    this.#spareBytes += size;
    const whole = new Uint8Array(memory.buffer);
    const spares = this.#spares.get(size);
    if (spares === undefined) this.#spares.set(size, [whole]);
    else spares.push(whole);
  }
}

function sizeFor(bytes: number): number {
  return bytes <= spareBytesMin ? spareBytesMin : 2 ** Math.ceil(Math.log2(bytes));
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
