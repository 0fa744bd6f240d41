// The INodes that are kept: a block that any of them needs is alive. Everything that keeps an INode must be listed here, and only
// here.

import type { ClusterSnapshot, NodePointer } from "#metadata";

/** The roots of all INodes that `snapshot` keeps: the heads of all volumes. */
export function rootsOf(snapshot: ClusterSnapshot): NodePointer[] {
  const roots: NodePointer[] = [];
  for (const { head } of snapshot.volumes.values()) {
    if (head?.root != null) roots.push(head.root);
  }
  return roots;
}
