// SimClient: a process that uses volumes: the real ClusterVolumes over the real links to peers. It attaches one volume after another
// and works with it for a while; it can be killed, stopped, and told to take a volume over by force.

import type { LogFields } from "#host";
import { sleep } from "#host";
import type { CutRecord, MetadataService } from "#metadata";
import { ClusterMetadata } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { isTorusError, messageOf } from "#model";
import { PeerPool } from "#peer";
import type { AttachedVolume, AttachTuning, CleanerOptions } from "#volume";
import { ClusterVolumes, cleanerDefaults } from "#volume";
import type { SimMetadata } from "./metadata.ts";
import { ProcessClock } from "./process-clock.ts";
import type { SeededRandom } from "./random.ts";
import type { WorkloadOptions } from "./session.ts";
import { Session } from "./session.ts";
import type { VolumeModel } from "./volume-model.ts";
import type { World } from "./world.ts";

export interface SimClientOptions {
  /** Of its machine: c1, c2, ... */
  readonly name: string;
  readonly clusterId: string;
  readonly leaseTtlMs: number;
  readonly clockRate: number;
  readonly workload: WorkloadOptions;
  readonly writeCacheBytes: number;
  readonly mapCacheBytes: number;
  readonly readCacheBytes: number;
  readonly tuning: AttachTuning;
  /** Volumes it attaches are cleaned. */
  readonly cleaning: boolean;
}

/** Where a canary puts itself between the parts of a client. */
export interface ClientSeams {
  readonly metadata?: (service: MetadataService, client: SimClient) => MetadataService;
  readonly store?: (store: BlockStore, client: SimClient) => BlockStore;
  readonly volume?: (volume: AttachedVolume, client: SimClient) => AttachedVolume;
  readonly clockRate?: number;
}

export interface SimClientDeps {
  readonly world: World;
  readonly metadata: SimMetadata;
  readonly models: readonly VolumeModel[];
  /** An operator ends the clients that were cut off, and says so. */
  readonly acceptLoss: (volume: string, cut: CutRecord) => Promise<void>;
  /** Nobody can have the volume any more. */
  readonly giveUp: (model: VolumeModel) => void;
}

const expectedAttachErrors = [
  "busy",
  "incomplete",
  "unavailable",
  "timeout",
  "fenced",
  "closed",
  "full",
] as const;
/** So eager that pages move all the time, also in volumes of a few pages. */
const simCleaner: CleanerOptions = {
  ...cleanerDefaults,
  garbageMin: 0.05,
  garbageMax: 0.3,
  roomyGarbageMin: 0.05,
  roomyGarbageMax: 0.3,
  gainBlocksMin: 1,
  lookEveryMs: 40,
  stepPages: 4,
};
const ownAttachErrors = ["attachment-lost", "conflict"] as const;

export class SimClient {
  readonly options: SimClientOptions;
  readonly world: World;
  readonly #deps: SimClientDeps;
  readonly #seams: ClientSeams;
  readonly #random: SeededRandom;
  #clock: ProcessClock;
  #lives = 0;
  #wallJumpMs = 0;
  #volumes: ClusterVolumes | null = null;
  #close: () => Promise<void> = async () => {};
  #sessions = new Set<Session>();
  /** Epoch in which this process last said it was attached, by volume. */
  #epochs = new Map<string, number>();
  #resting = false;

  constructor(options: SimClientOptions, seams: ClientSeams, deps: SimClientDeps) {
    this.options = options;
    this.world = deps.world;
    this.#deps = deps;
    this.#seams = seams;
    this.#random = deps.world.random(`client ${options.name}`);
    this.#clock = this.#newClock();
    this.#clock.kill();
  }

  get name(): string {
    return this.options.name;
  }

  get clock(): ProcessClock {
    return this.#clock;
  }

  /** The epoch in which this process last attached a volume; 0 for none. */
  epochOf(volume: string): number {
    return this.#epochs.get(volume) ?? 0;
  }

  get sessions(): ReadonlySet<Session> {
    return this.#sessions;
  }

