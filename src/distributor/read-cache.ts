// ReadCache: pages of blocks that were read before, or ahead, of peers on other machines, for all volumes of a process. A block's bytes never
// change, so a page is right for as long as it is here; it is verified when it goes in and, as all that is read, when it comes out. Bounded:
// the page that goes is one that was not read since it was last looked at.

import type { Counter, Metrics } from "#host";
import type { BlockRef, NearReads, TakeMemory } from "#model";
import { assert, blockBytesMax, pageBytes, RefMap } from "#model";

/** Memory is taken by so much at most, when it is first needed. */
const slabPagesMax = 256;
/** A smaller cache is none. */
const pagesMin = 16;

/** What is here of a block. */
interface CachedBlock {
  readonly ref: BlockRef;
  /** Of all blocks that were ever here. */
  readonly serial: number;
  pages: number;
}

export class ReadCache implements NearReads {
  readonly #pagesMax: number;
  readonly #slabPages: number;
  readonly #reads: Counter;
  readonly #blocks = new RefMap<CachedBlock>();
  /** Where each page is, by block and page. */
  readonly #slots = new Map<number, number>();
  readonly #slabs: Uint8Array[] = [];
  /** By slot: whose page it has, which, and whether it was read since it was looked at. */
  readonly #owners: (CachedBlock | null)[] = [];
  readonly #pageOf: Uint32Array;
  readonly #wasRead: Uint8Array;
  readonly #free: number[] = [];
  #hand = 0;
  #serial = 0;

  constructor(options: { readonly bytesMax: number }, deps: { readonly metrics: Metrics }) {
    const pagesMax = Math.floor(options.bytesMax / pageBytes);
    this.#pagesMax = pagesMax < pagesMin ? 0 : pagesMax;
    this.#slabPages = Math.min(this.#pagesMax, slabPagesMax);
    this.#pageOf = new Uint32Array(this.#pagesMax);
    this.#wasRead = new Uint8Array(this.#pagesMax);
    this.#reads = deps.metrics.counter(
      "torus_distributor_cached_reads_total",
      "Reads answered by pages that were read before, or ahead",
    );
    deps.metrics.gauge("torus_distributor_cached_bytes", "Pages kept of blocks", () => this.bytes);
  }

  /** What it may keep; 0: nothing. */
  get bytesMax(): number {
    return this.#pagesMax * pageBytes;
  }

  get bytes(): number {
    return this.#slots.size * pageBytes;
  }

  /** All of it is here. */
  has(ref: BlockRef, offset: number, length: number): boolean {
    const block = this.#blocks.get(ref);
    if (block === undefined) return false;
    const end = keyOf(block, offset + length);
    for (let key = keyOf(block, offset); key < end; key++) if (!this.#slots.has(key)) return false;
    return true;
  }

  readNow(ref: BlockRef, offset: number, length: number, take: TakeMemory): Uint8Array | null {
    if (!this.has(ref, offset, length)) return null;
    const first = keyOf(this.#blocks.get(ref) as CachedBlock, offset);
    const target = take(length);
    for (let at = 0; at < length; at += pageBytes) {
      const slot = this.#slots.get(first + at / pageBytes) as number;
      target.set(this.#bytesOf(slot), at);
      this.#wasRead[slot] = 1;
    }
    this.#reads.add(1);
    return target;
  }

  distrust(ref: BlockRef): void {
    for (let slot = 0; slot < this.#owners.length; slot++) {
      const owner = this.#owners[slot];
      if (owner === null || this.#blocks.get(ref) !== owner) continue;
      this.#drop(slot);
      this.#free.push(slot);
    }
  }

  /** Keeps whole pages of `ref` from `offset` on, verified, as far as there is room beside them. */
  add(ref: BlockRef, offset: number, bytes: Uint8Array): void {
    if (this.#pagesMax === 0) return;
    assert(offset % pageBytes === 0 && bytes.length % pageBytes === 0, "whole pages are kept");
    for (let at = 0; at < bytes.length; at += pageBytes) {
      const block = this.#blocks.get(ref);
      if (block !== undefined && this.#slots.has(keyOf(block, offset + at))) continue;
      const slot = this.#takeSlot();
      // What made room may have been the block's last page.
      const owner = this.#blocks.get(ref) ?? this.#enter(ref);
      this.#bytesOf(slot).set(bytes.subarray(at, at + pageBytes));
      this.#owners[slot] = owner;
      this.#pageOf[slot] = (offset + at) / pageBytes;
      this.#wasRead[slot] = 0;
      this.#slots.set(keyOf(owner, offset + at), slot);
      owner.pages += 1;
    }
  }

  #enter(ref: BlockRef): CachedBlock {
    const block = { ref, serial: ++this.#serial, pages: 0 };
    this.#blocks.set(ref, block);
    return block;
  }

  #bytesOf(slot: number): Uint8Array {
    const at = (slot % this.#slabPages) * pageBytes;
    return this.#slabs[Math.floor(slot / this.#slabPages)].subarray(at, at + pageBytes);
  }

  /** An empty slot. */
  #takeSlot(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const made = this.#owners.length;
    if (made < this.#pagesMax) {
      if (made % this.#slabPages === 0) this.#slabs.push(new Uint8Array(this.#slabPages * pageBytes));
      this.#owners.push(null);
      return made;
    }
    for (;;) {
      const slot = this.#hand;
      this.#hand = (slot + 1) % this.#pagesMax;
      if (this.#wasRead[slot] === 1) {
        this.#wasRead[slot] = 0;
        continue;
      }
      this.#drop(slot);
      return slot;
    }
  }

  #drop(slot: number): void {
    const owner = this.#owners[slot];
    if (owner === null) return;
    this.#slots.delete(keyOf(owner, this.#pageOf[slot] * pageBytes));
    this.#owners[slot] = null;
    owner.pages -= 1;
    if (owner.pages === 0) this.#blocks.delete(owner.ref);
  }
}

const blockPagesMax = blockBytesMax / pageBytes;

/** A number for each page of all blocks; pages of one block follow each other. */
function keyOf(block: CachedBlock, offset: number): number {
  return block.serial * (2 * blockPagesMax) + offset / pageBytes;
}
