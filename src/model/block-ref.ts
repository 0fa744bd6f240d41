// BlockRef: the name of a block, unique for ever, and its 24 bytes on the wire and on disk.
//
//   0  u64  type in the low 24 bits, volume id in the high 40 (as in the original Torus)
//   8  u64  epoch: which writer of the volume made it
//   16 u64  index within {type, volume, epoch}, from 1
//
// All little-endian. A ref is never reused: epochs only grow and an index is taken once.

import { assert } from "./assert.ts";
import { TorusError } from "./errors.ts";

/** What a block holds. Each type counts its own index within an epoch. Shards (2 and up) are reserved. */
export const blockType = { data: 0, inode: 1 } as const;
export type BlockType = number;

/** 40 bits, minted by the metadata service, never reused. */
export type VolumeId = number;
/** How many writers the volume has had; from 1. */
export type Epoch = number;

export interface BlockRef {
  readonly type: BlockType;
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly index: number;
}

export const blockRefBytes = 24;
export const volumeIdMax = 2 ** 40 - 1;

/** The ref as a Map key and for messages: `volume.epoch.type.index`. */
export function blockRefKey(ref: BlockRef): string {
  return `${ref.volume}.${ref.epoch}.${ref.type}.${ref.index}`;
}

export function blockRefEquals(a: BlockRef, b: BlockRef): boolean {
  return a.index === b.index && a.epoch === b.epoch && a.volume === b.volume && a.type === b.type;
}

/** Writes the 24 bytes of `ref` at `offset` of `target`. */
export function encodeBlockRef(ref: BlockRef, target: DataView, offset: number): void {
  assert(ref.volume >= 0 && ref.volume <= volumeIdMax, "volume id fits 40 bits");
  target.setUint32(offset, (ref.type & 0xffffff) | ((ref.volume % 256) << 24), true);
  target.setUint32(offset + 4, Math.floor(ref.volume / 256), true);
  target.setUint32(offset + 8, ref.epoch >>> 0, true);
  target.setUint32(offset + 12, Math.floor(ref.epoch / 2 ** 32), true);
  target.setUint32(offset + 16, ref.index >>> 0, true);
  target.setUint32(offset + 20, Math.floor(ref.index / 2 ** 32), true);
}

/** Reads 24 bytes at `offset`. Throws `protocol` when a number does not fit 53 bits. */
export function decodeBlockRef(source: DataView, offset: number): BlockRef {
  const low = source.getUint32(offset, true);
  const epochHigh = source.getUint32(offset + 12, true);
  const indexHigh = source.getUint32(offset + 20, true);
  if (epochHigh >= 2 ** 21 || indexHigh >= 2 ** 21) {
    throw new TorusError("protocol", "a block reference has an epoch or index above 2^53");
  }
  return {
    type: low & 0xffffff,
    volume: source.getUint32(offset + 4, true) * 256 + (low >>> 24),
    epoch: epochHigh * 2 ** 32 + source.getUint32(offset + 8, true),
    index: indexHigh * 2 ** 32 + source.getUint32(offset + 16, true),
  };
}
