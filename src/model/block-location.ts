// Where a store keeps a block, for readers on its machine: they may read the store's file themselves, as they read what a peer sends
// them: unverified until its checksums were looked at.

import type { BlockRef } from "./block-ref.ts";
import type { TakeMemory } from "./block-store.ts";

/** Bytes of a slot's entry. */
export const locationEntryBytes = 64;
export const bootIdCharsMax = 64;
export const locationPathBytesMax = 4096;

/** In a store's file. */
export interface BlockSpot {
  /** Of the block's first byte. */
  readonly offset: number;
  /** So many bytes of it are in the file. */
  readonly length: number;
  readonly entryOffset: number;
  /** What the file has there for as long as the block lies here: the store, the slot and the block are in it, and nothing else is ever the same. */
  readonly entry: Uint8Array;
}

export interface BlockLocation extends BlockSpot {
  /** The machine, since it was started. */
  readonly bootId: string;
  /** Of the file, on that machine. */
  readonly path: string;
}

export interface Locator {
  /** `not-found` when nothing of the block is in the file. */
  locate(ref: BlockRef): Promise<BlockLocation>;
}

/** Reads that need not wait: of a store on this machine, or of what was kept. */
export interface NearReads {
  /** `readNow` will likely have them. */
  has(ref: BlockRef, offset: number, length: number): boolean;
  /** Bytes of `ref`, unverified, in what `take` gives; null where they cannot be had at once. */
  readNow(ref: BlockRef, offset: number, length: number, take: TakeMemory): Uint8Array | null;
  /** What was read of `ref` does not match its checksums: others are asked. */
  distrust(ref: BlockRef): void;
}
