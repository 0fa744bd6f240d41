// RepairMachine: which dead peer leaves the ring, and whether a peer that returned enters it again. Each is a new ring version, decided
// from what all agree on and committed by transaction, never a local opinion (docs/design.md §7).

import type { ClusterSnapshot, PeerStatus } from "#metadata";
import type { PeerId } from "#model";
import type { RingDescription, RingMember } from "#ring";
import { failureDomains } from "#ring";

export interface RepairInput {
  /** In force. */
  readonly ring: RingDescription;
  readonly peers: readonly PeerStatus[];
  readonly absentMs: (peer: PeerId) => number;
  readonly repairAfterMs: number;
}

export type RepairDecision =
  | { readonly kind: "none" }
  | { readonly kind: "remove"; readonly peer: PeerId }
  /** It should leave and cannot: an operator must see to it. */
  | { readonly kind: "stuck"; readonly peer: PeerId; readonly reason: string };

/** How the condition of a peer begins that wants an operator and serves all the same. */
export const attention = "attention: ";

/** A peer whose store failed is as good as away, though its daemon beats on. A full one serves, and one that wants attention. */
export function isServing({ alive }: PeerStatus): boolean {
  if (alive === null) return false;
  return alive.condition === "ok" || ["full", attention].some((start) => alive.condition.startsWith(start));
}

export function decideRepair({ ring, peers, absentMs, repairAfterMs }: RepairInput): RepairDecision {
  const plain = ring.parts?.new ?? ring;
  const isAlive = (peer: PeerId): boolean =>
    peers.some((status) => status.peer === peer && isServing(status));
  let stuck: RepairDecision | null = null;
  for (const { peer } of plain.members) {
    if (isAlive(peer) || absentMs(peer) < repairAfterMs) continue;
    const reason = problemWithout(plain, peer);
    if (reason === null) return { kind: "remove", peer };
    stuck ??= { kind: "stuck", peer, reason };
  }
  return stuck ?? { kind: "none" };
}

/** Why `ring` cannot do without `peer`, or null. */
export function problemWithout(ring: RingDescription, peer: PeerId): string | null {
  const left = ring.members.filter((member) => member.peer !== peer);
  if (left.length < ring.replicas)
    return `${left.length} peers would be left for ${ring.replicas} copies of each block`;
  for (const domain of failureDomains) {
    const before = Math.min(ring.replicas, countDomains(ring.members, domain));
    const after = countDomains(left, domain);
    if (after < before)
      return `copies are kept in ${before} failure domains of kind ${domain}, and ${after} would be left`;
  }
  return null;
}

/** Different values of the label; 0 where not every member has it, since then it keeps nothing apart. */
function countDomains(members: readonly RingMember[], domain: string): number {
  const values = members.map(({ labels }) => labels[domain]);
  return values.every((value) => value !== undefined) ? new Set(values).size : 0;
}

/**
 * What a peer does that finds itself taken out of the ring for having been away: enter again, as the member it was; or `forget` that it was
 * taken out, because an operator has changed its place since.
 */
export function decideReturn(
  self: PeerStatus,
  snapshot: ClusterSnapshot,
): { readonly kind: "none" | "forget" } | { readonly kind: "enter"; readonly member: RingMember } {
  const { peer, record, removed } = self;
  if (removed === null || record === null) return { kind: "none" };
  const isMember = (ring: RingDescription): boolean =>
    (ring.parts?.new ?? ring).members.some((member) => member.peer === peer);
  const since = [...snapshot.rings.values()].filter(({ version }) => version > removed.ringVersion);
  if (since.some(isMember)) return { kind: "forget" };
  if (!isServing(self)) return { kind: "none" };
  return { kind: "enter", member: { peer, weight: removed.weight, labels: record.labels } };
}
