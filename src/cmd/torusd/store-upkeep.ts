// The upkeep of one store, where the store runs: with a way to the metadata service and links to other peers of its own, so that a
// disk that keeps its thread waiting holds up nobody else's. While the metadata service cannot be reached there is no upkeep, and
// the peer serves all the same.

import { hostname } from "node:os";
import type { Clock, Disk, Log, Random } from "#host";
import { Metrics, sleep } from "#host";
import { systemNetwork } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import type { BlockRef, Confirmer, ConfirmReport, Courtesy, UserRequest } from "#model";
import { leaseTtlMsDefault, messageOf, TorusError } from "#model";
import { PeerPool } from "#peer";
import type { DiskStore } from "#storage";
import type { UpkeepOptions } from "#upkeep";
import { LatencyGuard, latencyGuardDefaults, Upkeep, upkeepDefaults } from "#upkeep";
import { ClusterView, ClusterVolumes, hasTail } from "#volume";
import { thisBoot } from "../shared/this-boot.ts";
import { openLastingCluster } from "./lasting-cluster.ts";
import type { StoreStart, UpkeepReports } from "./store-messages.ts";

export interface StoreUpkeepDeps {
  readonly store: DiskStore;
  /** The store's. */
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Beside the store's own files (docs/formats/store.md). */
const scrubName = "scrub.json";
const openRetryMs = 2000;

/** From the end of a walk that left something to do to the next. */
const heartbeatsPerWalk = 5 / 3;

/** How a volume is attached for no longer than its tail takes. */
const tailAttachment = {
  clients: "none",
  leaseTtlMs: leaseTtlMsDefault,
  writeCacheBytes: 0,
  mapCacheBytes: 8 * 2 ** 20,
  attachTimeoutMs: 30_000,
  closeTimeoutMs: 20_000,
  cleaner: null,
} as const;

/** What is open while upkeep runs. */
interface Running {
  readonly metadata: ClusterMetadata;
  readonly view: ClusterView;
  readonly links: PeerPool;
  /** What recovers the tails of logs that writers left. */
  readonly volumes: ClusterVolumes;
  readonly upkeep: Upkeep;
}

export class StoreUpkeep implements Confirmer, Courtesy {
  readonly #start: StoreStart;
  readonly #deps: StoreUpkeepDeps;
  readonly #guard: LatencyGuard;
  #running: Running | null = null;
  #closed = false;

  constructor(start: StoreStart, deps: StoreUpkeepDeps) {
    this.#start = start;
    this.#deps = deps;
    this.#guard = new LatencyGuard(latencyGuardDefaults, deps);
  }

  /** Begins as soon as the metadata service answers. */
  start(): void {
    void this.#openWhenPossible();
  }

  get reports(): UpkeepReports {
    const upkeep = this.#running?.upkeep;
    if (upkeep === undefined) return { upkeep: null, collected: null, scrub: null };
    return { upkeep: upkeep.status, collected: upkeep.collected, scrub: upkeep.scrub };
  }

  /** What an operator must look at; null when all is well. */
  get condition(): string | null {
    return this.#running?.upkeep.condition ?? null;
  }

  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    if (this.#running === null)
      throw new TorusError("unavailable", "this peer does not know the ring yet, so it confirms nothing");
    return this.#running.upkeep.confirm(ringVersion, refs);
  }

  served(kind: UserRequest, startedMs: number): void {
    this.#guard.served(kind, startedMs);
  }

  /** What others move here before upkeep runs is nobody's to pace yet. */
  async admit(bytes: number): Promise<void> {
    await this.#running?.upkeep.admit(bytes);
  }

  /** Resolves when nothing uses the store any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#guard.close();
    const running = this.#running;
    if (running === null) return;
    const ended = running.upkeep.close();
    // What waits for another peer need not be waited for.
    await running.links.close();
    await ended;
    await running.volumes.close();
    running.view.close();
    await running.metadata.close();
  }

  async #openWhenPossible(): Promise<void> {
    const { clock, log } = this.#deps;
    for (let told = false; !this.#closed; told = true) {
      try {
        await this.#open();
        return;
      } catch (error) {
        if (!told) log.warn("Upkeep waits for the metadata service.", { reason: messageOf(error) });
        await sleep(clock, openRetryMs);
      }
    }
  }

  async #open(): Promise<void> {
    const { clock, log, metrics, store, disk } = this.#deps;
    const { metadataUrl, clusterId } = this.#start;
    const metadata = await openLastingCluster(metadataUrl, { clock, log });
    let view: ClusterView;
    try {
      view = await ClusterView.open({ metadata, clock, log });
    } catch (error) {
      await metadata.close();
      throw error;
    }
    const links = new PeerPool(
      { clusterId },
      { addressOf: (peer) => view.addressOf(peer), connect: systemNetwork.connect, clock, log, metrics },
    );
    const volumes = await this.#openVolumes(metadata, links);
    const recoverTail = async (name: string): Promise<void> => void (await volumes.recoverTail(name));
    const upkeep = new Upkeep(upkeepOptionsOf(this.#start), {
      ...this.#deps,
      store,
      metadata,
      view,
      storeOf: (peer) => links.storeOf(peer),
      guard: this.#guard,
      mayDelete: () => store.behind === "",
      scrubNote: {
        read: () => disk.readText(scrubName),
        write: (text) => disk.writeTextDurably(scrubName, text),
      },
      scrubs: metadata.scrubs,
      tails: { hasTail, recoverTail },
    });
    this.#running = { metadata, view, links, volumes, upkeep };
    if (this.#closed) await this.close();
    else upkeep.start();
  }

  #openVolumes(metadata: ClusterMetadata, links: PeerPool): Promise<ClusterVolumes> {
    const { clock, random, log, store } = this.#deps;
    return ClusterVolumes.open(
      {
        ...tailAttachment,
        holder: `upkeep of peer ${store.peer}`,
        here: thisBoot({ root: "/", metadataUrl: this.#start.metadataUrl, hostName: hostname() }),
      },
      // Counts of its own: what is recovered here is no volume that this peer serves.
      {
        metadata,
        storesFor: () => (peer) => links.storeOf(peer),
        clock,
        random,
        log,
        metrics: new Metrics(),
      },
    );
  }
}

/** What upkeep looks at is as old as a heartbeat: it looks as often. */
function upkeepOptionsOf(start: StoreStart): UpkeepOptions {
  const { heartbeatMs, repairAfterMs, repairBytesPerSecond, collectGraceMs, scrubPeriodMs } = start;
  const { walkEveryMs } = upkeepDefaults;
  return {
    ...upkeepDefaults,
    walkAgainMs: Math.min(walkEveryMs, heartbeatMs * heartbeatsPerWalk),
    watchEveryMs: heartbeatMs,
    repairAfterMs,
    repairBytesPerSecond,
    collectGraceMs,
    scrubPeriodMs,
  };
}
