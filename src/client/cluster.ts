// Cluster: a cluster as a program of people has it: its files, and its volumes.

import { Metrics } from "#host";
import { createLog, systemClock, systemRandom } from "#host/node";
import type { SnapshotRecord, TombstoneRecord, VolumeSpec, VolumeState } from "#metadata";
import { ClusterMetadata, openMetadata } from "#metadata";
import { isTorusError, leaseTtlMsDefault, messageOf, TorusError, volumeBytesMax } from "#model";
import { TorusFile } from "./file.ts";
import type { OpenVolumes, VolumesDeps } from "./open-volumes.ts";
import { openVolumes } from "./open-volumes.ts";
import { metadataSurroundings } from "./surroundings.ts";
import type { FenceDeps } from "./writer-fence.ts";
import { shutOutWriters } from "./writer-fence.ts";

export interface ConnectOptions {
  /** Who this is, for whoever asks who has a file open; the process's id unless told. */
  readonly holder?: string;
}

export interface OpenFileOptions {
  /** Make it when it is not there; else `not-found`. */
  readonly create?: boolean;
  /** How long a file that is made is at first. */
  readonly size?: number;
  /** Take it from whoever has it open: their calls fail from then on. */
  readonly force?: boolean;
}

export interface NewVolume {
  readonly sizeBytes: number;
  readonly acknowledge?: "replicated" | "writeback";
}

/** Opens the cluster whose metadata is at `url`, such as sqlite:PATH or etcd://HOST:2379. It keeps the process running until it is closed. */
export async function connect(url: string, options: ConnectOptions = {}): Promise<Cluster> {
  const log = createLog({ level: "silent", name: "torus" }, { write: () => {} });
  const deps = { clock: systemClock, random: systemRandom, log, metrics: new Metrics() };
  const service = await openMetadata(url, { ...deps, ...metadataSurroundings() }, { create: false });
  const metadata = new ClusterMetadata(service, deps);
  try {
    const holder = options.holder ?? `process ${process.pid}`;
    return new Cluster(metadata, await openVolumes(metadata, { ...memory, holder }, deps), deps);
  } catch (error) {
    await metadata.close();
    throw error;
  }
}

const memory = {
  writeCacheBytes: 16 * 2 ** 20,
  mapCacheBytes: 64 * 2 ** 20,
  readCacheBytes: 64 * 2 ** 20,
  leaseTtlMs: leaseTtlMsDefault,
  here: null,
  clients: "none",
} as const;

export class Cluster {
  readonly #metadata: ClusterMetadata;
  readonly #opened: OpenVolumes;
  readonly #fencing: FenceDeps;

  constructor(
    metadata: ClusterMetadata,
    opened: OpenVolumes,
    { clock, log }: Pick<VolumesDeps, "clock" | "log">,
  ) {
    this.#metadata = metadata;
    this.#opened = opened;
    this.#fencing = { cluster: metadata, clock, log, warn: (message) => log.warn(message) };
  }

