// MemoryDevice: a BlockDevice in memory, sparse, for tests of gateways and as the plain truth that other devices are
// compared with. Everything it says is durable at once, as far as memory is. Each request is done in full before
// its call returns, so requests take effect in the order of the calls.

import type { TakeMemory } from "#model";
import { pageBytes, TorusError } from "#model";
import type { BlockDevice, BlockDeviceInfo, Extent } from "./block-device.ts";
import { ExtentList } from "./extent-list.ts";

/** Memory is taken in pieces of this size, so that small writes do not cost an allocation each. */
const slabBytes = 64 * 1024;

export interface MemoryDeviceOptions {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly?: boolean;
  readonly description?: string;
}

export class MemoryDevice implements BlockDevice {
  readonly info: BlockDeviceInfo;
  /** How often each was called; `fua` counts the writes, trims and zeroings that asked for durability. */
  readonly calls = { read: 0, write: 0, trim: 0, writeZeroes: 0, flush: 0, fua: 0, extents: 0 };
  /** Set by a test: every later request rejects with it. */
  failure: TorusError | null = null;
  readonly #slabs = new Map<number, Buffer>();
  readonly #snapshots = new Map<string, ReadonlyMap<number, Buffer>>();

  constructor(options: MemoryDeviceOptions) {
    this.info = {
      name: options.name,
      sizeBytes: options.sizeBytes,
      readOnly: options.readOnly ?? false,
      preferredBytes: pageBytes,
      description: options.description ?? "",
    };
  }

  async read(offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    this.calls.read += 1;
    this.#check(offset, length);
    const bytes = take?.(length) ?? Buffer.allocUnsafeSlow(length);
    for (let at = 0; at < length; ) {
      const [slab, start, count] = this.#piece(offset + at, length - at);
      const source = this.#slabs.get(slab);
      if (source === undefined) bytes.fill(0, at, at + count);
      else source.copy(bytes, at, start, start + count);
      at += count;
    }
    return bytes;
  }

  async write(offset: number, bytes: Uint8Array, fua: boolean): Promise<void> {
    this.calls.write += 1;
    this.#checkWrite(offset, bytes.length, fua);
    for (let at = 0; at < bytes.length; ) {
      const [slab, start, count] = this.#piece(offset + at, bytes.length - at);
      this.#slabForWriting(slab).set(bytes.subarray(at, at + count), start);
      at += count;
    }
  }

  async trim(offset: number, length: number, fua: boolean): Promise<void> {
    this.calls.trim += 1;
    this.#checkWrite(offset, length, fua);
    const first = Math.ceil(offset / pageBytes) * pageBytes;
    const end = Math.floor((offset + length) / pageBytes) * pageBytes;
    if (end > first) this.#zero(first, end - first);
  }

  async writeZeroes(offset: number, length: number, fua: boolean): Promise<void> {
    this.calls.writeZeroes += 1;
    this.#checkWrite(offset, length, fua);
    this.#zero(offset, length);
  }

  /** A page of zeroes is a hole. */
  async extents(offset: number, length: number, countMax: number): Promise<readonly Extent[]> {
    this.calls.extents += 1;
    this.#check(offset, length);
    const list = new ExtentList({ offset, length, countMax });
    const end = offset + length;
    let at = offset;
    while (at < end) {
      const [slab, start] = this.#piece(at, end - at);
      const bytes = this.#slabs.get(slab);
      const next =
        bytes === undefined ? this.#nextSlab(slab) * slabBytes : (Math.floor(at / pageBytes) + 1) * pageBytes;
      if (!list.reach(next, bytes !== undefined && !isZeroPage(bytes, start - (start % pageBytes)))) break;
      at = next;
    }
    return list.take();
  }

  /** Keeps the bytes as they are for `changedSince`; one of the same name is replaced. */
  takeSnapshot(name: string): void {
    this.#snapshots.set(name, new Map([...this.#slabs].map(([slab, bytes]) => [slab, Buffer.from(bytes)])));
  }

