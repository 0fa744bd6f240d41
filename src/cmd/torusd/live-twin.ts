// Is this peer alive elsewhere? A data directory that was copied gives two daemons one peer id, and clients bytes from
// either. The metadata service settles it in the end (the newer incarnation stays), but a daemon that is about to start asks first:
// whoever answers at the address the peer was last seen at, as this peer, is its twin.

import type { Clock, Connect, Log } from "#host";
import { Metrics } from "#host";
import type { ClusterMetadata } from "#metadata";
import type { PeerId } from "#model";
import { isTorusError, TorusError } from "#model";
import { PeerClient } from "#peer";

export interface LiveTwinDeps {
  readonly cluster: ClusterMetadata;
  readonly clusterId: string;
  readonly connect: Connect;
  readonly clock: Clock;
  readonly log: Log;
}

const answerMsMax = 1000;

/** Throws `busy` when another daemon answers as `peer`; `address` is our own. */
export async function requireNoTwin(peer: PeerId, address: string, deps: LiveTwinDeps): Promise<void> {
  const { peers } = await deps.cluster.peers.list();
  const known = peers.find((status) => status.peer === peer);
  const other = known?.record?.address;
  if (known?.alive == null || other === undefined || other === address) return;
  const { clusterId, connect, clock, log } = deps;
  const client = new PeerClient(
    { clusterId, peer, connectTimeoutMs: answerMsMax, requestTimeoutMs: answerMsMax },
    { connect, clock, log, metrics: new Metrics(), addressOf: () => other },
  );
  try {
    await client.usage();
  } catch (error) {
    // It is gone, its lease has only not run out yet; or something else has its address now.
    if (isTorusError(error)) return;
    throw error;
  } finally {
    await client.close();
  }
  throw new TorusError(
    "busy",
    `peer ${peer} is alive at ${other}: this data directory is a copy of that one's, or the other way round. Stop one, and empty its directory`,
    { peer, address: other },
  );
}
