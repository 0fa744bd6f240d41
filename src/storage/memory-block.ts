// A block of a store in memory.

import type { BlockRef, BlockStatus, RecordFrame } from "#model";

export interface MemoryBlock {
  readonly ref: BlockRef;
  /** Grows up to `capacity`; bytes beyond `held` mean nothing, up to `damagedEnd` they are a tail that did not verify. */
  bytes: Uint8Array;
  capacity: number;
  held: number;
  durable: number;
  checksum: number;
  sealed: boolean;
  cut: boolean;
  damagedEnd: number;
  last: RecordFrame | null;
}

/** Makes room for bytes up to `end`. */
export function reserve(block: MemoryBlock, end: number): void {
  if (end <= block.bytes.length) return;
  const grown = new Uint8Array(Math.min(block.capacity, Math.max(end, 2 * block.bytes.length)));
  grown.set(block.bytes);
  block.bytes = grown;
}

export function sameBytes(held: Uint8Array, offset: number, bytes: Uint8Array, length: number): boolean {
  return Buffer.compare(held.subarray(offset, offset + length), bytes.subarray(0, length)) === 0;
}

export function statusOf(ref: BlockRef, block: MemoryBlock | undefined): BlockStatus {
  if (block === undefined) {
    return { ref, state: "absent", held: 0, durable: 0, checksum: 0, cut: false, damaged: false };
  }
  const { held, durable, checksum, cut } = block;
  return {
    ref,
    state: block.sealed ? "sealed" : "open",
    held,
    durable,
    checksum,
    cut,
    damaged: block.damagedEnd > held,
  };
}
