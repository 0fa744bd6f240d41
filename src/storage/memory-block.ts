// A block of a store in memory.

import type { BlockRef, BlockStatus, Epoch, FenceReport, RecordFrame, VolumeId } from "#model";
import { blockType } from "#model";
import { durablePositionIn } from "./durable-position.ts";
import { requireReportable } from "./store-refusals.ts";

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

/** What a fence tells of the log of `logEpoch`. */
export function logOf(
  all: Iterable<MemoryBlock>,
  volume: VolumeId,
  logEpoch: Epoch,
  fromIndex: number,
): Pick<FenceReport, "blocks" | "durableIndex" | "durableOffset"> {
  const blocks: BlockStatus[] = [];
  let durableIndex = 0;
  let durableOffset = 0;
  for (const block of all) {
    const { ref } = block;
    if (ref.type !== blockType.data || ref.volume !== volume || ref.epoch !== logEpoch) continue;
    if (ref.index >= fromIndex) blocks.push(statusOf(ref, block));
    const known = block.bytes.subarray(0, Math.max(block.held, block.damagedEnd));
    const { index, offset } = durablePositionIn(known, ref, 0);
    if (index > durableIndex || (index === durableIndex && offset > durableOffset)) {
      durableIndex = index;
      durableOffset = offset;
    }
  }
  requireReportable(volume, blocks);
  blocks.sort((a, b) => a.ref.index - b.ref.index);
  return { blocks, durableIndex, durableOffset };
}
