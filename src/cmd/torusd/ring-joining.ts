// Joining the ring: a ring change that adds peers, tried again while others change the ring at the same time.

import type { Clock, Log } from "#host";
import { sleep } from "#host";
import type { ClusterMetadata } from "#metadata";
import { isTorusError, TorusError } from "#model";
import type { RingDescription, RingMember } from "#ring";
import { addMembers } from "#ring";

export interface RingJoiningDeps {
  readonly cluster: ClusterMetadata;
  readonly clock: Clock;
  readonly log: Log;
}

const attemptsMax = 20;
const retryMs = 100;

/** Adds those of `members` that are not in the ring; resolves with the ring in force then. */
export async function joinRing(
  members: readonly RingMember[],
  deps: RingJoiningDeps,
): Promise<RingDescription> {
  const { cluster, clock, log } = deps;
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const current = await cluster.rings.current();
    const known = new Set((current.parts?.new ?? current).members.map(({ peer }) => peer));
    const missing = members.filter(({ peer }) => !known.has(peer));
    if (missing.length === 0) return current;
    try {
      const ring = await cluster.rings.change(current, addMembers(current, missing));
      log.info("Joined the ring.", { ring: ring.version, peers: missing.map(({ peer }) => peer) });
      return ring;
    } catch (error) {
      if (!isTorusError(error, "conflict")) throw error;
      await sleep(clock, retryMs * attempt);
    }
  }
  throw new TorusError(
    "conflict",
    "the ring kept changing while this peer tried to join it: add it with torusctl peer add",
  );
}
