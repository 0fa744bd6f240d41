// ClusterVolumes: the volumes of one cluster, attached by this process. One per process; it owns the view of the cluster and closes what
// it attached.

import { ReadCache } from "#distributor";
import type { Clock, Log, Metrics, Random } from "#host";
import { ReusedMemory, sleep } from "#host";
import type { Boot, ClusterMetadata, SnapshotRecord, VolumeKind, VolumeSpec } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { isTorusError, TorusError } from "#model";
import { attachVolume } from "./attach.ts";
import type { AttachOptions, AttachTuning, ClientsReach } from "./attach-options.ts";
import type { AttachedVolume, AttachWish, VolumeCatalog, VolumeSummary } from "./catalog.ts";
import type { CleanerOptions } from "./cleaner.ts";
import { cleanerDefaults } from "./cleaner.ts";
import { ClusterView } from "./cluster-view.ts";
import { LimitedVolume } from "./limited-volume.ts";
import type { ResizeOrderOptions } from "./resize-order.ts";
import { resizeVolume } from "./resize-order.ts";
import type { SnapshotOrderOptions } from "./snapshot-order.ts";
import { takeSnapshot } from "./snapshot-order.ts";
import type { SnapshotRestored, SnapshotRestoreOptions } from "./snapshot-restore.ts";
import { restoreSnapshot } from "./snapshot-restore.ts";
import { parseSnapshotName, SnapshotVolume } from "./snapshot-volume.ts";
import { hasTail } from "./tail-state.ts";
import type { Volume } from "./volume.ts";
import type { VolumeSpace } from "./volume-parts.ts";
import type { VolumesMemory } from "./volumes-memory.ts";
import { VolumesRoom } from "./volumes-memory.ts";

export interface ClusterVolumesOptions {
  readonly holder: string;
  readonly here: Boot | null;
  readonly clients: ClientsReach;
  readonly leaseTtlMs: number;
  readonly writeCacheBytes: number;
  /** Memory for the maps of each volume. */
  readonly mapCacheBytes: number;
  /** Memory for what was read, or will be soon, of peers on other machines: of all volumes together. None unless given. */
  readonly readCacheBytes?: number;
  /** What all together may take; without it they are as many as are asked for. */
  readonly memory?: VolumesMemory | null;
  readonly attachTimeoutMs: number;
  /** How long detaching waits for peers. */
  readonly closeTimeoutMs: number;
  /** How garbage is turned into space; `cleanerDefaults` when not given, null: it is left alone. */
  readonly cleaner?: CleanerOptions | null;
  readonly tuning?: AttachTuning;
}

export interface ClusterVolumesDeps {
  readonly metadata: ClusterMetadata;
  /** A store for each peer, given how to find its address. */
  readonly storesFor: (view: ClusterView) => (peer: PeerId) => BlockStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

const busyRetryMs = 250;

const nothing = (): void => {};

export class ClusterVolumes implements VolumeCatalog {
  readonly #options: ClusterVolumesOptions;
  readonly #deps: ClusterVolumesDeps;
  readonly #view: ClusterView;
  readonly #storeOf: (peer: PeerId) => BlockStore;
  readonly #reading: { readonly readCache: ReadCache; readonly readMemory: ReusedMemory };
  readonly #attached = new Set<Volume>();
  readonly #snapshots = new Set<SnapshotVolume>();
  readonly #room: VolumesRoom | null;
  #closed = false;

  private constructor(options: ClusterVolumesOptions, deps: ClusterVolumesDeps, view: ClusterView) {
    const { memory = null } = options;
    const mapCacheBytes = Math.min(options.mapCacheBytes, memory?.mapBytes ?? options.mapCacheBytes);
    this.#options = { ...options, mapCacheBytes };
    this.#room = memory === null ? null : new VolumesRoom(memory);
    this.#deps = deps;
    this.#view = view;
    this.#storeOf = deps.storesFor(view);
    const readCache = new ReadCache({ bytesMax: options.readCacheBytes ?? 0 }, deps);
    this.#reading = { readCache, readMemory: new ReusedMemory() };
    this.#countSpace();
  }

  /** `not-found` when there is no cluster yet. */
  static async open(options: ClusterVolumesOptions, deps: ClusterVolumesDeps): Promise<ClusterVolumes> {
    return new ClusterVolumes(options, deps, await ClusterView.open(deps));
  }

  async list(): Promise<readonly VolumeSummary[]> {
    const { volumes } = await this.#deps.metadata.volumes.list();
    const disks = volumes.filter(({ spec }) => spec.kind === "block");
    return disks.map(({ spec, snapshots }) => ({ name: spec.name, sizeBytes: spec.sizeBytes, snapshots }));
  }

  /**
   * Attaches, for those who keep to its limits. A volume that somebody else holds is waited for as long as a dead holder's lease may live, then `busy`.
   */
  async attach(name: string, options: AttachWish): Promise<AttachedVolume> {
    const named = parseSnapshotName(name);
    await this.#requireKind(named?.volume ?? name, "block");
    if (named !== null) return this.openSnapshot(named.volume, named.snapshot);
    return this.#attachInTime(name, options);
  }

  /** As `attach`, the device that a file is on (docs/formats/file.md). */
  async attachFile(name: string, options: { force: boolean }): Promise<AttachedVolume> {
    await this.#requireKind(name, "file");
    return this.#attachInTime(name, options);
  }

  async #requireKind(name: string, kind: VolumeKind): Promise<void> {
    const { spec } = await this.#deps.metadata.volumes.find(name);
    if (spec.kind === kind) return;
    const advice = kind === "block" ? "it is a file, for torusctl file and the library" : "it is a disk";
    throw new TorusError("invalid-argument", `volume "${name}" is no ${kind} volume: ${advice}`);
  }

