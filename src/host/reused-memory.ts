// ReusedMemory: for those who give back what they take: a server and its requests. Touching new pages, and having the garbage collector find
// them, costs more than copying into old ones.

const spareBytesMin = 64 * 1024;
/** What stays in any case. */
const keptBytesMax = 8 * 1024 * 1024;

export interface ReusedMemoryOptions {
  /** Kept of what was given back; whoever asks for more than is kept in any case has it trimmed now and then. */
  readonly spareBytesMax?: number;
}

export class ReusedMemory {
  readonly #spareBytesMax: number;
  /** By the power of two that is their size. */
  readonly #spares = new Map<number, Uint8Array[]>();
  #spareBytes = 0;
  /** So much has not been needed since it was last trimmed. */
  #idleBytes = 0;
  /** Taken and not given back: what is given twice, or is not of here, must not be lent. */
  readonly #lent = new WeakSet<ArrayBufferLike>();

  constructor(options: ReusedMemoryOptions = {}) {
    this.#spareBytesMax = options.spareBytesMax ?? keptBytesMax;
  }

  /** Memory of exactly `bytes`, with whatever is in it. */
  take(bytes: number): Uint8Array {
    const size = sizeFor(bytes);
    const spare = this.#spares.get(size)?.pop();
    const memory = spare ?? unfilled(size);
    if (spare !== undefined) this.#spareBytes -= size;
    this.#idleBytes = Math.min(this.#idleBytes, this.#spareBytes);
    this.#lent.add(memory.buffer);
    return memory.subarray(0, bytes);
  }

  /** Nothing of it is needed any more; no effect on memory that is not from here. Whoever keeps what was taken never calls this. */
  give(memory: Uint8Array): void {
    const size = memory.buffer.byteLength;
    if (!this.#lent.delete(memory.buffer) || this.#spareBytes + size > this.#spareBytesMax) return;
    this.#spareBytes += size;
    const whole = new Uint8Array(memory.buffer);
    const spares = this.#spares.get(size);
    if (spares === undefined) this.#spares.set(size, [whole]);
    else spares.push(whole);
  }

  /** Called now and then: lets go what was not needed since the last time, but for what stays in any case. */
  trim(): void {
    let spent = Math.min(this.#idleBytes, this.#spareBytes - keptBytesMax);
    for (const [size, spares] of [...this.#spares].sort(([a], [b]) => b - a)) {
      for (; spent >= size && spares.pop() !== undefined; spent -= size) this.#spareBytes -= size;
    }
    this.#idleBytes = this.#spareBytes;
  }
}

function sizeFor(bytes: number): number {
  return bytes <= spareBytesMin ? spareBytesMin : 2 ** Math.ceil(Math.log2(bytes));
}

/** Not a Buffer, whose `slice` is no copy. */
function unfilled(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}