  async changedSince(
    snapshot: string,
    offset: number,
    length: number,
    countMax: number,
  ): Promise<readonly Extent[]> {
    this.#check(offset, length);
    const then = this.#snapshots.get(snapshot);
    if (then === undefined)
      throw new TorusError("not-found", `"${this.info.name}" has no snapshot "${snapshot}"`);
    const list = new ExtentList({ offset, length, countMax });
    for (let at = offset - (offset % pageBytes); at < offset + length; at += pageBytes) {
      const [slab, start] = this.#piece(at, pageBytes);
      const [a, b] = [this.#slabs, then].map((slabs) => slabs.get(slab) ?? zeroSlab);
      const differs = a.compare(b, start, start + pageBytes, start, start + pageBytes) !== 0;
      if (!list.reach(at + pageBytes, differs)) break;
    }
    return list.take();
  }

  /** The first slab behind `slab` that is held, or infinity. */
  #nextSlab(slab: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const held of this.#slabs.keys()) if (held > slab && held < next) next = held;
    return next;
  }

  async flush(): Promise<void> {
    this.calls.flush += 1;
    this.#check(0, 0);
  }

  /** Memory held for data. */
  get heldBytes(): number {
    return this.#slabs.size * slabBytes;
  }

  #zero(offset: number, length: number): void {
    if (length > this.heldBytes) {
      this.#zeroHeld(offset, offset + length);
      return;
    }
    for (let at = 0; at < length; ) {
      const [slab, start, count] = this.#piece(offset + at, length - at);
      if (count === slabBytes) this.#slabs.delete(slab);
      else this.#slabs.get(slab)?.fill(0, start, start + count);
      at += count;
    }
  }

  /** For ranges larger than what is held: goes over the slabs there are. */
  #zeroHeld(offset: number, end: number): void {
    for (const [slab, bytes] of this.#slabs) {
      const from = Math.max(0, offset - slab * slabBytes);
      const to = Math.min(slabBytes, end - slab * slabBytes);
      if (from === 0 && to === slabBytes) this.#slabs.delete(slab);
      else if (from < to) bytes.fill(0, from, to);
    }
  }

  /** Slab, place in it, and how many of `length` bytes are there. */
  #piece(offset: number, length: number): [slab: number, start: number, count: number] {
    const slab = Math.floor(offset / slabBytes);
    const start = offset - slab * slabBytes;
    return [slab, start, Math.min(length, slabBytes - start)];
  }

  #slabForWriting(slab: number): Buffer {
    let bytes = this.#slabs.get(slab);
    if (bytes === undefined) {
      bytes = Buffer.alloc(slabBytes);
      this.#slabs.set(slab, bytes);
    }
    return bytes;
  }

  #checkWrite(offset: number, length: number, fua: boolean): void {
    if (fua) this.calls.fua += 1;
    if (this.info.readOnly) throw new TorusError("invalid-argument", `"${this.info.name}" is read-only`);
    this.#check(offset, length);
  }

  #check(offset: number, length: number): void {
    if (this.failure !== null) throw this.failure;
    const { sizeBytes } = this.info;
    if (
      !Number.isSafeInteger(offset) ||
      !Number.isSafeInteger(length) ||
      offset < 0 ||
      length < 0 ||
      length > sizeBytes - offset
    ) {
      throw new TorusError(
        "invalid-argument",
        `${length} bytes at ${offset} are not inside the ${sizeBytes} bytes of "${this.info.name}"`,
      );
    }
  }
}

const zeroPage = Buffer.alloc(pageBytes);
const zeroSlab = Buffer.alloc(slabBytes);

function isZeroPage(slab: Buffer, start: number): boolean {
  return slab.compare(zeroPage, 0, pageBytes, start, start + pageBytes) === 0;
}
