// The INodes that are kept, and the logs: a block that any of them needs is alive. Everything that keeps a block must be listed here, and only
// here.

import type { ClusterSnapshot, NodePointer, VolumeState } from "#metadata";
import type { BlockRef } from "#model";
import { blockType } from "#model";

/**
 * The roots of all INodes that `snapshot` keeps: heads, snapshots and points of the histories of all volumes. Those of a clone name blocks of other
 * volumes.
 */
export function rootsOf(snapshot: ClusterSnapshot): NodePointer[] {
  const roots: NodePointer[] = [];
  for (const { head, snapshots, history } of snapshot.volumes.values()) {
    if (head?.root != null) roots.push(head.root);
    for (const { root } of snapshots) roots.push(root);
    for (const { root } of history?.points ?? []) roots.push(root);
  }
  return roots;
}

/**
 * What a volume's history says of a block of its log. "needed": the log has it from the oldest point's replay position on, though no INode may name it:
 * what is in it may have been overwritten before the next checkpoint, and a flush in between rests on it. "superseded": it was still open, or behind
 * such a one, when the log of its epoch was over, and the next log has all of it; only points of before that name it, and from none of them it is
 * read. "none": the history does not care.
 */
export function historyStanding(
  { type, epoch, index }: Omit<BlockRef, "volume">,
  { history }: Pick<VolumeState, "history">,
): "needed" | "superseded" | "none" {
  const points = history?.points ?? [];
  const oldest = points.at(0);
  if (oldest === undefined || type !== blockType.data || epoch < oldest.epoch) return "none";
  if (epoch === oldest.epoch && index < oldest.replayFrom) return "none";
  // An epoch without a point never served.
  if (!points.some((point) => point.epoch === epoch)) return "none";
  const next = points.find((point) => point.epoch > epoch);
  return next === undefined || index < (next.previousEnd ?? 0) ? "needed" : "superseded";
}