  /**
   * The file `NAME` or `SET/NAME`, for this process alone. Rejects with `busy` while somebody else has it open, `not-found`, or with what attaching
   * met.
   */
  async openFile(name: string, options: OpenFileOptions = {}): Promise<TorusFile> {
    const isNew = options.create === true && (await this.#createFile(name));
    const device = await this.#opened.volumes.attachFile(name, { force: options.force ?? false });
    try {
      const file = await TorusFile.open(name, device);
      if (isNew && options.size !== undefined) await file.truncate(options.size);
      return file;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /**
   * Makes a file, with what `fill` puts into it. When that fails the file goes again, unless somebody else has opened it by then. Rejects with
   * `already-exists` when there is one of that name, or with what `fill` met.
   */
  async createFile<Result>(name: string, fill: (file: TorusFile) => Promise<Result>): Promise<Result> {
    if (!(await this.#createFile(name)))
      throw new TorusError("already-exists", `a volume named "${name}" exists already: choose another name`);
    // Each who opens it takes an epoch: of a new file this is the first.
    let openings = 0;
    try {
      const file = await this.openFile(name);
      openings = 1;
      const result = await fill(file).catch(async (error: unknown) => {
        await file.close().catch(() => {});
        throw error;
      });
      await file.close();
      return result;
    } catch (error) {
      await this.#withdraw(name, openings).catch((failure: unknown) => {
        throw stillThere(name, error, failure);
      });
      throw error;
    }
  }

  /** By name; with `set` only those in it. */
  async listFiles(set?: string): Promise<readonly VolumeState[]> {
    const { volumes } = await this.#metadata.volumes.list();
    return volumes.filter(
      ({ spec }) => spec.kind === "file" && (set === undefined || spec.name.startsWith(`${set}/`)),
    );
  }

  /** For good. `busy` while somebody has it open, `not-found`. */
  async deleteFile(name: string): Promise<void> {
    await this.#delete(name, "file");
  }

  async listVolumes(): Promise<readonly VolumeState[]> {
    const { volumes } = await this.#metadata.volumes.list();
    return volumes.filter(({ spec }) => spec.kind === "block");
  }

  async createVolume(
    name: string,
    { sizeBytes, acknowledge = "replicated" }: NewVolume,
  ): Promise<VolumeSpec> {
    const minReplicas = await this.#minReplicas();
    return this.#metadata.volumes.create({ name, sizeBytes, acknowledge, minReplicas });
  }

  /** For good. `busy` while it is attached, or has snapshots; `not-found`. */
  async deleteVolume(name: string): Promise<void> {
    await this.#delete(name, "block");
  }

  /** Of a volume or a file, in use or not. */
  takeSnapshot(volume: string, snapshot: string): Promise<SnapshotRecord> {
    const options = { volume, name: snapshot, labels: {}, timeoutMs: snapshotMsMax };
    return this.#opened.volumes.takeSnapshot(options);
  }

  deleteSnapshot(volume: string, snapshot: string): Promise<SnapshotRecord> {
    return this.#metadata.snapshots.delete(volume, snapshot);
  }

  /** Files that are still open are closed first. */
  async close(): Promise<void> {
    try {
      await this.#opened.close();
    } finally {
      await this.#metadata.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** True when it was made; false when it was there. */
  async #createFile(name: string): Promise<boolean> {
    const minReplicas = await this.#minReplicas();
    const file = {
      name,
      kind: "file",
      sizeBytes: volumeBytesMax,
      acknowledge: "replicated",
      minReplicas,
    } as const;
    try {
      await this.#metadata.volumes.create(file);
      return true;
    } catch (error) {
      if (isTorusError(error, "already-exists")) return false;
      throw error;
    }
  }

  async #minReplicas(): Promise<number> {
    return Math.min(2, (await this.#metadata.rings.current()).replicas);
  }

  async #delete(name: string, kind: "block" | "file"): Promise<TombstoneRecord> {
    const { spec } = await this.#metadata.volumes.find(name);
    if (spec.kind !== kind)
      throw new TorusError("invalid-argument", `"${name}" is a ${spec.kind} volume, not a ${kind} one`);
    return this.#metadata.volumes.delete(name, {
      force: false,
      fence: (state, epoch) => shutOutWriters(state, epoch, { force: false }, this.#fencing),
    });
  }

  /** Deletes a file that only this has opened, and so often. */
  async #withdraw(name: string, openings: number): Promise<void> {
    await this.#metadata.volumes.delete(name, {
      force: false,
      fence: async (state, epoch) => {
        if (epoch > openings + 1)
          throw new TorusError("busy", `somebody else has opened file "${name}" meanwhile`);
        await shutOutWriters(state, epoch, { force: false }, this.#fencing);
      },
    });
  }
}

/** `error`, and that the file which was made is not gone again. */
function stillThere(name: string, error: unknown, failure: unknown): TorusError {
  const code = error instanceof TorusError ? error.code : "io";
  const message = `${messageOf(error)}; and file "${name}", which was made for it, is there still: ${messageOf(failure)}`;
  return new TorusError(code, message, {}, { cause: error });
}

const snapshotMsMax = 60_000;
