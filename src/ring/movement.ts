// What a ring change would move, before it does: places a sample of blocks by both rings and counts the copies
// that change peers.

import type { BlockRef, PeerId } from "#model";
import { blockType } from "#model";
import type { Ring } from "./ring.ts";

export interface PeerMovement {
  readonly peer: PeerId;
  /** Copies of the sample it gains and gives up, as shares of all copies under the new ring. */
  readonly in: number;
  readonly out: number;
}

export interface Movement {
  /** Copies of the sample under the new ring. */
  readonly copies: number;
  /** Share of them (0..1) that must be sent to a peer that does not hold them under the old ring. */
  readonly share: number;
  /** Every peer of either ring, by id. */
  readonly peers: readonly PeerMovement[];
}

/** `count` refs that stand for the blocks of a cluster: many volumes, consecutive indexes. */
export function sampleRefs(count: number): BlockRef[] {
  return Array.from({ length: count }, (_, i) => ({
    type: blockType.data,
    volume: 1 + (i % 64),
    epoch: 1 + (i % 3),
    index: 1 + Math.floor(i / 64),
  }));
}

export function movement(from: Ring, to: Ring, refs: readonly BlockRef[]): Movement {
  const gains = new Map<PeerId, number>();
  const losses = new Map<PeerId, number>();
  let copies = 0;
  let moved = 0;
  for (const ref of refs) {
    const before = from.holders(ref);
    const after = to.holders(ref);
    copies += after.length;
    for (const peer of after) {
      if (before.includes(peer)) continue;
      moved += 1;
      gains.set(peer, (gains.get(peer) ?? 0) + 1);
    }
    for (const peer of before) if (!after.includes(peer)) losses.set(peer, (losses.get(peer) ?? 0) + 1);
  }
  const share = (count: number): number => (copies === 0 ? 0 : count / copies);
  const peers = [...new Set([...from.members, ...to.members].map((member) => member.peer))].sort();
  return {
    copies,
    share: share(moved),
    peers: peers.map((peer) => ({
      peer,
      in: share(gains.get(peer) ?? 0),
      out: share(losses.get(peer) ?? 0),
    })),
  };
}
