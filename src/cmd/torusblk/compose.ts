// Puts together what torusblk serves volumes with: the metadata service, and the volumes of the cluster.

import type { OpenVolumes } from "#client";
import { metadataSurroundings, openVolumes } from "#client";
import { ClusterMetadata, openMetadata } from "#metadata";
import type { AttachedVolume, AttachWish, VolumeCatalog, VolumeSummary } from "#volume";
import type { CatalogDeps, CatalogOptions } from "./surroundings.ts";

/** Rejects with what the metadata service says: a wrong URL, `not-found` when there is no cluster. */
export async function openVolumeCatalog(options: CatalogOptions, deps: CatalogDeps): Promise<VolumeCatalog> {
  const service = await openMetadata(
    options.metadataUrl,
    { ...deps, ...metadataSurroundings() },
    { create: false },
  );
  try {
    const opened = await openVolumes(new ClusterMetadata(service, deps), options, deps);
    return new ComposedCatalog(opened, () => service.close());
  } catch (error) {
    await service.close();
    throw error;
  }
}

/** The volumes, and what goes down with them. */
class ComposedCatalog implements VolumeCatalog {
  readonly #opened: OpenVolumes;
  readonly #release: () => Promise<void>;

  constructor(opened: OpenVolumes, release: () => Promise<void>) {
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
