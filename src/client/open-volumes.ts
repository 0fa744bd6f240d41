// The volumes of a cluster as a program of this machine uses them: a link to every peer, and what goes down with them.

import type { Clock, Log, Metrics, Random } from "#host";
import { openBootClock, openForeignFile, systemNetwork } from "#host/node";
import type { Boot, ClusterMetadata } from "#metadata";
import { PeerPool } from "#peer";
import type { CleanerOptions, ClientsReach, VolumesMemory } from "#volume";
import { ClusterVolumes } from "#volume";

export interface VolumesOptions {
  /** How much a `writeback` volume may have answered and not yet sent everywhere. */
  readonly writeCacheBytes: number;
  /** Memory of the maps of each volume. */
  readonly mapCacheBytes: number;
  /** Memory for what was read of peers on other machines, of all volumes together. */
  readonly readCacheBytes: number;
  readonly leaseTtlMs: number;
  /** Who holds the volumes, for messages: program, pid and host. */
  readonly holder: string;
  /** The machine, since it was started; null when that is not known for certain. */
  readonly here: Boot | null;
  /** Where clients may be that outlive this process and come back. */
  readonly clients: ClientsReach;
  /** Null: garbage is left alone. */
  readonly cleaner?: CleanerOptions | null;
  /** What all of them may take together. */
  readonly memory?: VolumesMemory | null;
}

export interface VolumesDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface OpenVolumes {
  readonly volumes: ClusterVolumes;
  /** Closes what is attached, and the links. Rejects with the first attachment that could not be closed cleanly. */
  close(): Promise<void>;
}

const attachTimeoutMs = 30_000;
const closeTimeoutMs = 20_000;

/** `not-found` when there is no cluster yet. `metadata` stays open. */
export async function openVolumes(
  metadata: ClusterMetadata,
  options: VolumesOptions,
  deps: VolumesDeps,
): Promise<OpenVolumes> {
  let pool: PeerPool | null = null;
  const volumes = await ClusterVolumes.open(
    { ...options, attachTimeoutMs, closeTimeoutMs },
    {
      ...deps,
      metadata,
      storesFor: (view) => {
        const { clusterId } = view.cluster;
        const links = new PeerPool(
          { clusterId },
          {
            ...deps,
            connect: systemNetwork.connect,
            addressOf: (peer) => view.addressOf(peer),
            nearBy: { bootId: openBootClock().bootId, openFile: openForeignFile },
          },
        );
        pool = links;
        return (peer) => links.storeOf(peer);
      },
    },
  );
  const close = async (): Promise<void> => {
    try {
      await volumes.close();
    } finally {
      await pool?.close();
    }
  };
  return { volumes, close };
}
