// OwnStore: the store a peer looks after. What others reach over the wire is a BlockStore; only the peer itself may
// delete, and look past the page cache at what its disk really has.

import type { BlockRef, BlockStore } from "#model";

export interface OwnStore extends BlockStore {
  /**
   * Drops a block, durably when it resolves; false when there is none. `mayRemove` is asked in the very turn in which the block
   * ceases to be here, and what it forbids stays: so a decision that was overtaken while it waited is not carried out.
   */
  remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean>;

  /** Whether the sealed copy of `ref`, read from the disk, passes its own checksum; null when there is no sealed copy. */
  verify(ref: BlockRef): Promise<boolean | null>;
}
