// Ring changes as pure functions: each returns the next description (version one higher) and checks it in full. To
// let data move while both are in use, publish `makeUnion(current, next)`, and `settleUnion` of that when every
// peer has finished moving and no logmap names the old ring. A change to a union is a change to its new part.

import type { PeerId } from "#model";
import { TorusError } from "#model";
import { decodeRingDescription, unionMembers } from "./description.ts";
import type { RingDescription, RingMember, RingType } from "./ring.ts";

/** What a change starts from: the plain ring that new blocks follow, with the next version. */
function successor(current: RingDescription): RingDescription {
  const plain = current.parts?.new ?? current;
  return { ...plain, version: current.version + 1 };
}

/** `already-exists` when a member is in the ring. An empty ring becomes a rendezvous ring; a single ring must change its type first. */
export function addMembers(current: RingDescription, members: readonly RingMember[]): RingDescription {
  const next = successor(current);
  const known = new Set(next.members.map((member) => member.peer));
  const twice = members.find((member) => known.has(member.peer));
  if (twice !== undefined)
    throw new TorusError("already-exists", `peer ${twice.peer} is in the ring already`);
  const type = next.type === "empty" && members.length > 0 ? "rendezvous" : next.type;
  return decodeRingDescription({ ...next, type, members: [...next.members, ...members] });
}

/** `not-found` when a peer is not in the ring. */
export function removeMembers(current: RingDescription, peers: readonly PeerId[]): RingDescription {
  const next = successor(current);
  const known = new Set(next.members.map((member) => member.peer));
  const missing = peers.find((peer) => !known.has(peer));
  if (missing !== undefined) throw new TorusError("not-found", `peer ${missing} is not in the ring`);
  const removed = new Set(peers);
  return decodeRingDescription({ ...next, members: next.members.filter(({ peer }) => !removed.has(peer)) });
}

export function setReplicas(current: RingDescription, replicas: number): RingDescription {
  return decodeRingDescription({ ...successor(current), replicas });
}

/** The same members under another kind of ring. A union is not asked for: it is made of two rings. */
export function withType(current: RingDescription, type: Exclude<RingType, "union">): RingDescription {
  return decodeRingDescription({ ...successor(current), type });
}

/** The ring to publish while data moves from `current` to `next` (which a change of `current` returned). */
export function makeUnion(current: RingDescription, next: RingDescription): RingDescription {
  return decodeRingDescription({
    version: current.version + 1,
    type: "union",
    replicas: next.replicas,
    members: unionMembers(current.members, next.members),
    parts: { old: current, new: next },
  });
}

/** The union's new part alone, when nothing needs the old one any more. */
export function settleUnion(current: RingDescription): RingDescription {
  if (current.parts === undefined) {
    throw new TorusError("invalid-argument", `ring version ${current.version} is not a union`);
  }
  return decodeRingDescription(successor(current));
}
