// SettleMachine: when the old part of a union ring may go [C9]: no log is placed by an older ring any more, and every peer has since
// walked over all it holds and found it where the new part wants it.

import type { ClusterSnapshot, PeerStatus, VolumeState } from "#metadata";
import type { PeerId } from "#model";
import type { RingDescription } from "#ring";
import { hasTail } from "#volume";
import { isServing } from "./repair-machine.ts";

/** Some log has, or may get, blocks whose place an older ring than the one in force decides. */
export function namesOlderRings(snapshot: ClusterSnapshot): boolean {
  for (const state of snapshot.volumes.values())
    if (isPlacedByOlder(state, snapshot.ringVersion)) return true;
  return false;
}

/** A row counts for the blocks from `replayFrom` on: what comes before is sealed, and lies where the ring says. */
function isPlacedByOlder(state: VolumeState, ringVersion: number): boolean {
  const { head, logmap } = state;
  if (head === null || logmap === null) return false;
  return logmap.rows.some((row, i) => {
    if (row.ringVersion === ringVersion) return false;
    const next = logmap.rows.at(i + 1);
    if (next !== undefined) return next.fromIndex > head.replayFrom;
    return mayHaveTail(state);
  });
}

/** Whether the log may have blocks from its head's `replayFrom` on, or get some. Only who ended it in good order leaves none for sure. */
export function mayHaveTail(state: VolumeState): boolean {
  const { head, writer } = state;
  return head !== null && (hasTail(state) || writer.epoch !== head.epoch);
}

export interface SettleInput {
  /** In force. */
  readonly ring: RingDescription;
  readonly peers: readonly PeerStatus[];
  readonly absentMs: (peer: PeerId) => number;
  readonly repairAfterMs: number;
}

export type SettleDecision =
  /** The ring in force is no union. */
  | { readonly kind: "settled" }
  /** If no log is placed by an older ring. `missing` are peers of the old part that are given up: nobody needs what they have. */
  | { readonly kind: "settle"; readonly missing: readonly PeerId[] }
  | { readonly kind: "wait"; readonly reason: string };

/** Whole walks in a row that everybody must have ended well before a peer that is gone is not waited for. */
const walksWithoutIt = 2;

/** By what peers say of their walks; a walk counts only if no log was placed by an older ring when it began. `namesOlderRings` says whether one is now. */
export function decideSettling({ ring, peers, absentMs, repairAfterMs }: SettleInput): SettleDecision {
  if (ring.parts === undefined) return { kind: "settled" };
  const inNew = new Set(ring.parts.new.members.map(({ peer }) => peer));
  const reports = new Map(peers.map(({ peer, alive }) => [peer, alive?.upkeep ?? null]));
  const serving = new Set(peers.filter(isServing).map(({ peer }) => peer));
  const missing: PeerId[] = [];
  let walks = Number.POSITIVE_INFINITY;
  for (const { peer } of ring.members) {
    if (!serving.has(peer) && !inNew.has(peer) && absentMs(peer) >= repairAfterMs) {
      missing.push(peer);
      continue;
    }
    const report = reports.get(peer) ?? null;
    if (report === null || report.ringVersion !== ring.version)
      return { kind: "wait", reason: `peer ${peer} has not yet found all its blocks in place` };
    walks = Math.min(walks, report.walks);
  }
  if (missing.length > 0 && walks < walksWithoutIt)
    return { kind: "wait", reason: `peers ${missing.join(", ")} are away, and may have what others lack` };
  return { kind: "settle", missing };
}
