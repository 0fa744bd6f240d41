// Whether a volume that nobody has attached has a tail: an end of its log that no INode covers, and that therefore keeps blocks where they are,
// some of them maybe with too few copies, until somebody attaches it [C20].

import type { VolumeState } from "#metadata";

/**
 * Something may have to be replayed. A head says that its log has ended only when it was committed after the last block was sealed, by a
 * writer that appends nothing more; a writer that took a later epoch and has no head of it never served.
 */
export function hasTail({ head }: VolumeState): boolean {
  return head !== null && !head.ended;
}