  /** Starts the process, and its work; an `idle` one waits to be driven by hand. */
  start(idle = false): void {
    this.#lives += 1;
    this.#clock = this.#newClock();
    this.world.trace.add(this.name, `starts, life ${this.#lives}`);
    const clock = this.#clock;
    if (idle) return;
    this.#work(clock).catch((error: unknown) => {
      if (clock.alive) this.world.violateBy(error, this.name);
    });
  }

  /** The process ends without a word; with `power` not even its connections tell. */
  crash(power: boolean): void {
    if (!this.#clock.alive) return;
    this.world.trace.add(this.name, power ? "loses power" : "is killed");
    this.#clock.kill();
    this.world.network.resume(this.name);
    this.world.network.crash(this.name, { silent: power });
    this.#sessions = new Set();
    this.#volumes = null;
  }

  stop(suspend: boolean): void {
    this.#clock.stop({ suspend });
    this.world.network.pause(this.name);
  }

  proceed(): void {
    this.#clock.proceed();
    this.world.network.resume(this.name);
  }

  jumpWall(byMs: number): void {
    this.#wallJumpMs += byMs;
    this.#clock.jumpWall(byMs);
  }

  /** Attaches no more; sessions end after what they are doing. */
  rest(): void {
    this.#resting = true;
    for (const session of this.#sessions) session.stop();
  }

  /** Attaches `model` by force, beside whatever it does. */
  takeOver(model: VolumeModel): void {
    const volumes = this.#volumes;
    const clock = this.#clock;
    if (volumes === null || !clock.alive || this.#resting) return;
    this.#session(volumes, model, true, clock).catch((error: unknown) => {
      if (clock.alive) this.world.violateBy(error, this.name);
    });
  }

  /** Opens the cluster; for whoever drives this client by hand. */
  async open(): Promise<ClusterVolumes> {
    const { world, metadata } = this.#deps;
    const { leaseTtlMs, writeCacheBytes, mapCacheBytes, readCacheBytes, tuning } = this.options;
    const clock = this.#clock;
    const random = world.random(`process ${this.name} ${this.#lives}`);
    const log = world.log(this.name, (message, fields) => this.#logged(message, fields));
    const { metrics } = world;
    const plain = metadata.client(this.name, clock);
    const service = this.#seams.metadata?.(plain, this) ?? plain;
    const deps = { clock, random, log };
    let pool: PeerPool | null = null;
    const volumes = await ClusterVolumes.open(
      {
        holder: this.name,
        here: null,
        clients: "anywhere",
        leaseTtlMs,
        writeCacheBytes,
        mapCacheBytes,
        readCacheBytes,
        tuning,
        cleaner: this.options.cleaning ? simCleaner : null,
        attachTimeoutMs: 5000,
        closeTimeoutMs: 3000,
      },
      {
        ...deps,
        metrics,
        metadata: new ClusterMetadata(service, deps),
        storesFor: (view) => {
          const links = new PeerPool(
            { clusterId: this.options.clusterId },
            {
              ...deps,
              metrics,
              connect: world.network.machine(this.name).connect,
              addressOf: (peer) => view.addressOf(peer),
            },
          );
          pool = links;
          return this.#storesOf(links);
        },
      },
    );
    this.#close = async () => {
      await volumes.close();
      await pool?.close();
      await service.close();
    };
    return volumes;
  }

  /** Ends the process in order. */
  async close(): Promise<void> {
    try {
      await this.#close();
    } catch (error) {
      // A writeback volume on a full pool is told what it loses; that is no violation.
      if (!isTorusError(error, "full")) throw error;
      this.world.trace.add(this.name, `closes: ${error.message}`);
    }
    this.#clock.kill();
    this.world.network.crash(this.name);
  }

  /** Attaches and returns a session that has not begun, or null when that failed as it may. */
  async attach(volumes: ClusterVolumes, model: VolumeModel, force: boolean): Promise<Attached | null> {
    const { world } = this;
    const clock = this.#clock;
    if (world.counts.full > 0) world.counts.attachesOnFull += 1;
    world.trace.add(this.name, `attaches ${model.name}${force ? " by force" : ""}`);
    let volume: AttachedVolume;
    try {
      volume = await volumes.attach(model.name, { force });
    } catch (error) {
      world.trace.add(this.name, `cannot attach ${model.name}: ${messageOf(error)}`);
      if (this.#isGone(model, error)) return null;
      const isExpected = isTorusError(error, ...expectedAttachErrors, ...ownAttachErrors);
      if (!isExpected && clock.alive) world.violateBy(error, `${this.name} attaches ${model.name}`);
      return null;
    }
    const epoch = this.#epochs.get(model.name) ?? 0;
    const served = this.#seams.volume?.(volume, this) ?? volume;
    const cut = await this.#cutOf(served, model);
    if (cut === undefined) return null;
    const attachment = model.attached(epoch, force, cut !== null);
    if (cut !== null) await this.#deps.acceptLoss(model.name, cut);
    world.counts.attached += 1;
    const session = new Session(this.options.workload, {
      volume: served,
      model,
      attachment,
      random: world.random(`session ${model.name} ${epoch}`),
      clock,
      world,
      who: this.name,
    });
    return { volume, session };
  }

  /** It was given up, or is now: as of the metadata that was adopted it cannot be had. */
  #isGone(model: VolumeModel, error: unknown): boolean {
    const { models, metadata, giveUp } = this.#deps;
    if (!models.includes(model)) return true;
    if (isTorusError(error, "metadata-behind")) return metadata.hasGoneBack;
    if (!model.mayBeGone || !/cannot be had as of the backup/.test(messageOf(error))) return false;
    if (this.#clock.alive) giveUp(model);
    return true;
  }

  /** Whether clients of before are cut off. While that cannot be known nobody is served. */
  async #cutOf(volume: AttachedVolume, model: VolumeModel): Promise<CutRecord | null | undefined> {
    try {
      const cut = await volume.cut();
      if (cut !== null) this.world.trace.add(this.name, `clients of ${model.name} are cut off`);
      return cut;
    } catch (error) {
      if (!isTorusError(error, "unavailable", "timeout")) throw error;
      await volume.close().catch(() => {});
      return undefined;
    }
  }

  async #work(clock: ProcessClock): Promise<void> {
    const random = this.#random;
    while (this.#volumes === null && !this.#resting) {
      try {
        this.#volumes = await this.open();
      } catch (error) {
        if (!isTorusError(error, "unavailable", "timeout")) throw error;
        await sleep(clock, 500);
      }
    }
    while (!this.#resting && this.#volumes !== null) {
      const { models } = this.#deps;
      if (models.length > 0) await this.#session(this.#volumes, random.pick(models), random.oneIn(6), clock);
      await sleep(clock, random.between(10, 1000));
    }
  }

  async #session(
    volumes: ClusterVolumes,
    model: VolumeModel,
    force: boolean,
    clock: ProcessClock,
  ): Promise<void> {
    const attached = await this.attach(volumes, model, force);
    if (attached === null) return;
    const { session, volume } = attached;
    this.#sessions.add(session);
    const untilMs = clock.monotonicMs() + this.#random.between(500, this.options.workload.sessionMsMax);
    if (this.#resting) session.stop();
    await session.run(untilMs);
    this.#sessions.delete(session);
    try {
      await volume.close();
      this.world.trace.add(this.name, `closed ${model.name}`);
    } catch (error) {
      if (!isTorusError(error)) throw error;
      this.world.trace.add(this.name, `could not close ${model.name} well: ${error.message}`);
    }
  }

  /** The epoch of an attachment is its own affair; only its log says it. */
  #logged(message: string, fields: LogFields): void {
    if (message === "attached") this.#epochs.set(String(fields["volume"]), Number(fields["epoch"]));
  }

  #storesOf(links: PeerPool): (peer: PeerId) => BlockStore {
    const wrap = this.#seams.store;
    if (wrap === undefined) return (peer) => links.storeOf(peer);
    const wrapped = new Map<PeerId, BlockStore>();
    return (peer) => {
      const store = wrapped.get(peer) ?? wrap(links.storeOf(peer), this);
      wrapped.set(peer, store);
      return store;
    };
  }

  #newClock(): ProcessClock {
    const rate = this.#seams.clockRate ?? this.options.clockRate;
    return new ProcessClock({ rate, wallJumpMs: this.#wallJumpMs }, this.world.clock);
  }
}

export interface Attached {
  readonly volume: AttachedVolume;
  readonly session: Session;
}
