// SimPeerUpkeep: the upkeep of one simulated peer, for as long as its process runs: the real Upkeep over the peer's store, a line to
// the metadata service, a heartbeat, and links to the other peers.

import type { LogFields } from "#host";
import { Metrics, sleep } from "#host";
import type { ObservedStore, UpkeepReport } from "#metadata";
import { ClusterMetadata, MetadataObserver, PeerHeartbeat } from "#metadata";
import type { BlockRef, BlockStore, Confirmer, ConfirmReport, PeerId, PeerStore } from "#model";
import { isTorusError, TorusError } from "#model";
import { PeerPool } from "#peer";
import type { DiskStore } from "#storage";
import type { OwnStore, ScrubNote, TailDeps, UpkeepDeps, UpkeepOptions } from "#upkeep";
import { noGuard, Upkeep } from "#upkeep";
import { ClusterView, ClusterVolumes, hasTail } from "#volume";
import type { SimMetadata } from "./metadata.ts";
import { PassingStore } from "./passing-store.ts";
import type { ProcessClock } from "./process-clock.ts";
import type { SpaceChecker } from "./space-checker.ts";
import { AuditedStore } from "./space-checker.ts";
import type { Witness } from "./witness.ts";
import type { World } from "./world.ts";

/** Where a canary puts itself. */
export interface UpkeepSeams {
  /** What is asked of another peer. */
  readonly link?: (store: PeerStore) => PeerStore;
  /** What this peer answers that another asks before it deletes. */
  readonly confirmer?: (confirmer: Confirmer, store: BlockStore) => Confirmer;
  readonly deps?: (deps: UpkeepDeps) => UpkeepDeps;
}

export interface SimPeerUpkeepOptions {
  readonly name: string;
  readonly address: string;
  readonly clusterId: string;
  readonly sizeBytes: number;
  readonly upkeep: UpkeepOptions;
  readonly recoversTails: boolean;
}

export interface SimPeerUpkeepDeps {
  readonly world: World;
  readonly metadata: SimMetadata;
  readonly space: SpaceChecker;
  readonly clock: ProcessClock;
  readonly store: OwnStore;
  readonly incarnation: number;
  /** To be shown the metadata; null: nobody looks whether it went back. */
  readonly observed: ObservedStore | null;
  readonly isBehind: () => boolean;
  readonly scrubNote: ScrubNote;
  readonly seams: UpkeepSeams;
}

const heartbeat = { ttlMs: 3000, intervalMs: 1000 };
const openRetryMs = 500;
/** Without a look at the metadata for so long a peer lets nobody in. */
export const lookMsMax = 2700;
const pauseMsMax = 2500;

/** How a volume is attached for no longer than its tail takes. */
const tailAttachment = {
  here: null,
  clients: "none",
  leaseTtlMs: 3000,
  writeCacheBytes: 0,
  mapCacheBytes: 2 ** 20,
  attachTimeoutMs: 5000,
  closeTimeoutMs: 3000,
  cleaner: null,
} as const;

export class SimPeerUpkeep implements Confirmer {
  readonly #options: SimPeerUpkeepOptions;
  readonly #deps: SimPeerUpkeepDeps;
  #upkeep: Upkeep | null = null;
  #confirmer: Confirmer | null = null;

