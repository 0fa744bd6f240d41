// A volume of a cluster as backups read it.

import type { OpenSnapshot, SnapshotIdentity, SourceSnapshot, SourceVolume, VolumeIdentity } from "#backup";
import type { ClusterMetadata, SnapshotRecord } from "#metadata";
import { isTorusError, TorusError } from "#model";
import type { ClusterVolumes } from "#volume";
import { snapshotTimeoutMs } from "./temporary-snapshot.ts";
import { findVolume } from "./volume-kind.ts";

export class ClusterSource implements SourceVolume {
  readonly identity: VolumeIdentity;
  readonly #volumes: ClusterVolumes;
  readonly #cluster: ClusterMetadata;

  private constructor(identity: VolumeIdentity, volumes: ClusterVolumes, cluster: ClusterMetadata) {
    this.identity = identity;
    this.#volumes = volumes;
    this.#cluster = cluster;
  }

  /** `not-found`. */
  static async of(name: string, volumes: ClusterVolumes, cluster: ClusterMetadata): Promise<ClusterSource> {
    const { clusterId } = await cluster.load();
    const { spec } = await findVolume(name, "block", cluster);
    return new ClusterSource({ name, id: spec.id, cluster: clusterId }, volumes, cluster);
  }

  async snapshots(): Promise<readonly SourceSnapshot[]> {
    return (await this.#records()).map(sourceSnapshot);
  }

  async take(name: string, labels: Readonly<Record<string, string>>): Promise<SourceSnapshot> {
    const order = { volume: this.identity.name, name, labels, timeoutMs: snapshotTimeoutMs };
    return sourceSnapshot(await this.#volumes.takeSnapshot(order));
  }

  async open({ name, token }: SnapshotIdentity): Promise<OpenSnapshot> {
    const opened = await this.#volumes.openSnapshot(this.identity.name, name);
    const { found } = opened;
    const records = await this.#records();
    const close = (): Promise<void> => opened.close();
    if (found.snapshot.token !== token || found.volume.spec.id !== this.identity.id) {
      await close();
      throw new TorusError("not-found", `snapshot ${this.identity.name}@${name} is another by now`);
    }
    return {
      device: opened,
      differenceFrom: (base) => opened.differenceFrom(base === null ? null : rootOf(base, records)),
      close,
    };
  }

  async remove({ name }: SnapshotIdentity): Promise<void> {
    await this.#cluster.snapshots.delete(this.identity.name, name).catch((error: unknown) => {
      if (!isTorusError(error, "not-found")) throw error;
    });
  }

  async #records(): Promise<readonly SnapshotRecord[]> {
    return (await this.#cluster.volumes.find(this.identity.name)).snapshots;
  }
}

function sourceSnapshot({ name, token, createdMs, sizeBytes, labels }: SnapshotRecord): SourceSnapshot {
  return { name, token, createdMs, sizeBytes, labels };
}

function rootOf(
  { name, token }: SnapshotIdentity,
  records: readonly SnapshotRecord[],
): SnapshotRecord["root"] {
  const found = records.find((record) => record.token === token);
  if (found !== undefined) return found.root;
  throw new TorusError(
    "not-found",
    `snapshot "${name}", which an earlier backup is of, was deleted just now: try again`,
  );
}
