// SnapshotVolume: a snapshot as a block device that can only be read. It takes no epoch, no lease and no fence: a snapshot never changes,
// so any number of readers may have it open, beside the volume's writer. A snapshot that is deleted under a reader is *lost*: every
// request fails and says so, whether or not its blocks are collected yet.

import type { ReadCache, RepairerDeps } from "#distributor";
import { Reader, Repairer, readerDefaults } from "#distributor";
import type { Clock, Log, Metrics, ReusedMemory } from "#host";
import type { ClusterMetadata, FoundSnapshot, NodePointer } from "#metadata";
import type { BlockStore, PeerId, TakeMemory } from "#model";
import { isTorusError, pageBytes, TorusError } from "#model";
import type { BlockDeviceInfo, Extent } from "./block-device.ts";
import { BlockTable } from "./block-table.ts";
import type { AttachedVolume } from "./catalog.ts";
import type { ClusterView } from "./cluster-view.ts";
import { rangeProblem } from "./device-range.ts";
import type { ExtentMap } from "./extent-map.ts";
import { nodesFrom, openInode } from "./inode.ts";
import { MapDifference } from "./map-difference.ts";
import { mapExtents } from "./map-extents.ts";
import { PageReader } from "./page-reader.ts";
import { inSpan, spanOf } from "./page-span.ts";
import type { PresentMap } from "./snapshot-changes.ts";
import { SnapshotChanges } from "./snapshot-changes.ts";
import { SnapshotWatch } from "./snapshot-watch.ts";

export interface SnapshotVolumeOptions {
  readonly volume: string;
  readonly snapshot: string;
  readonly mapCacheBytes: number;
}

export interface SnapshotVolumeDeps {
  readonly metadata: ClusterMetadata;
  readonly view: ClusterView;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly readCache: ReadCache;
  readonly readMemory: ReusedMemory;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** It was closed. */
  readonly onClosed: (volume: SnapshotVolume) => void;
}

interface Parts {
  readonly map: ExtentMap;
  readonly changes: SnapshotChanges;
  readonly pages: PageReader;
  readonly reader: Reader;
  readonly repairer: Repairer;
  readonly onClosed: (volume: SnapshotVolume) => void;
}

export class SnapshotVolume implements AttachedVolume {
  readonly info: BlockDeviceInfo;
  readonly lost: Promise<TorusError>;
  readonly #found: FoundSnapshot;
  readonly #watch: SnapshotWatch;
  readonly #parts: Parts;
  #closed = false;

  private constructor(found: FoundSnapshot, watch: SnapshotWatch, parts: Parts) {
    const { snapshot, volume } = found;
    this.#found = found;
    this.#watch = watch;
    this.lost = watch.gone;
    this.#parts = parts;
    this.info = {
      name: `${volume.spec.name}@${snapshot.name}`,
      sizeBytes: snapshot.sizeBytes,
      readOnly: true,
      preferredBytes: pageBytes,
      description: `Snapshot ${snapshot.name} of Torus volume ${volume.spec.name}`,
    };
  }