  async #attachInTime(name: string, options: AttachWish): Promise<AttachedVolume> {
    const { clock, log } = this.#deps;
    const deadlineMs = clock.monotonicMs() + this.#options.leaseTtlMs + 1000;
    let waiting = false;
    for (;;) {
      try {
        const volume = await this.attachNow(name, options);
        return new LimitedVolume(volume, volume.orders.throttle, volume.orders.device);
      } catch (error) {
        if (!isTorusError(error, "busy") || clock.monotonicMs() >= deadlineMs || this.#closed) throw error;
        if (!waiting)
          log.info("the volume is attached elsewhere; waiting in case its lease runs out", {
            name,
            reason: error.message,
          });
        waiting = true;
        await sleep(clock, busyRetryMs);
      }
    }
  }

  /** As `attach`, of a volume, but `busy` at once. */
  async attachNow(name: string, { force, device }: AttachWish): Promise<Volume> {
    const { cleaner = cleanerDefaults, clients } = this.#options;
    const volume = await this.#attachOnce(name, force, { cleaner, clients, device });
    await this.#requireOpen(volume);
    return volume;
  }

  /** For reading, beside whoever writes the volume. */
  async openSnapshot(volume: string, snapshot: string): Promise<SnapshotVolume> {
    const { mapCacheBytes } = this.#options;
    const leave = this.#room?.enter(`${volume}@${snapshot}`) ?? nothing;
    const onClosed = (closed: SnapshotVolume): void => {
      leave();
      this.#snapshots.delete(closed);
    };
    try {
      const deps = { ...this.#deps, view: this.#view, storeOf: this.#storeOf, ...this.#reading, onClosed };
      const opened = await SnapshotVolume.open({ volume, snapshot, mapCacheBytes }, deps);
      await this.#requireOpen(opened);
      this.#snapshots.add(opened);
      return opened;
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** See `takeSnapshot`: by the volume's writer, or attached for the moment. */
  takeSnapshot(options: SnapshotOrderOptions): Promise<SnapshotRecord> {
    const attach = (volume: string): Promise<Volume> => this.attachNow(volume, { force: false });
    return takeSnapshot(options, { ...this.#deps, attach });
  }

  /** See `resizeVolume`: by the volume's writer, or attached for the moment. */
  resize(options: ResizeOrderOptions): Promise<VolumeSpec> {
    const attach = (volume: string): Promise<Volume> => this.attachNow(volume, { force: false });
    return resizeVolume(options, { ...this.#deps, attach });
  }

  /** See `restoreSnapshot`. */
  restoreSnapshot(options: SnapshotRestoreOptions): Promise<SnapshotRestored> {
    return restoreSnapshot(options, {
      ...this.#deps,
      attach: (name, force) => this.attachNow(name, { force }),
      openSnapshot: (of, name) => this.openSnapshot(of, name),
    });
  }

  async #requireOpen(volume: AttachedVolume): Promise<void> {
    if (!this.#closed) return;
    await volume.close();
    throw new TorusError(
      "closed",
      `"${volume.info.name}" was opened while this program stopped, and let go of again`,
    );
  }

  /**
   * Brings the end of a volume's log into a checkpoint: attaches it, without sessions, and detaches it [C20]. True when nothing is left
   * to be replayed; false when somebody has it attached, or peers did not take all of it in time. Rejects as attaching does.
   */
  async recoverTail(name: string): Promise<boolean> {
    const { volumes } = this.#deps.metadata;
    if (!hasTail(await volumes.find(name))) return true;
    try {
      const volume = await this.#attachOnce(name, false, { cleaner: null, clients: "none", device: "keep" });
      await volume.close();
    } catch (error) {
      if (isTorusError(error, "busy")) return false;
      throw error;
    }
    return !hasTail(await volumes.find(name));
  }

  /** It counts as attached until it is closed or lost. */
  async #attachOnce(
    name: string,
    force: boolean,
    use: Pick<AttachOptions, "cleaner" | "clients" | "device">,
  ): Promise<Volume> {
    const room = this.#room;
    const leave = room?.enter(name) ?? nothing;
    let attached: Volume | null = null;
    const onEnded = (): void => {
      leave();
      if (attached !== null) this.#attached.delete(attached);
    };
    const limits = room === null ? {} : { windowBytesMax: () => room.windowBytes };
    const deps = { ...this.#deps, view: this.#view, storeOf: this.#storeOf, ...this.#reading, onEnded };
    try {
      attached = await attachVolume({ ...this.#options, ...limits, ...use, name, force }, deps);
    } catch (error) {
      leave();
      throw error;
    }
    // One that was lost on its way here is told to whoever uses it.
    this.#attached.add(attached);
    void attached.lost.then(onEnded);
    return attached;
  }

  /** Of all volumes attached here; a program has one set of metrics. */
  #countSpace(): void {
    const { metrics } = this.#deps;
    const sum = (what: keyof VolumeSpace): number =>
      [...this.#attached].reduce((total, { space }) => total + space[what], 0);
    metrics.gauge("torus_volume_live_bytes", "Bytes volumes have in use, one copy", () => sum("liveBytes"));
    metrics.gauge("torus_volume_log_bytes", "Space of the blocks volumes have them in, one copy", () =>
      sum("logBytes"),
    );
  }

  /** Closes what is attached; rejects with the first failure once all were tried. */
  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#attached, ...this.#snapshots];
    const closed = await Promise.allSettled(open.map((volume) => volume.close()));
    this.#attached.clear();
    this.#view.close();
    for (const outcome of closed) if (outcome.status === "rejected") throw outcome.reason;
  }
}
