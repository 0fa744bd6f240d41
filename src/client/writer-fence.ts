// Before a volume goes, whoever may still write it is shut out: its peers are told to refuse every epoch below the one the
// deletion took. A write is answered only when all of an ensemble hold it, and an ensemble has at least `minReplicas` peers,
// so the writer is shut out once fewer than that many are left that were not told.

import type { ClusterMetadata, VolumeState } from "#metadata";
import { type Epoch, isTorusError, messageOf, metadataBehind, type PeerId, TorusError } from "#model";
import { plainRing } from "#ring";
import { FenceDecision } from "#volume";
import type { AskedPeersDeps } from "./asked-peers.ts";
import { withAskedPeers } from "./asked-peers.ts";

export interface FenceOptions {
  /** Go on when too many peers are silent. */
  readonly force: boolean;
}

export interface FenceDeps extends AskedPeersDeps {
  readonly warn: (message: string) => void;
}

/** Above every index a log can have: the fence's answer need not list blocks nobody will read. */
const noIndex = 2 ** 52;

/** Throws `unavailable` naming the silent peers when the writer is not certainly shut out (a warning with `force`); `metadata-behind` when a peer knows a newer epoch. */
export async function shutOutWriters(
  state: VolumeState,
  epoch: Epoch,
  options: FenceOptions,
  deps: FenceDeps,
): Promise<void> {
  // The first epoch is the deletion's own: nobody ever wrote.
  if (epoch <= 1) return;
  const peers = await peersOf(state, deps.cluster);
  const silent = await fencePeers(peers, state, epoch, deps);
  if (silent.length === 0) return;
  const { name, minReplicas } = state.spec;
  if (silent.length < Math.min(minReplicas, peers.length)) {
    for (const failure of silent) deps.log.debug("A peer was not fenced; the others suffice.", { failure });
    return;
  }
  const claim = `${silent.length} of ${peers.length} peers were not told that volume "${name}" goes (${silent.join("; ")})`;
  if (!options.force)
    throw new TorusError("unavailable", `${claim}: start them and delete again, or use --force`);
  deps.warn(`${claim}: a writer that still runs may believe that its writes are kept`);
}

/** Every peer an ensemble of the log may have. */
async function peersOf(state: VolumeState, cluster: ClusterMetadata): Promise<PeerId[]> {
  const versions = new Set(state.logmap?.rows.map((row) => row.ringVersion) ?? []);
  const rings = await Promise.all([...versions].map((version) => cluster.rings.version(version)));
  if (rings.length === 0) rings.push(await cluster.rings.current());
  return [...new Set(rings.flatMap((ring) => plainRing(ring).members.map((member) => member.peer)))];
}

/** Asks all at once; a text for each that did not answer. */
async function fencePeers(
  peers: readonly PeerId[],
  state: VolumeState,
  epoch: Epoch,
  deps: FenceDeps,
): Promise<string[]> {
  const { cluster } = deps;
  const listing = await cluster.peers.list();
  const decide = async () => (await cluster.adoption.lookAtVolume(state.spec.id)).basis;
  const decision = new FenceDecision(await decide(), decide);
  const order = { volume: state.spec.id, epoch, logEpoch: state.logmap?.epoch ?? epoch, fromIndex: noIndex };
  const results = await withAskedPeers(listing, deps, (pool) =>
    Promise.allSettled(peers.map((peer) => decision.fence(order, pool.storeOf(peer)))),
  );
  const addresses = new Map(listing.peers.map(({ peer, record }) => [peer, record?.address]));
  return results.flatMap((result, at) => {
    if (result.status === "fulfilled") return [];
    if (isTorusError(result.reason, "metadata-behind")) throw result.reason;
    // The epoch was taken in the metadata before any peer could hear of it: who has a newer one has seen newer metadata.
    if (isTorusError(result.reason, "fenced")) {
      throw metadataBehind(
        `peer ${peers[at]} knows a newer epoch of volume "${state.spec.name}"; nothing was deleted`,
      );
    }
    return [`${addresses.get(peers[at]) ?? peers[at]}: ${messageOf(result.reason)}`];
  });
}
