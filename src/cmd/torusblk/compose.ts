// Puts together what torusblk serves volumes with: the metadata service, a link to every peer, and the volumes of the cluster.

import { systemNetwork } from "#host/node";
import { ClusterMetadata, openMetadata } from "#metadata";
import { PeerPool } from "#peer";
import type { AttachedVolume, VolumeCatalog, VolumeSummary } from "#volume";
import { ClusterVolumes } from "#volume";
import { metadataSurroundings } from "../shared/metadata-surroundings.ts";
import type { CatalogDeps, CatalogOptions } from "./surroundings.ts";

const attachTimeoutMs = 30_000;
const closeTimeoutMs = 20_000;

/** Rejects with what the metadata service says: a wrong URL, `not-found` when there is no cluster. */
export async function openVolumeCatalog(options: CatalogOptions, deps: CatalogDeps): Promise<VolumeCatalog> {
  const service = await openMetadata(
    options.metadataUrl,
    { ...deps, ...metadataSurroundings() },
    { create: false },
  );
  let pool: PeerPool | null = null;
  try {
    const volumes = await ClusterVolumes.open(
      {
        holder: options.holder,
        here: options.here,
        clients: options.clients,
        leaseTtlMs: options.leaseTtlMs,
        writeCacheBytes: options.writeCacheBytes,
        mapCacheBytes: options.readCacheBytes,
        attachTimeoutMs,
        closeTimeoutMs,
      },
      {
        ...deps,
        metadata: new ClusterMetadata(service, deps),
        storesFor: (view) => {
          const { clusterId } = view.cluster;
          const links = new PeerPool(
            { clusterId },
            { ...deps, connect: systemNetwork.connect, addressOf: (peer) => view.addressOf(peer) },
          );
          pool = links;
          return (peer) => links.storeOf(peer);
        },
      },
    );
    return new ComposedCatalog(volumes, async () => {
      await pool?.close();
      await service.close();
    });
  } catch (error) {
    await service.close();
    throw error;
  }
}

/** The volumes, and what goes down with them. */
class ComposedCatalog implements VolumeCatalog {
  readonly #volumes: ClusterVolumes;
  readonly #release: () => Promise<void>;

  constructor(volumes: ClusterVolumes, release: () => Promise<void>) {
    this.#volumes = volumes;
    this.#release = release;
  }

  list(): Promise<readonly VolumeSummary[]> {
    return this.#volumes.list();
  }

  attach(name: string, options: { force: boolean }): Promise<AttachedVolume> {
    return this.#volumes.attach(name, options);
  }

  async close(): Promise<void> {
    await this.#volumes.close();
    await this.#release();
  }
}
