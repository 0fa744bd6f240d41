// RepairMachine: which dead peers leave the ring, and whether a peer that returned enters it again. Each is a new ring version, decided
// from what all agree on and committed by transaction, never a local opinion (docs/design.md §7).
//
// Peers that died together (a rack) leave together, in one change: only so many changes of the ring may be under way at once, and none of those can
// end while a member that is dead is still to leave.

import type { PeerStatus } from "#metadata";
import { gonePeersMax } from "#metadata";
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
  | { readonly kind: "remove"; readonly peers: readonly PeerId[] }
  /** It should leave and cannot: an operator must see to it. */
  | { readonly kind: "stuck"; readonly peer: PeerId; readonly reason: string };

/** How the condition of a peer begins that wants an operator and serves all the same. */
export const attention = "attention: ";

/** A peer whose store failed is as good as away, though its daemon beats on. A full one serves, and one that wants attention. */
export function isServing({ alive }: PeerStatus): boolean {
  if (alive === null) return false;
  return alive.condition === "ok" || ["full", attention].some((start) => alive.condition.startsWith(start));
}

/** The place of `peer` among those that serve, by id: whose turn it is first; infinity when it does not. */
export function rankOf(peer: PeerId, peers: readonly PeerStatus[]): number {
  const serving = peers.filter(isServing).map((status) => status.peer);
  return serving.includes(peer) ? serving.filter((other) => other < peer).length : Number.POSITIVE_INFINITY;
}

/** A peer that is due waits this long for those that went away a little later. */
const gatherMsMax = 30_000;

export function decideRepair({ ring, peers, absentMs, repairAfterMs }: RepairInput): RepairDecision {
  const plain = ring.parts?.new ?? ring;
  const gatherMs = Math.min(gatherMsMax, repairAfterMs / 10);
  const longAway = plain.members.filter(({ peer }) => absentMs(peer) >= repairAfterMs - gatherMs);
  if (longAway.length === 0) return { kind: "none" };
  const serving = new Set(peers.filter(isServing).map(({ peer }) => peer));
  let stuck: RepairDecision | null = null;
  let left = plain;
  const leaving: PeerId[] = [];
  let isGathering = false;
  let isLate = false;
  for (const { peer } of longAway) {
    const awayMs = absentMs(peer);
    if (serving.has(peer)) continue;
    if (awayMs < repairAfterMs) {
      isGathering = true;
      continue;
    }
    const reason = problemWithout(left, peer);
    if (reason === null && leaving.length < gonePeersMax) {
      leaving.push(peer);
      left = { ...left, members: left.members.filter((member) => member.peer !== peer) };
      isLate ||= awayMs >= repairAfterMs + gatherMs;
    } else if (reason !== null) stuck ??= { kind: "stuck", peer, reason };
  }
  if (leaving.length > 0)
    return isGathering && !isLate ? { kind: "none" } : { kind: "remove", peers: leaving };
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
 * What becomes of a peer that was taken out of the ring for having been away: it enters again, as the member it was; or it is to `forget` that it was
 * taken out, because an operator has changed its place since. `rings`: all there were.
 */
export function decideReturn(
  self: PeerStatus,
  rings: readonly RingDescription[],
): { readonly kind: "none" | "forget" } | { readonly kind: "enter"; readonly member: RingMember } {
  const { peer, record, removed } = self;
  if (removed === null || record === null) return { kind: "none" };
  const isMember = (ring: RingDescription): boolean =>
    (ring.parts?.new ?? ring).members.some((member) => member.peer === peer);
  const since = rings.filter(({ version }) => version > removed.ringVersion);
  if (since.some(isMember)) return { kind: "forget" };
  if (!isServing(self)) return { kind: "none" };
  return { kind: "enter", member: { peer, weight: removed.weight, labels: record.labels } };
}
