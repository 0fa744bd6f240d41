// ReusedMemory: for those who give back what they take: a server and its requests. Touching new pages, and having the garbage collector find
// them, costs more than copying into old ones.

const spareBytesMin = 64 * 1024;
const spareBytesMax = 8 * 1024 * 1024;

export class ReusedMemory {
  /** By the power of two that is their size. */
  readonly #spares = new Map<number, Uint8Array[]>();
  #spareBytes = 0;
  /** Taken and not given back: what is given twice, or is not of here, must not be lent. */
  readonly #lent = new WeakSet<ArrayBufferLike>();

  /** Memory of exactly `bytes`, with whatever is in it. */
  take(bytes: number): Uint8Array {
    const size = sizeFor(bytes);
    const spare = this.#spares.get(size)?.pop();
    const memory = spare ?? unfilled(size);
    if (spare !== undefined) this.#spareBytes -= size;
    this.#lent.add(memory.buffer);
    return memory.subarray(0, bytes);
  }

  /** Nothing of it is needed any more; no effect on memory that is not from here. Whoever keeps what was taken never calls this. */
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

/** Not a Buffer, whose `slice` is no copy. */
function unfilled(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}
