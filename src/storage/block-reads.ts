// BlockReads: ranged reads. What the system is believed to have in its page cache is read in the store's thread, synchronously, which
// costs a tenth of a trip through the thread pool; anything else is first brought in there, several at a time, with what lies beside it, so
// that neither a slow disk stops the thread nor a working set takes a trip for each page. What is read is what is here when the read is
// made: nothing is kept.

import type { BlockRef, BlockSpot, TakeMemory } from "#model";
import { blockBytesMax, blockRefKey, pageBytes, TorusError } from "#model";
import type { SlotEntry } from "./slot-entry-codec.ts";
import type { StoreParts } from "./store-opening.ts";
import { requireInteger } from "./store-refusals.ts";
import { warmPartBytes } from "./warm-parts.ts";

/** What is brought in at once where what lies before it is warm already: it is likely that somebody reads on. */
const streamBytes = 4 * warmPartBytes;
/** So many reads tell whether neighbours are worth it. */
const judgedReads = 256;
/** Where memory is full, neighbours are worth it if at least one of so many reads finds what it wants. */
const readsPerHitMax = 8;

export class BlockReads {
  readonly #parts: StoreParts;
  /** On their way, by slot and first part. */
  readonly #bringing = new Map<number, Promise<void>>();
  #reads = 0;
  #hits = 0;
  #isScattered = false;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /** As `BlockStore.read`. */
  read(ref: BlockRef, offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    try {
      this.#parts.health.requireOpen();
      requireInteger("the offset", offset, 0, blockBytesMax);
      requireInteger("the length", length, 1, blockBytesMax);
      const { slot, held } = this.#require(ref, offset, length);
      const isWarm = this.#isWarm(slot, offset, length);
      this.#judge(isWarm);
      if (isWarm) return Promise.resolve(this.#readNow(slot, offset, length, take));
      return this.#readCold(ref, slot, held, offset, length, take);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Where the bytes lie that are in the file; null when there are none. */
  spotOf(ref: BlockRef): BlockSpot | null {
    const { index, open, data } = this.#parts;
    const slot = index.find(ref);
    if (slot === -1) return null;
    const block = open.get(slot);
    // Of a block whose entry counts for nothing its bytes do not either.
    if (block !== undefined && (!block.entryWritten || block.distrusted)) return null;
    const length = block?.written ?? (data.entry(slot) as SlotEntry).length;
    if (length === 0) return null;
    return { offset: data.offsetOf(slot), length, ...data.entryPlace(slot) };
  }

  async #readCold(
    ref: BlockRef,
    slot: number,
    held: number,
    offset: number,
    length: number,
    take: TakeMemory | undefined,
  ): Promise<Uint8Array> {
    this.#parts.counters.coldReads.add(1);
    await this.#bring(slot, held, offset, length);
    // Meanwhile the block may have moved to another slot, or gone, and the store been closed.
    this.#parts.health.requireOpen();
    return this.#readNow(this.#require(ref, offset, length).slot, offset, length, take);
  }

  #readNow(slot: number, offset: number, length: number, take: TakeMemory | undefined): Uint8Array {
    const { data, open, counters } = this.#parts;
    const target = take?.(length) ?? Buffer.allocUnsafe(length);
    const block = open.get(slot);
    if (block === undefined) data.readSlot(slot, offset, target);
    else open.read(block, offset, target);
    counters.readBlocks.add(1);
    counters.readBytes.add(length);
    return target;
  }

  /** Where the bytes are; throws `not-found` when they are not here. */
  #require(ref: BlockRef, offset: number, length: number): { slot: number; held: number } {
    const { index, open, data } = this.#parts;
    const slot = index.find(ref);
    const held = slot === -1 ? 0 : (open.get(slot)?.held ?? (data.entry(slot) as SlotEntry).length);
    if (offset + length <= held) return { slot, held };
    throw new TorusError(
      "not-found",
      `bytes ${offset} to ${offset + length} of block ${blockRefKey(ref)} are not here: ${held} are held`,
      { held },
    );
  }

  #isWarm(slot: number, offset: number, length: number): boolean {
    const { data, open } = this.#parts;
    const block = open.get(slot);
    if (block !== undefined && block.buffer !== null && block.bufferFrom <= offset) return true;
    return data.isWarm(slot, offset, offset + length);
  }

  #bring(slot: number, held: number, offset: number, length: number): Promise<void> {
    const { data, open } = this.#parts;
    if (this.#isScattered) {
      const first = Math.floor(offset / pageBytes) * pageBytes;
      return data.bringIn(slot, first, offset + length);
    }
    const first = Math.floor(offset / warmPartBytes) * warmPartBytes;
    const key = slot * (blockBytesMax / warmPartBytes) + first / warmPartBytes;
    const under = this.#bringing.get(key);
    if (under !== undefined) return under;
    const last = Math.ceil((offset + length) / warmPartBytes) * warmPartBytes;
    const goesOn = first > 0 && data.isWarm(slot, first - warmPartBytes, first);
    // What is not written yet is in the block's buffer, and would have to be brought in again.
    const inFile = open.get(slot)?.written ?? held;
    const end = Math.min(inFile, goesOn ? Math.max(last, first + streamBytes) : last);
    if (end <= first) return Promise.resolve();
    const bringing = data.bringIn(slot, first, end).then(() => {
      this.#bringing.delete(key);
      data.noteWarm(slot, first, end);
    });
    this.#bringing.set(key, bringing);
    return bringing;
  }

  /** A working set that is far larger than memory is read page by page. */
  #judge(isHit: boolean): void {
    this.#reads += 1;
    if (isHit) this.#hits += 1;
    if (this.#reads < judgedReads) return;
    this.#isScattered = this.#parts.data.warm.isFull && this.#hits * readsPerHitMax < this.#reads;
    this.#reads = 0;
    this.#hits = 0;
  }
}
