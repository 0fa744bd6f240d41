// Asking peers what they remember of the metadata: every peer that registered, and every one that a ring which still counts names.

import type { AskedPeersDeps } from "#client";
import { withAskedPeers } from "#client";
import { sleep } from "#host";
import type { ClusterSnapshot, PeerListing, PeerTestimony } from "#metadata";
import { messageOf, type PeerId, testifyWhole } from "#model";
import type { RingDescription } from "#ring";

export interface Witnesses {
  readonly testimonies: readonly PeerTestimony[];
  /** Who did not answer, and why. */
  readonly silent: readonly { readonly peer: PeerId; readonly reason: string }[];
}

const acceptMsMax = 15_000;
const askEveryMs = 500;

/** Peers that may know more than the metadata does: registered, or of the ring in force or one that a log is placed by. */
export function peersToAsk(
  listing: PeerListing,
  snapshot: ClusterSnapshot,
  versions: readonly RingDescription[],
): PeerId[] {
  const named = [...snapshot.volumes.values()].flatMap(({ logmap }) =>
    (logmap?.rows ?? []).map((row) => row.ringVersion),
  );
  const counts = new Set([snapshot.ringVersion, ...named]);
  const rings = versions.filter(({ version }) => counts.has(version));
  const members = rings.flatMap((ring) => ring.members.map((member) => member.peer));
  return [...new Set([...listing.peers.map(({ peer }) => peer), ...members])].sort();
}

/** Asks all of `peers` at the same time, once. */
export async function askWitnesses(
  peers: readonly PeerId[],
  listing: PeerListing,
  deps: AskedPeersDeps,
): Promise<Witnesses> {
  const testimonies: PeerTestimony[] = [];
  const silent: { peer: PeerId; reason: string }[] = [];
  await withAskedPeers(listing, deps, (pool) =>
    Promise.all(
      peers.map(async (peer) => {
        try {
          testimonies.push({ ...(await testifyWhole(pool.storeOf(peer))), peer });
        } catch (error) {
          silent.push({ peer, reason: messageOf(error) });
        }
      }),
    ),
  );
  return { testimonies, silent };
}

/** Waits until `peers` have seen generation `generation` and take it. Resolves with those that have not in time, and why. */
export async function awaitAcceptance(
  peers: readonly PeerId[],
  generation: number,
  listing: PeerListing,
  deps: AskedPeersDeps,
): Promise<readonly string[]> {
  const { clock } = deps;
  const deadlineMs = clock.monotonicMs() + acceptMsMax;
  return withAskedPeers(listing, deps, async (pool) => {
    for (;;) {
      const refusals = await Promise.all(
        peers.map(async (peer) => {
          try {
            const { view, behind } = await pool.storeOf(peer).testify(0, 1);
            if (behind === "" && view?.generation === generation) return "";
            return `peer ${peer}: ${behind || "it has not looked yet"}`;
          } catch (error) {
            return `peer ${peer}: ${messageOf(error)}`;
          }
        }),
      );
      const left = refusals.filter((refusal) => refusal !== "");
      if (left.length === 0 || clock.monotonicMs() >= deadlineMs) return left;
      await sleep(clock, askEveryMs);
    }
  });
}
