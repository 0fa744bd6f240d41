// A ring in one line for people, and the order of peers that does not depend on how a description lists them.

import type { Ring, RingMember } from "./ring.ts";

/** Such as `rendezvous ring, version 4: 3 peers, 3 replicas`. */
export function describeRing(ring: Ring): string {
  const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const line = `${ring.type} ring, version ${ring.version}: ${plural(ring.members.length, "peer")}, ${plural(ring.replicas, "replica")}`;
  if (ring.parts === undefined) return line;
  return `${line} (moving from ${ring.parts.old.describe()} to ${ring.parts.new.describe()})`;
}

/** By peer id in code unit order: the same on every machine and in every locale. */
export function sortedByPeer(members: readonly RingMember[]): RingMember[] {
  return [...members].sort((a, b) => (a.peer < b.peer ? -1 : a.peer > b.peer ? 1 : 0));
}
