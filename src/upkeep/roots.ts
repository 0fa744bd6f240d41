// The INodes that are kept: a block that any of them needs is alive. Everything that keeps an INode must be listed here, and only
// here.

import type { ClusterSnapshot, NodePointer } from "#metadata";

/** The roots of all INodes that `snapshot` keeps: heads and snapshots of all volumes. Those of a clone name blocks of other volumes. */
export function rootsOf(snapshot: ClusterSnapshot): NodePointer[] {
  const roots: NodePointer[] = [];
  for (const { head, snapshots } of snapshot.volumes.values()) {
    if (head?.root != null) roots.push(head.root);
    for (const { root } of snapshots) roots.push(root);
  }
  return roots;
}