  /** Reads the INode's root and table. Rejects with `not-found`, `corrupt`. */
  static async open(options: SnapshotVolumeOptions, deps: SnapshotVolumeDeps): Promise<SnapshotVolume> {
    const { metadata, view, storeOf, metrics } = deps;
    const found = await metadata.snapshots.find(options.volume, options.snapshot);
    await view.requireRings([found.snapshot.ringVersion]);
    const table = new BlockTable();
    const log = deps.log.child({ volume: options.volume, snapshot: options.snapshot });
    const repairing: RepairerDeps = {
      storeOf,
      reader: () => reader,
      sealOf: (ref) => table.sealOf(ref),
      log,
      metrics,
    };
    const repairer = new Repairer(repairing);
    const reader = new Reader(readerDefaults, {
      ...deps,
      cache: deps.readCache,
      log,
      candidatesOf: (ref) => view.candidatesOf(ref),
      refresh: () => view.refreshRing(),
      replicas: () => view.ring.replicas,
      onBadCopy: (ref, peer) => repairer.report(ref, peer),
    });
    try {
      const inode = { root: found.snapshot.root, mapCacheBytes: options.mapCacheBytes };
      const { map } = await openInode(inode, { table, reader });
      const pages = new PageReader({ ...deps, map, table, windowBlock: () => undefined, reader });
      return new SnapshotVolume(found, new SnapshotWatch(found, { ...deps, log }), {
        map,
        changes: new SnapshotChanges(options, { metadata, readNode: nodesFrom(reader) }),
        pages,
        reader,
        repairer,
        onClosed: deps.onClosed,
      });
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** It never changes: a device of it goes on with whoever opens it next. */
  get device(): string {
    return this.#found.snapshot.token;
  }

  /** What was opened, with the revision of its key. */
  get found(): FoundSnapshot {
    return this.#found;
  }

  /** What this snapshot has otherwise than the INode at `root`, such as that of an older snapshot; null: all that is mapped. */
  differenceFrom(root: NodePointer | null): MapDifference {
    const readNode = nodesFrom(this.#parts.reader);
    return new MapDifference({ from: root, to: this.#found.snapshot.root }, { readNode });
  }

  async read(offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    this.#requireRange(offset, length);
    if (length === 0) return new Uint8Array(0);
    const span = spanOf(offset, length);
    const reading = this.#parts.pages.read(span.first, span.count, take);
    return inSpan(span, reading instanceof Promise ? await this.#whileThere(reading) : reading);
  }

  async extents(offset: number, length: number, countMax: number): Promise<readonly Extent[]> {
    this.#requireRange(offset, length);
    return this.#whileThere(mapExtents(this.#parts.map, { offset, length, countMax }));
  }

  async changedSince(
    snapshot: string,
    offset: number,
    length: number,
    countMax: number,
  ): Promise<readonly Extent[]> {
    this.#requireRange(offset, length);
    const present = (): PresentMap => ({ root: this.#found.snapshot.root, changed: [] });
    return this.#whileThere(this.#parts.changes.since(snapshot, present, { offset, length, countMax }));
  }

  /** What reading gave, unless the snapshot went meanwhile. */
  async #whileThere<T>(reading: Promise<T>): Promise<T> {
    const found = await reading.catch(async (error: unknown) => {
      // Bytes that nobody has are those of a snapshot that went, or else rot.
      if (isTorusError(error, "corrupt")) await this.#watch.look();
      throw this.#watch.error ?? error;
    });
    this.#requireRange(0, 0);
    return found;
  }

  write(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  trim(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  writeZeroes(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  /** Nobody was ever answered anything here that could be lost. */
  async cut(): Promise<null> {
    return null;
  }

  /** Nothing is written, so all of it is durable. */
  async flush(): Promise<void> {
    this.#requireRange(0, 0);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watch.close();
    this.#parts.onClosed(this);
    this.#parts.reader.close();
    await this.#parts.repairer.close();
  }

  #requireRange(offset: number, length: number): void {
    if (this.#closed) throw new TorusError("closed", `snapshot ${this.info.name} was closed`);
    if (this.#watch.error !== null) throw this.#watch.error;
    const problem = rangeProblem(this.info, offset, length);
    if (problem !== null) throw problem;
  }

  #readOnly(): TorusError {
    return new TorusError(
      "invalid-argument",
      `${this.info.name} is a snapshot: it can only be read; clone it to write`,
    );
  }
}

/** `VOLUME@SNAPSHOT`, or null for a volume's own name: neither may have an @ in it. */
export function parseSnapshotName(
  name: string,
): { readonly volume: string; readonly snapshot: string } | null {
  const at = name.indexOf("@");
  return at === -1 ? null : { volume: name.slice(0, at), snapshot: name.slice(at + 1) };
}
