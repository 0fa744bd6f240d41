// PlacementChecker: whether blocks are where the ring wants them, told by looking at every store at once. In the end each sealed block
// whose place the ring decides is on all desired peers and nowhere else, and no old ring is kept. At the moment in which an old
// ring is let go, no block is on its peers alone [C9]. Dead blocks may be anywhere: peers collect them, each when it finds them.

import type { ClusterSnapshot } from "#metadata";
import type { BlockRef, BlockStatus } from "#model";
import { blockRefKey } from "#model";
import { desiredPeers, ringOf, standingOf } from "#upkeep";
import type { SimCluster } from "./cluster.ts";

const pageBlocks = 1000;

/** What is not in place, in words; null when all is. */
export async function misplaced(cluster: SimCluster): Promise<string | null> {
  const snapshot = await cluster.admin.snapshot();
  const ring = ringOf(snapshot);
  const holders = await sealedHolders(cluster, snapshot);
  const nameOf = (id: string): string => cluster.peers.find((peer) => peer.id === id)?.name ?? id;
  for (const { ref, peers } of holders.values()) {
    const desired = desiredPeers(ring, ref);
    const lacking = desired.filter((peer) => !peers.has(peer));
    const others = [...peers].filter((peer) => !desired.includes(peer));
    if (lacking.length === 0 && others.length === 0) continue;
    const shown = (ids: readonly string[]): string => ids.map(nameOf).join(" ") || "nobody";
    return `block ${blockRefKey(ref)}: ring ${ring.version} wants it on ${shown(desired)}; ${shown(lacking)} lack it, ${shown(others)} have it besides`;
  }
  if (ring.type === "union") return `ring ${ring.version} is still a union`;
  const { peers } = await cluster.admin.peers.list();
  const isThere = (id: string): boolean => cluster.peers.some((peer) => peer.id === id);
  const out = peers.find(({ peer, removed }) => removed !== null && isThere(peer));
  return out === undefined ? null : `peer ${nameOf(out.peer)} was taken out of the ring and is not back`;
}

/** A ring was settled just now: every block must be on some peer of what is left of it. */
export async function checkSettled(cluster: SimCluster): Promise<void> {
  const snapshot = await cluster.admin.snapshot();
  const ring = ringOf(snapshot);
  if (ring.type === "union") return;
  const members = new Set(ring.members.map(({ peer }) => peer));
  // A peer that is down may have what is looked for.
  if (cluster.peers.some(({ id, store }) => members.has(id) && store === null)) return;
  const holders = await sealedHolders(cluster, snapshot);
  // What is dead is not moved, and goes where it is.
  const needed = await cluster.space.needed();
  if (needed === null) return;
  for (const [key, { ref, peers }] of holders) {
    if (!needed.has(key) || [...peers].some((peer) => members.has(peer))) continue;
    cluster.world.violate(
      "settled too early",
      `block ${blockRefKey(ref)} is on no peer of ring ${ring.version}, which was just settled`,
    );
  }
}

type Holders = Map<string, { readonly ref: BlockRef; readonly peers: Set<string> }>;

/** Who has a sealed copy of each block whose place the ring decides. */
async function sealedHolders(cluster: SimCluster, snapshot: ClusterSnapshot): Promise<Holders> {
  const holders = new Map<string, { ref: BlockRef; peers: Set<string> }>();
  for (const { store } of cluster.peers) {
    if (store === null) continue;
    for (let after: BlockRef | null = null; ; ) {
      const page: { blocks: readonly BlockStatus[]; next: BlockRef | null } = await store.list(
        after,
        pageBlocks,
      );
      for (const { ref, state } of page.blocks) {
        if (state !== "sealed" || standingOf(ref, snapshot) !== "placed") continue;
        const key = blockRefKey(ref);
        const holder = holders.get(key) ?? { ref, peers: new Set<string>() };
        holder.peers.add(store.peer);
        holders.set(key, holder);
      }
      if (page.next === null) break;
      after = page.next;
    }
  }
  return holders;
}