  constructor(options: SimPeerUpkeepOptions, deps: SimPeerUpkeepDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  get status(): UpkeepReport | null {
    return this.#upkeep?.status ?? null;
  }

  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    if (this.#confirmer === null) throw new TorusError("unavailable", "upkeep has not begun");
    return this.#confirmer.confirm(ringVersion, refs);
  }

  /** Begins when the metadata service answers. */
  start(): void {
    const { clock, world } = this.#deps;
    this.#openWhenPossible().catch((error: unknown) => {
      if (clock.alive) world.violateBy(error, `upkeep of ${this.#options.name}`);
    });
  }

  async #openWhenPossible(): Promise<void> {
    for (;;) {
      try {
        await this.#open();
        return;
      } catch (error) {
        if (!isTorusError(error)) throw error;
        await sleep(this.#deps.clock, openRetryMs);
      }
    }
  }

  async #open(): Promise<void> {
    const { world, metadata, clock, incarnation, seams } = this.#deps;
    const { name, clusterId, upkeep: options } = this.#options;
    const log = world.log(`${name} upkeep`, (message, fields) => this.#logged(message, fields));
    const store = this.#audited();
    const random = world.random(`upkeep ${name} ${incarnation}`);
    const metrics = new Metrics();
    const cluster = new ClusterMetadata(metadata.client(name, clock), { clock, random, log });
    const view = await ClusterView.open({ metadata: cluster, clock, log });
    const links = new PeerPool(
      { clusterId },
      {
        addressOf: (peer) => view.addressOf(peer),
        connect: world.network.machine(name).connect,
        clock,
        log,
        metrics,
      },
    );
    const storeOf = (peer: PeerId): PeerStore => {
      const link = links.storeOf(peer);
      return seams.link?.(link) ?? link;
    };
    const same = { clock, random, log, metrics };
    const deps: UpkeepDeps = {
      ...same,
      store,
      metadata: cluster,
      view,
      storeOf,
      guard: noGuard,
      mayDelete: () => !this.#deps.isBehind(),
      scrubNote: this.#deps.scrubNote,
      scrubs: null,
      tails: this.#options.recoversTails ? await this.#tails(cluster, links, same) : null,
    };
    const upkeep = new Upkeep(options, seams.deps?.(deps) ?? deps);
    this.#upkeep = upkeep;
    this.#confirmer = seams.confirmer?.(upkeep, store) ?? upkeep;
    upkeep.start();
    await this.#beat(cluster, upkeep);
  }

  /** The real way to recover tails, over the same links. */
  async #tails(
    metadata: ClusterMetadata,
    links: PeerPool,
    deps: Pick<UpkeepDeps, "clock" | "random" | "log" | "metrics">,
  ): Promise<TailDeps> {
    const holder = `upkeep of ${this.#options.name}`;
    const volumes = await ClusterVolumes.open(
      { ...tailAttachment, holder },
      { ...deps, metadata, storesFor: () => (peer) => links.storeOf(peer), metrics: new Metrics() },
    );
    const { trace } = this.#deps.world;
    return {
      hasTail,
      recoverTail: async (name) => {
        const isDone = await volumes.recoverTail(name);
        trace.add(holder, `the tail of ${name} ${isDone ? "is recovered" : "is still there"}`);
      },
    };
  }

  /** What its collector removes is looked at. */
  #audited(): OwnStore {
    const { store, space } = this.#deps;
    const isDead = (ref: BlockRef): boolean => this.#upkeep?.isDead(ref) ?? false;
    return new AuditedStore(store, isDead, (ref) => space.removed(store.peer, ref));
  }

  #logged(message: string, fields: LogFields): void {
    const { metadata, space } = this.#deps;
    if (/of a volume that the metadata/.test(message) && !metadata.hasGoneBack)
      space.alarmed(this.#options.name, fields["volume"]);
  }

  async #beat(cluster: ClusterMetadata, upkeep: Upkeep): Promise<void> {
    const { world, clock, store, incarnation, observed } = this.#deps;
    const { name, address, sizeBytes } = this.#options;
    const { peer } = store;
    const observer =
      observed === null
        ? null
        : new MetadataObserver(
            { pauseMsMax },
            { adoption: cluster.adoption, store: observed, clock, log: world.log(`${name} observer`) },
          );
    const beating = new PeerHeartbeat(heartbeat, {
      peers: cluster.peers,
      clock,
      log: world.log(`${name} heartbeat`),
      record: () => ({ peer, address, sizeBytes, labels: { host: name }, protocolVersion: 1 }),
      alive: async () => {
        await observer?.look();
        const { usedBytes, blocks } = await store.usage();
        const updatedMs = Math.floor(clock.wallMs());
        const { status, collected, scrub } = upkeep;
        const condition = upkeep.condition ?? "ok";
        return { incarnation, usedBytes, blocks, updatedMs, condition, upkeep: status, collected, scrub };
      },
      onReplaced: () => {},
    });
    for (;;) {
      try {
        await beating.start();
        return;
      } catch (error) {
        if (!isTorusError(error)) throw error;
        await sleep(clock, openRetryMs);
      }
    }
  }
}

/** The store as its own upkeep sees it: what it drops is no promise any more. */
export class SimOwnStore extends PassingStore implements OwnStore {
  readonly #disk: DiskStore;
  readonly #witness: Witness;

  constructor(store: BlockStore, disk: DiskStore, witness: Witness) {
    super(store);
    this.#disk = disk;
    this.#witness = witness;
  }

  remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean> {
    return this.#disk.remove(ref, () => {
      if (!mayRemove()) return false;
      this.#witness.dropped(ref);
      return true;
    });
  }

  verify(ref: BlockRef): Promise<boolean | null> {
    return this.#disk.verify(ref);
  }
}
