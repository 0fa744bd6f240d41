// The order in which stores list blocks.

import type { BlockRef } from "#model";

/** The order of `list`: volume, epoch, type, index. */
export function compareBlockRefs(a: BlockRef, b: BlockRef): number {
  return a.volume - b.volume || a.epoch - b.epoch || a.type - b.type || a.index - b.index;
}
