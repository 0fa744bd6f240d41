// Connections to peers for a few questions: opened by the addresses that peers registered, closed when the work is over.

import type { Clock, Log } from "#host";
import { Metrics } from "#host";
import { systemNetwork } from "#host/node";
import type { ClusterMetadata, PeerListing } from "#metadata";
import { PeerPool } from "#peer";

export interface AskedPeersDeps {
  readonly cluster: ClusterMetadata;
  readonly clock: Clock;
  readonly log: Log;
}

/** Rejects with what `work` rejects with, or `not-found` when there is no cluster. A peer without an address cannot be reached. */
export async function withAskedPeers<Result>(
  listing: PeerListing,
  { cluster, clock, log }: AskedPeersDeps,
  work: (pool: PeerPool) => Promise<Result>,
): Promise<Result> {
  const { clusterId } = await cluster.load();
  const addresses = new Map(listing.peers.map(({ peer, record }) => [peer, record?.address ?? null]));
  const pool = new PeerPool(
    { clusterId },
    {
      addressOf: (peer) => addresses.get(peer) ?? null,
      connect: systemNetwork.connect,
      clock,
      log,
      metrics: new Metrics(),
    },
  );
  try {
    return await work(pool);
  } finally {
    await pool.close();
  }
}
