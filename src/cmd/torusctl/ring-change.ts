// Changing the ring, for all commands that do: what would be unsafe is refused, what will move is told.

import type { ClusterMetadata, PeerListing, PeerStatus } from "#metadata";
import { TorusError } from "#model";
import { createRing, movement, type RingDescription, type RingMember, sampleRefs } from "#ring";
import type { Answer, Output } from "../shared/output.ts";

/** Blocks of a sample that tell how much moves: to about one percent. */
const sampleBlocks = 4096;

/** The peer as a member of a ring: weight is its size, labels are its own. `not-found` when it never registered. */
export function memberOf(status: PeerStatus): RingMember {
  if (status.record === null) {
    throw new TorusError(
      "not-found",
      `peer ${status.peer} never registered, so its size is unknown: start its torusd first`,
    );
  }
  const { peer, sizeBytes, labels } = status.record;
  return { peer, weight: sizeBytes, labels };
}

/** Peers by UUID, the start of one (at least four characters), or ADDRESS; `not-found` lists what is known. */
export function findPeers(listing: PeerListing, names: readonly string[]): PeerStatus[] {
  const found = names.map((name) => findPeer(listing, name));
  return found.filter((status, at) => found.indexOf(status) === at);
}

function findPeer(listing: PeerListing, name: string): PeerStatus {
  const exact = listing.peers.filter((status) => status.peer === name || status.record?.address === name);
  const matches =
    exact.length > 0 || name.length < 4
      ? exact
      : listing.peers.filter((status) => status.peer.startsWith(name));
  if (matches.length === 1) return matches[0];
  const known = listing.peers.map(
    (status) => `${status.peer} (${status.record?.address ?? "no address"}, ${status.membership})`,
  );
  const reason = matches.length === 0 ? "is not a known peer" : `names ${matches.length} peers`;
  throw new TorusError(
    "not-found",
    `"${name}" ${reason}: ${known.length === 0 ? "no peer has registered yet, start torusd" : `known are ${known.join(", ")}`}`,
  );
}

/** Refuses, unless `force`, a ring with fewer peers than copies, or copies than a volume asks for. */
export async function requireSafeRing(
  cluster: ClusterMetadata,
  next: RingDescription,
  force: boolean,
): Promise<string[]> {
  const problems: string[] = [];
  if (next.members.length < next.replicas) {
    problems.push(
      `the ring would have ${next.members.length} peers for ${next.replicas} copies of each block`,
    );
  }
  const { volumes } = await cluster.volumes.list();
  const strict = volumes.filter(
    ({ spec }) => spec.minReplicas > Math.min(next.replicas, next.members.length),
  );
  if (strict.length > 0) {
    const names = strict.slice(0, 5).map(({ spec }) => `${spec.name} (${spec.minReplicas})`);
    problems.push(`volumes that need more copies than it gives would stall: ${names.join(", ")}`);
  }
  if (problems.length > 0 && !force) {
    throw new TorusError("conflict", `${problems.join("; ")}; use --force if that is wanted`);
  }
  return problems;
}

export interface RingChange {
  readonly output: Output;
  /** Also what would be unsafe. */
  readonly force: boolean;
  /** What was done, for people. */
  readonly did: string;
}

/** Puts `next` in force and prints what that means. */
export async function putRingInForce(
  cluster: ClusterMetadata,
  current: RingDescription,
  next: RingDescription,
  options: RingChange,
): Promise<void> {
  options.output.print(await changeRing(cluster, current, next, options));
}

/** Puts `next` in force; what there is to tell about it. */
export async function changeRing(
  cluster: ClusterMetadata,
  current: RingDescription,
  next: RingDescription,
  options: RingChange,
): Promise<Answer> {
  const problems = await requireSafeRing(cluster, next, options.force);
  const ring = await cluster.rings.change(current, next);
  for (const problem of problems) options.output.warn(problem);
  const { share } = movement(createRing(current), createRing(next), sampleRefs(sampleBlocks));
  const percent = current.members.length === 0 ? 0 : Math.round(share * 100);
  const moving = ring.type === "union";
  return {
    json: { ring, moving, movedShare: moving ? share : 0 },
    message: `${options.did}: ring version ${ring.version} has ${next.members.length} peers, ${next.replicas} copies of each block${moving ? `; about ${percent}% of all copies move` : ""}`,
  };
}
