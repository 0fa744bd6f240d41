// What `torus up` makes in the metadata before it serves: the cluster, and the volume once the peers are in the ring.

import { setTimeout as sleep } from "node:timers/promises";
import { metadataSurroundings } from "#client";
import type { Log } from "#host";
import { systemClock, systemRandom } from "#host/node";
import { ClusterMetadata, openMetadata } from "#metadata";
import { blockBytesDefault, formatBytes, isTorusError, TorusError } from "#model";

export const replicasWanted = 3;
/** Members a block keeps at the least when some fail. */
const minReplicasWanted = 2;
const pollMs = 50;
const joinMsMax = 30_000;

export async function openCluster(url: string, log: Log): Promise<ClusterMetadata> {
  const service = await openMetadata(url, { clock: systemClock, log, ...metadataSurroundings() });
  return new ClusterMetadata(service, { clock: systemClock, random: systemRandom, log });
}

/** Makes the cluster if there is none. */
export async function ensureCluster(cluster: ClusterMetadata, peers: number): Promise<void> {
  try {
    await cluster.load();
  } catch (error) {
    if (!isTorusError(error, "not-found")) throw error;
    const replicas = Math.min(replicasWanted, peers);
    await cluster.init({
      blockBytes: blockBytesDefault,
      ring: { version: 1, type: "rendezvous", replicas, members: [] },
    });
  }
}

/** Waits until `peers` have joined the ring; resolves with its replication. */
export async function awaitPeers(cluster: ClusterMetadata, peers: number): Promise<number> {
  const deadlineMs = performance.now() + joinMsMax;
  for (;;) {
    const ring = await cluster.rings.current();
    const members = ring.parts?.new.members ?? ring.members;
    if (members.length >= peers) return ring.replicas;
    if (performance.now() > deadlineMs) {
      throw new TorusError(
        "timeout",
        `only ${members.length} of ${peers} peers joined the ring within ${joinMsMax / 1000} s`,
      );
    }
    await sleep(pollMs);
  }
}

/** Makes the volume if there is none; resolves with its size, which is what it was made with. */
export async function ensureVolume(
  cluster: ClusterMetadata,
  request: { readonly name: string; readonly sizeBytes: number; readonly replicas: number },
  say: (line: string) => void,
): Promise<number> {
  const { name, sizeBytes, replicas } = request;
  try {
    const { spec } = await cluster.volumes.find(name);
    if (spec.sizeBytes !== sizeBytes) {
      say(`Volume ${name} exists with ${formatBytes(spec.sizeBytes)} and keeps that size.`);
    }
    return spec.sizeBytes;
  } catch (error) {
    if (!isTorusError(error, "not-found")) throw error;
  }
  const minReplicas = Math.min(minReplicasWanted, replicas);
  await cluster.volumes.create({ name, sizeBytes, acknowledge: "replicated", minReplicas });
  return sizeBytes;
}
