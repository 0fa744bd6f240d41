// Puts together what torusblk serves volumes with: the metadata service, and the volumes of the cluster.

import type { OpenVolumes } from "#client";
import { metadataSurroundings, openVolumes } from "#client";
import { ClusterMetadata, openMetadata } from "#metadata";
import type { AttachedVolume, AttachWish, VolumeSummary } from "#volume";
import { divideMemory } from "./memory-plan.ts";
import type { CatalogDeps, CatalogOptions, ServedCatalog } from "./surroundings.ts";

/**
 * Rejects with what the metadata service says: a wrong URL, `not-found` when there is no cluster; with `invalid-argument` when there is too
 * little memory.
 */
export async function openVolumeCatalog(options: CatalogOptions, deps: CatalogDeps): Promise<ServedCatalog> {
  const service = await openMetadata(
    options.metadataUrl,
    { ...deps, ...metadataSurroundings() },
    { create: false },
  );
  try {
    const cluster = new ClusterMetadata(service, deps);
    const { memoryBytes } = options;
    const memory = memoryBytes === null ? null : divideMemory(memoryBytes, (await cluster.load()).blockBytes);
    const readCacheBytes = Math.min(options.readCacheBytes, memory?.readCacheBytes ?? options.readCacheBytes);
    const bounds = { readCacheBytes, memory: memory?.volumes ?? null };
    const opened = await openVolumes(cluster, { ...options, ...bounds }, deps);
    return new ComposedCatalog(memory?.requestBytes, opened, () => service.close());
  } catch (error) {
    await service.close();
    throw error;
  }
}

/** The volumes, and what goes down with them. */
class ComposedCatalog implements ServedCatalog {
  readonly requestBytes: number | undefined;
  readonly #opened: OpenVolumes;
  readonly #release: () => Promise<void>;

  constructor(requestBytes: number | undefined, opened: OpenVolumes, release: () => Promise<void>) {
    this.requestBytes = requestBytes;
    this.#opened = opened;
    this.#release = release;
  }

  list(): Promise<readonly VolumeSummary[]> {
    return this.#opened.volumes.list();
  }

  attach(name: string, options: AttachWish): Promise<AttachedVolume> {
    return this.#opened.volumes.attach(name, options);
  }

  async close(): Promise<void> {
    try {
      await this.#opened.close();
    } finally {
      await this.#release();
    }
  }
}
